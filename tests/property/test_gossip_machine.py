"""The gossip machine under whatever comes: an honest or a forked log, peers that err and lie, lost answers, restarts.

Hypothesis chooses what happens; what always holds is checked after each step. The monitor takes every step twice to
see that the same input gives the same effects.
"""

import copy
from collections import Counter, deque
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from gossip import testimony as testimonies
from gossip.canonical import pack, unpack
from gossip.core import (
    Adjudicate,
    Effect,
    Event,
    EvidenceShown,
    HeadSeen,
    Keep,
    Log,
    OpeningShown,
    Received,
    Relink,
    Remember,
    Rules,
    SeekProof,
    Send,
    Tick,
    begin,
    origin_id,
    step,
    wake_ms,
)
from gossip.core.state import (
    MAX_CONTACTS,
    MAX_EVIDENCE,
    MAX_FRUITLESS,
    MAX_JUDGED,
    MAX_OFFERS,
    MAX_PENDING,
    MAX_TESTIMONY,
    MAX_TESTIMONY_OF_ONE,
    MAX_WANTED_TILES,
)
from gossip.messages import (
    Buckets,
    Consistency,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetConsistency,
    GetEvidence,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    HeldEvidence,
    Known,
    Message,
    Part,
    Summary,
    TileData,
    Unknown,
    format_message,
    parse_message,
)
from gossip.messages import TestimonyNote as SignedTestimony
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, sign_line, signer
from tests.property.lone_monitor import SimMonitor
from tlog.checkpoint import Checkpoint
from tlog.errors import TlogError
from tlog.evidence import Evidence, EvidenceType, verify_evidence
from tlog.keys import KeyType, SignerKey
from tlog.note import Note
from tlog.opening import TruncatedProof
from tlog.proofs import prove_inclusion

SIZE, SPLIT = 40, 6
MAIN = FakeLog()
MAIN.add(SIZE)
TWIN = MAIN.fork(SPLIT)
TWIN.add(SIZE - SPLIT, "twin")
ELSEWHERE = FakeLog(MAIN.entries, origin="log.example/elsewhere")  # nobody here is configured to look at it
FORGED = [FakeLog(tree.entries, key=signer(ORIGIN + "/forger")) for tree in (MAIN, TWIN)]
HONEST, LIAR = WITNESSES[:2], WITNESSES[2]
OBSERVER = signer("monitor.example/o", KeyType.COSIGNATURE_ED25519)
PEERS = tuple(name * 32 for name in (b"p", b"q", b"r"))
PEER_KEYS = {peer: signer(f"monitor.example/{peer[:1].decode()}") for peer in PEERS}
KNOWN, UNKNOWN = origin_id(ORIGIN), origin_id(ELSEWHERE.origin)
KEYS = (MAIN.key.verifier_key, *(key.verifier_key for key in (*WITNESSES, OBSERVER)))

peers = st.sampled_from(PEERS)
origins = st.sampled_from((KNOWN, KNOWN, UNKNOWN))
sizes = st.integers(1, SIZE)
numbers = st.one_of(st.integers(0, SIZE), st.integers(0, 2**63 - 1))
digests = st.one_of(st.binary(min_size=32, max_size=32), sizes.map(lambda size: bytes(MAIN.head(size).root_hash)))
paths = st.lists(digests, max_size=8).map(tuple)
flags = st.integers(0, 255)
entries = st.builds(DigestEntry, origins, numbers, digests, flags)
held = st.builds(HeldEvidence, flags, origins, digests, digests)

MESSAGES: dict[type[Known], st.SearchStrategy[Known]] = {
    Summary: st.builds(Summary, numbers, numbers, digests, digests, numbers, numbers, numbers),
    Digest: st.builds(Digest, st.none() | numbers, numbers, st.lists(entries, max_size=4).map(tuple), st.booleans()),
    GetHeads: st.builds(GetHeads, st.lists(origins, max_size=3).map(tuple)),
    Head: st.builds(Head, origins, st.binary(max_size=200), st.integers(1, 2), st.none() | numbers, paths),
    GetConsistency: st.builds(GetConsistency, origins, numbers, numbers),
    Consistency: st.builds(Consistency, origins, numbers, numbers, digests, digests, paths),
    GetTile: st.builds(GetTile, origins, st.integers(0, 63), numbers, st.integers(1, 256)),
    TileData: st.builds(TileData, origins, st.integers(0, 63), numbers, st.binary(max_size=64)),
    HaveEvidence: st.builds(HaveEvidence, st.lists(held, max_size=3).map(tuple)),
    GetEvidence: st.builds(GetEvidence, st.lists(digests, max_size=3).map(tuple)),
    EvidenceBundle: st.builds(EvidenceBundle, flags, st.binary(max_size=200)),
    SignedTestimony: st.builds(SignedTestimony, st.binary(max_size=200)),
    Buckets: st.builds(Buckets, numbers, st.binary(min_size=8, max_size=8), digests),
    Part: st.builds(
        Part, numbers, st.binary(min_size=1, max_size=1), st.lists(entries, max_size=4).map(tuple), st.booleans()
    ),
}
messages = st.one_of(*MESSAGES.values(), st.builds(Unknown, st.integers(22, 99)))


@cache
def sign(tree: FakeLog, size: int, *cosigners: SignerKey) -> bytes:
    return tree.sign(size, cosigners)


class Watched(SimMonitor):
    """Takes each step twice, and can lose what comes of an effect."""

    def __init__(self) -> None:
        source = MAIN.fork(0)
        super().__init__("watched", source)
        self.log = Log(ORIGIN, (MAIN.key.verifier_key,), policy(MAIN.key))
        testifiers = {peer: key.verifier_key for peer, key in PEER_KEYS.items()}
        rules = Rules({KNOWN: self.log}, PEERS, PEERS, (OBSERVER.verifier_key,), testifiers=testifiers)
        self.state = begin(rules, 1, 0)
        self.losing: type[Effect] | None = None
        self.effects: list[Effect] = []

    @override
    def dispatch(self, event: Event, now: int) -> None:
        queue = deque([event])
        while queue:
            taken = queue.popleft()
            chance = copy.deepcopy(self.chance)
            before = self.state
            self.state, effects = step(before, taken, now, self.chance)
            again, same = step(before, taken, now, chance)
            assert (again, repr(same)) == (self.state, repr(effects))
            self.effects += effects
            for effect in effects:
                answers = self.perform(effect, now)
                if self.losing is not None and isinstance(effect, self.losing):
                    self.losing = None
                else:
                    queue.extendleft(reversed(answers))

    def restart(self, now: int) -> None:
        """Come back with what was written down: the branch, its convictions, and the evidence."""
        branch = self.state.branch(KNOWN)
        kept = replace(branch, pending=(), pushed_ms=None, push_due=False, line=b"", holders=frozenset())
        self.state = begin(self.state.rules, self.state.epoch + 1, now, {KNOWN: kept}, self.state.evidence)
        self.draft = None


class GossipMachine(RuleBasedStateMachine):
    """What may happen to a monitor, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.monitor = Watched()
        self.now = 0
        self.forked = False
        self.size = 0
        self.convicted: set[bytes] = set()
        self.seen = 0

    @initialize(forked=st.booleans())
    def choose(self, forked: bool) -> None:
        """Whether the log, and one of the witnesses, will sign two histories."""
        self.forked = forked

    def tree(self, twin: bool) -> FakeLog:
        return TWIN if twin and self.forked else MAIN

    def cosigners(self, tree: FakeLog, quorum: bool) -> tuple[SignerKey, ...]:
        honest = HONEST if tree is MAIN else ()  # they saw the main tree, and never cosign the other
        return (*honest, LIAR) if quorum else ()

    def tell(self, peer: bytes, *told: Message, answer: bool = False) -> None:
        self.monitor.dispatch(Received(peer, told, answer), self.now)

    # The log.

    @rule(count=st.integers(1, 9), quorum=st.booleans())
    def the_log_publishes(self, count: int, quorum: bool) -> None:
        source = self.monitor.source
        grown = MAIN.fork(min(SIZE, source.size + count))
        source.entries, source.leaves = grown.entries, grown.leaves
        source.publish(source.size, self.cosigners(MAIN, quorum), time=1_700_000_000)
        self.monitor.poll(self.now)

    @rule(size=sizes, twin=st.booleans(), quorum=st.booleans())
    def a_client_shows_a_head(self, size: int, twin: bool, quorum: bool) -> None:
        tree = self.tree(twin)
        self.monitor.dispatch(HeadSeen(KNOWN, sign(tree, size, *self.cosigners(tree, quorum))), self.now)

    @rule(size=sizes, twin=st.booleans(), index=st.integers(0, SIZE - 1))
    def a_client_shows_an_opening(self, size: int, twin: bool, index: int) -> None:
        tree, index = self.tree(twin), index % size
        path = tuple(prove_inclusion(index, size, tree.node))
        opening = TruncatedProof(0, index, tree.leaves[index], path, Note.parse(sign(tree, size)))
        self.monitor.dispatch(OpeningShown(KNOWN, sign(tree, size), opening), self.now)

    # Peers.

    @rule(
        peer=peers, size=sizes, twin=st.booleans(), quorum=st.booleans(), base=st.none() | sizes, answer=st.booleans()
    )
    def a_peer_sends_a_head(
        self, peer: bytes, size: int, twin: bool, quorum: bool, base: int | None, answer: bool
    ) -> None:
        tree = self.tree(twin)
        note = sign(tree, size, *self.cosigners(tree, quorum))
        proof = tuple(map(bytes, tree.proof(base, size))) if base is not None and base < size else ()
        self.tell(peer, Head(KNOWN, note, 1 if quorum else 2, base, proof), answer=answer)

    @rule(peer=peers, old=sizes, new=sizes, twin=st.booleans(), lie=st.booleans())
    def a_peer_proves(self, peer: bytes, old: int, new: int, twin: bool, lie: bool) -> None:
        old, new = sorted((old, new))
        if old < new:
            tree, other = self.tree(twin), TWIN if lie else self.tree(twin)
            roots = bytes(other.head(old).root_hash), bytes(tree.head(new).root_hash)
            self.tell(peer, Consistency(KNOWN, old, new, *roots, tuple(map(bytes, tree.proof(old, new)))))

    @rule(peer=peers, told=st.lists(messages, min_size=1, max_size=4), answer=st.booleans())
    def a_peer_says_anything(self, peer: bytes, told: list[Message], answer: bool) -> None:
        self.tell(peer, *told, answer=answer)

    @rule(peer=peers, size=sizes, at=st.integers(0, 10_000), bit=st.integers(0, 7))
    def a_peer_damages_a_note(self, peer: bytes, size: int, at: int, bit: int) -> None:
        note = bytearray(sign(MAIN, size, *WITNESSES))
        note[at % len(note)] ^= 1 << bit
        self.tell(peer, Head(KNOWN, bytes(note), 1, None, ()))

    @rule(peer=peers, size=sizes)
    def a_peer_forges_a_head(self, peer: bytes, size: int) -> None:
        self.tell(peer, Head(KNOWN, sign(FORGED[1], size), 1, None, ()))

    @rule(peer=peers, size=sizes, named=origins)
    def a_peer_speaks_of_another_log(self, peer: bytes, size: int, named: bytes) -> None:
        self.tell(peer, Head(named, sign(ELSEWHERE, size), 1, None, ()))

    @rule(peer=peers, size=sizes, count=st.integers(60, 90))
    def a_peer_floods(self, peer: bytes, size: int, count: int) -> None:
        note = sign(MAIN, size)
        self.tell(peer, *(Head(KNOWN, note, 2, None, ()) for _ in range(count)))
        self.tell(peer, *(GetTile(KNOWN, 0, 0, 1) for _ in range(count)))

    @rule(peer=peers, by=peers, size=sizes, tries=st.integers(1, 9))
    def a_peer_testifies(self, peer: bytes, by: bytes, size: int, tries: int) -> None:
        head = MAIN.head(size)
        text = testimonies.Testimony(ORIGIN, testimonies.UNSERVED, size, head.root_hash, 1, 2, tries).format()
        self.tell(peer, SignedTestimony(Note(text, (sign_line(PEER_KEYS[by], text),)).format()))

    # Evidence.

    @rule(
        peer=st.none() | peers,
        size=st.integers(SPLIT + 1, SIZE),
        cosigned=st.booleans(),
        flip=st.none() | st.integers(0, 9999),
    )
    def somebody_shows_evidence(self, peer: bytes | None, size: int, cosigned: bool, flip: int | None) -> None:
        """True if the log forked and nobody touched it; what an honest log signed makes none."""
        keys = (LIAR,) if cosigned else ()
        notes = [Note.parse(sign(tree, size, *keys)) for tree in (MAIN, self.tree(True))]
        first, second = sorted(notes, key=root_of)
        kind = EvidenceType.COSIGNER_SAME_SIZE if cosigned else EvidenceType.SAME_SIZE
        bundle = bytearray(Evidence(kind, (first, second)).format())
        if flip is not None:
            bundle[flip % len(bundle)] ^= 1
        if peer is None:
            self.monitor.dispatch(EvidenceShown(bytes(bundle)), self.now)
        else:
            self.tell(peer, EvidenceBundle(2, bytes(bundle)))

    @rule(peer=peers, size=st.integers(SPLIT + 1, SIZE))
    def a_peer_accuses_by_a_foreign_key(self, peer: bytes, size: int) -> None:
        notes = [Note.parse(sign(tree, size)) for tree in FORGED]
        first, second = sorted(notes, key=root_of)
        self.tell(peer, EvidenceBundle(2, Evidence(EvidenceType.SAME_SIZE, (first, second)).format()))

    # Time, and what goes wrong at home.

    @rule(ms=st.integers(1, 30_000))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        self.monitor.dispatch(Tick(), self.now)

    @rule()
    def the_next_deadline_comes(self) -> None:
        self.now = max(self.now, wake_ms(self.monitor.state))
        self.monitor.dispatch(Tick(), self.now)

    @rule(kind=st.sampled_from((Adjudicate, SeekProof)))
    def an_answer_will_be_lost(self, kind: type[Effect]) -> None:
        self.monitor.losing = kind

    @rule(outbound=st.lists(peers, unique=True).map(tuple))
    def the_links_change(self, outbound: tuple[bytes, ...]) -> None:
        self.monitor.dispatch(Relink(outbound), self.now)

    @precondition(lambda self: self.monitor.size > 0)
    @rule()
    def the_monitor_restarts(self) -> None:
        self.monitor.restart(self.now)

    # What always holds.

    @invariant()
    def pools_are_bounded(self) -> None:
        state = self.monitor.state
        assert all(len(branch.pending) <= MAX_PENDING for branch in state.branches.values())
        assert max(Counter(one.place for one in state.evidence.values()).values(), default=0) <= MAX_EVIDENCE
        assert len(state.contacts) <= MAX_CONTACTS
        assert len(state.judged) <= MAX_JUDGED
        assert len(state.offers) <= MAX_OFFERS * len(state.rules.peers)
        assert all(len(one) <= MAX_FRUITLESS for one in state.fruitless.values())
        assert len(state.tiles) <= MAX_WANTED_TILES * len(state.rules.logs)
        for testimony in state.testimony.values():
            assert len(testimony) <= MAX_TESTIMONY
            assert max(Counter(one.peer for one in testimony).values(), default=0) <= MAX_TESTIMONY_OF_ONE

    @invariant()
    def no_honest_key_is_convicted(self) -> None:
        liars = {MAIN.key.verifier_key, LIAR.verifier_key} if self.forked else set()
        assert {one.conviction.accused for one in self.monitor.state.evidence.values()} <= liars

    @invariant()
    def the_branch_only_grows(self) -> None:
        signed = self.monitor.state.branch(KNOWN).signed
        if signed is not None:
            assert signed.size >= self.size
            # It is the history that the log serves, which is what was re-hashed.
            assert signed.head == MAIN.head(signed.size)
            self.size = signed.size

    @invariant()
    def a_conviction_stays(self) -> None:
        state = self.monitor.state
        assert self.convicted <= set(state.evidence)
        assert set(state.branch(KNOWN).convicted) <= set(state.evidence)
        self.convicted = set(state.evidence)

    @invariant()
    def unknown_logs_leave_no_trace(self) -> None:
        state = self.monitor.state
        assert {*state.branches, *state.testimony, *state.changes} <= {KNOWN}

    @invariant()
    def nothing_unfounded_is_kept_or_told(self) -> None:
        fresh, self.seen = self.monitor.effects[self.seen :], len(self.monitor.effects)
        for effect in fresh:
            match effect:
                case Keep(held, _):
                    # In the eyes of a stranger.
                    said = verify_evidence(Evidence.parse(held.bundle), KEYS, self.monitor.log.policy)
                    assert said == held.conviction
                case Remember(origin, _, _):
                    assert origin == KNOWN
                case Send(_, message):
                    told = pack(format_message(message))
                    assert UNKNOWN not in told
                    assert ELSEWHERE.origin.encode() not in told


def root_of(note: Note) -> bytes:
    return Checkpoint.parse(note.text).root_hash


TestGossipMachine = GossipMachine.TestCase
TestGossipMachine.settings = settings(max_examples=200, stateful_step_count=40)


# Messages.


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_has_one_spelling(kind: type[Known]) -> None:
    @given(MESSAGES[kind])
    def check(message: Known) -> None:
        written = pack(format_message(message))
        read = parse_message(unpack(written))
        assert read == message
        assert pack(format_message(message)) == written

    check()


@given(st.one_of(*MESSAGES.values()), st.integers(0, 10_000), st.integers(0, 7))
@settings(max_examples=500)
def test_a_flipped_bit_is_refused_or_another_message(message: Known, at: int, bit: int) -> None:
    written = pack(format_message(message))
    flipped = bytearray(written)
    flipped[at % len(flipped)] ^= 1 << bit
    try:
        read = parse_message(unpack(bytes(flipped)))
    except TlogError:
        return
    assert read != message
