from hashlib import sha256

import pytest

from tlog.hashing import (
    EMPTY_ROOT,
    EMPTY_TREE,
    HASH_SIZE,
    TreeHead,
    leaf_hash,
    leaf_hashes,
    node_hash,
    node_hashes,
)


def test_the_empty_tree_hashes_to_sha256_of_nothing() -> None:
    assert bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == EMPTY_ROOT
    assert TreeHead(0, EMPTY_ROOT) == EMPTY_TREE


def test_a_leaf_is_prefixed_with_zero() -> None:
    assert leaf_hash(b"entry") == sha256(b"\x00entry").digest()


def test_an_empty_entry_has_a_leaf_hash_unlike_that_of_the_empty_tree() -> None:
    assert leaf_hash(b"") == sha256(b"\x00").digest()
    assert leaf_hash(b"") != EMPTY_ROOT


def test_a_node_is_prefixed_with_one() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest()


def test_no_entry_passes_for_a_node() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(b"\x01" + left + right) != node_hash(left, right)
    assert leaf_hash(left + right) != node_hash(left, right)


def test_the_order_of_children_matters() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert node_hash(left, right) != node_hash(right, left)


def test_many_leaves_hash_as_one_by_one() -> None:
    entries = [b"", b"a", bytes(65535)]
    assert leaf_hashes(entries) == [leaf_hash(entry) for entry in entries]
    assert leaf_hashes(iter(entries)) == leaf_hashes(entries)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 255, 256])
def test_a_row_of_nodes_hashes_to_the_row_above_without_its_odd_last(count: int) -> None:
    row = leaf_hashes([b"%d" % i for i in range(count)])
    assert node_hashes(row) == [node_hash(row[2 * i], row[2 * i + 1]) for i in range(count // 2)]


def test_hashes_are_32_bytes() -> None:
    assert {len(leaf_hash(b"x")), len(node_hash(EMPTY_ROOT, EMPTY_ROOT)), len(EMPTY_ROOT)} == {HASH_SIZE}


def test_a_tree_head_is_a_value_that_cannot_change() -> None:
    head = TreeHead(1, EMPTY_ROOT)
    with pytest.raises(AttributeError):
        head.size = 2  # type: ignore[misc]  # the point of the test
    assert hash(head) == hash(TreeHead(1, EMPTY_ROOT))
