"""Leads the watches of one log through its entries, as far as the branch goes.

Each watch has a place of its own in the database: the first entry that it has not looked at. Entries come from memory,
where the follower has just read them, or from the log once more; either way they are compared with the mirror, which
holds the hash of every entry of the branch, before any watch sees them. Nothing is passed over: what the log does not
serve is asked for again until it does, and meanwhile no watch of this log goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import trio

from gossip.core import MissingTile
from monitor.allowance import Allowance
from monitor.core import WrongBundle, bundles_from, opened_bundle
from monitor.download import Download
from monitor.matching.look import look
from monitor.matching.memory import Memory, Run
from monitor.matching.store import Hit, MatchStore
from monitor.mirror import Mirror
from monitor.room import Room
from monitor.sources.source import NotServed, Served, Source
from monitor.watch import Watch
from runtime.clock import Clock
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import EntryBundle

BUNDLES_UNTIL_WRITTEN = 64  # without a match: so many are looked through once more after a crash
PAUSE_SECONDS = 60.0  # at most, between two attempts to read what the log does not serve
COMPLAIN_SECONDS = 60  # a log that restarts does not answer for a while

Branch = Callable[[], SignedCheckpoint | None]


class Complain(Protocol):
    """Raises the alarm about a log whose watches cannot go on, or clears it."""

    async def __call__(self, reason: str | None) -> None:
        """Say why they cannot, or with None that they can."""
        ...


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a watch is behind the branch, in entries, and for how many seconds it has not been able to go on."""

    origin: str
    watch: str
    position: int
    size: int
    stuck_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Log:
    """What a matcher needs of the log it looks through."""

    origin: str
    source: Source
    mirror: Mirror
    allowance: Allowance
    branch: Branch


class Matcher:
    """The task that looks through one log. ``memory`` is told of new entries by the log's follower."""

    def __init__(
        self,
        log: Log,
        watches: Sequence[Watch],
        store: MatchStore,
        clock: Clock,
        room: Room,
        looking: trio.CapacityLimiter,
        complain: Complain,
    ) -> None:
        self.origin = log.origin
        self.memory = Memory()
        self._log = log
        self._watches = {watch.name: watch for watch in watches}
        self._keep = {watch.name: watch.keep for watch in watches}
        self._store = store
        self._clock = clock
        self._looking = looking
        self._complain = complain
        self._download = Download(log.allowance, room)
        self._positions: dict[str, int | None] = {}
        self._unwritten = 0
        self._stuck: tuple[float, str] | None = None
        self._complained = True
        """There may be an alarm: an earlier run may have left one."""

    def lags(self) -> list[Lag]:
        """Say how far each watch is behind."""
        branch = self._log.branch()
        size = 0 if branch is None else branch.size
        since, reason = self._stuck or (trio.current_time(), "")
        return [
            Lag(self.origin, name, size if position is None else position, size, trio.current_time() - since, reason)
            for name, position in self._positions.items()
        ]

    def behind(self) -> dict[str, int]:
        """How many entries of the branch each watch has yet to look at."""
        branch = self._log.branch()
        size = 0 if branch is None else branch.size
        return {name: max(size - (size if at is None else at), 0) for name, at in self._positions.items()}

    async def run(self, interval: float) -> NoReturn:
        """Look through whatever the branch comes to hold, for ever."""
        await self.begin()
        came, pause = False, interval
        while True:
            if await self.attempt(fetch=not came):
                pause = interval
            else:
                pause = min(max(pause * 2, interval), max(PAUSE_SECONDS, interval))
            came = await self.memory.wait(pause)

    async def begin(self) -> None:
        """Read how far the watches came, and write down the new ones."""
        known = await self._store.cursors(self.origin)
        # A watch that begins now begins with the branch that is adopted first, if there is none yet.
        branch = self._log.branch()
        now = None if branch is None else branch.size
        new = {
            name: now if watch.since is None else watch.since
            for name, watch in self._watches.items()
            if name not in known
        }
        await self._store.begin(self.origin, new)
        self._positions = {name: (known | new)[name] for name in self._watches}

    async def catch_up(self, *, fetch: bool = True) -> None:
        """Look through everything up to the branch. Without ``fetch``, only through what is in memory.

        Raises:
            NotServed: the log does not serve entries that are asked for again.
            WrongBundle: it serves others than those it signed.
            MissingTile: the mirror lacks what would tell them apart.
        """
        branch = self._log.branch()
        if branch is None:
            return
        await self._settle(branch)
        try:
            while self._position < branch.size:
                run = self.memory.take(self._position, branch.size)
                if run is not None and await self._take_from_memory(run, branch):
                    continue
                if not fetch:
                    return
                await self._fetch(branch)
        finally:
            if self._unwritten:
                with trio.CancelScope(shield=True):
                    await self._write(())

    async def attempt(self, *, fetch: bool = True) -> bool:
        """Catch up, and remember why that failed, if it did; tell whether it did not."""
        try:
            await self.catch_up(fetch=fetch)
        except MissingTile:
            await self._stick("the mirror has dropped the hashes that would tell its entries from others")
            return False
        except (NotServed, WrongBundle) as error:
            await self._stick(str(error))
            return False
        self._stuck = None
        if self._complained:
            self._complained = False
            await self._complain(None)
        return True

    async def _stick(self, reason: str) -> None:
        since = trio.current_time() if self._stuck is None else self._stuck[0]
        self._stuck = since, reason
        if trio.current_time() - since >= COMPLAIN_SECONDS:
            self._complained = True
            await self._complain(reason)

    @property
    def _position(self) -> int:
        return min(position for position in self._positions.values() if position is not None)

    async def _settle(self, branch: SignedCheckpoint) -> None:
        """Let watches that begin now begin here, and others with the first entry that the mirror has."""
        first = self._log.mirror.start
        settled = {
            name: branch.size if position is None else first
            for name, position in self._positions.items()
            if position is None or position < first
        }
        if settled:
            self._positions |= settled
            await self._write(())

    # Entries.

    async def _take_from_memory(self, run: Run, branch: SignedCheckpoint) -> bool:
        try:
            hits = await self._look(run, branch)
        except (WrongBundle, MissingTile):
            return False  # fetched anew, whole tiles can be told from others with less
        await self._found(run.start + len(run.entries), hits)
        return True

    async def _fetch(self, branch: SignedCheckpoint) -> None:
        failure: WrongBundle | MissingTile | None = None

        async def take(bundle: EntryBundle, served: Served) -> bool:
            nonlocal failure
            try:
                run = await trio.to_thread.run_sync(self._open, bundle, served, limiter=self._looking)
                await self._found(bundle.start + bundle.width, await self._look(run, branch))
            except (WrongBundle, MissingTile) as error:
                failure = error
            return failure is None

        try:
            await self._download.run(bundles_from(self._position, branch.size), self._log.source.bundle, take)
        except NotServed:
            if not self._log.allowance.grow():
                raise
        if failure is not None:
            raise failure

    def _open(self, bundle: EntryBundle, served: Served) -> Run:
        entries, _ = opened_bundle(bundle, served.data, served.width, (), self._log.source.entries)
        return Run(bundle.start, entries)

    async def _look(self, run: Run, branch: SignedCheckpoint) -> list[Hit]:
        watches = [
            (self._watches[name], position) for name, position in self._positions.items() if position is not None
        ]
        return await trio.to_thread.run_sync(look, run, branch, self._log.mirror.read, watches, limiter=self._looking)

    async def _found(self, end: int, hits: Sequence[Hit]) -> None:
        self._positions = {
            name: position if position is None else max(position, end) for name, position in self._positions.items()
        }
        self._unwritten += 1
        if hits or self._unwritten >= BUNDLES_UNTIL_WRITTEN:
            await self._write(hits)

    async def _write(self, hits: Sequence[Hit]) -> None:
        reached = {name: position for name, position in self._positions.items() if position is not None}
        await self._store.advance(self.origin, reached, hits, self._keep, self._clock.now_ms())
        self._unwritten = 0
