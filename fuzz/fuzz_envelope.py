#!/usr/bin/env python3
"""Fuzzes gossip envelopes: whatever a stranger posts is refused with a ``TlogError``, or was sealed by a peer."""

from gossip.canonical import pack, unpack
from gossip.envelope import Envelope, SeenNonces, open_envelope, peer_id, seal
from tlog.errors import FormatError, TlogError
from tlog.keys import KeyType, SignerKey

_SENDER = SignerKey("fuzz.example/sender", KeyType.ED25519, bytes(range(32)))
_ME = b"m" * 32
_NOW = 1_700_000_000_000
_KEYS = {peer_id(_SENDER.verifier_key): _SENDER.verifier_key}


def _sealed(messages: tuple[tuple[int, bytes], ...]) -> bytes:
    return seal(Envelope(peer_id(_SENDER.verifier_key), _ME, _NOW, b"n" * 16, None, messages), _SENDER)


SEEDS: list[bytes] = [
    _sealed(()),
    _sealed(((2, b"x"), (99, b""))),
    pack([1, b"s" * 32, _ME, _NOW, b"n" * 16, b"q" * 16, [[4, [b"o" * 32]]], b"g" * 64]),
    b"\x91" * 40 + b"\x01",
    b"\xc7\x00\x01",
]
_SEALED = frozenset(SEEDS[:2])


def target(data: bytes) -> None:
    """A value that is read is spelled in one way, and an envelope that is accepted is one that its sender sealed."""
    try:
        value = unpack(data)
    except FormatError:
        value = None
    else:
        if pack(value) != data:
            raise AssertionError("two spellings of one value")
    try:
        open_envelope(data, _KEYS, _ME, _NOW, SeenNonces())
    except TlogError:
        return
    if data not in _SEALED:
        raise AssertionError("a forged envelope")


if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
