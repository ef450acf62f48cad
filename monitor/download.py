"""Fetches a run of bundles: several at once, handed over one after the other in the order of the log.

Bundles that came wait for those before them, in memory that is counted. A log begins with one request at a time, and
gets as many more as it answers, so that those which hang or refuse hold no more than one.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator

import trio

from monitor.allowance import Allowance
from monitor.room import Room
from monitor.sources.source import NotServed, Served
from tlog.tiles import EntryBundle

Get = Callable[[EntryBundle], Awaitable[Served]]
Take = Callable[[EntryBundle, Served], Awaitable[bool]]
"""Takes a bundle; False says that no more are wanted."""

AHEAD = 2  # bundles on their way or waiting, for each request at once: one slow answer does not idle the others


class _Part:
    """A bundle that was asked for, and what came of it."""

    def __init__(self, bundle: EntryBundle, room: int) -> None:
        self.bundle = bundle
        self.room = room
        self.done = trio.Event()
        self.found: Served | NotServed | None = None

    async def fetch(self, get: Get, requests: trio.CapacityLimiter) -> None:
        """Ask once."""
        async with requests:
            try:
                self.found = await get(self.bundle)
            except NotServed as error:
                self.found = error
        self.done.set()


class Download:
    """Downloads of one log, one at a time."""

    def __init__(self, allowance: Allowance, room: Room) -> None:
        self._allowance = allowance
        self._room = room
        self._requests = trio.CapacityLimiter(1)

    async def run(self, bundles: Iterator[EntryBundle], get: Get, take: Take) -> None:
        """Fetch bundles until there are no more, or no more are wanted.

        Raises:
            NotServed: one could not be had; those before it were handed over.
        """
        failure: NotServed | None = None
        parts: deque[_Part] = deque()
        try:
            async with trio.open_nursery() as fetches:
                while await self._ask_for_more(parts, bundles, get, fetches):
                    await parts[0].done.wait()
                    found = parts[0].found
                    if not isinstance(found, Served):
                        failure = found
                        break
                    self._requests.total_tokens = min(self._requests.total_tokens * 2, self._allowance.parallel)
                    if not await take(parts[0].bundle, found):
                        break
                    self._room.give_back(parts.popleft().room)
                fetches.cancel_scope.cancel()
        finally:
            for part in parts:
                self._room.give_back(part.room)
        if failure is not None:
            self._requests.total_tokens = 1
            raise failure

    async def _ask_for_more(
        self, parts: deque[_Part], bundles: Iterator[EntryBundle], get: Get, fetches: trio.Nursery
    ) -> bool:
        """Keep as many requests under way as there may be; tell whether there is anything to wait for."""
        room = self._allowance.expected_bytes
        most = min(AHEAD * self._requests.total_tokens, self._room.share(room))
        while len(parts) < most:
            if parts and not self._room.take_now(room):
                break
            bundle = next(bundles, None)
            if bundle is None:
                if parts:
                    self._room.give_back(room)
                break
            if not parts:
                await self._room.take(room)
            part = _Part(bundle, room)
            parts.append(part)
            fetches.start_soon(part.fetch, get, self._requests)
        return bool(parts)
