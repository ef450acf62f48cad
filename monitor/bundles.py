"""The bundles of evidence that convict, kept: each is a row of the database, and a file for whoever wants to take it.

The file is there before the row is, so that what the database lists can be handed out.
"""

from pathlib import Path

import trio

from gossip.core import Held
from monitor.store import MonitorStore
from monitor.tables import StoredEvidence
from runtime.clock import Clock
from runtime.files import replace_file
from tlog.evidence import Stated


class Bundles:
    """Those of all logs, in one folder."""

    def __init__(self, store: MonitorStore, folder: Path, clock: Clock) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock

    async def keep(self, held: Held) -> Path:
        """Keep what convicts somebody; return where the file is."""
        conviction = held.conviction
        now_ms = self._clock.now_ms()
        seen = [
            await self._store.first_seen_ms(conviction.origin, stated.size, stated.root_hash)
            for stated in conviction.statements
            if isinstance(stated, Stated)
        ]
        stored = StoredEvidence(
            id=conviction.id,
            origin=conviction.origin,
            type=conviction.type.value,
            accused=conviction.accused.format(),
            bundle=held.bundle,
            first_seen_ms=max((now_ms if when is None else when for when in seen), default=now_ms),
            convicted_ms=now_ms,
        )
        path = self._path(conviction.id)
        await trio.to_thread.run_sync(replace_file, path, held.bundle)
        await self._store.keep_evidence(stored)
        return path

    async def drop(self, id_: bytes) -> None:
        """Forget a bundle that another one took the place of."""
        await self._store.drop_evidence(id_)
        await trio.Path(self._path(id_)).unlink(missing_ok=True)

    def _path(self, id_: bytes) -> Path:
        return self._folder / f"{id_.hex()}.tlog-evidence"
