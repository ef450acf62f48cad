"""The gossip machine, event by event: what each brings about, and what it must never bring about."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gossip import core
from gossip.canonical import pack, unpack
from gossip.core import (
    MIRROR_DAMAGED,
    Abandon,
    Adjudicate,
    Adjudicated,
    Adopt,
    Advanced,
    Branch,
    Candidate,
    Compare,
    Compared,
    Count,
    Effect,
    Event,
    Extends,
    Follow,
    Forked,
    HeadSeen,
    Ignored,
    Keep,
    Lend,
    Log,
    MissingTile,
    NeedsTile,
    OnBranch,
    Pending,
    ProofFound,
    Prove,
    Raise,
    Received,
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
    State,
    Tick,
    Undecided,
    Unprovable,
    Weigh,
    WrongEntries,
    adjudicate,
    begin,
    candidate_sizes,
    origin_id,
    step,
    wake_ms,
)
from gossip.core.heads import verified_head
from gossip.core.state import (
    EVIDENCE_NUMBERS,
    MAX_COSIGNER_BYTES,
    MAX_EVIDENCE,
    MAX_HEADS_AT_ONCE,
    MAX_PENDING,
    PUSH_INTERVAL_MS,
    RETRY_MS,
    UNSERVED_MS,
)
from gossip.messages import (
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
    Summary,
    TileData,
    Unknown,
    format_message,
    parse_message,
)
from tests.evidence_cases import note, part, record
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, sign_line, signer
from tlog.checkpoint import Checkpoint
from tlog.evidence import Evidence, EvidenceType, cosigner_same_size, rotation, same_size, subtree
from tlog.hashing import Hash, TreeHead
from tlog.keys import KeyType, SignerKey
from tlog.note import MAX_NOTE_BYTES, Note, SignatureLine
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

ID = origin_id(ORIGIN)
P, Q = b"p" * 32, b"q" * 32
LOG = FakeLog()
LOG.add(40)
TWIN = LOG.fork(6)
TWIN.add(34, "twin")
KEYS = (LOG.key.verifier_key, *(witness.verifier_key for witness in WITNESSES))
OBSERVER = signer("monitor.example/o", KeyType.COSIGNATURE_ED25519)
RULES = Rules({ID: Log(ORIGIN, KEYS[:1], policy(LOG.key))}, (P, Q), (P, Q), (OBSERVER.verifier_key,))


def signed(note: bytes, keys: Sequence[object] = ()) -> SignedCheckpoint:
    return open_checkpoint(note, KEYS)


def head_of(tree: FakeLog, size: int, witnesses: Sequence[SignerKey] = WITNESSES) -> SignedCheckpoint:
    return signed(tree.sign(size, witnesses))


def statement(tree: FakeLog, size: int) -> SignedCheckpoint:
    """A head without any witness."""
    return head_of(tree, size, ())


def state(branch: Branch | None = None) -> State:
    """A state whose next exchange is far away."""
    empty = replace(begin(RULES, 1, 0), exchange_ms=10**9)
    return empty if branch is None else replace(empty, branches={ID: branch})


def at(size: int, *pending: Pending) -> State:
    """A state with a branch and pending heads."""
    return state(Branch(head_of(LOG, size), pending=pending))


def waiting(one: SignedCheckpoint, quorum: bool = False, via: bytes | None = P) -> Pending:
    return Pending(one, 0, via, quorum, tried_ms=0, told=True)


def run(before: State, event: Event, now_ms: int = 0) -> tuple[State, list[Effect]]:
    """One step, without what is remembered of peers and bundles and without what is weighed: others test these."""
    after, effects = step(before, event, now_ms, random.Random(0))
    forgetful = replace(after, contacts=before.contacts, judged=before.judged)
    return forgetful, [effect for effect in effects if not isinstance(effect, Weigh)]


def received(before: State, *messages: Message, answer: bool = False, now_ms: int = 0) -> tuple[State, list[Effect]]:
    return run(before, Received(P, messages, answer), now_ms)


def sent(effects: Sequence[Effect], peer: bytes = P) -> list[Known]:
    return [effect.message for effect in effects if isinstance(effect, Send) and effect.peer == peer]


# A head is seen.


def test_a_new_head_is_remembered_before_anything_else() -> None:
    one = statement(LOG, 7)
    _, effects = run(state(), HeadSeen(ID, one.raw))
    assert effects == [Remember(ID, one, None), Adjudicate(ID, one, ())]


def test_a_smaller_head_is_judged_and_not_pending() -> None:
    one = statement(TWIN, 5)
    after, effects = run(at(7), HeadSeen(ID, one.raw))
    assert (after, effects) == (at(7), [Remember(ID, one, None), Adjudicate(ID, one, ())])


def test_a_proof_that_comes_with_a_head_is_weighed_with_it() -> None:
    one = statement(LOG, 12)
    message = Head(ID, one.raw, 2, 7, LOG.proof(7, 12))
    _, effects = received(at(7), message)
    assert effects[-1] == Adjudicate(ID, one, (Candidate(7, None, LOG.proof(7, 12)),))


def test_the_branch_s_own_head_is_nothing_new() -> None:
    assert run(at(7), HeadSeen(ID, head_of(LOG, 7).raw))[1] == []


def test_new_cosignatures_join_the_branch_s_head() -> None:
    before = state(Branch(head_of(LOG, 7, WITNESSES[:2])))
    after, effects = run(before, HeadSeen(ID, LOG.sign(7, WITNESSES[1:])))
    (remembered,) = effects
    assert isinstance(remembered, Remember)
    assert len(remembered.signed.signatures) == 4
    assert after.branch(ID).signed == remembered.signed


def test_cosignatures_under_another_text_of_the_same_tree_are_left_alone() -> None:
    before = at(7)
    assert run(before, HeadSeen(ID, LOG.sign(7, extensions=(b"more",)))) == (before, [])


def test_a_head_that_gains_a_quorum_is_followed() -> None:
    before = at(7, waiting(statement(LOG, 9)))
    after, effects = run(before, HeadSeen(ID, LOG.sign(9)))
    (pending,) = after.branch(ID).pending
    assert (pending.quorum, effects) == (
        True,
        [Remember(ID, pending.signed, P), Follow(ID, pending.signed)],
    )


def test_a_head_that_gains_a_quorum_under_another_text_is_followed_under_that_text() -> None:
    bare, cosigned = signed(LOG.sign(9, (), extensions=(b"extension",))), head_of(LOG, 9)
    after, effects = run(at(7, waiting(bare)), HeadSeen(ID, cosigned.raw))
    assert effects == [Remember(ID, cosigned, P), Follow(ID, cosigned)]
    assert [(pending.signed, pending.quorum) for pending in after.branch(ID).pending] == [(cosigned, True)]
    assert run(after, HeadSeen(ID, bare.raw)) == (after, [Follow(ID, cosigned)])


def test_a_pending_head_without_news_is_followed_again_if_it_has_a_quorum() -> None:
    one = head_of(LOG, 9)
    assert run(at(7, waiting(one, quorum=True)), HeadSeen(ID, one.raw))[1] == [Follow(ID, one)]
    other = statement(LOG, 9)
    assert run(at(7, waiting(other)), HeadSeen(ID, other.raw))[1] == []


def test_a_proof_for_a_pending_head_is_weighed() -> None:
    one = statement(LOG, 9)
    _, effects = received(at(7, waiting(one)), Head(ID, one.raw, 2, 7, LOG.proof(7, 9)))
    assert effects == [Adjudicate(ID, one, (Candidate(7, None, LOG.proof(7, 9)),))]


def test_the_pool_keeps_the_smallest_heads_and_still_follows_a_quorum() -> None:
    before = at(1, *(waiting(statement(LOG, size)) for size in range(10, 10 + MAX_PENDING)))
    large, small = head_of(LOG, 30), statement(LOG, 5)
    after, effects = run(before, HeadSeen(ID, large.raw))
    assert (after.branch(ID).find(large.head), effects[-1]) == (None, Follow(ID, large))
    after, effects = run(before, HeadSeen(ID, small.raw))
    sizes = [pending.signed.size for pending in after.branch(ID).pending]
    assert sizes == [5, *range(10, 9 + MAX_PENDING)]
    assert run(before, HeadSeen(ID, statement(LOG, 30).raw))[1][-1] == Adjudicate(ID, statement(LOG, 30), ())


STRANGER = FakeLog([b"x"], origin="log.example/other")
MISNAMED = FakeLog([b"x"], origin="log.example/other", key=LOG.key)


@pytest.mark.parametrize(
    ("origin", "note", "expected"),
    [
        (b"?" * 32, LOG.sign(3), Count(Ignored.HEAD_OF_UNKNOWN_LOG)),
        (ID, STRANGER.sign(), Refuse("a head is refused: the checkpoint is of another origin")),
        (ID, STRANGER.sign(witnesses=()), Count(Ignored.HEAD_UNDER_UNKNOWN_KEY)),
        (ID, MISNAMED.sign(), Refuse("a head is refused: the checkpoint is of another origin")),
        (ID, b"nonsense", None),
        (ID, LOG.sign(3).replace(b"\n3\n", b"\n4\n"), None),
        (ID, LOG.sign(3) + b"\xe2\x80\x94 x aGVsbG93b3JsZA==\n" * 21, None),
    ],
    ids=["unknown log", "another log", "unknown key", "another origin", "no note", "forged", "many lines"],
)
def test_a_head_that_is_none_changes_nothing(origin: bytes, note: bytes, expected: Effect | None) -> None:
    before = at(2)
    after, effects = run(before, HeadSeen(origin, note))
    assert after == before
    assert effects == [expected] if expected else isinstance(effects[0], Refuse)


def test_a_note_that_only_witnesses_signed_is_not_the_log_s() -> None:
    text = LOG.sign(3).split(b"\n\n")[0] + b"\n"
    note = Note(text, (sign_line(WITNESSES[0], text),)).format()
    assert run(state(), HeadSeen(ID, note))[1] == [Count(Ignored.HEAD_WITHOUT_LOG_SIGNATURE)]


def test_an_envelope_brings_no_more_heads_of_a_log_than_can_be_looked_at() -> None:
    heads = [Head(ID, statement(LOG, 5).raw, 1, None, ())] * (MAX_HEADS_AT_ONCE + 2)
    _, effects = received(at(7), *heads)
    assert sum(isinstance(effect, Remember) for effect in effects) == MAX_HEADS_AT_ONCE
    assert effects[-2:] == [Count(Ignored.HEAD_WITHOUT_ROOM)] * 2


def test_a_refused_message_ends_the_envelope() -> None:
    bad = Head(ID, b"nonsense", 1, None, ())
    _, effects = received(at(3), bad, GetHeads((ID,)))
    assert [type(effect) for effect in effects] == [Refuse]


# A verdict comes.


def test_a_head_on_the_branch_is_settled() -> None:
    one = statement(LOG, 9)
    after, effects = run(at(7, waiting(one)), Adjudicated(ID, one, OnBranch()))
    assert (after.branch(ID).pending, effects) == ((), [Settle(ID, one.head)])


def own_head(size: int) -> Head:
    return verified_head(ID, at(size).branch(ID))


def fresh(one: SignedCheckpoint, quorum: bool = False, via: bytes | None = P) -> Pending:
    return Pending(one, 0, via, quorum)


def test_an_undecided_statement_is_told_to_others_and_asked_about() -> None:
    one = statement(LOG, 9)
    after, effects = run(at(7, fresh(one)), Adjudicated(ID, one, Undecided()), 5)
    assert effects == [
        Send(Q, Head(ID, one.raw, 2, None, ())),
        SeekProof(ID, 7, one.head),
        Send(P, GetConsistency(ID, 7, 9)),
    ]
    (pending,) = after.branch(ID).pending
    assert (pending.told, pending.asked_ms, pending.tried_ms) == (True, 5, 5)


def test_a_statement_that_the_log_showed_is_told_to_everybody() -> None:
    one = statement(LOG, 9)
    _, effects = run(at(7, fresh(one, via=None)), Adjudicated(ID, one, Undecided()))
    message = Head(ID, one.raw, 2, None, ())
    assert effects == [Send(P, message), Send(Q, message), SeekProof(ID, 7, one.head)]


def test_without_a_branch_there_is_nothing_to_ask() -> None:
    one = statement(LOG, 9)
    _, effects = run(state(Branch(pending=(fresh(one),))), Adjudicated(ID, one, Undecided()))
    assert effects == [Send(Q, Head(ID, one.raw, 2, None, ()))]


def test_a_statement_that_extends_the_branch_is_told_with_its_proof() -> None:
    one, proof = statement(LOG, 9), Candidate(7, LOG.head(7).root_hash, LOG.proof(7, 9))
    after, effects = run(at(7, fresh(one)), Adjudicated(ID, one, Extends(proof)))
    assert (effects, after.branch(ID).pending[0].proof) == ([Send(Q, Head(ID, one.raw, 2, 7, proof.path))], proof)
    again = run(after, Adjudicated(ID, one, Extends(proof)))
    assert again == (after, [])


def test_a_head_with_a_quorum_is_followed_and_not_told_and_who_has_it_is_shown_ours_and_asked_for_a_proof() -> None:
    one = head_of(LOG, 9)
    asked = [Follow(ID, one), Send(P, own_head(7)), Send(P, GetConsistency(ID, 7, 9))]
    assert run(at(7, fresh(one, quorum=True)), Adjudicated(ID, one, Undecided()))[1] == asked


def test_a_peer_that_is_known_to_hold_our_head_is_not_shown_it() -> None:
    one = head_of(LOG, 9)
    before = at(7, fresh(one, quorum=True))
    known = replace(before, branches={ID: replace(before.branch(ID), holders=frozenset({P}))})
    assert run(known, Adjudicated(ID, one, Undecided()))[1] == [Follow(ID, one), Send(P, GetConsistency(ID, 7, 9))]


def test_a_head_with_a_quorum_that_the_log_showed_or_that_is_proven_is_only_followed() -> None:
    one = head_of(LOG, 9)
    shown = fresh(one, quorum=True, via=None)
    assert run(at(7, shown), Adjudicated(ID, one, Undecided()))[1] == [Follow(ID, one)]
    proven = Extends(Candidate(7, None, LOG.proof(7, 9)))
    assert run(at(7, fresh(one, quorum=True)), Adjudicated(ID, one, proven))[1] == [Follow(ID, one)]


def test_a_verdict_about_a_head_that_left_the_pool_changes_nothing() -> None:
    assert run(at(7), Adjudicated(ID, statement(LOG, 9), Undecided())) == (at(7), [])


def test_a_missing_tile_is_asked_of_everybody() -> None:
    _, effects = run(at(7), Adjudicated(ID, statement(LOG, 5), NeedsTile(3)))
    wanted = GetTile(ID, 0, 3, 256)
    assert effects == [SeekTile(ID, 3), Send(P, wanted), Send(Q, wanted)]


def test_evidence_that_does_not_hold_is_an_alarm_about_ourselves() -> None:
    _, effects = run(at(7), Adjudicated(ID, statement(LOG, 5), Unprovable()))
    assert effects == [Raise(MIRROR_DAMAGED, ID, "size 5")]


def fork(size: int = 9) -> Evidence:
    return same_size(statement(LOG, size), statement(TWIN, size))


def test_a_fork_is_kept_alarmed_and_sent_to_everybody() -> None:
    after, effects = run(at(9), Adjudicated(ID, statement(TWIN, 9), Forked(fork())))
    (id_,) = after.branch(ID).convicted
    message = EvidenceBundle(EVIDENCE_NUMBERS[EvidenceType.SAME_SIZE], fork().format())
    assert effects == [
        Keep(after.evidence[id_], fork()),
        Send(P, message),
        Send(Q, message),
        Raise("convicted", ID, id_.hex()),
    ]


CONVICTED = run(at(9), Adjudicated(ID, statement(TWIN, 9), Forked(fork())))[0]


@pytest.mark.parametrize(
    "event",
    [
        HeadSeen(ID, statement(LOG, 12).raw),
        HeadSeen(ID, head_of(LOG, 9).raw.replace(b"\n\n", b"\n", 1)),
        Adjudicated(ID, statement(LOG, 12), Undecided()),
        Adjudicated(ID, statement(TWIN, 8), Forked(fork(8))),
        ProofFound(ID, LOG.head(12), Candidate(9, None, ())),
        Rehashed(ID, head_of(LOG, 12)),
        Received(P, (Consistency(ID, 9, 12, bytes(32), LOG.head(12).root_hash, ()),)),
        Tick(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_convicted_log_is_neither_followed_nor_judged_again(event: Event) -> None:
    branch = replace(CONVICTED.branch(ID), pending=(waiting(statement(LOG, 12)),), push_due=True)
    before = replace(CONVICTED, branches={ID: branch})
    after, effects = run(before, event, UNSERVED_MS * 2)
    assert after == before
    assert {type(effect) for effect in effects} <= {Count, Abandon, Refuse}


def test_wrong_entries_of_a_convicted_log_are_no_more_than_an_alarm() -> None:
    branch = replace(CONVICTED.branch(ID), pending=(waiting(statement(LOG, 12)),))
    _, effects = run(replace(CONVICTED, branches={ID: branch}), WrongEntries(ID, statement(LOG, 12)))
    assert effects == [Raise("wrong-entries", ID, "size 12")]


# The branch grows.


def test_a_rehashed_head_is_adopted_with_every_cosignature_known() -> None:
    seen, pending = head_of(LOG, 9, WITNESSES[:2]), head_of(LOG, 9, WITNESSES[1:])
    (adopt,) = run(at(7, waiting(pending, quorum=True)), Rehashed(ID, seen))[1]
    assert isinstance(adopt, Adopt)
    assert len(adopt.signed.signatures) == 4
    assert run(at(7), Rehashed(ID, seen))[1] == [Adopt(ID, seen)]


def test_a_rehashed_head_is_adopted_under_its_own_text_whatever_else_is_pending() -> None:
    other_text = signed(LOG.sign(9, (), extensions=(b"extension",)))
    _, effects = run(at(7, waiting(other_text)), Rehashed(ID, head_of(LOG, 9)))
    assert effects == [Adopt(ID, head_of(LOG, 9))]


def test_an_overtaken_draft_is_thrown_away() -> None:
    assert run(at(9), Rehashed(ID, head_of(LOG, 9)))[1] == [Abandon(ID)]


def test_growth_is_pushed_with_its_proof_and_opens_old_cases_again() -> None:
    proof = Candidate(7, None, LOG.proof(7, 9))
    before = at(7, waiting(statement(TWIN, 8)), waiting(statement(TWIN, 12)))
    after, effects = run(before, Advanced(ID, head_of(LOG, 9), proof), 50)
    push = Head(ID, head_of(LOG, 9).raw, 1, 7, proof.path)
    assert [pending.signed.size for pending in after.branch(ID).pending] == [12]
    assert Review(ID) in effects
    assert (sent(effects), sent(effects, Q)) == ([push], [push])


def test_pushes_of_one_log_are_a_second_apart_and_carry_the_newest_head() -> None:
    after, effects = run(at(7), Advanced(ID, head_of(LOG, 9), None), 0)
    assert len(sent(effects)) == 1
    after, effects = run(after, Advanced(ID, head_of(LOG, 10), None), 10)
    after, more = run(after, Advanced(ID, head_of(LOG, 11), None), 20)
    assert (sent(effects), sent(more), wake_ms(after)) == ([], [], PUSH_INTERVAL_MS)
    after, effects = run(after, Tick(), PUSH_INTERVAL_MS)
    assert sent(effects) == [Head(ID, head_of(LOG, 11).raw, 1, None, ())]
    assert sent(run(after, Tick(), 2 * PUSH_INTERVAL_MS)[1]) == []


def test_growth_clears_the_alarm_about_unserved_heads_only_when_none_is_left() -> None:
    stuck = replace(waiting(statement(TWIN, 30)), unserved=True)
    kinds = [
        [effect.kind for effect in run(before, Advanced(ID, head_of(LOG, 9), None))[1] if hasattr(effect, "kind")]
        for before in (at(7), at(7, stuck))
    ]
    assert kinds == [["wrong-entries", "unserved"], ["wrong-entries"]]


def test_wrong_entries_make_us_tell_and_ask() -> None:
    one = head_of(LOG, 9)
    _, effects = run(at(7, fresh(one, quorum=True)), WrongEntries(ID, one))
    assert effects[0] == Raise("wrong-entries", ID, "size 9")
    assert SeekProof(ID, 7, one.head) in effects
    assert sent(effects, Q) == [Head(ID, one.raw, 2, None, ())]
    assert run(at(7), WrongEntries(ID, one))[1] == [Raise("wrong-entries", ID, "size 9")]


# Time passes.


def test_unanswered_questions_are_repeated_but_not_too_often() -> None:
    one = statement(LOG, 9)
    asked = replace(waiting(one), asked_ms=0)
    assert run(at(7, asked), Tick(), RETRY_MS - 1)[1] == []
    assert run(at(7, asked), Tick(), RETRY_MS)[1] == [SeekProof(ID, 7, one.head), Send(P, GetConsistency(ID, 7, 9))]
    later = replace(asked, asked_ms=RETRY_MS - 1)
    assert run(at(7, later), Tick(), RETRY_MS)[1] == []


def test_a_head_that_is_about_to_be_judged_is_not_hurried() -> None:
    assert run(at(7, fresh(statement(LOG, 9))), Tick(), RETRY_MS)[1] == []


def test_a_head_that_nobody_serves_raises_an_alarm_once_and_is_testified_about_again_and_again() -> None:
    one = head_of(LOG, 9)
    again = [Follow(ID, one), Send(P, GetConsistency(ID, 7, 9))]
    after, done = run(at(7, waiting(one, quorum=True)), Tick(), UNSERVED_MS)
    begun = [Raise("unserved", ID, "size 9"), core.Testify(ID, one.head, 0, 1)]
    assert done == [*begun, again[0], Send(P, own_head(7)), again[1]]
    after, done = run(after, Tick(), UNSERVED_MS + RETRY_MS)
    assert done == again
    assert run(after, Tick(), 2 * UNSERVED_MS)[1] == [core.Testify(ID, one.head, 0, 2), *again]


def test_the_next_deadline_is_the_earliest() -> None:
    one = waiting(statement(LOG, 9))
    cases = {
        10**9: state(),
        RETRY_MS: at(7, one),
        RETRY_MS + 5: at(7, replace(one, tried_ms=RETRY_MS + 5 - RETRY_MS, unserved=True)),
        UNSERVED_MS: at(7, replace(one, tried_ms=None)),
    }
    assert {due: wake_ms(case) for due, case in cases.items()} == {due: due for due in cases}
    assert wake_ms(replace(CONVICTED, exchange_ms=77)) == 77


def test_exchanges_go_to_one_random_peer_with_some_jitter() -> None:
    chosen, waits = set(), set()
    for seed in range(30):
        after, (effect,) = step(begin(RULES, 1, 0), Tick(), 1000, random.Random(seed))
        assert isinstance(effect, Send)
        chosen.add(effect.peer)
        waits.add(after.exchange_ms - 1000)
    assert chosen == {P, Q}
    assert 8000 <= min(waits) < max(waits) <= 12_000


def test_a_monitor_that_can_dial_nobody_keeps_quiet() -> None:
    alone = begin(replace(RULES, dialled=()), 1, 0)
    assert run(alone, Tick())[1] == []


# Proofs and tiles.


def test_a_peer_s_proof_is_weighed_for_the_head_it_is_about() -> None:
    one, other = statement(LOG, 9), statement(LOG, 10)
    before = at(7, waiting(one), waiting(other))
    root = LOG.head(7).root_hash
    message = Consistency(ID, 7, 9, root, one.root_hash, LOG.proof(7, 9))
    assert received(before, message)[1] == [Adjudicate(ID, one, (Candidate(7, root, LOG.proof(7, 9)),))]
    candidate = Candidate(7, root, LOG.proof(7, 10))
    assert run(before, ProofFound(ID, other.head, candidate))[1] == [Adjudicate(ID, other, (candidate,))]
    assert run(before, ProofFound(ID, TreeHead(9, Hash(bytes(32))), candidate))[1] == []


@pytest.mark.parametrize(("old", "new"), [(0, 5), (5, 5), (6, 5)])
def test_an_impossible_proof_is_not_made(old: int, new: int) -> None:
    assert received(at(9), GetConsistency(ID, old, new))[1] == [Count(Ignored.IMPOSSIBLE_PROOF)]


def test_requests_for_proofs_and_tiles_are_passed_on() -> None:
    _, effects = received(
        at(9),
        GetConsistency(ID, 3, 5),
        GetConsistency(b"?" * 32, 3, 5),
        GetTile(ID, 1, 0, 7),
        TileData(ID, 0, 4, b"data"),
        TileData(ID, 1, 4, b"data"),
        Unknown(99),
    )
    assert effects == [
        Prove(P, ID, 3, 5),
        Count(Ignored.IMPOSSIBLE_PROOF),
        SendTile(P, ID, 1, 0, 7),
        Lend(ID, 4, b"data"),
        Lend(ID, 4, b"data", 1),
        Count(Ignored.UNKNOWN_MESSAGE),
    ]


# Anti-entropy.


NOTHING = Summary(1, 0, bytes(32), bytes(32), 0, 0, 0)


def summary_of(one: State) -> Summary:
    """What a state says of itself when asked."""
    (answer, *_) = sent(received(one, NOTHING)[1])
    assert isinstance(answer, Summary)
    return answer


def test_equal_summaries_end_an_exchange() -> None:
    before = at(7, waiting(statement(LOG, 9)))
    ours = summary_of(before)
    assert sent(received(before, ours)[1]) == [ours]
    assert sent(received(before, ours, answer=True)[1]) == []


def test_a_different_summary_is_answered_with_a_digest_by_either_side() -> None:
    before = at(7, waiting(statement(TWIN, 9)))
    (_, digest) = sent(received(before, summary_of(state()))[1])
    entries = (DigestEntry(ID, 7, LOG.head(7).root_hash, 1), DigestEntry(ID, 9, TWIN.head(9).root_hash, 2))
    assert digest == Digest(None, 0, entries, False)
    assert sent(received(before, summary_of(state()), answer=True)[1]) == [digest]


def test_convictions_are_announced_when_two_summaries_in_a_row_lack_them() -> None:
    once = received(CONVICTED, summary_of(state()))[1]
    assert [type(message) for message in sent(once)] == [Summary, Digest]
    (_, digest, held) = sent(received(CONVICTED, summary_of(state()), summary_of(state()))[1])[2:]
    assert isinstance(digest, Digest)
    assert [entry.flags for entry in digest.entries] == [5]
    assert isinstance(held, HaveEvidence)
    assert [one.id for one in held.held] == list(CONVICTED.branch(ID).convicted)
    agreed = received(CONVICTED, summary_of(state()), summary_of(CONVICTED), summary_of(state()))[1]
    assert HaveEvidence not in {type(message) for message in sent(agreed)}
    lacking = received(at(9), summary_of(CONVICTED), summary_of(CONVICTED), answer=True)[1]
    assert HaveEvidence not in {type(message) for message in sent(lacking)}


def digest(*heads: tuple[int, bytes, int], origin: bytes = ID, more: bool = False) -> Digest:
    return Digest(None, 0, tuple(DigestEntry(origin, *head) for head in heads), more)


OWN = (7, LOG.head(7).root_hash, 1)


@pytest.mark.parametrize(
    ("before", "theirs", "expected"),
    [
        (at(7), digest(OWN), []),
        (state(), digest(OWN), [GetHeads((ID,))]),
        (at(7), digest((9, LOG.head(9).root_hash, 1), OWN), [GetHeads((ID,))]),
        (at(9), digest((9, TWIN.head(9).root_hash, 1), (9, LOG.head(9).root_hash, 1)), [GetHeads((ID,))]),
        (at(7, waiting(statement(TWIN, 9))), digest(OWN, (9, TWIN.head(9).root_hash, 2)), []),
        (CONVICTED, digest((12, LOG.head(12).root_hash, 1), (9, LOG.head(9).root_hash, 5)), []),
        (at(7), digest((9, bytes(32), 1), origin=b"?" * 32, more=True), []),
    ],
    ids=["same", "nothing yet", "larger", "fork", "pending known", "convicted", "unknown log"],
)
def test_what_a_digest_shows_to_be_new_is_asked_for(before: State, theirs: Digest, expected: list[Known]) -> None:
    assert sent(received(before, theirs, answer=True)[1]) == expected


def test_a_smaller_head_of_a_peer_is_compared_with_the_branch_first() -> None:
    smaller = TreeHead(5, TWIN.head(5).root_hash)
    _, effects = received(at(7), digest(OWN, (5, smaller.root_hash, 1)), answer=True)
    assert effects == [Compare(P, ID, smaller)]
    assert run(at(7), Compared(P, ID, agrees=True))[1] == []
    assert run(at(7), Compared(P, ID, agrees=False))[1] == [Send(P, GetHeads((ID,)))]


def test_a_digest_with_more_heads_of_a_log_than_anybody_holds_is_not_all_compared() -> None:
    entries = tuple(DigestEntry(ID, 5, bytes([number]) * 32, 1) for number in range(200))
    _, effects = received(at(7), Digest(1, 2, entries, False))
    assert sum(isinstance(effect, Compare) for effect in effects) == 1 + MAX_PENDING


def test_wanted_heads_are_sent_and_unknown_logs_skipped() -> None:
    before = at(7, waiting(statement(TWIN, 9)))
    _, effects = received(before, GetHeads((b"?" * 32, ID)))
    assert [message.note for message in sent(effects) if isinstance(message, Head)] == [
        head_of(LOG, 7).raw,
        statement(TWIN, 9).raw,
    ]


# Evidence.


def test_a_log_that_is_wanted_twice_in_one_message_is_answered_once() -> None:
    _, effects = received(at(7, waiting(statement(LOG, 12))), GetHeads((ID,) * 256))
    assert len(sent(effects)) == 2


def bundle(evidence: Evidence, number: int | None = None) -> EvidenceBundle:
    return EvidenceBundle(EVIDENCE_NUMBERS[evidence.type] if number is None else number, evidence.format())


def test_evidence_of_a_peer_convicts_and_goes_on_to_the_others() -> None:
    after, effects = received(at(9), bundle(fork()))
    assert after.branch(ID).convicted
    assert (sent(effects), sent(effects, Q)) == ([], [bundle(fork())])
    assert received(after, bundle(fork())) == (after, [])


def test_a_line_that_nobody_here_verified_is_neither_kept_nor_passed_on_with_evidence() -> None:
    # Another monitor may know the key whose line this pretends to be; it would have to refuse the whole bundle.
    stranger = signer("witness.example/w9", KeyType.COSIGNATURE_ED25519).verifier_key
    first, second = fork().notes
    forged = SignatureLine(stranger.name, stranger.id, bytes(72))
    padded = replace(fork(), notes=(replace(first, signatures=(*first.signatures, forged)), second))
    after, effects = received(at(9), bundle(padded))
    (held,) = after.evidence.values()
    assert held.bundle == fork().format()
    assert (effects[0], sent(effects, Q)) == (Keep(held, fork()), [bundle(fork())])


def test_evidence_is_kept_up_to_a_limit_for_each_key_and_class() -> None:
    now = at(9)
    for size in range(10, 10 + MAX_EVIDENCE):
        now, effects = received(now, bundle(fork(size)))
        assert isinstance(effects[0], Keep)
    assert received(now, bundle(fork(20)))[1] == [Count(Ignored.EVIDENCE_WITHOUT_ROOM)]
    place = next(iter(now.evidence.values())).place
    offered = HaveEvidence((HeldEvidence(*place, b"n" * 32),))
    assert sent(received(now, offered)[1]) == []


def test_of_what_one_cosigner_contradicts_only_so_many_bytes_are_kept_about_all_logs() -> None:
    """No log has to sign anything for it: a cosigner alone could fill memory and disk of everybody."""
    logs = [FakeLog([b"a"], origin=f"log.example/{number}") for number in range(8)]
    known = {origin_id(log.origin): Log(log.origin, (log.key.verifier_key,), policy(log.key)) for log in logs}
    now = replace(state(), rules=replace(RULES, logs=known))
    padding = (b"x" * (MAX_NOTE_BYTES - 1000),)

    def contradiction(log: FakeLog) -> Evidence:
        texts = [Checkpoint(log.origin, 1, Hash(bytes([root]) * 32), padding).format() for root in range(2)]
        notes = (Note(text, (sign_line(OBSERVER, text, 1),)) for text in texts)
        return Evidence(EvidenceType.COSIGNER_SAME_SIZE, tuple(notes))

    effects: list[Effect] = []
    for log in logs:
        now, effects = received(now, bundle(contradiction(log)))
    kept = [len(held.bundle) for held in now.evidence.values()]
    assert MAX_COSIGNER_BYTES <= sum(kept) < MAX_COSIGNER_BYTES + 2 * MAX_NOTE_BYTES
    assert Count(Ignored.EVIDENCE_WITHOUT_ROOM) in effects
    accused = next(iter(now.evidence.values())).place[2]
    offered = HaveEvidence((HeldEvidence(6, origin_id(logs[-1].origin), accused, b"n" * 32),))
    assert sent(received(now, offered)[1]) == []
    other = HaveEvidence((HeldEvidence(6, origin_id(logs[-1].origin), b"o" * 32, b"n" * 32),))
    assert sent(received(now, other)[1]) == [GetEvidence((b"n" * 32,))]


def test_a_log_of_two_rotation_records_is_convicted_and_frozen() -> None:
    one, other = (note(record(new), LOG.key) for new in ("one", "other"))
    evidence = rotation(one, other, LOG.key.verifier_key)
    after, effects = received(at(9), bundle(evidence, 11))
    assert after.branch(ID).convicted == (next(iter(after.evidence)),)
    assert sent(effects, Q) == [bundle(evidence, 11)]


def test_a_cosigner_of_two_subtrees_is_convicted_and_the_log_is_not() -> None:
    cosigner = signer("monitor.example/parts", KeyType.COSIGNATURE_MLDSA44)
    before = replace(at(9), rules=replace(RULES, observers=(cosigner.verifier_key,), keyring={}))
    evidence = subtree(note(part(b"one"), cosigner), note(part(b"other"), cosigner), cosigner.verifier_key)
    after, _ = received(before, bundle(evidence, 9))
    (held,) = after.evidence.values()
    assert (held.conviction.accused, after.branch(ID).convicted) == (cosigner.verifier_key, ())


FOREIGN = FakeLog([b"a", b"b"], origin="log.example/other")


def foreign_fork() -> Evidence:
    twin = FakeLog([b"a", b"c"], origin=FOREIGN.origin, key=FOREIGN.key)
    keys = (FOREIGN.key.verifier_key,)
    return same_size(open_checkpoint(FOREIGN.sign(2, ()), keys), open_checkpoint(twin.sign(2, ()), keys))


def unknown_key_fork() -> Evidence:
    one, other = (FakeLog([entry], key=signer("another")) for entry in (b"a", b"b"))
    keys = (one.key.verifier_key,)
    return same_size(open_checkpoint(one.sign(1, ()), keys), open_checkpoint(other.sign(1, ()), keys))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (bundle(foreign_fork()), Count(Ignored.EVIDENCE_OF_UNKNOWN_LOG)),
        (bundle(unknown_key_fork()), Count(Ignored.EVIDENCE_UNDER_UNKNOWN_KEY)),
        (bundle(fork(), 4), Refuse("evidence is refused: the bundle is of another class than the message says")),
        (EvidenceBundle(2, b"nonsense"), None),
        (EvidenceBundle(2, fork().format().replace(b"\n9\n", b"\n8\n")), Count(Ignored.EVIDENCE_UNDER_UNKNOWN_KEY)),
        (bundle(Evidence(EvidenceType.SAME_SIZE, (statement(LOG, 9).note, statement(LOG, 9).note))), None),
    ],
    ids=["unknown log", "unknown key", "wrong class", "no bundle", "forged", "proves nothing"],
)
def test_evidence_that_convicts_nobody_here_changes_nothing(message: EvidenceBundle, expected: Effect | None) -> None:
    after, effects = received(at(9), message)
    assert after == at(9)
    assert effects == [expected] if expected else isinstance(effects[0], Refuse)


def cosigned_twice() -> Evidence:
    """Evidence against the first witness."""
    one, other = head_of(LOG, 9, WITNESSES[:1]), head_of(TWIN, 9, WITNESSES[:1])
    return cosigner_same_size(one, other, WITNESSES[0].verifier_key)


def test_a_convicted_witness_does_not_count_towards_a_quorum_any_more() -> None:
    now, effects = received(at(7), bundle(cosigned_twice()))
    assert isinstance(effects[0], Keep)
    assert now.branch(ID).convicted == ()
    after, _ = run(now, HeadSeen(ID, LOG.sign(9, WITNESSES[:2])))
    assert [pending.quorum for pending in after.branch(ID).pending] == [False]
    after, _ = run(now, HeadSeen(ID, LOG.sign(9, WITNESSES[1:])))
    assert [pending.quorum for pending in after.branch(ID).pending] == [True]


def test_a_convicted_witness_does_not_count_under_another_of_its_keys_either() -> None:
    second_key = signer(WITNESSES[0].name, KeyType.COSIGNATURE_MLDSA44)
    log = Log(ORIGIN, KEYS[:1], policy(LOG.key, (*WITNESSES, second_key)))
    now, _ = received(replace(at(7), rules=replace(RULES, logs={ID: log})), bundle(cosigned_twice()))
    after, _ = run(now, HeadSeen(ID, LOG.sign(9, (WITNESSES[1], second_key))))
    assert [pending.quorum for pending in after.branch(ID).pending] == [False]


def test_an_observer_that_signs_two_views_is_convicted_too() -> None:
    texts = [Checkpoint(ORIGIN, 9, tree.head(9).root_hash).format() for tree in (LOG, TWIN)]
    notes = [Note(text, (sign_line(OBSERVER, text),)) for text in texts]
    views = [open_checkpoint(note, (OBSERVER.verifier_key,)) for note in notes]
    evidence = cosigner_same_size(views[0], views[1], OBSERVER.verifier_key)
    after, effects = received(at(9), bundle(evidence))
    assert (isinstance(effects[0], Keep), after.branch(ID).convicted) == (True, ())


def test_wanted_evidence_is_asked_for_and_sent() -> None:
    (id_,) = CONVICTED.evidence
    place = CONVICTED.evidence[id_].place
    offered = HaveEvidence(
        (
            HeldEvidence(*place, id_),
            HeldEvidence(99, ID, bytes(32), b"1" * 32),
            HeldEvidence(2, b"?" * 32, bytes(32), b"2" * 32),
        )
    )
    assert sent(received(at(9), offered)[1]) == [GetEvidence((id_,))]
    assert sent(received(CONVICTED, offered)[1]) == []
    _, effects = received(CONVICTED, GetEvidence((b"?" * 32, id_)))
    assert effects == [Count(Ignored.UNKNOWN_EVIDENCE), Send(P, bundle(fork()))]


# Adjudication.


def read(level: int, index: int) -> Hash:
    return LOG.node(level, index)


def missing(level: int, index: int) -> Hash:
    raise MissingTile(5)


def rotten(level: int, index: int) -> Hash:
    return Hash(bytes(32))


def convicts(outcome: object, kind: EvidenceType) -> bool:
    return isinstance(outcome, Forked) and outcome.evidence.type == kind


def test_an_empty_head_is_right_or_a_conviction() -> None:
    right, wrong = LOG.sign(0), LOG.sign(head=TreeHead(0, Hash(bytes(32))))
    assert adjudicate(None, signed(right), (), read, {}) == OnBranch()
    assert convicts(adjudicate(None, signed(wrong), (), read, {}), EvidenceType.BAD_EMPTY_HEAD)


@pytest.mark.parametrize("size", range(1, 10))
def test_heads_up_to_the_branch_are_decided_by_the_branch_alone(size: int) -> None:
    own = head_of(LOG, 9)
    assert adjudicate(own, statement(LOG, size), (), read, {}) == OnBranch()
    if size > 6:
        kind = EvidenceType.SAME_SIZE if size == 9 else EvidenceType.NON_CONSISTENT
        assert convicts(adjudicate(own, statement(TWIN, size), (), read, {}), kind)


def test_two_signed_heads_of_one_size_need_no_tree() -> None:
    known = {8: [statement(LOG, 8)]}
    for own in (None, head_of(LOG, 7), head_of(LOG, 9)):
        assert convicts(adjudicate(own, statement(TWIN, 8), (), read, known), EvidenceType.SAME_SIZE)
    assert adjudicate(None, statement(LOG, 8), (), read, known) == Undecided()


@pytest.mark.parametrize("own", [None, head_of(LOG, 7)], ids=["no branch", "a branch"])
def test_a_size_that_somebody_names_is_never_read_beyond_the_mirror(own: SignedCheckpoint | None) -> None:
    def no_further(level: int, index: int) -> Hash:
        if own is None or (index + 1) << level > own.size:
            raise AssertionError("beyond the mirror")
        return read(level, index)

    # A candidate of size 30 brings the heads of that size into play, although nothing of them is here.
    known = {8: [statement(LOG, 8)], 30: [statement(LOG, 30)]}
    named = Candidate(30, None, ())
    assert convicts(adjudicate(own, statement(TWIN, 8), (named,), no_further, known), EvidenceType.SAME_SIZE)


def test_a_larger_head_is_decided_by_the_first_proof_that_leads_to_it() -> None:
    own, root = head_of(LOG, 9), LOG.head(9).root_hash
    right = Candidate(9, None, LOG.proof(9, 12))
    fork_ = Candidate(9, TWIN.head(9).root_hash, TWIN.proof(9, 12))
    useless = [
        Candidate(0, None, ()),
        Candidate(10, None, LOG.proof(10, 12)),
        Candidate(9, None, ()),
        Candidate(9, root, LOG.proof(9, 13)),
        Candidate(7, None, LOG.proof(7, 12)),
    ]
    larger, twin = statement(LOG, 12), statement(TWIN, 12)
    assert adjudicate(own, larger, useless, read, {}) == Undecided()
    assert adjudicate(own, larger, [*useless, right], read, {}) == Extends(Candidate(9, root, right.path))
    assert adjudicate(own, twin, [right], read, {}) == Undecided()
    assert convicts(adjudicate(own, twin, [*useless, fork_], read, {}), EvidenceType.NON_CONSISTENT)


def test_a_proof_from_an_earlier_size_convicts_if_that_size_was_signed() -> None:
    own, twin = head_of(LOG, 9), statement(TWIN, 12)
    candidate = Candidate(7, TWIN.head(7).root_hash, TWIN.proof(7, 12))
    assert adjudicate(own, twin, [candidate], read, {}) == Undecided()
    known = {7: [statement(TWIN, 7), statement(LOG, 7)]}
    assert convicts(adjudicate(own, twin, [candidate], read, known), EvidenceType.NON_CONSISTENT)
    assert adjudicate(own, twin, [candidate], missing, known) == Undecided()


def test_what_the_mirror_dropped_is_named() -> None:
    assert adjudicate(head_of(LOG, 9), statement(LOG, 5), (), missing, {}) == NeedsTile(5)


def test_a_rotten_mirror_convicts_nobody() -> None:
    assert adjudicate(head_of(LOG, 9), statement(LOG, 5), (), rotten, {}) == Unprovable()


def test_the_sizes_of_heads_that_may_matter_are_named() -> None:
    own, small, large = head_of(LOG, 9), statement(LOG, 5), statement(LOG, 12)
    candidates = [Candidate(7, None, ()), Candidate(9, None, ())]
    sizes = [candidate_sizes(one, head, candidates) for one, head in ((None, large), (own, small), (own, large))]
    assert sizes == [{12}, {5}, {7, 9, 12}]


def test_a_head_whose_text_fills_a_note_is_told_without_the_lines_that_find_no_room() -> None:
    short = LOG.sign(9, WITNESSES[:2], extensions=(b"x",))
    one = signed(LOG.sign(9, WITNESSES[:2], extensions=(b"x" * (1 + MAX_NOTE_BYTES - len(short)),)))
    head = verified_head(ID, Branch(one, line=sign_line(OBSERVER, one.note.text).format()))
    assert head.note == one.raw
    assert parse_message(unpack(pack(format_message(head)))) == head


def test_evidence_of_a_class_of_a_later_version_is_no_reason_to_refuse_what_follows_it() -> None:
    true = same_size(statement(LOG, 9), statement(TWIN, 9))
    _, effects = run(
        state(), Received(P, (EvidenceBundle(12, b"later"), EvidenceBundle(2, true.format())), answer=False)
    )
    assert Count(Ignored.UNKNOWN_EVIDENCE) in effects
    assert [effect.held.bundle for effect in effects if isinstance(effect, Keep)] == [true.format()]


def test_evidence_is_passed_on_with_the_lines_of_the_accused_alone() -> None:
    """Where one does not know the accused, an honest key's lines beside its own would be judged, and found honest."""
    large, small = statement(LOG, 20).note.text, statement(LOG, 9).note.text
    notes = [
        Note(text, (sign_line(OBSERVER, text, time), sign_line(WITNESSES[0], text, 100 - time)))
        for text, time in ((large, 1), (small, 2))
    ]
    shown = Evidence(EvidenceType.COSIGNER_ROLLBACK, tuple(notes))
    _, effects = run(state(), Received(P, (EvidenceBundle(6, shown.format()),), answer=False))
    (kept,) = (effect for effect in effects if isinstance(effect, Keep))
    assert [len(note.signatures) for note in Evidence.parse(kept.held.bundle).notes] == [1, 1]
