"""The loops of a log: the publisher, which turns what is durable into what is public, and the sweeper behind it.

    sequenced ──▶ tiles on disk ──▶ register ──▶ signature ──▶ cosignatures ──▶ public checkpoint

Every size that is signed has its partial tiles on disk before the signature exists, also when only a witness ever sees
it. A crash anywhere is repaired by going round again: the same entries make the same files, and a persisted statement
may be signed as often as needed.

The sweeper removes the partial tiles of tiles that have been full and public for a while. Each round leaves some; kept
for ever, those of a busy log would soon be most of its files.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import structlog
import trio

from logserver.core import choose, filled
from logserver.cosign import Witnesses
from logserver.files import CHECKPOINT, StaticFiles
from logserver.history import History, Publication
from logserver.integrate import HistoryBroken, Integrator
from logserver.metrics import CLOCK_BEHIND, DAMAGED, HELD, UNWRITABLE, LogMetrics
from logserver.shown import Shown
from logserver.store import MAX_UNTILED, Sequencer
from runtime.clock import Clock
from runtime.errors import UsageError
from runtime.register import Conflict, Persisted, Register
from runtime.signers import Signer, sign_checkpoint
from tlog.advance import Advance, ClockBehind, Inconsistent, Malformed, Refresh, Stale, Statement, decide
from tlog.checkpoint import Checkpoint
from tlog.errors import TlogError
from tlog.hashing import Hash, TreeHead
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

LATE_SECONDS = 60.0  # for so long, and for twenty intervals, rounds may publish nothing before it is a problem
LATE_INTERVALS = 20
QUORUM_MISSED = "too few of its policy's witnesses cosign: see the log for which and why"
KEEP_PARTIAL_SECONDS = 3600.0  # for readers who are still at an older checkpoint and do not fall back to the full tile
SWEPT_AT_ONCE = 1 << 14  # entries whose tiles are looked at in one go, after which the log may be ended: 128 questions

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Publishing:
    """How a log publishes, from its configuration."""

    origin: str
    policy: Policy | None
    hold_without_quorum: bool
    interval: float
    refresh: float
    resign_after: float = math.inf
    """Seconds for which the public files may refuse to be written before another process is let try."""


@dataclass(frozen=True, slots=True)
class Vain:
    """A round that publishes nothing: how it counts, and why."""

    outcome: str
    why: str


class DamagedCheckpoint(UsageError):  # noqa: N818  # it names a state
    """What is published is not by this log: nothing is put over it before somebody has looked."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(
            f"the published checkpoint in {place} {what}. Nothing is published over it: if `keys` was changed, put the "
            "keys back; otherwise find out who writes there, then put the newest checkpoint back or move what is there "
            "away, and the log publishes its own again"
        )


class Publisher:
    """Integrates, signs, gathers cosignatures and publishes, once every interval."""

    def __init__(
        self,
        publishing: Publishing,
        sequencer: Sequencer,
        integrator: Integrator,
        files: StaticFiles,
        history: History,
        register: Register,
        signers: Sequence[Signer],
        witnesses: Witnesses | None,
        clock: Clock,
        metrics: LogMetrics,
        by: Publication,
        shown: Shown,
    ) -> None:
        self._publishing = publishing
        self._sequencer = sequencer
        self._integrator = integrator
        self._files = files
        self._history = history
        self._register = register
        self._signers = signers
        self._witnesses = witnesses
        self._clock = clock
        self._metrics = metrics
        self._keys = verifier_keys(signers, publishing.policy)
        self._trouble: str | None = None
        self._damaged = False  # is what is public, by somebody else
        self._vain_since: float | None = None  # when the first round began of those that have published nothing since
        self._by = by
        self._shown = shown

    @property
    def published(self) -> SignedCheckpoint | None:
        """The public checkpoint."""
        return self._shown.checkpoint

    async def run(self) -> None:
        """Publish for ever: what is new at once, but one checkpoint an interval at most."""
        last_round = -math.inf
        while True:
            with trio.move_on_at(last_round + self._publishing.refresh):
                await self._sequencer.wait_beyond(-1 if self.published is None else self.published.size)
            await self._rest(last_round + self._publishing.interval)
            last_round = trio.current_time()
            await self.publish()

    async def _rest(self, until: float) -> None:
        """Wait for the next round; meanwhile write tiles of what has piled up, so that nobody has to wait for them."""
        while trio.current_time() < until:
            with trio.move_on_at(until) as waiting:
                await self._sequencer.wait_beyond(self._integrator.size + MAX_UNTILED // 2)
            if waiting.cancelled_caught:
                return
            try:
                await self._integrator.integrate()
            except OSError:
                await trio.sleep_until(until)  # the round will meet it again, and say so

    async def publish(self) -> None:
        """Publish the tree as it is now. A round in vain is logged, and the next one does all of it again.

        Raises:
            HistoryBroken: what is stored contradicts what was signed.
            OSError: nothing could be written for as long as was to be borne.
        """
        if self._vain_since is None:
            self._vain_since = trio.current_time()
        try:
            chosen = await self._round()
            if isinstance(chosen, SignedCheckpoint):
                # SPEC: T-2 public once it is on disk: a restart shows this note or a stronger one.
                await trio.to_thread.run_sync(self._replace, chosen.raw)
        except DamagedCheckpoint as damaged:
            chosen = Vain(DAMAGED, str(damaged))
        except OSError as error:
            if trio.current_time() - self._vain_since > self._publishing.resign_after:
                raise
            # A full disk, most likely. Neither an entry nor a statement is lost: those are kept elsewhere.
            chosen = Vain(UNWRITABLE, f"the public files cannot be written or read: {error.strerror}")
        self._damaged = isinstance(chosen, Vain) and chosen.outcome == DAMAGED
        if isinstance(chosen, Vain):
            self._note_trouble(chosen.why)
            self._metrics.not_published(chosen.outcome)
            return
        self._shown.show(chosen)
        self._vain_since = None
        self._metrics.published(chosen.size)
        if self._is_cosigned(chosen):
            self._note_trouble(None)

    async def problems(self) -> list[str]:
        """Why this log is not serving its newest entries, for its operator."""
        if self._damaged:
            return [str(self._trouble)]
        if self.published is None:
            return [f"no checkpoint is published yet: {self._trouble or 'the first one is being made'}"]
        patience = max(LATE_SECONDS, LATE_INTERVALS * self._publishing.interval)
        if self._vain_since is not None and trio.current_time() - self._vain_since > patience:
            waiting = self._sequencer.tree.end - self.published.size
            return [f"{waiting} entries wait for a checkpoint: {self._trouble or 'the round takes too long'}"]
        return []

    async def _round(self) -> "SignedCheckpoint | Vain":
        """Everything up to the checkpoint that is to be public now."""
        head = await self._integrator.integrate()
        self._metrics.holds(head.size)
        statement = await self._state(head)
        if isinstance(statement, Vain):
            return statement
        signed = open_checkpoint(await sign_checkpoint(statement, self._signers), self._keys)
        gathered = await self._gather(signed)
        chosen = choose(self.published, gathered, self._publishing.policy, hold=self._publishing.hold_without_quorum)
        if chosen is None:
            return Vain(HELD, QUORUM_MISSED)
        if not self._is_cosigned(chosen):
            self._note_trouble(QUORUM_MISSED)
        # Not the clock's time, which somebody may have set back: who asks for what is new since then would miss this.
        await self._history.record(chosen, statement.value.time, self._by)
        return chosen

    def _replace(self, note: bytes) -> None:
        """Put this where the public checkpoint stands, unless somebody else has put something there."""
        found = self._files.read(CHECKPOINT)
        standing = 0 if found is None else self._standing(found).size
        if self._damaged and standing <= (self.published.size if self.published else 0):
            self._files.read_checkpoint()  # put right by hand; an object storage knows it by another mark since
        self._files.write_checkpoint(note)

    def _standing(self, found: bytes) -> SignedCheckpoint:
        if self.published is not None and found == self.published.raw:
            return self.published
        return _open_published(self._files, found, self._signers, self._publishing.policy)

    def _is_cosigned(self, checkpoint: SignedCheckpoint) -> bool:
        policy = self._publishing.policy
        return policy is None or policy.cosigned(checkpoint).met

    async def _state(self, head: TreeHead) -> "Persisted[Statement] | Vain":
        """Decide upon the integrated tree and persist the decision; what comes back may be signed."""
        origin = self._publishing.origin
        persisted = await self._register.latest(origin)
        known = None if persisted is None else persisted.value
        old_size = 0 if known is None else known.size
        new = Checkpoint(origin, head.size, head.root_hash)
        decision = decide(known, old_size, new, await self._prove(old_size, head.size), self._clock.now())
        match decision:
            case Advance() | Refresh():
                stated = await self._register.advance(known, decision)
                if isinstance(stated, Conflict):
                    raise HistoryBroken("another instance moved this log's register: run only one")
                return stated
            case ClockBehind(seconds):
                # Entries are still admitted; what was signed stays public. It passes when the clock catches up.
                why = f"the clock is {seconds} seconds behind the last signature: set it right, or if it is, wait"
                return Vain(CLOCK_BEHIND, why)
            case Inconsistent(reason) | Malformed(reason):
                raise HistoryBroken(f"the tree on disk does not extend the one that was signed: {reason}")
            case Stale():
                raise AssertionError("decided from another size than the register's")
            case _:
                assert_never(decision)

    async def _gather(self, signed: SignedCheckpoint) -> SignedCheckpoint:
        if self._witnesses is None:
            return signed
        return await self._witnesses.gather(signed, lambda old: self._prove(old, signed.size))

    async def _prove(self, old: int, new: int) -> Sequence[Hash]:
        return await trio.to_thread.run_sync(prove_consistency, old, new, self._files.nodes(new))

    def _note_trouble(self, trouble: str | None) -> None:
        """Log what keeps the log from publishing when it changes, not each time."""
        if trouble == self._trouble:
            return
        if trouble is None:
            _log.info("publishing_again")
        else:
            _log.warning("not_publishing" if self._publishing.hold_without_quorum else "quorum_missed", why=trouble)
        self._trouble = trouble


class Sweeper:
    """Removes the partial tiles that nobody needs any more."""

    def __init__(self, files: StaticFiles, published: Callable[[], SignedCheckpoint | None]) -> None:
        self._files = files
        self._published = published
        self._swept = 0  # entries; after a restart the first sweep looks at all
        self._due = 0

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                await self.sweep()
            except OSError as error:
                _log.warning("not_swept", why=str(error.strerror))
            await trio.sleep(KEEP_PARTIAL_SECONDS)

    async def sweep(self) -> None:
        """Remove the partial tiles of what was full and public at the last sweep."""
        for size in range(self._swept, self._due, SWEPT_AT_ONCE):
            await trio.to_thread.run_sync(self._sweep, size, min(size + SWEPT_AT_ONCE, self._due))
        self._swept = self._due
        published = self._published()
        self._due = 0 if published is None else published.size

    def _sweep(self, old: int, new: int) -> None:
        for path in filled(old, new):
            self._files.drop_partial(path)


def verifier_keys(signers: Sequence[Signer], policy: Policy | None) -> tuple[VerifierKey, ...]:
    """The keys whose signatures a log publishes: its own, and its policy's witnesses'."""
    return (*(signer.vkey for signer in signers), *(policy.witness_keys if policy is not None else ()))


def read_published(files: StaticFiles, signers: Sequence[Signer], policy: Policy | None) -> SignedCheckpoint | None:
    """The checkpoint that was public when the log last ran.

    Raises:
        DamagedCheckpoint: it is damaged, or not signed by one of the log's keys.
    """
    note = files.read_checkpoint()
    return None if note is None else _open_published(files, note, signers, policy)


def _open_published(
    files: StaticFiles, note: bytes, signers: Sequence[Signer], policy: Policy | None
) -> SignedCheckpoint:
    try:
        published = open_checkpoint(note, verifier_keys(signers, policy)).verified_only()
    except TlogError as error:
        raise DamagedCheckpoint(files.place, f"cannot be gone on from: {error}") from None
    if not any(published.signed_by(signer.vkey) for signer in signers):
        raise DamagedCheckpoint(files.place, "is not signed by one of `keys`")
    return published
