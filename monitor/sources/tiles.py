"""Reads a log by its static tiles (c2sp.org/tlog-tiles): checkpoint, entry bundles, hash tiles.

The other kinds keep the same things in other places, and with another layout this reads them too.
"""

from collections.abc import Sequence

from monitor.core import ParseEntries
from monitor.sources.layout import Layout
from monitor.sources.source import Fetch, NotServed, Served
from runtime.client import FetchError
from tlog.hashing import HASH_SIZE
from tlog.note import MAX_NOTE_BYTES
from tlog.tiles import MAX_BUNDLE_BYTES, MAX_TILE_BYTES, TILE_WIDTH, EntryBundle, Tile, parse_entries

CHECKPOINT_SECONDS = 10.0
TILE_SECONDS = 30.0  # 16.8 MB, the largest bundle, at 4.5 Mbit/s


def bundled_entries(bundle: EntryBundle, data: bytes) -> Sequence[bytes]:
    """Read an entry bundle: a leaf is the entry itself."""
    return parse_entries(data, bundle.width)


TILES = Layout("checkpoint", Tile.path, EntryBundle.path, bundled_entries, MAX_BUNDLE_BYTES)


class TilesSource:
    """One log at its URL."""

    def __init__(self, url: str, fetch: Fetch, layout: Layout = TILES) -> None:
        self._url = url
        self._fetch = fetch
        self._layout = layout

    @property
    def entries(self) -> ParseEntries:
        """How the bundles of this kind are read; the bundle is the one that was served."""
        return self._layout.entries

    def path(self, part: Tile | EntryBundle) -> str:
        """Return where the log keeps a tile or a bundle: the name under which people find it."""
        return self._layout.tile(part) if isinstance(part, Tile) else self._layout.bundle(part)

    async def checkpoint(self) -> bytes:
        """Fetch the checkpoint that the log shows now."""
        found = await self.get(self._layout.checkpoint, MAX_NOTE_BYTES, CHECKPOINT_SECONDS)
        if found is None:
            raise NotServed("the log serves no checkpoint")
        return found

    async def bundle(self, bundle: EntryBundle) -> Served:
        """Fetch a bundle; where a partial one is gone, the full one."""
        found = await self._bundle(bundle)
        if found is not None:
            return Served(found, bundle.width)
        # SPEC: T-14 A client may fetch the full tile instead of a partial one that is gone.
        if bundle.is_partial:
            found = await self._bundle(EntryBundle(bundle.index))
        if found is None:
            raise NotServed("the log does not serve entries that it signed")
        return Served(found, TILE_WIDTH)

    async def tile(self, tile: Tile) -> bytes:
        """Fetch a tile of hashes, cut to its width where only the full one is left."""
        found = await self._tile(tile)
        if found is None and tile.is_partial:
            found = await self._tile(Tile(tile.level, tile.index))
            found = None if found is None else found[: tile.width * HASH_SIZE]
        if found is None:
            raise NotServed("the log does not serve a tile of a tree that it signed")
        return found

    async def get(self, path: str, cap: int, seconds: float, *, gunzip: bool = False) -> bytes | None:
        """Return what lies at a path, or None for 404 and 410."""
        try:
            response = await self._fetch("GET", f"{self._url}/{path}", cap=cap, seconds=seconds, gunzip=gunzip)
        except FetchError as error:
            raise NotServed(str(error)) from None
        if response.status in (404, 410):
            return None
        if response.status != 200:
            raise NotServed(f"the log answered with status {response.status}")
        return response.body

    async def _bundle(self, bundle: EntryBundle) -> bytes | None:
        # SPEC: T-16 A client SHOULD offer gzip and identity for bundles.
        path = self._layout.bundle(bundle)
        return await self.get(path, self._layout.max_bundle_bytes, TILE_SECONDS, gunzip=True)

    async def _tile(self, tile: Tile) -> bytes | None:
        return await self.get(self._layout.tile(tile), MAX_TILE_BYTES, TILE_SECONDS)

    def complaints(self) -> Sequence[str]:
        """Nothing: all that such a log serves is either hashed by its tree or not used."""
        return ()
