#!/usr/bin/env python3
"""The add-checkpoint call: requests have one spelling, and no answer raises or is believed without reason.

The input is taken for a request, and for an answer: a byte that chooses the status, one that chooses the media type,
one that chooses what was sent, and the body.
"""

from fuzz.harness import main
from tests.keys import log_key, note_line, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint, Behind, Cosigned, SplitView, format_size, parse_size, read_answer
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import message_to_sign, parse_signature_lines

LOG, WITNESS = log_key(), witness_key()
CHECKPOINT = Checkpoint("log.example/one", 7, Hash(b"r" * 32))
NOTE = sign_checkpoint(CHECKPOINT, LOG)
LINES = note_line(CHECKPOINT, WITNESS).format() + note_line(CHECKPOINT, LOG).format()

STATUSES = (200, 409, 422, 404, 403, 400, 429, 500, 503, 204, 302, 0)
MEDIA_TYPES = ("text/x.tlog.size", None, "text/x.tlog.size; charset=utf-8", "text/plain")
SENT = (AddCheckpoint(3, (Hash(bytes(32)),), NOTE), AddCheckpoint(7, (), NOTE), AddCheckpoint(0, (), NOTE))
HONEST = {line for line in parse_signature_lines(LINES) if line.name == WITNESS.name}

SEEDS = [
    *(sent.format() for sent in SENT),
    b"\x00\x00\x00" + LINES,
    *(b"\x01" + bytes([media_type, sent]) + b"7\n" for media_type in range(3) for sent in range(3)),
    b"\x01\x00\x01",
    b"\x02\x03\x01no",
    b"9223372036854775807\n",
]


def target(data: bytes) -> None:
    require_one_spelling(data)
    require_one_size(data)
    if len(data) >= 3:
        status, media_type = STATUSES[data[0] % len(STATUSES)], MEDIA_TYPES[data[1] % len(MEDIA_TYPES)]
        require_reason(status, media_type, SENT[data[2] % len(SENT)], data[3:])


def require_one_spelling(body: bytes) -> None:
    try:
        request = AddCheckpoint.parse(body)
    except FormatError:
        return
    if request.format() != body:
        raise AssertionError("an accepted request has a second spelling")


def require_one_size(body: bytes) -> None:
    try:
        size = parse_size(body)
    except FormatError:
        return
    if format_size(size) != body:
        raise AssertionError("an accepted size has a second spelling")


def require_reason(status: int, media_type: str | None, sent: AddCheckpoint, body: bytes) -> None:
    match read_answer(status, media_type, body, sent, [WITNESS.verifier_key], body.decode("latin-1")):
        case Cosigned(signatures):
            for found in signatures:
                message = message_to_sign(found.key, CHECKPOINT.format(), found.timestamp or 0)
                found.key.verify(message, found.line.body[8:])
            if status != 200 or not {found.line for found in signatures} <= HONEST or not signatures:
                raise AssertionError("a cosignature that the witness never made was believed")
        case Behind(size):
            if status != 409 or body != format_size(size) or size == sent.old_size:
                raise AssertionError("a size was made up")
        case SplitView():
            if status not in (409, 422) or sent.old_size != CHECKPOINT.size or sent.path:
                raise AssertionError("an alarm was raised without reason")
        case _:
            pass


if __name__ == "__main__":
    main(target, SEEDS)
