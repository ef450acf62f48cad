"""The add-checkpoint call: the grammar of its body, and what a client makes of every answer in the field."""

import pytest

from tests.keys import NOW, log_key, mldsa_key, note_line, sign_checkpoint, witness_key
from tlog.add_checkpoint import (
    MAX_ANSWER_BYTES,
    MAX_PATH,
    MAX_REQUEST_BYTES,
    MAX_RETRY_SECONDS,
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    Answer,
    Behind,
    Broken,
    Cosigned,
    Refused,
    Retry,
    SplitView,
    Unknown,
    format_size,
    parse_size,
    read_answer,
)
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.keys import SignerKey
from tlog.note import Note, SignatureLine

LOG = log_key("log.example/one")
WITNESS, WITNESS_PQ = witness_key("witness.example/1"), mldsa_key("witness.example/1")
CHECKPOINT = Checkpoint("log.example/one", 7, Hash(b"r" * 32))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
HASH = b"A" * 43 + b"="
BODY = b"old 3\n" + HASH + b"\n\n" + NOTE

GROWTH = AddCheckpoint(3, (Hash(bytes(32)),), NOTE)
SAME_SIZE = AddCheckpoint(7, (), NOTE)


def refuse(body: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        AddCheckpoint.parse(body)


# The request.


def test_reads_old_size_path_and_checkpoint() -> None:
    # SPEC: W-5 an old-size line, proof lines, an empty line and the checkpoint
    assert AddCheckpoint.parse(BODY) == GROWTH


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        BODY.replace(HASH + b"\n", b""),
        BODY.replace(b"old 3", b"old 0"),
        BODY.replace(b"old 3", b"old 9223372036854775807"),
        BODY.replace(HASH, b"\n".join([HASH] * MAX_PATH)),
        b"old 3\n\nwhatever \xff\n\n\n",
        b"old 3\n\n",
    ],
)
def test_writes_back_what_it_read_and_does_not_judge_the_checkpoint(body: bytes) -> None:
    assert AddCheckpoint.parse(body).format() == body


def test_the_first_empty_line_ends_the_proof() -> None:
    # SPEC: W-5 the checkpoint has an empty line of its own
    assert Note.parse(AddCheckpoint.parse(BODY).checkpoint_note).text == CHECKPOINT.format()
    refuse(b"old 3\n" + HASH + b"\n" + NOTE, "a hash of the proof")
    refuse(b"old 3\n" + HASH + b"\n", "no empty line")


@pytest.mark.parametrize("line", [b"3", b"Old 3", b"old\t3", b"old", b" old 3", b"", HASH])
def test_the_old_size_line_comes_first(line: bytes) -> None:
    # SPEC: W-6 the string old, a single space
    refuse(BODY.replace(b"old 3", line), "old size line")


@pytest.mark.parametrize(
    "size", [b"00", b"03", b"+1", b"-1", b" 3", b"3 ", b"3\r", b"", b"1_0", b"\xd9\xa3", b"9223372036854775808", b"3 4"]
)
def test_the_old_size_is_a_canonical_decimal(size: bytes) -> None:
    # SPEC: W-6 a decimal with no leading zeroes
    refuse(BODY.replace(b"old 3", b"old " + size), "the old size")


@pytest.mark.parametrize(
    "line", [b"AAAA", HASH + b"\r", b" " + HASH, HASH[:-2] + b"B=", HASH[:-1], HASH + HASH, "—".encode()]
)
def test_a_proof_line_is_the_canonical_base64_of_one_hash(line: bytes) -> None:
    # SPEC: W-7 each proof line is one base64 hash
    refuse(BODY.replace(HASH, line), "a hash of the proof")


def test_there_are_at_most_63_proof_lines() -> None:
    # SPEC: W-7 no more than 63. SPEC: W-28 more are answered 400, which is what a FormatError means
    assert len(AddCheckpoint.parse(BODY.replace(HASH, b"\n".join([HASH] * 63))).path) == 63
    refuse(BODY.replace(HASH, b"\n".join([HASH] * 64)), "more than 63 proof lines")
    with pytest.raises(ValueError, match="at most 63"):
        AddCheckpoint(3, (Hash(bytes(32)),) * 64, NOTE)


def test_the_largest_legal_request_is_accepted_and_a_larger_one_is_not() -> None:
    # SPEC: W-28 a malformed request is answered 400
    checkpoint = Checkpoint("o" * 255, 2**63 - 1, Hash(b"r" * 32))
    line = SignatureLine("n" * 255, b"idid", bytes(8 + 2420))
    largest = AddCheckpoint(
        2**63 - 1, (Hash(bytes(32)),) * 63, Note(checkpoint.format(), (line,) * 16).format()
    ).format()
    assert 59_000 < len(largest) < 60_000
    assert AddCheckpoint.parse(largest).format() == largest
    assert len(b"".join(signature.format() for signature in (line,) * 16)) < MAX_ANSWER_BYTES
    refuse(BODY + bytes(MAX_REQUEST_BYTES), "larger than any legal one")


# The size that a conflict names.


@pytest.mark.parametrize("size", [0, 50, 2**63 - 1])
def test_a_size_is_a_decimal_and_a_line_feed(size: int) -> None:
    # SPEC: W-14 the tree size in decimal, followed by a newline
    assert (format_size(size), parse_size(format_size(size))) == (b"%d\n" % size, size)


@pytest.mark.parametrize(
    "body", [b"", b"50", b"050\n", b"50\n\n", b"50\r\n", b" 50\n", b"+5\n", b"9223372036854775808\n"]
)
def test_a_size_has_one_spelling(body: bytes) -> None:
    # SPEC: W-14 the tree size in decimal, followed by a newline
    with pytest.raises(FormatError):
        parse_size(body)


# The answer: cosignatures.


def answer(
    status: int,
    body: bytes = b"",
    media_type: str | None = None,
    sent: AddCheckpoint = GROWTH,
    after: str | None = None,
) -> Answer:
    return read_answer(status, media_type, body, sent, [WITNESS.verifier_key, WITNESS_PQ.verifier_key], after)


def lines(*keys: SignerKey, time: int = NOW, checkpoint: Checkpoint = CHECKPOINT) -> bytes:
    return b"".join(note_line(checkpoint, key, time).format() for key in keys)


def times(found: Answer) -> list[tuple[str, int | None]]:
    assert isinstance(found, Cosigned)
    return [(signature.key.type.name, signature.timestamp) for signature in found.signatures]


def test_the_cosignatures_of_the_witness_are_verified_and_returned() -> None:
    # SPEC: W-22 one or more signature lines on the checkpoint that was sent
    both = [("COSIGNATURE_ED25519", NOW), ("COSIGNATURE_MLDSA44", NOW)]
    assert times(answer(200, lines(WITNESS, WITNESS_PQ))) == both
    assert times(answer(200, lines(WITNESS_PQ), "text/plain; charset=utf-8")) == both[1:]


def test_lines_of_unknown_keys_and_an_echo_of_the_log_are_ignored() -> None:
    # SPEC: W-26 the client ignores cosignatures from unknown keys
    stranger = witness_key("witness.example/2")
    assert times(answer(200, lines(LOG, stranger, WITNESS))) == [("COSIGNATURE_ED25519", NOW)]
    assert answer(200, lines(LOG, stranger)) == Broken("no trusted key signed the note")


def test_the_right_key_bytes_under_another_name_are_unknown() -> None:
    # SPEC: W-26 the client ignores cosignatures from unknown keys
    renamed = SignerKey("witness.example/2", WITNESS.type, WITNESS.seed)
    assert isinstance(answer(200, lines(renamed)), Broken)


@pytest.mark.parametrize(
    "other",
    [Checkpoint("log.example/one", 8, CHECKPOINT.root_hash), Checkpoint("log.example/two", 7, CHECKPOINT.root_hash)],
)
@pytest.mark.parametrize("key", [WITNESS, WITNESS_PQ])
def test_a_cosignature_of_anything_but_what_was_sent_is_none(other: Checkpoint, key: SignerKey) -> None:
    # SPEC: W-22 on the checkpoint
    assert answer(200, lines(key, checkpoint=other)) == Broken("the signature does not verify")


def test_one_failing_line_of_the_witness_spoils_its_answer() -> None:
    # SPEC: SN-8 a failing signature of a known key condemns the whole note
    wrong = lines(WITNESS_PQ, checkpoint=Checkpoint("log.example/one", 8, CHECKPOINT.root_hash))
    assert isinstance(answer(200, lines(WITNESS) + wrong), Broken)


def test_a_cosignature_without_a_time_is_dropped() -> None:
    # SPEC: W-25 the time is not zero
    assert answer(200, lines(WITNESS, time=0)) == Broken("no cosignature states a time")
    assert times(answer(200, lines(WITNESS) + lines(WITNESS_PQ, time=0))) == [("COSIGNATURE_ED25519", NOW)]


def test_a_key_that_states_no_time_is_no_witness() -> None:
    # SPEC: W-25 the time is not zero
    assert read_answer(200, None, lines(LOG), GROWTH, [LOG.verifier_key]) == Broken("no cosignature states a time")


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"ok\n", lines(WITNESS)[:-1], b"\n" + lines(WITNESS), NOTE + lines(WITNESS)]
)
def test_a_success_that_is_not_signature_lines_is_broken(body: bytes) -> None:
    # SPEC: W-22 each line starts with an em dash and ends with a newline
    assert isinstance(answer(200, body), Broken)


# The answer: conflicts.


@pytest.mark.parametrize("media_type", [SIZE_MEDIA_TYPE, "text/x.tlog.size; charset=utf-8", "Text/X.Tlog.Size ;x"])
def test_a_conflict_names_the_size_to_start_from(media_type: str) -> None:
    # SPEC: W-14 the size of the latest cosigned checkpoint, as text/x.tlog.size
    assert answer(409, b"5\n", media_type) == Behind(5)


def test_a_witness_that_already_has_the_checkpoint_asks_for_an_empty_proof() -> None:
    assert answer(409, b"7\n", SIZE_MEDIA_TYPE) == Behind(7)


def test_a_witness_may_know_more_than_was_sent() -> None:
    assert answer(409, b"9\n", SIZE_MEDIA_TYPE, SAME_SIZE) == Behind(9)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (None, b"5\n"),
        ("text/plain", b"5\n"),
        ("text/x.tlog.size2", b"5\n"),
        (SIZE_MEDIA_TYPE, b""),
        (SIZE_MEDIA_TYPE, b"5"),
        (SIZE_MEDIA_TYPE, b"05\n"),
        (SIZE_MEDIA_TYPE, b"3\n"),
    ],
)
def test_a_conflict_that_names_no_other_size_is_broken(media_type: str | None, body: bytes) -> None:
    # SPEC: W-14 the size of the latest cosigned checkpoint, as text/x.tlog.size
    assert answer(409, body, media_type) == Broken("a conflict that names no other size to start from")


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (422, None, b""),
        (422, "text/plain; charset=utf-8", b"root hash mismatch\n"),
        (409, None, b""),
        (409, SIZE_MEDIA_TYPE, b""),
        (409, SIZE_MEDIA_TYPE, b"7\n"),
        (409, "text/plain; charset=utf-8", b"conflict\n"),
    ],
)
def test_another_tree_of_the_same_size_is_one_alarm_however_it_is_worded(
    status: int, media_type: str | None, body: bytes
) -> None:
    # SPEC: W-19 at equal sizes the root hashes are equal, else 422; the first release said 409
    assert answer(status, body, media_type, SAME_SIZE) == SplitView()


def test_a_refused_proof_is_no_alarm_by_itself() -> None:
    # SPEC: W-18 a proof that does not verify is answered 422
    assert answer(422) == Refused(422)
    assert answer(422, sent=AddCheckpoint(7, GROWTH.path, NOTE)) == Refused(422)


# The answer: everything else.


def test_a_log_that_is_not_known() -> None:
    # SPEC: W-10 an unknown origin is answered 404
    assert answer(404) == Unknown()


@pytest.mark.parametrize("status", [301, 307, 308, 400, 401, 403, 405, 413, 415])
def test_what_would_be_refused_again(status: int) -> None:
    # 403 is also what the oldest witnesses answer to an unknown origin. Redirects are not followed.
    assert answer(status, b"whatever") == Refused(status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass(status: int) -> None:
    # 500 is also what some witnesses answered to a bad signature.
    assert answer(status, b"whatever") == Retry(None)


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("99999999", MAX_RETRY_SECONDS),
        ("9" * 30, None),
        ("-1", None),
        ("1.5", None),
        ("\u0661", None),
        ("\udcff", None),
        ("", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_a_witness_can_say_when_to_ask_again(after: str, seconds: int | None) -> None:
    assert answer(429, after=after) == Retry(seconds)
    assert answer(503, after=after) == Retry(seconds)


@pytest.mark.parametrize("status", [100, 201, 202, 204, 206, 299, 600, 0, -1])
def test_what_the_protocol_does_not_have(status: int) -> None:
    assert answer(status, lines(WITNESS)) == Broken("the status is none that answers this call")
