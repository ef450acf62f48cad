"""Accepted checkpoints with our cosignatures, for ``history_days``.

The register's transaction writes a checkpoint before it is signed. The cosignatures follow here, many in one
transaction, so that no answer waits for them. A crash in between loses those of the last moments from the history,
and nothing else: whoever got them has them, and the public copy of the latest is made again by signing again.
"""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from runtime.clock import Clock
from runtime.database import Database
from tlog.advance import Statement
from witness.store import prune, write_cosignatures

SAVE_SECONDS = 1.0  # between transactions: what a crash can take out of the history
PRUNE_SECONDS = 3600.0
SAVED_AT_ONCE = 256  # rows in one transaction, so that no cosignature waits long for it
MAX_UNSAVED = 16_384  # twice what is cosigned in a second at the best; beyond it the oldest are left out
DAY = 86_400


class History:
    """Remembers what was signed until it is saved."""

    def __init__(self, database: Database, clock: Clock, days: int) -> None:
        self._database = database
        self._clock = clock
        self._days = days
        self._unsaved: dict[tuple[str, int], dict[str, object]] = {}

    def add(self, statement: Statement, cosignatures: bytes) -> None:
        """Remember the cosignatures of an accepted checkpoint."""
        key = (statement.origin, statement.size)
        known = self._unsaved.get(key)
        if known is None and len(self._unsaved) >= MAX_UNSAVED:
            del self._unsaved[next(iter(self._unsaved))]
        self._unsaved[key] = {
            "origin_": statement.origin,
            "size_": statement.size,
            "time_": statement.time,
            "cosignatures": cosignatures,
        }

    async def save(self) -> None:
        """Write what was remembered."""
        unsaved, self._unsaved = list(self._unsaved.values()), {}
        for begin in range(0, len(unsaved), SAVED_AT_ONCE):
            await write_cosignatures(self._database, unsaved[begin : begin + SAVED_AT_ONCE])

    async def prune(self) -> None:
        """Forget what is older than ``history_days``; the latest checkpoint of each log stays."""
        while await prune(self._database, self._clock.now() - self._days * DAY):
            await trio.lowlevel.checkpoint()

    async def save_for_ever(self) -> NoReturn:
        """Save every ``SAVE_SECONDS``."""
        while True:
            await trio.sleep(SAVE_SECONDS)
            await self.save()

    async def prune_for_ever(self, pruned: Callable[[], Awaitable[None]]) -> NoReturn:
        """Prune every ``PRUNE_SECONDS``, and say so."""
        while True:
            await self.prune()
            await pruned()
            await trio.sleep(PRUNE_SECONDS)
