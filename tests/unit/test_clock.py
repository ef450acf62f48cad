"""Clocks: the machine's and the one tests set."""

import time

from runtime.clock import Clock, SystemClock
from tests.fakes import FakeClock


def test_the_system_clock_tells_unix_time() -> None:
    before = time.time_ns()
    seconds, milliseconds = SystemClock().now(), SystemClock().now_ms()
    after = time.time_ns()
    assert before // 10**9 <= seconds <= after // 10**9
    assert before // 10**6 <= milliseconds <= after // 10**6


def test_a_fake_clock_goes_only_when_told() -> None:
    fake = FakeClock(1000)
    clock: Clock = fake
    fake.advance(1.5)
    assert (clock.now(), clock.now_ms()) == (1001, 1001500)
