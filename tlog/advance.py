"""Whether a signer may state a tree head next, decided once for logs, witnesses and observers.

A signer says of each origin "as of this time, this is the largest tree I have seen". Whoever says that must never
contradict it: never a smaller size, never an earlier time, never a tree that does not extend the last one. ``decide``
holds that rule and nothing else. It reads no clock, keeps no state and signs nothing. Its answer is one of

    Advance        a larger tree that extends the known one, or the first tree: persist it, then sign it
    Refresh        the known tree again, at a later or equal time: persist it, then sign it
    Stale          the submitter starts from another size than the known one and must begin from ours
    Malformed      the request contradicts itself
    Inconsistent   no honest log asks for this with this proof
    ClockBehind    our own clock lies so far behind what we signed that signing must wait

The time is part of the decision, not of the signature: a signer that read the clock after the decision could sign a
larger size at an earlier time than a smaller one, which is a proof of rollback against an honest key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.errors import ProofError
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead
from tlog.proofs import verify_consistency

MAX_CLOCK_LAG = 60  # seconds: what time synchronisation may step back without an operator looking at it

# SPEC: W-25 The cosignature of a witness MUST NOT have a zero timestamp.
_FIRST_TIME = 1


@dataclass(frozen=True, slots=True)
class Statement:
    """What a key says of an origin: as of this time (Unix seconds), this is the largest tree it has seen."""

    origin: str
    size: int
    root_hash: Hash
    time: int
    extensions: tuple[bytes, ...] = ()

    @property
    def head(self) -> TreeHead:
        """The tree head that is stated."""
        return TreeHead(self.size, self.root_hash)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint whose text gets signed."""
        return Checkpoint(self.origin, self.size, self.root_hash, self.extensions)


@dataclass(frozen=True, slots=True)
class Advance:
    """Persist this larger statement over the known one, then sign it."""

    statement: Statement


@dataclass(frozen=True, slots=True)
class Refresh:
    """Persist the known tree head with this time, then sign it."""

    statement: Statement


@dataclass(frozen=True, slots=True)
class Stale:
    """The submission starts from another size than ``size``, the known one."""

    size: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """The submission contradicts itself, whatever is known."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inconsistent:
    """The new tree head is not shown to extend the known one."""

    reason: str


@dataclass(frozen=True, slots=True)
class ClockBehind:
    """The clock lies this many seconds, more than ``MAX_CLOCK_LAG``, behind the last statement."""

    seconds: int


Decision = Advance | Refresh | Stale | Malformed | Inconsistent | ClockBehind


def decide(known: Statement | None, old_size: int, new: Checkpoint, path: Sequence[Hash], now: int) -> Decision:
    """Judge a checkpoint whose log signature has been verified against what this signer stated last.

    ``known`` is None for an origin of which nothing was stated yet; a submission then starts from size 0.
    The order of the checks is part of the protocol: it fixes which answer a request with several faults gets.
    """
    if known is not None and known.origin != new.origin:
        raise AssertionError("the known statement is about another origin")
    known_size = 0 if known is None else known.size
    # SPEC: W-12 The old size MUST be equal to or lower than the checkpoint size.
    if old_size > new.size:
        return Malformed("the old size is larger than the checkpoint size")
    # SPEC: W-16 If the checkpoint size is zero, its root hash MUST be the hash of the empty string.
    if new.size == 0 and new.root_hash != EMPTY_ROOT:
        return Inconsistent("the root hash of an empty tree is not the hash of the empty string")
    # SPEC: W-13 The old size MUST match the size of the latest cosigned checkpoint, or zero if there is none.
    if old_size != known_size:
        return Stale(known_size)
    reason = _inconsistency(known, new, path)
    if reason is not None:
        return Inconsistent(reason)
    return _timed(known, new, now)


def _inconsistency(known: Statement | None, new: Checkpoint, path: Sequence[Hash]) -> str | None:
    """Say why the new tree is not shown to extend the known one; None when it is.

    Size and root hash are all that counts.
    """
    # SPEC: CP-7, CP-15 A signer signs no two checkpoints between which no consistency proof can exist.
    # SPEC: CS-19 That is what every cosignature says, whatever else its key may state.
    # SPEC: CS-12 Nothing is said of extension lines: two checkpoints that differ in them alone are consistent.
    if known is None or known.size == 0:
        # SPEC: W-17 The proof MUST be empty if the old size is zero.
        return "the consistency proof from size 0 is not empty" if path else None
    if known.size == new.size and known.root_hash != new.root_hash:
        # SPEC: W-19 If the old size equals the checkpoint size, the root hashes MUST be equal.
        return "the root hash differs from the known one of the same size"
    try:
        # SPEC: W-18 A proof that does not verify is refused.
        verify_consistency(known.head, new.head, path)
    except ProofError as error:
        return str(error)
    return None


def _timed(known: Statement | None, new: Checkpoint, now: int) -> Advance | Refresh | ClockBehind:
    """Give the new tree a time that never falls, unless the clock lies too far behind to pretend."""
    last = _FIRST_TIME if known is None else known.time
    if last - now > MAX_CLOCK_LAG:
        return ClockBehind(last - now)
    statement = Statement(new.origin, new.size, new.root_hash, max(now, last), new.extensions)
    if known is not None and known.size == new.size:
        return Refresh(statement)
    return Advance(statement)
