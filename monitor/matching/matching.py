"""The matchers of all logs that something is watched in."""

from collections.abc import Sequence
from functools import partial

import trio

from monitor.alarms.book import Alarms
from monitor.alarms.core import Key
from monitor.alarms.kinds import WATCH_STUCK
from monitor.matching.matcher import Lag, Log, Matcher
from monitor.matching.store import Findings, MatchStore
from monitor.room import Room
from monitor.watchlist import ListedWatch
from runtime.clock import Clock
from runtime.metrics import Metrics

SUBJECT = "the watch-lists"


class Matching:
    """Looks through the entries of every log of which ``follow`` told."""

    def __init__(self, watches: Sequence[ListedWatch], store: MatchStore, clock: Clock, alarms: Alarms) -> None:
        self.store = store
        self._watches = watches
        self._clock = clock
        self._alarms = alarms
        self._matchers: list[Matcher] = []
        # Matching is Python: two threads of it would not be faster than one, and the follower needs its share.
        self._looking = trio.CapacityLimiter(1)

    def follow(self, log: Log, room: Room) -> Matcher | None:
        """Make the matcher of a log; None if nothing is watched in it."""
        watches = [listed.watch for listed in self._watches if log.origin in listed.origins]
        if not watches:
            return None
        complain = partial(self._complain, log.origin)
        matcher = Matcher(log, watches, self.store, self._clock, room, self._looking, complain)
        self._matchers.append(matcher)
        return matcher

    async def findings(self, newest: int) -> list[Findings]:
        """What each watch of the configuration has found, with so many of its newest matches."""
        return await self.store.findings([listed.watch.name for listed in self._watches], newest)

    def lags(self) -> list[Lag]:
        """Say of each watch how far it is behind, in each log."""
        return [lag for matcher in self._matchers for lag in matcher.lags()]

    def measure(self, metrics: Metrics) -> None:
        """Count for whoever watches this monitor."""
        metrics.measured(
            "monitor_watch_behind",
            "Entries of the branch that a watch has yet to look at",
            ["origin", "watch"],
            lambda: [
                ((matcher.origin, name), float(count))
                for matcher in self._matchers
                for name, count in matcher.behind().items()
            ],
        )

    async def run(self, interval: float) -> None:
        """Look through whatever the branches come to hold, for ever."""
        async with trio.open_nursery() as tasks:
            for matcher in self._matchers:
                tasks.start_soon(matcher.run, interval)

    async def _complain(self, origin: str, reason: str | None) -> None:
        if reason is None:
            await self._alarms.clear(WATCH_STUCK, origin)
        else:
            await self._alarms.hold(Key(WATCH_STUCK, origin, SUBJECT), reason)
