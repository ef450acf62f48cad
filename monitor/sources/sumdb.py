"""Reads a Go checksum database: checkpoint at ``latest``, data tiles of texts, tiles with their height in the path."""

from collections.abc import Sequence

from monitor.sources.layout import Layout
from monitor.sources.source import Fetch
from monitor.sources.tiles import TilesSource
from tlog.sumdb import CHECKPOINT_PATH, MAX_DATA_TILE_BYTES, data_tile_path, hash_tile_path, parse_records
from tlog.tiles import EntryBundle


def recorded_entries(bundle: EntryBundle, data: bytes) -> Sequence[bytes]:
    """Read a data tile: a leaf is the lines of one module version."""
    return parse_records(data, bundle.start, bundle.width)


LAYOUT = Layout(CHECKPOINT_PATH, hash_tile_path, data_tile_path, recorded_entries, MAX_DATA_TILE_BYTES)


def sumdb_source(url: str, fetch: Fetch) -> TilesSource:
    """Read the database at this URL."""
    return TilesSource(url, fetch, LAYOUT)
