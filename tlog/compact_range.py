"""The least that must be kept of a run of leaves to go on hashing: the roots of the perfect subtrees that make it up.

A run of n leaves is held in at most 2·log2(n) hashes, however long it is. Ranges that begin at leaf 0 are trees and
have a root; any two neighbouring ranges merge into one, in any order of merging. The hashes of a range are the ones
``tlog.proofs.cover`` names for trees, so a range can also be read from tiles:

    CompactRange(0, size, tuple(read(*node) for node in root_nodes(size)))
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from tlog.hashing import EMPTY_ROOT, Hash, TreeHead, node_hash, node_hashes


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The leaves from ``begin`` up to, not including, ``end``, as the hashes of perfect subtrees from left to right."""

    begin: int
    end: int
    hashes: tuple[Hash, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError("a compact range ends before it begins")
        if len(self.hashes) != sum(part.bit_count() for part in _parts(self.begin, self.end)):
            raise ValueError("wrong number of hashes for this range")

    def append(self, leaf: Hash) -> "CompactRange":
        """Add one leaf at the end."""
        hashes = list(self.hashes)
        level, index = 0, self.end
        while index & 1 and (index - 1) << level >= self.begin:
            leaf = node_hash(hashes.pop(), leaf)
            level, index = level + 1, index >> 1
        return CompactRange(self.begin, self.end + 1, (*hashes, leaf))

    def extend(self, leaves: Sequence[Hash]) -> "CompactRange":
        """Add many leaves at the end, hashing them row by row."""
        return self.merge(_range_of(self.end, list(leaves)))

    def merge(self, right: "CompactRange") -> "CompactRange":
        """Join with the range that begins where this one ends."""
        if right.begin != self.end:
            raise ValueError("the ranges are not neighbours")
        stack = list(zip(_nodes(self.begin, self.end), self.hashes, strict=True))
        for (size, index), node in zip(_nodes(right.begin, right.end), right.hashes, strict=True):
            while stack and index & 1 and stack[-1][0] == (size, index - 1):
                node = node_hash(stack.pop()[1], node)
                size, index = size << 1, index >> 1
            stack.append(((size, index), node))
        return CompactRange(self.begin, right.end, tuple(node for _, node in stack))

    def root(self) -> Hash:
        """Return the RFC 6962 root hash of the tree that these leaves are; the range must begin at leaf 0."""
        if self.begin:
            raise ValueError("only a range that begins at leaf 0 has a root")
        if not self.hashes:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self.hashes))

    def tree_head(self) -> TreeHead:
        """Return size and root hash of the tree that these leaves are."""
        return TreeHead(self.end, self.root())


def _parts(begin: int, end: int) -> tuple[int, int]:
    """Return two numbers whose bits are the sizes of a range's subtrees: first rising, then falling.

    The subtrees are those that hang inside of the two paths that part between leaf ``begin - 1`` and leaf ``end``: on
    the left path wherever it turns left, on the right path wherever it turns right.
    """
    if begin == 0:
        return 0, end
    below_fork = (1 << ((begin - 1) ^ end).bit_length() - 1) - 1
    return ~(begin - 1) & below_fork, end & below_fork


def _nodes(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield size and index of each subtree of a range, from left to right."""
    rising, falling = _parts(begin, end)
    sizes = [1 << level for level in range(rising.bit_length()) if rising >> level & 1]
    sizes += [1 << level for level in reversed(range(falling.bit_length())) if falling >> level & 1]
    for size in sizes:
        yield size, begin // size
        begin += size


def _range_of(begin: int, row: list[Hash]) -> CompactRange:
    """Hash leaves into a range of their own; at each level only the outermost nodes can lack a sibling."""
    first, end = begin, begin + len(row)
    rising: list[Hash] = []
    falling: list[Hash] = []
    while row:
        if first & 1:
            rising.append(row[0])
            row = row[1:]
        if len(row) & 1:
            falling.append(row[-1])
        first, row = (first + 1) >> 1, node_hashes(row)
    return CompactRange(begin, end, (*rising, *reversed(falling)))


EMPTY_RANGE = CompactRange(0, 0, ())
