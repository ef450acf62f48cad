"""A monitor whose state comes and goes: what it serves meanwhile, when it tries again, and what ends it after all."""

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from trio.testing import MockClock

from gossip.machine import GossipFailed
from monitor.alarms.book import Alarms
from monitor.alarms.core import CALM_SECONDS
from monitor.stage import LONG, LONGEST_PAUSE, UNWELL, Outage, Stage
from monitor.tables import METADATA
from monitor.tasks import tell_outage
from runtime.daemon import Node
from runtime.database import DatabaseFailed, open_database
from runtime.errors import UsageError, leaves
from runtime.register import Fenced
from tests.fakes import FakeClock
from tests.served import served

FULL = OSError(errno.ENOSPC, "No space left on device")


@dataclass(slots=True)
class State:
    """State that is opened again and again, and fails as it is told."""

    refuses: list[Exception] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    outages: list[Outage | None] = field(default_factory=list)
    closed: int = 0
    fail: trio.Event = field(default_factory=trio.Event)
    failure: Exception = field(default_factory=DatabaseFailed)

    @asynccontextmanager
    async def open(self, outage: Outage | None) -> AsyncIterator[Node]:
        await trio.lowlevel.checkpoint()
        self.opened.append(trio.current_time())
        if self.refuses:
            raise self.refuses.pop(0)
        self.outages.append(outage)
        self.fail = trio.Event()
        app = Starlette(routes=[Route("/", self._answer)], exception_handlers=UNWELL)
        try:
            yield Node("vkey", app, app, (self._task,))
        finally:
            self.closed += 1

    async def _task(self) -> None:
        await self.fail.wait()
        raise self.failure

    async def _answer(self, request: Request) -> Response:
        if request.query_params:
            raise DatabaseFailed
        return PlainTextResponse("well")


@asynccontextmanager
async def staged(state: State) -> AsyncIterator[Stage]:
    async with trio.open_nursery() as nursery:
        stage = Stage(state.open)
        assert await nursery.start(stage.run) == "vkey"
        yield stage
        stage.ended.set()


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0.02)


async def fails(state: State, failure: Exception | None = None) -> None:
    state.failure = failure or DatabaseFailed()
    state.fail.set()
    await trio.testing.wait_all_tasks_blocked()


async def runs_until_it_fails(state: State, failure: Exception, *then: Exception) -> None:
    async with staged(state):
        state.refuses = list(then)
        await fails(state, failure)
        await trio.sleep_forever()


async def test_while_the_state_cannot_be_opened_everybody_is_told_so() -> None:
    state = State()
    async with staged(state) as stage, served(stage.public) as web, served(stage.operator) as operator:
        assert (await web.get("/")).body == b"well"
        state.refuses = [UsageError("not mounted")] * 100
        await fails(state, FULL)
        answers = [await web.get("/"), await operator.get("/readyz"), await operator.get("/healthz")]
        assert [one.status for one in answers] == [503, 503, 200]
        assert answers[0].headers["retry-after"] == "10"
        assert b"nothing is adopted until it can" in answers[1].body
        state.refuses = []
        while (await web.get("/")).status == 503:  # noqa: ASYNC110 # nobody tells
            await trio.sleep(0.05)
        assert (state.closed, len(state.outages)) == (1, 2)


async def test_that_gossip_cannot_go_on_either_is_no_other_failure(clock: MockClock) -> None:
    state = State()
    async with staged(state):
        await fails(state, ExceptionGroup("both", [GossipFailed(), DatabaseFailed()]))
        await trio.sleep(LONGEST_PAUSE)
        assert [None if one is None else "gossip" in one.reason for one in state.outages] == [None, False]


async def test_a_question_that_meets_the_failure_is_told_to_come_again() -> None:
    async with staged(State()) as stage, served(stage.public) as web:
        assert (await web.get("/?database")).status == 503


async def test_it_tries_again_less_and_less_often_until_it_has_been_well(clock: MockClock) -> None:
    state = State(failure=DatabaseFailed())
    async with staged(state):
        state.refuses = [DatabaseFailed() for _ in range(6)]
        await fails(state)
        await trio.sleep(100)
        waits = [later - earlier for earlier, later in zip(state.opened, state.opened[1:], strict=False)]
        assert waits == pytest.approx([2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE])
        (outage,) = filter(None, state.outages)
        assert "the database or its disk failed" in outage.reason
        assert trio.current_time() - outage.since == pytest.approx(100)
        await trio.sleep(LONG)
        await fails(state)
        await trio.sleep(1.5)
        assert len(state.outages) == 3


async def test_what_is_no_outage_ends_it() -> None:
    for failure in (
        ValueError("a fault of ours"),
        OSError(errno.EBADF, "bad"),
        UsageError("used twice"),
        Fenced(),
        GossipFailed(),
    ):
        state = State()
        with pytest.raises(ExceptionGroup) as caught:
            await runs_until_it_fails(state, failure)
        assert (list(leaves(caught.value)), state.closed) == ([failure], 1)


async def test_a_first_start_needs_state_that_is_well() -> None:
    for failure in (DatabaseFailed(), FULL, UsageError("missing")):
        with pytest.raises(ExceptionGroup) as caught:
            async with staged(State(refuses=[failure])):
                raise AssertionError("it began")
        assert list(leaves(caught.value)) == [failure]


async def test_another_instance_that_took_over_meanwhile_ends_it(clock: MockClock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await runs_until_it_fails(State(), DatabaseFailed(), Fenced())
    assert isinstance(next(leaves(caught.value)), Fenced)


async def test_it_ends_when_it_is_told_to_while_there_is_no_state() -> None:
    state = State()
    async with staged(state):
        state.refuses = [FULL] * 100
        await fails(state)


async def test_an_outage_is_one_alarm_until_it_stays_over(tmp_path: Path, clock: MockClock) -> None:
    async with open_database(tmp_path / "m.sqlite", METADATA, create=True) as database:
        alarms = Alarms(database, FakeClock())
        for again in (False, True):  # the disk is full once more before long
            with trio.move_on_after(CALM_SECONDS / 2):
                await tell_outage(alarms, Outage("full" if again else "broken", trio.current_time() - 5))
            (alarm,) = await alarms.all()
            assert (alarm.kind, alarm.cleared_ms, alarm.detail) == ("disk-failed", None, "full" if again else "broken")
        await tell_outage(alarms, None)  # a later start
        (alarm,) = await alarms.all()
        assert alarm.cleared_ms is not None
