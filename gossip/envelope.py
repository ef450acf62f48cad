"""A sealed envelope: some messages from one peer to another, at a time, signed by the sender.

    [1, sender, recipient, time_ms, nonce, in_reply_to | nil, messages, signature]

Sender and recipient are the SHA-256 of the peers' vkeys. The signature is Ed25519 by the sender's peer key over the
bytes ``sameview/gossip/v1`` and a zero byte, followed by the canonical array of the first seven fields. An envelope is
for one recipient, is worth nothing two minutes later, and is accepted once. All of that keeps strangers and repeaters
from using up a monitor's time; no conclusion about a log rests on it: heads and evidence carry their own signatures.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import msgpack  # type: ignore[import-untyped]  # the package has no type information

from gossip.budget import Busy
from gossip.canonical import Value, pack, unpack
from tlog.errors import FormatError, SignatureError
from tlog.keys import SignerKey, VerifierKey

MAX_ENVELOPE_BYTES = 1024 * 1024  # some hundreds of heads; both sides of an exchange fit into memory many times over
MAX_CLOCK_DISTANCE_MS = 120_000  # clocks may differ by this much, and no more
NONCE_MEMORY_MS = 2 * MAX_CLOCK_DISTANCE_MS  # from the first to the last moment at which one envelope can be fresh
MAX_NONCES_PER_SENDER = 16_384  # 68 envelopes a second for four minutes: more than any peer needs
NONCE_BYTES = 16

_VERSION = 1
_CONTEXT = b"sameview/gossip/v1\0"
_ID_BYTES = 32
_SIGNATURE_BYTES = 64
_BEGINNING_BYTES = 128  # the first six fields take 115 at most
_SEALED = re.compile(rb"\x98\x01\xc4\x20(.{32})\xc4\x20(.{32}).*\xc4\x40(.{64})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one peer says to another; ``in_reply_to`` is the nonce of the request that this answers."""

    sender: bytes
    recipient: bytes
    time_ms: int
    nonce: bytes
    in_reply_to: bytes | None
    messages: tuple[Value, ...]


class Outrun(Busy):
    """The sender has sent as many envelopes lately as are remembered."""


@dataclass(slots=True)
class SeenNonces:
    """The nonces that were accepted lately, oldest first for each sender. Kept in memory: what repeats is harmless."""

    _seen: dict[bytes, dict[bytes, int]] = field(default_factory=dict)

    def admit(self, sender: bytes, nonce: bytes, now_ms: int) -> None:
        """Accept a nonce once. A sender that outruns the memory has to wait, so that nothing fresh is ever forgotten.

        Raises:
            FormatError: it was accepted before.
            Outrun: there is no room for another one.
        """
        self.check(sender, nonce, now_ms)
        self._seen[sender][nonce] = now_ms

    def check(self, sender: bytes, nonce: bytes, now_ms: int) -> None:
        """Refuse a nonce that ``admit`` would refuse."""
        seen = self._seen.setdefault(sender, {})
        while seen:
            oldest = next(iter(seen))
            if seen[oldest] + NONCE_MEMORY_MS >= now_ms:
                break
            del seen[oldest]
        if nonce in seen:
            raise FormatError("this envelope was received before: make a new one with a new nonce")
        if len(seen) >= MAX_NONCES_PER_SENDER:
            # Nothing is wrong with the envelope: refused as malformed, its messages would be dropped by the sender.
            left_ms = seen[next(iter(seen))] + NONCE_MEMORY_MS - now_ms
            raise Outrun(left_ms // 1000 + 1)


def peer_id(key: VerifierKey) -> bytes:
    """Name a peer: the SHA-256 of its vkey."""
    return sha256(key.format().encode()).digest()


def seal(envelope: Envelope, key: SignerKey) -> bytes:
    """Sign and write an envelope."""
    fields = _fields(envelope)
    return pack([*fields, key.sign(_CONTEXT + pack(fields))])


def open_envelope(
    raw: bytes,
    keys: Mapping[bytes, VerifierKey],
    me: bytes,
    now_ms: int,
    seen: SeenNonces,
    *,
    in_reply_to: bytes | None = None,
    charge: Callable[[bytes, int], None] | None = None,
) -> Envelope:
    """Read an envelope that one of ``keys`` (by ``peer_id``) sealed for us, just now, and that was not opened before.

    ``in_reply_to`` is the nonce of our request when this is its answer, None when this is a request. ``charge`` is told
    the sender and the size before anything is unpacked that could take long, and after it is certain that the sender
    sent just this, just now, for the first time; so nobody else can use up what the sender may send. It may raise.

    Raises:
        FormatError, SignatureError: it is refused.
        Outrun: the sender has sent too many.
    """
    sender = _check_seal(raw, keys, me)
    _check_beginning(raw, sender, now_ms, seen, in_reply_to)
    if charge is not None:
        charge(sender, len(raw))
    envelope = _parse(raw)
    seen.admit(sender, envelope.nonce, now_ms)
    return envelope


def _fields(envelope: Envelope) -> list[Value]:
    return [
        _VERSION,
        envelope.sender,
        envelope.recipient,
        envelope.time_ms,
        envelope.nonce,
        envelope.in_reply_to,
        envelope.messages,
    ]


def _check_seal(raw: bytes, keys: Mapping[bytes, VerifierKey], me: bytes) -> bytes:
    """Find out who sealed it before anything is unpacked: that can take half a second, which no stranger shall cost us.

    In canonical msgpack these fields have fixed places, and the array of the first seven is their bytes behind 0x97.
    """
    if len(raw) > MAX_ENVELOPE_BYTES:
        raise FormatError("the envelope is larger than 1 MiB")
    found = _SEALED.fullmatch(raw)
    if found is None:
        raise FormatError("not an envelope of version 1: an array of eight fields")
    sender, recipient, signature = found.groups()
    if recipient != me:
        raise FormatError("the envelope is for another recipient")
    key = keys.get(sender)
    if key is None:
        raise SignatureError("the sender is not a peer of this monitor: its operator has to add a [[peer]] for you")
    key.verify(b"%s\x97%s" % (_CONTEXT, raw[1 : -_SIGNATURE_BYTES - 2]), signature)
    return bytes(sender)


def _check_beginning(raw: bytes, sender: bytes, now_ms: int, seen: SeenNonces, in_reply_to: bytes | None) -> None:
    """Check the fields before the messages: they are within the first hundred bytes, however many follow."""
    fields = msgpack.Unpacker(use_list=False, max_buffer_size=_BEGINNING_BYTES)
    fields.feed(raw[:_BEGINNING_BYTES])
    try:
        fields.read_array_header()
        _, _, _, time_ms, nonce, replies_to = (fields.unpack() for _ in range(6))
    except (ValueError, msgpack.OutOfData):
        raise FormatError("not an envelope of version 1: an array of eight fields") from None
    if type(time_ms) is not int or abs(time_ms - now_ms) > MAX_CLOCK_DISTANCE_MS:
        raise FormatError("the envelope's time is more than two minutes from ours: check both clocks")
    if replies_to != in_reply_to:
        raise FormatError("the envelope does not answer the request it came for")
    seen.check(sender, _bytes(nonce, NONCE_BYTES, "nonce"), now_ms)


def _parse(raw: bytes) -> Envelope:
    value = unpack(raw)
    if not isinstance(value, tuple) or len(value) != 8 or type(value[0]) is not int or value[0] != _VERSION:
        raise FormatError("not an envelope of version 1: an array of eight fields")
    _, sender, recipient, time_ms, nonce, in_reply_to, messages, signature = value
    if type(time_ms) is not int or not 0 <= time_ms < 2**63:
        raise FormatError("the envelope's time is not a count of milliseconds")
    if not isinstance(messages, tuple):
        raise FormatError("the envelope's messages are not an array")
    _bytes(signature, _SIGNATURE_BYTES, "signature")
    return Envelope(
        _bytes(sender, _ID_BYTES, "sender"),
        _bytes(recipient, _ID_BYTES, "recipient"),
        time_ms,
        _bytes(nonce, NONCE_BYTES, "nonce"),
        None if in_reply_to is None else _bytes(in_reply_to, NONCE_BYTES, "in_reply_to"),
        messages,
    )


def _bytes(value: Value, size: int, what: str) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise FormatError(f"the envelope's {what} is not {size} bytes")
    return value
