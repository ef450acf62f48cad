"""Heads that were refused although their log had signed them, and logs that are convicted.

A refused head is kept once, with the log's signature, and made into evidence at once where it is a proof. It is kept
before the refusal leaves, in a transaction of its own that no cosignature waits for. A head that is known already, or
that its log has no room left for, costs no look at the disk: what it would prove is found out from memory.

Evidence that others bring stops its log: whoever holds a proof needs no other authority. What we find ourselves does
not stop it. We cosign one history whatever else the log signs, and a log that is being tested asks for refusals.
"""

from collections import defaultdict
from collections.abc import Mapping

import trio

from runtime.clock import Clock
from runtime.database import Database
from tlog.advance import Statement
from tlog.errors import TlogError
from tlog.evidence import Conviction, Evidence, verified_only, verify_evidence
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from witness.core import BadRequest, NotProven, Submission, UnknownLog, judge, leads_elsewhere, prove
from witness.store import (
    MAX_PROVEN,
    MAX_UNPROVEN,
    Conflicting,
    Convicted,
    add_conflict,
    add_conviction,
    read_conflict_index,
    read_conflicts,
    read_convictions,
    read_heads_of_size,
    remove_conflict,
)


class Conflicts:
    """What is kept of refused heads, and which logs are stopped."""

    def __init__(self, database: Database, clock: Clock, logs: Mapping[str, tuple[VerifierKey, ...]]) -> None:
        self._database = database
        self._clock = clock
        self._logs = logs
        self._kept: defaultdict[str, dict[tuple[int, Hash], bool]] = defaultdict(dict)
        self._turn = trio.Lock()  # two heads of one size that come together are evidence only if one sees the other
        self.convicted: dict[str, Convicted] = {}
        """Logs that get no cosignature any more, by origin."""

    async def load(self) -> None:
        """Read what is kept: at the start, and after old heads were pruned."""
        async with self._turn:
            await self._load()

    async def keep(self, refused: Submission, known: Statement | None) -> None:
        """Keep a head that was refused as inconsistent with what we know."""
        if not self._is_news(refused, known):
            return
        async with self._turn:
            if self._is_news(refused, known):
                await self._keep(refused, known)

    async def settle(self, accepted: SignedCheckpoint) -> None:
        """Forget that a head was refused which has turned out to be consistent: its proof was wrong, not the head.

        Others of its size that were kept without proof are evidence from now on.
        """
        head = (accepted.size, accepted.root_hash)
        unproven = [one for one, proven in self._kept.get(accepted.origin, {}).items() if not proven]
        if head in unproven:
            await remove_conflict(self._database, accepted.origin, *head)
            self._kept[accepted.origin].pop(head, None)
        if any(size == accepted.size and root != accepted.root_hash for size, root in unproven):
            async with self._turn:
                await self._prove_all(accepted.origin, accepted.size)

    async def convict(self, raw: bytes) -> Convicted | BadRequest | UnknownLog | NotProven:
        """Stop the log that this evidence convicts, from now on and after every restart."""
        verdict = judge(raw, self._logs)
        if not isinstance(verdict, Conviction):
            return verdict
        if verdict.origin not in self.convicted:
            # A line that nobody here verified may be forged, and would spoil the bundle for whoever reads it next.
            clean = verified_only(Evidence.parse(raw), self._logs[verdict.origin], origin=verdict.origin).format()
            found = Convicted(
                verdict.origin, verdict.id, verdict.type.value, verdict.accused.format(), clean, self._clock.now()
            )
            await add_conviction(self._database, {name: getattr(found, name) for name in Convicted.__slots__})
            self.convicted[verdict.origin] = found
        return self.convicted[verdict.origin]

    def count(self, origin: str) -> int:
        """How many refused heads of a log are kept."""
        return len(self._kept.get(origin, ()))

    async def page(self, after: int, limit: int) -> list[Conflicting]:
        """Kept heads in the order in which they came."""
        return await read_conflicts(self._database, after, limit)

    async def _load(self) -> None:
        index, convictions = await read_conflict_index(self._database), await read_convictions(self._database)
        self._kept.clear()
        for origin, size, root_hash, proven in index:
            self._kept[origin][size, root_hash] = proven
        # Added to, never replaced: a log that is convicted while we read stays convicted.
        self.convicted.update({convicted.origin: convicted for convicted in convictions})

    def _is_news(self, refused: Submission, known: Statement | None) -> bool:
        head = refused.checkpoint
        kept = self._kept.get(head.origin, {})
        if kept.get((head.size, head.root_hash)) or not self._has_room(head.origin, True):
            return False
        if (head.size, head.root_hash) not in kept and self._has_room(head.origin, False):
            return True
        # Anybody can send such a head again and again, so from here on it has to prove something.
        return self._has_twin(head) or head.size == 0 or (known is not None and leads_elsewhere(refused, known))

    def _has_twin(self, head: SignedCheckpoint) -> bool:
        """Whether another head of its size is kept while it is not: they are evidence together."""
        kept = self._kept.get(head.origin, {})
        return (head.size, head.root_hash) not in kept and any(size == head.size for size, _ in kept)

    def _has_room(self, origin: str, proven: bool) -> bool:
        kept = list(self._kept.get(origin, {}).values())
        return kept.count(proven) < (MAX_PROVEN if proven else MAX_UNPROVEN)

    async def _keep(self, refused: Submission, known: Statement | None) -> None:
        head = refused.checkpoint
        evidence = prove(refused, await self._signed_before(refused, known))
        if not self._has_room(head.origin, evidence is not None):
            return
        added = await add_conflict(
            self._database,
            {
                "origin": head.origin,
                "size": head.size,
                "root_hash": head.root_hash,
                "time": self._clock.now(),
                "note": head.raw,
                "evidence_id": None if evidence is None else self._id(evidence, head.origin),
                "bundle": None if evidence is None else evidence.format(),
            },
        )
        if added:
            self._kept[head.origin][head.size, head.root_hash] = evidence is not None

    async def _prove_all(self, origin: str, size: int) -> None:
        for note in await read_heads_of_size(self._database, origin, [size]):
            head = self._opened(note, origin)
            if head is not None and self._kept[origin].get((head.size, head.root_hash)) is False:
                await self._keep(Submission(0, (), head), None)

    async def _signed_before(self, refused: Submission, known: Statement | None) -> list[SignedCheckpoint]:
        head = refused.checkpoint
        sizes = [head.size] if known is None else [known.size, head.size]
        notes = await read_heads_of_size(self._database, head.origin, sizes)
        return [opened for note in notes if (opened := self._opened(note, head.origin)) is not None]

    def _opened(self, note: bytes, origin: str) -> SignedCheckpoint | None:
        try:
            return open_checkpoint(note, self._logs[origin])
        except TlogError:
            return None  # signed with a key that has been taken out of the configuration since

    def _id(self, evidence: Evidence, origin: str) -> bytes:
        return verify_evidence(evidence, self._logs[origin], origin=origin).id
