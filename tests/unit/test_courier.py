"""Nothing overtakes, nothing is left out, and whatever comes twice says so: whatever fails, and whenever it stops."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import trio
from starlette.applications import Starlette

from monitor.courier import Courier, CourierStore, channel_routes
from monitor.courier.courier import KEEP_MS, Addressee
from monitor.courier.health import BEHIND_ENTRIES, FAILING_MS, ChannelState, Health, daily, failing, problems
from monitor.courier.store import StoredChannel
from monitor.delivery import Letter, Undelivered
from monitor.matching import Lag
from monitor.notice import Notice, Topic
from monitor.outbox import MAX_NOTICE_BYTES
from monitor.tables import METADATA
from runtime.database import open_database
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.served import served

ALL = tuple(Topic)


@dataclass
class Doorstep:
    """A channel that takes letters, refuses them, or never comes back."""

    at_once: int = 1
    refuses: int = 0
    hangs: bool = False
    asks: float | None = None
    taken: list[Letter] = field(default_factory=list)
    tried: list[Letter] = field(default_factory=list)

    async def deliver(self, letters: Sequence[Letter]) -> None:
        await trio.lowlevel.checkpoint()
        self.tried += letters
        if self.hangs:
            await trio.sleep_forever()
        if self.refuses:
            self.refuses -= 1
            raise Undelivered("nobody is at home", self.asks)
        self.taken += letters

    def brought(self) -> list[str]:
        return [letter.key for letter in self.taken]


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[CourierStore]:
    path = tmp_path / "monitor.sqlite"
    async with open_database(path, METADATA, create=not path.exists()) as database:
        yield CourierStore(database)


def courier(store: CourierStore, clock: FakeClock | None = None, **doors: Doorstep) -> Courier:
    addressees = [Addressee(name, ALL, door) for name, door in doors.items()]
    return Courier(addressees, store, clock or FakeClock(), "monitor.example/m1")


def notices(*keys: str, topic: Topic = Topic.ALARM, at_ms: int = 1) -> list[Notice]:
    return [Notice.of(topic, key, at_ms, {"text": key}) for key in keys]


async def bring_all(one: Courier, name: str, door: Doorstep, about: tuple[Topic, ...] = ALL) -> list[float]:
    """Bring until there is nothing left; return the pauses that were asked for."""
    pauses = []
    while (seconds := await one.bring(Addressee(name, about, door))) is not None:
        pauses.append(seconds)
    return pauses


async def test_letters_come_in_order_and_once(tmp_path: Path) -> None:
    door = Doorstep()
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        await one.begin()
        await store.put(notices("1", "2", "3"))
        await bring_all(one, "a", door)
        assert [(letter.key, letter.attempt) for letter in door.tried] == [("1", 1), ("2", 1), ("3", 1)]


async def test_nothing_overtakes_what_is_refused(tmp_path: Path) -> None:
    door = Doorstep(refuses=3)
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        await one.begin()
        await store.put(notices("1", "2"))
        pauses = await bring_all(one, "a", door)
        assert [letter.key for letter in door.tried] == ["1", "1", "1", "1", "2"]
        assert [letter.attempt for letter in door.tried] == [1, 2, 3, 4, 1]
        assert pauses == [1, 2, 4, 0, 0]


async def test_a_receiver_that_asks_for_time_gets_it(tmp_path: Path) -> None:
    door = Doorstep(refuses=1, asks=30.0)
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        await one.begin()
        await store.put(notices("1"))
        assert await bring_all(one, "a", door) == [30, 0]


async def test_what_was_on_its_way_when_the_program_stopped_comes_again_and_says_so(tmp_path: Path) -> None:
    door = Doorstep(hangs=True)
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        await one.begin()
        await store.put(notices("1", "2"))
        with trio.move_on_after(0.2):
            await bring_all(one, "a", door)
    again = Doorstep()
    async with opened(tmp_path) as store:
        one = courier(store, a=again)
        await one.begin()
        await bring_all(one, "a", again)
    assert [(letter.key, letter.attempt) for letter in again.taken] == [("1", 2), ("2", 1)]
    assert again.taken[0].id == door.tried[0].id


async def test_several_at_once_are_counted_one_by_one(tmp_path: Path) -> None:
    door = Doorstep(at_once=10, refuses=1)
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        await one.begin()
        await store.put(notices("1"))
        await one.bring(Addressee("a", ALL, door))
        await store.put(notices("2"))
        await bring_all(one, "a", door)
        assert [(letter.key, letter.attempt) for letter in door.taken] == [("1", 2), ("2", 1)]


async def test_a_channel_is_told_what_it_asked_for(tmp_path: Path) -> None:
    door = Doorstep()
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        await one.begin()
        await store.put([*notices("1"), *notices("2", topic=Topic.MATCH), *notices("3", topic=Topic.HEALTH)])
        await bring_all(one, "a", door, (Topic.MATCH,))
        assert door.brought() == ["2"]


async def test_a_new_channel_is_told_what_happens_from_now_on(tmp_path: Path) -> None:
    door = Doorstep()
    async with opened(tmp_path) as store:
        await store.put(notices("before"))
        one = courier(store, a=door)
        await one.begin()
        await one.begin()
        await store.put(notices("after"))
        await bring_all(one, "a", door)
        assert door.brought() == ["after"]


async def test_a_channel_that_fails_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    broken, works = Doorstep(hangs=True), Doorstep()
    async with opened(tmp_path) as store, trio.open_nursery() as tasks:
        await store.begin(["broken", "works"])
        await store.put(notices("1", "2"))
        tasks.start_soon(courier(store, broken=broken, works=works).run)
        with trio.fail_after(20):
            while len(works.taken) < 2:  # noqa: ASYNC110  # the database tells nobody
                await trio.sleep(0.01)
            await store.put(notices("3"))
            while len(works.taken) < 4:  # noqa: ASYNC110
                await trio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert [key for key in works.brought() if not key.startswith("health")] == ["1", "2", "3"]


# The self-check.


def channel(name: str = "a", since_ms: int | None = None) -> ChannelState:
    return ChannelState(StoredChannel(name, 1, 1, 0, since_ms, "" if since_ms is None else "no answer", None), 3)


def lag(position: int, size: int, stuck: float = 0.0) -> Lag:
    return Lag("log.example/one", "w", position, size, stuck, "the log does not answer" if stuck else "")


NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("health", "count"),
    [
        (Health([], [], {}), 0),
        (Health([channel()], [lag(5, 10)], {}), 0),
        (Health([channel(since_ms=NOW - FAILING_MS + 1)], [], {}), 0),
        (Health([channel(since_ms=NOW - FAILING_MS)], [], {}), 1),
        (Health([], [lag(5, 10, stuck=1000.0)], {}), 1),
        (Health([], [lag(0, BEHIND_ENTRIES + 1)], {}), 1),
    ],
)
def test_what_falls_behind_is_named(health: Health, count: int) -> None:
    found = problems(health, NOW)
    document = msgspec.json.decode(daily(health, NOW).body)
    assert (len(found), document["ok"], document["problems"]) == (count, not found, found)


def test_a_thousand_problems_fit_into_a_notice() -> None:
    stuck = [Lag("o" * 255, "w" * 64, 0, 10**6, 1000.0, "r" * 200) for _ in range(1000)]
    names = [f"{number}".rjust(64, "c") for number in range(1000)]
    health = Health([channel(name, NOW - FAILING_MS) for name in names], stuck, dict.fromkeys(names, 10**9))
    body = daily(health, NOW).body
    assert len(body) < MAX_NOTICE_BYTES
    assert msgspec.json.decode(body)["problems"][-1] == "and 1980 more"


def test_there_is_one_check_a_day() -> None:
    day = 86_400_000
    assert daily(Health([], [], {}), NOW).key == daily(Health([], [], {}), NOW + 1000).key
    assert daily(Health([], [], {}), NOW).key != daily(Health([], [], {}), NOW + day).key


def test_a_channel_that_fails_for_long_is_told_of_once() -> None:
    health = Health([channel(since_ms=NOW - FAILING_MS), channel("b")], [], {})
    assert [one.key for one in failing(health, NOW)] == [one.key for one in failing(health, NOW + 60_000)]
    assert len(failing(health, NOW)) == 1


async def test_the_check_of_the_day_is_told_once_also_after_a_restart(tmp_path: Path) -> None:
    door, clock = Doorstep(), FakeClock()
    for _ in range(3):
        async with opened(tmp_path) as store:
            one = courier(store, clock, a=door)
            await one.begin()
            await one.check()
            await one.check()
            await bring_all(one, "a", door)
    clock.advance(86_400)
    async with opened(tmp_path) as store:
        one = courier(store, clock, a=door)
        await one.check()
        await bring_all(one, "a", door)
    assert len(door.taken) == len({letter.key for letter in door.taken}) == 2


async def test_a_channel_that_is_told_of_alarms_alone_keeps_nothing_else_in_the_outbox(tmp_path: Path) -> None:
    door, quiet, clock = Doorstep(), Doorstep(), FakeClock()
    async with opened(tmp_path) as store:
        one = Courier([Addressee("a", tuple(Topic), door), Addressee("q", (Topic.ALARM,), quiet)], store, clock, "m")
        await one.begin()
        for number in range(3):
            await store.put([Notice.of(Topic.MATCH, f"match {number}", clock.now_ms(), {"type": "match"})])
        await store.put(notices("1", at_ms=clock.now_ms()))
        assert await store.newest() == 4
        await bring_all(one, "a", door)
        await one.check()
        assert await store.waits("q", tuple(Topic)) == 2  # the alarm, which waits for it, and the self-check


async def test_old_notices_are_forgotten_when_all_channels_have_brought_them(tmp_path: Path) -> None:
    door, late, clock = Doorstep(), Doorstep(), FakeClock()
    async with opened(tmp_path) as store:
        one = courier(store, clock, a=door, b=late)
        await one.begin()
        await store.put(notices("1", "2", at_ms=clock.now_ms()))
        await bring_all(one, "a", door)
        clock.advance(KEEP_MS / 1000 + 86_400)
        await one.check()
        assert await store.waits("b", (Topic.ALARM,)) == 2
        await bring_all(one, "b", late)
        await one.check()
        assert (late.brought()[:2], await store.waits("a", (Topic.ALARM,))) == (["1", "2"], 0)
        again = courier(store, clock, c=door)
        await store.put(notices("1"))  # its key is not known any more, and its number is new
        assert await store.waits("a", (Topic.ALARM,)) == 1
        await again.check()


async def test_a_channel_that_fails_is_counted_until_it_works(tmp_path: Path) -> None:
    door, metrics = Doorstep(refuses=1), Metrics()
    async with opened(tmp_path) as store:
        one = courier(store, a=door)
        one.measure(metrics)
        await one.begin()
        await store.put(notices("1"))
        await one.bring(Addressee("a", ALL, door))
        failing_then = b'monitor_channel_failing{channel="a"} 1.0' in metrics.exposition()
        await bring_all(one, "a", door)
        assert (failing_then, b'monitor_channel_failing{channel="a"} 0.0' in metrics.exposition()) == (True, True)


async def test_the_operator_sees_which_channels_work(tmp_path: Path) -> None:
    door, clock = Doorstep(refuses=1), FakeClock()
    async with opened(tmp_path) as store:
        one = courier(store, clock, a=door)
        await one.begin()
        await store.put(notices("1", "2"))
        await one.bring(Addressee("a", ALL, door))
        async with served(Starlette(routes=channel_routes(one))) as site:
            [shown] = msgspec.json.decode((await site.get("/v1/channels")).body)["channels"]
            assert (shown["waiting"], shown["reason"], shown["failing_since_ms"]) == (
                2,
                "nobody is at home",
                clock.now_ms(),
            )
            await bring_all(one, "a", door)
            [shown] = msgspec.json.decode((await site.get("/v1/channels")).body)["channels"]
            assert (shown["waiting"], shown["reason"], shown["failing_since_ms"]) == (0, "", None)
