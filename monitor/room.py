"""The memory that all logs together may fill with what they serve, while it waits to be hashed.

Whoever holds some of it never waits for more, so nobody can be stuck: take what you need while you hold nothing, and
beyond that only what is free.
"""

import trio

ROOM_BYTES = 64 * 1024 * 1024  # beside a process of about 100 MB; entries of 250 bytes come in bundles of 64 KB


class Room:
    """So many bytes. Those who wait are served in order."""

    def __init__(self, total: int = ROOM_BYTES) -> None:
        self._total = self._free = total
        self._turn = trio.Lock()
        self._freed = trio.Event()

    async def take(self, count: int) -> None:
        """Wait for so many bytes, at most all there are."""
        async with self._turn:
            while self._free < count:
                self._freed = trio.Event()
                await self._freed.wait()
            self._free -= count

    def take_now(self, count: int) -> bool:
        """Take so many bytes if nobody has to wait for it."""
        if self._turn.locked() or self._free < count:
            return False
        self._free -= count
        return True

    def give_back(self, count: int) -> None:
        """Let others have it."""
        self._free += count
        self._freed.set()

    @property
    def total(self) -> int:
        """All there is."""
        return self._total
