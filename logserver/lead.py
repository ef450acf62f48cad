"""What one of several processes does for a log that they serve together: publish while it leads, follow while not.

Any number of processes take entries, which the database puts into one order. One at a time holds the lease; it takes
the register over, brings the tiles up to date, and publishes. The others show what it publishes. One that loses the
lease, or learns from the register that somebody took over, stops publishing before anything else and tries to get the
lease again.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import structlog
import trio

from logserver.files import StaticFiles
from logserver.lease import LEASE_SECONDS, Lease
from logserver.shown import Shown
from logserver.store import Sequencer
from logserver.tasks import LATE_INTERVALS, LATE_SECONDS, DamagedCheckpoint, Publisher, read_published
from runtime.errors import CannotTell, leaves
from runtime.register import Fenced, RegisterFailed
from runtime.signers import Signer
from tlog.policy import Policy

MIN_INTERVAL = 0.05  # between two looks, each of which is a question to the database and one to the storage
UNREAD_SECONDS = 60.0  # for so long the public checkpoint may be out of reach before it is a problem

RESIGN_SECONDS = 15.0  # for so long a leader tries to write to the storage, before others may
RELEASE_SECONDS = 1.0  # to give the lease back, which only saves the next one time
RESPITE_SECONDS = LEASE_SECONDS  # before a process that could not lead tries to again

OpenPublisher = Callable[[], AbstractAsyncContextManager[tuple[Publisher, Sequence[Callable[[], Awaitable[object]]]]]]
"""Takes the register over; gives a publisher, and what has to run beside it."""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Leader:
    """Publishes while this process holds the lease."""

    def __init__(self, lease: Lease, open_publisher: OpenPublisher) -> None:
        self._lease = lease
        self._open = open_publisher
        self.publisher: Publisher | None = None
        """While this process leads."""

    async def run(self) -> None:
        """Lead whenever possible, for ever.

        Raises:
            HistoryBroken: what is stored contradicts what was signed; the next to lead would find the same.
        """
        while True:
            await self._lease.wait_taken()
            _log.info("leading")
            try:
                await self._lead()
            except* (Fenced, RegisterFailed, CannotTell, OSError, DamagedCheckpoint) as group:
                # What the register or the storage holds is known again to whoever opens them next. A checkpoint that is
                # damaged waits for a person, and this process goes on taking entries and saying so meanwhile.
                why = "; ".join(dict.fromkeys(str(error) for error in leaves(group)))
            else:
                why = "the lease was lost"
            _log.info("not_leading_any_more", why=why)
            # Whatever it was may be wrong with this process alone: the others look several times meanwhile.
            await trio.sleep(RESPITE_SECONDS)

    async def _lead(self) -> None:
        async with trio.open_nursery() as nursery:

            async def keep() -> None:
                await self._lease.keep()
                nursery.cancel_scope.cancel()

            nursery.start_soon(keep)
            try:
                async with self._open() as (self.publisher, watchers), trio.open_nursery() as term:
                    for watcher in watchers:
                        term.start_soon(watcher)
                    await self.publisher.run()
            finally:
                self.publisher = None
                with trio.move_on_after(RELEASE_SECONDS) as patience:
                    patience.shield = True
                    await self._lease.release()


class Follower:
    """Keeps up with what the other processes do: what they add, and what one of them publishes."""

    def __init__(
        self,
        sequencer: Sequencer,
        files: StaticFiles,
        signers: Sequence[Signer],
        policy: Policy | None,
        shown: Shown,
        interval: float,
    ) -> None:
        self._sequencer = sequencer
        self._files = files
        self._signers = signers
        self._policy = policy
        self._shown = shown
        self._interval = interval
        self._read_at = self._news_at = trio.current_time()
        self._trouble = ""
        self._damaged: str | None = None

    async def run(self) -> None:
        """Look at both once an interval, for ever."""
        while True:
            await self.look()
            await trio.sleep(max(self._interval, MIN_INTERVAL))

    async def look(self) -> None:
        """Look once."""
        before = self._shown.checkpoint
        await self._sequencer.look()
        await self._read()
        if self._shown.checkpoint != before or not self._waiting():
            self._news_at = trio.current_time()

    def problems(self) -> list[str]:
        """What keeps this process from showing the newest entries."""
        now = trio.current_time()
        if self._damaged is not None:
            return [self._damaged]
        if now - self._read_at > UNREAD_SECONDS:
            return [f"the public checkpoint cannot be read: {self._trouble or 'there is no answer'}"]
        if self._shown.checkpoint is None:
            return ["no checkpoint is published yet"]
        if now - self._news_at > max(LATE_SECONDS, LATE_INTERVALS * self._interval):
            return [f"{self._waiting()} entries wait for a checkpoint and no process publishes: see in their logs why"]
        return []

    def _waiting(self) -> int:
        return self._sequencer.tree.end - (self._shown.checkpoint.size if self._shown.checkpoint else 0)

    async def _read(self) -> None:
        try:
            found = await trio.to_thread.run_sync(read_published, self._files, self._signers, self._policy)
        except OSError as error:
            self._trouble = str(error.strerror)
            return
        except DamagedCheckpoint as error:
            self._damaged = str(error)
            return
        self._damaged = None
        self._read_at = trio.current_time()
        shown = self._shown.checkpoint
        # Never back: what was public once is.
        if found is not None and (shown is None or found.size >= shown.size) and found != shown:
            self._shown.show(found)
