"""A log in memory, for whoever reads logs: it signs, it serves tiles, and on request it lies.

``serve`` answers the paths of tlog-tiles. ``fork`` gives a log with the same key and another future; ``sign`` makes a
signed checkpoint of any size it likes, with or without witnesses.
"""

from collections.abc import Iterable, Sequence

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash, TreeHead, leaf_hashes, node_hash
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, SignatureLine, message_to_sign, signature_line
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.proofs import prove_consistency, root_at
from tlog.quorum import Group
from tlog.tiles import EntryBundle, Tile, format_entries

ORIGIN = "log.example/one"


def signer(name: str, type: KeyType = KeyType.ED25519) -> SignerKey:
    """A key that is always the same for a name."""
    return SignerKey(name, type, name.encode().ljust(32, b"."))


WITNESSES = tuple(signer(f"witness.example/w{number}", KeyType.COSIGNATURE_ED25519) for number in (1, 2, 3))


def policy(
    log: SignerKey | None = None, witnesses: Sequence[SignerKey] = WITNESSES, threshold: int | None = 2
) -> Policy:
    """A policy of one log and ``threshold`` of the witnesses; without a threshold no cosignature is asked for."""
    key = (log or signer(ORIGIN)).verifier_key
    lines = tuple(PolicyWitness(f"w{number}", one.verifier_key) for number, one in enumerate(witnesses, start=1))
    if threshold is None:
        return Policy((PolicyLog(key),), lines, (), None)
    group = Group("quorum", threshold, tuple(line.name for line in lines))
    return Policy((PolicyLog(key),), lines, (group,), "quorum")


def sign_line(key: SignerKey, text: bytes, time: int = 1_700_000_000) -> SignatureLine:
    """Sign a checkpoint's text, whatever it says."""
    return signature_line(key.verifier_key, time, key.sign(message_to_sign(key.verifier_key, text, time)))


class FakeLog:
    """A log of entries in memory."""

    def __init__(self, entries: Iterable[bytes] = (), *, origin: str = ORIGIN, key: SignerKey | None = None) -> None:
        self.origin = origin
        self.key = key or signer(origin)
        self.entries = list(entries)
        self.leaves = leaf_hashes(self.entries)
        self.published = b""
        self.asked: list[str] = []

    @property
    def size(self) -> int:
        return len(self.entries)

    def add(self, count: int, what: str = "entry") -> None:
        """Append some entries."""
        new = [f"{what} {index}".encode() for index in range(self.size, self.size + count)]
        self.entries += new
        self.leaves += leaf_hashes(new)

    def fork(self, at: int) -> "FakeLog":
        """The same log with only its first entries: what it appends from now on is another history."""
        return FakeLog(self.entries[:at], origin=self.origin, key=self.key)

    def node(self, level: int, index: int) -> Hash:
        """The hash of a perfect subtree, computed each time: a ``ReadNode``."""
        row = self.leaves[index << level : (index + 1) << level]
        while len(row) > 1:
            row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
        return row[0]

    def head(self, size: int | None = None) -> TreeHead:
        size = self.size if size is None else size
        return TreeHead(size, root_at(size, self.node))

    def proof(self, old: int, new: int) -> tuple[Hash, ...]:
        return tuple(prove_consistency(old, new, self.node))

    def sign(
        self,
        size: int | None = None,
        witnesses: Sequence[SignerKey] = WITNESSES,
        *,
        head: TreeHead | None = None,
        extensions: tuple[bytes, ...] = (),
        time: int = 1_700_000_000,
    ) -> bytes:
        """A signed checkpoint: of the tree at a size, or of any head it is told to sign."""
        head = head or self.head(size)
        text = Checkpoint(self.origin, head.size, head.root_hash, extensions).format()
        lines = [sign_line(key, text, time) for key in (self.key, *witnesses)]
        return Note(text, tuple(lines)).format()

    def publish(self, size: int | None = None, witnesses: Sequence[SignerKey] = WITNESSES, time: int = 1) -> bytes:
        """Serve a checkpoint from now on."""
        self.published = self.sign(size, witnesses, time=time)
        return self.published

    def serve(self, path: str) -> bytes | None:
        """Answer a GET request: the bytes, or None for 404. Only what the tree at its present size has."""
        self.asked.append(path)
        if path == "checkpoint":
            return self.published or None
        try:
            if path.startswith("tile/entries/"):
                return self._bundle(EntryBundle.parse(path))
            return self._tile(Tile.parse(path))
        except FormatError:
            return None

    def _bundle(self, bundle: EntryBundle) -> bytes | None:
        if bundle.end > self.size:
            return None
        return format_entries(self.entries[bundle.start : bundle.end])

    def _tile(self, tile: Tile) -> bytes | None:
        if tile.end > self.size:
            return None
        first = tile.index * 256
        return b"".join(self.node(8 * tile.level, first + offset) for offset in range(tile.width))
