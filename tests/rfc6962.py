"""The definitions of RFC 6962 section 2.1, typed out as recursions over whole lists of entries.

Slow and obvious, and made of hashlib only: what ``tlog`` computes in cleverer ways is compared with this.
"""

from collections.abc import Sequence
from hashlib import sha256

from tlog.hashing import Hash


class ReferenceTree:
    """D[n], with the hashes of ranges remembered: the recursion stays, its repetition goes."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self._known: dict[tuple[int, int], Hash] = {}

    def mth(self, start: int, end: int) -> Hash:
        """MTH(D[start:end])"""
        if (start, end) not in self._known:
            self._known[start, end] = Hash(sha256(self._input(start, end)).digest())
        return self._known[start, end]

    def _input(self, start: int, end: int) -> bytes:
        if start == end:
            return b""
        if start + 1 == end:
            return b"\x00" + self.entries[start]
        middle = start + largest_power_of_two_smaller_than(end - start)
        return b"\x01" + self.mth(start, middle) + self.mth(middle, end)

    def path(self, m: int, start: int, end: int) -> list[Hash]:
        """PATH(m, D[start:end])"""
        if end - start == 1:
            return []
        k = largest_power_of_two_smaller_than(end - start)
        if m < k:
            return [*self.path(m, start, start + k), self.mth(start + k, end)]
        return [*self.path(m - k, start + k, end), self.mth(start, start + k)]

    def proof(self, m: int, n: int) -> list[Hash]:
        """PROOF(m, D[n])"""
        return self.subproof(m, 0, n, True)

    def subproof(self, m: int, start: int, end: int, b: bool) -> list[Hash]:
        """SUBPROOF(m, D[start:end], b)"""
        n = end - start
        if m == n:
            return [] if b else [self.mth(start, end)]
        k = largest_power_of_two_smaller_than(n)
        if m <= k:
            return [*self.subproof(m, start, start + k, b), self.mth(start + k, end)]
        return [*self.subproof(m - k, start + k, end, False), self.mth(start, start + k)]

    def node(self, level: int, index: int) -> Hash:
        """The hash of a perfect subtree: a ``ReadNode``."""
        return self.mth(index << level, (index + 1) << level)


def largest_power_of_two_smaller_than(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


class SparseTree:
    """A tree of any size whose leaves are all the same but for a few, so that its hashes are quickly told."""

    def __init__(self, special: dict[int, bytes], common: bytes = b"common") -> None:
        self.special = {index: Hash(sha256(b"\x00" + entry).digest()) for index, entry in special.items()}
        self.perfect = [Hash(sha256(b"\x00" + common).digest())]
        while len(self.perfect) < 64:
            self.perfect.append(Hash(sha256(b"\x01" + self.perfect[-1] * 2).digest()))

    def mth(self, start: int, end: int) -> Hash:
        """MTH(D[start:end]), for a perfect subtree without special leaves looked up."""
        size = end - start
        if not any(start <= index < end for index in self.special) and size & (size - 1) == 0 and size:
            return self.perfect[size.bit_length() - 1]
        if size == 1:
            return self.special[start]
        middle = start + largest_power_of_two_smaller_than(size)
        return Hash(sha256(b"\x01" + self.mth(start, middle) + self.mth(middle, end)).digest())

    def node(self, level: int, index: int) -> Hash:
        return self.mth(index << level, (index + 1) << level)


def tiles_of(leaves: Sequence[Hash]) -> dict[tuple[int, int], bytes]:
    """Every tile of a tree by level and index, hashed pair by pair; a narrower tile is a prefix of one of these."""
    tiles: dict[tuple[int, int], bytes] = {}
    row, level = list(leaves), 0
    while row:
        for at in range(0, len(row), 256):
            tiles[level, at // 256] = b"".join(row[at : at + 256])
        for _ in range(8):
            row = [Hash(sha256(b"\x01" + a + b).digest()) for a, b in zip(row[::2], row[1::2], strict=False)]
        level += 1
    return tiles
