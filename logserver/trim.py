"""Removes entries from the database once their bundles have them: a log that is told to keeps each entry once.

Before anything is removed the bundles are read back and compared: what is deleted is known to be elsewhere.
Batches go whole, and the newest always stays, because it has the tree that the next one grows.
"""

from collections.abc import Callable

import structlog
import trio
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.files import StaticFiles
from logserver.integrate import HistoryBroken
from logserver.store import BATCH, exclude_others, load_entries
from runtime.database import Database
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_WIDTH, bundles_for

TRIM_SECONDS = 60.0
TRIMMED_AT_ONCE = 4096  # entries, or one batch that has more: at most 512 MiB in memory with those of the bundles

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Trimmer:
    """The task."""

    def __init__(
        self, database: Database, files: StaticFiles, published: Callable[[], SignedCheckpoint | None]
    ) -> None:
        self._database = database
        self._files = files
        self._published = published

    async def run(self) -> None:
        """Trim for ever.

        Raises:
            HistoryBroken: a bundle does not hold the entries that the database has.
        """
        while True:
            try:
                await self.trim()
            except OSError as error:
                _log.warning("not_trimmed", why=str(error.strerror))
            await trio.sleep(TRIM_SECONDS)

    async def trim(self) -> None:
        """Remove what stands in full bundles below the public checkpoint."""
        published = self._published()
        if published is None:
            return
        whole = published.size // TILE_WIDTH * TILE_WIDTH
        while (batches := await self._next(whole)) is not None:
            begin, end = batches
            await self._compare(begin, end)
            await self._remove(begin, end)

    async def _next(self, whole: int) -> tuple[int, int] | None:
        """The range of the oldest batches that can go."""
        newest = select(func.max(BATCH.c.first_index)).scalar_subquery()
        first = select(func.min(BATCH.c.first_index)).scalar_subquery()
        oldest = (
            select(BATCH.c.first_index, BATCH.c.size)
            .where(BATCH.c.size <= whole, BATCH.c.first_index < newest)
            .order_by(BATCH.c.first_index)
        )

        async def work(connection: AsyncConnection) -> tuple[int, int] | None:
            begin: int | None = None
            end = 0
            for row in await connection.execute(oldest.where(BATCH.c.first_index < first + TRIMMED_AT_ONCE)):
                begin = row.first_index if begin is None else begin
                if end and row.size > begin + TRIMMED_AT_ONCE:
                    break
                end = row.size
            return None if begin is None else (begin, end)

        return await self._database.read(work)

    async def _compare(self, begin: int, end: int) -> None:
        stored = await load_entries(self._database, begin, end)
        served = await trio.to_thread.run_sync(bundled_entries, self._files, begin, end)
        if served != stored:
            raise HistoryBroken(
                f"the bundles of the entries from {begin} up to {end} do not hold what the database has: run "
                "`sameview fsck` on the public files, and put back what it names"
            )

    async def _remove(self, begin: int, end: int) -> None:
        async def work(connection: AsyncConnection) -> None:
            await exclude_others(connection)
            await connection.execute(delete(BATCH).where(BATCH.c.first_index >= begin, BATCH.c.size <= end))

        await self._database.write(work)


def bundled_entries(files: StaticFiles, begin: int, end: int) -> list[bytes]:
    """The entries from ``begin`` up to, not including, ``end``, out of full bundles.

    Raises:
        LostTile: a bundle is gone or damaged.
    """
    if begin == end:
        return []
    last = -(-end // TILE_WIDTH) * TILE_WIDTH
    first = begin // TILE_WIDTH * TILE_WIDTH
    entries = [entry for bundle in bundles_for(first, last, last) for entry in files.entries(bundle)]
    return entries[begin - first : end - first]
