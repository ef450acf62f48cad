"""A witness process under requests that nobody honest sends: answered as specified, without growing."""

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.e2e.witness_process import KEY, SECONDS, Running, running
from tests.keys import cosign, witness_key
from tests.witness_logs import LOG, PUBLIC, signed, submission
from tlog.add_checkpoint import MAX_PATH
from tlog.keys import SignerKey
from tlog.note import parse_signature_lines
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64

ORIGINS = 100_000
CONNECTIONS = 4
PIPELINED = 50
MAX_GROWTH = 4 * 1024 * 1024  # bytes: remembering so many origins would take ten times that


def flood(address: tuple[str, int], note: bytes) -> int:
    """Submit the same signed note under ever new origins, on some connections at once; how many were answered 404."""
    signature = note.partition(b"\n")[2]
    number_0 = _request(b"old 0\n\nunknown.example/000000\n" + signature)
    template = number_0.replace(b"/000000", b"/%06d")
    answered = 0
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address, timeout=SECONDS)) for _ in range(CONNECTIONS)]
        length = _length_of_an_answer(opened[0], template % ORIGINS)
        for first in range(0, ORIGINS, CONNECTIONS * PIPELINED):
            for place, connection in enumerate(opened):
                begin = first + place * PIPELINED
                connection.sendall(b"".join(template % number for number in range(begin, begin + PIPELINED)))
            answers = (_exactly(connection, length * PIPELINED) for connection in opened)
            answered += sum(answer.count(b"HTTP/1.1 404 ") for answer in answers)
    return answered


def _length_of_an_answer(connection: socket.socket, request: bytes) -> int:
    """All have the same: the answer to an unknown origin repeats nothing of it."""
    connection.sendall(request)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    [length] = [int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-le")]
    _exactly(connection, length - len(body))
    return len(head) + 4 + length


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        received += (more := connection.recv(length - len(received)))
        assert more, "the witness closed a connection"
    return bytes(received)


def _request(body: bytes) -> bytes:
    return b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def _status(answers: BinaryIO) -> int:
    """Read an answer with a Content-Length."""
    status = int(answers.readline().split()[1])
    length = 0
    while (line := answers.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    answers.read(length)
    return status


@pytest.mark.slow
def test_ever_new_unknown_origins_leave_no_trace(tmp_path: Path) -> None:
    """SPEC: W-10"""
    with running(tmp_path) as witness:
        assert witness.ask("POST", "/add-checkpoint", submission(0, 5))[0] == 200
        _some_of_everything(witness)  # what grows at its first use has grown
        memory, series = witness.memory(), witness.series()
        before = witness.gauge('sameview_witness_answers_total{outcome="unknownlog"}')
        assert flood(witness.public, signed(5).raw) == ORIGINS
        assert witness.gauge('sameview_witness_answers_total{outcome="unknownlog"}') == before + ORIGINS + 1
        assert witness.series() == series
        assert witness.memory() - memory < MAX_GROWTH


def test_malformed_oversized_and_forged_requests_are_answered_as_specified(tmp_path: Path) -> None:
    """SPEC: W-7, W-28, W-42"""
    with running(tmp_path) as witness:
        assert witness.ask("POST", "/add-checkpoint", submission(0, 5))[0] == 200
        _some_of_everything(witness)
        memory, series = witness.memory(), witness.series()
        for _ in range(20):
            _some_of_everything(witness)
        assert witness.series() == series
        assert witness.memory() - memory < MAX_GROWTH


def _some_of_everything(witness: Running) -> None:
    lines = b"A" * 43 + b"=\n"
    too_many = b"old 5\n" + lines * (MAX_PATH + 1) + b"\n" + signed(9).raw
    assert witness.ask("POST", "/add-checkpoint", too_many)[0] == 400
    assert _oversized(witness.public) == 413
    impostor = witness_key(KEY.name, seed=9)
    forged = cosign(signed(5).raw, impostor)
    forged_id = cosign(signed(5).raw, KEY).replace(_last_signature(cosign(signed(5).raw, KEY)), _damaged(KEY))
    for note in (forged, forged_id):
        status, lines_back = witness.ask("POST", "/add-checkpoint", b"old 5\n\n" + note)
        assert (status, len(parse_signature_lines(lines_back))) == (200, 1)
    copy = open_checkpoint(witness.ask("GET", PUBLIC)[1], [LOG.verifier_key, KEY.verifier_key])
    assert len(copy.note.signatures) == len(copy.signatures) == 2


def _last_signature(note: bytes) -> bytes:
    return note.rstrip(b"\n").rpartition(b" ")[2]


def _damaged(key: SignerKey) -> bytes:
    """A signature under our own name and key id that is not one."""
    return encode_base64(key.verifier_key.id + bytes(72))


def _oversized(address: tuple[str, int]) -> int:
    """Announce 20 MB and begin to send them; the answer does not wait for the end."""
    with socket.create_connection(address, timeout=SECONDS) as connection, connection.makefile("rb") as answers:
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n")
        connection.sendall(bytes(65536))
        return _status(answers)
