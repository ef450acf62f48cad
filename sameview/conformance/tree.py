"""The kit's tree: entry i is the SHA-256 of the decimal i, so the tree of a size is the same in every run.

``fork`` is a second history that shares nothing with it: what a lying log would show to somebody else.
"""

from hashlib import sha256

from tlog.hashing import Hash, TreeHead, leaf_hash, node_hashes
from tlog.proofs import prove_consistency, root_at


class KitTree:
    """A tree of any size, of which only as much is computed as was asked for."""

    def __init__(self, branch: bytes = b"") -> None:
        self._branch = branch
        self._rows: list[list[Hash]] = [[]]

    def head(self, size: int) -> TreeHead:
        """Size and root hash."""
        self._reach(size)
        return TreeHead(size, root_at(size, self._read))

    def proof(self, old: int, new: int) -> tuple[Hash, ...]:
        """The consistency proof between two sizes."""
        self._reach(new)
        return tuple(prove_consistency(old, new, self._read))

    def _reach(self, size: int) -> None:
        leaves = self._rows[0]
        leaves += [leaf_hash(sha256(b"%s%d" % (self._branch, index)).digest()) for index in range(len(leaves), size)]
        level = 0
        while len(self._rows[level]) > 1:
            if level + 1 == len(self._rows):
                self._rows.append([])
            above = self._rows[level + 1]
            above += node_hashes(self._rows[level][2 * len(above) :])
            level += 1

    def _read(self, level: int, index: int) -> Hash:
        return self._rows[level][index]
