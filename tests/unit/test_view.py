"""Views: their one spelling, and what the answers of monitors are worth under a policy of their observers."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from runtime.wording import utc
from tests.commands import Sameview
from tests.forks import ORIGIN, Tree, leaves, signed
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead
from tlog.keys import SignerKey
from tlog.note import Note
from tlog.policy import Policy
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64
from tlog.tied import MAX_HASHES
from tlog.view import MAX_ANSWERS, MAX_VIEW_BYTES, Answer, JudgedView, View, contradict, judge

LOG, STRANGER = log_key(), log_key("log.example/two")
O1, O2, O3 = (witness_key(f"monitor.example/m{number}-observer") for number in (1, 2, 3))
OBSERVERS = (O1, O2, O3)
POLICY = Policy.parse(
    f"log {LOG.verifier_key}\nlog {STRANGER.verifier_key}\n".encode()
    + b"".join(f"witness m{n} {key.verifier_key}\n".encode() for n, key in enumerate(OBSERVERS, 1))
    + b"group g 2 m1 m2 m3\nquorum g\n"
)

MAIN, TWIN = Tree(leaves(40)), Tree(leaves(40, "twin", common=9))
HASH = encode_base64(bytes(32))
ASKED = signed(MAIN.head(20), LOG)


def answer(size: int, *observers: SignerKey, time: int = NOW, tree: Tree = MAIN, asked: int = 20) -> Answer:
    path = prove_consistency(min(asked, size), max(asked, size), tree.read)
    return Answer(signed(tree.head(size), LOG, *observers, time=time).note, tuple(path))


def view(*answers: Answer, asked: SignedCheckpoint = ASKED) -> View:
    return View(asked.note, answers)


def refuse(judged: JudgedView, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        judged.require()


def objections(judged: JudgedView) -> Sequence[str | None]:
    return [one.objection for one in judged.answers]


# The format.

GOOD = view(answer(20, O1), answer(33, O2)).format()


@pytest.mark.parametrize(
    "made",
    [
        view(),
        view(answer(20, O1)),
        view(answer(20, O1), answer(33, O2), answer(7, O3)),
        view(*[answer(33, O1)] * MAX_ANSWERS),
        view(Answer(ASKED.note, (Hash(bytes(32)),) * MAX_HASHES)),
        view(asked=signed(MAIN.head(20), LOG, extensions=(b"--", b"frontier"))),
    ],
)
def test_reads_what_it_wrote(made: View) -> None:
    assert View.parse(made.format()) == made
    assert View.parse(made.format()).format() == made.format()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"@v1", b"@v2", "does not start with the line tlog-view@v1"),
        (b"tlog-view@v1\n\n", b"tlog-view@v1\n", "does not start with the line tlog-view@v1"),
        (b"frontier", b"Frontier", "does not start with the line frontier"),
        (b"frontier\n\n", b"\n\n", "does not start with the line frontier"),
        (b"\nhash ", b"\nHash ", "a line that is no hash"),
        (b"\nhash ", b"\nhash ~", "a hash of an answer in a view is not base64"),
        (b"\nhash ", b"\nhash AAAA\nhash ", "a hash of an answer in a view is not 32 bytes"),
        (b"\nhash ", b"\n" + (b"hash " + HASH + b"\n") * (MAX_HASHES + 1) + b"hash ", "more than 64 hashes"),
        (b"\n--\n", b"\n-- \n", "an extension line is empty"),
        (b"\n20\n", b"\n020\n", "decimal"),
    ],
)
def test_there_is_one_spelling(old: bytes, new: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        View.parse(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no empty line after its first line"),
        (b"tlog-view@v1\n\n", "no empty line after its text"),
        (GOOD[:-1], "line feed"),
        (GOOD + b"--\n", "no empty line after its header"),
        (GOOD + b"--\nfrontier\n\n", "no empty line after its text"),
        (GOOD + b"\n", "the last signature line does not end"),
        (bytes(MAX_VIEW_BYTES + 1), "too large"),
    ],
)
def test_what_is_cut_off_or_too_much_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        View.parse(data)


def test_more_answers_than_there_may_be_are_refused() -> None:
    one = view(answer(20, O1)).format().partition(b"--\n")[2]
    with pytest.raises(FormatError, match="more than 64 answers"):
        View.parse(view(*[answer(20, O1)] * MAX_ANSWERS).format() + b"--\n" + one)
    with pytest.raises(ValueError, match="too many"):
        view(*[answer(20, O1)] * (MAX_ANSWERS + 1))
    with pytest.raises(ValueError, match="too many"):
        view(Answer(ASKED.note, (Hash(bytes(32)),) * (MAX_HASHES + 1)))


# What the answers are worth.


def test_a_quorum_that_sees_the_checkpoint_is_enough() -> None:
    judged = judge(view(answer(20, O1), answer(33, O2)), POLICY)
    assert (judged.require().head, judged.agreeing, judged.met) == (MAIN.head(20), ("m1", "m2"), True)


def test_fewer_than_the_quorum_are_not() -> None:
    for answers in ((), (answer(20, O1),), (answer(20, O1), answer(33, O1))):
        refuse(judge(view(*answers), POLICY), SignatureError, "do not make the quorum")


def test_one_answer_may_carry_several_observers() -> None:
    assert judge(view(answer(25, O1, O2)), POLICY).agreeing == ("m1", "m2")


@pytest.mark.parametrize("size", [0, 1, 8, 16, 20])
def test_a_checkpoint_of_any_size_is_seen_from_a_larger_tree(size: int) -> None:
    asked = signed(MAIN.head(size), LOG)
    assert judge(view(answer(33, O1, O2, asked=size), asked=asked), POLICY).require().size == size


def test_the_log_of_the_policy_has_to_have_signed_the_checkpoint() -> None:
    for asked in (signed(MAIN.head(20), STRANGER), signed(MAIN.head(20), O1), signed(MAIN.head(20), LOG, origin="x")):
        judged = judge(view(answer(20, O1, O2), asked=asked), POLICY)
        refuse(judged, SignatureError, "no log of the policy signed the checkpoint")
        assert (judged.answers, judged.as_of) == ((), None)
    broken = Note(ASKED.note.text.replace(b"\n20\n", b"\n21\n"), ASKED.note.signatures)
    refuse(judge(View(broken), POLICY), SignatureError, "no log of the policy signed the checkpoint")


@pytest.mark.parametrize(
    ("given", "objection"),
    [
        (Answer(signed(MAIN.head(20), O1).note), "the log did not sign it"),
        (Answer(signed(MAIN.head(20), LOG).note), "no observer of the policy cosigned it"),
        (Answer(signed(MAIN.head(20), witness_key("x")).note), "no key of the policy signed it"),
        (Answer(signed(MAIN.head(20), STRANGER, O1, origin=STRANGER.name).note), "it is of another log"),
        (Answer(answer(33, O1).frontier), "it is not shown that its tree grew out of the checkpoint's"),
        (Answer(answer(33, O1).frontier, answer(33, O1).path[::-1]), "it is not shown that its tree grew"),
        (Answer(answer(20, O1).frontier, (Hash(bytes(32)),)), "it is not shown that its tree grew"),
        (Answer(answer(9, O1).frontier), "smaller than the checkpoint's, and nothing shows how the two relate"),
        (answer(9, O1), "agrees as far as it goes, and has not seen all of the checkpoint"),
        (answer(0, O1), "agrees as far as it goes, and has not seen all of the checkpoint"),
    ],
)
def test_an_answer_that_binds_nobody_does_not_count(given: Answer, objection: str) -> None:
    judged = judge(view(given, answer(20, O2)), POLICY)
    assert (judged.agreeing, judged.forked) == (("m2",), None)
    assert objection in str(objections(judged)[0])
    assert any(f"not counted, {objections(judged)[0]}" in line for line in judged.explain())
    refuse(judged, SignatureError, "do not make the quorum")


def test_a_line_of_an_observer_that_does_not_verify_spoils_its_answer() -> None:
    forged = Note(
        answer(33, O1).frontier.text, (*answer(33, O1).frontier.signatures, *answer(34, O2).frontier.signatures[1:])
    )
    assert objections(judge(view(Answer(forged, answer(33, O1).path)), POLICY)) == [
        "no key of the policy signed it, or a line of one does not verify"
    ]


def test_an_answer_that_contradicts_the_checkpoint_is_a_verdict_whoever_agrees() -> None:
    for other in (answer(20, O3, tree=TWIN), answer(33, O3, tree=TWIN), answer(15, O3)):
        head = signed(TWIN.head(15), LOG, O3).note if other.frontier == answer(15, O3).frontier else other.frontier
        judged = judge(view(answer(20, O1, O2), Answer(head, other.path)), POLICY)
        assert (judged.met, judged.forked is judged.answers[1]) == (True, True)
        refuse(judged, ProofError, "the log signed two histories")


def test_what_only_others_signed_contradicts_nothing() -> None:
    judged = judge(view(Answer(signed(TWIN.head(20), O1, O2).note)), POLICY)
    assert judged.forked is None


@pytest.mark.parametrize(("one", "other"), [(20, 20), (20, 33), (33, 20)])
def test_two_heads_of_two_trees_contradict_each_other(one: int, other: int) -> None:
    larger = MAIN if one >= other else TWIN
    path = prove_consistency(min(one, other), max(one, other), larger.read) if one != other else []
    assert contradict(MAIN.head(one), TWIN.head(other), path)
    assert not contradict(MAIN.head(one), MAIN.head(other), path)


def test_nothing_contradicts_an_empty_tree() -> None:
    assert not contradict(TreeHead(0, EMPTY_ROOT), MAIN.head(20), ())


# When it was stated.


def test_only_what_was_stated_within_the_times_counts() -> None:
    asked = view(answer(20, O1, time=NOW), answer(33, O2, time=NOW - 10))
    assert judge(asked, POLICY, NOW - 10, NOW).met
    assert judge(asked, POLICY, NOW - 9, NOW).agreeing == ("m1",)
    assert judge(asked, POLICY, NOW - 10, NOW - 1).agreeing == ("m2",)
    explained = judge(asked, POLICY, NOW - 9, NOW).explain()
    assert any(line.endswith("not counted, the cosignature is 1 seconds too old") for line in explained)


def test_says_as_of_when_the_quorum_agreed() -> None:
    asked = view(answer(20, O1, time=NOW), answer(33, O2, time=NOW - 10), answer(33, O3, time=NOW - 20))
    assert judge(asked, POLICY).as_of == NOW - 10
    assert judge(view(*asked.answers[:1], *asked.answers[:1]), POLICY).as_of is None
    later = view(*asked.answers[:2], answer(33, O2, time=NOW + 5), answer(33, O2, time=NOW - 50))
    assert judge(later, POLICY).as_of == NOW


def test_explains_answers_groups_and_quorum() -> None:
    judged = judge(view(answer(20, O1), answer(33, O2)), POLICY)
    assert judged.explain() == (
        f"answer at size 20: witness m1 ({O1.name}): cosigned at Unix time {NOW}",
        f"answer at size 33: witness m2 ({O2.name}): cosigned at Unix time {NOW}",
        "group g: 2 of 3 members, 2 needed (m1, m2): met",
        "quorum g: met",
    )


def test_under_a_policy_that_asks_for_nobody_it_says_so() -> None:
    lax = Policy(POLICY.logs, POLICY.witnesses, (), None)
    assert judge(view(), lax).explain() == ("quorum none: met",)


def test_observers_may_sign_with_ml_dsa() -> None:
    observer = mldsa_key("monitor.example/m4-observer")
    policy = Policy.parse(f"log {LOG.verifier_key}\nwitness m {observer.verifier_key}\nquorum m\n".encode())
    assert judge(view(answer(33, observer)), policy).agreeing == ("m",)


# The command.


def ran(sameview: Sameview, folder: Path, made: View | bytes, *options: object) -> tuple[int, str, str]:
    (folder / "policy").write_bytes(POLICY.format())
    (folder / "view").write_bytes(made if isinstance(made, bytes) else made.format())
    done = sameview("verify", "view", folder / "view", "--policy", folder / "policy", *options)
    return done.code, done.out, done.err


def test_the_command_says_whether_the_quorum_sees_it(sameview: Sameview, tmp_path: Path) -> None:
    code, out, err = ran(sameview, tmp_path, view(answer(20, O1), answer(33, O2)), "--explain")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "OK: the monitors see this checkpoint too"
    as_of = f"  as of: {NOW} ({utc(NOW * 1000)})"
    assert {f"  origin: {ORIGIN}", "  size: 20", "  agreeing: m1", "  agreeing: m2", as_of} <= {*out.splitlines()}
    assert "  - quorum g: met" in out.splitlines()
    code, out, _ = ran(sameview, tmp_path, view(answer(20, O1)))
    assert (code, out.splitlines()[0]) == (1, "FAILED: the monitors that agree do not make the quorum of the policy")
    code, out, _ = ran(sameview, tmp_path, view(answer(20, O1), answer(20, O3, tree=TWIN)))
    assert (code, out.startswith("FAILED: the log signed two histories")) == (1, True)


def test_the_command_shows_nothing_that_the_log_did_not_sign(sameview: Sameview, tmp_path: Path) -> None:
    code, out, _ = ran(sameview, tmp_path, view(asked=signed(MAIN.head(20), O1)), "--explain")
    assert (code, out.splitlines()[0]) == (1, "FAILED: no log of the policy signed the checkpoint")
    assert ORIGIN not in out


def test_the_command_counts_an_age_from_now(sameview: Sameview, tmp_path: Path) -> None:
    now = SystemClock().now()
    fresh = view(answer(20, O1, time=now - 100), answer(33, O2, time=now + 30))
    assert ran(sameview, tmp_path, fresh, "--max-age", 600)[0] == 0
    assert ran(sameview, tmp_path, fresh, "--max-age", 50)[0] == 1
    ahead = view(answer(20, O1, time=now), answer(33, O2, time=now + 3600))
    code, out, _ = ran(sameview, tmp_path, ahead, "--max-age", 600, "--explain")
    assert (code, "a time that has not come yet" in out) == (1, True)


def test_the_command_wants_a_policy_with_a_quorum(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "lax").write_bytes(Policy(POLICY.logs, POLICY.witnesses, (), None).format())
    (tmp_path / "view").write_bytes(view().format())
    done = sameview("verify", "view", tmp_path / "view", "--policy", tmp_path / "lax")
    assert (done.code, "its quorum is none: add the observer keys" in done.err) == (2, True)
    assert sameview("verify", "view", tmp_path / "view").code == 2


@pytest.mark.parametrize("data", [b"", b"EVIL\n\nEVIL\n\n", b"tlog-view@v1\n\nEVIL\n", bytes(5_000_000)])
def test_the_command_ends_with_2_for_what_is_no_view(sameview: Sameview, tmp_path: Path, data: bytes) -> None:
    code, out, err = ran(sameview, tmp_path, data)
    assert (code, out, "EVIL" in err, err.startswith(f"sameview: {tmp_path / 'view'}")) == (2, "", False, True)
