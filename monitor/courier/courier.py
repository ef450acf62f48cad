"""The tasks that bring notices: one for each channel, so that a slow one keeps nobody else waiting.

A channel takes its notices in order. The first that does not arrive is tried again, less and less often, for as long as
it takes; nothing overtakes it and nothing is left out. That it is tried is written down before, that it was taken
afterwards. So a crash in between repeats it, and the letter says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from monitor.courier.health import ChannelState, Health, daily, failing
from monitor.courier.store import Attempt, CourierStore
from monitor.delivery import Channel, Letter, Recipient, Undelivered
from monitor.delivery.channel import Post
from monitor.delivery.letter import pause
from monitor.matching import Lag
from monitor.notice import Topic
from runtime.clock import Clock
from runtime.metrics import Metrics

LOOK_SECONDS = 1.0  # between two looks whether there is something new
CHECK_SECONDS = 60.0
KEEP_MS = 30 * 86_400_000  # for channels that are added late, and to know keys that were told before

Watches = Callable[[], Sequence[Lag]]
Sizes = Callable[[], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Addressee:
    """A channel with its name, and what it is told."""

    name: str
    about: tuple[Topic, ...]
    channel: Channel


def addressees(recipients: Sequence[Recipient], post: Post, clock: Clock) -> tuple[Addressee, ...]:
    """Open the channels that the configuration names."""
    return tuple(Addressee(one.name, one.about, one.open(post, clock)) for one in recipients)


class Courier:
    """All channels of a monitor."""

    def __init__(
        self,
        addressees: Sequence[Addressee],
        store: CourierStore,
        clock: Clock,
        monitor: str,
        watches: Watches = tuple,
        sizes: Sizes = dict,
    ) -> None:
        self._addressees = addressees
        self._store = store
        self._clock = clock
        self._monitor = monitor
        self._watches = watches
        self._sizes = sizes
        self._news = trio.Event()
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Bring notices, for ever."""
        await self.begin()
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._look)
            tasks.start_soon(self._check)
            for one in self._addressees:
                tasks.start_soon(self._serve, one)

    async def begin(self) -> None:
        """Write down channels that are new."""
        await self._store.begin([one.name for one in self._addressees])

    def measure(self, metrics: Metrics) -> None:
        """Count for whoever watches this monitor."""
        metrics.measured(
            "monitor_channel_failing",
            "Whether the last attempt to bring a notice failed",
            ["channel"],
            lambda: [((one.name,), float(one.name in self._failing)) for one in self._addressees],
        )

    async def bring(self, one: Addressee) -> float | None:
        """Bring what is next: 0 if that worked, seconds to wait if it failed, None if there is nothing to bring."""
        attempts = await self._store.attempt(one.name, one.about, one.channel.at_once)
        if not attempts:
            return None
        letters = [self._letter(attempt) for attempt in attempts]
        try:
            await one.channel.deliver(letters)
        except Undelivered as error:
            self._failing.add(one.name)
            failures = await self._store.failed(one.name, str(error), self._clock.now_ms())
            _log.warning("not delivered", channel=one.name, reason=str(error), attempt=failures)
            return pause(failures, error.retry_after)
        self._failing.discard(one.name)
        await self._store.delivered(one.name, letters[-1].number, self._clock.now_ms())
        return 0.0

    async def check(self) -> None:
        """Say once a day whether everything keeps up, and at once which channel does not; forget what is old."""
        now_ms = self._clock.now_ms()
        health = await self.health()
        await self._store.put([*failing(health, now_ms), daily(health, now_ms)])
        await self._store.forget({one.name: one.about for one in self._addressees}, now_ms - KEEP_MS)

    async def health(self) -> Health:
        """How far everything is behind."""
        stored = {channel.name: channel for channel in await self._store.channels()}
        channels = [
            ChannelState(stored[one.name], await self._store.waits(one.name, one.about))
            for one in self._addressees
            if one.name in stored
        ]
        return Health(channels, self._watches(), self._sizes())

    async def _serve(self, one: Addressee) -> None:
        while True:
            news = self._news
            seconds = await self.bring(one)
            if seconds is None:
                await news.wait()
            else:
                await trio.sleep(seconds)

    async def _look(self) -> None:
        seen = -1
        while True:
            newest = await self._store.newest()
            if newest != seen:
                seen = newest
                self._news.set()
                self._news = trio.Event()
            await trio.sleep(LOOK_SECONDS)

    async def _check(self) -> None:
        while True:
            await self.check()
            await trio.sleep(CHECK_SECONDS)

    def _letter(self, attempt: Attempt) -> Letter:
        notice = attempt.numbered.notice
        return Letter(
            attempt.numbered.number,
            notice.topic,
            notice.key,
            notice.body,
            notice.at_ms,
            attempt.count,
            self._monitor,
        )


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
