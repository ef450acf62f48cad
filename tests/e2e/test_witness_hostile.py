"""A witness process under requests that nobody honest sends: answered as specified, without growing."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from runtime.keyfiles import write_signer_key
from tests.keys import cosign, witness_key
from tests.witness_logs import LOG, PUBLIC, signed, submission
from tlog.add_checkpoint import MAX_PATH
from tlog.keys import SignerKey
from tlog.note import parse_signature_lines
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64

KEY = witness_key("witness.example/one")
ORIGINS = 100_000
BUSY_SECONDS = 6.0  # the flood ends here on a slow machine, with fewer origins
FEWEST = 2_000  # and not with so few that growth would not show
MAX_GROWTH = 4 * 1024 * 1024  # bytes: remembering them would take ten times that
PIPELINED = 32
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Running:
    """A witness in a process of its own."""

    public: tuple[str, int]
    operator: tuple[str, int]

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        return _ask(self.public, method, path, body)

    def exposition(self) -> str:
        return _ask(self.operator, "GET", "/metrics", None)[1].decode()

    def memory(self) -> float:
        return self.gauge("process_resident_memory_bytes")

    def gauge(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.exposition(), re.M)
        assert found is not None
        return float(found[1])

    def series(self) -> set[str]:
        """Every series, without its value."""
        return {line.rpartition(" ")[0] for line in self.exposition().split("\n") if line and line[0] != "#"}


def _ask(address: tuple[str, int], method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=SECONDS)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def running(directory: Path) -> Iterator[Running]:
    write_signer_key(directory / "w.key", KEY)
    config = directory / "witness.toml"
    config.write_text(
        'name = "witness.example/one"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\n'
        f'data = "data"\nregister = "register"\nkeys = ["w.key"]\n[[log]]\nvkey = "{LOG.verifier_key}"\n'
    )
    command = [sys.executable, "-m", "sameview", "witness"]
    subprocess.run([*command, "init", "--config", config], check=True, capture_output=True)
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen([*command, "serve", "--config", config], stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield Running(_address(ready["url"]), _address(ready["operator_url"]))
        finally:
            process.terminate()
            process.wait(SECONDS)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def flood(address: tuple[str, int], note: bytes) -> Counter[int]:
    """Submit the same signed note under ever new origins; how often each status came."""
    statuses: Counter[int] = Counter()
    until = time.monotonic() + BUSY_SECONDS
    signature = note.partition(b"\n")[2]
    with socket.create_connection(address, timeout=SECONDS) as connection, connection.makefile("rb") as answers:
        for first in range(0, ORIGINS, PIPELINED):
            bodies = [b"old 0\n\nunknown.example/%d\n" % (first + place) + signature for place in range(PIPELINED)]
            connection.sendall(b"".join(map(_request, bodies)))
            statuses.update(_status(answers) for _ in bodies)
            if time.monotonic() > until and statuses.total() >= FEWEST:
                break
    return statuses


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


def test_ever_new_unknown_origins_leave_no_trace(tmp_path: Path) -> None:
    """SPEC: W-10"""
    with running(tmp_path) as witness:
        assert witness.ask("POST", "/add-checkpoint", submission(0, 5))[0] == 200
        _some_of_everything(witness)  # what grows at its first use has grown
        memory, series = witness.memory(), witness.series()
        statuses = flood(witness.public, signed(5).raw)
        assert set(statuses) == {404}
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
