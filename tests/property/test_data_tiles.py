"""Data tiles of checksum databases and of certificate logs: whatever is written is read, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from tlog.errors import FormatError
from tlog.static_ct import MAX_LEAF_INDEX, TileLeaf, format_extensions, format_leaves, parse_leaves
from tlog.sumdb import format_records, parse_records
from tlog.text import MAX_INTEGER

LINES = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1, max_size=30)
RECORDS = st.lists(LINES, min_size=1, max_size=4).map(lambda lines: "".join(f"{line}\n" for line in lines).encode())
HASHES = st.binary(min_size=32, max_size=32)
CHAINS = st.lists(HASHES, max_size=3).map(tuple)
BYTES = st.binary(min_size=1, max_size=60)
TIMES = st.integers(0, MAX_INTEGER)


@st.composite
def leaves(draw: st.DrawFn) -> tuple[int, list[TileLeaf]]:
    count = draw(st.integers(1, 6))
    first = draw(st.integers(0, MAX_LEAF_INDEX - count))
    found = []
    for index in range(first, first + count):
        extensions = format_extensions(index)
        whole = draw(st.none() | BYTES)
        issuer = None if whole is None else draw(HASHES)
        found.append(TileLeaf(draw(TIMES), draw(BYTES), extensions, draw(CHAINS), issuer, whole))
    return first, found


@given(st.lists(RECORDS, min_size=1, max_size=6), st.booleans())
def test_every_entry_of_a_checksum_database_comes_back(records: list[bytes], empty_line: bool) -> None:
    written = format_records(records)
    assert parse_records(written if empty_line else written[:-1], 0, len(records)) == records


@given(leaves())
def test_every_entry_of_a_certificate_log_comes_back(written: tuple[int, list[TileLeaf]]) -> None:
    first, found = written
    assert parse_leaves(format_leaves(found), first, len(found)) == found


@given(leaves(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_another_entry_or_none(written: tuple[int, list[TileLeaf]], at: int, change: int) -> None:
    first, found = written
    data = bytearray(format_leaves(found))
    data[at % len(data)] ^= change
    try:
        assert parse_leaves(bytes(data), first, len(found)) != found
    except FormatError:
        return
