"""The monitor itself: does what the gossip machine wants done, with the mirror, the database, the log and the observer.

The order in ``_adopt`` is the one that matters. A head becomes the branch only when every entry below it was hashed and
the root is the signed one; the mirror is on disk before the database says how long it is; the database has moved, with
the observer's statement in the same transaction, before the observer signs or any peer learns of it.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import structlog
import trio

from gossip.core import (
    CONVICTED,
    Abandon,
    Adjudicate,
    Adjudicated,
    Adopt,
    Advanced,
    Branch,
    Candidate,
    Clear,
    Compare,
    Compared,
    Contradicted,
    Count,
    Effect,
    Event,
    Follow,
    Forked,
    HeadSeen,
    Held,
    Ignored,
    JudgeOpening,
    Keep,
    KeepTestimony,
    Lend,
    Log,
    MissingTile,
    OpeningJudged,
    Prove,
    Raise,
    Refuse,
    Remember,
    Review,
    SeekProof,
    SeekTile,
    Send,
    SendTile,
    Settle,
    Stated,
    Testified,
    Testify,
    Weigh,
    adjudicate,
    candidate_sizes,
    judge_opening,
    origin_id,
)
from gossip.envelope import peer_id
from gossip.shell import Gossip
from gossip.testimony import UNSERVED as UNSERVED_KIND
from gossip.testimony import Testimony
from monitor.alarms.book import Alarms
from monitor.alarms.core import Key
from monitor.alarms.kinds import (
    BAD_CHECKPOINT,
    CLOCK_AHEAD,
    CLOCK_BEHIND,
    LOG_STALE,
    LOG_UNREACHABLE,
    MIRROR_FULL,
    NOT_BEGUN,
    WITNESS_CONFLICT,
    WRONG_CHAIN,
)
from monitor.archive import LOG
from monitor.core import MAX_AHEAD_SECONDS, UNREACHABLE_SECONDS
from monitor.errands import Errands
from monitor.ledger import Ledger, ahead
from monitor.marks import Marks
from monitor.notebook import Notebook
from monitor.shown import Shown
from monitor.site import Site, reopened
from monitor.sources.source import NotServed
from monitor.store import (
    REVIEW_BATCH,
    MonitorStore,
    StoredBranch,
    StoredEvidence,
    StoredHead,
    StoredTestimony,
    branch_record,
)
from monitor.testify import sign_testimony
from runtime.clock import Clock
from runtime.database_register import DatabaseRegister
from runtime.files import replace_file
from runtime.register import Conflict, Persisted
from runtime.signers import Signer, can_sign
from tlog.advance import Advance, ClockBehind, Decision, Refresh, Statement, decide
from tlog.evidence import is_log_key
from tlog.hashing import Hash, TreeHead
from tlog.keys import SignerKey, VerifierKey
from tlog.note import Note
from tlog.proofs import prove_consistency, root_at
from tlog.signed_checkpoint import SignedCheckpoint

ADOPTIONS_UNTIL_PRUNED = 64  # of heads that the branch has passed
REFRESH_SECONDS = 10  # between two observer signatures of the same tree: a view is at most this much older than a poll

SHOWS_LESS = "the log shows less"


@dataclass(frozen=True, slots=True)
class Testifier:
    """The peer key, with which the monitor testifies, and where it stands."""

    key: SignerKey
    vantage: str


class Monitor:
    """The ``Host`` of the gossip machine. ``connect`` gives it the machine and the nursery before anything happens."""

    def __init__(
        self,
        store: MonitorStore,
        alarms: Alarms,
        shown: Shown,
        marks: Marks,
        register: DatabaseRegister,
        observer: Signer,
        clock: Clock,
        evidence_folder: Path,
        count: Callable[[Ignored], None],
        testifier: Testifier | None = None,
    ) -> None:
        self.sites: dict[bytes, Site] = {}
        self.store = store
        self.alarms = alarms
        self.shown = shown
        self.marks = marks
        self.observer = observer
        self._register = register
        self._clock = clock
        self._evidence_folder = evidence_folder
        self._count = count
        self._gossip: Gossip | None = None
        self._errands: Errands | None = None
        self._testifier = testifier
        self.notebook = Notebook(store)
        self.ledger = Ledger(store, self.notebook)
        self.accused_before: frozenset[str] = frozenset()
        """The names of those whose keys or logs are not configured any more: a new key makes nobody honest."""
        self.kept = trio.Event()
        """Set, and replaced, when evidence was kept."""

    def connect(self, gossip: Gossip, nursery: trio.Nursery) -> None:
        """Take the machine to report to, and the nursery that errands run in."""
        self._gossip, self._errands = gossip, Errands(self.sites, gossip, nursery, self._count)

    async def resume(self) -> None:
        """Take up what was open when the program ended last."""
        for origin, site in self.sites.items():
            for evidence in await self.ledger.load(site.log.origin, self._keys(site.log)):
                await self.gossip.dispatch(Contradicted(origin, evidence))
            await self.refresh(origin)
            for stored in await self.store.unsettled(site.log.origin):
                await self.submit(origin, stored.note)
            await self._prune(site)

    @property
    def gossip(self) -> Gossip:
        """The machine that this monitor serves."""
        if self._gossip is None:
            raise AssertionError("the monitor is not connected")
        return self._gossip

    @property
    def errands(self) -> Errands:
        """What the machine wants done about tiles and proofs."""
        if self._errands is None:
            raise AssertionError("the monitor is not connected")
        return self._errands

    def branch(self, origin: bytes) -> Branch:
        """The branch of a log, as the machine has it."""
        return self.gossip.state.branch(origin)

    def accused(self) -> frozenset[str]:
        """Name everybody who was convicted of anything, by the names of their keys."""
        return self.accused_before.union(held.conviction.accused.name for held in self.gossip.state.evidence.values())

    def frontier(self, origin: bytes) -> bytes | None:
        """The branch's note with the observer's signature, if the observer has one for it."""
        branch = self.branch(origin)
        return None if branch.signed is None else branch.signed.raw + branch.line

    def problems(self) -> list[str]:
        """Say what keeps this monitor from doing its work: logs that it has not been able to look at."""
        lost = [site.log.origin for site in self.sites.values() if not site.is_reached(self._clock.now())]
        stuck = [site for site in self.sites.values() if site.follower.disk_error is not None]
        return [
            *(f"the log {origin} has not been reached for a minute" for origin in lost),
            *(f"the disk does not take the mirror of {site.log.origin}: {site.follower.disk_error}" for site in stuck),
        ]

    async def root_at(self, origin: bytes, size: int) -> bytes | None:
        """Return the branch's root at a size, None where the branch is smaller.

        Raises:
            MissingTile: a tile that the mirror dropped is needed.
        """
        if size > self.branch(origin).size:
            return None
        return await trio.to_thread.run_sync(root_at, size, self.sites[origin].mirror.read)

    async def prove(self, origin: bytes, old: int, new: int) -> tuple[bytes, ...]:
        """Make a consistency proof between two sizes of the branch."""
        read = self.sites[origin].mirror.read
        return tuple(await trio.to_thread.run_sync(prove_consistency, old, new, read))

    async def submit(self, origin: bytes, note: bytes, who: str | None = None) -> list[str]:
        """Take a note that somebody showed, and archive it under their name; return why it was refused, if it was."""
        refusals = await self.gossip.dispatch(HeadSeen(origin, note))
        if who is not None and not refusals:
            self.shown.note(self.sites[origin].log, note, who)
        return refusals

    async def poll(self, origin: bytes) -> None:
        """Look at what the log shows now."""
        site = self.sites[origin]
        now = self._clock.now()
        site.began = site.began or now
        try:
            note = await site.source.checkpoint()
        except NotServed as error:
            if now - (site.reached or site.began) >= UNREACHABLE_SECONDS:
                await self.alarm(LOG_UNREACHABLE, origin, "its checkpoint", str(error))
            return
        site.reached = now
        await self.clear(LOG_UNREACHABLE, origin)
        await self._complain(origin, site.source.complaints())
        refusals = await self.submit(origin, note, LOG)
        if refusals:
            await self.alarm(BAD_CHECKPOINT, origin, "its checkpoint", refusals[0])
            return
        await self.clear(BAD_CHECKPOINT, origin)
        # What is not refused is not thereby signed: a key may be unknown, and of a convicted log nothing is looked at.
        shown = self.shown.shown(site.log.origin, LOG)
        if shown is not None:
            await self._compare_with_shown(site, origin, shown.head)

    async def alarm(self, kind: str, origin: bytes, subject: str, detail: str = "") -> None:
        """Raise an alarm about a log."""
        evidence = subject if kind == CONVICTED else None
        await self.alarms.hold(Key(kind, self._name(origin), subject), detail, evidence=evidence)

    async def _complain(self, origin: bytes, complaints: Sequence[str]) -> None:
        """Hold the alarms about what no tree commits to, and end those that are over."""
        for alarm in self.alarms.about(self._name(origin)):
            if alarm.kind == WRONG_CHAIN and alarm.subject not in complaints:
                await self.alarms.end(alarm.key)
        for sentence in complaints:
            await self.alarm(WRONG_CHAIN, origin, sentence)

    async def clear(self, kind: str, origin: bytes, subject: str = "") -> None:
        """Clear the alarms of a kind about a log, all or those whose subject begins like this."""
        await self.alarms.clear(kind, self._name(origin), subject)

    def turn_over(self) -> None:
        """A turn of the machine has ended: the next flush writes down what it remembered."""
        self.notebook.turn_over()

    async def flush(self) -> None:
        """Write down what earlier turns remembered; what they wanted sent may leave then."""
        for _ in range(await self.notebook.flush()):
            self._count(Ignored.HEAD_WITHOUT_ROOM)

    async def perform(self, effect: Effect) -> Sequence[Event]:
        """Do what the machine wants done. What is only remembered, or settled, waits for ``flush``."""
        if isinstance(effect, Review | Adopt | Keep):
            await self._flush_now()  # each of these reads what was remembered, or writes what follows from it
        match effect:
            case Adjudicate(origin, signed, candidates):
                return [await self._adjudicate(origin, signed, candidates)]
            case Review(origin):
                self.marks.look_again(origin)
                return await self._review(origin)
            case Adopt(origin, signed):
                return [await self._adopt(origin, signed)]
            case Compare(peer, origin, head):
                return await self._compare(peer, origin, head)
            case Lend(origin, tile, data, level):
                return await self.errands.lend(origin, tile, data, level)
            case Follow(origin, signed):
                self.sites[origin].follower.want(signed)
            case Abandon(origin):
                await trio.to_thread.run_sync(self.sites[origin].mirror.abandon)
            case SendTile():
                await self.errands.send_tile(effect)
            case SeekProof() | SeekTile() | Prove():
                self.errands.run(effect)
            case Weigh() | JudgeOpening() | Testify():
                return await self._tell(effect)
            case Send() | Refuse():
                raise AssertionError("sending and refusing are the shell's")
            case _:
                await self._write_down(effect)
        return ()

    async def _flush_now(self) -> None:
        self.turn_over()
        await self.flush()

    async def refresh(self, origin: bytes) -> None:
        """Let the observer say that the branch is still the largest tree it has seen."""
        site = self.sites[origin]
        signed = self.branch(origin).signed
        if signed is None or self.branch(origin).convicted:
            return
        statement = await self._state(site, signed, None)
        # A conviction that came meanwhile: nothing more is signed of this log, and what is persisted hurts nobody.
        if statement is not None and not self.branch(origin).convicted:
            await self._sign(site, statement)
            await self.gossip.dispatch(Stated(origin, site.line, signed.head))

    async def _tell(self, effect: Weigh | JudgeOpening | Testify) -> Sequence[Event]:
        match effect:
            case Weigh(origin, signed):
                return await self._weigh(origin, signed)
            case JudgeOpening(origin, signed, opening):
                read, own = self.sites[origin].mirror.read, self.branch(origin).signed
                outcome = await trio.to_thread.run_sync(judge_opening, own, signed, opening, read)
                return [OpeningJudged(origin, signed, outcome, opening)]
            case Testify(origin, head, first_seen_ms, tries):
                return [await self._testify(origin, head, first_seen_ms, tries)]
            case _:
                assert_never(effect)

    async def _write_down(self, effect: Remember | Settle | Keep | KeepTestimony | Raise | Clear | Count) -> None:
        match effect:
            case Remember(origin, signed, via):
                self._remember(origin, signed, via)
            case Settle(origin, head):
                await self.notebook.settle(self._name(origin), head.size, head.root_hash)
            case Keep(held, _, instead):
                await self._keep(held)
                if instead is not None:
                    await self.store.drop_evidence(instead)
                    await trio.Path(self._evidence_file(instead)).unlink(missing_ok=True)
            case KeepTestimony(note, peer):
                await self._keep_testimony(note, peer)
            case Raise(kind, origin, subject):
                await self.alarm(kind, origin, subject)
            case Clear(kind, origin):
                await self.clear(kind, origin)
            case Count(what):
                self._count(what)
            case _:
                assert_never(effect)

    # Heads.

    def _remember(self, origin: bytes, signed: SignedCheckpoint, via: bytes | None) -> None:
        now_ms = self._clock.now_ms()
        if via is not None:
            self.shown.head(signed, via)
        head = StoredHead(self._name(origin), signed.size, signed.root_hash, signed.raw, via, now_ms, settled=False)
        self.notebook.remember(head)

    async def _adjudicate(
        self, origin: bytes, signed: SignedCheckpoint, candidates: Sequence[Candidate]
    ) -> Adjudicated:
        site = self.sites[origin]
        own = self.branch(origin).signed
        known = await self._known(site.log, signed.head, candidate_sizes(own, signed, candidates))
        read = site.mirror.read
        if own is None or own.size < min((signed.size, *(one.size + 1 for one in candidates))):
            outcome = adjudicate(own, signed, candidates, read, known)  # nothing of this is in the mirror
        else:
            outcome = await trio.to_thread.run_sync(adjudicate, own, signed, candidates, read, known)
        if isinstance(outcome, Forked) and own is not None:
            await self._flush_now()
            keys = [one.key for one in signed.signatures if not is_log_key(one.key, signed.origin)]
            cosigned = await self.ledger.cosigned(signed.origin, keys, own.size)
            outcome = await trio.to_thread.run_sync(
                adjudicate,
                own,
                signed,
                candidates,
                read,
                known,
                [*cosigned, *itertools.chain(*known.values())],
                site.log.policy,
            )
        return Adjudicated(origin, signed, outcome)

    async def _known(self, log: Log, head: TreeHead, sizes: set[int]) -> Mapping[int, Sequence[SignedCheckpoint]]:
        """Open the remembered heads of these sizes, other than this one."""
        known: dict[int, list[SignedCheckpoint]] = defaultdict(list)
        for stored in await self.notebook.heads_of(log.origin, sizes):
            other = TreeHead(stored.size, Hash(stored.root_hash)) != head
            signed = reopened(log, stored.note) if other else None
            if signed is not None:
                known[stored.size].append(signed)
        return known

    async def _review(self, origin: bytes) -> list[Event]:
        site = self.sites[origin]
        events: list[Event] = []
        found = await self.store.unsettled(site.log.origin, self.branch(origin).size, site.reviewed)
        # What stays undecided must not keep larger heads from being judged: the next review goes on behind it.
        site.reviewed = found[-1].size if len(found) == REVIEW_BATCH else -1
        for stored in found:
            signed = reopened(site.log, stored.note)
            if signed is not None:
                events.append(await self._adjudicate(origin, signed, ()))
        return events

    async def _compare(self, peer: bytes, origin: bytes, head: TreeHead) -> list[Event]:
        try:
            return [Compared(peer, origin, await self.root_at(origin, head.size) == head.root_hash)]
        except MissingTile:
            return [Compared(peer, origin, agrees=False)]  # the signed head is asked for, and its note decides

    async def _compare_with_shown(self, site: Site, origin: bytes, shown: TreeHead) -> None:
        """Look at how the head that the log shows now relates to the branch."""
        branch = self.branch(origin)
        if branch.signed is None or branch.convicted:
            return
        if shown.size < branch.size:
            # No size in the subject: while others bring larger heads, each of them would be another alarm.
            await self.alarm(LOG_STALE, origin, SHOWS_LESS, f"than the {branch.size} entries it showed before")
            return
        await self.clear(LOG_STALE, origin, SHOWS_LESS)
        if shown == branch.signed.head:
            site.confirmed = self._clock.now()
            if site.confirmed - site.signed_at >= REFRESH_SECONDS:
                await self.refresh(origin)

    # What keys stated over time, and what nobody serves.

    async def _weigh(self, origin: bytes, signed: SignedCheckpoint) -> list[Event]:
        now = self._clock.now()
        await self._watch_clocks(origin, signed, now)
        self.marks.take(origin, signed, now)
        return [Contradicted(origin, evidence) for evidence in await self.ledger.weigh(signed, now)]

    async def _watch_clocks(self, origin: bytes, signed: SignedCheckpoint, now: int) -> None:
        """Raise the alarm about a key that signs the future, until it signs the present."""
        found = {one.key.name for one in ahead(signed, now, MAX_AHEAD_SECONDS)}
        # What was signed long ago, and is shown again, says nothing about that clock now.
        recent = {one.key.name for one in ahead(signed, now, -MAX_AHEAD_SECONDS)}
        for name in sorted(found):
            await self.alarm(CLOCK_AHEAD, origin, f"the key {name} signs times that are minutes ahead of this clock")
        for name in sorted(recent - found):
            await self.clear(CLOCK_AHEAD, origin, f"the key {name} ")

    async def _testify(self, origin: bytes, head: TreeHead, first_seen_ms: int, tries: int) -> Testified:
        """Sign what the machine has waited for. Its time is the one since some start: ours is the wall clock's."""
        if self._testifier is None:
            raise AssertionError("this monitor has no key to testify with")
        now_ms = self._clock.now_ms()
        waited_ms = max(int(trio.current_time() * 1000) - first_seen_ms, 0)
        first, last = max(now_ms - waited_ms, 0) // 1000, now_ms // 1000
        vantage = self._testifier.vantage
        said = Testimony(self._name(origin), UNSERVED_KIND, head.size, head.root_hash, first, last, tries, vantage)
        note = sign_testimony(said, self._testifier.key)
        await self._keep_testimony(note, peer_id(self._testifier.key.verifier_key))
        return Testified(note)

    def _evidence_file(self, id_: bytes) -> Path:
        return self._evidence_folder / f"{id_.hex()}.tlog-evidence"

    async def _keep_testimony(self, note: bytes, peer: bytes) -> None:
        said = Testimony.parse(Note.parse(note).text)
        now_ms = self._clock.now_ms()
        await self.store.keep_testimony(StoredTestimony(said.origin, said.size, said.root_hash, peer, note, now_ms))

    def _keys(self, log: Log) -> tuple[VerifierKey, ...]:
        """Whoever may state something of a log: itself, its witnesses, the observers."""
        rules = self.gossip.state.rules
        own = () if rules.own_observer is None else (rules.own_observer,)
        return tuple(dict.fromkeys((*log.keys, *log.policy.witness_keys, *rules.observers, *own)))

    # The branch.

    async def _adopt(self, origin: bytes, signed: SignedCheckpoint) -> Advanced:
        site = self.sites[origin]
        old = self.branch(origin).size
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
            await self.store.move_branch(stored)
        site.mirror.adopt()
        site.line = b""
        if statement is not None:
            await self._sign(site, statement)
        await self.clear(NOT_BEGUN, origin)  # whatever `start` says by now, and whether we were there when it began
        site.adopted += 1
        if site.adopted % ADOPTIONS_UNTIL_PRUNED == 0:
            await self._prune(site)
        site.confirmed = self._clock.now()
        if stored.kept < stored.size:
            await self.alarm(MIRROR_FULL, origin, "leaf hashes beyond `mirror_bytes` are not kept")
        path = await trio.to_thread.run_sync(prove_consistency, old, signed.size, site.mirror.read) if old else []
        return Advanced(origin, signed, Candidate(old, None, tuple(path)) if old else None, site.line)

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
                self.errands.run(SeekTile(site.log.id, missing.tile, missing.level))
                return None
            match decision:
                case Advance() | Refresh():
                    record = None if branch is None else branch_record(branch)
                    answer = await self._register.advance(last, decision, record)
                    if not isinstance(answer, Conflict):
                        await self.clear(CLOCK_BEHIND, site.log.id)
                        return answer
                case ClockBehind(seconds):
                    said = f"by {seconds} s, of the last signature"  # fewer each time: no subject of an alarm
                    await self.alarm(CLOCK_BEHIND, site.log.id, "the clock is behind", said)
                    return None
                case _:
                    raise AssertionError("the branch does not extend what the observer stated")

    def _decide(self, site: Site, last: Statement | None, signed: SignedCheckpoint) -> Decision:
        old = 0 if last is None else last.size
        read = site.mirror.read if signed.size <= site.mirror.size else site.mirror.read_draft
        path = prove_consistency(old, signed.size, read)
        return decide(last, old, signed.checkpoint, path, self._clock.now())

    async def _sign(self, site: Site, statement: Persisted[Statement]) -> None:
        if can_sign(self.observer.vkey, statement):
            site.line = await self.observer.sign(statement)
            site.signed_at = statement.value.time

    async def _prune(self, site: Site) -> None:
        """Forget old heads on the branch, except for those that evidence names."""
        convictions = [held.conviction for held in self.gossip.state.evidence.values()]
        mine = [one for one in convictions if one.origin == site.log.origin]
        await self.notebook.prune(site.log.origin, {stated.size for one in mine for stated in one.statements})

    # Evidence.

    async def _keep(self, held: Held) -> None:
        conviction = held.conviction
        now_ms = self._clock.now_ms()
        seen = [
            await self.store.first_seen_ms(conviction.origin, stated.size, stated.root_hash)
            for stated in conviction.statements
        ]
        stored = StoredEvidence(
            id=conviction.id,
            origin=conviction.origin,
            type=conviction.type.value,
            accused=conviction.accused.format(),
            bundle=held.bundle,
            first_seen_ms=max(now_ms if when is None else when for when in seen),
            convicted_ms=now_ms,
        )
        path = self._evidence_file(conviction.id)
        await trio.to_thread.run_sync(replace_file, path, held.bundle)
        await self.store.keep_evidence(stored)
        self.kept.set()
        self.kept = trio.Event()
        site = self.sites.get(origin_id(conviction.origin))
        if site is not None and conviction.accused in site.log.keys:
            await self.clear(WITNESS_CONFLICT, site.log.id)  # it asked for this evidence
        _log.error(CONVICTED, origin=conviction.origin, type=stored.type, evidence=conviction.id.hex(), file=str(path))

    def _name(self, origin: bytes) -> str:
        return self.sites[origin].log.origin


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
