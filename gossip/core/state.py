"""What a monitor knows: the state that ``step`` goes through, and how large it can become.

The state holds one branch per log, a bounded pool of heads that nothing decides about yet, and the convictions. Heads
that left the pool are not lost: every head is remembered (``Remember``) before anything else is done with it, and
``Review`` brings back what was remembered as soon as the branch has grown past it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

from gossip.core.candidate import Candidate
from gossip.messages import Summary
from gossip.testimony import Testimony
from tlog.evidence import Conviction, EvidenceType
from tlog.hashing import TreeHead
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.opening import TruncatedProof
from tlog.policy import Policy
from tlog.signed_checkpoint import SignedCheckpoint

MAX_PENDING = 8  # per log: a hostile log can sign any number of heads, and a few are enough to convict it
MAX_HEADS_AT_ONCE = 64  # of one log in one envelope: each is verified and written down before anything else goes on
MAX_EVIDENCE = 4  # per origin, key and class: one convicts, more only help forensics
MAX_COSIGNER_BYTES = 1 << 20  # of evidence against one cosigner, about all logs: with it begins the last piece kept
PUSH_INTERVAL_MS = 1000  # per log at most one push of a verified head in this time, the newest
RETRY_MS = 10_000  # between two requests for a proof about the same head
LAST_TILE_MS = 320_000  # between two requests for one missing tile, in the end: each of them goes to all links
MAX_WANTED_TILES = 16  # per log, that are asked for again; 17 that are missing at once are a mirror to be made anew
MAX_OPENINGS = 4  # that wait for one tile
MAX_FRUITLESS = 256  # of each peer: pieces of evidence that it was asked for in vain
FRUITLESS_MS = 20_000  # from the second time until it is asked for once more, doubled each time
LAST_FRUITLESS_MS = 3_600_000
LOOK_COST = 8  # signature checks that a peer pays beyond the real ones for a look at a head of a convicted log
MAX_CONTACTS = 256  # peers whose cursors and budgets are remembered, those heard of last
MAX_JUDGED = 64  # evidence bundles whose bytes are remembered, so that the same ones are not verified again
MAX_OFFERS = 64  # of each peer: evidence that it announced and has been asked for
MAX_TESTIMONY = 16  # per log
MAX_TESTIMONY_OF_ONE = 4  # per log and peer: one peer leaves room for three others
OFFER_MS = 2000  # an announced bundle that did not come in this time is asked of the next who announced it
ANNOUNCED_BYTES = 4096  # larger evidence is announced first: a link that has it already is spared the bytes
EAGER_LINKS = 18  # to which evidence goes unasked, as many as most have in a large federation; others hear its name
FLAT_EVERY = 30  # exchanges with one peer: then all that is held is compared, whatever the cursors say
HELD_OPEN_MS = 30_000  # a peer that keeps a request open for 25 seconds is a link even if the interval is short
UNSERVED_MS = 600_000  # a signed size without tiles or proof for this long is worth an alarm and a testimony

EVIDENCE_NUMBERS: Mapping[EvidenceType, int] = {
    EvidenceType.BAD_EMPTY_HEAD: 1,
    EvidenceType.SAME_SIZE: 2,
    EvidenceType.OPENINGS: 3,
    EvidenceType.NON_CONSISTENT: 4,
    EvidenceType.LOG_ROLLBACK: 5,
    EvidenceType.COSIGNER_ROLLBACK: 6,
    EvidenceType.COSIGNER_SAME_SIZE: 7,
    EvidenceType.COSIGNER_NON_CONSISTENT: 8,
    EvidenceType.SUBTREE: 9,
    EvidenceType.QUORUM_SPLIT: 10,
    EvidenceType.ROTATION: 11,
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
    PEER_OVER_BUDGET = "peer-over-budget"
    TESTIMONY_OF_UNKNOWN_LOG = "testimony-of-unknown-log"
    TESTIMONY_UNDER_UNKNOWN_KEY = "testimony-under-unknown-key"
    UNKNOWN_EVIDENCE = "unknown-evidence"
    UNKNOWN_MESSAGE = "unknown-message"
    UNKNOWN_TILE = "unknown-tile"
    UNWANTED_TILE = "unwanted-tile"


# What is known.


Selector = tuple[str, bytes]
"""Name and id of a key: what a signature line says about who made it."""


@dataclass(frozen=True, slots=True)
class Log:
    """What this monitor's configuration says of one log. The policy decides which heads are views."""

    origin: str
    keys: tuple[VerifierKey, ...]
    policy: Policy
    keyring: Mapping[Selector, VerifierKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keyring", keyring((*self.keys, *self.policy.witness_keys)))

    @property
    def id(self) -> bytes:
        """Name the log as messages do."""
        return origin_id(self.origin)


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change while the monitor runs. Peers are named by ``peer_id``; some of them can be dialled.

    ``testifiers`` are the peers' keys and our own, under which they testify and we do. ``keyring`` is made of the
    observers unless it is given: whoever simulates many monitors shares one.
    """

    logs: Mapping[bytes, Log]
    peers: tuple[bytes, ...] = ()
    dialled: tuple[bytes, ...] = ()
    observers: tuple[VerifierKey, ...] = ()
    interval_ms: int = 10_000
    own_observer: VerifierKey | None = None
    testifiers: Mapping[bytes, VerifierKey] = field(default_factory=dict)
    unserved_ms: int = UNSERVED_MS
    keyring: Mapping[Selector, VerifierKey] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        own = () if self.own_observer is None else (self.own_observer,)
        object.__setattr__(self, "keyring", self.keyring or keyring((*own, *self.observers)))

    def keys_of(self, log: Log, notes: Iterable[Note]) -> tuple[VerifierKey, ...]:
        """Name the known keys that lines of these notes claim to be by: few, however many observers there are."""
        selectors = dict.fromkeys((line.name, line.key_id) for note in notes for line in note.signatures)
        found = (log.keyring.get(selector) or self.keyring.get(selector) for selector in selectors)
        return tuple(key for key in found if key is not None)


@dataclass(frozen=True, slots=True)
class Pending:
    """A signed head larger than the branch; ``via`` is the peer that presented it, None for the log or a client.

    ``holders`` are peers that are known to hold it, because they sent or listed it.
    """

    signed: SignedCheckpoint
    first_seen_ms: int
    via: bytes | None
    quorum: bool
    tried_ms: int | None = None
    proof: Candidate | None = None
    asked_ms: int | None = None
    told: bool = False
    unserved: bool = False
    tries: int = 0
    testified_ms: int | None = None
    holders: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Branch:
    """One log: the verified head, how it extends the one before, what is pending, and the evidence against the log.

    ``line`` is the own observer's signature line for the verified head, and ``holders`` are peers known to hold it.
    """

    signed: SignedCheckpoint | None = None
    proof: Candidate | None = None
    pending: tuple[Pending, ...] = ()
    convicted: tuple[bytes, ...] = ()
    pushed_ms: int | None = None
    push_due: bool = False
    line: bytes = b""
    holders: frozenset[bytes] = frozenset()

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
    place: tuple[int, bytes, bytes] = field(init=False, repr=False, compare=False)
    """The class, origin and accused key that it counts against."""

    def __post_init__(self) -> None:
        accused = sha256(self.conviction.accused.format().encode()).digest()
        place = EVIDENCE_NUMBERS[self.conviction.type], origin_id(self.conviction.origin), accused
        object.__setattr__(self, "place", place)

    @property
    def since(self) -> int:
        """The smallest size that it is about: no tree of that size or a larger one can be relied on."""
        return min(stated.size for stated in self.conviction.statements)


@dataclass(frozen=True, slots=True)
class HeldTestimony:
    """A testimony whose signature by a peer was verified."""

    testimony: Testimony
    peer: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class Budget:
    """What a peer may still cause, in thousandths, as it stood at ``at_ms``; None stands for a full one."""

    checks: int
    requests: int
    evidence: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Taking:
    """A DIGEST that is being taken in: of ``wanted`` logs the heads were asked for, except of those in ``later``."""

    cursor: int
    wanted: frozenset[bytes]
    later: tuple[bytes, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Contact:
    """What is remembered of a peer: when it last contacted us, how far its changes were taken in, what it may cause.

    ``epoch`` and ``seen`` name the last DIGEST of the peer's that was taken in full; ``disputes`` counts its summaries
    in a row that named other convictions than ours; ``bucketed`` is our own cursor in the BUCKETS that wait for a PART.
    """

    heard_ms: int | None = None
    epoch: int = 0
    seen: int = 0
    taking: Taking | None = None
    exchanges: int = 0
    disputes: int = 0
    bucketed: int | None = None
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """Evidence that was announced: who was asked for it and when, and whom to ask next."""

    peer: bytes
    asked_ms: int
    others: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Fruitless:
    """Evidence that was announced, asked for, and not accepted; not asked for again before ``until_ms``."""

    times: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class WantedTile:
    """A tile that is asked for until it comes, and the openings that cannot be judged without it."""

    asked_ms: int
    tries: int = 0
    openings: tuple[tuple[SignedCheckpoint, TruncatedProof], ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """Everything that gossip knows. ``epoch`` tells this run of the program from others, and is not 0.

    ``cursor`` counts the changes to what is held, and ``changes`` tells the last one of each log, oldest first.
    ``disputes`` counts summaries in a row, of whichever peers, that named other convictions than ours. ``tiles`` are
    those that the mirror lacks, by origin, level and index.
    """

    rules: Rules
    epoch: int
    exchange_ms: int
    branches: Mapping[bytes, Branch] = field(default_factory=dict)
    evidence: Mapping[bytes, Held] = field(default_factory=dict)
    outbound: tuple[bytes, ...] = ()
    contacts: Mapping[bytes, Contact] = field(default_factory=dict)
    cursor: int = 0
    changes: Mapping[bytes, int] = field(default_factory=dict)
    testimony: Mapping[bytes, tuple[HeldTestimony, ...]] = field(default_factory=dict)
    offers: Mapping[bytes, Offer] = field(default_factory=dict)
    fruitless: Mapping[bytes, Mapping[bytes, Fruitless]] = field(default_factory=dict)
    tiles: Mapping[tuple[bytes, int, int], WantedTile] = field(default_factory=dict)
    judged: Mapping[bytes, Ignored | str | None] = field(default_factory=dict)
    exchanges: int = 0
    disputes: int = 0
    summed: Summary | None = field(default=None, repr=False, compare=False)

    def branch(self, origin: bytes) -> Branch:
        """Return the branch of a log, empty if there is none yet."""
        return self.branches.get(origin, _NO_BRANCH)


_NO_BRANCH = Branch()


def origin_id(origin: str) -> bytes:
    """Name a log in messages and paths: the SHA-256 of its origin."""
    return sha256(origin.encode()).digest()


def keyring(keys: Iterable[VerifierKey]) -> Mapping[Selector, VerifierKey]:
    """Index keys by what signature lines say; of two that share it the first counts."""
    found: dict[Selector, VerifierKey] = {}
    for key in keys:
        found.setdefault((key.name, key.id), key)
    return found
