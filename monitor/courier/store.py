"""How far each channel has come, in the database: what was taken by the other side, and what was tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Integer, String, Table, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.notice import Notice, Topic
from monitor.outbox import OUTBOX, Numbered, after, forget, newest, put
from monitor.tables import METADATA
from runtime.database import Database

CHANNEL = Table(
    "channel",
    METADATA,
    Column("name", String, primary_key=True),
    Column("delivered", BigInteger, nullable=False, comment="notices up to this number were taken, or are not for it"),
    Column("tried", BigInteger, nullable=False, comment="up to this number at least one attempt was begun"),
    Column("attempts", Integer, nullable=False, comment="in a row that failed, or did not end"),
    Column("failing_since_ms", BigInteger, comment="NULL while it works"),
    Column("reason", String, nullable=False, comment="of the last failure"),
    Column("delivered_ms", BigInteger, comment="when something was taken last"),
)


@dataclass(frozen=True, slots=True)
class StoredChannel:
    """A channel as it was committed."""

    name: str
    delivered: int
    tried: int
    attempts: int
    failing_since_ms: int | None
    reason: str
    delivered_ms: int | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A notice that is about to be brought, for the so-manieth time."""

    numbered: Numbered
    count: int


class CourierStore:
    """The tables, by what is done with them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, names: Sequence[str]) -> None:
        """Write down channels that are new: they are told what happens from now on."""

        async def work(connection: AsyncConnection) -> None:
            known = set((await connection.execute(select(CHANNEL.c.name))).scalars())
            last = await newest(connection)
            for name in names:
                if name not in known:
                    row = StoredChannel(name, last, last, 0, None, "", None)
                    await connection.execute(insert(CHANNEL).values(_row(row)))

        await self._database.write(work)

    async def newest(self) -> int:
        """The number of the newest notice."""
        return await self._database.read(newest)

    async def waits(self, name: str, topics: Sequence[Topic]) -> int:
        """How many notices a channel has yet to bring."""

        async def work(connection: AsyncConnection) -> int:
            delivered = select(CHANNEL.c.delivered).where(CHANNEL.c.name == name).scalar_subquery()
            waiting = select(func.count()).where(OUTBOX.c.number > delivered, OUTBOX.c.topic.in_(topics))
            return (await connection.execute(waiting)).scalar_one()

        return await self._database.read(work)

    async def attempt(self, name: str, topics: Sequence[Topic], limit: int) -> list[Attempt]:
        """Return what a channel has to bring next, and write down that it was tried, before it is."""

        async def work(connection: AsyncConnection) -> list[Attempt]:
            channel = await _channel(connection, name)
            found = await after(connection, channel.delivered, topics, limit)
            if found:
                changed = {"tried": max(channel.tried, found[-1].number), "attempts": channel.attempts + 1}
                await _update(connection, name, changed)
            return [Attempt(one, channel.attempts + 1 if one.number <= channel.tried else 1) for one in found]

        return await self._database.write(work)

    async def delivered(self, name: str, number: int, now_ms: int) -> None:
        """Write down that the notices up to a number were taken."""
        await self._change(
            name, {"delivered": number, "attempts": 0, "failing_since_ms": None, "reason": "", "delivered_ms": now_ms}
        )

    async def failed(self, name: str, reason: str, now_ms: int) -> int:
        """Write down that an attempt failed; return how many have, one after the other."""

        async def work(connection: AsyncConnection) -> int:
            channel = await _channel(connection, name)
            since = now_ms if channel.failing_since_ms is None else channel.failing_since_ms
            await _update(connection, name, {"failing_since_ms": since, "reason": reason})
            return channel.attempts

        return await self._database.write(work)

    async def channels(self) -> list[StoredChannel]:
        """Every channel there was, in the order of their names."""

        async def work(connection: AsyncConnection) -> list[StoredChannel]:
            rows = await connection.execute(select(CHANNEL).order_by(CHANNEL.c.name))
            return [StoredChannel(*row) for row in rows]

        return await self._database.read(work)

    async def put(self, notices: Sequence[Notice]) -> None:
        """Enqueue notices of our own."""

        async def work(connection: AsyncConnection) -> None:
            await put(connection, notices)

        await self._database.write(work)

    async def forget(self, channels: Mapping[str, Sequence[Topic]], before_ms: int) -> None:
        """Forget old notices that all of these channels have brought, or are not told of."""

        async def work(connection: AsyncConnection) -> None:
            passed = await newest(connection)
            begun = {row.name: row.delivered for row in await connection.execute(select(CHANNEL))}
            for name in channels.keys() & begun.keys():
                waiting = await after(connection, begun[name], channels[name], 1)
                passed = min([passed, *(one.number - 1 for one in waiting)])
            await forget(connection, passed, before_ms)

        await self._database.write(work)

    async def _change(self, name: str, values: Mapping[str, object]) -> None:
        async def work(connection: AsyncConnection) -> None:
            await _update(connection, name, values)

        await self._database.write(work)


async def _channel(connection: AsyncConnection, name: str) -> StoredChannel:
    row = (await connection.execute(select(CHANNEL).where(CHANNEL.c.name == name))).one()
    return StoredChannel(*row)


async def _update(connection: AsyncConnection, name: str, values: Mapping[str, object]) -> None:
    await connection.execute(update(CHANNEL).where(CHANNEL.c.name == name).values(**values))


def _row(channel: StoredChannel) -> Mapping[str, object]:
    return {name: getattr(channel, name) for name in StoredChannel.__slots__}
