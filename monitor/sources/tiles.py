"""Reads a log by its static tiles (c2sp.org/tlog-tiles): checkpoint, entry bundles, hash tiles."""

from collections.abc import Sequence

from monitor.core import ParseEntries
from monitor.sources.source import Fetch, NotServed, Served
from runtime.client import FetchError
from tlog.note import MAX_NOTE_BYTES
from tlog.tiles import MAX_BUNDLE_BYTES, MAX_TILE_BYTES, TILE_WIDTH, EntryBundle, Tile, parse_entries

CHECKPOINT_SECONDS = 10.0
TILE_SECONDS = 30.0  # 16.8 MB, the largest bundle, at 4.5 Mbit/s


def bundled_entries(bundle: EntryBundle, data: bytes) -> Sequence[bytes]:
    """Read an entry bundle: a leaf is the entry itself."""
    return parse_entries(data, bundle.width)


class TilesSource:
    """One log at its URL."""

    entries: ParseEntries = staticmethod(bundled_entries)

    def __init__(self, url: str, fetch: Fetch) -> None:
        self._url = url
        self._fetch = fetch

    async def checkpoint(self) -> bytes:
        """Fetch the checkpoint that the log shows now."""
        found = await self._get("checkpoint", MAX_NOTE_BYTES, CHECKPOINT_SECONDS)
        if found is None:
            raise NotServed("the log serves no checkpoint")
        return found

    async def bundle(self, bundle: EntryBundle) -> Served:
        """Fetch a bundle; where a partial one is gone, the full one."""
        # SPEC: T-16 A client SHOULD offer gzip and identity for bundles.
        found = await self._get(bundle.path(), MAX_BUNDLE_BYTES, TILE_SECONDS, gunzip=True)
        if found is not None:
            return Served(found, bundle.width)
        # SPEC: T-14 A client may fetch the full tile instead of a partial one that is gone.
        if bundle.is_partial:
            found = await self._get(EntryBundle(bundle.index).path(), MAX_BUNDLE_BYTES, TILE_SECONDS, gunzip=True)
        if found is None:
            raise NotServed("the log does not serve entries that it signed")
        return Served(found, TILE_WIDTH)

    async def tile(self, tile: Tile) -> bytes:
        """Fetch a tile of hashes, cut to its width where only the full one is left."""
        found = await self._get(tile.path(), MAX_TILE_BYTES, TILE_SECONDS)
        if found is None and tile.is_partial:
            found = await self._get(Tile(tile.level, tile.index).path(), MAX_TILE_BYTES, TILE_SECONDS)
            found = None if found is None else found[: tile.width * 32]
        if found is None:
            raise NotServed("the log does not serve a tile of a tree that it signed")
        return found

    async def _get(self, path: str, cap: int, seconds: float, *, gunzip: bool = False) -> bytes | None:
        """Return the body, or None for 404 and 410."""
        try:
            response = await self._fetch("GET", f"{self._url}/{path}", cap=cap, seconds=seconds, gunzip=gunzip)
        except FetchError as error:
            raise NotServed(str(error)) from None
        if response.status in (404, 410):
            return None
        if response.status != 200:
            raise NotServed(f"the log answered with status {response.status}")
        return response.body
