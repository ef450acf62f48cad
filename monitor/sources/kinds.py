"""Which adapter reads which kind of log."""

from monitor.config import Kind
from monitor.sources.source import Fetch, Source
from monitor.sources.tiles import TilesSource

_SOURCES = {Kind.TILES: TilesSource}


def source_of(kind: Kind, url: str, fetch: Fetch) -> Source:
    """Make what reads a log of this kind at its URL."""
    return _SOURCES[kind](url, fetch)
