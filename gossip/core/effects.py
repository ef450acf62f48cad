"""What is to be done: the effects that ``step`` returns.

They are done in their order: what is remembered is on disk before anything that follows is sent.
"""

from dataclasses import dataclass

from gossip.core.candidate import Candidate
from gossip.core.state import Held, Ignored
from gossip.messages import Known
from tlog.evidence import Evidence
from tlog.hashing import TreeHead
from tlog.opening import TruncatedProof
from tlog.signed_checkpoint import SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a peer, in the answer that is being made or in an envelope of its own."""

    peer: bytes
    message: Known


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer what was just received with 400 and this sentence."""

    reason: str


@dataclass(frozen=True, slots=True)
class Count:
    """Count something that was ignored."""

    what: Ignored


@dataclass(frozen=True, slots=True)
class Remember:
    """Write down a signed head, or the union of its signatures with the ones known."""

    origin: bytes
    signed: SignedCheckpoint
    via: bytes | None


@dataclass(frozen=True, slots=True)
class Settle:
    """Write down that a remembered head lies on the branch."""

    origin: bytes
    head: TreeHead


@dataclass(frozen=True, slots=True)
class Adjudicate:
    """Call ``adjudicate`` with what is on disk; answer with ``Adjudicated``."""

    origin: bytes
    signed: SignedCheckpoint
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """Adjudicate every remembered, unsettled head up to the size of the branch; answer each with ``Adjudicated``."""

    origin: bytes


@dataclass(frozen=True, slots=True)
class Follow:
    """Fetch and hash the entries up to this head; answer, some time, with ``Rehashed`` or ``WrongEntries``."""

    origin: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make the draft the branch: mirror, database, observer's signature, in this order; answer with ``Advanced``."""

    origin: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Abandon:
    """Throw the draft away."""

    origin: bytes


@dataclass(frozen=True, slots=True)
class SeekProof:
    """Read from the log's own tiles how a head extends our tree; answer, if there is anything, with ``ProofFound``."""

    origin: bytes
    old_size: int
    head: TreeHead


@dataclass(frozen=True, slots=True)
class SeekTile:
    """Fetch a full tile from the log for the mirror; answer with ``TileLent`` if it is the right one."""

    origin: bytes
    tile: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Lend:
    """Offer the mirror a tile; answer with ``TileLent`` if it is the right one."""

    origin: bytes
    tile: int
    data: bytes
    level: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare the branch's root at a size with a claimed one; answer with ``Compared``."""

    peer: bytes
    origin: bytes
    head: TreeHead


@dataclass(frozen=True, slots=True)
class Prove:
    """Send a peer a consistency proof if we can make it. A head we pushed as verified must be provable."""

    peer: bytes
    origin: bytes
    old_size: int
    new_size: int


@dataclass(frozen=True, slots=True)
class SendTile:
    """Send a peer a tile of the mirror if it is there."""

    peer: bytes
    origin: bytes
    level: int
    index: int
    width: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Write verified evidence to the database and to a file of its own; only then forget what it is ``instead`` of."""

    held: Held
    evidence: Evidence
    instead: bytes | None = None


@dataclass(frozen=True, slots=True)
class Raise:
    """Raise an alarm; raising it again changes nothing but the time it was last seen."""

    kind: str
    origin: bytes
    subject: str


@dataclass(frozen=True, slots=True)
class Clear:
    """The reason for the alarms of this kind about this log has gone."""

    kind: str
    origin: bytes


@dataclass(frozen=True, slots=True)
class Weigh:
    """Write down what keys stated here with a time, and compare it with what each of them stated before.

    Answer with ``Contradicted`` for all the evidence that ``ledger.contradictions`` finds.
    """

    origin: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class JudgeOpening:
    """Call ``judge_opening`` with what is on disk; answer with ``OpeningJudged``."""

    origin: bytes
    signed: SignedCheckpoint
    opening: TruncatedProof


@dataclass(frozen=True, slots=True)
class Testify:
    """Sign and keep a testimony that nobody serves this signed head; answer with ``Testified``.

    ``first_seen_ms`` is by the clock that ``step`` is given, and so is the time of this effect.
    """

    origin: bytes
    head: TreeHead
    first_seen_ms: int
    tries: int


@dataclass(frozen=True, slots=True)
class KeepTestimony:
    """Write down a testimony that this peer signed."""

    note: bytes
    peer: bytes


Effect = (
    Send
    | Refuse
    | Count
    | Remember
    | Settle
    | Adjudicate
    | Review
    | Follow
    | Adopt
    | Abandon
    | SeekProof
    | SeekTile
    | Lend
    | Compare
    | Prove
    | SendTile
    | Keep
    | Raise
    | Clear
    | Weigh
    | JudgeOpening
    | Testify
    | KeepTestimony
)
