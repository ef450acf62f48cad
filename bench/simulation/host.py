"""One monitor of a simulation: the pure gossip core, and somebody who does what it wants done.

It does what the shell and the node of a real monitor do, with the same functions where those are pure: it adjudicates
with ``adjudicate``, weighs statements with ``contradictions``, lets its observer state only what ``decide`` allows, and
comes back after a crash through ``restored``. Its disk is a few dictionaries. What a write is, and that it happens
before anything that follows is sent, is as in the real one, and a crash may take any write away in the middle of an
event, with everything that would have come after it.
"""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bench.simulation import world
from bench.simulation.engine import SECOND, Engine
from bench.simulation.network import Network
from bench.simulation.world import EPOCH, Shape, View
from gossip.core import (
    Abandon,
    Adjudicate,
    Adjudicated,
    Adopt,
    Advanced,
    Candidate,
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
    JudgeOpening,
    Keep,
    KeepTestimony,
    Lend,
    MissingTile,
    OpeningJudged,
    ProofFound,
    Prove,
    Raise,
    Received,
    Refuse,
    Rehashed,
    Relink,
    Remember,
    Review,
    Rules,
    SeekProof,
    SeekTile,
    Send,
    SendTile,
    Settle,
    State,
    Stated,
    Testified,
    Testify,
    Tick,
    TileLent,
    Weigh,
    WrongEntries,
    adjudicate,
    begin,
    candidate_sizes,
    judge_opening,
    origin_id,
    step,
    wake_ms,
)
from gossip.core.ledger import contradictions
from gossip.core.staircase import Staircase
from gossip.messages import Consistency, EvidenceBundle, Head, Known, Message, TileData
from gossip.testimony import UNSERVED, Testimony
from monitor.restore import restored
from monitor.tables import StoredBranch, StoredEvidence
from tlog.advance import Advance, Refresh, Statement, decide
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError
from tlog.evidence import Evidence, verify_evidence
from tlog.hashing import Hash, TreeHead
from tlog.keys import VerifierKey
from tlog.note import Note, message_to_sign, signature_line
from tlog.proofs import ReadNode, root_at
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, tile_hashes

REFRESH = 10  # seconds between two observer signatures of the same tree, as in the real monitor
_FETCHES = 2  # one-way delays between wanting something of a log and having it

Place = tuple[bytes, int, Hash]
"""Origin, size and root: what a remembered head is found by."""


class PowerLoss(Exception):  # noqa: N818  # it is nobody's mistake
    """The power went while something was being written; what is on disk is what was there before."""


@dataclass(slots=True)
class Disk:
    """What is left of a monitor when it has crashed."""

    heads: dict[Place, SignedCheckpoint] = field(default_factory=dict)
    settled: set[Place] = field(default_factory=set)
    branches: dict[bytes, tuple[SignedCheckpoint, Shape]] = field(default_factory=dict)
    stated: dict[bytes, Statement] = field(default_factory=dict)
    evidence: dict[bytes, bytes] = field(default_factory=dict)
    weighed: dict[tuple[bytes, VerifierKey], "Weighed"] = field(default_factory=dict)
    testimony: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Weighed:
    """What one key stated of one log. ``quiet`` are statements that change nothing of it and contradict none of it."""

    stair: Staircase = field(default_factory=lambda: Staircase(1))
    notes: list[SignedCheckpoint] = field(default_factory=list)
    quiet: set[tuple[int, int, Hash]] = field(default_factory=set)


class Watcher(Protocol):
    """Is told what a monitor does that something must hold about."""

    def stepped(self, monitor: "Monitor") -> None:
        """The machine took a step."""
        ...

    def sends(self, message: Known) -> None:
        """A message is about to leave."""
        ...

    def adopts(self, monitor: "Monitor", origin: bytes, shape: Shape, signed: SignedCheckpoint) -> None:
        """The branch is about to move."""
        ...

    def keeps(self, monitor: "Monitor", held: Held) -> None:
        """Somebody is convicted."""
        ...

    def states(self, monitor: "Monitor", statement: Statement) -> None:
        """The observer is about to sign."""
        ...


class Monitor:
    """One monitor. ``views`` is what the logs show to it; nothing else in it comes from outside."""

    def __init__(
        self,
        number: int,
        rules: Rules,
        engine: Engine,
        network: Network,
        chance: random.Random,
        watcher: Watcher,
        outbound: Sequence[bytes] = (),
    ) -> None:
        self.number = number
        self.id = world.peer(number)
        self.rules = rules
        self.views: dict[bytes, View] = {}
        self.disk = Disk()
        self.state = begin(rules, 1, engine.now_ms)
        self.outbound = tuple(outbound)
        self.clock_step = 0
        self.up = True
        self.armed = False
        self.convicted_at: dict[bytes, int] = {}
        self.alarms: list[tuple[str, bytes, str]] = []
        self.counts: Counter[str] = Counter()
        self.missing: set[int] = set()
        self._engine = engine
        self._network = network
        self._chance = chance
        self._watcher = watcher
        self._outbox: dict[bytes, list[Known]] = {}
        self._drafts: dict[bytes, Shape] = {}
        self._errands: set[Event | Effect] = set()
        self._wake: int | None = None
        self._looked_at: State | None = None
        self._wakes_ms = 0
        self._starts = 0
        self._receiving = False

    # What happens to it.

    def start(self) -> None:
        """Begin to keep time, and learn whom to dial."""
        self.up = True
        self._starts += 1
        self._take(Relink(self.outbound))

    def receive(self, sender: bytes, messages: tuple[Message, ...], *, answer: bool) -> None:
        """Take an envelope, and answer it unless it is an answer itself or is refused."""
        if not self.up:
            return
        self._receiving = True
        refused = self._follow_up(Received(sender, messages, answer))
        self._receiving = False
        if not answer and not refused and not self._is_down():
            self._network.send(self.id, sender, self._outbox.pop(sender, ()), answer=True)
        self._end_of_turn()

    def poll(self, origin: bytes) -> None:
        """Look at what a log shows, and sign anew what was signed long ago."""
        view = self.views.get(origin)
        if not self.up or view is None:
            return
        self._take(HeadSeen(origin, view.note))
        branch = self.state.branch(origin)
        known = self.disk.stated.get(origin)
        if branch.signed is None or branch.convicted or branch.size != view.size or known is None:
            return
        if self.wall - known.time >= REFRESH and not self._is_down():
            try:
                line = self._state(origin, branch.signed, self.disk.branches[origin][1])
            except PowerLoss:
                self.crash()
                return
            if line:
                self._take(Stated(origin, line))

    def show(self, event: Event) -> bool:
        """Let a client or a witness show something; tell whether it was taken in."""
        if self.up:
            self._take(event)
        return self.up

    def crash(self) -> None:
        """Go down at once."""
        self.up = False
        self.armed = False
        self._outbox.clear()
        self._drafts.clear()
        self._errands.clear()
        self._wake = None

    def restart(self) -> None:
        """Come back with what the disk holds, and take up what was open."""
        self.state = self._restored()
        self.start()
        for key, signed in sorted(self.disk.heads.items(), key=lambda item: item[0]):
            if key not in self.disk.settled:
                self.show(HeadSeen(key[0], signed.raw))
        # A statement may have been written down, and the power gone before anybody heard what it contradicts.
        for (origin, accused), known in list(self.disk.weighed.items()):
            for one, other in known.stair.contradictory():
                for evidence in contradictions(known.notes[one], accused, [known.notes[other]]):
                    self.show(Contradicted(origin, evidence))

    def _is_down(self) -> bool:
        """Tell whether the power went meanwhile."""
        return not self.up

    @property
    def wall(self) -> int:
        """What its clock says, in Unix seconds."""
        return EPOCH + self._engine.now // SECOND + self.clock_step

    # What it does.

    def _take(self, event: Event) -> None:
        self._follow_up(event)
        self._end_of_turn()

    def _follow_up(self, event: Event) -> bool:
        """Step, do what is wanted, and feed back what comes of it; tell whether something was refused."""
        events = deque([event])
        refused = False
        try:
            while events:
                self.state, effects = step(self.state, events.popleft(), self._engine.now_ms, self._chance)
                self._watcher.stepped(self)
                for effect in effects:
                    if isinstance(effect, Send):
                        self._send(effect.peer, effect.message)
                    elif isinstance(effect, Refuse):
                        refused = True
                    else:
                        events.extendleft(reversed(self._perform(effect)))
        except PowerLoss:
            self.crash()
        return refused

    def _end_of_turn(self) -> None:
        """Send what waits, and set the alarm clock."""
        outbox, self._outbox = self._outbox, {}
        for peer, messages in outbox.items():
            self._network.send(self.id, peer, messages)
        if not self.up:
            return
        due = max(self._wake_ms() * 1000, self._engine.now)
        if self._wake is None or due < self._wake:
            self._wake = due
            self._engine.at(due, self._woken, due, self._starts)

    def _woken(self, due: int, starts: int) -> None:
        if not self.up or self._wake != due or self._starts != starts:
            return
        self._wake = None
        if self._wake_ms() <= self._engine.now_ms:
            self._take(Tick())
        else:
            self._end_of_turn()

    def _wake_ms(self) -> int:
        """When the state as it is has something to do; many an event leaves it as it was."""
        if self._looked_at is not self.state:
            self._looked_at, self._wakes_ms = self.state, wake_ms(self.state)
        return self._wakes_ms

    def _send(self, peer: bytes, message: Known) -> None:
        self._watcher.sends(message)
        if not self._receiving and isinstance(message, Head | EvidenceBundle):
            self._network.traffic[self.id].eager += self._network.size(message)
        self._outbox.setdefault(peer, []).append(message)

    def _write(self) -> None:
        """Stand before a write: the power may go here."""
        if self.armed:
            raise PowerLoss

    def _later(self, errand: Effect, do: Callable[[], None]) -> None:
        """Fetch something from the log; not the same thing twice at once."""
        if errand in self._errands:
            return
        self._errands.add(errand)
        self._engine.after(_FETCHES * self._network.delay(self.id, b"log"), self._fetched, errand, do, self._starts)

    def _fetched(self, errand: Effect, do: Callable[[], None], starts: int) -> None:
        if self.up and starts == self._starts:
            self._errands.discard(errand)
            do()

    def _perform(self, effect: Effect) -> Sequence[Event]:
        match effect:
            case Adjudicate(origin, signed, candidates):
                return [self._adjudicated(origin, signed, candidates)]
            case Review(origin):
                return self._reviewed(origin)
            case Adopt(origin, signed):
                return [self._adopted(origin, signed)]
            case Compare(peer, origin, head):
                return [self._compared(peer, origin, head)]
            case Weigh(origin, signed):
                return self._weighed(origin, signed)
            case Testify():
                return [self._testified(effect)]
            case Lend(origin, tile, data):
                return self._lent(origin, tile, data)
            case JudgeOpening(origin, signed, opening):
                outcome = judge_opening(self.state.branch(origin).signed, signed, opening, self._read(origin))
                return [OpeningJudged(origin, signed, outcome, opening)]
            case Follow() | SeekProof() | SeekTile():
                self._later(effect, partial(self._errand, effect))
            case Prove(peer, origin, old_size, new_size):
                self._prove(peer, origin, old_size, new_size)
            case SendTile():
                self._send_tile(effect)
            case _:
                self._note(effect)
        return ()

    def _note(self, effect: Effect) -> None:
        match effect:
            case Remember(origin, signed, _):
                self._write()
                self.disk.heads[origin, signed.size, signed.root_hash] = signed
            case Settle(origin, head):
                self._write()
                self.disk.settled.add((origin, head.size, head.root_hash))
            case Keep(held, _, instead):
                self._write()
                self._watcher.keeps(self, held)
                self.disk.evidence[held.conviction.id] = held.bundle
                if instead is not None:
                    del self.disk.evidence[instead]
                self.convicted_at.setdefault(held.conviction.id, self._engine.now)
            case KeepTestimony(note, _):
                self._write()
                self.disk.testimony.append(note)
            case Raise(kind, origin, subject):
                self.alarms.append((kind, origin, subject))
            case Count(what):
                self.counts[what] += 1
            case Abandon(origin):
                self._drafts.pop(origin, None)
            case Clear():
                pass
            case _:
                raise AssertionError("an effect that nobody does")

    # Heads.

    def _read(self, origin: bytes) -> ReadNode:
        """The nodes of the branch; of full level-0 tiles that the mirror dropped, only what the higher levels keep."""
        log = self.rules.logs[origin]
        known = self.disk.branches.get(origin)
        if known is None:
            return _unread
        read = world.tree(log.origin, known[1]).read
        if not self.missing:
            return read

        def read_what_is_kept(level: int, index: int) -> Hash:
            tile = index >> (TILE_HEIGHT - level) if level < TILE_HEIGHT else -1
            if tile in self.missing:
                raise MissingTile(tile)
            return read(level, index)

        return read_what_is_kept

    def _adjudicated(self, origin: bytes, signed: SignedCheckpoint, candidates: Sequence[Candidate]) -> Adjudicated:
        own = self.state.branch(origin).signed
        sizes = candidate_sizes(own, signed, candidates)
        known: dict[int, list[SignedCheckpoint]] = defaultdict(list)
        for key in sorted(key for key in self.disk.heads if key[0] == origin and key[1] in sizes):
            known[key[1]].append(self.disk.heads[key])
        cosigned = self._cosigned_on_branch(origin, signed)
        policy = self.rules.logs[origin].policy
        outcome = adjudicate(own, signed, candidates, self._read(origin), known, cosigned, policy)
        return Adjudicated(origin, signed, outcome)

    def _cosigned_on_branch(self, origin: bytes, signed: SignedCheckpoint) -> list[SignedCheckpoint]:
        """Find the heads on the branch that somebody who cosigned this one signed, too."""
        cosigners = {one.key for one in signed.signatures if one.timestamp}
        on_branch = sorted(key for key in self.disk.settled if key[0] == origin and key in self.disk.heads)
        heads = (self.disk.heads[key] for key in on_branch)
        return [one for one in heads if any(by.key in cosigners for by in one.signatures)]

    def _reviewed(self, origin: bytes) -> list[Event]:
        size = self.state.branch(origin).size
        still_open = (key for key in self.disk.heads if key[0] == origin and key[1] <= size)
        return [
            self._adjudicated(origin, self.disk.heads[key], ())
            for key in sorted(still_open)
            if key not in self.disk.settled
        ]

    def _compared(self, peer: bytes, origin: bytes, head: TreeHead) -> Compared:
        try:
            return Compared(peer, origin, root_at(head.size, self._read(origin)) == head.root_hash)
        except MissingTile:
            return Compared(peer, origin, agrees=False)

    def _weighed(self, origin: bytes, signed: SignedCheckpoint) -> list[Event]:
        """Compare with the neighbours among what the same keys stated, found as the monitor program finds them."""
        found: list[Event] = []
        for signature in signed.signatures:
            if not signature.timestamp:
                continue
            known = self.disk.weighed.get((origin, signature.key))
            if known is None:
                known = self.disk.weighed[origin, signature.key] = Weighed()
            stated = (signature.timestamp, signed.size, signed.root_hash)
            if stated in known.quiet:
                continue
            neighbours = [known.notes[number] for number in known.stair.against(*stated)]
            found += [Contradicted(origin, one) for one in contradictions(signed, signature.key, neighbours)]
            needed, replaced = known.stair.needs(*stated)
            if needed:
                self._write()
                if replaced is not None:
                    known.stair.remove(replaced)
                known.stair.add(*stated, len(known.notes))
                known.notes.append(signed)
                known.quiet.clear()
            elif not neighbours:
                known.quiet.add(stated)
        return found

    # The branch.

    def _adopted(self, origin: bytes, signed: SignedCheckpoint) -> Advanced:
        shape = self._drafts.pop(origin)
        self._watcher.adopts(self, origin, shape, signed)
        old = self.state.branch(origin).size
        line = self._state(origin, signed, shape)
        proof = None
        if old:
            proof = Candidate(old, None, world.proof(self.rules.logs[origin].origin, shape, old, signed.size))
        return Advanced(origin, signed, proof, line)

    def _state(self, origin: bytes, signed: SignedCheckpoint, shape: Shape) -> bytes:
        """Write the branch down together with what the observer will say of it, then let it say so."""
        last = self.disk.stated.get(origin)
        old = 0 if last is None else last.size
        path = world.proof(signed.origin, shape, old, signed.size) if old else ()
        decision = decide(last, old, signed.checkpoint, path, self.wall)
        self._write()
        self.disk.branches[origin] = (signed, shape)
        self.disk.settled.add((origin, signed.size, signed.root_hash))
        if not isinstance(decision, Advance | Refresh):
            return b""
        statement = self.disk.stated[origin] = decision.statement
        if self.rules.own_observer is None:
            return b""
        self._watcher.states(self, statement)
        return _statement_line(self.number, statement)

    # Errands.

    def _errand(self, errand: Effect) -> None:
        match errand:
            case Follow(origin, signed):
                self._rehash(origin, signed)
            case SeekProof(origin, old_size, head):
                candidate = self._proof_from_log(origin, old_size, head)
                if candidate is not None:
                    self._take(ProofFound(origin, head, candidate))
            case SeekTile(origin, tile):
                view = self.views.get(origin)
                if view is not None and (tile + 1) * TILE_WIDTH <= view.size:
                    data = view.tile(self.rules.logs[origin].origin, tile)
                    for event in self._lent(origin, tile, data):
                        self._take(event)
            case _:
                raise AssertionError("no errand")

    def _rehash(self, origin: bytes, signed: SignedCheckpoint) -> None:
        """Hash what the log serves now; if it serves less than was wanted, nothing comes of it."""
        view = self.views.get(origin)
        if view is None or view.size < signed.size:
            return
        known = self.disk.branches.get(origin)
        extends = known is None or world.head(signed.origin, view.shape, known[0].size) == known[0].head
        if view.corrupt or not extends or world.head(signed.origin, view.shape, signed.size) != signed.head:
            self._take(WrongEntries(origin, signed))
            return
        self._drafts[origin] = view.shape
        self._take(Rehashed(origin, signed))

    def _proof_from_log(self, origin: bytes, old: int, head: TreeHead) -> Candidate | None:
        view = self.views.get(origin)
        name = self.rules.logs[origin].origin
        if view is None or not 0 < old < head.size <= view.size:
            return None
        path = world.proof(name, view.shape, old, head.size)
        if view.corrupt:
            path = (*path[:-1], Hash(bytes(32)))
        return Candidate(old, world.head(name, view.shape, old).root_hash, path)

    def _prove(self, peer: bytes, origin: bytes, old: int, new: int) -> None:
        """From the own mirror at once; about a pending head, from the log's tiles."""
        name = self.rules.logs[origin].origin
        branch = self.state.branch(origin)
        if new <= branch.size:
            shape = self.disk.branches[origin][1]
            old_root, new_root = (world.head(name, shape, size).root_hash for size in (old, new))
            self._send(peer, Consistency(origin, old, new, old_root, new_root, world.proof(name, shape, old, new)))
            return
        for pending in branch.pending:
            if pending.signed.size == new:
                errand = Prove(peer, origin, old, new)
                self._later(errand, partial(self._prove_pending, peer, origin, old, pending.signed.head))

    def _prove_pending(self, peer: bytes, origin: bytes, old: int, head: TreeHead) -> None:
        candidate = self._proof_from_log(origin, old, head)
        if candidate is not None and candidate.root is not None:
            self._send(peer, Consistency(origin, old, head.size, candidate.root, head.root_hash, candidate.path))
            self._end_of_turn()

    def _send_tile(self, wanted: SendTile) -> None:
        size = self.state.branch(wanted.origin).size
        first, level = wanted.index * TILE_WIDTH, wanted.level * TILE_HEIGHT
        if wanted.level > 6 or (first + wanted.width) << level > size:
            return
        try:
            read = self._read(wanted.origin)
            data = b"".join(read(level, first + offset) for offset in range(wanted.width))
        except MissingTile:
            return
        self._send(wanted.peer, TileData(wanted.origin, wanted.level, wanted.index, data))

    def _lent(self, origin: bytes, tile: int, data: bytes) -> list[Event]:
        """Take a tile that was missed, if it is the one whose hash the level above keeps."""
        try:
            if tile not in self.missing or tile_hashes(data) != self._hashes(origin, tile):
                raise ProofError("this tile was not asked for")
        except (FormatError, ProofError):
            self.counts["unwanted-tile"] += 1
            return []
        self.missing.discard(tile)
        return [TileLent(origin)]

    def _hashes(self, origin: bytes, tile: int) -> list[Hash]:
        shape = self.disk.branches[origin][1]
        row = world.tree(self.rules.logs[origin].origin, shape).rows[0]
        return row[tile * TILE_WIDTH : (tile + 1) * TILE_WIDTH]

    def _testified(self, wanted: Testify) -> Testified:
        seconds = EPOCH + wanted.first_seen_ms // 1000
        last = EPOCH + self._engine.now // SECOND
        log, head = self.rules.logs[wanted.origin], wanted.head
        text = Testimony(log.origin, UNSERVED, head.size, head.root_hash, seconds, last, wanted.tries).format()
        key = world.peer_key(self.number)
        line = signature_line(key.verifier_key, 0, key.sign(text))
        note = Note(text, (line,)).format()
        self._write()
        self.disk.testimony.append(note)
        return Testified(note)

    # After a crash.

    def _restored(self) -> State:
        """Rebuild the state as the monitor program does, which verifies everything anew."""
        branches = [
            StoredBranch(one.origin, one.size, one.root_hash, one.raw, one.size, b"")
            for one, _ in self.disk.branches.values()
        ]
        evidence = [_stored_evidence(bundle, self.rules) for bundle in self.disk.evidence.values()]
        return restored(self.rules, self._starts + 1, self._engine.now_ms, branches, evidence)


def _stored_evidence(bundle: bytes, rules: Rules) -> StoredEvidence:
    evidence = Evidence.parse(bundle)
    log = rules.logs[origin_id(Checkpoint.parse(evidence.notes[0].text).origin)]
    conviction = verify_evidence(evidence, rules.keys_of(log, evidence.notes), log.policy, log.origin)
    accused = conviction.accused.format()
    return StoredEvidence(conviction.id, log.origin, conviction.type.value, accused, bundle, 0, 0)


def _statement_line(number: int, statement: Statement) -> bytes:
    key = world.observer(number)
    message = message_to_sign(key.verifier_key, statement.checkpoint.format(), statement.time)
    return signature_line(key.verifier_key, statement.time, key.sign(message)).format()


def _unread(level: int, index: int) -> Hash:
    raise AssertionError("nothing is read before there is a branch")
