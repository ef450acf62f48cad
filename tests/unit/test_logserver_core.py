"""Sequencing and growing, against the definitions typed out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logserver.core import EMPTY_EDGE, Edge, grow, sequence
from tests.rfc6962 import ReferenceTree
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.hashing import EMPTY_ROOT, Hash, leaf_hash, leaf_hashes
from tlog.tiles import Tile, parse_entries, tile_hashes, tiles_at

ENTRIES = [b"entry %d" % number for number in range(70_000)]


def mth(entries: list[bytes]) -> Hash:
    return ReferenceTree(entries).mth(0, len(entries))


def sequenced(entries: list[bytes], known: dict[Hash, int] | None, tree: CompactRange = EMPTY_RANGE) -> tuple[int, ...]:
    return sequence(tree, entries, leaf_hashes(entries), known).indexes


def test_new_entries_get_the_next_indexes() -> None:
    tree = EMPTY_RANGE.extend(leaf_hashes([b"a", b"b"]))
    assert sequenced([b"c", b"d"], {}, tree) == (2, 3)


def test_an_entry_that_stands_twice_in_a_batch_gets_its_first_index_twice() -> None:
    assert sequenced([b"a", b"b", b"a", b"c"], {}) == (0, 1, 0, 2)


def test_a_known_entry_gets_its_index_again() -> None:
    tree = EMPTY_RANGE.extend(leaf_hashes([b"a", b"b"]))
    assert sequenced([b"b", b"c"], {leaf_hash(b"b"): 1}, tree) == (1, 2)


def test_without_duplicate_suppression_every_entry_is_new() -> None:
    assert sequenced([b"a", b"a"], None) == (0, 1)


@given(st.lists(st.binary(max_size=2), max_size=30))
def test_the_sequenced_tree_is_that_of_the_fresh_entries(entries: list[bytes]) -> None:
    batch = sequence(EMPTY_RANGE, entries, leaf_hashes(entries), {})
    assert batch.tree.tree_head().size == len(set(entries)) == len(batch.fresh)
    assert batch.tree.root() == mth(list(batch.fresh))
    assert [batch.fresh[index] for index in batch.indexes] == entries


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 1000])
def test_the_edge_of_a_grown_tree_has_its_root(size: int) -> None:
    edge, _ = grow(EMPTY_EDGE, ENTRIES[:size])
    assert edge.root_hash() == (mth(ENTRIES[:size]) if size else EMPTY_ROOT)


def files_at(size: int, steps: list[int]) -> dict[str, bytes]:
    edge = EMPTY_EDGE
    files: dict[str, bytes] = {}
    for step in [*[s for s in steps if s < size], size]:
        edge, grown = grow(edge, ENTRIES[edge.size : step])
        files |= {file.path: file.data for file in grown}
    return files


@given(st.integers(1, 1500), st.lists(st.integers(1, 1500), max_size=6))
def test_a_tree_has_the_same_tiles_however_it_was_grown(size: int, steps: list[int]) -> None:
    once, often = files_at(size, []), files_at(size, sorted(steps))
    assert once.items() <= often.items()
    assert {tile.path() for tile in tiles_at(size)} <= once.keys()


def test_tiles_of_three_levels_hold_the_hashes_of_their_entries() -> None:
    edge, files = grow(EMPTY_EDGE, ENTRIES)
    by_path = {file.path: file.data for file in files}
    # SPEC: T-6, T-8, T-9 the layout of 70,000 entries: 273 full tiles and 112 hashes, 1 full and 17, and 1.
    assert len(tile_hashes(by_path[Tile(0, 273, 112).path()])) == 112
    assert len(tile_hashes(by_path[Tile(1, 1, 17).path()])) == 17
    assert tile_hashes(by_path[Tile(2, 0, 1).path()]) == [mth(ENTRIES[:65536])]
    assert parse_entries(by_path["tile/entries/273.p/112"], 112) == ENTRIES[-112:] == list(edge.entries)


def test_growing_by_nothing_writes_nothing() -> None:
    edge, _ = grow(EMPTY_EDGE, ENTRIES[:300])
    assert grow(edge, []) == (edge, [])


def test_an_edge_of_an_empty_tree_has_the_empty_root() -> None:
    assert Edge(0, (), ()).root_hash() == EMPTY_ROOT
