"""The publisher: the loop that turns what is durable into what is public.

    sequenced ──▶ tiles on disk ──▶ register ──▶ signature ──▶ cosignatures ──▶ public checkpoint

Every size that is signed has its partial tiles on disk before the signature exists, also when only a witness ever sees
it. A crash anywhere is repaired by going round again: the same entries make the same files, and a persisted statement
may be signed as often as needed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import structlog
import trio

from logserver.core import Edge, grow
from logserver.cosign import WitnessLink, gather
from logserver.files import PublicFiles
from logserver.metrics import LogMetrics
from logserver.store import Sequencer, load_entries
from runtime.client import Client
from runtime.clock import Clock
from runtime.database import Database
from runtime.register import Conflict, Persisted, Register
from runtime.signers import Signer, sign_checkpoint
from tlog.advance import Advance, ClockBehind, Inconsistent, Malformed, Refresh, Stale, Statement, decide
from tlog.checkpoint import Checkpoint
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import TILE_WIDTH

ENTRIES_AT_ONCE = 4096  # integrated in one step: at most 256 MiB of entries in memory

LATE_INTERVALS = 20  # publishing intervals without a checkpoint before the log counts as not ready

_log = structlog.get_logger()


class HistoryBroken(Exception):  # noqa: N818  # it names a state, as DatabaseFailed does
    """What is on disk contradicts what was signed: nothing may be signed until an operator has looked."""


@dataclass(frozen=True, slots=True)
class Publishing:
    """How a log publishes, from its configuration."""

    origin: str
    policy: Policy | None
    hold_without_quorum: bool
    interval: float
    refresh: float


class Publisher:
    """Integrates, signs, gathers cosignatures and publishes, once every interval."""

    def __init__(
        self,
        publishing: Publishing,
        sequencer: Sequencer,
        database: Database,
        files: PublicFiles,
        register: Register,
        signers: Sequence[Signer],
        witnesses: Sequence[WitnessLink],
        client: Client,
        clock: Clock,
        metrics: LogMetrics,
        edge: Edge,
    ) -> None:
        self._publishing = publishing
        self._sequencer = sequencer
        self._database = database
        self._files = files
        self._register = register
        self._signers = signers
        self._witnesses = witnesses
        self._client = client
        self._clock = clock
        self._edge = edge
        self._metrics = metrics
        self._last_published = -math.inf
        self.published: SignedCheckpoint | None = None
        """The public checkpoint."""

    async def run(self) -> None:
        """Publish for ever."""
        last_round = -math.inf
        while True:
            started = trio.current_time()
            due = started - last_round >= self._publishing.refresh
            if due or self.published is None or self.published.size != self._sequencer.tree.end:
                await self.publish()
                last_round = started
            await trio.sleep_until(started + self._publishing.interval)

    def restore(self, note: bytes | None) -> None:
        """Take up the checkpoint that was public before a restart."""
        if note is not None:
            self.published = open_checkpoint(note, self._keys())

    async def publish(self) -> None:
        """Publish the tree as it is now."""
        await self._integrate(self._sequencer.tree.end)
        signed = await self._sign(await self._state())
        nodes = self._files.nodes(signed.size)
        policy = self._publishing.policy
        if policy is not None:
            signed = await gather(
                self._client, policy, self._witnesses, signed, lambda old: prove_consistency(old, signed.size, nodes)
            )
            if not policy.cosigned(signed).met:
                _log.warning("quorum_missed", size=signed.size, held=self._publishing.hold_without_quorum)
                if self._publishing.hold_without_quorum:
                    return
        await trio.to_thread.run_sync(self._files.write_checkpoint, signed.raw)
        self.published = signed
        self._last_published = trio.current_time()
        self._metrics.published(signed.size)

    async def problems(self) -> list[str]:
        """Why this log is not serving its newest entries, for its operator."""
        if self.published is None:
            return ["no checkpoint is published yet: see the log for witnesses that do not answer"]
        behind = self._sequencer.tree.end - self.published.size
        late = trio.current_time() - self._last_published > LATE_INTERVALS * self._publishing.interval
        if behind and late:
            return [f"{behind} entries wait for a published checkpoint: see the log for witnesses that do not answer"]
        return []

    async def _integrate(self, size: int) -> None:
        """Write the tiles of every entry below ``size``, and the partial ones of exactly that size."""
        while self._edge.size < size:
            end = size
            if size - self._edge.size > ENTRIES_AT_ONCE:
                end = (self._edge.size + ENTRIES_AT_ONCE) // TILE_WIDTH * TILE_WIDTH  # no partial tiles on the way
            entries = await load_entries(self._database, self._edge.size, end)
            edge, files = grow(self._edge, entries)
            await trio.to_thread.run_sync(self._files.write, files)
            self._edge = edge
        if self._edge.size == self._sequencer.tree.end and self._edge.root_hash() != self._sequencer.tree.root():
            raise HistoryBroken(
                "the tiles on disk and the database hold different trees: run `sameview fsck` on the log"
            )

    async def _state(self) -> Persisted[Statement]:
        """Decide upon the integrated tree and persist the decision; what comes back may be signed."""
        origin = self._publishing.origin
        known = await self._register.latest(origin)
        statement = None if known is None else known.value
        old_size = 0 if statement is None else statement.size
        if old_size > self._edge.size:
            raise HistoryBroken(
                f"the register says that a tree of {old_size} entries was signed and the database holds "
                f"{self._edge.size}: it is an old copy; put the newest back, or retire this log and its key"
            )
        new = Checkpoint(origin, self._edge.size, self._edge.root_hash())
        path = prove_consistency(old_size, new.size, self._files.nodes(new.size))
        decision = decide(statement, old_size, new, path, self._clock.now())
        match decision:
            case Advance() | Refresh():
                persisted = await self._register.advance(statement, decision)
                if isinstance(persisted, Conflict):
                    raise HistoryBroken("another instance moved this log's register: run only one")
                return persisted
            case Inconsistent(reason) | Malformed(reason):
                raise HistoryBroken(f"the tree on disk does not extend the one that was signed: {reason}")
            case ClockBehind(seconds):
                raise HistoryBroken(
                    f"the clock is {seconds} seconds behind the last signature: set it right and restart"
                )
            case Stale():
                raise AssertionError("decided from another size than the register's")
            case _:
                assert_never(decision)

    async def _sign(self, statement: Persisted[Statement]) -> SignedCheckpoint:
        return open_checkpoint(await sign_checkpoint(statement, self._signers), self._keys())

    def _keys(self) -> list[VerifierKey]:
        policy = self._publishing.policy
        witness_keys = policy.witness_keys if policy is not None else ()
        return [*(signer.vkey for signer in self._signers), *witness_keys]
