"""Cosigners of both sides of a fork, and openings: what adjudication finds beside the log's own fork."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gossip.core import (
    Adjudicate,
    Adjudicated,
    Branch,
    Candidate,
    Extends,
    Forked,
    HeadSeen,
    JudgeOpening,
    Keep,
    MissingTile,
    NeedsTile,
    OnBranch,
    OpeningJudged,
    OpeningShown,
    Outcome,
    Refuse,
    SeekTile,
    Stated,
    Undecided,
    Unprovable,
    adjudicate,
    judge_opening,
)
from gossip.messages import GetHeads, Head
from tests.fakes_log import WITNESSES, FakeLog, policy, sign_line
from tests.machine import ID, KEYS, LOG, OWN, TWIN, Q, head_of, monitor, received, run, sent, statement
from tlog.evidence import EvidenceType, verify_evidence
from tlog.hashing import Hash
from tlog.note import Note
from tlog.opening import TruncatedProof
from tlog.proofs import prove_subtree_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

POLICY = policy(LOG.key)
W1, W2, W3 = WITNESSES


def found(outcome: Outcome) -> list[tuple[str, str]]:
    """Who is convicted of what besides the log, and by evidence that a stranger verifies."""
    assert isinstance(outcome, Forked)
    verdicts = [(one.type.value, verify_evidence(one, KEYS, POLICY).accused.name) for one in outcome.others]
    return sorted(verdicts)


def judge(
    own: SignedCheckpoint,
    head: SignedCheckpoint,
    candidates: Sequence[Candidate] = (),
    cosigned: Sequence[SignedCheckpoint] = (),
    known: Sequence[SignedCheckpoint] = (),
) -> Outcome:
    return adjudicate(own, head, candidates, LOG.node, {one.size: [one] for one in known}, cosigned, POLICY)


def test_cosigners_of_both_heads_of_one_size_are_convicted() -> None:
    outcome = judge(head_of(LOG, 9, (W1, W2)), head_of(TWIN, 9, (W2, W3)))
    assert found(outcome) == [("cosigner-same-size", W2.name), ("quorum-split", LOG.origin)]


def test_cosigners_of_a_smaller_fork_are_convicted_by_the_branch() -> None:
    outcome = judge(head_of(LOG, 12, (W1, W2)), head_of(TWIN, 9, (W1,)))
    assert found(outcome) == [("cosigner-non-consistent", W1.name)]


def test_cosigners_of_a_larger_fork_are_convicted_by_the_proof_that_somebody_presented() -> None:
    candidate = Candidate(9, TWIN.head(9).root_hash, TWIN.proof(9, 12))
    outcome = judge(head_of(LOG, 9, (W1, W2)), head_of(TWIN, 12), [candidate])
    assert found(outcome) == [
        ("cosigner-non-consistent", W1.name),
        ("cosigner-non-consistent", W2.name),
        ("quorum-split", LOG.origin),
    ]


def test_what_a_cosigner_signed_elsewhere_on_the_branch_convicts_as_well() -> None:
    own = statement(LOG, 12)
    outcome = judge(own, head_of(TWIN, 9, (W3,)), cosigned=(head_of(LOG, 11, (W3,)), head_of(LOG, 8, (W3,))))
    assert found(outcome) == [("cosigner-non-consistent", W3.name)]
    assert found(judge(own, head_of(TWIN, 9, (W3,)), cosigned=(head_of(LOG, 5, (W3,)),))) == []
    assert found(judge(own, head_of(TWIN, 9, (W3,)), cosigned=(head_of(TWIN, 11, (W3,)),))) == []


def test_a_proof_between_other_sizes_convicts_nobody_else() -> None:
    candidates = [
        Candidate(9, TWIN.head(9).root_hash, TWIN.proof(9, 12)),
        Candidate(8, LOG.head(8).root_hash, ()),
    ]
    outcome = judge(statement(LOG, 9), head_of(TWIN, 12, (W1,)), candidates, cosigned=(head_of(LOG, 8, (W1,)),))
    assert found(outcome) == []


def test_a_split_needs_a_quorum_on_both_sides_and_a_policy_that_asks_for_one() -> None:
    assert found(judge(head_of(LOG, 9, (W1,)), head_of(TWIN, 9))) == [("cosigner-same-size", W1.name)]
    own, head = head_of(LOG, 9, (W1, W2)), head_of(TWIN, 9, (W3,))
    assert found(judge(own, head)) == []
    none = policy(LOG.key, (), None)
    outcome = adjudicate(head_of(LOG, 9, (W2,)), head_of(TWIN, 9, (W2,)), (), LOG.node, {}, (), none)
    assert found(outcome) == [("cosigner-same-size", W2.name)]


def test_two_heads_of_one_size_need_no_branch() -> None:
    outcome = adjudicate(None, head_of(TWIN, 9), (), LOG.node, {9: [head_of(LOG, 9, (W1,))]})
    assert found(outcome) == [("cosigner-same-size", W1.name)]


def test_another_note_of_the_same_head_contradicts_nothing() -> None:
    outcome = judge(statement(LOG, 9), head_of(TWIN, 9, (W1,)), cosigned=(head_of(TWIN, 9, (W1,)),))
    assert found(outcome) == []


def test_what_the_log_did_not_sign_splits_no_quorum_and_convicts_its_cosigners_all_the_same() -> None:
    text = head_of(LOG, 9).note.text
    bare = Note(text, tuple(sign_line(witness, text) for witness in (W1, W2)))
    outcome = judge(statement(LOG, 12), head_of(TWIN, 9, (W1, W2)), cosigned=(open_checkpoint(bare, KEYS),))
    assert found(outcome) == [("cosigner-same-size", W1.name), ("cosigner-same-size", W2.name)]


def test_a_missing_tile_spares_the_others_only() -> None:
    def missing(level: int, index: int) -> Hash:
        raise MissingTile(5)

    own, head, known = head_of(LOG, 12), head_of(TWIN, 9), head_of(LOG, 9, (W1,))
    outcome = adjudicate(own, head, (), missing, {9: [known]}, (), POLICY)
    assert found(outcome) == [("cosigner-same-size", W1.name)]


def test_a_bad_empty_head_concerns_the_log_alone() -> None:
    wrong = replace(LOG.head(0), root_hash=Hash(bytes(32)))
    note = LOG.sign(head=wrong)
    outcome = judge(head_of(LOG, 9), run(monitor(9), HeadSeen(ID, note))[1][1].signed)  # type: ignore[union-attr]
    assert (isinstance(outcome, Forked), found(outcome)) == (True, [])


def test_everybody_on_both_sides_is_convicted_in_one_step() -> None:
    own, head = head_of(LOG, 9), head_of(TWIN, 9)
    outcome = judge(own, head)
    after, effects = run(monitor(9), Adjudicated(ID, head, outcome))
    kept = [effect.held.conviction.type for effect in effects if isinstance(effect, Keep)]
    assert kept == [
        EvidenceType.SAME_SIZE,
        *[EvidenceType.COSIGNER_SAME_SIZE] * 3,
        EvidenceType.QUORUM_SPLIT,
    ]
    assert len(after.branch(ID).convicted) == 2


# Openings.


def opening(tree: FakeLog, level: int, index: int, size: int) -> TruncatedProof:
    path = prove_subtree_consistency(index << level, (index + 1) << level, size, tree.node)
    return TruncatedProof(level, index, tree.node(level, index), tuple(path), statement(tree, size).note)


@pytest.mark.parametrize(("size", "level", "index"), [(30, 0, 7), (30, 1, 3), (30, 2, 1), (9, 3, 0), (12, 1, 5)])
def test_an_opening_that_differs_from_the_branch_convicts_whatever_the_size_of_its_tree(
    size: int, level: int, index: int
) -> None:
    outcome = judge_opening(statement(LOG, 12), statement(TWIN, size), opening(TWIN, level, index, size), LOG.node)
    assert isinstance(outcome, Forked)
    assert outcome.evidence.type is EvidenceType.OPENINGS
    assert verify_evidence(outcome.evidence, KEYS[:1]).accused == LOG.key.verifier_key


def test_an_opening_of_what_the_branch_holds_shows_no_fork() -> None:
    assert judge_opening(statement(LOG, 12), statement(TWIN, 30), opening(TWIN, 2, 0, 30), LOG.node) == OnBranch()


def test_an_opening_beyond_the_branch_waits_for_it() -> None:
    shown = opening(TWIN, 3, 1, 30)
    assert judge_opening(statement(LOG, 12), statement(TWIN, 30), shown, LOG.node) == Undecided()
    assert judge_opening(None, statement(TWIN, 30), shown, LOG.node) == Undecided()


def test_an_opening_that_does_not_lead_to_its_head_shows_nothing() -> None:
    head = statement(TWIN, 30)
    good = opening(TWIN, 0, 7, 30)
    for bad in (replace(good, node=Hash(bytes(32))), replace(good, path=good.path[1:])):
        assert judge_opening(statement(LOG, 12), head, bad, LOG.node) == Undecided()


def test_what_the_mirror_dropped_or_damaged_is_told() -> None:
    def missing(level: int, index: int) -> Hash:
        raise MissingTile(3)

    def rotten(level: int, index: int) -> Hash:
        return Hash(bytes(32))

    head, shown = statement(TWIN, 30), opening(TWIN, 0, 7, 30)
    assert judge_opening(statement(LOG, 12), head, shown, missing) == NeedsTile(3)
    assert judge_opening(statement(LOG, 12), head, shown, rotten) == Unprovable()


def test_a_client_s_opening_is_judged_after_its_head_is_remembered() -> None:
    shown, head = opening(TWIN, 0, 7, 30), statement(TWIN, 30)
    after, effects = run(monitor(9), OpeningShown(ID, head.raw, shown))
    assert [type(effect).__name__ for effect in effects] == ["Remember", "Adjudicate", "JudgeOpening"]
    again = run(after, OpeningShown(ID, head.raw, shown))[1]
    assert again == [JudgeOpening(ID, head, shown)]
    own = run(monitor(9), OpeningShown(ID, head_of(LOG, 9).raw, shown))[1]
    assert own == [JudgeOpening(ID, head_of(LOG, 9), shown)]
    assert [type(effect) for effect in run(monitor(9), OpeningShown(ID, b"nonsense", shown))[1]] == [Refuse]


def test_an_opening_convicts_wants_a_tile_or_changes_nothing() -> None:
    head = statement(TWIN, 30)
    outcome = judge_opening(statement(LOG, 12), head, opening(TWIN, 0, 7, 30), LOG.node)
    after, effects = run(monitor(12), OpeningJudged(ID, head, outcome))
    assert (isinstance(effects[0], Keep), len(after.branch(ID).convicted)) == (True, 1)
    assert run(monitor(12), OpeningJudged(ID, head, NeedsTile(3)))[1][0] == SeekTile(ID, 3)
    assert run(monitor(12), OpeningJudged(ID, head, Undecided())) == (monitor(12), [])


# The own observer's line.


def test_a_verified_head_is_sent_under_the_newest_line_of_the_own_observer() -> None:
    known = head_of(LOG, 9)
    line = sign_line(OWN, known.note.text, 1_800_000_000).format()
    stated, _ = run(monitor(9), Stated(ID, line))
    (head,) = sent(received(stated, GetHeads((ID,)))[1])
    assert isinstance(head, Head)
    assert head.note == known.raw + line
    assert received(monitor(7), head)[1][1] == Adjudicate(ID, received(monitor(7), head)[1][1].signed, ())  # type: ignore[union-attr]


def test_a_head_with_more_lines_than_a_note_may_have_is_sent_with_as_many_as_it_may() -> None:
    many = known = head_of(LOG, 9)
    signatures = known.signatures * 6
    many = SignedCheckpoint(
        known.checkpoint, replace(known.note, signatures=tuple(one.line for one in signatures)), signatures
    )
    before = replace(monitor(9), branches={ID: Branch(many)})
    (head,) = sent(received(before, GetHeads((ID,)), peer=Q)[1], Q)
    assert isinstance(head, Head)
    assert head.note.count("—".encode()) == 23


def test_a_candidate_of_the_branch_s_size_still_extends() -> None:
    larger = statement(LOG, 12)
    outcome = judge(statement(LOG, 9), larger, [Candidate(9, None, LOG.proof(9, 12))])
    assert isinstance(outcome, Extends)
