#!/usr/bin/env python3
"""Merkle proofs: any path folds as the definition says, an honest one verifies, and a changed one does not.

Input: three numbers (start, end, size), a byte that says how large they are meant, one that says what to change, and
then the hashes of a path, the last of which may be cut short.
"""

import struct
from hashlib import sha256

from tests.rfc6962 import SparseTree, largest_power_of_two_smaller_than
from tlog.errors import ProofError
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.proofs import (
    fold,
    is_valid_subtree,
    prove_subtree_consistency,
    root_from_inclusion,
    verify_consistency,
    verify_subtree_consistency,
)

HEADER = struct.Struct(">QQQBB")
TREE = SparseTree({0: b"first", 5: b"fifth", 2**40 + 3: b"far"})
NODE = TREE.perfect[0]

Roots = tuple[Hash, Hash]


def target(data: bytes) -> None:
    if len(data) < HEADER.size:
        return
    start, end, size, magnitude, change = HEADER.unpack_from(data)
    limit = 1 << magnitude % 64
    start, end, size = start % limit, end % limit, size % limit
    path = [Hash(data[at : at + HASH_SIZE]) for at in range(HEADER.size, len(data), HASH_SIZE)]
    folds_as_defined(start, end, size, path)
    if is_valid_subtree(start, end) and end <= size:
        verifies_until_changed(start, end, size, change)


def folds_as_defined(start: int, end: int, size: int, path: list[Hash]) -> None:
    """The loops of RFC 9162 agree with the recursion of RFC 6962, also on paths that prove nothing."""
    try:
        root = root_from_inclusion(NODE, start, size, path)
    except ProofError:
        root = None
    defined = unfold(start, start + 1, size, NODE, path) if start < size else None
    if root != (defined and defined[1]):
        raise AssertionError("an inclusion proof folds to another root than defined")
    try:
        roots = fold(end, size, NODE, path)
    except ProofError:
        roots = None
    if roots != (unfold(0, end, size, NODE, path) if 0 < end < size else None):
        raise AssertionError("a consistency proof folds to other roots than defined")


def unfold(start: int, end: int, size: int, node: Hash, path: list[Hash], whole: bool = True) -> Roots | None:
    """SUBTREE_SUBPROOF of the Merkle Tree Certificates draft, run backwards: the last hash is the outermost."""
    if any(len(value) != HASH_SIZE for value in path):
        return None
    if (start, end) == (0, size):
        known = [node] if whole else path
        return (known[0], known[0]) if len(path) == (not whole) else None
    if not path:
        return None
    *inner, outermost = path
    k = largest_power_of_two_smaller_than(size)
    if end <= k:
        roots = unfold(start, end, k, node, inner, whole)
        return roots and (roots[0], hash_of(roots[1], outermost))
    if k <= start:
        roots = unfold(start - k, end - k, size - k, node, inner, whole)
        return roots and (roots[0], hash_of(outermost, roots[1]))
    roots = unfold(0, end - k, size - k, node, inner, False)
    return roots and (hash_of(outermost, roots[0]), hash_of(outermost, roots[1]))


def hash_of(left: Hash, right: Hash) -> Hash:
    return Hash(sha256(b"\x01" + left + right).digest())


def verifies_until_changed(start: int, end: int, size: int, change: int) -> None:
    """A proof made from a tree verifies; flip one bit of anything, add a hash or drop one, and it does not."""
    subtree, head = hash_between(start, end), TreeHead(size, hash_between(0, size))
    path = prove_subtree_consistency(start, end, size, TREE.node)
    if len(path) > 64:
        raise AssertionError("a proof has more than 64 hashes")
    verify_subtree_consistency(start, end, head, subtree, path)
    if start == 0:
        verify_consistency(TreeHead(end, subtree), head, path)
    if start == end:
        return  # the empty subtree belongs to every tree, whatever its root
    changes = [(subtree, flipped(head.root_hash, change), path), (flipped(subtree, change), head.root_hash, path)]
    changes += [(subtree, head.root_hash, [*path, NODE]), (subtree, head.root_hash, [NODE, *path])]
    if path:
        at = change % len(path)
        changes += [
            (subtree, head.root_hash, [*path[:at], flipped(path[at], change), *path[at + 1 :]]),
            (subtree, head.root_hash, path[:at] + path[at + 1 :]),
        ]
    for other_subtree, other_root, other_path in changes:
        try:
            verify_subtree_consistency(start, end, TreeHead(size, other_root), other_subtree, other_path)
        except ProofError:
            continue
        raise AssertionError("a changed proof verifies")


def hash_between(start: int, end: int) -> Hash:
    return TREE.mth(start, end) if start < end else Hash(sha256(b"").digest())


def flipped(value: Hash, bit: int) -> Hash:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return Hash(bytes(changed))


def seed(start: int, end: int, size: int, path: list[Hash]) -> bytes:
    return HEADER.pack(start, end, size, 63, 7) + b"".join(path)


SEEDS = [
    b"",
    seed(0, 0, 0, []),
    seed(0, 1, 1, []),
    seed(4, 5, 7, prove_subtree_consistency(4, 5, 7, TREE.node)),
    seed(0, 6, 7, prove_subtree_consistency(0, 6, 7, TREE.node)),
    seed(0, 4, 7, prove_subtree_consistency(0, 4, 7, TREE.node)),
    seed(8, 13, 14, prove_subtree_consistency(8, 13, 14, TREE.node)),
    seed(7, 7, 14, []),
    seed(2**62 + 5, 2**62 + 1, 2**63 - 1, prove_subtree_consistency(0, 2**62 + 1, 2**63 - 1, TREE.node)),
    seed(2**40 + 3, 2**40 + 4, 2**63 - 1, prove_subtree_consistency(2**40 + 3, 2**40 + 4, 2**63 - 1, TREE.node)),
    seed(4, 5, 7, [Hash(bytes(32)), Hash(bytes(31))]),
]

if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
