"""What a follower needs of a log, whatever kind it is: its checkpoint, its hash tiles and its entries.

Nothing that comes from here is believed. Entries are hashed and the root is compared with a signed one; tiles count
only where a proof made of them leads to a signed root.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.core import ParseEntries
from runtime.client import Response
from tlog.tiles import EntryBundle, Tile


class NotServed(Exception):  # noqa: N818  # says what happened
    """The log did not give what was asked for; the message says why, in words of ours."""


class Fetch(Protocol):
    """``Client.fetch``."""

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        """Ask once."""
        ...


@dataclass(frozen=True, slots=True)
class Served:
    """A bundle's bytes and how many entries they should hold."""

    data: bytes
    width: int


class Source(Protocol):
    """One log, as its kind serves it. Each method raises ``NotServed``."""

    @property
    def entries(self) -> ParseEntries:
        """How the bundles of this kind are read; the bundle is the one that was served."""
        ...

    def path(self, part: Tile | EntryBundle) -> str:
        """Return where the log keeps a tile or a bundle: the name under which people find it."""
        ...

    def complaints(self) -> Sequence[str]:
        """Tell what was found wrong lately with served bytes that no tree commits to."""
        ...

    async def checkpoint(self) -> bytes:
        """Fetch the checkpoint that the log shows now."""
        ...

    async def tile(self, tile: Tile) -> bytes:
        """Fetch a tile of hashes, cut to its width where only the full one is left."""
        ...

    async def bundle(self, bundle: EntryBundle) -> Served:
        """Fetch a bundle; where a partial one is gone, the full one."""
        ...
