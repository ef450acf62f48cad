"""Checkpoints: what a log commits to, as the text of a signed note (C2SP tlog-checkpoint).

    <origin>
    <tree size, decimal>
    <root hash, base64>
    [<extension line>...]

The parser judges the grammar only. It accepts any root hash for the empty tree: a signed checkpoint of size 0 with a
wrong root is well-formed, and is evidence against whoever signed it.

An origin is whatever its log calls itself (``go.sum database tree``); it need not be a URL nor anybody's key name.
"""

from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.text import (
    encode_base64,
    format_decimal,
    parse_decimal,
    parse_hash,
    parse_origin,
    parse_utf8,
    split_lines,
)

_LINES = 3  # origin, size, root hash; the rest are extension lines


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head under the origin of its log. Nothing here is signed; ``SignedCheckpoint`` is."""

    origin: str
    size: int
    root_hash: Hash
    extensions: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.root_hash) != HASH_SIZE:
            raise ValueError(f"a root hash is {HASH_SIZE} bytes long")

    @classmethod
    def parse(cls, text: bytes) -> "Checkpoint":
        """Read the text of a note."""
        parse_utf8(text, "checkpoint")
        # SPEC: CP-1 A checkpoint MUST have at least three non-empty lines, separated by line feeds.
        origin, size, root_hash, *extensions = _lines(text)
        # SPEC: CP-6 Extension lines MUST be non-empty.
        if not all(extensions):
            raise FormatError("an extension line is empty")
        return cls(
            # SPEC: CP-2 The origin MUST be non-empty.
            # SPEC: CP-3 Clients MUST NOT assume that the origin is a URL.
            # SPEC: CS-14 Origins are at most 255 bytes long, or a cosigned message could not hold them.
            parse_origin(origin),
            # SPEC: CP-4 The tree size MUST have no leading zeros.
            parse_decimal(size, "tree size"),
            # SPEC: CP-5 The third line MUST be the base64 of the root hash.
            # SPEC: CP-12 Decoders MUST reject base64 that is not canonical.
            parse_hash(root_hash, "root hash"),
            tuple(extensions),
        )

    def format(self) -> bytes:
        """Write the text of a note, to be signed or compared."""
        lines = (self.origin.encode(), format_decimal(self.size), encode_base64(self.root_hash), *self.extensions)
        return b"".join(b"%s\n" % line for line in lines)

    @property
    def head(self) -> TreeHead:
        """The tree head: size and root hash."""
        return TreeHead(self.size, self.root_hash)


def _lines(text: bytes) -> list[bytes]:
    lines = split_lines(text, "checkpoint")
    if len(lines) < _LINES:
        raise FormatError("a checkpoint has fewer than three lines")
    return lines
