"""What the monitor keeps for later: every head it ever saw, with whoever showed it, and what its state was each minute.

A *sighting* says that somebody (the log, a witness, a peer, a second vantage, a client) showed one head from one moment
to another without showing a different one between. So the newest sighting that began before T is what was shown at T.
Heads are kept with every line that verified, byte for byte; of one key's many signatures of the same head the first
and the last of each hour. Nothing here decides anything: what is acted on is remembered elsewhere, before.

What is noted is on disk with the next ``flush``, some seconds later. A sighting never lasts longer than it was seen
to; a program that was killed may have forgotten its last minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, String, Table, and_, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store import METADATA
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


class Archive:
    """The tables, by what is done with them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sample(self, samples: Sequence[Sample]) -> None:
        """Write the state of logs down; a minute that is written already stays as it is."""

        async def work(connection: AsyncConnection) -> None:
            for one in samples:
                same = and_(SAMPLE.c.origin == one.origin, SAMPLE.c.at_ms == one.at_ms)
                if (await connection.execute(select(SAMPLE.c.at_ms).where(same))).one_or_none() is None:
                    row = {name: getattr(one, name) for name in Sample.__slots__}
                    await connection.execute(insert(SAMPLE).values(row))

        await self._database.write(work)

    async def samples(self, origin: str, since_ms: int, points: int) -> list[Sample]:
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
