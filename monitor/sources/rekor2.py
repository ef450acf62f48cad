"""Reads a Rekor v2 log: tiles and bundles as anywhere, below ``/api/v2`` of the log's URL.

An entry is the canonical body that a bundle of Sigstore carries too.
"""

from monitor.sources.source import Fetch
from monitor.sources.tiles import TilesSource

API_PATH = "/api/v2"


def rekor2_source(url: str, fetch: Fetch) -> TilesSource:
    """Read the log at this URL; it may be given with ``/api/v2``, where the tiles are, or without."""
    return TilesSource(url.removesuffix(API_PATH) + API_PATH, fetch)
