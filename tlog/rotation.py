"""Rotation records: a log's key says which key follows it, and up to which tree it speaks for the log itself.

    <origin>
    rotate <number, from 1>
    new <vkey>
    cutoff <tree size> <root hash, base64>

The record is the text of a signed note with a line of the old key, of type 0x01 or 0x02, and one of the new one. It
tells operators what to configure and changes nothing by itself. There is one record of each number; two that differ,
under the same old key, convict it. It is no checkpoint: the second line of one is a number.
"""

from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.hashing import TreeHead
from tlog.text import (
    cut,
    encode_base64,
    format_decimal,
    parse_decimal,
    parse_hash,
    parse_origin,
    parse_utf8,
    split_lines,
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation record says. Nothing here is signed."""

    origin: str
    number: int
    new: str  # a vkey, if the record is good for anything; whoever configures it reads it
    cutoff: TreeHead

    def __post_init__(self) -> None:
        if self.number < 1 or not self.new or "\n" in self.new:
            raise ValueError("no rotation")

    @classmethod
    def parse(cls, text: bytes) -> "Rotation":
        """Read the text of a note.

        Raises:
            FormatError: it is no rotation record.
        """
        parse_utf8(text, "rotation record")
        lines = split_lines(text, "rotation record")
        if len(lines) != 4:
            raise FormatError("a rotation record has four lines")
        number = parse_decimal(_field(lines[1], b"rotate "), "number of a rotation")
        if not number:
            raise FormatError("rotations are numbered from 1")
        new = parse_utf8(_field(lines[2], b"new "), "vkey")
        if not new:
            raise FormatError("a rotation record names no new key")
        size, root_hash = cut(_field(lines[3], b"cutoff "), b" ", "a rotation record has no root hash of its last tree")
        cutoff = TreeHead(parse_decimal(size, "tree size"), parse_hash(root_hash, "root hash"))
        return cls(parse_origin(lines[0]), number, new, cutoff)

    def format(self) -> bytes:
        """Write the text of a note."""
        cutoff = b"%s %s" % (format_decimal(self.cutoff.size), encode_base64(self.cutoff.root_hash))
        number, new = format_decimal(self.number), self.new.encode()
        return b"%s\nrotate %s\nnew %s\ncutoff %s\n" % (self.origin.encode(), number, new, cutoff)


def _field(line: bytes, name: bytes) -> bytes:
    if not line.startswith(name):
        raise FormatError(f"a rotation record has a line that begins with '{name.decode()}'")
    return line[len(name) :]
