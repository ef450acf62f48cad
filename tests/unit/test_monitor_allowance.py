"""What a log may take of a monitor, and for how long it is left alone when it asks for that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trio
import trio.testing

from monitor.allowance import MAX_REST_SECONDS, Allowance
from monitor.room import USUAL_BYTES, Room
from runtime.client import Failure, FetchError, Response
from tests.fakes import FakeClock

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Server:
    """Answers as it is told, and notes when and with which cap it was asked."""

    answers: list[Response | FetchError] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    caps: list[int] = field(default_factory=list)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        self.times.append(trio.current_time())
        self.caps.append(cap)
        answer = self.answers.pop(0) if self.answers else Response(200, {}, b"")
        if isinstance(answer, FetchError):
            raise answer
        return answer


def told(*answers: Response | FetchError, rate: float = 0.0) -> tuple[Server, Allowance]:
    server = Server(list(answers))
    return server, Allowance(server.fetch, FakeClock(int(NOW.timestamp())), 8, rate)


async def ask(allowance: Allowance, cap: int = 100) -> Response:
    return await allowance.fetch("GET", "http://log/checkpoint", cap=cap, seconds=1.0)


def busy(after: str | None, status: int = 429) -> Response:
    return Response(status, {} if after is None else {"retry-after": after}, b"")


def later(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        (busy("0"), 0),
        (busy("7"), 7),
        (busy("3600"), 3600),
        (busy("86401"), MAX_REST_SECONDS),
        (busy("9" * 60), MAX_REST_SECONDS),
        (busy(later(90)), 90),
        (busy(later(-90)), 0),
        (busy(later(10**6)), MAX_REST_SECONDS),
        (busy(None), 1),
        (busy("soon"), 1),
        (busy("-5"), 1),
        (busy("٣"), 1),
        (busy("9" * 1000), 1),
        (busy("Fri, 99 Jan 99999999999 00:00:00 GMT"), 1),
        (busy("30", status=503), 30),
        (busy(None, status=503), 0),
        (busy("30", status=404), 0),
        (Response(200, {"retry-after": "30"}, b""), 0),
    ],
)
async def test_a_log_is_left_alone_for_as_long_as_it_says(
    autojump_clock: trio.testing.MockClock, answer: Response, rest: float
) -> None:
    server, allowance = told(answer)
    assert (await ask(allowance)).status == answer.status
    assert allowance.rest_seconds == pytest.approx(rest)
    if rest:
        with pytest.raises(FetchError, match="wants to be left alone"):
            await ask(allowance)
    await allowance.rested()
    await ask(allowance)
    assert server.times == pytest.approx([0, rest])


async def test_who_only_says_429_is_asked_less_and_less_until_it_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, allowance = told(*[busy(None)] * 9, Response(200, {}, b""), busy(None))
    rests = []
    for _ in range(11):
        await ask(allowance)
        rests.append(allowance.rest_seconds)
        await allowance.rested()
    assert rests == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60, 0, 1])


async def test_requests_are_spread_over_time(autojump_clock: trio.testing.MockClock) -> None:
    server, allowance = told(rate=4)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, allowance)
    assert server.times == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    await trio.sleep(10)
    await ask(allowance)
    assert server.times[-1] == pytest.approx(11)


async def test_one_log_s_rest_is_not_another_s(autojump_clock: trio.testing.MockClock) -> None:
    (_, resting), (server, other) = told(busy("3600")), told()
    await ask(resting)
    await ask(other)
    assert (resting.rest_seconds, other.rest_seconds, server.times) == (3600, 0, [0])


async def test_larger_answers_are_taken_once_they_are_expected() -> None:
    too_large = FetchError(Failure.TOO_LARGE, "too large")
    server, allowance = told(too_large, too_large)
    for _ in range(2):
        with pytest.raises(FetchError):
            await ask(allowance, cap=10**7)
        assert (allowance.grow(), allowance.grow()) == (True, False)
    await ask(allowance, cap=10**7)
    assert server.caps == [USUAL_BYTES, 8 * USUAL_BYTES, 10**7]


async def test_an_answer_larger_than_it_may_ever_be_changes_nothing() -> None:
    _, allowance = told(FetchError(Failure.TOO_LARGE, "too large"))
    with pytest.raises(FetchError):
        await ask(allowance, cap=100)
    assert not allowance.grow()


# Room.


async def test_who_waits_for_room_is_served_in_order_and_cancelled_waiters_hold_nothing() -> None:
    room, served = Room(usual=3, large=0), []

    async def take(count: int) -> None:
        await room.take(count)
        served.append(count)

    await room.take(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert not room.take_now(1)  # there is one free, but somebody waits
        nursery.cancel_scope.cancel()
    assert (room.take_now(1), served) == (True, [])
    room.give_back(1)
    room.give_back(2)
    assert room.is_free


async def test_who_needs_much_keeps_nobody_waiting_who_needs_little() -> None:
    room = Room(usual=USUAL_BYTES, large=USUAL_BYTES * 10)
    await room.take(USUAL_BYTES * 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.take, USUAL_BYTES * 5)
        await trio.testing.wait_all_tasks_blocked()
        assert room.take_now(USUAL_BYTES)
        nursery.cancel_scope.cancel()


async def test_more_than_there_is_takes_all_there_is() -> None:
    room = Room(large=USUAL_BYTES * 2)
    await room.take(USUAL_BYTES * 99)
    assert not room.take_now(USUAL_BYTES + 1)
    room.give_back(USUAL_BYTES * 99)
    assert (room.is_free, room.share(USUAL_BYTES * 99)) == (True, 1)
