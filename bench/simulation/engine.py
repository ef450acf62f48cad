"""Virtual time: what happens next is what comes first in (time, order of scheduling), and chance has a name.

A run is a function of its seed. Each purpose draws from a stream of its own, so that a change in one place (one more
message is lost) does not shift what all the others draw. What happened is hashed as it happens; two runs of one seed
give one hash in whatever process, under whatever seed of Python's own hashes.
"""

import heapq
import random
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import TypeVarTuple

Arguments = TypeVarTuple("Arguments")

SECOND = 1_000_000  # microseconds: the unit of all times here; the gossip core is told whole milliseconds


class Streams:
    """The sources of chance of one run, by name: topology, delays, loss, adversary, workload, and one a monitor."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[str, random.Random] = {}

    def __getitem__(self, name: str) -> random.Random:
        if name not in self._streams:
            # A string is hashed with SHA-512 into a seed, the same in every process.
            self._streams[name] = random.Random(f"{self._seed} {name}")
        return self._streams[name]


class Engine:
    """The clock of a run and what is still to happen."""

    def __init__(self) -> None:
        self.now = 0
        self.happened = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._trace = sha256()

    @property
    def now_ms(self) -> int:
        """The time in the unit of the gossip core."""
        return self.now // 1000

    @property
    def trace(self) -> str:
        """The hash of everything that was recorded."""
        return self._trace.hexdigest()

    def at(self, time: int, action: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Let something happen at a time; of what is due at the same time, what was scheduled first comes first."""
        if time < self.now:
            raise AssertionError("nothing happens in the past")
        due: Callable[[], None] = partial(action, *arguments)
        heapq.heappush(self._queue, (time, self._scheduled, due))
        self._scheduled += 1

    def after(self, delay: int, action: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Let something happen in a while."""
        self.at(self.now + delay, action, *arguments)

    def record(self, *parts: bytes) -> None:
        """Put what happens now into the trace. The lengths keep different parts from looking the same."""
        measured = [b"%d %d" % (self.now, len(parts))]
        for part in parts:
            measured += (b" %d " % len(part), part)
        self._trace.update(b"".join(measured))

    def run(self, until: int, done: Callable[[], bool] | None = None) -> None:
        """Let everything happen up to a time, or until ``done`` says so; looks at ``done`` after every event."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            self.happened += 1
            action()
            if done is not None and done():
                return
        self.now = until
