"""What the monitor keeps for later: every head it ever saw, with whoever showed it.

A *sighting* says that somebody (the log, a witness, a peer, a second vantage, a client) showed one head from one moment
to another, and no different one between. So the newest sighting that began before T is what was shown at T. A head is
kept with every line that verified, byte for byte; of the many signatures that one key makes of the same head, the first
and the last of each hour. Nothing here decides anything: what is acted on is remembered elsewhere, before.

What is noted is on disk with the next ``flush``, some seconds later. A sighting never lasts longer than it was seen to;
a program that was killed may have forgotten its last minute.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import trio
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.limits import ArchiveLimits
from monitor.samples import DAY_MS, HOUR_MS, MINUTE_MS, Samples, thin_samples
from monitor.store import insert_rows
from monitor.tables import METADATA
from runtime.database import Database
from tlog.checkpoint import Checkpoint
from tlog.hashing import Hash
from tlog.note import Note, SignatureLine
from tlog.signed_checkpoint import SignedCheckpoint

MAX_KNOWN = 4096  # heads whose lines are remembered, so that what is on disk is not asked for
MAX_NOTED = 8192  # heads on their way to the disk: some megabytes, which five seconds of any traffic do not bring
HEADS_AT_ONCE = 256  # forgotten in one statement

LOG = "log"
VANTAGE = "vantage"
CLIENT = "client"

NAME = Table(
    "archive_name",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False, unique=True, comment="of a log, of a key with its id, or of who showed"),
)

HEAD = Table(
    "archive_head",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("origin", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("rest", LargeBinary, nullable=False, comment="the extension lines of the checkpoint"),
    Index("archive_head_size", "origin", "size"),
)

LINE = Table(
    "archive_line",
    METADATA,
    Column("head", BigInteger, primary_key=True, autoincrement=False),
    Column("key", Integer, primary_key=True, autoincrement=False),
    Column("stated", BigInteger, primary_key=True, autoincrement=False, comment="as it was signed; 0 without a time"),
    Column("seen_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="of the signature line"),
    sqlite_with_rowid=False,
)

SIGHTING = Table(
    "archive_sighting",
    METADATA,
    Column("origin", Integer, primary_key=True, autoincrement=False),
    Column("who", Integer, primary_key=True, autoincrement=False),
    Column("first_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("head", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody showed this head from one moment to another. The note bears what was known of it at the time asked."""

    who: str
    first_ms: int
    last_ms: int
    checkpoint: Checkpoint
    note: bytes


class _Place(NamedTuple):
    """What tells one head from another."""

    origin: str
    size: int
    root_hash: bytes
    rest: bytes


class _Line(NamedTuple):
    key: str
    stated: int
    seen_ms: int
    body: bytes


@dataclass(slots=True)
class _Run:
    """A sighting that may still last."""

    origin: str
    who: str
    place: _Place
    first_ms: int
    last_ms: int
    written_ms: int | None = None


@dataclass(slots=True)
class _Noted:
    """What the next flush writes."""

    lines: dict[_Place, list[_Line]] = field(default_factory=dict)
    runs: list[_Run] = field(default_factory=list)


class Archive:
    """The tables, by what is done with them. ``load`` comes before anything is noted."""

    def __init__(self, database: Database, limits: ArchiveLimits) -> None:
        self._database = database
        self._limits = limits
        self._names: dict[str, int] = {}
        self._runs: dict[tuple[str, str], _Run] = {}
        self._known: OrderedDict[_Place, dict[str, int]] = OrderedDict()
        self._noted = _Noted()
        self._days: dict[str, tuple[int, int]] = {}
        self._numbers: OrderedDict[_Place, int] = OrderedDict()
        self._fresh: set[int] = set()
        self._next_head = 1
        self._writer = trio.Lock()
        self.samples = Samples(database)
        """What the state of each log was, each minute."""
        self.dropped = 0
        """Sightings by peers and clients beyond what a day has room for."""

    async def load(self) -> None:
        """Take up the sightings that lasted when the program ended last."""
        newest = select(SIGHTING.c.origin, SIGHTING.c.who, func.max(SIGHTING.c.first_ms).label("first_ms"))
        last = newest.group_by(SIGHTING.c.origin, SIGHTING.c.who).subquery()
        same = and_(*(SIGHTING.c[name] == last.c[name] for name in ("origin", "who", "first_ms")))
        chosen = select(SIGHTING, HEAD).join(last, same).join(HEAD, HEAD.c.number == SIGHTING.c.head)

        async def work(connection: AsyncConnection) -> None:
            self._names = {row.name: row.number for row in await connection.execute(select(NAME))}
            self._next_head = ((await connection.execute(select(func.max(HEAD.c.number)))).scalar_one() or 0) + 1
            names = {number: name for name, number in self._names.items()}
            for row in await connection.execute(chosen):
                origin, who = names[row.origin], names[row.who]
                place = _Place(origin, row.size, row.root_hash, row.rest)
                self._runs[origin, who] = _Run(origin, who, place, row.first_ms, row.last_ms, row.last_ms)

        await self._database.read(work)

    def saw(self, who: str, signed: SignedCheckpoint, now_ms: int) -> None:
        """Note that somebody showed a head, with these verified signatures."""
        place = _place(signed)
        run = self._runs.get((place.origin, who))
        if run is not None and run.place == place:
            self.again(who, place.origin, now_ms)
        elif self._has_room(who, place.origin, now_ms):
            first_ms = now_ms if run is None else max(now_ms, run.first_ms + 1)
            self._extend(run, run.last_ms if run else 0)
            self._runs[place.origin, who] = new = _Run(place.origin, who, place, first_ms, first_ms)
            self._noted.runs.append(new)
        else:
            self.dropped += 1
            return
        self._note_lines(place, signed, now_ms)

    def again(self, who: str, origin: str, now_ms: int) -> None:
        """Note that somebody showed the same head as before, where that is known without a look at it."""
        run = self._runs.get((origin, who))
        if run is not None:
            run.last_ms = max(run.last_ms, now_ms)
            if run.written_ms is not None and run.last_ms - run.written_ms >= MINUTE_MS:
                self._extend(run, run.last_ms)

    def changed_ms(self, who: str, origin: str) -> int | None:
        """Since when somebody has shown the head that they showed last."""
        run = self._runs.get((origin, who))
        return None if run is None else run.first_ms

    def is_last(self, who: str, signed: SignedCheckpoint) -> bool:
        """Tell whether this is the head that somebody showed last."""
        run = self._runs.get((signed.origin, who))
        return run is not None and run.place == _place(signed)

    async def flush(self) -> None:
        """Write down what was noted. It is not cancelled once begun."""
        with trio.CancelScope(shield=True):
            async with self._writer:
                noted, self._noted = self._noted, _Noted()
                if noted.lines or noted.runs:
                    await self._database.write(lambda connection: self._write(connection, noted))

    async def close(self, now_ms: int) -> None:
        """Write down all there is, also how long sightings lasted that are not over."""
        for run in self._runs.values():
            self._extend(run, min(run.last_ms, now_ms))
        await self.flush()

    async def history(
        self, origin: str, at_ms: int, who: str | None = None, before_ms: int | None = None, limit: int = 100
    ) -> list[Sighting]:
        """What was shown at a time, and, where one who showed is named, what they showed before that, newest first."""
        await self.flush()
        whos = sorted(
            name for of_log, name in self._runs if of_log == origin and who in (None, name) and name in self._names
        )
        until = at_ms if before_ms is None else min(at_ms, before_ms - 1)
        if origin not in self._names:
            return []

        async def work(connection: AsyncConnection) -> list[Sighting]:
            found: list[Sighting] = []
            for one in whos:
                mine = and_(SIGHTING.c.origin == self._names[origin], SIGHTING.c.who == self._names[one])
                chosen = select(SIGHTING, HEAD).join(HEAD, HEAD.c.number == SIGHTING.c.head)
                chosen = chosen.where(mine, SIGHTING.c.first_ms <= until).order_by(SIGHTING.c.first_ms.desc())
                for row in await connection.execute(chosen.limit(1 if who is None else limit)):
                    checkpoint = Checkpoint(origin, row.size, Hash(row.root_hash), _extensions(row.rest))
                    note = await self._note(connection, row.number, checkpoint, at_ms)
                    found.append(Sighting(one, row.first_ms, row.last_ms, checkpoint, note))
            return found

        return await self._database.read(work)

    async def prune(self, now_ms: int) -> None:
        """Keep one sample an hour of days that are long over, and no heads beyond their time if they have one."""
        days, minutes = self._limits.heads_days, self._limits.minutes_days

        async def work(connection: AsyncConnection) -> None:
            await thin_samples(connection, now_ms - minutes * DAY_MS)
            if days:
                await _forget(connection, now_ms - days * DAY_MS)

        async with self._writer:
            await self._database.write(work)
            self._known.clear()  # some of it may be gone
            self._numbers.clear()

    # What is noted.

    def _has_room(self, who: str, origin: str, now_ms: int) -> bool:
        """Whoever is polled brings no more than the polls; others might flood."""
        if len(self._noted.lines) >= MAX_NOTED:
            return False
        if who != CLIENT and not who.startswith(_PEER):
            return True
        today = now_ms // DAY_MS
        day, count = self._days.get(origin, (today, 0))
        count = count if day == today else 0
        self._days[origin] = today, count + 1
        return count < self._limits.heads_a_day

    def _extend(self, run: _Run | None, last_ms: int) -> None:
        """Let the next flush write how long a sighting lasted."""
        if run is not None and run.written_ms is not None and last_ms > run.written_ms:
            run.written_ms = last_ms
            self._noted.runs.append(run)

    def _note_lines(self, place: _Place, signed: SignedCheckpoint, now_ms: int) -> None:
        known = self._known.setdefault(place, {})
        self._known.move_to_end(place)
        new = [line for line in _lines(signed, now_ms) if line.stated > known.get(line.key, -1)]
        known.update((line.key, line.stated) for line in new)
        if new:
            self._noted.lines.setdefault(place, []).extend(new)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    # What is written.

    async def _write(self, connection: AsyncConnection, noted: _Noted) -> None:
        numbers = {place: await self._head(connection, place) for place in noted.lines}
        lines = [
            row
            for place, found in noted.lines.items()
            for row in await self._fitting(connection, numbers[place], found)
        ]
        await insert_rows(connection, LINE.name, lines)
        new: dict[int, _Run] = {id(run): run for run in noted.runs if run.written_ms is None}
        rows = [await self._row(connection, run, numbers) for run in new.values()]
        await insert_rows(connection, SIGHTING.name, rows)
        longer = [run for run in noted.runs if id(run) not in new]
        if longer:
            await connection.execute(_LASTED, [await self._lasted(connection, run) for run in longer])
        for run in noted.runs:
            run.written_ms = max(run.last_ms, run.written_ms or 0)

    async def _row(self, connection: AsyncConnection, run: _Run, numbers: dict[_Place, int]) -> dict[str, object]:
        head = numbers.get(run.place) or await self._head(connection, run.place)
        origin, who = await self._name(connection, run.origin), await self._name(connection, run.who)
        return {"origin": origin, "who": who, "first_ms": run.first_ms, "last_ms": run.last_ms, "head": head}

    async def _lasted(self, connection: AsyncConnection, run: _Run) -> dict[str, object]:
        origin, who = await self._name(connection, run.origin), await self._name(connection, run.who)
        return {"of_origin": origin, "of_who": who, "since_ms": run.first_ms, "last_ms": run.last_ms}

    async def _head(self, connection: AsyncConnection, place: _Place) -> int:
        origin = await self._name(connection, place.origin)
        found: int | None = self._numbers.get(place)
        if found is None:
            same = and_(HEAD.c.origin == origin, HEAD.c.size == place.size)
            same = and_(same, HEAD.c.root_hash == place.root_hash, HEAD.c.rest == place.rest)
            found = (await connection.execute(select(HEAD.c.number).where(same))).scalar_one_or_none()
        if found is None:
            found = self._next_head
            self._next_head += 1
            row = {**place._asdict(), "number": found, "origin": origin}
            await insert_rows(connection, HEAD.name, [row])
            self._fresh.add(found)
        self._numbers[place] = found
        if len(self._numbers) > MAX_KNOWN:
            self._numbers.popitem(last=False)
        return found

    async def _fitting(self, connection: AsyncConnection, head: int, lines: Sequence[_Line]) -> list[dict[str, object]]:
        """The lines that are to be written, for which others may have made room."""
        kept: dict[int, list[tuple[int, int]]] = {}
        if head not in self._fresh:
            for row in await connection.execute(_KEPT, {"of_head": head}):
                kept.setdefault(row.key, []).append((row.stated, row.seen_ms))
        self._fresh.discard(head)
        gone: list[dict[str, object]] = []
        rows: dict[tuple[int, int], dict[str, object]] = {}
        for line in lines:
            key = await self._name(connection, line.key)
            mine = sorted(kept.setdefault(key, []))
            if line.stated in (stated for stated, _ in mine):
                continue
            if len(mine) > 1 and mine[-1][1] // HOUR_MS == line.seen_ms // HOUR_MS and line.stated > mine[-1][0]:
                # Neither the first nor, any more, the last one of this hour.
                if rows.pop((key, mine[-1][0]), None) is None:
                    gone.append({"of_head": head, "of_key": key, "of_stated": mine[-1][0]})
                kept[key].remove(mine[-1])
            place = key, line.stated
            rows[place] = {"head": head, "key": key, "stated": line.stated, "seen_ms": line.seen_ms, "body": line.body}
            kept[key].append((line.stated, line.seen_ms))
        if gone:
            await connection.execute(_GONE, gone)
        return list(rows.values())

    async def _name(self, connection: AsyncConnection, name: str) -> int:
        if name not in self._names:
            number = max(self._names.values(), default=0) + 1
            await insert_rows(connection, NAME.name, [{"number": number, "name": name}])
            self._names[name] = number
        return self._names[name]

    async def _note(self, connection: AsyncConnection, head: int, checkpoint: Checkpoint, at_ms: int) -> bytes:
        """The checkpoint with the newest line of each key that had been seen by then, the log's first."""
        mine = and_(LINE.c.head == head, LINE.c.seen_ms <= at_ms)
        chosen = select(NAME.c.name, LINE.c.body).join(NAME, NAME.c.number == LINE.c.key).where(mine)
        newest = {row.name: row.body for row in await connection.execute(chosen.order_by(LINE.c.stated))}
        lines = [_signature_line(key, body) for key, body in newest.items()]
        lines.sort(key=lambda line: (line.name != checkpoint.origin, line.name, line.key_id))
        return Note(checkpoint.format(), tuple(lines)).format()


def witness_who(name: str) -> str:
    """Name a witness among those who show heads."""
    return f"witness {name}"


def peer_who(name: str) -> str:
    """Name a peer among those who show heads."""
    return f"{_PEER}{name}"


async def _forget(connection: AsyncConnection, before_ms: int) -> None:
    """Forget sightings that ended before a time, except for the last ones, and heads that nobody is known to show."""
    newer = SIGHTING.alias()
    same = and_(newer.c.origin == SIGHTING.c.origin, newer.c.who == SIGHTING.c.who)
    last = select(func.max(newer.c.first_ms)).where(same).scalar_subquery()
    await connection.execute(delete(SIGHTING).where(SIGHTING.c.last_ms < before_ms, SIGHTING.c.first_ms < last))
    unseen = select(HEAD.c.number).where(HEAD.c.number.not_in(select(SIGHTING.c.head)))
    numbers = list((await connection.execute(unseen)).scalars())
    for start in range(0, len(numbers), HEADS_AT_ONCE):
        some = numbers[start : start + HEADS_AT_ONCE]
        await connection.execute(delete(LINE).where(LINE.c.head.in_(some)))
        await connection.execute(delete(HEAD).where(HEAD.c.number.in_(some)))


def _place(signed: SignedCheckpoint) -> _Place:
    return _Place(signed.origin, signed.size, signed.root_hash, b"\n".join(signed.checkpoint.extensions))


def _lines(signed: SignedCheckpoint, now_ms: int) -> Iterator[_Line]:
    for one in signed.signatures:
        key = f"{one.line.name}+{one.line.key_id.hex()}"
        yield _Line(key, one.timestamp or 0, now_ms, one.line.body)


def _signature_line(key: str, body: bytes) -> SignatureLine:
    name, _, key_id = key.rpartition("+")
    return SignatureLine(name, bytes.fromhex(key_id), body)


def _extensions(rest: bytes) -> tuple[bytes, ...]:
    return tuple(rest.split(b"\n")) if rest else ()


_PEER = "peer "
_LASTED = (
    update(SIGHTING)
    .where(
        SIGHTING.c.origin == bindparam("of_origin"),
        SIGHTING.c.who == bindparam("of_who"),
        SIGHTING.c.first_ms == bindparam("since_ms"),
    )
    .values(last_ms=bindparam("last_ms"))
)
_GONE = delete(LINE).where(
    LINE.c.head == bindparam("of_head"), LINE.c.key == bindparam("of_key"), LINE.c.stated == bindparam("of_stated")
)
_KEPT = select(LINE.c.key, LINE.c.stated, LINE.c.seen_ms).where(LINE.c.head == bindparam("of_head"))
