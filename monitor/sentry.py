"""Looks every few seconds at what is known of all logs, witnesses and peers, and raises or ends the alarms about it.

What is decided, ``monitor.alarms.core`` decides; here its facts are gathered. Each minute the state of every log goes
into the archive, and what was counted of witnesses is written down.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import trio

from gossip.core import CONVICTED
from monitor.alarms.book import Alarms
from monitor.alarms.core import (
    Claim,
    Facts,
    Growth,
    Key,
    LogFacts,
    Memory,
    Raised,
    Sight,
    WitnessFacts,
    watch,
    witness_facts,
)
from monitor.alarms.kinds import (
    DISK_FAILED,
    LOG_STALE,
    PEER_LAG,
    POLICY_DEGRADED,
    SIZE_JUMP,
    VANTAGE_SPLIT,
    VANTAGE_UNREACHABLE,
    WATERMARK_STALE,
    WITNESS_LAG,
)
from monitor.archive import LOG, Archive
from monitor.company import Company
from monitor.config import MonitorSettings, WatchedLog
from monitor.lookout import Lookout
from monitor.marks import Mark
from monitor.node import Monitor
from monitor.samples import DAY_MS, MINUTE_MS, Sample
from monitor.scores import Scores
from runtime.clock import Clock

LOOK_SECONDS = 5.0  # at most; with logs that are polled more often than that it is as often, to half a second
LEAST_LOOK_SECONDS = 0.5
GROWTH_DAYS = 7  # that growth is learned from
LEAST_GROWTH_MS = DAY_MS // 4  # of samples, to learn anything from
LEARN_MS = 3_600_000

_TIMED = (
    LOG_STALE,
    PEER_LAG,
    POLICY_DEGRADED,
    SIZE_JUMP,
    VANTAGE_SPLIT,
    VANTAGE_UNREACHABLE,
    WATERMARK_STALE,
    WITNESS_LAG,
)


@dataclass(slots=True)
class _Base:
    """What a log's growth is measured from."""

    size: int
    confirmed: int


@dataclass(slots=True)
class Sentry:
    """Everything that alarms with timers are made of. ``begin`` comes before the first ``look``."""

    settings: MonitorSettings
    monitor: Monitor
    archive: Archive
    scores: Scores
    company: Company
    lookouts: Sequence[Lookout]
    clock: Clock
    _memory: Memory = field(default_factory=Memory)
    _bases: dict[str, _Base] = field(default_factory=dict)
    _a_day: dict[str, float] = field(default_factory=dict)
    _learned_ms: int | None = None
    _pruned_ms: int | None = None
    _minute_ms: int = 0
    _offset_ms: int | None = None

    async def run(self) -> None:
        """Look again and again."""
        await self.begin()
        interval = min(max(self.settings.poll_interval, LEAST_LOOK_SECONDS), LOOK_SECONDS)
        try:
            while True:
                await self.look()
                await trio.sleep(interval)
        finally:
            with trio.CancelScope(shield=True):
                await self.archive.close(self.clock.now_ms())

    async def begin(self) -> None:
        """Take up the alarms that are open, and end those about what is not configured any more."""
        for watched in self.settings.logs:
            newest = await self.archive.samples.newest(watched.log.origin)
            if newest is not None:
                self._bases[watched.log.origin] = _Base(newest.size, (newest.confirmed_ms or newest.at_ms) // 1000)
        possible = set(_possible(self.settings))
        origins = {"", *(watched.log.origin for watched in self.settings.logs)}
        for key in list(self._alarms.open()):
            obsolete = key.kind in _TIMED and key not in possible and not _is_of_others(key)
            if obsolete or (key.origin not in origins and key.kind != CONVICTED):
                await self._alarms.end(key)
        self._memory = Memory(open=frozenset(self._alarms.open()))

    async def look(self) -> None:
        """Look once."""
        now_ms, now = self.clock.now_ms(), trio.current_time()
        self.company.grow(now)
        await self._learn(now_ms)
        witnesses = witness_facts({mark.origin: _sights(mark) for mark in self._marks()})
        self._memory, changes = watch(self._memory, self._facts(now_ms, now, witnesses), self.settings.alarms)
        for change in changes:
            if isinstance(change, Raised):
                await self._alarms.hold(change.key, change.detail, seconds=change.since)
            else:
                await self._alarms.end(change.key)
        await self._look_at_disks()
        await self.archive.flush()
        if now_ms // MINUTE_MS != self._minute_ms:
            self._minute_ms = now_ms // MINUTE_MS
            await self._each_minute(now_ms, witnesses)

    async def _look_at_disks(self) -> None:
        """Raise the alarm about a mirror that cannot be written, and end it once there is nothing more to write."""
        for site in self.monitor.sites.values():
            key, error = Key(DISK_FAILED, site.log.origin, "the mirror"), site.follower.disk_error
            if error is not None:
                await self._alarms.hold(key, error.strerror or str(error))
            elif site.confirmed is not None:  # or nobody has tried to write since the start
                await self._alarms.end(key)

    @property
    def _alarms(self) -> Alarms:
        return self.monitor.alarms

    def _marks(self) -> Iterable[Mark]:
        return (self.monitor.marks.current(watched.log.id) for watched in self.settings.logs)

    # Facts.

    def _facts(self, now_ms: int, now: float, witnesses: Sequence[WitnessFacts]) -> Facts:
        steady_ms = int(now * 1000)
        offset_ms = now_ms - steady_ms
        stepped = 0 if self._offset_ms is None else (offset_ms - self._offset_ms) // 1000
        self._offset_ms = offset_ms
        lookouts = {lookout.origin: lookout.unexplained_seconds() for lookout in self.lookouts}
        logs = [self._log(watched, now_ms // 1000, lookouts.get(watched.log.origin)) for watched in self.settings.logs]
        peers = self.company.facts(now)
        return Facts(steady_ms, logs, witnesses, peers, self.settings.gossip_interval, stepped)

    def _log(self, watched: WatchedLog, now: int, vantage: int | None) -> LogFacts:
        origin = watched.log.origin
        mark = self.monitor.marks.current(watched.log.id)
        age = None if mark.time is None else max(now - mark.time, 0)
        return LogFacts(
            origin,
            watched.cadence,
            self.monitor.shown.quiet_seconds(origin),
            Claim(age, mark.margin, mark.liars, mark.minq, mark.inter),
            self._growth(watched, now),
            vantage,
        )

    def _growth(self, watched: WatchedLog, now: int) -> Growth | None:
        """How much a log grew, or says it did, since the look before this one, or since it was confirmed then."""
        origin, branch = watched.log.origin, self.monitor.branch(watched.log.id)
        confirmed = self.monitor.sites[watched.log.id].confirmed
        base = self._bases.get(origin)
        self._bases[origin] = _Base(
            branch.size, confirmed if confirmed is not None else base.confirmed if base else now
        )
        a_day = watched.growth or self._a_day.get(origin)
        if base is None or not a_day:
            return None
        largest = max((pending.signed.size for pending in branch.pending), default=0)
        return Growth(base.size, max(now - base.confirmed, 0), max(branch.size, largest), a_day)

    async def _learn(self, now_ms: int) -> None:
        """Learn each hour how much logs grow that nobody says it of."""
        if self._learned_ms is not None and 0 <= now_ms - self._learned_ms < LEARN_MS:
            return
        self._learned_ms = now_ms
        for watched in self.settings.logs:
            origin = watched.log.origin
            ends = [] if watched.growth else await self.archive.samples.ends(origin, now_ms - GROWTH_DAYS * DAY_MS)
            if len(ends) == 2 and ends[1].at_ms - ends[0].at_ms >= LEAST_GROWTH_MS and ends[0].size:
                grown = ends[1].size - ends[0].size
                self._a_day[origin] = max(grown * DAY_MS / (ends[1].at_ms - ends[0].at_ms), 1.0)

    # What is written down.

    async def _each_minute(self, now_ms: int, witnesses: Sequence[WitnessFacts]) -> None:
        await self.archive.samples.note([self._sample(watched, now_ms) for watched in self.settings.logs])
        for witness in witnesses:
            for seconds in witness.behind.values():
                self.scores.behind(witness.name, seconds, now_ms)
        for mark in self._marks():
            for sight in mark.witnesses:
                self.scores.looked(sight.party, f"{mark.origin} {sight.name}", sight.outcomes, now_ms)
        await self.scores.flush(now_ms)
        if self._pruned_ms is None or abs(now_ms - self._pruned_ms) >= DAY_MS:
            self._pruned_ms = now_ms
            await self.archive.prune(now_ms)
            await self._alarms.prune(self.settings.alarms.keep, self.settings.alarms.keep_days)

    def _sample(self, watched: WatchedLog, now_ms: int) -> Sample:
        origin, branch = watched.log.origin, self.monitor.branch(watched.log.id)
        mark, confirmed = self.monitor.marks.current(watched.log.id), self.monitor.sites[watched.log.id].confirmed
        shown = self.monitor.shown.shown(origin, LOG)
        return Sample(
            origin=origin,
            at_ms=now_ms - now_ms % MINUTE_MS,
            size=branch.size,
            shown=max(branch.size, shown.size if shown else 0),
            watermark=mark.time,
            margin=mark.margin,
            confirmed_ms=None if confirmed is None else confirmed * 1000,
            pending=len(branch.pending),
            alarms=len(self._alarms.about(origin)),
        )


def _sights(mark: Mark) -> list[Sight]:
    """What witnesses show who were not convicted. One that nobody has looked at yet may show anything."""
    return [
        Sight(one.party, one.time)
        for one in mark.witnesses
        if not one.convicted and (one.time is not None or (one.polled and any(one.outcomes.values())))
    ]


def _possible(settings: MonitorSettings) -> Iterable[Key]:
    """Every alarm with a timer that this configuration can lead to."""
    for watched in settings.logs:
        origin = watched.log.origin
        if watched.cadence:
            yield Key(LOG_STALE, origin, "no new checkpoint")
        if watched.vantage:
            yield Key(VANTAGE_SPLIT, origin, "the second vantage")
            yield Key(VANTAGE_UNREACHABLE, origin, "the second vantage")
        yield Key(WATERMARK_STALE, origin, "completeness")
        yield Key(POLICY_DEGRADED, origin, "the policy")
        yield Key(POLICY_DEGRADED, origin, "the witnesses heard")
        yield Key(SIZE_JUMP, origin, "growth")
        for witness in watched.log.policy.witnesses:
            yield Key(WITNESS_LAG, "", f"the witness {witness.key.name}")
    for peer in settings.peers:
        yield Key(PEER_LAG, "", f"the peer {peer.name}")


def _is_of_others(key: Key) -> bool:
    """A log that shows less than before is stale too, and whoever polls it knows when it is not any more."""
    return key.kind == LOG_STALE and key.subject != "no new checkpoint"
