"""Entries that the follower has just read, so that nobody has to fetch them twice. Nothing in here is believed."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import trio

MAX_REMEMBERED = 8 * 1024 * 1024  # bytes for each log: some ten thousand usual entries; who missed some fetches them


class Run(NamedTuple):
    """Entries that follow each other, the first of which has this index."""

    start: int
    entries: Sequence[bytes]


class Memory:
    """The newest entries of one log: the ``OnEntries`` of its follower."""

    def __init__(self) -> None:
        self._runs: deque[tuple[Run, int]] = deque()
        self._bytes = 0
        self._came = trio.Event()

    def keep(self, start: int, entries: Sequence[bytes]) -> None:
        """Remember entries, and forget the oldest where there is no room."""
        count = sum(map(len, entries))
        self._runs.append((Run(start, entries), count))
        self._bytes += count
        while self._bytes > MAX_REMEMBERED:
            self._bytes -= self._runs.popleft()[1]
        self._came.set()

    def take(self, position: int, end: int) -> Run | None:
        """Return remembered entries from this one on, and forget those before it; None if it is not there."""
        while self._runs and self._runs[0][0].start + len(self._runs[0][0].entries) <= position:
            self._bytes -= self._runs.popleft()[1]
        for run, _ in self._runs:
            if run.start <= position < run.start + len(run.entries):
                return Run(position, run.entries[position - run.start : end - run.start])
        return None

    async def wait(self, seconds: float) -> bool:
        """Wait until entries come, or for so long; tell whether some came."""
        with trio.move_on_after(seconds):
            await self._came.wait()
        came, self._came = self._came.is_set(), trio.Event()
        return came
