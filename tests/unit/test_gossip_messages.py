"""Messages: what is written is read back, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.canonical import Value, pack, unpack
from gossip.messages import (
    Buckets,
    Consistency,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetConsistency,
    GetEvidence,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    HeldEvidence,
    Known,
    Message,
    Part,
    Summary,
    TileData,
    Unknown,
    format_message,
    parse_message,
)
from gossip.messages import TestimonyNote as Heard
from tlog.errors import FormatError
from tlog.evidence import MAX_EVIDENCE_BYTES
from tlog.note import MAX_NOTE_BYTES

H = b"h" * 32
EXAMPLES: dict[int, Known] = {
    2: Summary(7, 1, H, H, 0, 6, 5),
    3: Digest(None, 9, (DigestEntry(H, 5, H, 1), DigestEntry(H, 2**63 - 1, H, 6)), False),
    4: GetHeads((H, H)),
    5: Head(H, b"note", 1, 3, (H, H)),
    6: GetConsistency(H, 3, 5),
    7: Consistency(H, 3, 5, H, H, (H,)),
    8: GetTile(H, 0, 7, 256),
    9: TileData(H, 0, 7, b"t" * 8192),
    10: HaveEvidence((HeldEvidence(4, H, H, H),)),
    11: GetEvidence((H,)),
    12: EvidenceBundle(4, b"bundle"),
    16: Heard(b"note"),
    20: Buckets(9, b"salt" * 2, b"h" * 64),
    21: Part(9, b"\x01\x80", (DigestEntry(H, 5, H, 1),), True),
}


def read(data: bytes) -> Message:
    return parse_message(unpack(data))


@pytest.mark.parametrize("number", EXAMPLES)
def test_every_type_comes_back_from_its_bytes(number: int) -> None:
    packed = pack(format_message(EXAMPLES[number]))
    assert (packed[1], read(packed)) == (number, EXAMPLES[number])


HASHES = st.binary(min_size=32, max_size=32)
SIZES = st.integers(0, 2**63 - 1)


@given(HASHES, st.binary(max_size=200), st.sampled_from([1, 2]), st.none() | SIZES, st.lists(HASHES, max_size=64))
def test_any_head_comes_back(origin: bytes, note: bytes, status: int, base: int | None, proof: list[bytes]) -> None:
    head = Head(origin, note, status, base, tuple(proof))
    assert read(pack(format_message(head))) == head


@given(HASHES, st.lists(st.builds(DigestEntry, HASHES, SIZES, HASHES, st.integers(0, 255)), max_size=5), st.booleans())
def test_any_digest_comes_back(origin: bytes, entries: list[DigestEntry], more: bool) -> None:
    digest = Digest(None, 0, tuple(entries), more)
    assert read(pack(format_message(digest))) == digest


@pytest.mark.parametrize("number", [0, 1, 13, 15, 17, 19, 2**40, -1])
def test_an_unknown_type_is_no_mistake(number: int) -> None:
    assert parse_message((number, b"whatever", (None,))) == Unknown(number)


@pytest.mark.parametrize(
    "value",
    [
        (),
        None,
        b"",
        5,
        (b"5",),
        ("5",),
        (True, H),
        (None, H),
        (2,),
        (2, 7, 1, H, H, 0, 0, 0, 0),
        (2, -1, 1, H, H, 0, 0, 0),
        (2, 7, 1, H[:31], H, 0, 0, 0),
        (2, 7, 1, "h" * 32, H, 0, 0, 0),
        (3, None, 0, ((H, 5, H),), False),
        (3, None, 0, ((H, 5, H, 256),), False),
        (3, None, 0, (), 0),
        (3, None, 0, None, False),
        (4, (H,) * 257),
        (4, H),
        (5, H, b"note", 0, None, ()),
        (5, H, b"note", 3, None, ()),
        (5, H, b"n" * (MAX_NOTE_BYTES + 1), 1, None, ()),
        (5, H, b"note", 1, None, (H,) * 65),
        (5, H, b"note", 1, True, ()),
        (6, H, 2**63, 5),
        (7, H, 3, 5, H, H, (H[:5],)),
        (8, H, 64, 0, 256),
        (8, H, 0, 0, 0),
        (8, H, 0, 0, 257),
        (9, H, 0, 0, b"t" * 8193),
        (10, ((4, H, H, H),) * 65),
        (11, (H,) * 17),
        (16, b"n" * 4097),
        (16, "note"),
        (2, 7, 1, H, H, 0),
        (20, 9, b"salt", b"h" * 64),
        (20, 9, b"salt" * 2, b"h" * 60),
        (20, 9, b"salt" * 2, b"h" * 48),
        (20, 9, b"salt" * 2, b"h" * 33),
        (20, 9, b"salt" * 2, b"h" * 4 * 8192),
        (21, 9, b"", (), True),
        (21, 9, b"\1\2\3", (), True),
        (21, 9, b"\1", (), 1),
        (12, 256, b""),
        (12, 4, b"b" * (MAX_EVIDENCE_BYTES + 1)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_message_of_another_shape_is_refused(value: Value) -> None:
    with pytest.raises(FormatError):
        parse_message(value)


def test_a_refusal_tells_the_type_and_not_the_content() -> None:
    with pytest.raises(FormatError) as refused:
        parse_message((4, (b"secret",)))
    assert ("type 4" in str(refused.value), "secret" in str(refused.value)) == (True, False)
