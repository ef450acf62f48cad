"""The memory that all logs together may fill with what they serve, while it waits to be hashed.

Whoever holds some of it never waits for more, so nobody can be stuck: take what you need while you hold nothing, and
beyond that only what is free. What is larger than usual has a place of its own, or those who need much, and wait for
it, would keep all the others waiting behind them.
"""

import trio

USUAL_BYTES = 256 * 1024  # a bundle of entries of a kilobyte
USUAL_ROOM = 128 * USUAL_BYTES  # bundles on their way, of all logs together
LARGE_ROOM = 20 * 1024 * 1024  # one of the largest bundles there can be, which takes thrice its size while it is read


class Room:
    """So many bytes of each kind. Those who wait for one kind are served in order."""

    def __init__(self, usual: int = USUAL_ROOM, large: int = LARGE_ROOM) -> None:
        self._usual = _Part(usual)
        self._large = _Part(large)

    async def take(self, count: int) -> None:
        """Wait for so many bytes, or for all there are."""
        await self._part(count).take(count)

    def take_now(self, count: int) -> bool:
        """Take so many bytes if nobody has to wait for it."""
        return self._part(count).take_now(count)

    def give_back(self, count: int) -> None:
        """Let others have what was taken at once."""
        self._part(count).give_back(count)

    def share(self, count: int) -> int:
        """How many pieces of this size one log should hold at most: a quarter of what there is, and at least one."""
        return max(self._part(count).total // 4 // count, 1)

    @property
    def is_free(self) -> bool:
        """Tell whether nobody holds any of it."""
        return all(part.free == part.total for part in (self._usual, self._large))

    def _part(self, count: int) -> "_Part":
        return self._usual if count <= USUAL_BYTES else self._large


class _Part:
    def __init__(self, total: int) -> None:
        self.total = self.free = total
        self._turn = trio.Lock()
        self._freed = trio.Event()

    async def take(self, count: int) -> None:
        async with self._turn:
            while self.free < min(count, self.total):
                self._freed = trio.Event()
                await self._freed.wait()
            self.free -= min(count, self.total)

    def take_now(self, count: int) -> bool:
        if self._turn.locked() or self.free < min(count, self.total):
            return False
        self.free -= min(count, self.total)
        return True

    def give_back(self, count: int) -> None:
        self.free += min(count, self.total)
        self._freed.set()
