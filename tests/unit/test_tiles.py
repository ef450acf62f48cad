from collections.abc import Callable

import pytest

from tests.rfc6962 import ReferenceTree, SparseTree, tiles_of
from tlog.errors import FormatError
from tlog.hashing import leaf_hashes
from tlog.proofs import (
    NodeId,
    consistency_nodes,
    inclusion_nodes,
    prove_consistency,
    prove_inclusion,
    root_at,
    root_nodes,
)
from tlog.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_ENTRY_BYTES,
    MAX_TILE_BYTES,
    EntryBundle,
    Tile,
    TileReader,
    bundles_for,
    format_entries,
    parse_entries,
    right_edge,
    tile_hashes,
    tile_of,
    tiles_at,
    tiles_for,
    tiles_of_growth,
)

LARGEST = 2**63 - 1
ENTRIES = [b"entry %d" % i for i in range(70_000)]
LEAVES = leaf_hashes(ENTRIES)
TILES = tiles_of(LEAVES)


def read_tile(tile: Tile) -> bytes:
    return TILES[tile.level, tile.index][: 32 * tile.width]


def recording(read: list[Tile]) -> Callable[[Tile], bytes]:
    def read_and_record(tile: Tile) -> bytes:
        read.append(tile)
        return read_tile(tile)

    return read_and_record


# Paths

PATHS = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 1234067), "tile/0/x001/x234/067"),
    (Tile(0, 1234067, 89), "tile/0/x001/x234/067.p/89"),
    (Tile(0, 1000), "tile/0/x001/000"),
    (Tile(0, 999), "tile/0/999"),
    (Tile(0, 273, 112), "tile/0/273.p/112"),
    (Tile(1, 1067, 8), "tile/1/x001/067.p/8"),
    (Tile(63, 10**18 - 1, 255), "tile/63/x999/x999/x999/x999/x999/999.p/255"),
    (Tile(0, LARGEST, 1), "tile/0/x009/x223/x372/x036/x854/x775/807.p/1"),
]


@pytest.mark.parametrize(("tile", "path"), PATHS)
def test_a_tile_has_one_path(tile: Tile, path: str) -> None:
    assert tile.path() == path
    assert Tile.parse(path) == tile


@pytest.mark.parametrize(("tile", "path"), [pair for pair in PATHS if pair[0].level == 0])
def test_the_path_of_a_bundle_is_that_of_its_leaf_tile_among_the_entries(tile: Tile, path: str) -> None:
    bundle = EntryBundle(tile.index, tile.width)
    assert bundle.path() == path.replace("tile/0/", "tile/entries/")
    assert EntryBundle.parse(bundle.path()) == bundle


# SPEC: T-6 zero-padded 3-digit elements, all but the last begin with x; a width of 1 to 255 without leading zeros
BAD_PLACES = [
    "",
    "0",
    "00",
    "0000",
    "1",
    "1000",
    "001/000",
    "x001",
    "x001/",
    "x001/x000",
    "x000/000",
    "x000/x001/000",
    "X001/000",
    "x001/0002",
    "x001/-02",
    "x0a1/002",
    "000/",
    "/000",
    "000.p",
    "000.p/",
    "000.p/0",
    "000.p/00",
    "000.p/01",
    "000.p/256",
    "000.p/999",
    "000.p/1000",
    "000.p/-1",
    "000.p/+1",
    "000.p/1 ",
    "000.p/1/",
    "000.P/1",
    "000.p/٣",
    "٠٠٠",
    "000\n",
    "000 ",
    " 000",
    "000.p/1\n",
    "000?x",
    "000%2Fp/1",
    "000%2Ep/1",
    "..",
    "../000",
    "x001/../000",
    "./000",
    "000\x00",
    "x009/x223/x372/x036/x854/x775/808",  # 2**63
    "x999/x999/x999/x999/x999/x999/999",
    "x001/x000/x000/x000/x000/x000/x000/000",
]


@pytest.mark.parametrize("place", BAD_PLACES)
def test_any_other_spelling_of_a_place_is_refused(place: str) -> None:
    with pytest.raises(FormatError):
        Tile.parse(f"tile/0/{place}")
    with pytest.raises(FormatError):
        EntryBundle.parse(f"tile/entries/{place}")


@pytest.mark.parametrize(
    "level", ["", "-1", "+1", "00", "01", "64", "99", "100", "a", "entries", "data", "٣", "1 ", "0/0"]
)
def test_a_level_is_a_decimal_from_0_to_63(level: str) -> None:
    # SPEC: T-5 the level is a decimal from 0 to 63 without leading zeros
    with pytest.raises(FormatError):
        Tile.parse(f"tile/{level}/000")


@pytest.mark.parametrize(
    "path", ["", "/tile/0/000", "tile/0/000/", "tile//000", "Tile/0/000", "x/tile/0/000", "tile/8/0/000"]
)
def test_a_tile_path_is_below_tile(path: str) -> None:
    with pytest.raises(FormatError):
        Tile.parse(path)


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/entries", "entries/000", "/tile/entries/000", "tile/entries//000"]
)
def test_a_bundle_path_is_below_tile_entries(path: str) -> None:
    with pytest.raises(FormatError):
        EntryBundle.parse(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tile/64/000", "larger than 63"),
        ("tile/0/000.p/256", "1 to 255"),
        ("tile/0/x000/001", "leading zeros"),
        ("tile/0/x009/x223/x372/x036/x854/x775/808", "larger than 2"),
        ("tile/0", "not the path of a tile"),
    ],
)
def test_a_refusal_says_what_is_wrong(path: str, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        Tile.parse(path)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    for path in ["tile/0/secret", "tile/77/123", "tile/0/000.p/777", "tile/0/x000/345"]:
        with pytest.raises(FormatError) as refusal:
            Tile.parse(path)
        assert not any(part in str(refusal.value) for part in ("secret", "77", "777", "345", "123"))


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (64, 0, 1)])
def test_there_is_no_tile_at_another_level(level: int, index: int, width: int) -> None:
    with pytest.raises(ValueError, match="level"):
        Tile(level, index, width)


@pytest.mark.parametrize(("index", "width"), [(-1, 1), (2**63, 1), (0, 0), (0, -1), (0, 257)])
def test_there_is_no_tile_or_bundle_of_another_index_or_width(index: int, width: int) -> None:
    # SPEC: T-10 empty tiles must not be served: there are none
    with pytest.raises(ValueError, match="index or width"):
        Tile(0, index, width)
    with pytest.raises(ValueError, match="index or width"):
        EntryBundle(index, width)


def test_a_tile_tells_its_leaves() -> None:
    assert (Tile(0, 3).start, Tile(0, 3).end, Tile(0, 3).is_partial) == (768, 1024, False)
    assert (Tile(0, 3, 7).start, Tile(0, 3, 7).end, Tile(0, 3, 7).is_partial) == (768, 775, True)
    assert (Tile(2, 1, 2).start, Tile(2, 1, 2).end) == (256**3, 256**3 + 2 * 256**2)


def test_the_end_of_a_full_tile_is_its_end_index() -> None:
    # The tile end index of pruning is (n + 1) * 256**(l + 1).
    assert [Tile(level, 4).end for level in range(3)] == [5 * 256 ** (level + 1) for level in range(3)]


def test_a_bundle_tells_its_entries() -> None:
    assert (EntryBundle(3).start, EntryBundle(3).end, EntryBundle(3).is_partial) == (768, 1024, False)
    assert (EntryBundle(3, 7).start, EntryBundle(3, 7).end, EntryBundle(3, 7).is_partial) == (768, 775, True)


# Bytes


def test_a_full_tile_is_8192_bytes() -> None:
    # SPEC: T-8 full tiles must be exactly 256 hashes, 8192 bytes
    assert MAX_TILE_BYTES == 8192
    assert tile_hashes(b"".join(LEAVES[:256])) == LEAVES[:256]


@pytest.mark.parametrize("size", [0, 1, 31, 33, 8191, 8193, 8224])
def test_a_tile_is_1_to_256_whole_hashes(size: int) -> None:
    with pytest.raises(FormatError, match="1 to 256"):
        tile_hashes(bytes(size))


@pytest.mark.parametrize("entries", [[], [b""], [b"", b""], [b"a", b"", b"bc"], [bytes(65535)], [b"x"] * 256])
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    assert parse_entries(format_entries(entries), len(entries)) == entries


def test_entries_are_preceded_by_their_length_in_two_bytes() -> None:
    assert format_entries([b"abc", b"", bytes(258)]) == b"\x00\x03abc" + b"\x00\x00" + b"\x01\x02" + bytes(258)


@pytest.mark.parametrize(
    ("data", "width"),
    [
        (b"", 1),
        (b"\x00", 1),
        (b"\x00\x01", 1),
        (b"\x00\x02a", 1),
        (b"\x00\x01a", 2),
        (b"\x00\x01a\x00", 2),
        (b"\x00\x01a\x00", 1),
        (b"\x00\x01a\x00\x00", 1),
        (b"\x00", 0),
    ],
)
def test_a_bundle_holds_exactly_its_entries(data: bytes, width: int) -> None:
    with pytest.raises(FormatError, match="bundle"):
        parse_entries(data, width)


def test_an_entry_is_at_most_65535_bytes() -> None:
    assert MAX_ENTRY_BYTES == 65535
    assert parse_entries(format_entries([bytes(MAX_ENTRY_BYTES)]), 1) == [bytes(MAX_ENTRY_BYTES)]
    with pytest.raises(ValueError, match="65535"):
        format_entries([b"", bytes(MAX_ENTRY_BYTES + 1)])


def test_a_bundle_holds_at_most_256_entries() -> None:
    with pytest.raises(ValueError, match="256"):
        format_entries([b""] * 257)


def test_the_largest_bundle_is_within_its_limit() -> None:
    assert len(format_entries([bytes(MAX_ENTRY_BYTES)] * 256)) == MAX_BUNDLE_BYTES == 16_777_472


# Which tiles a tree consists of


def test_the_empty_tree_has_no_tiles() -> None:
    assert list(tiles_at(0)) == right_edge(0) == tiles_of_growth(0, 0) == tiles_for([], 0) == []


def test_a_level_above_starts_with_the_first_full_tile() -> None:
    # SPEC: T-9 a partial tile must not be hashed into the level above
    assert list(tiles_at(255)) == [Tile(0, 0, 255)]
    assert list(tiles_at(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_at(257)) == [Tile(0, 0), Tile(0, 1, 1), Tile(1, 0, 1)]
    assert list(tiles_at(511)) == [Tile(0, 0), Tile(0, 1, 255), Tile(1, 0, 1)]


def test_the_example_of_the_specification() -> None:
    assert list(tiles_at(70_000)) == [
        *(Tile(0, index) for index in range(273)),
        Tile(0, 273, 112),
        Tile(1, 0),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]


def test_the_right_edge_is_the_last_tile_of_each_level() -> None:
    assert right_edge(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert right_edge(65_536) == [Tile(0, 255), Tile(1, 0), Tile(2, 0, 1)]
    assert right_edge(1) == [Tile(0, 0, 1)]


def test_the_root_is_read_from_the_right_edge_alone() -> None:
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000, LARGEST]:
        assert set(tiles_for(root_nodes(size), size)) <= set(right_edge(size))


def test_growth_touches_what_is_new_or_wider() -> None:
    # SPEC: T-11 partial tiles must be served for every tree size for which a checkpoint was produced
    assert tiles_of_growth(0, 300) == list(tiles_at(300))
    assert tiles_of_growth(255, 256) == [Tile(0, 0), Tile(1, 0, 1)]
    assert tiles_of_growth(256, 257) == [Tile(0, 1, 1)]
    assert tiles_of_growth(257, 600) == [Tile(0, 1), Tile(0, 2, 88), Tile(1, 0, 2)]
    assert tiles_of_growth(300, 300) == []


def test_growth_of_the_largest_tree_is_told_without_walking_it() -> None:
    assert tiles_of_growth(LARGEST - 1, LARGEST) == [Tile(0, 2**55 - 1, 255)]
    assert [tile.level for tile in right_edge(LARGEST)] == list(range(8))
    assert next(tiles_at(LARGEST)) == Tile(0, 0)


def test_a_node_is_in_the_tile_of_the_level_below_it() -> None:
    assert tile_of(NodeId(0, 256), 300) == Tile(0, 1, 44)
    assert tile_of(NodeId(7, 1), 300) == Tile(0, 0)
    assert tile_of(NodeId(8, 0), 300) == Tile(1, 0, 1)
    assert tile_of(NodeId(62, 0), LARGEST) == Tile(7, 0, 127)


@pytest.mark.parametrize("node", [NodeId(0, 300), NodeId(1, 150), NodeId(9, 0), NodeId(-1, 0), NodeId(0, -1)])
def test_a_node_outside_of_the_tree_is_in_no_tile(node: NodeId) -> None:
    with pytest.raises(ValueError, match="no such node"):
        tile_of(node, 300)


def test_each_tile_is_named_once() -> None:
    nodes = [*inclusion_nodes(3, 300), *inclusion_nodes(4, 300), *consistency_nodes(200, 300)]
    assert tiles_for(nodes, 300) == [Tile(0, 0), Tile(0, 1, 44)]


def test_bundles_are_as_wide_as_the_tree_has_them() -> None:
    assert bundles_for(0, 300, 300) == [EntryBundle(0), EntryBundle(1, 44)]
    assert bundles_for(255, 257, 300) == [EntryBundle(0), EntryBundle(1, 44)]
    assert bundles_for(256, 257, 300) == [EntryBundle(1, 44)]
    assert bundles_for(0, 256, 300) == [EntryBundle(0)]
    assert bundles_for(7, 7, 300) == []


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (2, 1), (0, 301)])
def test_entries_outside_of_the_tree_are_in_no_bundle(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="no such entries"):
        bundles_for(start, end, 300)


# Reading nodes from tiles


def test_nodes_between_the_tile_rows_are_hashed_from_the_tile_below() -> None:
    tree = ReferenceTree(ENTRIES)
    reader = TileReader(70_000, read_tile)
    for level in range(17):
        last = (70_000 >> level) - 1
        for index in {0, last, last // 2, last // 3}:
            assert reader.node(level, index) == tree.node(level, index)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 70_000])
def test_the_reader_is_as_strict_as_the_tree(size: int) -> None:
    reader = TileReader(size, read_tile)
    for node in [NodeId(0, size), NodeId(17, 0), NodeId(0, -1), NodeId(-1, 0), NodeId(1, size // 2)]:
        with pytest.raises(ValueError, match="no such node"):
            reader.node(*node)


def test_a_tile_of_another_width_is_refused() -> None:
    for data in [b"".join(LEAVES[:43]), b"".join(LEAVES[:45]), b"", b"\x00"]:
        reader = TileReader(44, lambda _, data=data: data)  # type: ignore[misc]  # mypy cannot infer a default
        with pytest.raises(FormatError, match="tile"):
            reader.node(0, 0)


def test_a_refused_tile_is_asked_for_again() -> None:
    answers = [b"", b"".join(LEAVES[:2])]
    reader = TileReader(2, lambda tile: answers.pop(0))
    with pytest.raises(FormatError):
        reader.node(0, 1)
    assert reader.node(0, 1) == LEAVES[1]


def test_what_the_store_raises_passes_through() -> None:
    tiles: dict[Tile, bytes] = {}
    with pytest.raises(KeyError):
        TileReader(5, lambda tile: tiles[tile]).node(0, 0)


def test_only_tiles_that_the_size_demands_are_read() -> None:
    # SPEC: T-13 a client must not fetch other partial tiles than a verified checkpoint's size demands
    for size in (44, 300, 65_537, 69_999):
        read: list[Tile] = []
        reader = TileReader(size, recording(read))
        root_at(size, reader.node)
        prove_inclusion(size // 3, size, reader.node)
        prove_consistency(size // 2, size, reader.node)
        assert set(read) <= set(tiles_at(size))


def test_a_proof_reads_each_of_its_tiles_once() -> None:
    for old in (1, 255, 256, 257, 33_333, 65_535, 65_536, 65_537, 69_999):
        read: list[Tile] = []
        reader = TileReader(70_000, recording(read))
        root_at(old, reader.node)
        prove_consistency(old, 70_000, reader.node)
        nodes = [*root_nodes(old), *consistency_nodes(old, 70_000)]
        assert read == tiles_for(nodes, 70_000)


def test_an_old_root_and_its_proof_fit_into_the_cache_at_any_size() -> None:
    for old in (2**62 + 1, 2**62 - 1, LARGEST - 1, 2**61 + 2**48 + 2**40 + 2**32 + 2**24 + 2**16 + 2**8 + 1):
        tree = SparseTree({old: b"first of the new"})
        read: list[Tile] = []

        def read_sparse(tile: Tile, tree: SparseTree = tree, read: list[Tile] = read) -> bytes:
            read.append(tile)
            first = tile.index * 256
            return b"".join(tree.node(8 * tile.level, first + i) for i in range(tile.width))

        reader = TileReader(LARGEST, read_sparse)
        assert root_at(old, reader.node) == tree.mth(0, old)
        assert prove_consistency(old, LARGEST, reader.node) == prove_consistency(old, LARGEST, tree.node)
        assert len(read) == len(set(read)) <= 24


def test_memory_does_not_grow_with_the_tiles_read() -> None:
    read: list[Tile] = []
    reader = TileReader(70_000, recording(read))
    for index in range(0, 256 * 40, 256):
        reader.node(0, index)
    assert len(read) == 40
    reader.node(0, 256 * 39)
    assert len(read) == 40
    reader.node(0, 0)
    assert len(read) == 41


def test_the_tile_used_last_is_kept_longest() -> None:
    read: list[Tile] = []
    reader = TileReader(70_000, recording(read))
    for index in range(0, 256 * 40, 256):
        reader.node(0, index)
        reader.node(0, 7)
    assert read.count(Tile(0, 0)) == 1


def test_reading_a_leaf_hashes_nothing() -> None:
    # The bytes are handed out as they are: 256 leaves of a tile whose hashes are all zero.
    reader = TileReader(256, lambda tile: bytes(8192))
    assert {reader.node(0, index) for index in range(256)} == {bytes(32)}


def test_a_tile_that_was_tampered_with_leads_to_another_root() -> None:
    def tampered(tile: Tile) -> bytes:
        data = bytearray(read_tile(tile))
        data[-1] ^= 1
        return bytes(data)

    assert root_at(300, TileReader(300, tampered).node) != ReferenceTree(ENTRIES).mth(0, 300)
