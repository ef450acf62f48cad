"""The witness itself: one request in, one answer out, and in between the order that must not change.

    examine ──▶ decide ──▶ register.advance ──▶ sign ──▶ public copy ──▶ answer

What is persisted before the signature exists forbids a second history; what is public before the answer leaves lets
every monitor see what the submitter got. A crash anywhere in between loses an answer and nothing else: the submitter
learns our size from a 409 and asks again from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import assert_never

from runtime.clock import Clock
from runtime.register import Conflict, DatabaseRegister, Persisted
from runtime.signers import Signer, can_sign
from tlog.advance import MAX_CLOCK_LAG, Advance, ClockBehind, Inconsistent, Malformed, Refresh, Stale, Statement, decide
from tlog.keys import VerifierKey
from witness.core import BadRequest, NotSigned, Submission, UnknownLog, examine
from witness.store import accepted_record

REDECISIONS = 8  # lost races for one origin before the submitter is told to begin again


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The signature lines of all our keys that can sign this checkpoint."""

    lines: bytes


Answer = Cosigned | BadRequest | UnknownLog | NotSigned | Malformed | Stale | Inconsistent | ClockBehind


class Cosigner:
    """Cosigns checkpoints of the configured logs, and keeps the public copy of what it cosigned."""

    def __init__(
        self,
        logs: Mapping[str, tuple[VerifierKey, ...]],
        register: DatabaseRegister,
        signers: Sequence[Signer],
        clock: Clock,
    ) -> None:
        self.logs = logs
        self._register = register
        self._signers = signers
        self._clock = clock
        self._public: dict[str, _PublicCopy] = {}

    async def restore(self, accepted: Mapping[str, bytes]) -> None:
        """Make the public copies again after a start, by signing what was persisted once more."""
        for origin, note in accepted.items():
            persisted = await self._register.latest(origin)
            if persisted is None:
                raise AssertionError("an accepted checkpoint without a statement")
            self._publish(persisted, note, await self._sign(persisted))

    async def add_checkpoint(self, body: bytes) -> Answer:
        """Answer one add-checkpoint request (c2sp.org/tlog-witness)."""
        submission = examine(body, self.logs)
        if not isinstance(submission, Submission):
            return submission
        checkpoint = submission.checkpoint
        for _ in range(REDECISIONS):
            known = await self._register.latest(checkpoint.origin)
            statement = None if known is None else known.value
            decision = decide(statement, submission.old_size, checkpoint.checkpoint, submission.path, self._clock.now())
            match decision:
                case Advance() | Refresh():
                    # SPEC: W-21, W-27 the record moves, persisted by compare-and-swap, before any response.
                    persisted = await self._register.advance(statement, decision, accepted_record(checkpoint))
                    if not isinstance(persisted, Conflict):
                        lines = await self._sign(persisted)
                        self._publish(persisted, checkpoint.raw, lines)
                        return Cosigned(lines)
                case Malformed() | Stale() | Inconsistent() | ClockBehind():
                    return decision
                case _:
                    assert_never(decision)
        return Stale(await self._size(checkpoint.origin))

    def public_copy(self, origin_hash: str) -> bytes | None:
        """The latest cosigned checkpoint by the lowercase hex SHA-256 of its origin; None if there is none."""
        copy = self._public.get(origin_hash)
        return None if copy is None else copy.note

    async def heads(self) -> list[Statement]:
        """What was stated last of every configured log that was ever cosigned."""
        latest = [await self._register.latest(origin) for origin in self.logs]
        return [persisted.value for persisted in latest if persisted is not None]

    async def problems(self) -> list[str]:
        """Why this witness cannot cosign now, for its operator."""
        latest = max((head.time for head in await self.heads()), default=0)
        behind = latest - self._clock.now()
        if behind > MAX_CLOCK_LAG:
            return [f"the clock is {behind} seconds behind the last cosignature: set it right; until then we refuse"]
        return []

    async def _size(self, origin: str) -> int:
        known = await self._register.latest(origin)
        return 0 if known is None else known.value.size

    async def _sign(self, statement: Persisted[Statement]) -> bytes:
        return b"".join([await signer.sign(statement) for signer in self._signers if can_sign(signer.vkey, statement)])

    def _publish(self, statement: Persisted[Statement], note: bytes, lines: bytes) -> None:
        # SPEC: W-42 the copy holds our cosignatures and the log's signatures that we verified.
        copy = _PublicCopy(statement.value.size, statement.value.time, note + lines)
        name = sha256(statement.value.origin.encode()).hexdigest()
        # Two answers for one origin can be signed in the other order than they were persisted.
        if name not in self._public or self._public[name].precedes(copy):
            self._public[name] = copy


@dataclass(frozen=True, slots=True)
class _PublicCopy:
    size: int
    time: int
    note: bytes

    def precedes(self, other: "_PublicCopy") -> bool:
        return (self.size, self.time) <= (other.size, other.time)
