"""The witness itself: one request in, one answer out, and in between the order that must not change.

    examine ──▶ decide ──▶ register.advance ──▶ sign ──▶ public copy ──▶ answer

What is persisted before the signature exists forbids a second history; what is public before the answer leaves lets
every monitor see what the submitter got. A crash anywhere in between loses an answer and nothing else: the submitter
learns our size from a 409 and asks again from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import structlog

from runtime.clock import Clock
from runtime.database import DatabaseFailed
from runtime.database_register import DatabaseRegister
from runtime.register import Conflict
from tlog.advance import MAX_CLOCK_LAG, Advance, ClockBehind, Inconsistent, Malformed, Refresh, Stale, Statement, decide
from tlog.keys import VerifierKey
from witness.budget import Budgets
from witness.conflicts import Conflicts
from witness.copies import PublicCopies
from witness.core import BadRequest, NotSigned, Submission, UnknownLog, examine
from witness.keyring import Keyring
from witness.reconcile import Newcomers
from witness.store import accepted_record
from witness.tally import Tally

REDECISIONS = 8  # lost races for one origin before the submitter is told to begin again


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The signature lines of all our keys that can sign this checkpoint."""

    lines: bytes


@dataclass(frozen=True, slots=True)
class ConvictedLog:
    """The log contradicted itself, and somebody has shown us the proof."""


@dataclass(frozen=True, slots=True)
class OnHold:
    """Nothing is signed: not before it is known what was signed elsewhere, nor while the disk or database fails."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoKey:
    """None of our keys signs this checkpoint."""


@dataclass(frozen=True, slots=True)
class OverBudget:
    """More requests came for this log than are answered in a day: again after so many seconds."""

    seconds: int


Answer = (
    Cosigned | BadRequest | UnknownLog | NotSigned | ConvictedLog | OverBudget | OnHold | NoKey
    | Malformed | Stale | Inconsistent | ClockBehind
)  # fmt: skip


def outcome_of(answer: type[Answer]) -> str:
    """The name of an answer in metrics and logs."""
    return answer.__name__.lower()


class Cosigner:
    """Cosigns checkpoints of the configured logs.

    ``logs`` is looked at for each request: a log may be added to the mapping while the witness runs.
    """

    def __init__(
        self,
        logs: Mapping[str, tuple[VerifierKey, ...]],
        register: DatabaseRegister,
        keyring: Keyring,
        copies: PublicCopies,
        conflicts: Conflicts,
        clock: Clock,
        budgets: Budgets,
        newcomers: Newcomers,
    ) -> None:
        self.logs = logs
        self.budgets = budgets
        self.newcomers = newcomers
        self.tally = Tally()
        self.copies = copies
        self.conflicts = conflicts
        self.keyring = keyring
        self.hold: str | None = None
        """Why nothing is signed at present."""
        self.failure: str | None = None
        """Why the state is not open, with what only the operator should know."""
        self._register = register
        self.clock = clock
        self._told_unsigned: set[str] = set()

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one add-checkpoint request (c2sp.org/tlog-witness)."""
        submission = examine(body, self.logs)
        if isinstance(submission, NotSigned):
            self._tell_unsigned(submission)
        if not isinstance(submission, Submission):
            return submission
        try:
            answer = await self._answer(submission)
        except DatabaseFailed as failure:
            # SPEC: W-27 what is not known to be persisted gets no signature.
            answer = OnHold(str(failure))
        self.tally.count(submission.checkpoint.origin, outcome_of(type(answer)))
        return answer

    async def public_copy(self, origin_hash: str) -> bytes | None:
        """The latest cosigned checkpoint by the lowercase hex SHA-256 of its origin; None if there is none."""
        return await self.copies.read(origin_hash)

    async def head(self, origin: str) -> Statement | None:
        """What was stated last of a log."""
        known = await self._register.latest(origin)
        return None if known is None else known.value

    async def heads(self) -> list[Statement]:
        """What was stated last of every configured log that was ever cosigned."""
        latest = [await self.head(origin) for origin in self.logs]
        return [statement for statement in latest if statement is not None]

    async def problems(self) -> list[str]:
        """Why this witness cannot cosign now, for its operator."""
        now = self.clock.now()
        behind = max((head.time for head in await self.heads()), default=0) - now
        clock = f"the clock is {behind} seconds behind the last cosignature: set it right; until then we refuse"
        try:
            copies = await self.copies.problems()
        except DatabaseFailed as failure:
            copies = [self.failure or str(failure)]
        return [
            *([self.hold] if self.hold is not None else []),
            *([clock] if behind > MAX_CLOCK_LAG else []),
            *self.keyring.problems(now),
            *copies,
        ]

    def _tell_unsigned(self, refused: NotSigned) -> None:
        # Anybody can send such a request: one line for each origin, of which there are as many as logs.
        if refused.origin not in self._told_unsigned:
            self._told_unsigned.add(refused.origin)
            _log.warning(
                "a checkpoint was refused for its signature: if the log sent it, compare the log's vkey with ours",
                origin=refused.origin,
                reason=refused.reason,
            )

    async def _answer(self, submission: Submission) -> Answer:
        checkpoint = submission.checkpoint
        if checkpoint.origin in self.conflicts.convicted:
            return ConvictedLog()
        wait = self.budgets.charge(checkpoint.origin, self.clock.now_ms())
        if wait is not None:
            return OverBudget(wait)
        if self.hold is not None:
            return OnHold(self.hold)
        for _ in range(REDECISIONS):
            known = await self.head(checkpoint.origin)
            decision = decide(known, submission.old_size, checkpoint.checkpoint, submission.path, self.clock.now())
            match decision:
                case Advance() | Refresh():
                    answer = await self._cosign(submission, known, decision)
                    if answer is not None:
                        return answer
                case Inconsistent():
                    await self.conflicts.keep(submission, known)
                    return decision
                case Stale():
                    # Whoever shows us another root of the size that we cosigned may not know where we are, or have
                    # come a moment later than the other one.
                    if known is not None and checkpoint.size == known.size and checkpoint.root_hash != known.root_hash:
                        await self.conflicts.keep(submission, known)
                    return decision
                case Malformed() | ClockBehind():
                    return decision
                case _:
                    assert_never(decision)
        known = await self.head(checkpoint.origin)
        return Stale(0 if known is None else known.size)

    async def _cosign(
        self, submission: Submission, known: Statement | None, decision: Advance | Refresh
    ) -> Cosigned | NoKey | OnHold | None:
        """Persist, sign, publish; None if another statement came first."""
        checkpoint = submission.checkpoint
        if not self.keyring.signing(decision.statement):
            return NoKey()
        if known is None and not await self.newcomers.admit(checkpoint.origin):
            return OnHold("peers are being asked what this witness signed last for this log: try again later")
        # SPEC: W-21, W-27 the record moves, persisted by compare-and-swap, before any response.
        record = accepted_record(checkpoint, decision.statement.time)
        persisted = await self._register.advance(known, decision, record)
        if isinstance(persisted, Conflict):
            return None
        lines = await self.keyring.sign(persisted)
        self.tally.stated([persisted.value])
        # SPEC: W-40, W-44 monitors see it before the submitter does.
        self.copies.publish(persisted.value, checkpoint.raw, lines)
        await self.conflicts.settle(checkpoint)
        return Cosigned(lines)


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
