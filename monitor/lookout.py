"""The second way to a log: another address, or a proxy in another network.

Whoever shows this monitor one history and the world another has to know where it asks from. What is seen from elsewhere
goes into the same machine. A tree that nobody can explain for a while is an alarm; one that contradicts the branch
convicts the log, and the tiles that are served there prove it at once.
"""

import trio

from gossip.core import origin_id
from monitor.alarms.core import Key
from monitor.alarms.kinds import VANTAGE_UNREACHABLE
from monitor.archive import VANTAGE
from monitor.node import Monitor
from monitor.sources.source import NotServed, Source
from runtime.clock import Clock
from tlog.hashing import TreeHead

UNREACHABLE_SECONDS = 600  # nobody depends on this way, and proxies are restarted
MAX_UNEXPLAINED = 64  # trees; the oldest decides, and a log that signs more of them is watched closely by then
SUBJECT = "the second vantage"


class Lookout:
    """Looks at one log from elsewhere."""

    def __init__(self, origin: str, source: Source, monitor: Monitor, clock: Clock) -> None:
        self.origin = origin
        self._source = source
        self._monitor = monitor
        self._clock = clock
        self._unexplained: dict[TreeHead, float] = {}
        self._answered: float | None = None

    async def run(self, interval: float) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await trio.sleep(interval)

    async def look(self) -> None:
        """Look once."""
        now = trio.current_time()
        self._answered = now if self._answered is None else self._answered
        reason = await self._look()
        if reason is None:
            self._answered = now
            await self._monitor.alarms.clear(VANTAGE_UNREACHABLE, self.origin, SUBJECT)
        elif now - self._answered >= UNREACHABLE_SECONDS:
            lasted = int(now - self._answered)
            await self._monitor.alarms.hold(Key(VANTAGE_UNREACHABLE, self.origin, SUBJECT), reason, seconds=lasted)

    def unexplained_seconds(self) -> int | None:
        """For how long a tree that was seen from elsewhere has not been explained; None while that means nothing."""
        branch = self._monitor.branch(origin_id(self.origin))
        if self._answered is None:
            return None
        if branch.convicted:
            self._unexplained.clear()  # there is an explanation
        # Whatever is not larger than the branch was compared with it, and would have convicted the log.
        self._unexplained = {head: since for head, since in self._unexplained.items() if head.size > branch.size}
        oldest = min(self._unexplained.values(), default=None)
        return 0 if oldest is None else int(trio.current_time() - oldest)

    async def _look(self) -> str | None:
        """Look once; return why there is nothing to see."""
        origin = origin_id(self.origin)
        try:
            note = await self._source.checkpoint()
        except NotServed as error:
            return str(error)
        refusals = await self._monitor.submit(origin, note, VANTAGE)
        signed = self._monitor.shown.shown(self.origin, VANTAGE)
        if refusals or signed is None:
            return "what is served there is not a checkpoint of this log"
        branch = self._monitor.branch(origin)
        if signed.size > branch.size and not branch.convicted and len(self._unexplained) < MAX_UNEXPLAINED:
            await self._remember(signed.head)
        return None

    async def _remember(self, head: TreeHead) -> None:
        """Note since when a tree is not explained: that may have been before the program was started."""
        if head not in self._unexplained:
            first_ms = await self._monitor.store.first_seen_ms(self.origin, head.size, head.root_hash)
            now_ms = self._clock.now_ms()
            age = 0.0 if first_ms is None else max(now_ms - first_ms, 0) / 1000
            self._unexplained[head] = trio.current_time() - age
