"""Statements over time: what one key said twice convicts it if it cannot have meant both."""

from gossip.core import (
    Adjudicated,
    Contradicted,
    Count,
    Forked,
    HeadSeen,
    Ignored,
    Keep,
    Weigh,
    contradictions,
    timestamped,
)
from gossip.messages import Head
from tests.fakes_log import WITNESSES, FakeLog, sign_line, signer
from tests.forks import CertificateLogKey, Tree, leaves, signed
from tests.keys import NOW
from tests.machine import ID, KEYS, LOG, OBSERVER, OWN, TWIN, head_of, monitor, received, run, statement
from tlog.evidence import EvidenceType, cosigner_same_size, same_size
from tlog.keys import KeyType, SignerKey
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint

MAIN, FORK = Tree(leaves(60)), Tree(leaves(60, "fork", 20))
W = WITNESSES[0]
CT = CertificateLogKey()


def types(statement: SignedCheckpoint, key: SignerKey | CertificateLogKey, *others: SignedCheckpoint) -> list[str]:
    return [evidence.type.value for evidence in contradictions(statement, key.verifier_key, others)]


def test_a_smaller_tree_at_a_later_time_convicts_whichever_comes_first() -> None:
    earlier, later = signed(MAIN.head(50), W), signed(MAIN.head(40), W, time=NOW + 1)
    assert types(later, W, earlier) == types(earlier, W, later) == ["cosigner-rollback"]


def test_a_log_that_signs_with_time_answers_for_it() -> None:
    earlier, later = signed(MAIN.head(50), CT, time=NOW * 1000), signed(MAIN.head(40), CT, time=NOW * 1000 + 1)
    assert types(later, CT, earlier) == ["log-rollback"]
    assert types(later, CT, signed(FORK.head(40), CT, time=NOW)) == []


def test_equal_times_growth_and_other_logs_prove_nothing() -> None:
    one = signed(MAIN.head(40), W, time=NOW)
    others = (
        signed(MAIN.head(50), W, time=NOW),
        signed(MAIN.head(50), W, time=NOW + 1),
        signed(MAIN.head(40), W, time=NOW + 5),
        signed(MAIN.head(50), W, time=NOW - 1, origin="log.example/other"),
    )
    assert types(one, W, *others) == []


def test_two_roots_of_one_size_convict_a_cosigner_whatever_the_time() -> None:
    assert types(signed(MAIN.head(50), W), W, signed(FORK.head(50), W)) == ["cosigner-same-size"]


def test_what_only_somebody_else_signed_is_nothing_of_this_key_s() -> None:
    other = WITNESSES[1]
    assert types(signed(MAIN.head(50), W), W, signed(FORK.head(50), other)) == []


def test_only_signatures_that_state_a_time_are_compared() -> None:
    zero = signer("witness.example/pq", KeyType.COSIGNATURE_MLDSA44)
    assert list(timestamped(signed(MAIN.head(50), LOG.key, W))) == [W.verifier_key]
    assert list(timestamped(signed(MAIN.head(50), zero, time=0))) == []


# What the machine has weighed.


def with_lines(tree: FakeLog, size: int, *keys: SignerKey, time: int = NOW) -> bytes:
    """A head of a log with lines of these keys."""
    note = Note.parse(tree.sign(size, ()))
    return Note(note.text, (*note.signatures, *(sign_line(key, note.text, time) for key in keys))).format()


def weighed(effects: list[object]) -> list[Weigh]:
    return [effect for effect in effects if isinstance(effect, Weigh)]


def test_what_witnesses_and_observers_state_is_weighed_once() -> None:
    raw = with_lines(LOG, 9, W, OBSERVER)
    before = monitor(7)
    after, effects = received(before, Head(ID, raw, 1, None, ()))
    (weigh,) = weighed([*effects])
    assert {signature.key for signature in weigh.signed.signatures} == {*KEYS[:2], OBSERVER.verifier_key}
    assert weighed([*received(after, Head(ID, with_lines(LOG, 9, W), 1, None, ()))[1]]) == []
    assert weighed([*received(before, Head(ID, statement(LOG, 9).raw, 2, None, ()))[1]]) == []
    assert weighed([*received(before, Head(ID, head_of(LOG, 7).raw, 2, None, ()))[1]]) == []


def test_an_observer_s_line_is_judged_with_the_head_and_not_kept_with_it() -> None:
    after, effects = received(monitor(7), Head(ID, with_lines(LOG, 9, W, OBSERVER), 1, None, ()))
    (pending,) = after.branch(ID).pending
    assert {signature.key for signature in pending.signed.signatures} == set(KEYS[:2])
    assert OBSERVER.name.encode() in weighed([*effects])[0].signed.raw


def test_a_contradiction_convicts_and_only_once() -> None:
    evidence = cosigner_same_size(signed(MAIN.head(50), W), signed(FORK.head(50), W), W.verifier_key)
    after, effects = run(monitor(7), Contradicted(ID, evidence))
    assert isinstance(effects[0], Keep)
    assert run(after, Contradicted(ID, evidence)) == (after, [])
    assert after.branch(ID).convicted == ()


def test_a_contradiction_of_a_key_that_is_not_configured_any_more_is_counted() -> None:
    gone = signer("witness.example/gone", KeyType.COSIGNATURE_ED25519)
    evidence = cosigner_same_size(signed(MAIN.head(50), gone), signed(FORK.head(50), gone), gone.verifier_key)
    assert run(monitor(7), Contradicted(ID, evidence))[1] == [Count(Ignored.EVIDENCE_UNDER_UNKNOWN_KEY)]


def test_evidence_against_the_own_observer_is_accepted_like_any_other() -> None:
    evidence = cosigner_same_size(signed(MAIN.head(50), OWN), signed(FORK.head(50), OWN), OWN.verifier_key)
    after, effects = run(monitor(7), Contradicted(ID, evidence))
    assert isinstance(effects[0], Keep)
    assert [held.conviction.accused for held in after.evidence.values()] == [OWN.verifier_key]


# A log that is convicted already.


FORKED = Forked(same_size(statement(LOG, 9), statement(TWIN, 9)))
CONVICTED = run(monitor(9), Adjudicated(ID, statement(TWIN, 9), FORKED))[0]


def test_heads_of_a_convicted_log_are_judged_for_the_sake_of_their_cosigners_and_not_remembered() -> None:
    cosigned = head_of(TWIN, 8, (W,))
    after, effects = run(CONVICTED, HeadSeen(ID, cosigned.raw))
    assert [type(effect).__name__ for effect in effects] == ["Adjudicate", "Weigh"]
    assert after == CONVICTED
    against = cosigner_same_size(head_of(LOG, 9, (W,)), head_of(TWIN, 9, (W,)), W.verifier_key)
    late = Forked(same_size(statement(LOG, 8), statement(TWIN, 8)), (against,))
    after, effects = run(CONVICTED, Adjudicated(ID, cosigned, late))
    assert [effect.held.conviction.type for effect in effects if isinstance(effect, Keep)] == [
        EvidenceType.COSIGNER_SAME_SIZE
    ]
    assert run(after, HeadSeen(ID, cosigned.raw))[1] == [Count(Ignored.HEAD_OF_CONVICTED_LOG)]


def test_what_is_no_head_or_has_no_cosigner_of_a_convicted_log_is_counted() -> None:
    forged = head_of(TWIN, 8, (W,)).raw.replace(b"\n8\n", b"\n7\n")
    assert run(CONVICTED, HeadSeen(ID, b"nonsense"))[1] == [Count(Ignored.HEAD_OF_CONVICTED_LOG)]
    assert run(CONVICTED, HeadSeen(ID, statement(TWIN, 8).raw))[1] == [Count(Ignored.HEAD_OF_CONVICTED_LOG)]
    assert [type(effect).__name__ for effect in run(CONVICTED, HeadSeen(ID, forged))[1]] == ["Refuse"]


def test_looks_at_heads_of_a_convicted_log_are_few() -> None:
    now, looks = CONVICTED, 0
    for _ in range(100):
        now, effects = received(now, Head(ID, head_of(TWIN, 8, (W,)).raw, 1, None, ()))
        looks += bool(weighed([*effects]))
    assert looks == 512 // 10
