"""Alarms in a real database, each with the notice that people get of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alarms.book import MAX_OPEN, SEEN_MS, Alarm, Alarms, document
from monitor.alarms.core import Key
from monitor.outbox import Topic, after
from monitor.tables import METADATA
from runtime.database import Database, open_database
from tests.fakes import FakeClock

LOG = "log.example/one"
STALE = Key("log-stale", LOG, "no new checkpoint")
DAY = 86_400


class Book:
    """Alarms, their database and their clock."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock
        self.alarms = Alarms(database, clock)

    async def told(self) -> list[tuple[str, str]]:
        """What people were told: event and kind, in order."""

        async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
            found = [one.notice.body for one in await after(connection, 0, [Topic.ALARM], 1000)]
            return [(body["event"], body["kind"]) for body in map(msgspec.json.decode, found)]

        return await self.database.read(work)

    async def rows(self) -> list[Alarm]:
        return await self.alarms.all()


@asynccontextmanager
async def book(folder: Path, clock: FakeClock | None = None, *, create: bool = True) -> AsyncIterator[Book]:
    async with open_database(folder / "book.sqlite", METADATA, create=create) as database:
        found = Book(database, clock or FakeClock())
        await found.alarms.load()
        yield found


async def test_an_alarm_is_told_once_while_it_lasts_and_once_when_it_ends(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        for _ in range(5):
            await one.alarms.hold(STALE, "for 3 min", seconds=180)
            one.clock.advance(100)
        await one.alarms.clear("log-stale", LOG)
        await one.alarms.clear("log-stale", LOG)
        (alarm,) = await one.rows()
        assert (alarm.raised_ms - alarm.since_ms, (alarm.cleared_ms or 0) - alarm.raised_ms) == (180_000, 500_000)
        assert await one.told() == [("raised", "log-stale"), ("cleared", "log-stale")]


async def test_a_restart_neither_raises_again_as_new_nor_forgets(tmp_path: Path) -> None:
    clock = FakeClock()
    async with book(tmp_path, clock) as one:
        await one.alarms.hold(STALE, "for 3 min")
    clock.advance(DAY)
    async with book(tmp_path, clock, create=False) as one:
        assert list(one.alarms.open()) == [STALE]
        await one.alarms.hold(STALE, "for a day")
        assert await one.told() == [("raised", "log-stale")]
        (alarm,) = await one.rows()
        assert (alarm.detail, alarm.last_seen_ms) == ("for a day", clock.now_ms())
        await one.alarms.clear("log-stale", LOG)
    async with book(tmp_path, clock, create=False) as one:
        assert list(one.alarms.open()) == []
        await one.alarms.hold(STALE)
        assert [kind for kind, _ in await one.told()] == ["raised", "cleared", "raised"]


async def test_an_alarm_and_its_notice_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        writes: list[str] = []

        async def watch(connection: AsyncConnection) -> None:
            engine = connection.sync_engine
            event.listen(engine, "commit", lambda _: writes.append("commit"))
            event.listen(engine, "before_cursor_execute", lambda *args: writes.append(str(args[2])))

        await one.database.write(watch)
        writes.clear()
        await one.alarms.hold(STALE)
        inserted = [text.split("INTO ")[1].split(" ")[0] for text in writes if "INSERT" in text]
        assert (inserted, writes.count("commit"), writes[-1]) == (["alarm", "outbox"], 1, "commit")


async def test_only_the_alarms_that_are_meant_end(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        keys = [Key("witness-conflict", LOG, f"the witness {name} shows") for name in ("w1", "w2")]
        for key in (*keys, Key("witness-conflict", "other", "the witness w1 shows"), STALE):
            await one.alarms.hold(key)
        await one.alarms.clear("witness-conflict", LOG, "the witness w1 ")
        assert {(key.kind, key.origin, key.subject[:14]) for key in one.alarms.open()} == {
            ("witness-conflict", LOG, "the witness w2"),
            ("witness-conflict", "other", "the witness w1"),
            ("log-stale", LOG, "no new checkpo"),
        }
        assert [alarm.key for alarm in one.alarms.about("other")] == [Key("witness-conflict", "other", keys[0].subject)]


async def test_the_end_of_one_alarm_is_not_that_of_another_whose_subject_begins_alike(tmp_path: Path) -> None:
    w1, w10 = (Key("witness-lag", "", f"the witness example.com/w{number}") for number in (1, 10))
    async with book(tmp_path) as one:
        await one.alarms.hold(w1)
        await one.alarms.hold(w10)
        await one.alarms.end(w1)
        await one.alarms.end(w1)
        await one.alarms.hold(w10)
        assert set(one.alarms.open()) == {w10}
        assert await one.told() == [("raised", "witness-lag")] * 2 + [("cleared", "witness-lag")]


async def test_that_an_alarm_still_holds_is_written_once_a_minute(tmp_path: Path) -> None:
    clock = FakeClock()
    async with book(tmp_path, clock) as one:
        await one.alarms.hold(STALE, "first")
        clock.advance(SEEN_MS / 1000 - 1)
        await one.alarms.hold(STALE, "second")
        assert (await one.rows())[0].detail == "second"  # as it is, not as it was written
    async with book(tmp_path, clock, create=False) as one:
        assert (await one.rows())[0].detail == "first"


async def test_who_signs_tree_after_tree_that_nobody_sees_raises_a_bounded_number_of_alarms(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        for size in range(MAX_OPEN + 10):
            await one.alarms.hold(Key("unserved", LOG, f"size {size}"))
        await one.alarms.hold(STALE)
        assert (len(one.alarms.open()), one.alarms.refused) == (MAX_OPEN + 1, 10)
        await one.alarms.clear("unserved", LOG)
        await one.alarms.hold(Key("unserved", LOG, "size 1000"))
        assert len(one.alarms.open()) == 2
        for number in range(MAX_OPEN + 10):
            await one.alarms.hold(Key("convicted", LOG, f"{number:064x}"))
        assert len(one.alarms.open()) == 2 + MAX_OPEN + 10


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_a_clock_that_was_moved_does_not_confuse_what_is_written(tmp_path: Path, seconds: int) -> None:
    async with book(tmp_path) as one:
        await one.alarms.hold(STALE)
        one.clock.advance(seconds)
        await one.alarms.hold(STALE)
        await one.alarms.clear("log-stale", LOG)
        (alarm,) = await one.rows()
        assert alarm.raised_ms <= alarm.last_seen_ms
        assert (alarm.cleared_ms or 0) >= alarm.raised_ms


async def test_an_alarm_may_end_and_come_back_within_a_millisecond(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        for _ in range(3):
            await one.alarms.hold(STALE)
            await one.alarms.clear("log-stale", LOG)
        await one.alarms.hold(STALE)
        assert [(alarm.key, alarm.cleared_ms) for alarm in await one.rows()] == [(STALE, None)]


async def test_alarms_that_ended_are_forgotten_after_their_days_and_open_ones_never(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        for number in range(4):
            await one.alarms.hold(Key("unserved", LOG, f"size {number}"))
            if number:
                await one.alarms.clear("unserved", LOG, f"size {number}")
            one.clock.advance(DAY)
        await one.alarms.prune(keep=100, days=2)
        assert [alarm.subject for alarm in await one.rows()] == ["size 3", "size 2", "size 0"]
        one.clock.advance(DAY)
        await one.alarms.prune(keep=100, days=2)
        assert [alarm.subject for alarm in await one.rows()] == ["size 3", "size 0"]


async def test_of_too_many_alarms_that_ended_the_newest_are_kept(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        for number in range(6):
            await one.alarms.hold(Key("unserved", LOG, f"size {number}"))
            one.clock.advance(1)
            await one.alarms.clear("unserved", LOG)
        await one.alarms.prune(keep=2, days=400)
        assert [alarm.subject for alarm in await one.rows()] == ["size 5", "size 4"]


async def test_an_alarm_says_what_it_means_what_to_do_and_where_the_proof_is(tmp_path: Path) -> None:
    async with book(tmp_path) as one:
        await one.alarms.hold(Key("convicted", "", "ab" * 32), evidence="ab" * 32)
        shown = document((await one.rows())[0])
        assert (shown["proof"], shown["origin"], shown["evidence"]) == (True, None, "ab" * 32)
        assert "sameview verify evidence" in str(shown["next"])
