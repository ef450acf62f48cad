"""What a peer may cause: so much in a second, and evidence apart from the rest. Announced evidence is fetched once."""

from dataclasses import replace

import pytest

from gossip.core import (
    Adjudicate,
    Adjudicated,
    Count,
    EvidenceShown,
    Forked,
    Ignored,
    Keep,
    Refuse,
    State,
    Stated,
    StatementShown,
    Tick,
    Weigh,
    wake_ms,
)
from gossip.core.budget import EVIDENCE, REQUESTS, Kind, checks, spend
from gossip.core.state import (
    ANNOUNCED_BYTES,
    EAGER_LINKS,
    EVIDENCE_NUMBERS,
    MAX_JUDGED,
    MAX_OFFERS,
    OFFER_MS,
    Budget,
    Contact,
    Offer,
)
from gossip.messages import (
    MAX_GET_EVIDENCE,
    MAX_SIGNATURE_LINES,
    Consistency,
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
)
from tests.fakes_log import WITNESSES, sign_line, signer
from tests.machine import ID, LOG, OBSERVER, RULES, TWIN, P, Q, head_of, monitor, received, run, sent, statement
from tlog.evidence import Evidence, EvidenceType, cosigner_same_size, same_size
from tlog.keys import KeyType
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

OVER = Count(Ignored.PEER_OVER_BUDGET)


def spends(kind: Kind, times: int, now_ms: int, budget: Budget | None = None) -> int:
    """How often somebody who tries so often succeeds."""
    done = 0
    for _ in range(times):
        left = spend(budget, kind, 1, now_ms, 1)
        if left is not None:
            budget, done = left, done + 1
    return done


@pytest.mark.parametrize(
    ("kind", "rate"), [(Kind.CHECKS, checks(1)), (Kind.REQUESTS, REQUESTS), (Kind.EVIDENCE, EVIDENCE)]
)
def test_a_budget_is_a_burst_and_so_much_a_second(kind: Kind, rate: tuple[int, int]) -> None:
    per_second, burst = rate
    assert spends(kind, 2 * burst, 0) == burst
    assert spends(kind, 2 * burst, 1000, Budget(0, 0, 0, 0)) == per_second
    assert spends(kind, 2 * burst, 10**9, Budget(0, 0, 0, 0)) == burst


def test_many_logs_need_many_checks() -> None:
    assert [checks(logs) for logs in (1, 10, 100)] == [(50, 512), (50, 512), (500, 4000)]


def test_what_costs_more_than_is_left_costs_nothing() -> None:
    assert spend(Budget(5000, 0, 0, 0), Kind.CHECKS, 6, 0, 1) is None


def poor(**left: int) -> State:
    rest = {"checks": 0, "requests": 0, "evidence": 0, **left}
    return replace(monitor(9), contacts={P: Contact(budget=Budget(**rest, at_ms=0))})


FORK = same_size(statement(LOG, 9), statement(TWIN, 9))
BUNDLE = EvidenceBundle(EVIDENCE_NUMBERS[FORK.type], FORK.format())


@pytest.mark.parametrize(
    "message",
    [
        Head(ID, head_of(LOG, 12).raw, 1, None, ()),
        Summary(1, 1, b"f" * 32, b"c" * 32, 0, 0, 0),
        GetHeads((ID,)),
        GetConsistency(ID, 3, 5),
        GetTile(ID, 0, 0, 5),
        GetEvidence((b"e" * 32,)),
        BUNDLE,
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_a_peer_cannot_pay_for_is_dropped_and_not_refused(message: Message) -> None:
    after, effects = received(poor(), message)
    assert (effects, after.branches) == ([OVER], poor().branches)
    assert received(poor(), message, peer=Q)[1] != [OVER]


def test_each_head_that_is_asked_for_is_paid_for_however_many_one_message_names() -> None:
    assert received(poor(requests=1000), GetHeads((ID,)))[1] == [OVER]
    assert len(sent(received(poor(requests=1000, checks=1000), GetHeads((ID, ID, b"?" * 32)))[1])) == 1


def test_a_statement_that_a_client_showed_is_weighed() -> None:
    head = head_of(LOG, 5)
    assert run(monitor(9), StatementShown(ID, head))[1] == [Weigh(ID, head)]


def test_an_observer_s_line_that_comes_late_for_another_head_is_dropped() -> None:
    late = Stated(ID, b"line", head_of(LOG, 5).head)
    assert run(monitor(9), late) == (monitor(9), [])
    assert run(monitor(9), replace(late, head=head_of(LOG, 9).head))[0].branch(ID).line == b"line"


def test_what_costs_nothing_is_free() -> None:
    free: tuple[Known, ...] = (
        Consistency(ID, 3, 5, b"r" * 32, b"r" * 32, ()),
        TileData(ID, 0, 0, b""),
        Head(ID, head_of(LOG, 9).raw, 1, None, ()),
        HaveEvidence(()),
    )
    assert OVER not in received(poor(), *free)[1]


def test_only_lines_that_have_to_be_verified_are_paid_for() -> None:
    text = head_of(LOG, 9).note.text
    observed = head_of(LOG, 9).raw + sign_line(OBSERVER, text).format()
    strange = signer("monitor.example/stranger", KeyType.COSIGNATURE_ED25519)
    unknown = head_of(LOG, 9).raw + sign_line(strange, text).format()
    assert received(poor(checks=1000), Head(ID, observed, 1, None, ()))[1] != [OVER]
    assert received(poor(), Head(ID, observed, 1, None, ()))[1] == [OVER]
    assert received(poor(), Head(ID, unknown, 1, None, ()))[1] == []
    assert received(poor(checks=3000), Head(ID, head_of(LOG, 12).raw, 1, None, ()))[1] == [OVER]


def test_a_line_that_was_verified_is_believed_only_under_the_same_text() -> None:
    forged = head_of(LOG, 9).raw.replace(b"\n9\n", b"\n8\n")
    assert [type(effect) for effect in received(monitor(9), Head(ID, forged, 1, None, ()))[1]] == [Refuse]


def test_a_flood_of_heads_keeps_no_evidence_out() -> None:
    assert isinstance(received(poor(evidence=1000), BUNDLE)[1][0], Keep)


# Evidence: the same bytes are verified once.


def test_the_same_bytes_are_not_verified_again_whoever_sends_them() -> None:
    bad = EvidenceBundle(2, b"nonsense")
    now, first = received(monitor(9), bad)
    again, second = received(now, bad, peer=Q)
    assert (first, again.judged) == (second, now.judged)
    assert Q not in {peer for peer, contact in again.contacts.items() if contact.budget}
    kept, _ = received(monitor(9), BUNDLE)
    assert received(kept, BUNDLE, peer=Q)[1] == []


def test_a_wrong_class_does_not_spoil_a_bundle_for_others() -> None:
    now, effects = received(monitor(9), EvidenceBundle(4, BUNDLE.bundle))
    assert [type(effect) for effect in effects] == [Refuse]
    assert isinstance(received(now, BUNDLE, peer=Q)[1][0], Keep)


def test_only_so_many_bundles_are_remembered() -> None:
    now = monitor(9)
    for number in range(MAX_JUDGED + 3):
        now, _ = run(now, EvidenceShown(b"nonsense %d" % number))
    assert len(now.judged) == MAX_JUDGED


def test_evidence_of_a_stranger_convicts_or_is_refused() -> None:
    after, effects = run(monitor(9), EvidenceShown(BUNDLE.bundle))
    assert isinstance(effects[0], Keep)
    assert (len(sent(effects)), len(sent(effects, Q))) == (1, 1)
    assert run(after, EvidenceShown(BUNDLE.bundle))[1] == []
    assert [type(effect) for effect in run(monitor(9), EvidenceShown(b"nonsense"))[1]] == [Refuse]


# Large evidence is announced, and fetched from one peer after the other.


LARGE = signer("witness.example/pq", KeyType.COSIGNATURE_MLDSA44)
PQ_RULES = replace(RULES, observers=(LARGE.verifier_key,), keyring={})


def large() -> Evidence:
    texts = [statement(tree, 9).note.text for tree in (LOG, TWIN)]
    notes = [Note(text, (sign_line(LARGE, text),)) for text in texts]
    one, other = (open_checkpoint(note, (LARGE.verifier_key,)) for note in notes)
    return cosigner_same_size(one, other, LARGE.verifier_key)


PQ_BUNDLE = EvidenceBundle(EVIDENCE_NUMBERS[EvidenceType.COSIGNER_SAME_SIZE], large().format())


def test_large_evidence_is_announced_and_small_evidence_is_sent() -> None:
    assert len(PQ_BUNDLE.bundle) > ANNOUNCED_BYTES > len(BUNDLE.bundle)
    after, effects = received(monitor(9, rules=PQ_RULES), PQ_BUNDLE)
    (id_,) = after.evidence
    assert sent(effects, Q) == [HaveEvidence((HeldEvidence(*after.evidence[id_].place, id_),))]
    assert sent(received(after, GetEvidence((id_,)), peer=Q)[1], Q) == [PQ_BUNDLE]
    assert sent(run(monitor(9), EvidenceShown(BUNDLE.bundle))[1], Q) == [BUNDLE]


def test_many_links_get_small_evidence_or_its_name_each_one_of_them() -> None:
    links = tuple(bytes([number]) * 32 for number in range(EAGER_LINKS + 20))
    chosen = []
    for seed in (1, 2):
        after, effects = run(replace(monitor(9), outbound=links), EvidenceShown(BUNDLE.bundle), seed=seed)
        (id_,) = after.evidence
        name = HaveEvidence((HeldEvidence(*after.evidence[id_].place, id_),))
        assert all(sent(effects, link) in ([BUNDLE], [name]) for link in links)
        chosen.append([link for link in links if sent(effects, link) == [BUNDLE]])
    assert [len(some) for some in chosen] == [EAGER_LINKS] * 2
    assert chosen[0] != chosen[1]


def offer(*ids: bytes) -> HaveEvidence:
    return HaveEvidence(tuple(HeldEvidence(2, ID, b"a" * 32, id_) for id_ in ids))


def test_announced_evidence_is_asked_of_one_peer_and_then_of_the_next() -> None:
    ids = [bytes([number]) * 32 for number in range(2)]
    now, effects = received(monitor(9), offer(*ids))
    assert sent(effects) == [GetEvidence(tuple(ids))]
    now, effects = received(now, offer(ids[1]), peer=Q, now_ms=5)
    assert (sent(effects, Q), wake_ms(now)) == ([], OFFER_MS)
    assert run(now, Tick(), OFFER_MS - 1) == (now, [])
    now, effects = run(now, Tick(), OFFER_MS)
    assert (sent(effects), sent(effects, Q)) == ([], [GetEvidence((ids[1],))])
    assert run(now, Tick(), 2 * OFFER_MS)[0].offers == {}


def test_evidence_that_came_is_not_asked_for_again_nor_sent_to_who_announced_it() -> None:
    after, _ = received(monitor(9), BUNDLE)
    (id_,) = after.evidence
    held = HaveEvidence((HeldEvidence(*after.evidence[id_].place, id_),))
    now, _ = received(monitor(9), held, peer=Q)
    now, effects = received(now, BUNDLE)
    assert (now.offers, sent(effects), sent(effects, Q)) == ({}, [], [])


def test_only_so_much_is_asked_for() -> None:
    ids = [number.to_bytes(32, "big") for number in range(MAX_OFFERS + 5)]
    now, effects = received(monitor(9), offer(*ids[:40]), offer(*ids[40:]))
    asked = [message.ids for message in sent(effects) if isinstance(message, GetEvidence)]
    assert (len(now.offers), sum(map(len, asked)), max(map(len, asked))) == (MAX_OFFERS, MAX_OFFERS, MAX_GET_EVIDENCE)
    many = now
    for number in range(20):
        many, _ = received(many, offer(ids[0]), peer=bytes([number]) * 32)
    assert len(many.offers[ids[0]].others) == 8
    assert Offer(P, 0) == now.offers[ids[1]]


def test_a_verdict_beyond_those_kept_is_counted_also_when_it_is_our_own() -> None:
    now = monitor(9)
    for size in range(9, 13):
        now, _ = run(now, EvidenceShown(same_size(statement(LOG, size), statement(TWIN, size)).format()))
    one_more = same_size(statement(LOG, 13), statement(TWIN, 13))
    assert run(now, EvidenceShown(one_more.format()))[1] == [Count(Ignored.EVIDENCE_WITHOUT_ROOM)]
    witness = WITNESSES[0]
    against = [cosigner_same_size(head_of(LOG, n), head_of(TWIN, n), witness.verifier_key) for n in range(9, 14)]
    late = Forked(FORK, tuple(against))
    _, effects = run(monitor(9), Adjudicated(ID, statement(TWIN, 9), late))
    assert Count(Ignored.EVIDENCE_WITHOUT_ROOM) in effects


def test_evidence_about_a_smaller_tree_takes_the_place_of_the_largest_and_is_told_if_it_is_half_as_large() -> None:
    def about(size: int) -> EvidenceShown:
        return EvidenceShown(same_size(statement(LOG, size), statement(TWIN, size)).format())

    now = monitor(9)
    for size in (40, 39, 38, 37):
        now, _ = run(now, about(size))
    assert run(now, about(40 - 3))[1] == []
    largest, smaller = (next(id_ for id_, held in now.evidence.items() if held.since == size) for size in (40, 39))
    now, effects = run(now, about(30))
    (keep,) = effects
    assert isinstance(keep, Keep)
    assert (keep.held.since, keep.instead, largest in now.evidence) == (30, largest, False)
    assert sorted(held.since for held in now.evidence.values()) == [30, 37, 38, 39]
    assert set(now.branch(ID).convicted) == set(now.evidence)
    now, (keep, *told) = run(now, about(15))
    assert isinstance(keep, Keep)
    assert (keep.instead, [type(one).__name__ for one in told]) == (smaller, ["Send", "Send", "Raise"])
    assert run(now, about(16))[1] == [Count(Ignored.EVIDENCE_WITHOUT_ROOM)]


def test_a_peer_that_makes_up_names_keeps_nobody_elses_evidence_from_being_asked_for() -> None:
    made_up = [number.to_bytes(32, "big") for number in range(MAX_OFFERS)]
    now, _ = received(monitor(9), offer(*made_up))
    _, effects = received(now, offer(bytes([9]) * 32), peer=Q)
    assert sent(effects, Q) == [GetEvidence((bytes([9]) * 32,))]


def test_a_peer_that_announces_something_again_and_again_takes_the_place_of_no_other_to_ask() -> None:
    id_ = bytes([9]) * 32
    now, _ = received(monitor(9), *(offer(id_) for _ in range(20)))
    now, _ = received(now, offer(id_), peer=Q)
    assert now.offers[id_].others == (Q,)
    _, effects = run(now, Tick(), now_ms=OFFER_MS)
    assert sent(effects, Q)[-1] == GetEvidence((id_,))


def test_a_peer_that_only_sums_up_is_answered_so_many_times() -> None:
    summary = Summary(1, 1, bytes(32), bytes(32), 0, 0, 0)
    _, effects = received(monitor(9), *(summary for _ in range(2 * REQUESTS.burst)))
    assert effects.count(OVER) == REQUESTS.burst


def test_proofs_about_a_head_that_is_known_are_paid_for_too() -> None:
    larger = head_of(LOG, 12)
    now, _ = received(monitor(9), Head(ID, larger.raw, 2, None, ()))
    proof = Consistency(ID, 9, 12, bytes(32), larger.root_hash, ())
    again = Head(ID, larger.raw, 2, 9, ())
    for message in (proof, again):
        assert any(isinstance(one, Adjudicate) for one in received(now, message)[1])
        spent = replace(now.contacts[P], budget=Budget(0, 0, 0, 0))
        _, effects = received(replace(now, contacts={P: spent}), message)
        assert OVER in effects
        assert not any(isinstance(one, Adjudicate) for one in effects)


def test_the_logs_line_is_sent_wherever_it_stood_among_many() -> None:
    signed = head_of(LOG, 9)
    own, witness = signed.signatures[0], signed.signatures[1]
    many = (*(MAX_SIGNATURE_LINES - 1) * (witness,), own)
    last = replace(signed, note=Note(signed.note.text, tuple(one.line for one in many)), signatures=many)
    (head,) = sent(received(monitor_at(last), GetHeads((ID,)))[1])
    assert isinstance(head, Head)
    assert Note.parse(head.note).signatures[0] == own.line


def monitor_at(signed: SignedCheckpoint) -> State:
    now = monitor(9)
    return replace(now, branches={ID: replace(now.branch(ID), signed=signed)})
