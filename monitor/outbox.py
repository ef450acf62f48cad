"""The outbox: what people are to be told, written down in the transaction that makes it true.

Whoever raises an alarm or finds a match calls ``put`` with the connection of that very transaction. So there is no
alarm without its notice and no notice without its alarm, whenever the program is killed. Notices are numbered in the
order of the commits; each channel of ``monitor.delivery`` takes them by number, and remembers how far it got. A key is
put down once: the same alarm or match, found again after a crash, is nothing new.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.notice import Notice as Notice  # part of this module's interface, as the next one
from monitor.notice import Topic as Topic
from monitor.tables import METADATA

MAX_NOTICE_BYTES = 64 * 1024
KEYS_AT_ONCE = 256  # in one query: SQLite takes no more than some thousand parameters

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("topic", String, nullable=False),
    Column("key", String, nullable=False, unique=True),
    Column("body", LargeBinary, nullable=False, comment="JSON"),
    Column("at_ms", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A notice with its place in the order."""

    number: int
    notice: Notice


async def put(connection: AsyncConnection, notices: Sequence[Notice]) -> None:
    """Enqueue notices in this order, within the caller's transaction; those whose key is known are left out."""
    for start in range(0, len(notices), KEYS_AT_ONCE):
        await _put(connection, notices[start : start + KEYS_AT_ONCE])


async def after(connection: AsyncConnection, number: int, topics: Sequence[Topic], limit: int) -> list[Numbered]:
    """List the first notices of these topics behind a number, in order."""
    chosen = select(OUTBOX).where(OUTBOX.c.number > number, OUTBOX.c.topic.in_(topics))
    rows = await connection.execute(chosen.order_by(OUTBOX.c.number).limit(limit))
    return [Numbered(row.number, Notice(Topic(row.topic), row.key, row.body, row.at_ms)) for row in rows]


async def newest(connection: AsyncConnection) -> int:
    """Return the highest number that was given; 0 if none was."""
    return (await connection.execute(select(func.max(OUTBOX.c.number)))).scalar_one() or 0


async def forget(connection: AsyncConnection, up_to: int, before_ms: int) -> None:
    """Forget old notices that every channel has passed.

    Those of matches are not old: no match is found twice, and whoever floods a log with them would fill the disk. The
    newest notice stays, whatever its age: the next number follows from it.
    """
    last = min(up_to, await newest(connection) - 1)
    over = or_(OUTBOX.c.at_ms < before_ms, OUTBOX.c.topic == Topic.MATCH)
    await connection.execute(delete(OUTBOX).where(OUTBOX.c.number <= last, over))


async def _put(connection: AsyncConnection, notices: Sequence[Notice]) -> None:
    if any(len(notice.body) > MAX_NOTICE_BYTES for notice in notices):
        raise AssertionError("a notice names what it is about, and does not contain it")
    asked = select(OUTBOX.c.key).where(OUTBOX.c.key.in_([notice.key for notice in notices]))
    known = set((await connection.execute(asked)).scalars())
    new: dict[str, Notice] = {}
    for notice in notices:
        if notice.key not in known:
            new.setdefault(notice.key, notice)
    if new:
        first = await newest(connection) + 1
        await connection.execute(
            insert(OUTBOX),
            [
                {"number": number, "topic": one.topic, "key": one.key, "body": one.body, "at_ms": one.at_ms}
                for number, one in enumerate(new.values(), first)
            ],
        )
