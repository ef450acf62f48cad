"""Strict decoders for the fields every text format here is made of.

Python's own are unsafely lax for this purpose: ``int()`` reads ``+5``, ``1_0`` and ``٣``; ``b64decode(validate=True)``
accepts several spellings of the same bytes; ``splitlines()`` breaks on eight characters that are not line feeds. All
reading of numbers, base64, lines and names goes through this module, works on bytes, and accepts exactly one spelling
of every value: ``format(parse(x)) == x``.

Everything here raises ``FormatError`` and nothing else.
"""

import binascii
import re

from tlog.errors import FormatError, NotCanonicalError
from tlog.hashing import HASH_SIZE, Hash

MAX_INTEGER = 2**63 - 1  # what every implementation that uses signed 64-bit integers can hold
MAX_ORIGIN_BYTES = 255  # the length prefix of an ML-DSA-44 cosigned message is one byte

_DECIMAL = re.compile(rb"0|[1-9][0-9]{0,18}")
# Unicode's White_Space property. Python's str.isspace() differs: it adds U+001C to U+001F.
_SPACES = frozenset("\t\n\v\f\r \u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(c) for c in range(0x2000, 0x200B)
}
_CONTROLS = bytes({*range(0x20)} - {ord("\n")})


def parse_decimal(field: bytes, what: str) -> int:
    """Read an ASCII decimal without sign or leading zeros, at most 2**63 - 1."""
    if not _DECIMAL.fullmatch(field):
        raise FormatError(f"{what} is not a decimal number without leading zeros")
    value = int(field)
    if value > MAX_INTEGER:
        raise FormatError(f"{what} is larger than 2^63 - 1")
    return value


def format_decimal(value: int) -> bytes:
    """Write a number as ``parse_decimal`` reads it."""
    if not 0 <= value <= MAX_INTEGER:
        raise ValueError("number out of range")
    return b"%d" % value


def decode_base64(field: bytes, what: str) -> bytes:
    """Read padded, canonical standard base64 (RFC 4648 section 4): the one spelling that ``encode_base64`` writes."""
    try:
        data = binascii.a2b_base64(field, strict_mode=True)
    except binascii.Error:
        raise FormatError(f"{what} is not base64") from None
    # SPEC: CP-12 base64 is padded and canonical; any other spelling is refused
    if encode_base64(data) != field:
        # Trailing bits that are not zero: other bytes for the same value, hence a second spelling of one statement.
        raise NotCanonicalError(f"{what} is not canonical base64")
    return data


def encode_base64(data: bytes) -> bytes:
    """Write standard base64 with padding and no line breaks."""
    return binascii.b2a_base64(data, newline=False)


def parse_hash(field: bytes, what: str = "hash") -> Hash:
    """Read one base64 SHA-256 hash: exactly 32 bytes."""
    data = decode_base64(field, what)
    if len(data) != HASH_SIZE:
        raise FormatError(f"{what} is not {HASH_SIZE} bytes long")
    return Hash(data)


def split_lines(text: bytes, what: str) -> list[bytes]:
    """Split text, each of whose lines ends with LF, into its lines without the LF. No other byte ends a line."""
    if not text.endswith(b"\n"):
        raise FormatError(f"{what} does not end with a line feed")
    return text[:-1].split(b"\n")


def cut(text: bytes, separator: bytes, what: str) -> tuple[bytes, bytes]:
    """Split at the first separator; it must be there."""
    head, found, tail = text.partition(separator)
    if not found:
        raise FormatError(what)
    return head, tail


def parse_utf8(field: bytes, what: str) -> str:
    """Read UTF-8 strictly, without normalising it; ASCII control characters other than LF are refused."""
    # SPEC: SN-2 valid UTF-8 and no ASCII control character except the line feed
    if len(field.translate(None, _CONTROLS)) != len(field):  # four times as fast as searching for them
        raise FormatError(f"{what} contains a control character")
    try:
        return field.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{what} is not UTF-8") from None


def parse_origin(field: bytes) -> str:
    """Read a log's origin: 1 to 255 bytes of UTF-8 on one line. Origins may hold spaces (``go.sum database tree``)."""
    # SPEC: CP-3 a client assumes nothing about the form of an origin: this is only what fits a line and a message
    if not 0 < len(field) <= MAX_ORIGIN_BYTES:
        raise FormatError(f"origin is not 1 to {MAX_ORIGIN_BYTES} bytes long")
    if b"\n" in field:
        raise FormatError("origin contains a line feed")
    return parse_utf8(field, "origin")


def parse_key_name(field: bytes) -> str:
    """Read a key name: non-empty, no ``+`` and no Unicode space."""
    name = parse_utf8(field, "key name")
    if not is_key_name(name):
        raise FormatError("key name is empty or contains a space or a plus sign")
    return name


def is_key_name(name: str) -> bool:
    """Tell whether a string can be a key name of a signed note."""
    # SPEC: SN-4 not empty, no Unicode space, no plus sign
    return bool(name) and "+" not in name and _SPACES.isdisjoint(name)
