"""Holds peers to what they may take, and counts how often one of them was told to come again later.

A peer has a budget of bytes, and so many requests at once. Bodies that nobody has authenticated yet share one room,
whoever sends them.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)

from gossip.budget import Busy, ByteBudget, Room
from gossip.envelope import MAX_ENVELOPE_BYTES, Outrun
from gossip.machine import elapsed_ms

MAX_OUTSTANDING = 4  # requests of one peer at once: one to deliver, one held open, and as many of a second run
MAX_UNREAD_BYTES = 16 * 1024 * 1024  # of envelopes that nobody has authenticated yet; joining their pieces doubles it
UNREAD_PATIENCE_SECONDS = 5.0  # for room among these
BUSY_REASONS = ("bytes", "envelopes", "requests", "room")  # of one peer the first three, the last of everybody
SMALL_BYTES = 16 * 1024  # needs no room: a thousand connections hold 16 MB of it, and most of what peers say is smaller


class Limits:
    """The limits of each peer and of all."""

    def __init__(self, peers: Iterable[bytes]) -> None:
        self.busy = dict.fromkeys(BUSY_REASONS, 0)
        self._budgets = {peer: ByteBudget(elapsed_ms()) for peer in peers}
        self._outstanding = Counter[bytes]()
        self._unread = Room(MAX_UNREAD_BYTES, UNREAD_PATIENCE_SECONDS)

    def reading(self, size: int) -> AbstractAsyncContextManager[None]:
        """Hold a place for a body of at most so many bytes while it is read and opened. Raises ``Busy``.

        A small one needs none: strangers who never finish theirs may take all places, and news must still get in.
        """
        if size <= SMALL_BYTES:
            return nullcontext()
        return self._room(min(size, MAX_ENVELOPE_BYTES))

    def opening(self) -> AbstractContextManager[None]:
        """Count an envelope of a peer that has sent too many. Raises ``Busy``."""
        return self._counted("envelopes", Outrun)

    @contextmanager
    def answering(self, peer: bytes) -> Iterator[None]:
        """Count a request of a peer among those that it has open. Raises ``Busy``."""
        with self._counted("requests"):
            if self._outstanding[peer] >= MAX_OUTSTANDING:
                raise Busy(1)
        self._outstanding[peer] += 1
        try:
            yield
        finally:
            self._outstanding[peer] -= 1

    def charge(self, peer: bytes, size: int) -> None:
        """Take bytes that a peer sent unasked from its budget. Raises ``Busy``."""
        with self._counted("bytes"):
            self._budgets[peer].charge(size, elapsed_ms())

    def spend(self, peer: bytes, size: int) -> None:
        """Take bytes that a peer was asked for from its budget, be there as many or not."""
        self._budgets[peer].spend(size, elapsed_ms())

    def owed(self, peer: bytes) -> float:
        """Tell how many seconds to wait before asking a peer for more."""
        return self._budgets[peer].owed(elapsed_ms())

    @asynccontextmanager
    async def _room(self, size: int) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            with self._counted("room"):
                await held.enter_async_context(self._unread.hold(size))
            yield

    @contextmanager
    def _counted(self, reason: str, refusal: type[Busy] = Busy) -> Iterator[None]:
        try:
            yield
        except refusal:
            self.busy[reason] += 1
            raise
