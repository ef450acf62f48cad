"""What one peer, and all strangers together, may take of a monitor: bytes over time, and bytes at a time.

Nothing of it decides what is true. It bounds what lies, floods and mistakes can cost.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

BYTES_PER_SECOND = 64_000  # from one peer, sustained: a hundred changed heads a second
BURST_BYTES = 2 * 1024 * 1024  # two of the largest envelopes: what a first exchange brings at once


class Busy(Exception):  # noqa: N818  # says what happened
    """Not now: ask again after so many seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too much at once: ask again later")
        self.seconds = seconds


@dataclass(slots=True)
class ByteBudget:
    """A bucket that fills with ``BYTES_PER_SECOND`` up to ``BURST_BYTES``. In thousandths: nothing is rounded away."""

    _since_ms: int
    _filled: int = BURST_BYTES * 1000

    def charge(self, count: int, now_ms: int) -> None:
        """Take bytes that were sent to us unasked.

        Raises:
            Busy: there are not as many left; nothing was taken.
        """
        self._fill(now_ms)
        missing = count * 1000 - self._filled
        if missing > 0:
            raise Busy(-(-missing // (BYTES_PER_SECOND * 1000)))
        self._filled -= count * 1000

    def spend(self, count: int, now_ms: int) -> None:
        """Take bytes that we asked for, be there as many or not."""
        self._fill(now_ms)
        self._filled -= count * 1000

    def owed(self, now_ms: int) -> float:
        """Tell how many seconds to wait before asking for more."""
        self._fill(now_ms)
        return max(-self._filled, 0) / (BYTES_PER_SECOND * 1000)

    def _fill(self, now_ms: int) -> None:
        # A clock that is set back adds nothing.
        self._filled = min(BURST_BYTES * 1000, self._filled + max(0, now_ms - self._since_ms) * BYTES_PER_SECOND)
        self._since_ms = now_ms


class Room:
    """So many bytes that may be held at once; who needs more than is left waits in line, for a while."""

    def __init__(self, size: int, patience: float) -> None:
        self._left = size
        self._patience = patience
        self._line: deque[tuple[int, trio.Event]] = deque()

    @asynccontextmanager
    async def hold(self, count: int) -> AsyncIterator[None]:
        """Hold so many bytes.

        Raises:
            Busy: there was no room for them in time.
        """
        await self._enter(count)
        try:
            yield
        finally:
            self._left += count
            self._admit()

    async def _enter(self, count: int) -> None:
        turn = count, trio.Event()
        self._line.append(turn)
        self._admit()
        try:
            with trio.move_on_after(self._patience):
                await turn[1].wait()
        except BaseException:
            self._leave(turn)
            raise
        if not turn[1].is_set():
            self._leave(turn)
            raise Busy(max(int(self._patience), 1))

    def _admit(self) -> None:
        """Let in whoever is first in line, as long as there is room: a small request does not overtake a large one."""
        while self._line and self._line[0][0] <= self._left:
            count, turn = self._line.popleft()
            self._left -= count
            turn.set()

    def _leave(self, turn: tuple[int, trio.Event]) -> None:
        """Give up waiting, or what was granted in the moment of giving up."""
        if turn[1].is_set():
            self._left += turn[0]
        else:
            self._line.remove(turn)
        self._admit()
