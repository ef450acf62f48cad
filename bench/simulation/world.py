"""What monitors look at: logs with one history or several, witnesses, and the keys of everybody.

A history is a tree of hashes that only grows; histories of one log share their first leaves. Nothing here keeps count
of who was shown what: a log signs any head it is asked for, and a ``View`` says what it shows to one monitor.
Signatures are real. They depend on nothing but what is signed, so they are made once and kept for later runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256

from gossip.envelope import peer_id
from tests.fakes_log import sign_line
from tests.forks import Tree
from tlog.checkpoint import Checkpoint
from tlog.hashing import Hash, TreeHead, leaf_hash
from tlog.keys import KeyType, SignerKey
from tlog.note import Note
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.proofs import prove_consistency, root_at
from tlog.quorum import Group
from tlog.tiles import TILE_WIDTH

EPOCH = 1_767_139_200  # Unix seconds at virtual time 0
MAIN = "main"


@cache
def key(name: str, type: KeyType = KeyType.ED25519) -> SignerKey:
    """A key that is always the same for a name."""
    return SignerKey(name, type, sha256(f"{name} {type}".encode()).digest())


@cache
def peer_key(number: int) -> SignerKey:
    """The key that a monitor seals its envelopes with."""
    return key(f"peer{number}.example")


@cache
def peer(number: int) -> bytes:
    """The name of a monitor to its peers."""
    return peer_id(peer_key(number).verifier_key)


@cache
def observer(number: int) -> SignerKey:
    """The key that a monitor signs what it sees with."""
    return key(f"monitor{number}.example", KeyType.COSIGNATURE_ED25519)


@cache
def witness(number: int) -> SignerKey:
    """The key of a witness."""
    return key(f"witness{number}.example", KeyType.COSIGNATURE_ED25519)


@dataclass(frozen=True, slots=True)
class Shape:
    """A history: its own name, how many leaves it shares with the main one, and how large it can grow."""

    name: str
    common: int
    size: int


@lru_cache(maxsize=512)
def tree(origin: str, shape: Shape) -> Tree:
    """The hashes of a history."""
    names = (MAIN if index < shape.common else shape.name for index in range(shape.size))
    return Tree([leaf_hash(f"{origin} {name} {index}".encode()) for index, name in enumerate(names)])


@lru_cache(maxsize=65_536)
def head(origin: str, shape: Shape, size: int) -> TreeHead:
    """The head of a history at a size."""
    return TreeHead(size, root_at(size, tree(origin, shape).read))


@lru_cache(maxsize=65_536)
def proof(origin: str, shape: Shape, old: int, new: int) -> tuple[Hash, ...]:
    """The consistency proof between two sizes of a history."""
    return tuple(prove_consistency(old, new, tree(origin, shape).read))


@dataclass(frozen=True, slots=True)
class SimLog:
    """A log under a policy: ``threshold`` of its witnesses, or of none when there are none."""

    origin: str
    witnesses: tuple[int, ...] = (1, 2, 3)
    threshold: int = 2

    @property
    def key(self) -> SignerKey:
        """The log's own key."""
        return key(self.origin)

    @property
    def policy(self) -> Policy:
        """Whom the monitors ask of a head that they follow."""
        lines = tuple(PolicyWitness(f"w{one}", witness(one).verifier_key) for one in self.witnesses)
        logs = (PolicyLog(self.key.verifier_key),)
        if not lines:
            return Policy(logs, (), (), None)
        return Policy(logs, lines, (Group("quorum", self.threshold, tuple(line.name for line in lines)),), "quorum")

    def sign(self, head: TreeHead, witnesses: Sequence[int], time: int) -> bytes:
        """Sign a head, with some witnesses that cosign whatever they see at that time."""
        return _signed_note(self.origin, head, tuple(witness(one) for one in witnesses), time)


@lru_cache(maxsize=65_536)
def _signed_note(origin: str, head: TreeHead, cosigners: tuple[SignerKey, ...], time: int) -> bytes:
    text = Checkpoint(origin, head.size, head.root_hash).format()
    return Note(text, tuple(sign_line(one, text, time) for one in (key(origin), *cosigners))).format()


@dataclass(frozen=True, slots=True)
class View:
    """What a log shows: a history up to a size, and the note that stands in front of it; perhaps with wrong hashes."""

    shape: Shape
    size: int
    note: bytes
    corrupt: bool = False

    def tile(self, origin: str, index: int) -> bytes:
        """The hashes of a full level-0 tile, as they are served."""
        hashes = tree(origin, self.shape).rows[0][index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
        return b"".join(reversed(hashes) if self.corrupt else hashes)
