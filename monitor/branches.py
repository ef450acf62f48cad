"""The branches: each moves forward to heads that were verified in full, and the observer states where it stands.

The order in ``adopt`` is the one that matters. A head becomes the branch only when every entry below it was hashed and
the root is the signed one; the mirror is on disk before the database says how long it is; the database has moved, with
the observer's statement in the same transaction, before the observer signs or any peer learns of it.
"""

from collections.abc import Mapping

import trio

from gossip.core import Advanced, Branch, Candidate, MissingTile, SeekTile, Stated
from gossip.shell import Gossip
from monitor.alarms.book import Alarms
from monitor.alarms.core import Key
from monitor.alarms.kinds import CLOCK_BEHIND, MIRROR_FULL, NOT_BEGUN
from monitor.errands import Errands
from monitor.notebook import Notebook
from monitor.site import Site
from monitor.store import MonitorStore, branch_record
from monitor.tables import StoredBranch
from runtime.clock import Clock
from runtime.database_register import DatabaseRegister
from runtime.register import Conflict, Persisted
from runtime.signers import Signer, can_sign
from tlog.advance import Advance, ClockBehind, Decision, Refresh, Statement, decide
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint

ADOPTIONS_UNTIL_PRUNED = 64  # of heads that the branch has passed


class Branches:
    """The branches of all logs."""

    def __init__(
        self,
        sites: Mapping[bytes, Site],
        gossip: Gossip,
        errands: Errands,
        store: MonitorStore,
        notebook: Notebook,
        register: DatabaseRegister,
        observer: Signer,
        alarms: Alarms,
        clock: Clock,
    ) -> None:
        self._sites = sites
        self._gossip = gossip
        self._errands = errands
        self._store = store
        self._notebook = notebook
        self._register = register
        self._observer = observer
        self._alarms = alarms
        self._clock = clock

    async def adopt(self, origin: bytes, signed: SignedCheckpoint) -> Advanced:
        """Make a head that the mirror has reached the branch."""
        site = self._sites[origin]
        old = self._branch(origin).size
        await trio.to_thread.run_sync(site.mirror.sync)
        stored = StoredBranch(
            site.log.origin,
            signed.size,
            signed.root_hash,
            signed.raw,
            site.mirror.draft_kept,
            site.mirror.draft_edge,
        )
        statement = await self._state(site, signed, stored)
        if statement is None:
            await self._store.move_branch(stored)
        site.mirror.adopt()
        site.line = b""
        if statement is not None:
            await self._sign(site, statement)
        # Whatever `start` says by now, and whether we were there when it began.
        await self._alarms.clear(NOT_BEGUN, site.log.origin)
        site.adopted += 1
        if site.adopted % ADOPTIONS_UNTIL_PRUNED == 0:
            await self.prune(site)
        site.confirmed = self._clock.now()
        if stored.kept < stored.size:
            full = Key(MIRROR_FULL, site.log.origin, "leaf hashes beyond `mirror_bytes` are not kept")
            await self._alarms.hold(full)
        path = await trio.to_thread.run_sync(prove_consistency, old, signed.size, site.mirror.read) if old else []
        return Advanced(origin, signed, Candidate(old, None, tuple(path)) if old else None, site.line)

    async def refresh(self, origin: bytes) -> None:
        """Let the observer say that the branch is still the largest tree it has seen."""
        site = self._sites[origin]
        signed = self._branch(origin).signed
        if signed is None or self._branch(origin).convicted:
            return
        statement = await self._state(site, signed, None)
        # A conviction that came meanwhile: nothing more is signed of this log, and what is persisted hurts nobody.
        if statement is not None and not self._branch(origin).convicted:
            await self._sign(site, statement)
            await self._gossip.dispatch(Stated(origin, site.line, signed.head))

    async def prune(self, site: Site) -> None:
        """Forget old heads on the branch, except for those that evidence names."""
        convictions = [held.conviction for held in self._gossip.state.evidence.values()]
        mine = [one for one in convictions if one.origin == site.log.origin]
        await self._notebook.prune(site.log.origin, {stated.size for one in mine for stated in one.statements})

    # What the observer states.

    async def _state(
        self, site: Site, signed: SignedCheckpoint, branch: StoredBranch | None
    ) -> Persisted[Statement] | None:
        """Persist the observer's next statement, with the branch; None while the observer cannot state anything."""
        while True:
            known = await self._register.latest(site.log.origin)
            last = None if known is None else known.value
            try:
                decision = await trio.to_thread.run_sync(self._decide, site, last, signed)
            except MissingTile as missing:
                # It stated nothing for a while, and how the branch grew since is not in the mirror any more.
                self._errands.run(SeekTile(site.log.id, missing.tile, missing.level))
                return None
            match decision:
                case Advance() | Refresh():
                    record = None if branch is None else branch_record(branch)
                    answer = await self._register.advance(last, decision, record)
                    if not isinstance(answer, Conflict):
                        await self._alarms.clear(CLOCK_BEHIND, site.log.origin)
                        return answer
                case ClockBehind(seconds):
                    said = f"by {seconds} s, of the last signature"  # fewer each time: no subject of an alarm
                    await self._alarms.hold(Key(CLOCK_BEHIND, site.log.origin, "the clock is behind"), said)
                    return None
                case _:
                    raise AssertionError("the branch does not extend what the observer stated")

    def _decide(self, site: Site, last: Statement | None, signed: SignedCheckpoint) -> Decision:
        old = 0 if last is None else last.size
        read = site.mirror.read if signed.size <= site.mirror.size else site.mirror.read_draft
        path = prove_consistency(old, signed.size, read)
        return decide(last, old, signed.checkpoint, path, self._clock.now())

    async def _sign(self, site: Site, statement: Persisted[Statement]) -> None:
        if can_sign(self._observer.vkey, statement):
            site.line = await self._observer.sign(statement)
            site.signed_at = statement.value.time

    def _branch(self, origin: bytes) -> Branch:
        return self._gossip.state.branch(origin)
