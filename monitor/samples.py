"""What the state of each log was in each minute, for plots and to know what is usual; of old days, in each hour."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, String, Table, and_, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store import insert_rows
from monitor.tables import METADATA
from runtime.database import Database

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

SAMPLE = Table(
    "archive_sample",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False, comment="a full minute"),
    Column("size", BigInteger, nullable=False, comment="of the branch"),
    Column("shown", BigInteger, nullable=False, comment="the largest size that the log was seen to sign"),
    Column("watermark", BigInteger, comment="Unix seconds up to which the branch was complete"),
    Column("margin", Integer),
    Column("confirmed_ms", BigInteger, comment="when the log had last shown the branch's head"),
    Column("pending", Integer, nullable=False),
    Column("alarms", Integer, nullable=False, comment="open about this log"),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of one log in one minute, for plots."""

    origin: str
    at_ms: int
    size: int
    shown: int
    watermark: int | None
    margin: int | None
    confirmed_ms: int | None
    pending: int
    alarms: int

    @property
    def lag_ms(self) -> int | None:
        """How long ago the log had shown the branch's head; None if never."""
        return None if self.confirmed_ms is None else max(self.at_ms - self.confirmed_ms, 0)


class Samples:
    """The table, by what is done with it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, samples: Sequence[Sample]) -> None:
        """Write the state of logs down; a minute that is written already stays as it is."""

        async def work(connection: AsyncConnection) -> None:
            rows = [{name: getattr(one, name) for name in Sample.__slots__} for one in samples]
            await insert_rows(connection, SAMPLE.name, rows, " ON CONFLICT (origin, at_ms) DO NOTHING")

        await self._database.write(work)

    async def since(self, origin: str, since_ms: int, points: int) -> list[Sample]:
        """At most so many samples of a log since a time, oldest first, evenly spread: the last one of each interval."""

        async def work(connection: AsyncConnection) -> list[Sample]:
            chosen = and_(SAMPLE.c.origin == origin, SAMPLE.c.at_ms >= since_ms)
            newest = (await connection.execute(select(func.max(SAMPLE.c.at_ms)).where(chosen))).scalar_one()
            if newest is None:
                return []
            width = max((newest - since_ms) // points + 1, MINUTE_MS)
            last = select(func.max(SAMPLE.c.at_ms)).where(chosen).group_by((SAMPLE.c.at_ms - since_ms) // width)
            rows = await connection.execute(
                select(SAMPLE).where(chosen, SAMPLE.c.at_ms.in_(last)).order_by(SAMPLE.c.at_ms)
            )
            return [Sample(*row) for row in rows]

        return await self._database.read(work)

    async def newest(self, origin: str) -> Sample | None:
        """The last sample of a log."""
        ends = await self.ends(origin, 0)
        return ends[-1] if ends else None

    async def ends(self, origin: str, since_ms: int) -> list[Sample]:
        """The first and the last sample of a log since a time: none, one, or two."""

        async def work(connection: AsyncConnection) -> list[Sample]:
            chosen = select(SAMPLE).where(SAMPLE.c.origin == origin, SAMPLE.c.at_ms >= since_ms).limit(1)
            found = [
                Sample(*row)
                for order in (SAMPLE.c.at_ms, SAMPLE.c.at_ms.desc())
                for row in await connection.execute(chosen.order_by(order))
            ]
            return found[:1] if found[:1] == found[1:] else found

        return await self._database.read(work)


async def thin_samples(connection: AsyncConnection, before_ms: int) -> None:
    """Keep the first sample of each hour."""
    old = SAMPLE.c.at_ms < before_ms
    hour = SAMPLE.c.at_ms // HOUR_MS
    first = select(func.min(SAMPLE.c.at_ms)).where(old).group_by(SAMPLE.c.origin, hour)
    await connection.execute(delete(SAMPLE).where(old, SAMPLE.c.at_ms.not_in(first)))
