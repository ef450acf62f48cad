"""What a monitor knows, what can happen to it, and what it then wants done: the three vocabularies of ``step``.

The state holds one branch per log, a bounded pool of heads that nothing decides about yet, and the convictions. Heads
that left the pool are not lost: every head is remembered (``Remember``) before anything else is done with it, and
``Review`` brings back what was remembered as soon as the branch has grown past it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from gossip.core.adjudicate import Candidate, Outcome
from gossip.messages import Known, Message
from tlog.evidence import Conviction, Evidence, EvidenceType
from tlog.hashing import TreeHead
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.signed_checkpoint import SignedCheckpoint

MAX_PENDING = 8  # per log: a hostile log can sign any number of heads, and a few are enough to convict it
MAX_HEADS_AT_ONCE = 64  # of one log in one envelope: each is verified and written down before anything else goes on
MAX_EVIDENCE = 4  # per origin, key and class: one convicts, more only help forensics
PUSH_INTERVAL_MS = 1000  # per log at most one push of a verified head in this time, the newest
RETRY_MS = 10_000  # between two requests for a proof about the same head
UNSERVED_MS = 600_000  # a signed size without tiles or proof for this long is worth an alarm

EVIDENCE_NUMBERS: Mapping[EvidenceType, int] = {
    EvidenceType.BAD_EMPTY_HEAD: 1,
    EvidenceType.SAME_SIZE: 2,
    EvidenceType.OPENINGS: 3,
    EvidenceType.NON_CONSISTENT: 4,
    EvidenceType.LOG_ROLLBACK: 5,
    EvidenceType.COSIGNER_ROLLBACK: 6,
    EvidenceType.COSIGNER_SAME_SIZE: 7,
    EvidenceType.COSIGNER_NON_CONSISTENT: 8,
    EvidenceType.QUORUM_SPLIT: 10,  # 9 and 11 are for evidence of subtrees and of key rotation
}

CONVICTED = "convicted"
UNSERVED = "unserved"
WRONG_ENTRIES = "wrong-entries"
MIRROR_DAMAGED = "mirror-damaged"


class Ignored(StrEnum):
    """What is ignored and only counted: none of it is an attack for certain, and all of it may be one."""

    DROPPED_TILE = "dropped-tile"
    ERRAND_WITHOUT_ROOM = "errand-without-room"
    EVIDENCE_OF_UNKNOWN_LOG = "evidence-of-unknown-log"
    EVIDENCE_UNDER_UNKNOWN_KEY = "evidence-under-unknown-key"
    EVIDENCE_WITHOUT_ROOM = "evidence-without-room"
    HEAD_OF_CONVICTED_LOG = "head-of-convicted-log"
    HEAD_OF_UNKNOWN_LOG = "head-of-unknown-log"
    HEAD_UNDER_UNKNOWN_KEY = "head-under-unknown-key"
    HEAD_WITHOUT_LOG_SIGNATURE = "head-without-log-signature"
    HEAD_WITHOUT_ROOM = "head-without-room"
    IMPOSSIBLE_PROOF = "impossible-proof"
    UNKNOWN_EVIDENCE = "unknown-evidence"
    UNKNOWN_MESSAGE = "unknown-message"
    UNKNOWN_TILE = "unknown-tile"
    UNWANTED_TILE = "unwanted-tile"


# What is known.


@dataclass(frozen=True, slots=True)
class Log:
    """What this monitor's configuration says of one log. The policy decides which heads are views."""

    origin: str
    keys: tuple[VerifierKey, ...]
    policy: Policy

    @property
    def id(self) -> bytes:
        """Name the log as messages do."""
        return origin_id(self.origin)


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change while the monitor runs. Peers are named by ``peer_id``; some of them can be dialled."""

    logs: Mapping[bytes, Log]
    peers: tuple[bytes, ...] = ()
    dialled: tuple[bytes, ...] = ()
    observers: tuple[VerifierKey, ...] = ()
    interval_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class Pending:
    """A signed head larger than the branch; ``via`` is the peer that presented it, None for the log or a client."""

    signed: SignedCheckpoint
    first_seen_ms: int
    via: bytes | None
    quorum: bool
    tried_ms: int | None = None
    proof: Candidate | None = None
    asked_ms: int | None = None
    told: bool = False
    unserved: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """One log: the verified head, how it extends the one before, what is pending, and the evidence against the log."""

    signed: SignedCheckpoint | None = None
    proof: Candidate | None = None
    pending: tuple[Pending, ...] = ()
    convicted: tuple[bytes, ...] = ()
    pushed_ms: int | None = None
    push_due: bool = False

    @property
    def size(self) -> int:
        """The size of the verified tree."""
        return self.signed.size if self.signed else 0

    def find(self, head: TreeHead) -> Pending | None:
        """Return the pending head of this size and root."""
        return next((one for one in self.pending if one.signed.head == head), None)


@dataclass(frozen=True, slots=True)
class Held:
    """Evidence that this monitor verified, as the bytes that it keeps and sends."""

    conviction: Conviction
    bundle: bytes

    @property
    def place(self) -> tuple[int, bytes, bytes]:
        """The class, origin and accused key that it counts against."""
        accused = sha256(self.conviction.accused.format().encode()).digest()
        return EVIDENCE_NUMBERS[self.conviction.type], origin_id(self.conviction.origin), accused


@dataclass(frozen=True, slots=True)
class State:
    """Everything that gossip knows. ``epoch`` tells this run of the program from others."""

    rules: Rules
    epoch: int
    exchange_ms: int
    branches: Mapping[bytes, Branch] = field(default_factory=dict)
    evidence: Mapping[bytes, Held] = field(default_factory=dict)

    def branch(self, origin: bytes) -> Branch:
        """Return the branch of a log, empty if there is none yet."""
        return self.branches.get(origin, _NO_BRANCH)


_NO_BRANCH = Branch()


def origin_id(origin: str) -> bytes:
    """Name a log in messages and paths: the SHA-256 of its origin."""
    return sha256(origin.encode()).digest()


# What can happen.


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
    """The entries that the log serves for this head do not hash to its root."""

    origin: bytes
    signed: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Advanced:
    """``Adopt`` was done: the branch is at this head and the disk knows. The proof leads there from the head before."""

    origin: bytes
    signed: SignedCheckpoint
    proof: Candidate | None


@dataclass(frozen=True, slots=True)
class Compared:
    """``Compare`` was done: the branch had that root at that size, or another one."""

    peer: bytes
    origin: bytes
    agrees: bool


Event = Tick | HeadSeen | Received | Adjudicated | ProofFound | TileLent | Rehashed | WrongEntries | Advanced | Compared


# What is then to be done, in this order: what is remembered is on disk before anything that follows is sent.


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
    """Fetch a full level-0 tile from the log for the mirror; answer with ``TileLent`` if it is the right one."""

    origin: bytes
    tile: int


@dataclass(frozen=True, slots=True)
class Lend:
    """Offer the mirror a level-0 tile; answer with ``TileLent`` if it is the right one."""

    origin: bytes
    tile: int
    data: bytes


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
    """Write verified evidence to the database and to a file of its own."""

    held: Held
    evidence: Evidence


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
)
