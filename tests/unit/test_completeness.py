"""Completeness: the watermark of a policy, the certificate's one spelling, and what it is worth to its verifier."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.clock import SystemClock
from runtime.wording import utc
from tests.commands import Sameview
from tests.forks import ORIGIN, Tree, leaves, signed
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tlog.completeness import (
    MAX_COMPLETENESS_BYTES,
    MAX_TREES,
    Completeness,
    JudgedCompleteness,
    Witnessed,
    certify,
    judge,
    policy_hash,
    watermark,
)
from tlog.errors import FormatError, SignatureError
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead
from tlog.keys import SignerKey
from tlog.note import Note
from tlog.policy import Policy
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import MAX_INTEGER, encode_base64
from tlog.tied import MAX_HASHES

LOG, STRANGER = log_key(), log_key("log.example/two")
W1, W2, W3 = WITNESSES = tuple(witness_key(f"witness.example/w{number}") for number in (1, 2, 3))
LINES = b"".join(f"witness w{number} {key.verifier_key}\n".encode() for number, key in enumerate(WITNESSES, 1))
LOGS = f"log {LOG.verifier_key}\nlog {STRANGER.verifier_key}\n".encode()
POLICY = Policy.parse(LOGS + LINES + b"group g 2 w1 w2 w3\nquorum g\n")
NOBODY = Policy.parse(LOGS + LINES + b"quorum none\n")

MAIN, TWIN = Tree(leaves(40)), Tree(leaves(40, "twin", common=9))
HASH = encode_base64(bytes(32))


def prove(old: int, new: int) -> Sequence[Hash]:
    return prove_consistency(old, new, MAIN.read)


def frontier(*witnesses: SignerKey, size: int = 33, time: int = NOW) -> SignedCheckpoint:
    return signed(MAIN.head(size), LOG, *witnesses, time=time)


def stated(witness: SignerKey, size: int, time: int = NOW, tree: Tree = MAIN) -> SignedCheckpoint:
    return signed(tree.head(size), witness, time=time)


def certificate(
    *statements: SignedCheckpoint,
    top: SignedCheckpoint | None = None,
    time: int = NOW,
    liars: int = 0,
    policy: Policy = POLICY,
) -> Completeness:
    return certify(policy, time, liars, frontier() if top is None else top, statements, prove)


def refuse(judged: JudgedCompleteness, match: str) -> None:
    with pytest.raises(SignatureError, match=match):
        judged.require()


def objection(judged: JudgedCompleteness) -> str | None:
    return judged.trees[-1].objection


# The watermark.


@pytest.mark.parametrize(
    ("times", "liars", "expected"),
    [
        ({}, 0, None),
        ({"w1": 10}, 0, None),  # a quorum of the two others is possible
        ({"w1": 10, "w2": 12}, 0, 10),
        ({"w1": 10, "w2": 12, "w3": 11}, 0, 11),
        ({"w1": 10, "w2": 12, "w3": 11}, 1, 10),
        ({"w1": 10, "w2": 12, "w3": 11}, 2, None),
        ({"w1": 10, "w2": 10, "w3": 10}, 1, 10),
        ({"w1": 10, "stranger": 99}, 0, None),
    ],
)
def test_the_watermark_is_the_last_time_at_which_enough_witnesses_were_heard(
    times: dict[str, int], liars: int, expected: int | None
) -> None:
    assert watermark(POLICY, times, liars) == expected


def test_without_a_quorum_there_is_no_watermark() -> None:
    assert watermark(NOBODY, {"w1": 10, "w2": 10, "w3": 10}, 0) is None


def test_keys_of_one_name_are_one_witness() -> None:
    other = mldsa_key("witness.example/w1")
    line = f"witness w1b {other.verifier_key}\n".encode()
    policy = Policy.parse(LOGS + LINES + line + b"group one any w1 w1b\ngroup g 2 one w2 w3\nquorum g\n")
    assert watermark(policy, {"w1": 10, "w1b": 11}, 0) is None
    assert watermark(policy, {"w1b": 11, "w2": 12}, 0) == 11
    certified = certificate(stated(other, 20), stated(W2, 20), policy=policy)
    assert judge(certified, policy).require().head == MAIN.head(33)
    assert certified.trees[0].note.format().count(b"\n\xe2\x80\x94") == 2  # one note, two lines


# The format.

GOOD = certificate(stated(W1, 20), stated(W2, 7)).format()


@pytest.mark.parametrize(
    "made",
    [
        certificate(),
        certificate(top=frontier(W1, W2)),
        certificate(stated(W1, 20), stated(W2, 20), stated(W3, 7)),
        certificate(time=0),
        certificate(time=MAX_INTEGER, liars=MAX_INTEGER),
        Completeness(NOW, 0, policy_hash(POLICY), frontier().note, (Witnessed(frontier().note),) * MAX_TREES),
        Completeness(
            NOW, 0, policy_hash(POLICY), frontier().note, (Witnessed(frontier().note, (Hash(bytes(32)),) * MAX_HASHES),)
        ),
        certificate(top=signed(MAIN.head(20), LOG, extensions=(b"--", b"witnessed"))),
    ],
)
def test_reads_what_it_wrote(made: Completeness) -> None:
    assert Completeness.parse(made.format()) == made
    assert Completeness.parse(made.format()).format() == made.format()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"@v1", b"@v2", "does not begin with its four lines"),
        (b"liars 0\n", b"", "does not begin with its four lines"),
        (b"liars 0\n", b"liars 0\nliars 0\n", "does not begin with its four lines"),
        (b"time ", b"Time ", "another line where time stands"),
        (b"time ", b"time 0", "decimal"),
        (b"liars 0", b"liars -1", "the number of liars"),
        (b"liars 0", b"liars 9223372036854775808", "the number of liars"),
        (b"policy ", b"policy ~", "the hash of the policy is not base64"),
        (b"policy ", b"log ", "another line where policy stands"),
        (b"witnessed", b"Witnessed", "does not start with the line witnessed"),
        (b"\nhash ", b"\nHash ", "has a line that is no hash"),
        (b"\nhash ", b"\nhash AAAA\nhash ", "a hash of a tree in a completeness certificate is not 32 bytes"),
        (b"\nhash ", b"\n" + (b"hash " + HASH + b"\n") * MAX_HASHES + b"hash ", "more than 64 hashes"),
        (b"\n--\n", b"\n-- \n", "an extension line is empty"),
        (b"\n33\n", b"\n033\n", "decimal"),
    ],
)
def test_there_is_one_spelling(old: bytes, new: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        Completeness.parse(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no empty line after its header"),
        (GOOD.partition(b"\n\n")[0] + b"\n\n", "no empty line after its text"),
        (GOOD[:-1], "line feed"),
        (GOOD + b"--\n", "no empty line after its header"),
        (GOOD + b"--\nwitnessed\n\n", "no empty line after its text"),
        (bytes(MAX_COMPLETENESS_BYTES + 1), "too large"),
    ],
)
def test_what_is_cut_off_or_too_much_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        Completeness.parse(data)


def test_more_than_there_may_be_is_refused() -> None:
    one = certificate(stated(W1, 20)).format().partition(b"--\n")[2]
    with pytest.raises(FormatError, match="more than 128 smaller trees"):
        Completeness.parse(certificate().format() + (b"--\n" + one) * (MAX_TREES + 1))
    for trees in ((Witnessed(frontier().note),) * (MAX_TREES + 1), (Witnessed(frontier().note, (Hash(HASH),) * 65),)):
        with pytest.raises(ValueError, match="too many"):
            Completeness(NOW, 0, policy_hash(POLICY), frontier().note, trees)
    for time, liars in ((-1, 0), (0, -1), (MAX_INTEGER + 1, 0), (0, MAX_INTEGER + 1)):
        with pytest.raises(ValueError, match="cannot be written"):
            Completeness(time, liars, policy_hash(POLICY), frontier().note)


# What it is worth.


@pytest.mark.parametrize(
    ("certified", "liars", "heard"),
    [
        (certificate(top=frontier(W1, W2)), 0, ("w1", "w2")),
        (certificate(stated(W1, 20), stated(W2, 7)), 0, ("w1", "w2")),
        (certificate(stated(W1, 33), stated(W2, 7)), 0, ("w1", "w2")),
        (certificate(stated(W1, 0), stated(W2, 33)), 0, ("w1", "w2")),
        (certificate(stated(W1, 20), stated(W2, 7), stated(W3, 7, NOW + 9), liars=1), 1, ("w1", "w2", "w3")),
    ],
)
def test_holds_where_every_quorum_has_an_honest_witness_that_was_heard(
    certified: Completeness, liars: int, heard: tuple[str, ...]
) -> None:
    judged = judge(certified, POLICY)
    assert judged.require().head == MAIN.head(33)
    assert (judged.heard, judged.margin) == (heard, liars)
    refuse(judge(certified, POLICY, liars=liars + 1), f"it survives {liars} liars?, not {liars + 1} liar")


def test_says_under_which_policy_it_was_made_and_goes_by_the_verifiers() -> None:
    certified = certificate(stated(W1, 20), stated(W2, 7))
    assert "made under the same policy" in judge(certified, POLICY).explain()
    wider = Policy.parse(LOGS + LINES + b"group g any w1 w2 w3\nquorum g\n")
    judged = judge(certified, wider)
    refuse(judged, "it survives not even honest witnesses, not 0 liars")
    assert judged.explain()[-2:] == (
        "made under another policy: this one decides",
        "every quorum has at least 0 of those who were heard",
    )


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        (Witnessed(stated(W2, 20).note), "not shown that the frontier grew out of it"),
        (Witnessed(stated(W2, 20, tree=TWIN).note, tuple(prove(20, 33))), "not shown that the frontier grew out of it"),
        (Witnessed(stated(W2, 33, tree=TWIN).note), "two trees of the same size have different roots"),
        (Witnessed(stated(W2, 40).note, tuple(prove(33, 40))), "the old tree is larger than the new one"),
        (Witnessed(signed(TreeHead(0, Hash(bytes(32))), W2).note), "not shown that the frontier grew out of it"),
        (Witnessed(signed(MAIN.head(33), W2, origin="log.example/two").note), "it is of another log"),
        (Witnessed(signed(MAIN.head(33), LOG).note), "no witness of the policy cosigned it"),
        (Witnessed(Note(stated(W2, 20).note.text, stated(W2, 7).note.signatures), tuple(prove(20, 33))), "not verify"),
    ],
)
def test_a_tree_that_does_not_verify_counts_for_nothing(tree: Witnessed, match: str) -> None:
    certified = Completeness(NOW, 0, policy_hash(POLICY), frontier(W1).note, (tree,))
    judged = judge(certified, POLICY)
    refuse(judged, "too few witnesses were heard")
    assert match in (objection(judged) or "")
    assert any("not counted" in sentence for sentence in judged.explain())


def test_whoever_stated_a_tree_before_the_time_is_not_heard() -> None:
    judged = judge(certificate(stated(W1, 20), stated(W2, 7, NOW - 1)), POLICY)
    refuse(judged, "it survives not even honest witnesses")
    assert "tree of 7: witness w2 (witness.example/w2): not counted, the cosignature is 1 seconds too old" in (
        judged.explain()
    )


def test_an_empty_root_that_is_none_counts_for_nothing() -> None:
    assert judge(certificate(stated(W1, 0), stated(W2, 7)), POLICY).require().head == MAIN.head(33)
    assert MAIN.head(0).root_hash == EMPTY_ROOT


@pytest.mark.parametrize(
    ("top", "match"),
    [
        (signed(MAIN.head(33), W1, W2), "the log did not sign the frontier"),
        (signed(MAIN.head(33), STRANGER), "no trusted key signed the frontier"),
        (signed(MAIN.head(33), LOG, origin="log.example/three"), "no key is known for the log"),
    ],
)
def test_the_log_has_to_have_signed_the_frontier(top: SignedCheckpoint, match: str) -> None:
    judged = judge(Completeness(NOW, 0, policy_hash(POLICY), top.note), POLICY)
    refuse(judged, match)
    assert judged.heard == ()


def test_keys_of_a_log_that_the_policy_cannot_name_are_told_apart() -> None:
    top = signed(MAIN.head(33), STRANGER, W1, W2)
    certified = Completeness(NOW, 0, policy_hash(POLICY), top.note)
    assert judge(certified, POLICY, (STRANGER.verifier_key,)).require().head == MAIN.head(33)


def test_a_policy_without_a_quorum_proves_nothing() -> None:
    refuse(judge(certificate(stated(W1, 20), stated(W2, 7)), NOBODY), "asks for no witnesses")


# The command.


def test_the_command_verifies_offline(sameview: Sameview, tmp_path: Path) -> None:
    now = SystemClock().now()
    (tmp_path / "policy").write_bytes(POLICY.format())
    file = tmp_path / "one.tlog-completeness"

    def run(time: int, *options: str) -> tuple[int, str]:
        certified = certificate(stated(W1, 20, now), stated(W2, 7, now + 7200), time=time)
        file.write_bytes(certified.format())
        ran = sameview("verify", "completeness", file, "--policy", tmp_path / "policy", "--json", *options)
        return ran.code, str(ran.document.get("verdict"))

    assert run(now)[0] == 0
    assert run(now, "--liars", "0", "--max-age", "600") == (
        0,
        "clients of this policy were shown nothing but this tree before the time, unless more lie",
    )
    assert run(now, "--liars", "1") == (1, "too few witnesses were heard: it survives 0 liars, not 1 liar")
    code, verdict = run(now - 900, "--max-age", "600")
    assert (code, verdict.endswith("seconds too old")) == (1, True)
    assert run(now + 3600)[0] == 1  # w1 was not heard by then
    assert run(now, "--vkey", STRANGER.verifier_key.format(), "--origin", ORIGIN)[0] == 1
    assert run(now, "--vkey", LOG.verifier_key.format(), "--origin", ORIGIN)[0] == 0
    file.write_bytes(b"none")
    assert sameview("verify", "completeness", file, "--policy", tmp_path / "policy").code == 2


@pytest.mark.parametrize("asked", [(), ("--max-age", "600")])
def test_the_command_takes_no_time_that_has_not_come(
    sameview: Sameview, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    later = SystemClock().now() + 3600
    (tmp_path / "policy").write_bytes(POLICY.format())
    file = tmp_path / "one.tlog-completeness"
    file.write_bytes(certificate(stated(W1, 20, later), stated(W2, 7, later), time=later).format())
    ran = sameview("verify", "completeness", file, "--policy", tmp_path / "policy", *asked)
    assert (ran.code, "it states a time that has not come yet" in ran.out) == (1, True)


def test_the_command_says_what_it_found(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(POLICY.format())
    file = tmp_path / "one.tlog-completeness"
    file.write_bytes(GOOD)
    ran = sameview("verify", "completeness", file, "--policy", tmp_path / "policy", "--explain")
    assert ran.code == 0
    time = f"  time: {NOW} ({utc(NOW * 1000)})"
    for line in (f"  origin: {ORIGIN}", "  size: 33", time, "  survives liars: 0", "  heard: w1"):
        assert line in ran.out.splitlines()
    other = signed(MAIN.head(33), LOG, W1, W2, origin="log.example/three")
    file.write_bytes(Completeness(NOW, 0, policy_hash(POLICY), other.note).format())
    vkey = ("--vkey", LOG.verifier_key.format(), "--origin", ORIGIN)
    ran = sameview("verify", "completeness", file, "--policy", tmp_path / "policy", *vkey)
    assert (ran.code, "the frontier is of another log" in ran.out) == (1, True)
