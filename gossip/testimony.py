"""Testimony: a monitor's signed word that a log signed a tree head and serves nobody the tree under it.

    tlog-testimony@v1
    <origin>
    unserved
    <size> <base64 root hash>
    <first seen, Unix seconds> <last tried> <tries>
    <vantage, "-" if it is not told>

    — <peer key name> <signature>

The text is that of a signed note, under the peer key of the monitor (type 0x01): its observer key signs tree heads and
nothing else. As a checkpoint it cannot be read, since the second line of that is a number of digits and the third one
base64 of a hash. Files (``*.tlog-testimony``) hold several, with a line ``--`` between each two.

Silence proves nothing. Everybody can be cut off from a log, and everybody can say so; a log that keeps its entries to
itself leaves no contradiction behind. So testimony never convicts. It is counted by the operators who signed it, and
what that is worth is for people to judge. specs/gossip.md section 8 is the reference.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tlog.errors import FormatError, SignatureError
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note, open_note
from tlog.text import (
    MAX_INTEGER,
    cut,
    encode_base64,
    format_decimal,
    parse_decimal,
    parse_hash,
    parse_origin,
    parse_utf8,
    split_lines,
)

UNSERVED = "unserved"  # the one kind there is
MAX_TESTIMONY_BYTES = 4096  # of a note: the text takes less than 800 bytes
MAX_TESTIMONIES = 1024  # in a file
MAX_VANTAGE_BYTES = 255

_MAGIC = b"tlog-testimony@v1"
_LINES = 6
_SEPARATOR = b"\n--\n"
_UNTOLD = b"-"


@dataclass(frozen=True, slots=True)
class Testimony:
    """That somebody asked for the tree of a signed head again and again, and got nothing. Nothing here is signed."""

    origin: str
    kind: str
    size: int
    root_hash: Hash
    first_seen: int
    last_tried: int
    tries: int
    vantage: str = ""

    def __post_init__(self) -> None:
        try:
            parse_origin(self.origin.encode())
            _parse_vantage(_vantage_field(self.vantage))
        except FormatError as error:
            raise ValueError(str(error)) from None
        numbers = (self.size, self.first_seen, self.last_tried, self.tries)
        if self.kind != UNSERVED or len(self.root_hash) != HASH_SIZE or not all(0 <= n <= MAX_INTEGER for n in numbers):
            raise ValueError("no such testimony")
        if not self.first_seen <= self.last_tried or not self.tries:
            raise ValueError("a testimony is about a time and about tries")

    @classmethod
    def parse(cls, text: bytes) -> "Testimony":
        """Read the text of a note."""
        lines = split_lines(text, "testimony")
        if len(lines) != _LINES or lines[0] != _MAGIC:
            raise FormatError("a testimony is six lines, the first of them the version that this program knows")
        _, origin, kind, head, tried, vantage = lines
        if kind != UNSERVED.encode():
            raise FormatError("this program does not know this kind of testimony: use a newer one")
        size, root_hash = cut(head, b" ", "the fourth line of a testimony is a size and a root hash")
        try:
            return cls(
                parse_origin(origin),
                UNSERVED,
                parse_decimal(size, "size"),
                parse_hash(root_hash, "root hash"),
                *_parse_tried(tried),
                _parse_vantage(vantage),
            )
        except ValueError as error:
            raise FormatError(str(error)) from None

    def format(self) -> bytes:
        """Write the text of a note."""
        lines = (
            _MAGIC,
            self.origin.encode(),
            self.kind.encode(),
            b"%s %s" % (format_decimal(self.size), encode_base64(self.root_hash)),
            b" ".join(map(format_decimal, (self.first_seen, self.last_tried, self.tries))),
            _vantage_field(self.vantage),
        )
        return b"".join(b"%s\n" % line for line in lines)

    @property
    def head(self) -> TreeHead:
        """The head that it is about."""
        return TreeHead(self.size, self.root_hash)


class Signed(NamedTuple):
    """A testimony, and the key that is known to have signed it."""

    testimony: Testimony
    key: VerifierKey


def open_testimony(raw: bytes, keys: Iterable[VerifierKey]) -> Signed:
    """Read a testimony that one of these peer keys signed.

    Raises:
        FormatError: the bytes are no signed testimony.
        SignatureError: none of the keys signed it, or a line of one of them does not verify.
    """
    if len(raw) > MAX_TESTIMONY_BYTES:
        raise FormatError(f"a testimony is longer than {MAX_TESTIMONY_BYTES} bytes")
    note = Note.parse(raw)
    testimony = Testimony.parse(note.text)
    peer_keys = [key for key in keys if key.type is KeyType.ED25519]
    signatures = open_note(note, peer_keys)
    if len(note.signatures) > 1:
        raise SignatureError("a testimony has one signature: whoever agrees makes one of their own")
    return Signed(testimony, signatures[0].key)


def parse_testimonies(raw: bytes) -> tuple[bytes, ...]:
    """Split a file into notes, none of which is verified. No note contains the line that separates them."""
    notes = raw.split(_SEPARATOR)
    if len(notes) > MAX_TESTIMONIES:
        raise FormatError(f"a file holds more than {MAX_TESTIMONIES} testimonies")
    return (*(note + b"\n" for note in notes[:-1]), notes[-1])


def format_testimonies(notes: Sequence[bytes]) -> bytes:
    """Write a file."""
    return b"--\n".join(notes)


@dataclass(frozen=True, slots=True)
class Weight:
    """How many operators say of one head, about one and the same moment, that nobody serves it."""

    origin: str
    head: TreeHead
    operators: tuple[str, ...]  # sorted
    since: int  # the moments that all of them speak about
    until: int


def weigh_testimony(testimonies: Iterable[Signed], operators: Mapping[VerifierKey, str]) -> tuple[Weight, ...]:
    """Count, for each head, the most operators whose windows of trying have a moment in common.

    Keys of one operator count once, and keys of nobody whom ``operators`` names do not count. It is a count and no
    proof: operators who agree on a lie count as well.
    """
    about: dict[tuple[str, int, Hash], list[tuple[str, Testimony]]] = defaultdict(list)
    for testimony, key in testimonies:
        operator = operators.get(key)
        if operator is not None:
            about[testimony.origin, testimony.size, testimony.root_hash].append((operator, testimony))
    return tuple(_weight(*head, about[head]) for head in sorted(about))


def _weight(origin: str, size: int, root_hash: Hash, said: Sequence[tuple[str, Testimony]]) -> Weight:
    """Windows that have a moment in common all contain the latest of their beginnings: only those are looked at."""
    beginnings = sorted({testimony.first_seen for _, testimony in said}, reverse=True)
    counted = [[(who, one) for who, one in said if one.first_seen <= at <= one.last_tried] for at in beginnings]
    best = max(counted, key=lambda spoke: len({who for who, _ in spoke}))
    since = max(one.first_seen for _, one in best)
    until = min(one.last_tried for _, one in best)
    return Weight(origin, TreeHead(size, root_hash), tuple(sorted({who for who, _ in best})), since, until)


def _parse_tried(line: bytes) -> tuple[int, int, int]:
    match line.split(b" "):
        case [first, last, tries]:
            return (
                parse_decimal(first, "the time a head was first seen"),
                parse_decimal(last, "the time it was last tried"),
                parse_decimal(tries, "the number of tries"),
            )
        case _:
            raise FormatError("the fifth line of a testimony is two times and a number of tries")


def _parse_vantage(field: bytes) -> str:
    if field == _UNTOLD:
        return ""
    if not 0 < len(field) <= MAX_VANTAGE_BYTES or b"\n" in field:
        raise FormatError(f"the vantage of a testimony is not 1 to {MAX_VANTAGE_BYTES} bytes on one line")
    return parse_utf8(field, "vantage")


def _vantage_field(vantage: str) -> bytes:
    if vantage == _UNTOLD.decode():
        raise FormatError("a vantage cannot be a dash: that says that it is not told")
    return vantage.encode() or _UNTOLD
