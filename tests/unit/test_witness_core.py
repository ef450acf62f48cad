"""What a witness thinks of a request, one claim for each answer and for each way to get it."""

import pytest

from tests.keys import cosign, log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.hashing import leaf_hash
from witness.core import BadRequest, NotSigned, Submission, UnknownLog, examine

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
