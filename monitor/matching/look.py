"""Looking through a run of entries: first whether they are those of the branch, then what the watches find in them.

This runs in a thread, beside the follower that grows the mirror. It reads the tree of the branch's size, which stays.
"""

from collections.abc import Sequence

from monitor.core import WrongBundle
from monitor.matching.memory import Run
from monitor.matching.store import Hit
from monitor.watch import Watch, matched
from tlog.hashing import Hash, leaf_hashes, node_hashes
from tlog.proofs import ReadNode, prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH
from tlog.tlog_proof import TlogProof


def look(run: Run, branch: SignedCheckpoint, read: ReadNode, watches: Sequence[tuple[Watch, int]]) -> list[Hit]:
    """Return what the watches find in a run that lies in the branch; each looks from its own position on.

    Raises:
        WrongBundle: these are not the entries of the branch.
        MissingTile: what would show whether they are is not in the mirror.
    """
    leaves = leaf_hashes(run.entries)
    tile = _WholeTile(run.start, leaves, read)
    _check(run, leaves, tile, read)
    hits: list[Hit] = []
    for index, (entry, leaf) in enumerate(zip(run.entries, leaves, strict=True), run.start):
        for watch, position in watches:
            found = matched(watch, entry) if index >= position else None
            if found is not None:
                hits.append(Hit(watch.name, index, leaf, found, entry, _proof(index, branch, tile), branch.size))
    return hits


def _check(run: Run, leaves: Sequence[Hash], tile: "_WholeTile", read: ReadNode) -> None:
    if tile.is_whole:
        # One hash commits to all of them, and is there even where the mirror has no room for leaves.
        if tile.root() != read(TILE_HEIGHT, run.start // TILE_WIDTH):
            raise WrongBundle(f"the entries from {run.start} on are not those that the log signed")
        return
    for index, leaf in enumerate(leaves, run.start):
        if leaf != read(0, index):
            raise WrongBundle(f"entry {index} is not the one that the log signed")


def _proof(index: int, branch: SignedCheckpoint, tile: "_WholeTile") -> bytes:
    path = prove_inclusion(index, branch.size, tile.node)
    return TlogProof(index, tuple(path), branch.raw).format()


class _WholeTile:
    """A ``ReadNode`` that knows the nodes of one full tile by itself: the mirror may have dropped them."""

    def __init__(self, start: int, leaves: Sequence[Hash], read: ReadNode) -> None:
        self.is_whole = start % TILE_WIDTH == 0 and len(leaves) == TILE_WIDTH
        self._start = start
        self._leaves = leaves
        self._read = read

    def root(self) -> Hash:
        """The hash over the tile."""
        return _root(self._leaves)

    def node(self, level: int, index: int) -> Hash:
        """Return a node, of this tile or of the mirror."""
        first = (index << level) - self._start
        if not self.is_whole or level >= TILE_HEIGHT or not 0 <= first < TILE_WIDTH:
            return self._read(level, index)
        return _root(self._leaves[first : first + (1 << level)])


def _root(row: Sequence[Hash]) -> Hash:
    """Return the root of a perfect subtree."""
    while len(row) > 1:
        row = node_hashes(row)
    return row[0]
