import pytest

from tests.rfc6962 import ReferenceTree, SparseTree
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.hashing import EMPTY_ROOT, EMPTY_TREE, Hash, leaf_hashes
from tlog.proofs import root_nodes

ENTRIES = [b"entry %d" % i for i in range(70)]
LEAVES = leaf_hashes(ENTRIES)
TREE = ReferenceTree(ENTRIES)


def range_over(begin: int, end: int) -> CompactRange:
    return CompactRange(begin, begin, ()).extend(LEAVES[begin:end])


def test_the_empty_range_is_the_empty_tree() -> None:
    assert EMPTY_RANGE.root() == EMPTY_ROOT
    assert EMPTY_RANGE.tree_head() == EMPTY_TREE


def test_the_root_is_that_of_rfc_6962_at_every_size() -> None:
    assert [range_over(0, size).root() for size in range(71)] == [TREE.mth(0, size) for size in range(71)]


def test_the_tree_head_holds_size_and_root() -> None:
    head = range_over(0, 13).tree_head()
    assert (head.size, head.root_hash) == (13, TREE.mth(0, 13))


def test_appending_one_by_one_is_extending() -> None:
    for begin in range(20):
        grown = CompactRange(begin, begin, ())
        for end in range(begin, 40):
            assert grown == range_over(begin, end)
            grown = grown.append(LEAVES[end])


def test_extending_in_two_steps_is_extending_in_one() -> None:
    for middle in range(41):
        assert range_over(0, middle).extend(LEAVES[middle:40]) == range_over(0, 40)


def test_extending_by_nothing_changes_nothing() -> None:
    assert range_over(3, 7).extend([]) == range_over(3, 7)


def test_neighbouring_ranges_merge_into_the_range_over_both() -> None:
    for begin in range(12):
        for middle in range(begin, 24):
            for end in range(middle, 36):
                assert range_over(begin, middle).merge(range_over(middle, end)) == range_over(begin, end)


def test_merging_does_not_depend_on_the_order() -> None:
    a, b, c = range_over(3, 11), range_over(11, 30), range_over(30, 61)
    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == range_over(3, 61)


def test_the_hashes_are_those_of_the_largest_subtrees_from_left_to_right() -> None:
    assert range_over(3, 13).hashes == tuple(TREE.mth(*part) for part in [(3, 4), (4, 8), (8, 12), (12, 13)])


def test_a_tree_can_be_read_from_its_root_nodes() -> None:
    for size in range(71):
        read = CompactRange(0, size, tuple(TREE.node(*node) for node in root_nodes(size)))
        assert read == range_over(0, size)


def test_ranges_that_are_not_neighbours_do_not_merge() -> None:
    with pytest.raises(ValueError, match="neighbours"):
        range_over(0, 4).merge(range_over(5, 6))


def test_a_range_that_does_not_begin_at_leaf_0_has_no_root() -> None:
    with pytest.raises(ValueError, match="leaf 0"):
        range_over(4, 8).root()
    with pytest.raises(ValueError, match="leaf 0"):
        range_over(4, 8).tree_head()


@pytest.mark.parametrize(("begin", "end"), [(-1, 0), (2, 1)])
def test_a_range_does_not_end_before_it_begins(begin: int, end: int) -> None:
    with pytest.raises(ValueError, match="before"):
        CompactRange(begin, end, ())


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_the_number_of_hashes_is_fixed_by_the_range(count: int) -> None:
    with pytest.raises(ValueError, match="number of hashes"):
        CompactRange(0, 7, (EMPTY_ROOT,) * count)


def test_the_largest_tree_is_held_in_63_hashes_and_still_grows() -> None:
    size = 2**63 - 2
    tree = SparseTree({size: b"last"})
    before = CompactRange(0, size, tuple(tree.node(*node) for node in root_nodes(size)))
    after = before.append(tree.special[size])
    assert len(after.hashes) == 63
    assert after.root() == tree.mth(0, size + 1)
    assert before.extend([tree.special[size]]) == after


def test_a_range_in_the_middle_of_the_largest_tree_has_at_most_two_hashes_a_level() -> None:
    hashes = (Hash(bytes(32)),) * 124
    assert CompactRange(1, 2**63 - 1, hashes).hashes == hashes
