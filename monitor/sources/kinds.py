"""Which adapter reads which kind of log."""

from typing import assert_never

from monitor.kinds import Kind
from monitor.sources.rekor2 import rekor2_source
from monitor.sources.source import Fetch, Source
from monitor.sources.static_ct import StaticCtSource
from monitor.sources.sumdb import sumdb_source
from monitor.sources.tiles import TilesSource


def source_of(kind: Kind, url: str, fetch: Fetch) -> Source:
    """Make what reads a log of this kind at its URL."""
    match kind:
        case Kind.TILES:
            return TilesSource(url, fetch)
        case Kind.SUMDB:
            return sumdb_source(url, fetch)
        case Kind.REKOR2:
            return rekor2_source(url, fetch)
        case Kind.STATIC_CT:
            return StaticCtSource(url, fetch)
        case _:
            assert_never(kind)
