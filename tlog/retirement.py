"""Retirement records: a cosigner's key says of itself that it signs no more, and which key follows it.

    sameview-retirement/v1
    retired <vkey>
    successor <vkey>                        one or more lines
    time <decimal, Unix seconds>
                                            an empty line
    <base64 signature by the retired key>

A cosigner that may have lost its memory must not sign again, because it could contradict itself. It takes a new key,
and this record tells those who trusted the old one. What is signed begins with a context of its own, so that a record
is no cosignature and no cosignature a record. specs/retirement.md is the description for other implementations.
"""

from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.keys import VerifierKey
from tlog.text import cut, decode_base64, encode_base64, format_decimal, parse_decimal, parse_utf8

MAX_SUCCESSORS = 4  # one for each algorithm there is, and as many again
MAX_RECORD_BYTES = 32 * 1024  # six vkeys of ML-DSA-44 with the longest names take 13 kB, its signature 3.3 kB

_MAGIC = b"sameview-retirement/v1"
_CONTEXT = b"sameview/retirement/v1\0"


@dataclass(frozen=True, slots=True)
class Retirement:
    """What a retirement record says; ``message`` is what the retired key signs."""

    retired: VerifierKey
    successors: tuple[VerifierKey, ...]
    time: int

    def __post_init__(self) -> None:
        if not 0 < len(self.successors) <= MAX_SUCCESSORS or self.retired in self.successors:
            raise ValueError("a key is followed by one to four others")

    @property
    def text(self) -> bytes:
        """The record without its signature."""
        successors = [b"successor " + key.format().encode() for key in self.successors]
        time = b"time " + format_decimal(self.time)
        return b"\n".join([_MAGIC, b"retired " + self.retired.format().encode(), *successors, time, b""])

    @property
    def message(self) -> bytes:
        """What the retired key signs."""
        return _CONTEXT + self.text


@dataclass(frozen=True, slots=True)
class SignedRetirement:
    """A retirement and a signature that nobody has verified yet."""

    retirement: Retirement
    signature: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "SignedRetirement":
        """Read a record."""
        if len(raw) > MAX_RECORD_BYTES:
            raise FormatError("the retirement record is too large")
        text, signature = cut(raw, b"\n\n", "a retirement record has no empty line before its signature")
        if not signature.endswith(b"\n"):
            raise FormatError("a retirement record does not end with a line feed")
        return cls(_parse_text(text), decode_base64(signature[:-1], "the signature"))

    def format(self) -> bytes:
        """Write the record."""
        return b"%s\n%s\n" % (self.retirement.text, encode_base64(self.signature))

    def verify(self) -> None:
        """Check the retired key's signature.

        Raises:
            SignatureError: the key did not sign this.
        """
        self.retirement.retired.verify(self.retirement.message, self.signature)


def _parse_text(text: bytes) -> Retirement:
    match text.split(b"\n"):
        case [magic, retired, *successors, time] if magic == _MAGIC and 0 < len(successors) <= MAX_SUCCESSORS:
            keys = tuple(_parse_key(line, b"successor ") for line in successors)
            old = _parse_key(retired, b"retired ")
        case _:
            raise FormatError("this is no retirement record of a version that this program knows")
    if old in keys:
        raise FormatError("a retirement record names the retired key as its own successor")
    return Retirement(old, keys, parse_decimal(_field(time, b"time "), "the time"))


def _parse_key(line: bytes, name: bytes) -> VerifierKey:
    return VerifierKey.parse(parse_utf8(_field(line, name), "a vkey"))


def _field(line: bytes, name: bytes) -> bytes:
    if not line.startswith(name):
        raise FormatError("a line of a retirement record is missing or in the wrong place")
    return line.removeprefix(name)
