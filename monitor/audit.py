"""Compares the hash tiles that a log serves with the mirror: its clients make their proofs of these.

The follower reads entries, and next to nothing of the tiles. A wrong tile deceives nobody who checks a proof, but
whoever needs one gets none that holds. So each tile is fetched when the branch has grown over it, one after the other:
that costs 32 bytes an entry, and a request for 256 of them.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

import trio

from gossip.core import MissingTile
from monitor.mirror import Mirror
from monitor.sources.source import NotServed, Source
from tlog.compact_range import EMPTY_RANGE
from tlog.errors import FormatError
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_hashes, tiles_between

MAX_WRONG = 64  # tiles that are named; of a log with more of them nothing more is looked at until some are right

Tell = Callable[[str, bool], Awaitable[None]]
"""Told where a tile is that is wrong, and of the same when it is right."""


class Audit:
    """The hash tiles of one log, as far as they were looked at; what was there at the start counts as looked at."""

    def __init__(self, mirror: Mirror, source: Source, tell: Tell) -> None:
        self._mirror = mirror
        self._source = source
        self._tell = tell
        self._seen = mirror.size
        self._tiles: Iterator[Tile] = iter(())
        self._next: Tile | None = None
        self._wrong: dict[str, Tile] = {}

    async def run(self, interval: float, known: Sequence[str] = ()) -> None:
        """Look again and again, for ever; first at the tiles that an earlier run found to be wrong."""
        for path in known:
            tile = tile_at(self._source, path)
            if tile is not None:
                self._wrong[path] = tile
        while True:
            with suppress(NotServed):
                await self.look()
            await trio.sleep(interval)

    async def look(self) -> None:
        """Look at the tiles that have come, and again at those that were wrong.

        Raises:
            NotServed: the log does not answer; the next look goes on from there.
        """
        for path, tile in list(self._wrong.items()):
            with suppress(NotServed):  # no longer: it may have been pruned, and the others are looked at
                if await self._is_right(tile):
                    del self._wrong[path]
                    await self._tell(path, False)
        while len(self._wrong) < MAX_WRONG:
            self._next = self._next or self._following()
            if self._next is None:
                return
            tile, path = self._next, self._source.path(self._next)
            if not await self._is_right(tile):
                self._wrong[path] = tile
                await self._tell(path, True)
            self._next = None

    def _following(self) -> Tile | None:
        """The next tile of the tree that the branch had when this round began, or the first of a new round."""
        tile = next(self._tiles, None)
        if tile is None and self._mirror.size > self._seen:
            # SPEC: T-13 partial tiles are those of a size that was signed: the branch has no other
            self._tiles, self._seen = tiles_between(self._seen, self._mirror.size), self._mirror.size
            tile = next(self._tiles, None)
        return tile

    async def _is_right(self, tile: Tile) -> bool:
        data = await self._source.tile(tile)
        return await trio.to_thread.run_sync(is_of, self._mirror, tile, data)


def tile_at(source: Source, path: str) -> Tile | None:
    """Tell which tile a log of this kind keeps at a path."""
    for spelling in (path, path.replace(f"tile/{TILE_HEIGHT}/", "tile/", 1)):
        with suppress(FormatError):
            tile = Tile.parse(spelling)
            if source.path(tile) == path:
                return tile
    return None


def is_of(mirror: Mirror, tile: Tile, data: bytes) -> bool:
    """Tell whether a served tile is not another than the mirror's, as far as there is something to compare it with."""
    level, first = TILE_HEIGHT * tile.level, tile.index * TILE_WIDTH
    try:
        hashes = tile_hashes(data)
        if len(hashes) != tile.width:
            return False
        if not tile.is_partial:
            return EMPTY_RANGE.extend(hashes).root() == mirror.read(level + TILE_HEIGHT, tile.index)
        return hashes == [mirror.read(level, index) for index in range(first, first + tile.width)]
    except FormatError:
        return False
    except MissingTile:
        return True  # dropped, or of the time before the mirror began: there is nothing to compare it with
