"""Follows one log: fetches the entries up to a signed head, hashes them, and compares the root before anything counts.

The newest wanted head wins. What was hashed stays as a draft when the log fails to answer halfway, and the next attempt
goes on from there; it is thrown away when the root turns out to be another one than was signed.
"""

from collections.abc import Awaitable, Callable
from itertools import takewhile

import trio

from gossip.core import Event, Rehashed, WrongEntries
from monitor.core import WrongBundle, is_extension, new_leaves, next_bundles
from monitor.mirror import Mirror
from monitor.sources.source import NotServed, Served, Source
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import EntryBundle

Dispatch = Callable[[Event], Awaitable[list[str]]]


class Follower:
    """The task that grows one mirror, and the only one that writes to its draft."""

    def __init__(self, origin: bytes, mirror: Mirror, source: Source, dispatch: Dispatch) -> None:
        self._origin = origin
        self._mirror = mirror
        self._source = source
        self._dispatch = dispatch
        self._target: SignedCheckpoint | None = None
        self._wanted = trio.Event()

    def want(self, signed: SignedCheckpoint) -> None:
        """Make this the head to follow to."""
        self._target = signed
        self._wanted.set()

    async def run(self) -> None:
        """Follow to whatever is wanted, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            target, self._target = self._target, None
            if target is not None:
                await self.follow(target)

    async def follow(self, target: SignedCheckpoint) -> None:
        """Hash all entries up to a head, and report how that ended. A log that does not answer is asked again later."""
        if target.size <= self._mirror.size:
            return
        if self._mirror.draft_size > target.size:
            await trio.to_thread.run_sync(self._mirror.abandon)
        try:
            while self._mirror.draft_size < target.size:
                await self._fetch_some(target.size)
            head = await trio.to_thread.run_sync(self._mirror.draft_head)
            right = is_extension(head, target.head)
        except NotServed:
            return
        except WrongBundle:
            right = False
        if not right:
            await trio.to_thread.run_sync(self._mirror.abandon)
        await self._dispatch(Rehashed(self._origin, target) if right else WrongEntries(self._origin, target))

    async def _fetch_some(self, size: int) -> None:
        """Fetch the next few bundles at once, then hash them in order."""
        bundles = next_bundles(self._mirror.draft_size, size)
        served: dict[EntryBundle, Served] = {}
        failures: list[NotServed] = []

        async def fetch(bundle: EntryBundle) -> None:
            try:
                served[bundle] = await self._source.bundle(bundle)
            except NotServed as error:
                failures.append(error)

        async with trio.open_nursery() as fetches:
            for bundle in bundles:
                fetches.start_soon(fetch, bundle)
        whole = takewhile(served.__contains__, bundles)
        await trio.to_thread.run_sync(self._absorb, [(bundle, served[bundle]) for bundle in whole])
        if failures:
            raise failures[0]

    def _absorb(self, parts: list[tuple[EntryBundle, Served]]) -> None:
        for bundle, served in parts:
            entries = self._source.entries
            self._mirror.extend(new_leaves(bundle, served.data, served.width, self._mirror.tail, entries))
