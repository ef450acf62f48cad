"""Digests of a list: entries that are one of them, or name one of them.

Logs name digests in every spelling: raw, in hex of either case, in base64. Or the entry is itself what was digested:
its SHA-256 and the hash of its leaf are looked up too, and for certificates the fingerprint.
"""

import hashlib
import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.hashing import leaf_hash
from tlog.static_ct import parse_merkle_tree_leaf

MAX_DIGESTS = 100_000
SIZES = (32, 48, 64)  # SHA-256, SHA-384, SHA-512

_LINE = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t].*)?")
_HEX = re.compile(rb"[0-9A-Fa-f]{64,}")
# Of base64url as well. Digests stand between other characters; the end of one is what marks it.
_BASE64 = re.compile(rb"[0-9A-Za-z+/_-]{43,}={0,2}")
_URL = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Digests:
    """Entries about any of these digests."""

    digests: frozenset[bytes]

    @classmethod
    def parse(cls, data: bytes) -> "Digests":
        """Read a list: one in hex on each line, as sha256sum writes them; # begins a comment.

        Raises:
            ValueError: a line is none, or there is none at all.
        """
        lines = [line.strip() for line in data.split(b"\n")]
        found = frozenset(_parse_line(line) for line in lines if line and not line.startswith(b"#"))
        if not 0 < len(found) <= MAX_DIGESTS:
            raise ValueError(f"a list of digests has between 1 and {MAX_DIGESTS} of them")
        return cls(found)

    def find(self, entry: bytes) -> tuple[str, ...]:
        """Look for every digest that the entry is or names."""
        sizes = {len(digest) for digest in self.digests}
        return tuple(dict.fromkeys(one.hex() for one in _candidates(entry, sizes) if one in self.digests))


def _parse_line(line: bytes) -> bytes:
    found = _LINE.fullmatch(line)
    if found is None or len(found[1]) // 2 not in SIZES or len(found[1]) % 2:
        raise ValueError("a line of a list of digests does not begin with 64, 96 or 128 hexadecimal digits")
    return bytes.fromhex(found[1].decode())


def _candidates(entry: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    yield hashlib.sha256(entry).digest()
    yield leaf_hash(entry)
    with suppress(FormatError):
        yield hashlib.sha256(parse_merkle_tree_leaf(entry).certificate).digest()
    for size in sizes:
        for at in range(len(entry) - size + 1):
            yield entry[at : at + size]
        yield from _in_hex(entry, size)
        yield from _in_base64(entry, size)


def _in_hex(entry: bytes, size: int) -> Iterator[bytes]:
    for run in _HEX.findall(entry):
        for shift in range(2):
            # As a whole: digit by digit a hostile entry would take a third of a second.
            data = bytes.fromhex(run[shift : len(run) - (len(run) - shift) % 2].decode())
            for at in range(len(data) - size + 1):
                yield data[at : at + size]


def _in_base64(entry: bytes, size: int) -> Iterator[bytes]:
    """Decode from each place: a run of letters may go on before and after a digest that stands in it."""
    length = -(-size * 4 // 3)
    for run in _BASE64.findall(entry):
        text = run.rstrip(b"=").translate(_URL)
        for shift in range(4):
            # As a whole, as above; what follows a digest fills up its last letters.
            data = a2b_base64(text[shift:] + b"A" * (-(len(text) - shift) % 4))
            for at in range((len(text) - shift - length) // 4 + 1):
                yield data[3 * at : 3 * at + size]
