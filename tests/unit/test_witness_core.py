"""What a witness thinks of a request, one claim for each answer and for each way to get it."""

import pytest

from tests.forks import Tree, leaves, signed
from tests.keys import cosign, log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint
from tlog.advance import Statement
from tlog.checkpoint import Checkpoint
from tlog.evidence import Conviction, EvidenceType, same_size
from tlog.hashing import Hash, TreeHead, leaf_hash
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint
from witness.core import (
    BadRequest,
    NotProven,
    NotSigned,
    Submission,
    UnknownLog,
    examine,
    judge,
    leads_elsewhere,
    prove,
    shows_more,
)

LOG = log_key()
LOGS = {"log.example/one": (LOG.verifier_key,)}
HEAD = Checkpoint("log.example/one", 1, leaf_hash(b"first"))
SIGNED = sign_checkpoint(HEAD, LOG)


def body(note: bytes = SIGNED, old: bytes = b"0") -> bytes:
    return b"old " + old + b"\n\n" + note


def test_a_signed_checkpoint_of_a_known_log_is_a_submission() -> None:
    found = examine(body(), LOGS)
    assert isinstance(found, Submission)
    assert (found.old_size, found.path, found.checkpoint.checkpoint) == (0, (), HEAD)


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b"old 0\n" + SIGNED,
        body(old=b"00"),
        body(old=b"+0"),
        body(old=b" 0"),
        body(old=b"0 "),
        body(old=b"0\r"),
        body(old=b"-1"),
        body(old=b"9223372036854775808"),
        b"Old 0\n\n" + SIGNED,
        b"old 0\nAAAA\n\n" + SIGNED,
        body(SIGNED[:-1]),
        body(SIGNED + b"\n"),
        body(SIGNED + "— log.example/one\n".encode()),
        body(SIGNED.replace(b"\n", b"\r\n")),
        body(b"\n" + SIGNED),
        body(b"log.example/one"),
        body(SIGNED.replace("—".encode(), b"-")),
    ],
)
def test_a_malformed_request_is_a_bad_request(request_body: bytes) -> None:
    """SPEC: W-5, W-6, W-7, W-28"""
    assert isinstance(examine(request_body, LOGS), BadRequest)


def test_64_proof_lines_are_a_bad_request() -> None:
    """SPEC: W-7, W-28"""
    line = b"A" * 43 + b"=\n"
    assert isinstance(examine(b"old 1\n" + line * 63 + b"\n" + SIGNED, LOGS), Submission)
    assert isinstance(examine(b"old 1\n" + line * 64 + b"\n" + SIGNED, LOGS), BadRequest)


def test_an_unknown_origin_is_an_unknown_log_whoever_signed() -> None:
    """SPEC: W-10"""
    other = Checkpoint("log.example/two", 1, leaf_hash(b"first"))
    assert examine(body(sign_checkpoint(other, LOG)), LOGS) == UnknownLog()


def test_a_key_of_another_origin_does_not_count() -> None:
    """SPEC: W-9"""
    other = log_key("log.example/two", seed=2)
    logs = {**LOGS, "log.example/two": (other.verifier_key,)}
    assert isinstance(examine(body(sign_checkpoint(HEAD, other)), logs), NotSigned)


def test_a_failing_line_of_a_trusted_key_spoils_a_good_one_of_another() -> None:
    """SPEC: W-11"""
    second = mldsa_key()
    logs = {"log.example/one": (LOG.verifier_key, second.verifier_key)}
    good = sign_checkpoint(HEAD, LOG)
    bad_line = sign_checkpoint(Checkpoint("log.example/one", 2, leaf_hash(b"")), second).partition(b"\n\n")[2]
    assert isinstance(examine(body(good), logs), Submission)
    assert isinstance(examine(body(good + bad_line), logs), NotSigned)


def test_a_signature_in_another_spelling_is_not_a_signature() -> None:
    at = SIGNED.rindex(b"=")
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = letters[letters.index(SIGNED[at - 1 : at]) ^ 1]
    respelled = SIGNED[: at - 1] + bytes([twin]) + SIGNED[at:]
    assert isinstance(examine(body(respelled), LOGS), NotSigned)
    assert examine(body(respelled.replace(b"/one\n", b"/two\n", 1)), LOGS) == UnknownLog()


def test_a_proof_hash_in_another_spelling_is_a_bad_request() -> None:
    assert isinstance(examine(b"old 1\n" + b"A" * 42 + b"B=\n\n" + SIGNED, LOGS), BadRequest)


@pytest.mark.parametrize("size", [b"01", b"+1", b"", b"1 ", b"1e0"])
def test_a_signed_text_that_is_no_checkpoint_is_a_bad_request(size: bytes) -> None:
    from tlog.note import Note, SignatureLine

    text = b"log.example/one\n" + size + b"\n" + b"A" * 43 + b"=\n"
    vkey = LOG.verifier_key
    note = Note(text, (SignatureLine(vkey.name, vkey.id, LOG.sign(text)),)).format()
    assert isinstance(examine(body(note), LOGS), BadRequest)


def test_a_root_in_another_spelling_is_a_bad_request() -> None:
    """SPEC: CP-12 one tree must not get two spellings cosigned."""
    from tlog.note import Note, SignatureLine

    text = b"log.example/one\n1\n" + b"A" * 42 + b"B=\n"
    vkey = LOG.verifier_key
    note = Note(text, (SignatureLine(vkey.name, vkey.id, LOG.sign(text)),)).format()
    assert isinstance(examine(body(note), LOGS), BadRequest)


def test_only_verified_lines_are_kept() -> None:
    """SPEC: W-42 a line that others forged under our own name must not reach what we store and publish."""
    forged = cosign(SIGNED, witness_key("witness.example/us", seed=9))
    found = examine(body(forged), LOGS)
    assert isinstance(found, Submission)
    assert found.checkpoint.raw == SIGNED


def test_requests_are_judged_by_the_formatter_s_own_output() -> None:
    request = AddCheckpoint(0, (), SIGNED)
    assert isinstance(examine(request.format(), LOGS), Submission)


# Heads that are refused although their log signed them.

HONEST, FORK = Tree(leaves(20)), Tree(leaves(20, "fork", common=3))


def opened(size: int, tree: Tree) -> SignedCheckpoint:
    return signed(tree.head(size), LOG)


def refused(old: int, new: int, tree: Tree, path: tuple[Hash, ...] | None = None) -> Submission:
    proof = tuple(prove_consistency(old, new, tree.read)) if path is None else path
    return Submission(old, proof, opened(new, tree))


def stated(size: int, time: int = 100, tree: Tree = HONEST) -> Statement:
    return Statement("log.example/one", size, tree.head(size).root_hash, time)


@pytest.mark.parametrize(
    ("submission", "known", "found"),
    [
        (refused(5, 5, FORK), opened(5, HONEST), EvidenceType.SAME_SIZE),
        (refused(5, 9, FORK), opened(5, HONEST), EvidenceType.NON_CONSISTENT),
        (refused(5, 9, FORK, ()), opened(5, HONEST), None),
        (refused(4, 9, FORK), opened(4, HONEST), None),  # the proof does not name the root that it starts from
        (refused(5, 9, HONEST), opened(5, HONEST), None),
        (refused(5, 9, FORK), opened(0, HONEST), None),
    ],
)
def test_what_a_refused_head_proves(
    submission: Submission, known: SignedCheckpoint, found: EvidenceType | None
) -> None:
    """SPEC: W-20"""
    evidence = prove(submission, [known])
    assert (None if evidence is None else evidence.type) == found


def test_a_wrong_empty_tree_proves_itself() -> None:
    wrong = signed(TreeHead(0, leaf_hash(b"x")), LOG)
    evidence = prove(Submission(0, (), wrong), [])
    assert evidence is not None
    assert evidence.type == EvidenceType.BAD_EMPTY_HEAD
    assert prove(Submission(0, (leaf_hash(b"x"),), opened(0, HONEST)), []) is None


def test_a_proof_that_leads_elsewhere_is_seen_without_the_old_note() -> None:
    known = stated(5)
    assert leads_elsewhere(refused(5, 9, FORK), known)
    assert not leads_elsewhere(refused(5, 9, HONEST), known)
    assert not leads_elsewhere(refused(5, 9, FORK, ()), known)
    assert leads_elsewhere(refused(5, 5, FORK, ()), known)
    assert not leads_elsewhere(refused(5, 5, HONEST, ()), known)


def test_evidence_is_judged_by_the_keys_of_the_log_it_is_about() -> None:
    bundle = same_size(opened(5, HONEST), opened(5, FORK)).format()
    verdict = judge(bundle, LOGS)
    assert isinstance(verdict, Conviction)
    assert verdict.accused == LOG.verifier_key
    assert judge(bundle, {}) == UnknownLog()
    assert isinstance(judge(b"", LOGS), BadRequest)
    assert isinstance(judge(bundle, {"log.example/one": (log_key(seed=5).verifier_key,)}), NotProven)


OURS = witness_key("witness.example/us")


@pytest.mark.parametrize(
    ("known", "more"),
    [
        (None, True),
        (stated(8), True),  # a larger tree
        (stated(9, time=99), True),  # a later time
        (stated(9, tree=FORK), True),  # another tree
        (stated(9), False),
        (stated(9, time=101), False),
        (stated(10), False),
    ],
)
def test_a_cosignature_that_the_register_does_not_know_is_seen(known: Statement | None, more: bool) -> None:
    copy = cosign(opened(9, HONEST).raw, OURS, time=100)
    own = [mldsa_key(OURS.name).verifier_key, OURS.verifier_key]
    assert shows_more(copy, "log.example/one", own, known) == more


@pytest.mark.parametrize("copy", [b"", opened(9, HONEST).raw])
def test_what_is_not_our_cosignature_shows_nothing(copy: bytes) -> None:
    assert not shows_more(copy, "log.example/one", [OURS.verifier_key], None)


def test_a_cosignature_for_another_log_shows_nothing() -> None:
    copy = cosign(opened(9, HONEST).raw, OURS)
    assert not shows_more(copy, "log.example/two", [OURS.verifier_key], None)
