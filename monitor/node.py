"""The monitor itself: does what the gossip machine wants done, with the mirror, the database, the log and the observer.

It is the ``Host`` of that machine, and where everybody else here asks and tells: what a log or a peer showed goes in by
``submit``, and alarms, evidence and testimony come of it. Heads are judged in ``monitor.judge``; branches move, and the
observer signs, in ``monitor.branches``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import structlog
import trio

from gossip.core import (
    CONVICTED,
    Abandon,
    Adjudicate,
    Adopt,
    Branch,
    Clear,
    Compare,
    Compared,
    Contradicted,
    Count,
    Effect,
    Event,
    Follow,
    HeadSeen,
    Held,
    Ignored,
    JudgeOpening,
    Keep,
    KeepTestimony,
    Lend,
    Log,
    MissingTile,
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
    Testified,
    Testify,
    Weigh,
    origin_id,
)
from gossip.envelope import peer_id
from gossip.shell import Gossip
from gossip.testimony import Testimony
from monitor.alarms.book import Alarms
from monitor.alarms.core import Key
from monitor.alarms.kinds import CLOCK_AHEAD, WITNESS_CONFLICT
from monitor.branches import Branches
from monitor.bundles import Bundles
from monitor.core import MAX_AHEAD_SECONDS
from monitor.errands import Errands
from monitor.judge import Judge
from monitor.ledger import Ledger, ahead
from monitor.marks import Marks
from monitor.notebook import Notebook
from monitor.shown import Shown
from monitor.site import Site
from monitor.store import MonitorStore
from monitor.tables import StoredHead, StoredTestimony
from monitor.testify import Testifier
from runtime.clock import Clock
from runtime.database_register import DatabaseRegister
from runtime.signers import Signer
from tlog.hashing import TreeHead
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.proofs import prove_consistency, root_at
from tlog.signed_checkpoint import SignedCheckpoint


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
        self.clock = clock
        self._register = register
        self._bundles = Bundles(store, evidence_folder, clock)
        self._count = count
        self._testifier = testifier
        self.notebook = Notebook(store)
        self.ledger = Ledger(store, self.notebook)
        self.accused_before: frozenset[str] = frozenset()
        """The names of those whose keys or logs are not configured any more: a new key makes nobody honest."""
        self.kept = trio.Event()
        """Set, and replaced, when evidence was kept."""
        self._connected: _Parts | None = None

    def connect(self, gossip: Gossip, nursery: trio.Nursery) -> None:
        """Take the machine to report to, and the nursery that errands run in."""
        errands = Errands(self.sites, gossip, nursery, self._count)
        judge = Judge(self.sites, gossip, self.store, self.notebook, self.ledger, self._flush_now)
        branches = Branches(
            self.sites,
            gossip,
            errands,
            self.store,
            self.notebook,
            self._register,
            self.observer,
            self.alarms,
            self.clock,
        )
        self._connected = _Parts(gossip, errands, judge, branches)

    async def resume(self) -> None:
        """Take up what was open when the program ended last."""
        for origin, site in self.sites.items():
            for evidence in await self.ledger.load(site.log.origin, self._keys(site.log)):
                await self.gossip.dispatch(Contradicted(origin, evidence))
            await self.refresh(origin)
            for stored in await self.store.unsettled(site.log.origin):
                await self.submit(origin, stored.note)
            await self._parts.branches.prune(site)

    @property
    def gossip(self) -> Gossip:
        """The machine that this monitor serves."""
        return self._parts.gossip

    @property
    def errands(self) -> Errands:
        """What the machine wants done about tiles and proofs."""
        return self._parts.errands

    def branch(self, origin: bytes) -> Branch:
        """The branch of a log, as the machine has it."""
        return self.gossip.state.branch(origin)

    def accused(self) -> frozenset[str]:
        """Name everybody who was convicted of anything, by the names of their keys."""
        return self.accused_before.union(held.conviction.accused.name for held in self.gossip.state.evidence.values())

    def frontier(self, origin: bytes) -> bytes | None:
        """The branch's note with the observer's signature, if the observer has one for it and the note has room."""
        branch = self.branch(origin)
        if branch.signed is None:
            return None
        whole = branch.signed.raw + branch.line
        return whole if len(whole) <= MAX_NOTE_BYTES else branch.signed.raw

    def problems(self) -> list[str]:
        """Say what keeps this monitor from doing its work: logs that it has not been able to look at."""
        lost = [site.log.origin for site in self.sites.values() if not site.is_reached(self.clock.now())]
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

    async def refresh(self, origin: bytes) -> None:
        """Let the observer say that the branch is still the largest tree it has seen."""
        await self._parts.branches.refresh(origin)

    async def alarm(self, kind: str, origin: bytes, subject: str, detail: str = "") -> None:
        """Raise an alarm about a log."""
        evidence = subject if kind == CONVICTED else None
        await self.alarms.hold(Key(kind, self._name(origin), subject), detail, evidence=evidence)

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
                return [await self._parts.judge.adjudicate(origin, signed, candidates)]
            case Review(origin):
                self.marks.look_again(origin)
                return await self._parts.judge.review(origin)
            case Adopt(origin, signed):
                return [await self._parts.branches.adopt(origin, signed)]
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

    async def _tell(self, effect: Weigh | JudgeOpening | Testify) -> Sequence[Event]:
        match effect:
            case Weigh(origin, signed):
                return await self._weigh(origin, signed)
            case JudgeOpening(origin, signed, opening):
                return [await self._parts.judge.judge_opening(origin, signed, opening)]
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
                    await self._bundles.drop(instead)
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

    async def _flush_now(self) -> None:
        self.turn_over()
        await self.flush()

    # Heads.

    def _remember(self, origin: bytes, signed: SignedCheckpoint, via: bytes | None) -> None:
        now_ms = self.clock.now_ms()
        if via is not None:
            self.shown.head(signed, via)
        head = StoredHead(self._name(origin), signed.size, signed.root_hash, signed.raw, via, now_ms, settled=False)
        self.notebook.remember(head)

    async def _compare(self, peer: bytes, origin: bytes, head: TreeHead) -> list[Event]:
        try:
            return [Compared(peer, origin, await self.root_at(origin, head.size) == head.root_hash)]
        except MissingTile:
            return [Compared(peer, origin, agrees=False)]  # the signed head is asked for, and its note decides

    # What keys stated over time, and what nobody serves.

    async def _weigh(self, origin: bytes, signed: SignedCheckpoint) -> list[Event]:
        now = self.clock.now()
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
        now_ms = self.clock.now_ms()
        waited_ms = max(int(trio.current_time() * 1000) - first_seen_ms, 0)
        note = self._testifier.unserved(self._name(origin), head, max(now_ms - waited_ms, 0), now_ms, tries)
        await self._keep_testimony(note, peer_id(self._testifier.key.verifier_key))
        return Testified(note)

    async def _keep_testimony(self, note: bytes, peer: bytes) -> None:
        said = Testimony.parse(Note.parse(note).text)
        now_ms = self.clock.now_ms()
        await self.store.keep_testimony(StoredTestimony(said.origin, said.size, said.root_hash, peer, note, now_ms))

    def _keys(self, log: Log) -> tuple[VerifierKey, ...]:
        """Whoever may state something of a log: itself, its witnesses, the observers."""
        rules = self.gossip.state.rules
        own = () if rules.own_observer is None else (rules.own_observer,)
        return tuple(dict.fromkeys((*log.keys, *log.policy.witness_keys, *rules.observers, *own)))

    # Evidence.

    async def _keep(self, held: Held) -> None:
        conviction = held.conviction
        path = await self._bundles.keep(held)
        self.kept.set()
        self.kept = trio.Event()
        site = self.sites.get(origin_id(conviction.origin))
        if site is not None and conviction.accused in site.log.keys:
            await self.clear(WITNESS_CONFLICT, site.log.id)  # it asked for this evidence
        _log.error(
            CONVICTED,
            origin=conviction.origin,
            type=conviction.type.value,
            evidence=conviction.id.hex(),
            file=str(path),
        )

    def _name(self, origin: bytes) -> str:
        return self.sites[origin].log.origin

    @property
    def _parts(self) -> "_Parts":
        if self._connected is None:
            raise AssertionError("the monitor is not connected")
        return self._connected


@dataclass(frozen=True, slots=True)
class _Parts:
    """What works only with the machine."""

    gossip: Gossip
    errands: Errands
    judge: Judge
    branches: Branches


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
