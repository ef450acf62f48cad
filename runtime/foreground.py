"""Runs what a person waits for at a terminal, and lets go of it when they press Ctrl-C.

Python raises KeyboardInterrupt wherever the program happens to be. In the middle of a library's bookkeeping it can be
swallowed there, and the wait goes on. Here the signal is taken between two steps instead, as a cancellation.
"""

import signal
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


def run_foreground(work: Callable[[], Awaitable[T]]) -> T:
    """Run to the end, like ``trio.run``.

    Raises:
        KeyboardInterrupt: SIGINT came before the end.
    """
    # Python delivers signals to the main thread alone.
    here = threading.current_thread() is threading.main_thread()
    return trio.run(_interruptible if here else _uninterrupted, work)


async def _uninterrupted(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _interruptible(work: Callable[[], Awaitable[T]]) -> T:
    listening = trio.Event()
    with trio.CancelScope() as scope:

        async def cancel_at_first() -> None:
            with trio.open_signal_receiver(signal.SIGINT) as signals:
                listening.set()
                async for _ in signals:
                    break
            scope.cancel()  # whoever cannot wait for this either presses again: that one is Python's own again

        trio.lowlevel.spawn_system_task(cancel_at_first)
        await listening.wait()
        return await work()
    raise KeyboardInterrupt
