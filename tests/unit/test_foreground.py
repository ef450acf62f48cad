"""Foreground work: its result, its error, or that somebody interrupted it."""

import signal
import threading
from contextlib import suppress

import pytest
import trio

from runtime.foreground import run_foreground


async def _seven() -> int:
    await trio.lowlevel.checkpoint()
    return 7


def test_the_result_is_returned() -> None:
    assert run_foreground(_seven) == 7


def test_an_error_comes_out_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("as it is")

    with pytest.raises(ValueError, match="as it is"):
        run_foreground(fail)


def test_an_interrupt_ends_a_wait() -> None:
    async def wait() -> None:
        await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run_foreground(wait)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_cannot_be_lost_in_code_that_swallows_errors() -> None:
    async def swallow() -> None:
        with suppress(BaseException):  # what bookkeeping somewhere below may do
            signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run_foreground(swallow)


def test_work_runs_in_a_thread_that_no_signal_reaches() -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(run_foreground(_seven)))
    thread.start()
    thread.join()
    assert results == [7]
