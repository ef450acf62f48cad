"""The mirror: every leaf hash that the monitor computed itself, and the hashes above them, as flat files.

    <folder>/level-0     the hash of leaf i at offset 32·i
    <folder>/level-8     the hash of the perfect subtree over the leaves [i << 8, (i + 1) << 8) at offset 32·i
    <folder>/level-16    and so on

New hashes are first a draft, behind the end of what is committed: nothing reads them until the caller has compared the
root of the draft with a signed one, made it durable, written down the new size in its database and called ``adopt``.
What a crash leaves behind the committed size is cut off when the mirror is opened again.

Any earlier tree can be read from it: ``read`` is a ``ReadNode`` over the committed tree. Memory does not grow with the
log. Where level 0 is limited, leaf hashes beyond the limit are dropped once their tile is full. A proof that needs one
then raises ``MissingTile``; the tile may come from anybody, for ``lend`` checks it against the level above.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from gossip.core import MissingTile
from runtime.errors import UsageError
from runtime.files import sync_directory
from tlog.errors import ProofError
from tlog.hashing import HASH_SIZE, Hash, TreeHead, node_hashes
from tlog.proofs import root_at
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH

MAX_LENT_TILES = 16  # an adjudication needs the right edge of one or two old sizes: one tile each


class Mirror:
    """The hashes of one log, committed up to ``size``; ``kept`` leaf hashes of these are in the level-0 file."""

    def __init__(self, folder: Path, size: int, kept: int, edge: Sequence[Hash], limit: int) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}
        self._limit = _effective_limit(size, kept, limit)
        self._lent: dict[int, list[Hash]] = {}
        self._lending = Lock()  # the follower's thread borrows while that of an adjudication lends or reads
        self._committed = self._draft = size
        self._edge = self._draft_edge = tuple(edge)
        self._new_file = False

    @classmethod
    def open(cls, folder: Path, size: int = 0, kept: int = 0, edge: bytes = b"", *, max_bytes: int) -> "Mirror":
        """Open the mirror at the size the database committed; what lies behind it is cut off.

        ``kept`` and ``edge`` are what the properties said when that size was committed.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_directory(folder.parent)
        mirror = cls(folder, size, kept, _split(edge), max_bytes // HASH_SIZE)
        mirror._cut(size, min(size, mirror._limit))
        if size % TILE_WIDTH and size <= mirror._limit:
            mirror._edge = mirror._draft_edge = tuple(mirror._slice(0, size - size % TILE_WIDTH, size % TILE_WIDTH))
        return mirror

    @property
    def size(self) -> int:
        """The number of leaves that are committed."""
        return self._committed

    @property
    def draft_size(self) -> int:
        """The number of leaves with the draft."""
        return self._draft

    @property
    def draft_kept(self) -> int:
        """How many leaf hashes the level-0 file will hold once the draft is adopted."""
        return min(self._draft, self._limit)

    @property
    def tail(self) -> tuple[Hash, ...]:
        """The leaf hashes of the last, partial tile of the draft."""
        return self._draft_edge

    @property
    def draft_edge(self) -> bytes:
        """The leaf hashes of the last, partial tile of the draft where the level-0 file does not hold them."""
        return b"".join(self._draft_edge) if self._draft > self._limit else b""

    def read(self, level: int, index: int) -> Hash:
        """Return the hash of a perfect subtree of the committed tree: a ``ReadNode``."""
        return self._node(level, index, self._committed, self._edge)

    def read_draft(self, level: int, index: int) -> Hash:
        """Return the hash of a perfect subtree of the draft."""
        return self._node(level, index, self._draft, self._draft_edge)

    def misses(self, tile: int) -> bool:
        """Tell whether this is a full level-0 tile whose hashes were dropped."""
        first = tile * TILE_WIDTH
        return self._limit <= first and first + TILE_WIDTH <= self._committed and tile not in self._lent

    def extend(self, leaves: Sequence[Hash]) -> None:
        """Add leaf hashes to the draft."""
        edge = [*self._draft_edge, *leaves]
        self._write(0, self._draft, leaves[: max(self._limit - self._draft, 0)])
        tile = self._draft // TILE_WIDTH
        while len(edge) >= TILE_WIDTH:
            self._close_tile(1, tile, edge[:TILE_WIDTH])
            if tile == self._committed // TILE_WIDTH and tile * TILE_WIDTH >= self._limit:
                # Proofs from the committed tree to this one need the hashes within its last tile.
                self._borrow(tile, edge[:TILE_WIDTH])
            edge = edge[TILE_WIDTH:]
            tile += 1
        self._draft += len(leaves)
        self._draft_edge = tuple(edge)

    def draft_head(self) -> TreeHead:
        """Compute the tree head of the draft: compare it with a signed one."""
        return TreeHead(self._draft, root_at(self._draft, self.read_draft))

    def sync(self) -> None:
        """Make the draft durable; after that its size may be committed to the database."""
        for file in self._files.values():
            os.fsync(file)
        if self._new_file:
            sync_directory(self._folder)
            self._new_file = False

    def adopt(self) -> None:
        """Make the draft the committed tree; the database has committed its size before."""
        self._committed, self._edge = self._draft, self._draft_edge

    def abandon(self) -> None:
        """Forget the draft."""
        with self._lending:
            self._lent.pop(self._committed // TILE_WIDTH, None)
        self._draft, self._draft_edge = self._committed, self._edge
        self._cut(self._committed, min(self._committed, self._limit))

    def lend(self, tile: int, hashes: Sequence[Hash]) -> None:
        """Take a full level-0 tile from anybody, for the proof that missed it.

        Raises:
            ProofError: these are not the hashes of that tile.
        """
        if len(hashes) != TILE_WIDTH or (tile + 1) * TILE_WIDTH > self._committed:
            raise ProofError("not a full tile of this tree")
        if _root_of(hashes) != self.read(TILE_HEIGHT, tile):
            raise ProofError("the hashes are not those of the tile")
        self._borrow(tile, hashes)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    # Reading nodes.

    def _borrow(self, tile: int, hashes: Sequence[Hash]) -> None:
        with self._lending:
            self._lent[tile] = list(hashes)
            if len(self._lent) > MAX_LENT_TILES:
                del self._lent[next(iter(self._lent))]

    def _node(self, level: int, index: int, size: int, edge: Sequence[Hash]) -> Hash:
        if (index + 1) << level > size:
            raise AssertionError("asked for a node outside of the tree")
        tile_level, height = divmod(level, TILE_HEIGHT)
        first, count = index << height, 1 << height
        if tile_level == 0 and first >= self._limit:
            hashes = self._dropped(first, count, size, edge)
        else:
            hashes = self._slice(tile_level, first, count)
        return _root_of(hashes)

    def _dropped(self, first: int, count: int, size: int, edge: Sequence[Hash]) -> Sequence[Hash]:
        """Return leaf hashes that the level-0 file has no room for."""
        tile, start = divmod(first, TILE_WIDTH)
        if tile == size // TILE_WIDTH:
            return edge[start : start + count]
        with self._lending:
            lent = self._lent.get(tile)
        if lent is None:
            raise MissingTile(tile)
        return lent[start : start + count]

    # Files.

    def _close_tile(self, tile_level: int, tile: int, hashes: Sequence[Hash]) -> None:
        """Write the root of a full tile into the level above, and so on upwards where that fills a tile too."""
        self._write(tile_level, tile, [_root_of(hashes)])
        if (tile + 1) % TILE_WIDTH == 0:
            above = tile // TILE_WIDTH
            self._close_tile(tile_level + 1, above, self._slice(tile_level, above * TILE_WIDTH, TILE_WIDTH))

    def _slice(self, tile_level: int, first: int, count: int) -> list[Hash]:
        data = os.pread(self._file(tile_level), count * HASH_SIZE, first * HASH_SIZE)
        if len(data) != count * HASH_SIZE:
            raise AssertionError("a file of the mirror is shorter than what was committed to it")
        return _split(data)

    def _write(self, tile_level: int, first: int, hashes: Sequence[Hash]) -> None:
        if hashes:
            data = memoryview(b"".join(hashes))
            at = first * HASH_SIZE
            while data:
                written = os.pwrite(self._file(tile_level), data, at)
                data, at = data[written:], at + written

    def _cut(self, size: int, kept: int) -> None:
        """Cut every file to what a tree of this size has in it."""
        present = {int(path.name.removeprefix("level-")) // TILE_HEIGHT for path in self._folder.glob("level-*")}
        needed = {level for level in range(size.bit_length()) if size >> TILE_HEIGHT * level}
        for level in sorted(present | needed):
            self._cut_file(level, kept if level == 0 else size >> TILE_HEIGHT * level)

    def _cut_file(self, tile_level: int, count: int) -> None:
        file = self._file(tile_level)
        length = os.fstat(file).st_size
        if length < count * HASH_SIZE:
            raise UsageError(
                f"the mirror in {self._folder} is shorter than its database says: part of the data is missing. "
                "Restore the data directory whole, or begin anew in an empty directory"
            )
        if length > count * HASH_SIZE:
            os.ftruncate(file, count * HASH_SIZE)

    def _file(self, tile_level: int) -> int:
        if tile_level not in self._files:
            path = self._folder / f"level-{tile_level * TILE_HEIGHT}"
            self._new_file |= not path.exists()
            self._files[tile_level] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._files[tile_level]


def _effective_limit(size: int, kept: int, limit: int) -> int:
    """Return at which leaf the level-0 file ends: never within a tile, and for good once leaves were dropped."""
    if kept < size:
        return kept
    return max(limit // TILE_WIDTH, -(-size // TILE_WIDTH)) * TILE_WIDTH


def _split(data: bytes) -> list[Hash]:
    return [Hash(data[at : at + HASH_SIZE]) for at in range(0, len(data), HASH_SIZE)]


def _root_of(hashes: Sequence[Hash]) -> Hash:
    """Return the root of a perfect subtree."""
    row = list(hashes)
    while len(row) > 1:
        row = node_hashes(row)
    return row[0]
