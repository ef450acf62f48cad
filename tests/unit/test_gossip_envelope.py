"""Envelopes: one spelling, one recipient, two minutes, once."""

import struct
from dataclasses import replace

import msgpack  # type: ignore[import-untyped]  # the package has no type information
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.budget import Busy
from gossip.canonical import MAX_DEPTH, MAX_UNCOUNTED_BYTES, MAX_VALUES, Value, pack, unpack
from gossip.envelope import (
    MAX_CLOCK_DISTANCE_MS,
    MAX_ENVELOPE_BYTES,
    MAX_NONCES_PER_SENDER,
    NONCE_MEMORY_MS,
    Envelope,
    SeenNonces,
    open_envelope,
    peer_id,
    seal,
)
from tests.fakes_log import signer
from tlog.errors import FormatError, SignatureError

ALICE, BOB, EVE = signer("alice"), signer("bob"), signer("eve")
KEYS = {peer_id(key.verifier_key): key.verifier_key for key in (ALICE, BOB)}
ME = peer_id(BOB.verifier_key)
NOW = 1_700_000_000_000
REQUEST = Envelope(peer_id(ALICE.verifier_key), ME, NOW, b"n" * 16, None, ((2, b"x"),))


def opened(raw: bytes, now_ms: int = NOW, in_reply_to: bytes | None = None) -> Envelope:
    return open_envelope(raw, KEYS, ME, now_ms, SeenNonces(), in_reply_to=in_reply_to)


def scalars() -> st.SearchStrategy[Value]:
    text = st.text(st.characters(max_codepoint=127), max_size=20)
    return st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40) | text


def values() -> st.SearchStrategy[Value]:
    return st.recursive(scalars(), lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=10)


@given(values())
def test_what_is_packed_comes_back(value: Value) -> None:
    try:
        assert unpack(pack(value)) == value
    except FormatError:
        assert depth(value) > MAX_DEPTH


def depth(value: Value) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, tuple) else 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x91",  # an array that ends early
        b"\x01\x01",  # something behind the value
        b"\xcc\x01",  # 1 in two bytes
        b"\xd1\x00\x80",  # 128 as a signed number
        b"\xdc\x00\x01\x01",  # an array of one with a length of two bytes
        b"\xc5\x00\x01x",  # bytes of length one with a length of two bytes
        b"\xd9\x01x",  # text of length one with a length byte of its own
        b"\xca\x00\x00\x00\x00",  # a float
        b"\x80",  # an empty map
        b"\x81\x01\x02",  # a map
        b"\xd4\x01\x00",  # an extension type
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xc7\x00\x01",  # an empty extension
        b"\xa1\xff",  # text that is not UTF-8
        b"\xdd\xff\xff\xff\xff",  # an array of four billion
        b"\xdb\xff\xff\xff\xff",  # text of four gigabytes
        b"\xc6\xff\xff\xff\xff",  # bytes of four gigabytes
        b"\x91" * 1000 + b"\x01",
        b"\x91" * 100_000 + b"\x01",
        b"\x91" * (MAX_DEPTH + 1) + b"\x01",
        b"\xd9\xff" + b"x" * 255 + b"x",
        b"\xda\x01\x00" + b"x" * 256,  # text longer than any name
    ],
    ids=lambda data: data[:6].hex(),
)
def test_other_spellings_and_bombs_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        unpack(data)


def test_nesting_is_allowed_as_deep_as_envelopes_are() -> None:
    assert unpack(b"\x91" * MAX_DEPTH + b"\x01") == ((((((1,),),),),),)


SPELLINGS: list[Value] = [-1, -33, -129, -(2**31), -(2**40), 1, 200, 2**16 - 1, 2**30, 2**60, None, True, "x", "x" * 40]
SPELLINGS += [b"", b"\x91" * 200, b"\x91" * 300, b"\x91" * 70_000, ["x" * 255], [1] * 15, [1] * 17]


def test_as_many_values_as_there_may_be_are_read_and_one_more_is_not() -> None:
    """Whatever their spelling: what is in bytes and text does not count."""
    inside = sum(len(one) for one in SPELLINGS if isinstance(one, list))
    left = MAX_VALUES - len(SPELLINGS) - inside - 2
    rows: list[Value] = [[0] * 4000 for _ in range(left // 4001)]
    last: Value = [0] * (left % 4001 - 1)
    full: Value = [*SPELLINGS, [*rows, last]]
    assert len(pack(full)) > MAX_UNCOUNTED_BYTES
    assert pack(unpack(pack(full))) == pack(full)
    with pytest.raises(FormatError, match="too many"):
        unpack(pack([*SPELLINGS, [*rows, last], 0]))


def test_an_envelope_comes_back_as_it_was_sealed() -> None:
    assert opened(seal(REQUEST, ALICE)) == REQUEST


def test_an_answer_names_the_request_it_answers() -> None:
    answer = replace(REQUEST, in_reply_to=b"q" * 16)
    assert opened(seal(answer, ALICE), in_reply_to=b"q" * 16) == answer


@pytest.mark.parametrize(
    ("sent", "expected"),
    [(None, b"q" * 16), (b"q" * 16, None), (b"p" * 16, b"q" * 16)],
    ids=["a request", "an answer to nothing", "an answer to something else"],
)
def test_what_does_not_answer_the_request_is_refused(sent: bytes | None, expected: bytes | None) -> None:
    with pytest.raises(FormatError, match="does not answer"):
        opened(seal(replace(REQUEST, in_reply_to=sent), ALICE), in_reply_to=expected)


def test_an_envelope_for_somebody_else_is_refused() -> None:
    with pytest.raises(FormatError, match="another recipient"):
        opened(seal(replace(REQUEST, recipient=REQUEST.sender), ALICE))


def test_a_stranger_is_refused() -> None:
    with pytest.raises(SignatureError, match="not a peer"):
        opened(seal(replace(REQUEST, sender=peer_id(EVE.verifier_key)), EVE))


def test_a_peer_cannot_speak_for_another() -> None:
    with pytest.raises(SignatureError):
        opened(seal(REQUEST, BOB))


@pytest.mark.parametrize("distance", [-MAX_CLOCK_DISTANCE_MS, MAX_CLOCK_DISTANCE_MS])
def test_two_minutes_of_distance_between_clocks_are_allowed(distance: int) -> None:
    assert opened(seal(REQUEST, ALICE), NOW + distance) == REQUEST


@pytest.mark.parametrize("distance", [-MAX_CLOCK_DISTANCE_MS - 1, MAX_CLOCK_DISTANCE_MS + 1])
def test_an_old_or_future_envelope_is_refused(distance: int) -> None:
    with pytest.raises(FormatError, match="two minutes"):
        opened(seal(REQUEST, ALICE), NOW + distance)


def test_a_repeated_envelope_is_refused() -> None:
    seen = SeenNonces()
    open_envelope(seal(REQUEST, ALICE), KEYS, ME, NOW, seen)
    later = replace(REQUEST, time_ms=NOW + NONCE_MEMORY_MS)
    with pytest.raises(FormatError, match="received before"):
        open_envelope(seal(later, ALICE), KEYS, ME, NOW + NONCE_MEMORY_MS, seen)


def test_a_refused_envelope_does_not_use_up_its_nonce() -> None:
    seen = SeenNonces()
    with pytest.raises(SignatureError):
        open_envelope(seal(REQUEST, BOB), KEYS, ME, NOW, seen)
    assert open_envelope(seal(REQUEST, ALICE), KEYS, ME, NOW, seen) == REQUEST


def test_nonces_are_forgotten_when_no_fresh_envelope_can_have_them() -> None:
    seen = SeenNonces()
    seen.admit(b"a", b"n", NOW)
    seen.admit(b"a", b"n", NOW + NONCE_MEMORY_MS + 1)
    with pytest.raises(FormatError):
        seen.admit(b"a", b"n", NOW + NONCE_MEMORY_MS + 2)


def test_a_sender_that_floods_us_crowds_out_only_itself() -> None:
    seen = SeenNonces()
    for number in range(MAX_NONCES_PER_SENDER):
        seen.admit(b"a", struct.pack(">Q", number), NOW + number)
    with pytest.raises(Busy) as busy:
        seen.admit(b"a", b"another", NOW + 20_000)
    seen.admit(b"b", b"another", NOW + 20_000)
    # It is told when there is room again, and no sooner.
    assert busy.value.seconds == 221
    with pytest.raises(Busy):
        seen.admit(b"a", b"another", NOW + NONCE_MEMORY_MS)
    seen.admit(b"a", b"another", NOW + 20_000 + 1000 * busy.value.seconds)


def test_what_a_flooding_sender_repeats_is_refused_for_good() -> None:
    seen = SeenNonces()
    for number in range(MAX_NONCES_PER_SENDER):
        seen.admit(b"a", struct.pack(">Q", number), NOW)
    with pytest.raises(FormatError, match="received before"):
        seen.admit(b"a", struct.pack(">Q", 0), NOW)


def test_an_envelope_larger_than_a_mebibyte_is_refused_unread() -> None:
    with pytest.raises(FormatError, match="1 MiB"):
        opened(b"\xc1" * (MAX_ENVELOPE_BYTES + 1))


def test_the_context_keeps_other_signatures_of_a_peer_key_out() -> None:
    fields: list[Value] = [1, REQUEST.sender, ME, NOW, REQUEST.nonce, None, ()]
    with pytest.raises(SignatureError):
        opened(pack([*fields, ALICE.sign(pack(fields))]))


def broken(**changes: object) -> bytes:
    """An envelope with some fields changed, and then signed as it should be."""
    names = ["version", "sender", "recipient", "time_ms", "nonce", "in_reply_to", "messages"]
    fields: dict[str, object] = dict(zip(names, [1, REQUEST.sender, ME, NOW, b"n" * 16, None, ()], strict=True))
    signed = {name: changes.get(name, value) for name, value in fields.items()}
    signature = ALICE.sign(b"sameview/gossip/v1\0" + packed(list(signed.values())))
    return packed(list((signed | {"signature": signature} | changes).values()))


def packed(value: object) -> bytes:
    """Pack what gossip itself would not."""
    found = msgpack.packb(value)
    if not isinstance(found, bytes):
        raise AssertionError
    return found


@pytest.mark.parametrize(
    "raw",
    [
        broken(version=2),
        broken(version=True),
        broken(version=b"1"),
        broken(sender=b"s" * 31),
        broken(sender="s" * 32),
        broken(recipient=None),
        broken(time_ms=-1),
        broken(time_ms=2**63),
        broken(time_ms=True),
        broken(nonce=b"n" * 15),
        broken(in_reply_to=b"n" * 17),
        broken(in_reply_to=0),
        broken(messages=None),
        broken(messages=b""),
        broken(signature=b"s" * 63),
        broken(messages=(1.5,)),
        broken(more=1),
        pack((1, 2, 3)),
        pack(1),
        pack(None),
    ],
)
def test_what_is_not_shaped_like_an_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        opened(raw)


def test_what_a_stranger_sent_is_not_unpacked() -> None:
    # It takes half a second to unpack what is made for that.
    nonsense = {"messages": ({1: 1.5},)}
    with pytest.raises(FormatError, match="msgpack"):
        opened(broken(**nonsense))
    with pytest.raises(SignatureError, match="not a peer"):
        opened(broken(**nonsense, sender=peer_id(EVE.verifier_key)))
    with pytest.raises(SignatureError, match="does not verify"):
        opened(broken(**nonsense, signature=b"s" * 64))


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    sealed = seal(REQUEST, ALICE)
    for position in range(len(sealed) * 8):
        raw = bytearray(sealed)
        raw[position // 8] ^= 1 << position % 8
        with pytest.raises((FormatError, SignatureError)):
            opened(bytes(raw))
