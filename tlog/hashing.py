"""RFC 6962 hashing: leaves and nodes are told apart by their first byte, so that no leaf can pass for a node.

leaf hash   SHA-256(0x00 || entry)
node hash   SHA-256(0x01 || left || right)
empty tree  SHA-256("")
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NewType

HASH_SIZE = 32

Hash = NewType("Hash", bytes)
"""A SHA-256 hash of a leaf, a node or a tree: exactly 32 bytes."""

EMPTY_ROOT = Hash(sha256(b"").digest())


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a log commits to: the number of its entries and the hash over all of them. Not signed."""

    size: int
    root_hash: Hash


EMPTY_TREE = TreeHead(0, EMPTY_ROOT)


def leaf_hash(entry: bytes) -> Hash:
    """Hash one entry, given as the bytes that were logged, never as a hash of them."""
    return Hash(sha256(b"\x00" + entry).digest())


def leaf_hashes(entries: Iterable[bytes]) -> list[Hash]:
    """Hash many entries; the same as ``leaf_hash`` on each, without a call for each."""
    new = sha256
    return [new(b"\x00" + entry).digest() for entry in entries]  # type: ignore[misc]  # bytes of a digest are a Hash


def node_hash(left: Hash, right: Hash) -> Hash:
    """Hash the two children of an inner node."""
    return Hash(sha256(b"\x01" + left + right).digest())


def node_hashes(children: Sequence[Hash]) -> list[Hash]:
    """Hash each pair of neighbours, which makes the row of nodes above; an odd last child has no parent yet."""
    new = sha256
    pairs = zip(children[::2], children[1::2], strict=False)
    return [new(b"\x01" + left + right).digest() for left, right in pairs]  # type: ignore[misc]  # as above
