"""Data tiles and paths of Go checksum databases."""

import json

import pytest

from tests.vectors import vector
from tlog.errors import FormatError
from tlog.hashing import Hash, leaf_hash
from tlog.sumdb import (
    MAX_DATA_TILE_BYTES,
    ORIGIN,
    data_tile_path,
    format_records,
    hash_tile_path,
    parse_records,
)
from tlog.text import parse_hash
from tlog.tiles import EntryBundle, Tile

ONE, TWO = b"a v1 h1:x\na v1/go.mod h1:y\n", b"b v2 h1:z\n"


def test_entries_are_divided_by_empty_lines() -> None:
    assert parse_records(ONE + b"\n" + TWO, 0, 2) == [ONE, TWO]


def test_the_last_entry_may_be_followed_by_an_empty_line_as_the_go_library_writes_it() -> None:
    assert format_records([ONE, TWO]) == ONE + b"\n" + TWO + b"\n"
    assert parse_records(format_records([ONE, TWO]), 0, 2) == [ONE, TWO]


@pytest.mark.parametrize(
    ("data", "width", "why"),
    [
        (b"", 1, "does not hold 1 entries"),
        (ONE, 2, "does not hold 2 entries"),
        (ONE + b"\n" + TWO, 1, "does not hold 1 entries"),
        (ONE[:-1], 1, "does not hold 1 entries"),
        (b"\n", 1, "entry 7 has an empty line"),
        (b"\n" + ONE, 1, "entry 7 has an empty line"),
        (ONE + b"\n\n" + TWO, 2, "entry 8 has an empty line"),
        (ONE + b"\n\n", 1, "entry 7 has an empty line"),
        (ONE + b"\n" + b"b\rc\n", 2, "entry 8 contains a control character"),
        (b"\xff\n", 1, "entry 7 is not UTF-8"),
        (b"a\n" * (MAX_DATA_TILE_BYTES // 2 + 1), 1, "larger than"),
        (b"\n" * MAX_DATA_TILE_BYTES, 256, "does not hold 256 entries"),
    ],
)
def test_what_no_database_serves_is_refused_by_the_name_of_the_entry(data: bytes, width: int, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_records(data, 7, width)


@pytest.mark.parametrize("record", [b"", b"a", b"a\n\nb\n", b"\na\n"])
def test_what_is_no_entry_is_not_written(record: bytes) -> None:
    with pytest.raises(ValueError, match="the text of an entry"):
        format_records([ONE, record])


def test_paths_name_the_height_of_the_tiles() -> None:
    assert hash_tile_path(Tile(0, 1067, 8)) == "tile/8/0/x001/067.p/8"
    assert hash_tile_path(Tile(2, 0)) == "tile/8/2/000"
    assert data_tile_path(EntryBundle(1067, 8)) == "tile/8/data/x001/067.p/8"


def test_the_records_of_the_go_test_server_hash_to_its_tiles() -> None:
    server = json.loads(vector("golang-mod/sumdb_client.json").read_text())
    records = [record["text"].encode() for record in server["records"]]
    parsed = parse_records(format_records(records), 0, len(records))
    hashes = bytes.fromhex(server["tiles_hex"]["/tile/2/0/000"])
    assert [leaf_hash(record) for record in parsed] == [Hash(hashes[at : at + 32]) for at in range(0, 128, 32)]
    assert server["signed_trees"]["4"].startswith(ORIGIN + "\n")


def test_a_leaf_is_hashed_as_the_go_library_hashes_a_record() -> None:
    (case,) = json.loads(vector("golang-mod/tlog_text.json").read_text())["record_hash"]
    assert leaf_hash(case["data"].encode()) == parse_hash(case["hash"].encode())
