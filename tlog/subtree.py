"""Statements about a part of a log: that its entries from one up to another have this Merkle hash.

    <origin>
    <start> <end>
    <hash of the subtree, base64>

A cosigner that signs subtrees (C2SP tlog-witness, sign-subtree) signs ``subtree_message`` of these values at time 0,
with a key of ML-DSA-44, and answers with signature lines alone. This is the text that they are kept under. It is no
checkpoint: the second line of one is a single number.
"""

from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.hashing import HASH_SIZE, Hash
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
class Subtree:
    """The hash of the entries from ``start`` up to ``end`` of a log. Nothing here is signed."""

    origin: str
    start: int
    end: int
    hash: Hash

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end or len(self.hash) != HASH_SIZE:
            raise ValueError("no subtree")

    @classmethod
    def parse(cls, text: bytes) -> "Subtree":
        """Read the text of a note.

        Raises:
            FormatError: it is no statement about a subtree.
        """
        parse_utf8(text, "statement about a subtree")
        lines = split_lines(text, "statement about a subtree")
        if len(lines) != 3:
            raise FormatError("a statement about a subtree has three lines")
        start, end = cut(lines[1], b" ", "a statement about a subtree does not say where it starts and ends")
        first, last = parse_decimal(start, "start"), parse_decimal(end, "end")
        if not first < last:
            raise FormatError("a subtree ends where it starts or earlier")
        return cls(parse_origin(lines[0]), first, last, parse_hash(lines[2], "subtree hash"))

    def format(self) -> bytes:
        """Write the text of a note."""
        place = b"%s %s" % (format_decimal(self.start), format_decimal(self.end))
        return b"%s\n%s\n%s\n" % (self.origin.encode(), place, encode_base64(self.hash))
