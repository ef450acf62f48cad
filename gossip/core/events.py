"""What can happen to a monitor: the events that ``step`` takes."""

from dataclasses import dataclass

from gossip.core.adjudicate import Outcome
from gossip.core.candidate import Candidate
from gossip.messages import Message
from tlog.evidence import Evidence
from tlog.hashing import TreeHead
from tlog.opening import TruncatedProof
from tlog.signed_checkpoint import SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; see ``wake_ms``."""


@dataclass(frozen=True, slots=True)
class HeadSeen:
    """Somebody other than a peer showed this note: the log itself, or a client that asks about it."""

    origin: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """A peer's messages, in a request of its own or in the answer to one of ours."""

    peer: bytes
    messages: tuple[Message, ...]
    answer: bool = False


@dataclass(frozen=True, slots=True)
class Adjudicated:
    """``Adjudicate`` was done."""

    origin: bytes
    signed: SignedCheckpoint
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ProofFound:
    """``SeekProof`` found what claims to be a proof about this head."""

    origin: bytes
    head: TreeHead
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class TileLent:
    """The mirror of this log got a tile back."""

    origin: bytes


@dataclass(frozen=True, slots=True)
class Rehashed:
    """Every entry up to this head was hashed into a draft, and the root is the signed one."""

    origin: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class WrongEntries:
    """The entries that the log serves for this head do not hash to its root; ``where`` says which, if that is known."""

    origin: bytes
    signed: SignedCheckpoint
    where: str = ""


@dataclass(frozen=True, slots=True)
class Advanced:
    """``Adopt`` was done: the branch is at this head and the disk knows. The proof leads there from the head before.

    ``line`` is the signature line that the own observer made for it, empty if it made none.
    """

    origin: bytes
    signed: SignedCheckpoint
    proof: Candidate | None
    line: bytes = b""


@dataclass(frozen=True, slots=True)
class Compared:
    """``Compare`` was done: the branch had that root at that size, or another one."""

    peer: bytes
    origin: bytes
    agrees: bool


@dataclass(frozen=True, slots=True)
class Relink:
    """These peers are dialled for whatever is pushed from now on: what ``choose_links`` chose for today."""

    outbound: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stated:
    """The own observer signed the head of the branch anew; ``line`` is its signature line.

    Meanwhile the branch may have grown: then a line for this ``head`` is of no use.
    """

    origin: bytes
    line: bytes
    head: TreeHead | None = None


@dataclass(frozen=True, slots=True)
class Contradicted:
    """``Weigh`` was done, and what was weighed contradicts what the same key signed before."""

    origin: bytes
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class EvidenceShown:
    """Somebody other than a peer showed this evidence bundle: a client, or a witness that was asked."""

    bundle: bytes


@dataclass(frozen=True, slots=True)
class OpeningShown:
    """A client showed a signed head and one complete subtree of its tree."""

    origin: bytes
    note: bytes
    opening: TruncatedProof


@dataclass(frozen=True, slots=True)
class StatementShown:
    """A client showed a signed head of the branch, with lines that say when it was the largest."""

    origin: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class OpeningJudged:
    """``JudgeOpening`` was done. What was judged is needed again if a tile is missing."""

    origin: bytes
    signed: SignedCheckpoint
    outcome: Outcome
    opening: TruncatedProof | None = None


@dataclass(frozen=True, slots=True)
class Testified:
    """``Testify`` was done: this is the signed testimony."""

    note: bytes


Shown = Tick | HeadSeen | Received | EvidenceShown | OpeningShown | StatementShown | Relink
"""What comes from outside."""

Done = (
    Adjudicated
    | OpeningJudged
    | ProofFound
    | TileLent
    | Rehashed
    | WrongEntries
    | Advanced
    | Stated
    | Compared
    | Contradicted
    | Testified
)
"""What comes of effects."""

Event = Shown | Done
