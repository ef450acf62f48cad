"""What a person is told while a monitor catches up: lines in the log, and bars where somebody watches."""

import io
from dataclasses import dataclass
from typing import cast

import pytest
import structlog
import trio
import trio.testing
from rich.console import Console

from gossip.core import Log
from monitor.follow import Progress
from monitor.progress import BAR_SECONDS, LINE_SECONDS, report
from monitor.site import Site
from tests.fakes_log import policy, signer


@dataclass
class FakeFollower:
    progress: Progress | None = None


@dataclass
class FakeSite:
    """A site of which only the progress is looked at."""

    log: Log
    follower: FakeFollower


def made(origin: str) -> FakeSite:
    key = signer(origin)
    return FakeSite(Log(origin, (key.verifier_key,), policy(key)), FakeFollower())


def test_rate_and_estimate_follow_from_what_was_done() -> None:
    progress = Progress(start=100, done=300, target=1000, seconds=2.0)
    assert (progress.per_second, progress.seconds_left) == (100, 7)
    assert Progress(100, 100, 1000, 0.0).seconds_left is None
    assert Progress(100, 100, 1000, 5.0).seconds_left is None


async def test_a_long_catch_up_is_told_in_the_log_and_a_short_one_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    slow, quick, idle = (made(f"log.example/{name}") for name in ("slow", "quick", "idle"))
    slow.follower.progress = Progress(0, 5000, 10_000, LINE_SECONDS * 2)
    quick.follower.progress = Progress(0, 5000, 10_000, 0.5)
    with structlog.testing.capture_logs() as told, trio.move_on_after(LINE_SECONDS * 1.5):
        await report(cast("list[Site]", [slow, quick, idle]), Console(file=io.StringIO()))
    assert told == [
        {
            "event": "catching up",
            "log_level": "info",
            "origin": "log.example/slow",
            "entries": 5000,
            "of": 10_000,
            "per_second": 250,
            "seconds_left": 20,
        }
    ]


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_a_bar_is_shown_on_a_terminal_while_it_lasts(
    autojump_clock: trio.testing.MockClock, is_terminal: bool
) -> None:
    screen = io.StringIO()
    site = made("log.example/[slow]")
    site.follower.progress = Progress(0, 5000, 10_000, 30.0)
    console = Console(file=screen, force_terminal=is_terminal, width=120)
    with trio.move_on_after(BAR_SECONDS * 4.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report, cast("list[Site]", [site]), console)
            await trio.sleep(BAR_SECONDS * 2.5)
            site.follower.progress = Progress(0, 7000, 10_000, 70.0)
            await trio.sleep(BAR_SECONDS)
            site.follower.progress = None
    assert ("log.example/[slow]" in screen.getvalue()) == is_terminal
    assert ("0:00:30 left" in screen.getvalue()) == is_terminal
    assert ("7000/10000" in screen.getvalue()) == is_terminal
