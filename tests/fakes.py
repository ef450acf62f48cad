"""Stand-ins for the world. Each passes the contract tests of what it stands for."""

from typing import NoReturn

import trio

from runtime.register import Conflict, Fenced, Persisted, checked, persisted
from tlog.advance import Advance, Refresh, Statement


class FakeClock:
    """A clock that somebody sets."""

    def __init__(self, now: int = 1_700_000_000) -> None:
        self.time_ms = now * 1000

    def now(self) -> int:
        return self.time_ms // 1000

    def now_ms(self) -> int:
        return self.time_ms

    def advance(self, seconds: float) -> None:
        self.time_ms += round(seconds * 1000)


class MemoryRegister:
    """A register whose memory outlives the process: hand ``stated`` to the next one to restart it."""

    def __init__(self, stated: "Stated | None" = None) -> None:
        self.stated = Stated() if stated is None else stated
        self.stated.epoch += 1
        self._epoch = self.stated.epoch
        self._lost = trio.Event()

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        return self.stated.latest.get(origin)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        new = checked(known, decision)
        await trio.lowlevel.checkpoint()
        if self._epoch != self.stated.epoch:
            self._lost.set()
            raise Fenced
        current = self.stated.latest.get(new.origin)
        if (None if current is None else current.value) != known:
            return Conflict(current)
        self.stated.latest[new.origin] = answer = persisted(new)
        return answer

    async def wait_lost(self) -> NoReturn:
        await self._lost.wait()
        raise Fenced


class Stated:
    """What a ``MemoryRegister`` has persisted, and who has it."""

    def __init__(self) -> None:
        self.latest: dict[str, Persisted[Statement]] = {}
        self.epoch = 0
