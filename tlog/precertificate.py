"""What a precertificate becomes when its poison is taken out: the part that certificate logs hash (RFC 6962, 3.2).

A data tile carries the whole precertificate beside the hashed part of it. Nothing commits the log to the former, so
whoever shows it to people compares the two first. Only the outermost structure of the DER is read, strictly.
"""

from dataclasses import dataclass

from tlog.errors import FormatError

POISON = bytes.fromhex("060a2b06010401d679020403")  # the object identifier 1.3.6.1.4.1.11129.2.4.3

_SEQUENCE, _BIT_STRING, _EXTENSIONS = 0x30, 0x03, 0xA3


@dataclass(frozen=True, slots=True)
class Precertificate:
    """The part that is to be signed, without the poison, and what signs it."""

    tbs_certificate: bytes
    algorithm: bytes
    signature: bytes


def parse_precertificate(der: bytes) -> Precertificate:
    """Take a precertificate apart, and the poison out."""
    body = _whole(der, _SEQUENCE)
    tbs, after = _next(body, _SEQUENCE)
    algorithm, after = _next(after, _SEQUENCE)
    signature, after = _next(after, _BIT_STRING)
    if after:
        raise FormatError("a certificate goes on after its signature")
    return Precertificate(_without_poison(tbs), algorithm, signature)


def with_empty_signature(tbs: bytes) -> bytes:
    """Dress what is to be signed as a certificate that nobody signed: libraries read names out of nothing less."""
    fields = _elements(_whole(tbs, _SEQUENCE))
    # Version 1 goes without the field that says so: then the serial number is the first, not the second.
    algorithm = next((one for one in fields[:3] if one[0] == _SEQUENCE), None)
    if algorithm is None:
        raise FormatError("a certificate does not say by which algorithm it is signed")
    return _element(_SEQUENCE, tbs + algorithm + _element(_BIT_STRING, b"\0"))


def _without_poison(tbs: bytes) -> bytes:
    fields = _elements(_whole(tbs, _SEQUENCE))
    if not fields or fields[-1][0] != _EXTENSIONS:
        raise FormatError("a precertificate has no extensions")
    extensions = _elements(_whole(_whole(fields[-1], _EXTENSIONS), _SEQUENCE))
    kept = [one for one in extensions if not _whole(one, _SEQUENCE).startswith(POISON)]
    if len(extensions) - len(kept) != 1:
        raise FormatError("a precertificate is not poisoned once")
    # The field is absent, not empty, where no other extension is left.
    last = _element(_EXTENSIONS, _element(_SEQUENCE, b"".join(kept))) if kept else b""
    return _element(_SEQUENCE, b"".join(fields[:-1]) + last)


def _elements(body: bytes) -> list[bytes]:
    found = []
    while body:
        one, body = _next(body, None)
        found.append(one)
    return found


def _whole(der: bytes, tag: int) -> bytes:
    """Return the contents of the one element that this is."""
    start, end = _bounds(der, tag)
    if end != len(der):
        raise FormatError("there is something after a certificate or one of its parts")
    return der[start:]


def _next(der: bytes, tag: int | None) -> tuple[bytes, bytes]:
    """Split off the first element."""
    _, end = _bounds(der, tag)
    return der[:end], der[end:]


def _bounds(der: bytes, tag: int | None) -> tuple[int, int]:
    """Return where the contents of the first element begin and end."""
    if len(der) < 2 or (tag is not None and der[0] != tag) or der[0] & 0x1F == 0x1F:
        raise FormatError("a certificate is not made of the parts that it should be made of")
    start, length = 2, der[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start])
        # DER has one spelling of each length: the shortest, and never the open end of BER.
        if not 2 < start <= 6 or _length(length) != der[1:start]:
            raise FormatError("a length in a certificate is not written as DER demands")
    if start + length > len(der):
        raise FormatError("a certificate ends too early")
    return start, start + length


def _element(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + _length(len(body)) + body


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    size = (length.bit_length() + 7) // 8
    return bytes([0x80 | size]) + length.to_bytes(size)
