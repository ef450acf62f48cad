"""The add-checkpoint call: one spelling for every request, and an outcome for every answer."""

from hypothesis import given
from hypothesis import strategies as st

from tests.keys import log_key, note_line, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint, Behind, Cosigned, SplitView, format_size, parse_size, read_answer
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import message_to_sign

SIZES = st.integers(0, 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32).map(Hash)
PATHS = st.lists(HASHES, max_size=63).map(tuple)
REQUESTS = st.builds(AddCheckpoint, SIZES, PATHS, st.binary(max_size=200))

LOG, WITNESS = log_key(), witness_key()
CHECKPOINT = Checkpoint("log.example/one", 7, Hash(bytes(32)))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
LINE = note_line(CHECKPOINT, WITNESS).format()
STATUSES = st.sampled_from([200, 400, 403, 404, 409, 422, 429, 500]) | st.integers(-1, 1000)
MEDIA_TYPES = st.none() | st.sampled_from(["text/x.tlog.size", "text/x.tlog.size;a=b", "text/plain"]) | st.text()
BODIES = st.sampled_from([b"", b"\n", b"3\n", b"7\n", LINE, LINE + LINE, b"\n" + LINE]) | st.binary(max_size=99)


@given(REQUESTS)
def test_what_is_written_is_read_back_as_the_same_request(request: AddCheckpoint) -> None:
    assert AddCheckpoint.parse(request.format()) == request


@given(REQUESTS, st.data())
def test_what_is_read_has_one_spelling(request: AddCheckpoint, data: st.DataObject) -> None:
    body = bytearray(request.format())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = AddCheckpoint.parse(bytes(body))
    except FormatError:
        return
    assert changed.format() == body


@given(SIZES)
def test_sizes_are_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(STATUSES, MEDIA_TYPES, BODIES, st.sampled_from([0, 3, 7]), PATHS, st.none() | st.text())
def test_no_answer_raises_and_none_is_believed_without_reason(
    status: int, media_type: str | None, body: bytes, old_size: int, path: tuple[Hash, ...], after: str | None
) -> None:
    sent = AddCheckpoint(old_size, path, NOTE)
    answer = read_answer(status, media_type, body, sent, [WITNESS.verifier_key], after)
    match answer:
        case Cosigned(signatures):
            assert status == 200
            assert [signature.key for signature in signatures] == [WITNESS.verifier_key]
            for found in signatures:
                message = message_to_sign(found.key, CHECKPOINT.format(), found.timestamp or 0)
                found.key.verify(message, found.line.body[8:])
        case Behind(size):
            assert (status, body) == (409, format_size(size))
            assert size != old_size
        case SplitView():
            assert status in (409, 422)
            assert (old_size, path) == (CHECKPOINT.size, ())
        case _:
            pass


@given(st.integers(0, len(LINE) * 8 - 1))
def test_no_changed_bit_of_a_cosignature_goes_unnoticed(place: int) -> None:
    body = bytearray(LINE)
    body[place // 8] ^= 1 << place % 8
    answer = read_answer(200, None, bytes(body), AddCheckpoint(3, (), NOTE), [WITNESS.verifier_key])
    assert not isinstance(answer, Cosigned)
