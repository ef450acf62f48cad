"""Begins to follow a log at another place than its first entry, once what precedes it is shown to be right."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import trio

from monitor.core import WrongBundle
from monitor.mirror import Mirror
from monitor.sources.source import NotServed, Source
from monitor.start import (
    NotVouched,
    Vouched,
    WrongTiles,
    first_hashed,
    proven_roots,
    rows_before,
    tiles_to_begin,
    tiles_to_vouch,
    vouched_size,
)
from tlog.hashing import TreeHead
from tlog.keys import VerifierKey
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import Tile

MAX_AT_ONCE = 8  # of some thirty tiles, of 8 kB each
MAX_SIZES = 16  # that observers stated and that are looked at: the largest

Vouchers = Callable[[int], Awaitable[Sequence[Vouched]]]
"""Tells what observers stated about the log, up to a size."""

Cosigned = Callable[[str, Sequence[VerifierKey], int], Awaitable[Sequence[SignedCheckpoint]]]
"""``Ledger.cosigned``."""


def vouchers_of(
    cosigned: Cosigned, origin: str, operators: Mapping[VerifierKey, str], accused: Callable[[], Collection[str]]
) -> Vouchers:
    """Look up what observers, of these operators, stated: those whose names were never convicted of anything."""

    async def stated(up_to: int) -> Sequence[Vouched]:
        convicted = accused()
        signed = await cosigned(origin, [key for key in operators if key.name not in convicted], up_to)
        return [Vouched(operators[one.key], head.head) for head in signed for one in head.signatures]

    return stated


class Beginning:
    """Makes an empty mirror one that begins with the entries of a later size; for the ``Follower`` to call."""

    def __init__(
        self,
        start: int | None,
        mirror: Mirror,
        source: Source,
        vouchers: Vouchers,
        operators: int,
        waits: Callable[[str], Awaitable[None]],
    ) -> None:
        self._start = start
        self._mirror = mirror
        self._source = source
        self._vouchers = vouchers
        self._operators = operators
        self._waits = waits

    async def __call__(self, target: SignedCheckpoint) -> None:
        """Prepare the mirror for following to this head.

        Raises:
            NotServed: the log does not serve its tiles, or there is nothing yet to begin with.
            WrongBundle: its tiles do not lead to the head.
        """
        if self._start == 0 or self._mirror.draft_size:
            return
        try:
            await self._begin(target.head)
        except WrongTiles as error:
            raise WrongBundle(str(error)) from None
        except NotVouched as error:
            await self._waits(str(error))
            raise NotServed(str(error)) from None
        await self._waits("")

    async def _begin(self, head: TreeHead) -> None:
        size = await self._vouched_size(head) if self._start is None else self._start
        if head.size < size:
            raise NotVouched(f"the log has fewer than the {size} entries that `start` says")
        start = first_hashed(size)
        if start:
            tiles = await self._fetch(tiles_to_begin(start, head.size))
            rows = await trio.to_thread.run_sync(rows_before, start, head, tiles)
            await trio.to_thread.run_sync(self._mirror.begin, start, rows)

    async def _vouched_size(self, head: TreeHead) -> int:
        vouched = await self._vouchers(head.size)
        sizes = sorted({one.head.size for one in vouched if one.head.size}, reverse=True)[:MAX_SIZES]
        tiles = await self._fetch(tiles_to_vouch(sizes, head.size)) if sizes else {}
        roots = await trio.to_thread.run_sync(proven_roots, sizes, head, tiles) if sizes else {}
        return vouched_size(vouched, roots, self._operators)

    async def _fetch(self, wanted: Sequence[Tile]) -> dict[Tile, bytes]:
        found: dict[Tile, bytes] = {}
        failures: list[NotServed] = []
        room = trio.CapacityLimiter(MAX_AT_ONCE)

        async def fetch(tile: Tile) -> None:
            async with room:
                try:
                    found[tile] = await self._source.tile(tile)
                except NotServed as error:
                    failures.append(error)

        async with trio.open_nursery() as fetches:
            for tile in wanted:
                fetches.start_soon(fetch, tile)
        if failures:
            raise failures[0]
        return found
