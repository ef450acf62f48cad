from collections.abc import Callable

import pytest

from tests.rfc6962 import ReferenceTree, SparseTree
from tlog.errors import ProofError
from tlog.hashing import EMPTY_ROOT, EMPTY_TREE, Hash, TreeHead, leaf_hash
from tlog.proofs import (
    NodeId,
    consistency_nodes,
    cover,
    covering_subtrees,
    fold,
    inclusion_nodes,
    is_valid_subtree,
    prove_consistency,
    prove_inclusion,
    prove_subtree_consistency,
    prove_subtree_inclusion,
    root_at,
    root_from_inclusion,
    root_from_node,
    root_nodes,
    subtree_hash,
    subtree_nodes,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

ENTRIES = [b"entry %d" % i for i in range(40)]
TREE = ReferenceTree(ENTRIES)
FORK = ReferenceTree([*ENTRIES[:5], b"another", *ENTRIES[6:]])
OTHER = leaf_hash(b"something else")
LARGEST = 2**63 - 1


def head(size: int, tree: ReferenceTree = TREE) -> TreeHead:
    return TreeHead(size, tree.mth(0, size))


def leaf(index: int) -> Hash:
    return TREE.mth(index, index + 1)


def recording(nodes: list[NodeId]) -> Callable[[int, int], Hash]:
    def read(level: int, index: int) -> Hash:
        nodes.append(NodeId(level, index))
        return TREE.node(level, index)

    return read


# Inclusion


def test_an_inclusion_proof_starts_with_the_sibling_of_the_leaf() -> None:
    assert prove_inclusion(4, 7, TREE.node) == [TREE.mth(5, 6), TREE.mth(6, 7), TREE.mth(0, 4)]


def test_an_inclusion_proof_verifies() -> None:
    verify_inclusion(leaf(4), 4, head(7), prove_inclusion(4, 7, TREE.node))


def test_a_tree_of_one_leaf_needs_no_proof() -> None:
    assert prove_inclusion(0, 1, TREE.node) == []
    verify_inclusion(leaf(0), 0, head(1), [])


def test_another_leaf_is_not_included() -> None:
    with pytest.raises(ProofError, match="another root"):
        verify_inclusion(OTHER, 4, head(7), prove_inclusion(4, 7, TREE.node))


def test_a_leaf_is_included_at_its_own_index_only() -> None:
    path = prove_inclusion(4, 8, TREE.node)
    for index in (0, 1, 2, 3, 5, 6, 7):
        with pytest.raises(ProofError):
            verify_inclusion(leaf(4), index, head(8), path)


@pytest.mark.parametrize(("index", "size"), [(7, 7), (8, 7), (-1, 7), (0, 0), (2**70, 7)])
def test_an_index_outside_of_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="no such node"):
        verify_inclusion(leaf(4), index, TreeHead(size, EMPTY_ROOT), [])


@pytest.mark.parametrize(("index", "size"), [(7, 7), (-1, 7), (0, 0)])
def test_a_leaf_outside_of_the_tree_cannot_be_proved(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not a subtree"):
        prove_inclusion(index, size, TREE.node)


def test_a_longer_proof_is_refused() -> None:
    path = prove_inclusion(4, 7, TREE.node)
    with pytest.raises(ProofError, match="longer"):
        verify_inclusion(leaf(4), 4, head(7), [*path, OTHER])


def test_a_shorter_proof_is_refused() -> None:
    path = prove_inclusion(4, 7, TREE.node)
    with pytest.raises(ProofError, match="does not reach"):
        verify_inclusion(leaf(4), 4, head(7), path[:-1])


def test_a_hash_of_another_length_is_refused_before_it_is_hashed() -> None:
    # 33 + 31 bytes would hash like 32 + 32 bytes.
    path = prove_inclusion(0, 2, TREE.node)
    node, sibling = leaf(0), path[0]
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(Hash(node + sibling[:1]), 0, head(2), [Hash(sibling[1:])])
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(node, 0, head(2), [Hash(b"")])


def test_the_root_of_an_inclusion_proof_is_told_without_a_head() -> None:
    assert root_from_inclusion(leaf(4), 4, 7, prove_inclusion(4, 7, TREE.node)) == TREE.mth(0, 7)


# Whole nodes


def test_dropping_the_start_of_a_path_proves_a_whole_node() -> None:
    for size in range(1, 41):
        for index in range(size):
            path = prove_inclusion(index, size, TREE.node)
            for level in range(size.bit_length()):
                if (index >> level) + 1 << level <= size:
                    node = TREE.node(level, index >> level)
                    assert root_from_node(level, index >> level, size, node, path[level:]) == TREE.mth(0, size)


@pytest.mark.parametrize(("level", "index"), [(0, 7), (1, 3), (2, 1), (3, 0), (-1, 0), (0, -1), (64, 0), (10**9, 0)])
def test_a_node_that_a_tree_does_not_have_is_refused(level: int, index: int) -> None:
    with pytest.raises(ProofError, match="no such node"):
        root_from_node(level, index, 7, OTHER, [])


# Consistency


def test_a_consistency_proof_verifies() -> None:
    verify_consistency(head(6), head(7), prove_consistency(6, 7, TREE.node))


def test_a_consistency_proof_leaves_out_an_old_root_that_is_a_node() -> None:
    assert prove_consistency(4, 7, TREE.node) == [TREE.mth(4, 7)]
    assert prove_consistency(3, 7, TREE.node) == [leaf(2), leaf(3), TREE.mth(0, 2), TREE.mth(4, 7)]


def test_another_history_is_not_consistent() -> None:
    path = prove_consistency(6, 7, FORK.node)
    with pytest.raises(ProofError, match="another root"):
        verify_consistency(head(6), head(7, FORK), path)
    with pytest.raises(ProofError, match="another root"):
        verify_consistency(head(6, FORK), head(7), path)


def test_a_proof_of_the_old_tree_alone_is_not_enough() -> None:
    path = prove_consistency(6, 8, TREE.node)
    with pytest.raises(ProofError, match="another root"):
        verify_consistency(head(6), TreeHead(8, OTHER), path)


def test_from_the_empty_tree_there_is_nothing_to_prove() -> None:
    assert prove_consistency(0, 7, TREE.node) == []
    verify_consistency(EMPTY_TREE, head(7), [])
    verify_consistency(EMPTY_TREE, EMPTY_TREE, [])


def test_from_the_empty_tree_the_proof_must_be_empty() -> None:
    for new in (EMPTY_TREE, head(7)):
        with pytest.raises(ProofError, match="not empty"):
            verify_consistency(EMPTY_TREE, new, [OTHER])


def test_the_empty_tree_has_one_root() -> None:
    for old, new in [(TreeHead(0, OTHER), head(7)), (TreeHead(0, OTHER), TreeHead(0, OTHER))]:
        with pytest.raises(ProofError, match="empty tree"):
            verify_consistency(old, new, [])
    with pytest.raises(ProofError, match="empty tree"):
        verify_consistency(EMPTY_TREE, TreeHead(0, OTHER), [])


def test_a_tree_is_consistent_with_itself() -> None:
    assert prove_consistency(7, 7, TREE.node) == []
    verify_consistency(head(7), head(7), [])


def test_between_equal_sizes_the_roots_are_equal() -> None:
    with pytest.raises(ProofError, match="different roots"):
        verify_consistency(head(7), head(7, FORK), [])


def test_between_equal_sizes_the_proof_must_be_empty() -> None:
    with pytest.raises(ProofError, match="not empty"):
        verify_consistency(head(7), head(7), [OTHER])


def test_a_tree_does_not_shrink() -> None:
    with pytest.raises(ProofError, match="larger"):
        verify_consistency(head(7), head(6), prove_consistency(6, 7, TREE.node))
    with pytest.raises(ValueError, match="not a subtree"):
        prove_consistency(7, 6, TREE.node)


def test_an_empty_proof_proves_no_growth() -> None:
    for old in (4, 6):
        with pytest.raises(ProofError):
            verify_consistency(head(old), head(7), [])


def test_fold_returns_both_roots() -> None:
    for new in range(2, 41):
        for old in range(1, new):
            path = prove_consistency(old, new, TREE.node)
            assert fold(old, new, TREE.mth(0, old), path) == (TREE.mth(0, old), TREE.mth(0, new))


def test_fold_convicts_the_old_root_of_another_history() -> None:
    # The larger tree's own nodes lead to the larger signed root and to another old root than the signed one.
    path = prove_consistency(6, 20, TREE.node)
    computed, new_root = fold(6, 20, root_at(6, TREE.node), path)
    assert new_root == TREE.mth(0, 20)
    assert computed != FORK.mth(0, 6)


def test_fold_takes_an_old_root_of_a_power_of_two_as_part_of_the_proof() -> None:
    old_root, new_root = fold(8, 20, FORK.mth(0, 8), prove_consistency(8, 20, TREE.node))
    assert old_root == FORK.mth(0, 8)
    assert new_root != TREE.mth(0, 20)


@pytest.mark.parametrize(("old", "new"), [(0, 7), (7, 7), (8, 7), (-1, 7)])
def test_fold_is_for_trees_that_grew(old: int, new: int) -> None:
    with pytest.raises(ProofError, match="no consistency proof"):
        fold(old, new, OTHER, [OTHER])


# Subtrees


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (5, 5), (0, 1), (0, 13), (4, 8), (8, 13), (12, 13), (6, 8), (0, LARGEST)]
)
def test_aligned_ranges_are_subtrees(start: int, end: int) -> None:
    assert is_valid_subtree(start, end)


@pytest.mark.parametrize(("start", "end"), [(1, 3), (2, 5), (4, 9), (3, 2), (-1, 0), (-2, -1), (1, 2**63 + 2)])
def test_other_ranges_are_not(start: int, end: int) -> None:
    assert not is_valid_subtree(start, end)


def test_the_subtree_examples_of_the_draft() -> None:
    assert prove_subtree_inclusion(10, 8, 13, TREE.node) == [leaf(11), TREE.mth(8, 10), leaf(12)]
    assert prove_subtree_consistency(4, 8, 14, TREE.node) == [TREE.mth(0, 4), TREE.mth(8, 14)]
    assert prove_subtree_consistency(8, 13, 14, TREE.node) == [leaf(12), leaf(13), TREE.mth(8, 12), TREE.mth(0, 8)]
    assert covering_subtrees(7, 9) == ((7, 8), (8, 9))
    assert covering_subtrees(5, 13) == ((4, 8), (8, 13))


def test_the_hash_of_a_subtree_is_that_of_a_tree_of_its_leaves() -> None:
    assert subtree_hash(8, 13, TREE.node) == ReferenceTree(ENTRIES[8:13]).mth(0, 5)
    assert subtree_hash(5, 5, TREE.node) == EMPTY_ROOT


def test_a_subtree_inclusion_proof_verifies() -> None:
    path = prove_subtree_inclusion(10, 8, 13, TREE.node)
    verify_subtree_inclusion(leaf(10), 10, 8, 13, TREE.mth(8, 13), path)


@pytest.mark.parametrize("index", [7, 13, 9])
def test_a_leaf_is_in_a_subtree_at_its_own_index_only(index: int) -> None:
    path = prove_subtree_inclusion(10, 8, 13, TREE.node)
    with pytest.raises(ProofError):
        verify_subtree_inclusion(leaf(10), index, 8, 13, TREE.mth(8, 13), path)


def test_inclusion_in_what_is_no_subtree_is_refused() -> None:
    with pytest.raises(ProofError, match="not a subtree"):
        verify_subtree_inclusion(leaf(3), 3, 3, 5, TREE.mth(3, 5), [leaf(4)])
    with pytest.raises(ProofError, match="no such node"):
        verify_subtree_inclusion(leaf(3), 3, 3, 3, EMPTY_ROOT, [])


@pytest.mark.parametrize(("index", "start", "end"), [(3, 3, 5), (7, 8, 13), (13, 8, 13), (8, 8, 8)])
def test_inclusion_in_what_is_no_subtree_cannot_be_proved(index: int, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="no such leaf"):
        prove_subtree_inclusion(index, start, end, TREE.node)


def test_a_subtree_consistency_proof_verifies() -> None:
    for start, end in [(4, 8), (8, 13), (0, 14), (0, 6), (5, 6), (5, 5)]:
        path = prove_subtree_consistency(start, end, 14, TREE.node)
        verify_subtree_consistency(start, end, head(14), TREE.mth(start, end), path)


def test_a_subtree_of_another_history_is_refused() -> None:
    for start, end in [(4, 8), (4, 7), (0, 14), (0, 7), (5, 6)]:
        path = prove_subtree_consistency(start, end, 14, TREE.node)
        with pytest.raises(ProofError, match=r"(another|different) root"):
            verify_subtree_consistency(start, end, head(14), FORK.mth(start, end), path)
        with pytest.raises(ProofError, match=r"(another|different) root"):
            verify_subtree_consistency(start, end, head(14, FORK), TREE.mth(start, end), path)


@pytest.mark.parametrize(("start", "end"), [(3, 5), (8, 15), (16, 17), (5, 4)])
def test_what_is_no_subtree_of_the_tree_is_refused(start: int, end: int) -> None:
    with pytest.raises(ProofError, match="not a subtree"):
        verify_subtree_consistency(start, end, head(14), OTHER, [])
    with pytest.raises(ValueError, match="not a subtree"):
        prove_subtree_consistency(start, end, 14, TREE.node)


def test_an_empty_subtree_has_an_empty_proof_and_the_empty_hash() -> None:
    for subtree, path in [(OTHER, []), (EMPTY_ROOT, [OTHER])]:
        with pytest.raises(ProofError, match="empty"):
            verify_subtree_consistency(5, 5, head(14), subtree, path)


def test_a_proof_that_has_to_begin_with_a_part_of_the_subtree_is_not_empty() -> None:
    with pytest.raises(ProofError, match="is empty"):
        verify_subtree_consistency(8, 13, head(14), TREE.mth(8, 13), [])


def test_one_leaf_or_none_is_covered_by_itself() -> None:
    assert covering_subtrees(3, 4) == ((3, 4), (4, 4))
    assert covering_subtrees(3, 3) == ((3, 3), (3, 3))


@pytest.mark.parametrize(("start", "end"), [(2, 1), (-1, 1), (-2, -1)])
def test_what_is_no_range_is_covered_by_nothing(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="range"):
        covering_subtrees(start, end)


# Which nodes are read


def test_the_named_nodes_are_the_ones_read() -> None:
    for size in range(1, 41):
        read: list[NodeId] = []
        root_at(size, recording(read))
        assert read == root_nodes(size)
        for index in range(size):
            read.clear()
            prove_inclusion(index, size, recording(read))
            assert read == inclusion_nodes(index, size)
            read.clear()
            prove_consistency(index, size, recording(read))
            assert read == consistency_nodes(index, size)


def test_only_nodes_within_the_tree_are_read() -> None:
    for size in range(1, 41):
        for end in range(size + 1):
            for start in range(end + 1):
                if is_valid_subtree(start, end):
                    nodes = subtree_nodes(start, end, size)
                    assert all((index + 1) << level <= size for level, index in nodes)
                    assert len(set(nodes)) == len(nodes)


def test_a_cover_goes_from_left_to_right_and_from_large_to_small() -> None:
    assert cover(8, 15) == [(2, 2), (1, 6), (0, 14)]
    assert cover(0, 0) == []
    with pytest.raises(ValueError, match="not a subtree"):
        cover(1, 3)


def test_a_store_that_lacks_a_node_says_so_itself() -> None:
    nodes: dict[tuple[int, int], Hash] = {}
    with pytest.raises(KeyError):
        prove_inclusion(4, 7, lambda level, index: nodes[level, index])


# The largest trees


@pytest.mark.parametrize("index", [0, 1, 2**62 - 1, 2**62, 2**62 + 12345, LARGEST - 2, LARGEST - 1])
def test_a_leaf_of_the_largest_tree_is_proved(index: int) -> None:
    tree = SparseTree({index: b"special"})
    root = TreeHead(LARGEST, root_at(LARGEST, tree.node))
    assert root.root_hash == tree.mth(0, LARGEST)
    path = prove_inclusion(index, LARGEST, tree.node)
    assert len(path) <= 63
    verify_inclusion(tree.special[index], index, root, path)
    with pytest.raises(ProofError):
        verify_inclusion(tree.special[index], index ^ 1, root, path)


@pytest.mark.parametrize("old", [1, 2**62 - 1, 2**62, 2**62 + 1, 2**62 + 2**61 + 3, LARGEST - 1])
def test_the_growth_of_the_largest_tree_is_proved(old: int) -> None:
    tree = SparseTree({0: b"first", 2**61 + 7: b"second", old - 1: b"last of the old", LARGEST - 1: b"last"})
    heads = TreeHead(old, tree.mth(0, old)), TreeHead(LARGEST, tree.mth(0, LARGEST))
    path = prove_consistency(old, LARGEST, tree.node)
    verify_consistency(*heads, path)
    for at in range(len(path)):
        with pytest.raises(ProofError):
            verify_consistency(*heads, [*path[:at], OTHER, *path[at + 1 :]])


def test_the_longest_consistency_proof_has_64_hashes() -> None:
    tree = SparseTree({0: b"first"})
    old = 2**62 + 1
    path = prove_consistency(old, LARGEST, tree.node)
    assert len(path) == 64
    verify_consistency(TreeHead(old, tree.mth(0, old)), TreeHead(LARGEST, tree.mth(0, LARGEST)), path)


def test_a_subtree_at_the_end_of_the_largest_tree_is_proved() -> None:
    start, end = 2**62, LARGEST - 5
    tree = SparseTree({start: b"first of the subtree", LARGEST - 2: b"after it"})
    subtree = subtree_hash(start, end, tree.node)
    assert subtree == tree.mth(start, end)
    path = prove_subtree_consistency(start, end, LARGEST, tree.node)
    verify_subtree_consistency(start, end, TreeHead(LARGEST, tree.mth(0, LARGEST)), subtree, path)
    inner = prove_subtree_inclusion(start, start, end, tree.node)
    verify_subtree_inclusion(tree.special[start], start, start, end, subtree, inner)
