"""A truncated proof: that the log showed somebody this part of its tree, without telling which entry they asked about.

    tlog-opening@v1
    level <decimal>                 how many of the lowest hashes of the inclusion proof were folded away
    index <decimal>                 of the complete subtree of that level, counted in subtrees
    node <base64 hash>              of that subtree
    hash <base64 hash>...           the rest of the inclusion proof, the subtree's sibling first
                                    an empty line
    <checkpoint with signatures>    verbatim

It is made from a ``.tlog-proof`` and the leaf hash of its entry. At level 8 the entry is one of 256, and whoever
compares the subtree with their own tree learns no more. It convicts all the same: a complete subtree never changes
again, so a log that shows its public another subtree at this place has signed two histories, also where the checkpoint
is of a larger tree than the public one ever was.

``parse`` reads the grammar and believes nothing; ``verify`` judges it. specs/views.md is the whole format.
"""

from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError
from tlog.hashing import HASH_SIZE, Hash
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.proofs import root_from_inclusion, root_from_node, verify_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import cut, encode_base64, format_decimal, parse_decimal, parse_hash
from tlog.tlog_proof import MAX_PATH, TlogProof
from tlog.trust import Trust

LEVEL = 8  # hides an entry among 256: a client need not be told from the others that read the same tile
MAX_LEVEL = 62  # of a complete subtree in a tree of at most 2^63 - 1 leaves
MAX_OPENING_BYTES = MAX_NOTE_BYTES + 4 * 1024  # a header with a path of 63 hashes takes under 3.3 kB

FIRST_LINE = b"tlog-opening@v1"


@dataclass(frozen=True, slots=True)
class TruncatedProof:
    """A complete subtree of the tree of a checkpoint, with the path to the checkpoint's root."""

    level: int
    index: int
    node: Hash
    path: tuple[Hash, ...]
    note: Note

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_LEVEL or self.index < 0 or len(self.path) > MAX_PATH:
            raise ValueError("no tree has such a subtree or such a path")
        if any(len(value) != HASH_SIZE for value in (self.node, *self.path)):
            raise ValueError(f"a hash is {HASH_SIZE} bytes long")

    @classmethod
    def parse(cls, data: bytes) -> "TruncatedProof":
        """Read an opening. Its note is a well-formed checkpoint then, and nothing has been verified."""
        if len(data) > MAX_OPENING_BYTES:
            raise FormatError("an opening is too large")
        head, rest = cut(data, b"\n\n", "an opening has no empty line before its checkpoint")
        first, *lines = head.split(b"\n")
        if first != FIRST_LINE:
            raise FormatError("an opening does not start with the line tlog-opening@v1")
        if not 3 <= len(lines) <= 3 + MAX_PATH:
            raise FormatError("an opening has too few lines, or more hashes than any tree is high")
        level = parse_decimal(_field(lines[0], b"level"), "the level of an opening")
        if level > MAX_LEVEL:
            raise FormatError("no tree has a complete subtree of the level of the opening")
        index = parse_decimal(_field(lines[1], b"index"), "the index of an opening")
        node = parse_hash(_field(lines[2], b"node"), "the node of an opening")
        path = tuple(parse_hash(_field(line, b"hash"), "a hash of an opening") for line in lines[3:])
        note = Note.parse(rest)
        Checkpoint.parse(note.text)
        return cls(level, index, node, path, note)

    def format(self) -> bytes:
        """Write the opening."""
        lines = [
            FIRST_LINE,
            b"level " + format_decimal(self.level),
            b"index " + format_decimal(self.index),
            b"node " + encode_base64(self.node),
            *(b"hash " + encode_base64(value) for value in self.path),
        ]
        return b"\n".join([*lines, b"", self.note.format()])

    @classmethod
    def of(cls, proof: TlogProof, leaf: Hash, level: int = LEVEL) -> "TruncatedProof":
        """Fold away the lowest hashes of the proof of a leaf.

        The level becomes lower where the tree has no complete subtree around the leaf: near the right edge of a tree
        an entry is hidden among fewer.

        Raises:
            FormatError: the checkpoint of the proof is none.
            ProofError: the proof is not one of this leaf.
        """
        note = Note.parse(proof.checkpoint_note)
        head = Checkpoint.parse(note.text).head
        verify_inclusion(leaf, proof.index, head, proof.path)
        level = complete_level(proof.index, head.size, level)
        width = 1 << level
        node = root_from_inclusion(leaf, proof.index % width, width, proof.path[:level])
        return cls(level, proof.index >> level, node, proof.path[level:], note)

    @property
    def hidden_among(self) -> int:
        """How many entries the one that was proven may be."""
        return 1 << self.level

    @property
    def checkpoint(self) -> Checkpoint:
        """What the note says; nobody has verified it."""
        return Checkpoint.parse(self.note.text)

    def verify(self, trust: Trust) -> SignedCheckpoint:
        """Check that the subtree stands in a tree that the log signed and the policy's witnesses saw.

        Raises:
            SignatureError: the checkpoint does not have the signatures that ``trust`` asks for.
            ProofError: the subtree does not stand at this place of that tree.
        """
        checkpoint = trust.open(self.note).require()
        self.require_path()
        return checkpoint

    def require_path(self) -> None:
        """Check that the path leads from the subtree to the root of the checkpoint, whoever signed it.

        Raises:
            ProofError: it does not.
        """
        head = self.checkpoint.head
        if root_from_node(self.level, self.index, head.size, self.node, self.path) != head.root_hash:
            raise ProofError("the opening does not lead to its checkpoint")


def complete_level(index: int, size: int, level: int) -> int:
    """Return the highest level, up to the given one, of a complete subtree around a leaf of a tree."""
    if not 0 <= index < size or level < 0:
        raise ValueError("no such leaf, or no such level")
    return next(one for one in range(level, -1, -1) if ((index >> one) + 1) << one <= size)


def _field(line: bytes, name: bytes) -> bytes:
    if not line.startswith(name + b" "):
        raise FormatError(f"an opening has a line '{name.decode()}' here")
    return line[len(name) + 1 :]
