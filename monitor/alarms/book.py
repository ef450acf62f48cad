"""All alarms: each is written down with the notice that people get of it, in one transaction, and told once.

An alarm that is raised again while it is open is the same one. So a program that was killed and finds the same reason
again tells nobody a second time, and one that was killed before it wrote an alarm down has told nobody yet. Alarms that
ended are forgotten after a while; open ones are not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import BigInteger, Column, ColumnElement, String, Table, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alarms.core import Key
from monitor.alarms.kinds import kind_of
from monitor.outbox import Notice, Topic, put
from monitor.tables import METADATA
from runtime.clock import Clock
from runtime.database import Database

MAX_SHOWN = 1000  # alarms in a list, the newest
MAX_OPEN = 64  # of one kind about one log: who signs tree after tree that nobody sees tells nothing new
SEEN_MS = 60_000  # how often it is written down that an alarm still holds
DAY_MS = 86_400_000

ALARM = Table(
    "alarm",
    METADATA,
    Column("kind", String, primary_key=True),
    Column("origin", String, primary_key=True, comment="empty: about no log in particular"),
    Column("subject", String, primary_key=True),
    Column("raised_ms", BigInteger, primary_key=True),
    Column("since_ms", BigInteger, nullable=False, comment="when the reason came up, which may be earlier"),
    Column("last_seen_ms", BigInteger, nullable=False),
    Column("cleared_ms", BigInteger, comment="NULL while the reason lasts"),
    Column("detail", String, nullable=False),
    Column("evidence", String, comment="the id of the evidence, where there is proof"),
)


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm, open or cleared."""

    kind: str
    origin: str
    subject: str
    raised_ms: int
    since_ms: int
    last_seen_ms: int
    cleared_ms: int | None
    detail: str
    evidence: str | None

    @property
    def key(self) -> Key:
        """What it is about."""
        return Key(self.kind, self.origin, self.subject)


class Alarms:
    """Raises and clears alarms. ``load`` comes before anything else."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._clock = clock
        self._open: dict[Key, Alarm] = {}
        self.refused = 0
        """Alarms for which there was no room."""

    async def load(self) -> None:
        """Take up the alarms that were open when the program ended last."""

        async def work(connection: AsyncConnection) -> list[Alarm]:
            rows = await connection.execute(select(ALARM).where(_is_open()).order_by(ALARM.c.raised_ms))
            return [Alarm(*row) for row in rows]

        self._open = {alarm.key: alarm for alarm in await self.database.read(work)}

    def open(self) -> Mapping[Key, Alarm]:
        """The alarms whose reason lasts, as they are now."""
        return self._open

    def about(self, origin: str) -> list[Alarm]:
        """The open alarms about one log; about none in particular, if it is empty."""
        return [alarm for alarm in self._open.values() if alarm.origin == origin]

    async def hold(self, key: Key, detail: str = "", *, seconds: int = 0, evidence: str | None = None) -> None:
        """Raise an alarm whose reason came up so many seconds ago, or note that an open one still holds."""
        now_ms = self._clock.now_ms()
        known = self._open.get(key)
        if known is not None:
            self._open[key] = replace(known, detail=detail, last_seen_ms=max(now_ms, known.last_seen_ms))
            if now_ms - known.last_seen_ms >= SEEN_MS:
                await self._note(self._open[key])
        elif not self._has_room(key):
            self.refused += 1
        else:
            since_ms = max(now_ms - seconds * 1000, 0)
            alarm = Alarm(
                key.kind,
                key.origin,
                key.subject,
                now_ms,
                since_ms,
                now_ms,
                cleared_ms=None,
                detail=detail,
                evidence=evidence,
            )
            self._open[key] = alarm  # before anything else happens: whoever finds the same meanwhile raises nothing
            await self._raise(alarm)

    async def clear(self, kind: str, origin: str, subject: str = "") -> None:
        """End the open alarms of a kind about a log whose subject begins so."""
        now_ms = self._clock.now_ms()
        ended = [
            replace(alarm, cleared_ms=max(now_ms, alarm.raised_ms))
            for key, alarm in self._open.items()
            if (key.kind, key.origin) == (kind, origin) and key.subject.startswith(subject)
        ]
        for alarm in ended:
            self._open.pop(alarm.key, None)
        if ended:
            await self._end(ended)

    async def end(self, key: Key) -> None:
        """End this alarm if it is open, and none whose subject only begins like it."""
        alarm = self._open.pop(key, None)
        if alarm is not None:
            await self._end([replace(alarm, cleared_ms=max(self._clock.now_ms(), alarm.raised_ms))])

    async def all(self, limit: int = MAX_SHOWN) -> list[Alarm]:
        """The newest alarms, open ones and cleared ones."""

        async def work(connection: AsyncConnection) -> list[Alarm]:
            newest = select(ALARM).order_by(ALARM.c.raised_ms.desc(), ALARM.c.kind, ALARM.c.subject)
            return [Alarm(*row) for row in await connection.execute(newest.limit(limit))]

        return [
            self._open.get(alarm.key, alarm) if alarm.cleared_ms is None else alarm
            for alarm in await self.database.read(work)
        ]

    async def prune(self, keep: int, days: int) -> None:
        """Forget alarms that ended so many days ago, and the oldest of too many."""
        before_ms = self._clock.now_ms() - days * DAY_MS
        ended = ALARM.c.cleared_ms.is_not(None)
        last = select(ALARM.c.cleared_ms).where(ended).order_by(ALARM.c.cleared_ms.desc()).offset(keep).limit(1)

        async def work(connection: AsyncConnection) -> None:
            too_many = (await connection.execute(last)).scalar_one_or_none()
            until = before_ms if too_many is None else max(before_ms, too_many + 1)
            await connection.execute(delete(ALARM).where(ended, ALARM.c.cleared_ms < until))

        await self.database.write(work)

    def _has_room(self, key: Key) -> bool:
        """Proof always has room: no more than a few are kept of each key."""
        alike = sum((one.kind, one.origin) == (key.kind, key.origin) for one in self._open)
        return alike < MAX_OPEN or kind_of(key.kind).proof

    async def _raise(self, alarm: Alarm) -> None:
        async def work(connection: AsyncConnection) -> None:
            same = and_(_is(alarm.key), ALARM.c.raised_ms == alarm.raised_ms)
            await connection.execute(delete(ALARM).where(same))  # ended within the millisecond it was raised in
            await connection.execute(insert(ALARM).values(_row(alarm)))
            await put(connection, [notice(alarm)])

        await self.database.write(work)
        _log.warning("alarm", kind=alarm.kind, origin=alarm.origin, subject=alarm.subject, detail=alarm.detail)

    async def _note(self, alarm: Alarm) -> None:
        async def work(connection: AsyncConnection) -> None:
            seen = {"last_seen_ms": alarm.last_seen_ms, "detail": alarm.detail}
            await connection.execute(update(ALARM).where(_is(alarm.key), _is_open()).values(seen))

        await self.database.write(work)

    async def _end(self, ended: list[Alarm]) -> None:
        async def work(connection: AsyncConnection) -> None:
            for alarm in ended:
                last = {"cleared_ms": alarm.cleared_ms, "last_seen_ms": alarm.last_seen_ms, "detail": alarm.detail}
                await connection.execute(update(ALARM).where(_is(alarm.key), _is_open()).values(last))
            await put(connection, [notice(alarm) for alarm in ended])

        await self.database.write(work)
        for alarm in ended:
            _log.info("alarm cleared", kind=alarm.kind, origin=alarm.origin, subject=alarm.subject)


def notice(alarm: Alarm) -> Notice:
    """What people are told when an alarm is raised, and when it ends."""
    event = "raised" if alarm.cleared_ms is None else "cleared"
    at_ms = alarm.raised_ms if alarm.cleared_ms is None else alarm.cleared_ms
    key = f"alarm {event} {alarm.kind} {alarm.raised_ms} {alarm.origin} {alarm.subject}"
    return Notice.of(Topic.ALARM, key, at_ms, {"event": event, **document(alarm)})


def document(alarm: Alarm) -> dict[str, object]:
    """An alarm as JSON: what it is about, what it means and what to do next."""
    kind = kind_of(alarm.kind)
    return {
        "kind": alarm.kind,
        "origin": alarm.origin or None,
        "subject": alarm.subject,
        "detail": alarm.detail,
        "since_ms": alarm.since_ms,
        "raised_ms": alarm.raised_ms,
        "last_seen_ms": alarm.last_seen_ms,
        "cleared_ms": alarm.cleared_ms,
        "proof": kind.proof,
        "means": kind.means,
        "next": kind.next,
        "evidence": alarm.evidence,
    }


def _row(alarm: Alarm) -> Mapping[str, object]:
    return {name: getattr(alarm, name) for name in Alarm.__slots__}


def _is(key: Key) -> ColumnElement[bool]:
    return and_(ALARM.c.kind == key.kind, ALARM.c.origin == key.origin, ALARM.c.subject == key.subject)


def _is_open() -> ColumnElement[bool]:
    return ALARM.c.cleared_ms.is_(None)


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
