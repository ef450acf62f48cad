"""One monitor in memory around the pure gossip machine, whose log is real entries and whose peers are whoever asks.

A ``SimMonitor`` does what a shell does with each effect, in the simplest way there is: no disk, no clock, no network.
"""

import random
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from gossip.canonical import pack
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
    JudgeOpening,
    Keep,
    KeepTestimony,
    Lend,
    Log,
    OpeningJudged,
    ProofFound,
    Prove,
    Raise,
    Refuse,
    Rehashed,
    Remember,
    Review,
    Rules,
    SeekProof,
    SeekTile,
    Send,
    SendTile,
    Settle,
    Testified,
    Testify,
    Weigh,
    WrongEntries,
    adjudicate,
    begin,
    contradictions,
    judge_opening,
    origin_id,
    step,
    timestamped,
)
from gossip.messages import Consistency, Known
from gossip.testimony import UNSERVED as UNSERVED_KIND
from gossip.testimony import Testimony
from tests.fakes_log import FakeLog, policy, sign_line, signer
from tlog.hashing import TreeHead
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint


class SimMonitor:
    """One monitor: the machine's state, a mirror that is a ``FakeLog``, and a memory of heads."""

    def __init__(self, name: str, source: FakeLog, seed: int = 0) -> None:
        self.id = pack(name).ljust(32, b"\0")
        self.name = name
        self.source = source
        self.mirror = FakeLog(origin=source.origin, key=source.key)
        self.origin = origin_id(source.origin)
        self.log = Log(source.origin, (source.key.verifier_key,), policy(source.key))
        self.chance = random.Random(f"{name} {seed}")
        self.state = begin(Rules({self.origin: self.log}), 1, 0)
        self.remembered: dict[tuple[int, bytes], SignedCheckpoint] = {}
        self.settled: set[tuple[int, bytes]] = set()
        self.outbox: dict[bytes, list[Known]] = defaultdict(list)
        self.alarms: list[tuple[str, str]] = []
        self.counts: list[str] = []
        self.peer_key = signer(f"monitor.example/{name}")
        self.stated: dict[VerifierKey, list[SignedCheckpoint]] = defaultdict(list)
        self.testimony: list[bytes] = []
        self.refusals: list[str] = []
        self.convicted_at: dict[bytes, int] = {}
        self.draft: FakeLog | None = None

    @property
    def size(self) -> int:
        return self.state.branch(self.origin).size

    def poll(self, now: int) -> None:
        if self.source.published:
            self.dispatch(HeadSeen(self.origin, self.source.published), now)

    def dispatch(self, event: Event, now: int) -> None:
        queue = deque([event])
        while queue:
            self.state, effects = step(self.state, queue.popleft(), now, self.chance)
            for effect in effects:
                queue.extendleft(reversed(self.perform(effect, now)))

    def perform(self, effect: Effect, now: int) -> list[Event]:
        match effect:
            case Send(peer, message):
                self.outbox[peer].append(message)
            case Refuse(reason):
                self.refusals.append(reason)
            case Count(what):
                self.counts.append(what)
            case Remember(_, signed, _):
                self.remembered[signed.size, signed.root_hash] = signed
            case Settle(_, head):
                self.settled.add((head.size, head.root_hash))
            case Adjudicate(_, signed, candidates):
                return [self._adjudicated(signed, candidates)]
            case Review():
                open_ = [key for key in sorted(self.remembered) if key not in self.settled and key[0] <= self.size]
                return [self._adjudicated(self.remembered[key], ()) for key in open_]
            case Follow(origin, signed):
                return self._follow(origin, signed)
            case Adopt(origin, signed):
                return [self._adopt(origin, signed)]
            case SeekProof(origin, old_size, head):
                return self._seek(origin, old_size, head)
            case Compare(peer, origin, head):
                return [Compared(peer, origin, self.mirror.head(head.size) == head)]
            case Weigh() | Testify() | JudgeOpening():
                return [*self._tell(effect, now)]
            case Abandon():
                self.draft = None
            case _:
                self._note(effect, now)
        return []

    def _tell(self, effect: Weigh | Testify | JudgeOpening, now: int) -> Iterable[Event]:
        match effect:
            case Weigh(origin, signed):
                return self._weigh(origin, signed)
            case Testify(_, head, first_seen_ms, tries):
                return [Testified(self._testify(head, first_seen_ms, tries, now))]
            case JudgeOpening(origin, signed, opening):
                own = self.state.branch(origin).signed
                return [OpeningJudged(origin, signed, judge_opening(own, signed, opening, self.mirror.node), opening)]

    def _note(self, effect: Effect, now: int) -> None:
        match effect:
            case Prove(peer, origin, old, new):
                self._prove(peer, origin, old, new)
            case Keep(held, evidence):
                if evidence.format() != held.bundle:
                    raise AssertionError("kept other bytes than were verified")
                self.convicted_at[held.conviction.id] = now
            case Raise(kind, _, subject):
                self.alarms.append((kind, subject))
            case KeepTestimony(note, _):
                self.testimony.append(note)
            case Clear() | SeekTile() | Lend() | SendTile():
                pass
            case _:
                raise AssertionError("an effect that nobody does")

    def _adjudicated(self, signed: SignedCheckpoint, candidates: Sequence[Candidate]) -> Adjudicated:
        known: dict[int, list[SignedCheckpoint]] = defaultdict(list)
        for one in self.remembered.values():
            known[one.size].append(one)
        own = self.state.branch(self.origin).signed
        cosigned = [one for stated in self.stated.values() for one in stated if one.size <= self.size]
        outcome = adjudicate(own, signed, candidates, self.mirror.node, known, cosigned, self.log.policy)
        return Adjudicated(self.origin, signed, outcome)

    def _weigh(self, origin: bytes, signed: SignedCheckpoint) -> list[Event]:
        found: list[Event] = []
        for key in timestamped(signed):
            stated = self.stated[key]
            found += [Contradicted(origin, one) for one in contradictions(signed, key, stated)]
            if signed not in stated:
                stated.append(signed)
        return found

    def _testify(self, head: TreeHead, first_seen_ms: int, tries: int, now: int) -> bytes:
        since, until = first_seen_ms // 1000, now // 1000
        text = Testimony(self.source.origin, UNSERVED_KIND, head.size, head.root_hash, since, until, tries).format()
        return Note(text, (sign_line(self.peer_key, text),)).format()

    def _follow(self, origin: bytes, signed: SignedCheckpoint) -> list[Event]:
        if signed.size > self.source.size:
            return []
        entries = self.mirror.entries + self.source.entries[self.mirror.size : signed.size]
        self.draft = FakeLog(entries, origin=self.source.origin, key=self.source.key)
        if self.draft.head() != signed.head:
            return [WrongEntries(origin, signed)]
        return [Rehashed(origin, signed)]

    def _adopt(self, origin: bytes, signed: SignedCheckpoint) -> Advanced:
        if self.draft is None:
            raise AssertionError("adopted without a draft")
        old, self.mirror, self.draft = self.mirror.size, self.draft, None
        self.settled.add((signed.size, signed.root_hash))
        proof = Candidate(old, None, self.mirror.proof(old, signed.size)) if old else None
        return Advanced(origin, signed, proof)

    def _seek(self, origin: bytes, old_size: int, head: TreeHead) -> list[Event]:
        if head.size > self.source.size:
            return []
        path = self.source.proof(old_size, head.size)
        return [ProofFound(origin, head, Candidate(old_size, self.source.head(old_size).root_hash, path))]

    def _prove(self, peer: bytes, origin: bytes, old: int, new: int) -> None:
        """From the own mirror, or, for a pending head, from the tiles of the log as this monitor sees it."""
        tree = self.mirror if new <= self.mirror.size else self.source
        if new > tree.size:
            return
        roots = tree.head(old).root_hash, tree.head(new).root_hash
        self.outbox[peer].append(Consistency(origin, old, new, *roots, tree.proof(old, new)))
