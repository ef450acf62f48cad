"""Merkle proofs of RFC 6962: made from any store of nodes, and checked, for trees of up to 2**63 - 1 leaves.

There is one kind of proof here: that the leaves ``[start, end)`` hash to this subtree and that the subtree belongs to
a tree of ``size`` leaves with that root. An inclusion proof is the one for a single leaf, a consistency proof the one
for a subtree that begins at leaf 0, and Merkle Tree Certificates (draft-ietf-plants-merkle-tree-certs) use the rest. So
there is one routine that says which hashes a proof consists of, and one that folds them up again.

Proofs are made through a ``ReadNode``: a function that returns the hash of the perfect subtree at a level and index.
What it returns is believed; whoever made it checks the resulting root or proof against a signed tree head.

Proofs are checked against a tree head and raise ``ProofError``, including for sizes and indexes that are impossible,
since those come from others too. Making a proof that cannot exist is our mistake and raises ``ValueError``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import NamedTuple

from tlog.errors import ProofError
from tlog.hashing import EMPTY_ROOT, HASH_SIZE, Hash, TreeHead, node_hash


class NodeId(NamedTuple):
    """The perfect subtree over the leaves ``[index << level, (index + 1) << level)``."""

    level: int
    index: int  # type: ignore[assignment]  # tuple.index is of no use to a node


ReadNode = Callable[[int, int], Hash]
"""Returns the hash of the node at a level and index; only ever asked for nodes the maker's ``*_nodes`` names."""


# Which nodes are read.


def inclusion_nodes(index: int, size: int) -> list[NodeId]:
    """Name the nodes that ``prove_inclusion`` reads."""
    return subtree_nodes(index, index + 1, size)


def consistency_nodes(old: int, new: int) -> list[NodeId]:
    """Name the nodes that ``prove_consistency`` reads."""
    return subtree_nodes(0, old, new)


def subtree_nodes(start: int, end: int, size: int) -> list[NodeId]:
    """Name the nodes that ``prove_subtree_consistency`` reads."""
    return [node for part in _proof_ranges(start, end, 0, size) for node in cover(*part)]


def root_nodes(size: int) -> list[NodeId]:
    """Name the nodes that ``root_at`` reads."""
    return cover(0, size)


def cover(start: int, end: int) -> list[NodeId]:
    """Name the perfect subtrees, from left to right and hence from large to small, that make up a valid subtree."""
    if not is_valid_subtree(start, end):
        raise ValueError("not a subtree")
    length = end - start
    levels = (level for level in reversed(range(length.bit_length())) if length >> level & 1)
    return [NodeId(level, (end >> level) - 1) for level in levels]


def is_valid_subtree(start: int, end: int) -> bool:
    """Tell whether ``[start, end)`` is a subtree that proofs can be about: empty, or aligned to its rounded-up size."""
    if not 0 <= start <= end:
        return False
    return start == end or start % (1 << (end - start - 1).bit_length()) == 0


def covering_subtrees(start: int, end: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose the two neighbouring subtrees that cover any range of leaves, as Merkle Tree Certificates do.

    They end where the range ends; before its start the left one holds less than as many leaves again.
    """
    if not 0 <= start <= end:
        raise ValueError("not a range of leaves")
    if end - start <= 1:
        return (start, end), (end, end)
    last = end - 1
    below_fork = (1 << (start ^ last).bit_length() - 1) - 1
    middle = last & ~below_fork
    left_height = (~start & below_fork).bit_length()
    return (start >> left_height << left_height, middle), (middle, end)


# Making proofs.


def prove_inclusion(index: int, size: int, read: ReadNode) -> list[Hash]:
    """Prove that a leaf is in a tree: the hash of the leaf's sibling first."""
    return prove_subtree_consistency(index, index + 1, size, read)


def prove_consistency(old: int, new: int, read: ReadNode) -> list[Hash]:
    """Prove that the first ``old`` leaves of a tree are the tree it was then: nothing to prove from 0 or to itself."""
    return prove_subtree_consistency(0, old, new, read)


def prove_subtree_inclusion(index: int, start: int, end: int, read: ReadNode) -> list[Hash]:
    """Prove that a leaf is in the subtree ``[start, end)``."""
    if not is_valid_subtree(start, end) or not start <= index < end:
        raise ValueError("no such leaf in a subtree")
    return [subtree_hash(*part, read) for part in _proof_ranges(index, index + 1, start, end)]


def prove_subtree_consistency(start: int, end: int, size: int, read: ReadNode) -> list[Hash]:
    """Prove that the subtree ``[start, end)`` belongs to a tree."""
    return [subtree_hash(*part, read) for part in _proof_ranges(start, end, 0, size)]


def root_at(size: int, read: ReadNode) -> Hash:
    """Compute the root hash of the first ``size`` leaves."""
    return subtree_hash(0, size, read)


def subtree_hash(start: int, end: int, read: ReadNode) -> Hash:
    """Compute the hash of a valid subtree."""
    hashes = [read(level, index) for level, index in cover(start, end)]
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes)) if hashes else EMPTY_ROOT


# Checking proofs.


def verify_inclusion(leaf: Hash, index: int, head: TreeHead, path: Sequence[Hash]) -> None:
    """Check that a leaf stands at an index of a tree."""
    _require_root(root_from_inclusion(leaf, index, head.size, path), head.root_hash)


def root_from_inclusion(leaf: Hash, index: int, size: int, path: Sequence[Hash]) -> Hash:
    """Compute the root that an inclusion proof leads to."""
    return root_from_node(0, index, size, leaf, path)


def root_from_node(level: int, index: int, size: int, node: Hash, path: Sequence[Hash]) -> Hash:
    """Compute the root that the inclusion proof of a whole perfect subtree leads to."""
    if not (0 <= level < size.bit_length() and index >= 0 and (index + 1) << level <= size):
        raise ProofError("no such node in a tree of this size")
    _, root = _fold(index << level, (index + 1) << level, size, node, path)
    return root


def verify_consistency(old: TreeHead, new: TreeHead, path: Sequence[Hash]) -> None:
    """Check that a tree is the older one plus appended leaves.

    RFC 6962 leaves both ends undefined: from the empty tree there is nothing to prove, so the path must be empty, and
    between equal sizes the roots are compared.
    """
    _require_sound_if_empty(old)
    _require_sound_if_empty(new)
    if old.size > new.size:
        raise ProofError("the old tree is larger than the new one")
    if old.size in (0, new.size):
        if path:
            raise ProofError("there is nothing to prove, yet the proof is not empty")
        if old.size == new.size and old.root_hash != new.root_hash:
            raise ProofError("two trees of the same size have different roots")
        return
    old_root, new_root = fold(old.size, new.size, old.root_hash, path)
    _require_root(old_root, old.root_hash)
    _require_root(new_root, new.root_hash)


def fold(old_size: int, new_size: int, old_root: Hash, path: Sequence[Hash]) -> tuple[Hash, Hash]:
    """Compute both roots that a consistency proof leads to, for ``0 < old_size < new_size``.

    The proof's positions are fixed by the sizes. Whoever shows a path that leads to a signed new root but to another
    old root than the signed one has shown that no consistency proof between the two exists, unless SHA-256 is broken.
    For an old size that is a power of two the old root is itself part of the proof and is returned as given.
    """
    if not 0 < old_size < new_size:
        raise ProofError("there is no consistency proof between these sizes")
    return _fold(0, old_size, new_size, old_root, path)


def verify_subtree_inclusion(leaf: Hash, index: int, start: int, end: int, subtree: Hash, path: Sequence[Hash]) -> None:
    """Check that a leaf stands at an index (counted from the tree's first leaf) of the subtree ``[start, end)``."""
    if not is_valid_subtree(start, end):
        raise ProofError("not a subtree")
    verify_inclusion(leaf, index - start, TreeHead(end - start, subtree), path)


def verify_subtree_consistency(start: int, end: int, head: TreeHead, subtree: Hash, path: Sequence[Hash]) -> None:
    """Check that a subtree with this hash belongs to a tree."""
    if not is_valid_subtree(start, end) or end > head.size:
        raise ProofError("not a subtree of a tree of this size")
    if start == end:
        if path or subtree != EMPTY_ROOT:
            raise ProofError("an empty subtree has an empty proof and the hash of the empty tree")
        return
    if start == 0:  # the subtree is an older tree, or the same
        verify_consistency(TreeHead(end, subtree), head, path)
        return
    folded, root = _fold(start, end, head.size, subtree, path)
    _require_root(folded, subtree)
    _require_root(root, head.root_hash)


# The two routines everything above is made of.


def _proof_ranges(start: int, end: int, low: int, high: int) -> list[tuple[int, int]]:
    """List the subtrees whose hashes prove that ``[start, end)`` belongs to ``[low, high)``, the deepest first.

    This is SUBTREE_PROOF of Merkle Tree Certificates, which for ``start == low`` is PROOF of RFC 6962 section 2.1.2
    and for one leaf is PATH of section 2.1.1. It walks from the root towards the subtree and lists what it passes by.
    """
    if not (is_valid_subtree(start, end) and low <= start and end <= high):
        raise ValueError("not a subtree of a tree of this size")
    ranges: list[tuple[int, int]] = []
    whole = True
    while start < end and (start, end) != (low, high):
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if end <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            if start < middle:  # the subtree covers all of the left child and a part of the right one
                start, whole = middle, False
            ranges.append((low, middle))
            low = middle
    if not whole:
        # The verifier knows the hash of the whole subtree only, so this last part of it has to be told.
        ranges.append((start, end))
    return ranges[::-1]


def _fold(start: int, end: int, size: int, subtree: Hash, path: Sequence[Hash]) -> tuple[Hash, Hash]:
    """Compute the hashes of the non-empty valid subtree ``[start, end)`` and of the tree that a proof leads to.

    ``first``, ``last`` and ``edge`` are the positions of the subtree's first node, of its last node and of the tree's
    last node in the row that the fold has reached. Where ``last`` has a sibling on its left, the sibling is hashed
    into the tree, and into the subtree as well while that reaches further left.
    """
    # The prefixes of leaves and nodes are of no use if a value of another length can stand in for a hash.
    if any(len(value) != HASH_SIZE for value in (subtree, *path)):
        raise ProofError("a hash of the proof is not 32 bytes long")
    first, last, edge = start, end - 1, size - 1
    while first != last and (last & 1 or last == edge):
        first, last, edge = first >> 1, last >> 1, edge >> 1
    siblings = iter(path)
    inner = root = subtree if first == last else _first(siblings)
    for sibling in siblings:
        if not edge:
            raise ProofError("the proof is longer than the tree is high")
        if last & 1 or last == edge:
            if first < last:
                inner = node_hash(sibling, inner)
            root = node_hash(sibling, root)
            while not last & 1:
                first, last, edge = first >> 1, last >> 1, edge >> 1
        else:
            root = node_hash(root, sibling)
        first, last, edge = first >> 1, last >> 1, edge >> 1
    if edge:
        raise ProofError("the proof does not reach the root")
    return inner, root


def _first(siblings: Iterator[Hash]) -> Hash:
    for sibling in siblings:
        return sibling
    raise ProofError("the proof is empty")


def _require_root(computed: Hash, expected: Hash) -> None:
    if computed != expected:
        raise ProofError("the proof leads to another root")


def _require_sound_if_empty(head: TreeHead) -> None:
    if head.size == 0 and head.root_hash != EMPTY_ROOT:
        raise ProofError("the empty tree has another root")
