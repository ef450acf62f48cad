"""The lease: which of the processes that serve one log integrates and publishes.

A row in the log's database names the holder, until a time by the database's clock. Who holds it renews it; when the
holder dies another takes it within seconds. A holder that was stopped and wakes up too late may believe for a moment
that it still holds it. That is why the lease decides only who works: what may be signed the register's epoch decides,
which the next holder has counted up.
"""

import secrets

import structlog
import trio
from sqlalchemy import insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.store import LEASE
from runtime.database import Database

LEASE_SECONDS = 5.0  # how long a dead holder keeps the others waiting
RENEWALS = 5  # in that time: as many may be late before the lease is lost

_PUBLISHING = "publishing"
_NOW_MS = {
    "postgresql": text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"),
    "sqlite": text("SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"),
}

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Lease:
    """One process's share of the lease. Its name is random: a restarted process is another one."""

    def __init__(self, database: Database, seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._holder = secrets.token_hex(16)

    async def take(self) -> bool:
        """Take the lease, or renew it; tell whether this process holds it now."""
        return await self._database.write(self._take)

    async def wait_taken(self) -> None:
        """Try until the lease is held."""
        while True:
            if await self.take():
                return
            await trio.sleep(self._seconds / RENEWALS)

    async def keep(self) -> None:
        """Renew the lease; return when it is lost."""
        held_until = trio.current_time() + self._seconds
        while True:
            await trio.sleep(self._seconds / RENEWALS)
            # Counted from before the asking: the database counts from later.
            asked = trio.current_time()
            if asked > held_until or not await self.take():
                return
            held_until = asked + self._seconds

    async def release(self) -> None:
        """Give the lease back, so that nobody has to wait for its end."""

        async def work(connection: AsyncConnection) -> None:
            mine = (LEASE.c.work == _PUBLISHING) & (LEASE.c.holder == self._holder)
            await connection.execute(update(LEASE).where(mine).values(until_ms=0))

        await self._database.write(work)

    async def _take(self, connection: AsyncConnection) -> bool:
        now = int((await connection.execute(_NOW_MS[connection.dialect.name])).scalar_one())
        length = int(self._seconds * 1000)
        until = now + length
        # One that ends later than any lease was taken before the database's clock was set back.
        over = or_(LEASE.c.until_ms < now, LEASE.c.until_ms > now + 2 * length)
        free = (LEASE.c.work == _PUBLISHING) & or_(LEASE.c.holder == self._holder, over)
        taken = await connection.execute(update(LEASE).where(free).values(holder=self._holder, until_ms=until))
        if taken.rowcount == 1:
            return True
        if (await connection.execute(select(LEASE.c.work))).first() is not None:
            return False
        try:
            async with connection.begin_nested():
                await connection.execute(insert(LEASE).values(work=_PUBLISHING, holder=self._holder, until_ms=until))
        except IntegrityError:
            return False  # another was first by a moment
        return True
