"""What must hold for every tree: compared with the definitions of RFC 6962, exhaustively while trees are small."""

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.rfc6962 import ReferenceTree, SparseTree, tiles_of
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, TreeHead, leaf_hashes
from tlog.proofs import (
    NodeId,
    ReadNode,
    consistency_nodes,
    cover,
    covering_subtrees,
    fold,
    inclusion_nodes,
    is_valid_subtree,
    prove_consistency,
    prove_inclusion,
    prove_subtree_consistency,
    root_at,
    root_from_node,
    root_nodes,
    subtree_hash,
    subtree_nodes,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
)
from tlog.tiles import (
    EntryBundle,
    Tile,
    TileReader,
    bundles_for,
    format_entries,
    parse_entries,
    right_edge,
    tile_of,
    tiles_at,
    tiles_for,
    tiles_of_growth,
)

SMALL = 64
ENTRIES = [b"entry %d" % i for i in range(66_000)]
TREE = ReferenceTree(ENTRIES)
LEAVES = leaf_hashes(ENTRIES)
TILES = tiles_of(LEAVES)
LARGEST = 2**63 - 1


def head(size: int) -> TreeHead:
    return TreeHead(size, TREE.mth(0, size))


def read_tile(tile: Tile) -> bytes:
    return TILES[tile.level, tile.index][: 32 * tile.width]


def flip(data: Hash, bit: int) -> Hash:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return Hash(bytes(changed))


def refused(verify: Callable[..., None], *arguments: object) -> bool:
    try:
        verify(*arguments)
    except ProofError:
        return True
    return False


sizes = st.one_of(st.integers(1, 600), st.integers(65_500, 65_580), st.integers(1, len(ENTRIES)))
huge = st.integers(1, LARGEST) | st.integers(0, 62).flatmap(lambda e: st.integers(max(1, 2**e - 2), 2**e + 2))
bits = st.integers(0, 255)


# Against the recursion


@pytest.mark.parametrize("size", range(1, SMALL + 1))
def test_every_small_inclusion_proof_is_that_of_rfc_6962(size: int) -> None:
    for index in range(size):
        path = prove_inclusion(index, size, TREE.node)
        assert path == TREE.path(index, 0, size)
        verify_inclusion(LEAVES[index], index, head(size), path)


@pytest.mark.parametrize("new", range(SMALL + 1))
def test_every_small_consistency_proof_is_that_of_rfc_6962(new: int) -> None:
    for old in range(new + 1):
        path = prove_consistency(old, new, TREE.node)
        assert path == (TREE.proof(old, new) if old else [])
        verify_consistency(head(old), head(new), path)


@given(sizes, st.data())
def test_larger_proofs_are_those_of_rfc_6962(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = prove_inclusion(index, size, TREE.node)
    assert path == TREE.path(index, 0, size)
    verify_inclusion(LEAVES[index], index, head(size), path)
    old = index + 1
    growth = prove_consistency(old, size, TREE.node)
    assert growth == TREE.proof(old, size)
    verify_consistency(head(old), head(size), growth)


# Any change is noticed


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33])
def test_every_flipped_bit_of_an_inclusion_proof_is_refused(size: int) -> None:
    for index in range(size):
        leaf, root, path = LEAVES[index], head(size), prove_inclusion(index, size, TREE.node)
        for bit in range(0, 256, 37):
            assert refused(verify_inclusion, flip(leaf, bit), index, root, path)
            assert refused(verify_inclusion, leaf, index, TreeHead(size, flip(root.root_hash, bit)), path)
            for at in range(len(path)):
                changed = [*path[:at], flip(path[at], bit), *path[at + 1 :]]
                assert refused(verify_inclusion, leaf, index, root, changed)


@given(sizes, bits, st.data())
def test_a_flipped_bit_of_an_inclusion_proof_is_refused(size: int, bit: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    parts = [LEAVES[index], head(size).root_hash, *prove_inclusion(index, size, TREE.node)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = flip(parts[at], bit)
    leaf, root, *path = parts
    assert refused(verify_inclusion, leaf, index, TreeHead(size, root), path)


@given(sizes, bits, st.data())
def test_a_flipped_bit_of_a_consistency_proof_is_refused(new: int, bit: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    parts = [head(old).root_hash, head(new).root_hash, *prove_consistency(old, new, TREE.node)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = flip(parts[at], bit)
    old_root, new_root, *path = parts
    assert refused(verify_consistency, TreeHead(old, old_root), TreeHead(new, new_root), path)


@pytest.mark.parametrize("size", range(1, 40))
def test_no_other_index_is_proved_by_the_same_path(size: int) -> None:
    for index in range(size):
        path = prove_inclusion(index, size, TREE.node)
        for other in range(-1, size + 2):
            if other != index:
                assert refused(verify_inclusion, LEAVES[index], other, head(size), path)


@pytest.mark.parametrize("size", range(1, 40))
def test_a_path_proves_a_leaf_under_its_own_root_only(size: int) -> None:
    """With the size changed alone the same hashes may lead to the same root, so the size is part of what is signed."""
    for index in range(size):
        path = prove_inclusion(index, size, TREE.node)
        for other in range(41):
            if other != size:
                assert refused(verify_inclusion, LEAVES[index], index, head(other), path)


@given(sizes, st.data())
def test_growth_is_proved_between_its_own_sizes_only(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    path = prove_consistency(old, new, TREE.node)
    other = data.draw(st.integers(max(1, old - 3), min(len(ENTRIES), old + 3)))
    assume(other != old)
    assert refused(verify_consistency, head(other), head(new), path)
    assert refused(verify_consistency, TreeHead(other, head(old).root_hash), head(new), path)


@given(sizes, st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70), st.data())
def test_appended_garbage_is_refused(size: int, garbage: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    extra = [Hash(value) for value in garbage]
    path = prove_inclusion(index, size, TREE.node)
    assert refused(verify_inclusion, LEAVES[index], index, head(size), [*path, *extra])
    growth = prove_consistency(index, size, TREE.node)
    assert refused(verify_consistency, head(index), head(size), [*growth, *extra])
    assert refused(verify_consistency, head(size), head(size), extra)


@given(sizes, st.data())
def test_a_proof_lacking_any_hash_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = prove_inclusion(index, size, TREE.node)
    for at in range(len(path)):
        assert refused(verify_inclusion, LEAVES[index], index, head(size), path[:at] + path[at + 1 :])
    growth = prove_consistency(index, size, TREE.node)
    for at in range(len(growth)):
        assert refused(verify_consistency, head(index), head(size), growth[:at] + growth[at + 1 :])


@given(sizes, st.data(), st.integers(0, 64))
def test_a_hash_of_another_length_is_refused(size: int, data: st.DataObject, length: int) -> None:
    assume(length != 32)
    index = data.draw(st.integers(0, size - 1))
    parts = [LEAVES[index], *prove_inclusion(index, size, TREE.node)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = Hash((parts[at] * 3)[:length])
    leaf, *path = parts
    assert refused(verify_inclusion, leaf, index, head(size), path)


@given(st.integers(-2, 2**64), st.integers(-2, 2**64), st.lists(st.binary(max_size=40), max_size=70))
def test_any_input_is_refused_by_proof_errors_only(index: int, size: int, values: list[bytes]) -> None:
    path = [Hash(value) for value in values]
    leaf, root = Hash(b"\x01" * 32), Hash(b"\x02" * 32)
    assert refused(verify_inclusion, leaf, index, TreeHead(size, root), path)
    assert refused(verify_subtree_consistency, index, size, TreeHead(size, root), leaf, path)
    assert index == 0 or refused(verify_consistency, TreeHead(index, leaf), TreeHead(size, root), path)


# Sizes that no list of leaves could have


@given(huge, st.data())
def test_leaves_of_huge_trees_are_proved_and_only_there(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1) | st.integers(max(0, size - 3), size - 1))
    tree = SparseTree({index: b"special"})
    root = TreeHead(size, tree.mth(0, size))
    assert root_at(size, tree.node) == root.root_hash
    path = prove_inclusion(index, size, tree.node)
    assert len(path) <= size.bit_length()
    verify_inclusion(tree.special[index], index, root, path)
    other = data.draw(st.integers(0, size - 1))
    assert other == index or refused(verify_inclusion, tree.special[index], other, root, path)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert refused(
            verify_inclusion, tree.special[index], index, root, [*path[:at], flip(path[at], 0), *path[at + 1 :]]
        )


@given(huge, st.data())
def test_growth_of_huge_trees_is_proved_in_at_most_64_hashes(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new) | st.integers(max(1, new // 2 - 2), max(1, new // 2 + 2)))
    assume(old <= new)
    tree = SparseTree({0: b"first", old - 1: b"last of the old", new - 1: b"last"})
    path = prove_consistency(old, new, tree.node)
    assert len(path) <= 64
    heads = TreeHead(old, tree.mth(0, old)), TreeHead(new, tree.mth(0, new))
    verify_consistency(*heads, path)
    if old < new:
        assert fold(old, new, heads[0].root_hash, path) == (heads[0].root_hash, heads[1].root_hash)
        at = data.draw(st.integers(0, len(path) - 1))
        assert refused(verify_consistency, *heads, [*path[:at], flip(path[at], 0), *path[at + 1 :]])


@given(huge, st.data())
def test_nodes_of_huge_trees_are_proved_by_the_rest_of_a_path(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    level = data.draw(st.integers(0, size.bit_length() - 1))
    assume((index >> level) + 1 << level <= size)
    tree = SparseTree({index: b"special"})
    path = prove_inclusion(index, size, tree.node)
    node = tree.node(level, index >> level)
    assert root_from_node(level, index >> level, size, node, path[level:]) == tree.mth(0, size)


@given(huge, st.data())
def test_subtrees_of_huge_trees_are_proved(size: int, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, size))
    start = data.draw(st.integers(0, end))
    for low, high in covering_subtrees(start, end):
        tree = SparseTree({low: b"in the subtree", size - 1: b"last"})
        subtree = subtree_hash(low, high, tree.node)
        path = prove_subtree_consistency(low, high, size, tree.node)
        root = TreeHead(size, tree.mth(0, size))
        verify_subtree_consistency(low, high, root, subtree, path)
        assert refused(verify_subtree_consistency, low, high, root, flip(subtree, 9), path)


# Subtrees and what they are made of


@given(huge, st.data())
def test_two_subtrees_cover_any_range_tightly(size: int, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, size))
    start = data.draw(st.integers(0, end))
    left, right = covering_subtrees(start, end)
    assert is_valid_subtree(*left)
    assert is_valid_subtree(*right)
    assert left[1] == right[0]
    assert left[0] <= start
    assert right[1] == end
    assert start == end or start - left[0] < left[1] - start


@given(huge, st.data())
def test_a_cover_is_adjacent_perfect_and_falling(size: int, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, size))
    (start, middle), (_, end) = covering_subtrees(data.draw(st.integers(0, end)), end)
    for low, high in [(start, middle), (middle, end)]:
        nodes = cover(low, high)
        edges = [low, *((index + 1) << level for level, index in nodes)]
        assert edges[-1] == high
        assert [index << level for level, index in nodes] == edges[:-1]
        assert [level for level, _ in nodes] == sorted({level for level, _ in nodes}, reverse=True)


# Compact ranges


@given(st.lists(st.integers(0, 300), min_size=4, max_size=4))
def test_merging_ranges_is_associative(cuts: list[int]) -> None:
    a, b, c, d = sorted(cuts)
    left, middle, right = (
        CompactRange(low, low, ()).extend(LEAVES[low:high]) for low, high in [(a, b), (b, c), (c, d)]
    )
    whole = CompactRange(a, a, ()).extend(LEAVES[a:d])
    assert left.merge(middle).merge(right) == left.merge(middle.merge(right)) == whole


@given(sizes, st.data())
def test_a_range_is_a_tree_however_it_grew(size: int, data: st.DataObject) -> None:
    middle = data.draw(st.integers(max(0, size - 300), size))
    grown = CompactRange(0, middle, tuple(TREE.node(*node) for node in root_nodes(middle)))
    one_by_one = grown
    for leaf in LEAVES[middle:size]:
        one_by_one = one_by_one.append(leaf)
    assert grown.extend(LEAVES[middle:size]) == one_by_one
    assert one_by_one.tree_head() == head(size)


@given(huge, huge, huge)
def test_huge_ranges_merge_to_the_root(a: int, b: int, c: int) -> None:
    first, second, size = sorted((a, b, c))
    tree = SparseTree({0: b"first", size - 1: b"last"})

    def over(begin: int, end: int) -> CompactRange:
        """The hashes of a range: those of the nodes left and right of the paths that part below it."""
        nodes: list[NodeId] = []
        while begin < end:
            level = min((begin & -begin).bit_length() - 1 if begin else 63, (end - begin).bit_length() - 1)
            nodes.append(NodeId(level, begin >> level))
            begin += 1 << level
        return CompactRange(end - sum(1 << n.level for n in nodes), end, tuple(tree.node(*n) for n in nodes))

    assert over(0, first).merge(over(first, second)).merge(over(second, size)).root() == tree.mth(0, size)
    assert EMPTY_RANGE.merge(over(0, size)).tree_head() == TreeHead(size, root_at(size, tree.node))


# Tiles

TILE_SIZES = [*range(1, 40), *range(40, 600, 7), 255, 256, 257, 511, 512, 513, *range(65_533, 65_540), 65_791, 65_792]


@pytest.mark.parametrize("size", TILE_SIZES)
def test_a_tree_read_from_tiles_is_the_tree(size: int) -> None:
    reader = TileReader(size, read_tile)
    assert root_at(size, reader.node) == TREE.mth(0, size)
    for index in {0, size // 3, size // 2, size - 1}:
        assert prove_inclusion(index, size, reader.node) == TREE.path(index, 0, size)
        old = index + 1
        assert root_at(old, reader.node) == TREE.mth(0, old)
        assert prove_consistency(old, size, reader.node) == TREE.proof(old, size)


@given(sizes, st.data())
def test_any_node_read_from_tiles_is_the_node(size: int, data: st.DataObject) -> None:
    level = data.draw(st.integers(0, size.bit_length() - 1))
    index = data.draw(st.integers(0, (size >> level) - 1))
    assert TileReader(size, read_tile).node(level, index) == TREE.node(level, index)


@given(sizes, st.data())
def test_the_named_tiles_are_enough_and_none_is_read_besides(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    index = data.draw(st.integers(0, size - 1))
    cases: list[tuple[list[NodeId], Callable[[ReadNode], object]]] = [
        (inclusion_nodes(index, size), lambda read: prove_inclusion(index, size, read)),
        (consistency_nodes(old, size), lambda read: prove_consistency(old, size, read)),
        (root_nodes(old), lambda read: root_at(old, read)),
    ]
    for nodes, prove in cases:
        named = {tile: read_tile(tile) for tile in tiles_for(nodes, size)}
        read: set[Tile] = set()

        def read_named(tile: Tile, named: dict[Tile, bytes] = named, read: set[Tile] = read) -> bytes:
            read.add(tile)
            return named[tile]

        prove(TileReader(size, read_named).node)
        assert read == set(named)
        assert read <= set(tiles_at(size))


@given(st.integers(0, 70_000) | st.integers(0, 2_000), st.integers(0, 3_000) | st.integers(0, 70_000))
def test_growth_names_just_the_tiles_that_are_new(old: int, growth: int) -> None:
    new = old + growth
    named = tiles_of_growth(old, new)
    assert len(named) == len(set(named))
    assert set(named) == set(tiles_at(new)) - set(tiles_at(old))


@given(huge)
def test_the_right_edge_is_the_last_tile_of_each_level(size: int) -> None:
    edge = right_edge(size)
    assert [tile.level for tile in edge] == list(range(len(edge)))
    for tile in edge:
        count = size >> 8 * tile.level  # SPEC: T-9 partial tiles are not hashed into the level above
        assert tile.index * 256 + tile.width == count
        assert 0 < tile.width <= 256
        assert tile.end <= size < tile.end + 256**tile.level
    assert size >> 8 * len(edge) == 0
    assert set(tiles_for(root_nodes(size), size)) <= set(edge)


@given(huge, st.data())
def test_a_node_is_within_the_leaves_of_its_tile(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    for node in [*subtree_nodes(0, old, size), *root_nodes(old)]:
        tile = tile_of(node, size)
        assert tile.start <= node.index << node.level
        assert (node.index + 1) << node.level <= tile.end <= size
        assert tile.level == node.level // 8


@given(sizes, st.data())
def test_bundles_hold_just_the_entries_asked_for(size: int, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, size))
    start = data.draw(st.integers(0, end))
    bundles = bundles_for(start, end, size)
    held = [index for bundle in bundles for index in range(bundle.start, bundle.end)]
    assert held == list(range(start // 256 * 256, min(-(-end // 256) * 256, size))) or start == end
    assert all({Tile(0, bundle.index, bundle.width)} <= set(tiles_at(size)) for bundle in bundles[-1:])


# Formats

places = st.tuples(st.integers(0, LARGEST) | st.integers(0, 2000), st.integers(1, 256))
path_text = st.text("tile/nrsx0123456789.p-", max_size=40) | st.text(max_size=30)


@given(st.integers(0, 63), places)
def test_paths_read_back(level: int, place: tuple[int, int]) -> None:
    tile, bundle = Tile(level, *place), EntryBundle(*place)
    assert Tile.parse(tile.path()) == tile
    assert EntryBundle.parse(bundle.path()) == bundle


@given(st.sampled_from(["tile/0/", "tile/7/", "tile/entries/", ""]), path_text)
def test_an_accepted_path_is_written_back(prefix: str, rest: str) -> None:
    for kind in (Tile, EntryBundle):
        try:
            parsed = kind.parse(prefix + rest)
        except FormatError:
            continue
        assert parsed.path() == prefix + rest


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_read_back(entries: list[bytes]) -> None:
    assert parse_entries(format_entries(entries), len(entries)) == entries


@given(st.binary(max_size=100), st.integers(0, 8))
def test_an_accepted_bundle_is_written_back(data: bytes, width: int) -> None:
    try:
        entries = parse_entries(data, width)
    except FormatError:
        return
    assert len(entries) == width
    assert format_entries(entries) == data
