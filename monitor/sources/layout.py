"""Where a kind of log keeps what it serves, and what its bundles of entries look like."""

from collections.abc import Callable
from dataclasses import dataclass

from monitor.core import ParseEntries
from tlog.tiles import EntryBundle, Tile


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below a log's URL, the reader of its bundles, and how large one of them may be, uncompressed."""

    checkpoint: str
    tile: Callable[[Tile], str]
    bundle: Callable[[EntryBundle], str]
    entries: ParseEntries
    max_bundle_bytes: int
