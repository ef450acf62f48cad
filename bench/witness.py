"""Cosignatures and refusals a second of a witness process, each cosignature durable before its answer leaves.

The witness runs on one processor, the load on another: kept connections, on each of them one request in flight, and
each log on one connection, so that its requests stay in order. Every scenario has a witness of its own, with an Ed25519
key; one has an ML-DSA-44 key too.

``bare_us`` is what no witness can do without, in this Python, on the witness's processor: the log's signature, the
proof, and a signature of its own. ``ratio`` is the witness of 20 logs against that. ``budget_us`` says where the
witness's processor time goes: ``http`` is that of a request refused at its first byte; ``parse``, ``verify`` (the log's
signature and the proof) and ``sign`` (and verifying what was signed) are measured in this process; ``commit`` is what
is left of a cosignature's time, and holds the register, the database, the public copy and the ways between threads.

    python -m bench.witness [--short]
"""

import argparse
import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import trio

from runtime.keyfiles import write_signer_key
from tests.forks import Tree, leaves
from tests.keys import NOW, log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.keys import SignerKey
from tlog.note import Note, message_to_sign, open_note, signature_line
from tlog.proofs import prove_consistency, verify_consistency
from witness.__main__ import create
from witness.config import read_settings

NAME = "witness.example/bench"
START = 10_000  # the size of every log before what is measured: proofs as long as real ones
CONNECTIONS = 20  # over which refusals are asked for
SAVED_SECONDS = 1.5  # after which the witness has written what it leaves for later
STOP_SECONDS = 30.0
ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "one_log_per_second": 400,
    "twenty_logs_per_second": 1800,
    "two_hundred_logs_per_second": 1800,
    "p99_ms_200": 150,
    "refusals": {"bad_signature": 3500, "stale": 4000, "unknown": 8000},
    "mldsa_per_second": 500,
}

Lanes = list[list[bytes]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked."""

    one: int
    twenty: int
    two_hundred: int
    mldsa: int
    refusals: int
    repeats: int


LONG = Sizes(one=2000, twenty=400, two_hundred=60, mldsa=150, refusals=400, repeats=2000)
SHORT = Sizes(one=100, twenty=20, two_hundred=4, mldsa=10, refusals=20, repeats=100)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a fraction of the requests, for a first impression")
    sizes = SHORT if options.parse_args().short else LONG
    print(json.dumps(_measure(sizes)))


def _measure(sizes: Sizes) -> dict[str, object]:
    _pin(0)  # as the witness is
    steps = {name: round(_microseconds(step, sizes.repeats), 1) for name, step in _steps().items()}
    _pin(1)
    bare = steps.pop("bare")
    logs = Logs(START + max(sizes.one, sizes.twenty, sizes.two_hundred, sizes.mldsa) + 1)
    one = _cosign(logs, 1, sizes.one)
    two_hundred = _cosign(logs, 200, sizes.two_hundred)
    mldsa = _cosign(logs, 20, sizes.mldsa, mldsa_key(NAME))
    twenty, refusals, malformed = _cosign_and_refuse(logs, sizes)
    budget = {"http": round(malformed.processor_us, 1), **steps}
    budget["commit"] = round(twenty.processor_us - sum(budget.values()), 1)
    return {
        "bench": "witness",
        "figures": {
            "one_log_per_second": round(one.rate),
            "twenty_logs_per_second": round(twenty.rate),
            "two_hundred_logs_per_second": round(two_hundred.rate),
            "p50_ms_200": two_hundred.percentile(50),
            "p99_ms_200": two_hundred.percentile(99),
            "refusals": {name: round(played.rate) for name, played in refusals.items()},
            "refusals_bytes_to_disk": sum(played.written for played in refusals.values()),
            "mldsa_per_second": round(mldsa.rate),
            "bare_us": bare,
            "budget_us": budget,
            "processor_us": {
                "one_log": round(one.processor_us),
                "twenty_logs": round(twenty.processor_us),
                "two_hundred_logs": round(two_hundred.processor_us),
                "mldsa": round(mldsa.processor_us),
                **{name: round(played.processor_us) for name, played in refusals.items()},
            },
        },
        "ratio": round(twenty.rate * bare / 1e6, 3),
        "targets": TARGETS,
    }


def _cosign(logs: "Logs", number: int, growths: int, *more: SignerKey) -> "Played":
    with _witness(logs, number, *more) as witness:
        witness.play([[logs.request(log, 0, START)] for log in range(number)], b"200")
        return witness.play([logs.growth(log, growths) for log in range(number)], b"200")


def _cosign_and_refuse(logs: "Logs", sizes: Sizes) -> "tuple[Played, dict[str, Played], Played]":
    number, size = 20, START + sizes.twenty
    with _witness(logs, number) as witness:
        witness.play([[logs.request(log, 0, START)] for log in range(number)], b"200")
        cosigned = witness.play([logs.growth(log, sizes.twenty) for log in range(number)], b"200")
        sleep(SAVED_SECONDS)
        next_ = [logs.request(log, size, size + 1) for log in range(number)]
        stale = [logs.request(log, size - 1, size + 1) for log in range(number)]
        unknown = [logs.request(log, 0, START) for log in range(number, 2 * number)]

        def refused(requests: Sequence[bytes], status: bytes) -> Played:
            return witness.play([[request] * sizes.refusals for request in requests[:CONNECTIONS]], status)

        refusals = {
            "bad_signature": refused([_damaged(request) for request in next_], b"403"),
            "stale": refused(stale, b"409"),
            "unknown": refused(unknown, b"404"),
        }
        return cosigned, refusals, refused([_post(b"x")] * number, b"400")


# What is sent.


class Logs:
    """Logs that grow alike, each with its own name and key."""

    def __init__(self, size: int) -> None:
        self._tree = Tree(leaves(size))

    def key(self, log: int) -> SignerKey:
        return log_key(f"bench.example/log{log}", seed=log + 1)

    def request(self, log: int, old: int, new: int) -> bytes:
        return _post(self.body(log, old, new).format())

    def body(self, log: int, old: int, new: int) -> AddCheckpoint:
        key = self.key(log)
        checkpoint = Checkpoint(key.name, new, self._tree.head(new).root_hash)
        return AddCheckpoint(old, tuple(prove_consistency(old, new, self._tree.read)), sign_checkpoint(checkpoint, key))

    def growth(self, log: int, times: int) -> list[bytes]:
        """Requests to cosign one size after the other."""
        return [self.request(log, size, size + 1) for size in range(START, START + times)]


def _post(body: bytes) -> bytes:
    head = b"POST /add-checkpoint HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _damaged(request: bytes) -> bytes:
    """The same request, whose signature has another byte in its middle."""
    at = len(request) - 40
    return request[:at] + (b"A" if request[at : at + 1] != b"A" else b"B") + request[at + 1 :]


# The witness.


@dataclass(frozen=True, slots=True)
class Played:
    """What came of some requests."""

    seconds: float
    latencies: list[float]
    processor_us: float
    written: int

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        return round(statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000, 2)


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness process."""

    process: subprocess.Popen[bytes]
    port: int

    def play(self, lanes: Lanes, status: bytes) -> Played:
        """Send each lane over a connection of its own; every answer must have this status."""
        spent, written = self._processor_seconds(), self._written()
        seconds, latencies = Load(self.port, lanes, status).run()
        spent = self._processor_seconds() - spent
        return Played(seconds, latencies, spent / len(latencies) * 1e6, self._written() - written)

    def _processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _written(self) -> int:
        """Bytes that it caused to be written to a disk."""
        counts = dict(line.split(": ") for line in Path(f"/proc/{self.process.pid}/io").read_text().splitlines())
        return int(counts["write_bytes"])


@contextmanager
def _witness(logs: Logs, number: int, *more: SignerKey) -> Iterator[Witness]:
    """A new witness of some logs, on the first processor."""
    with tempfile.TemporaryDirectory() as folder:
        config = _configure(Path(folder), [logs.key(log) for log in range(number)], (witness_key(NAME), *more))
        trio.run(create, read_settings(config))
        command = [sys.executable, "-m", "sameview", "witness", "serve", "--config", str(config)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, preexec_fn=partial(_pin, 0)
        )
        if process.stdout is None:
            raise AssertionError("the process has a pipe")
        with process.stdout as ready:
            try:
                yield Witness(process, int(json.loads(ready.readline())["url"].rpartition(":")[2]))
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_SECONDS)


def _configure(folder: Path, logs: Sequence[SignerKey], keys: Sequence[SignerKey]) -> Path:
    for number, key in enumerate(keys):
        write_signer_key(folder / f"key{number}", key)
    listed = "".join(f'[[log]]\nvkey = "{key.verifier_key.format()}"\n' for key in logs)
    files = json.dumps([f"key{number}" for number in range(len(keys))])
    config = folder / "witness.toml"
    config.write_text(
        f'name = "{NAME}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
        f'register = "register"\nkeys = {files}\n{listed}'
    )
    return config


def _pin(index: int) -> None:
    os.sched_setaffinity(0, {_ALLOWED[index % len(_ALLOWED)]})


_ALLOWED = sorted(os.sched_getaffinity(0))


# The load.


@dataclass(slots=True)
class _Lane:
    socket: socket.socket
    waiting: list[bytes]
    sent: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class Load:
    """Requests in lanes: the next one of a lane leaves when the last one was answered."""

    port: int
    lanes: Lanes
    status: bytes
    _latencies: list[float] = field(default_factory=list)

    def run(self) -> tuple[float, list[float]]:
        """Seconds until all were answered, and how long each took."""
        opened = [_Lane(self._connect(), lane[::-1]) for lane in self.lanes]
        lanes = {lane.socket.fileno(): lane for lane in opened}
        with select.epoll() as poll:
            for number in lanes:
                poll.register(number, select.EPOLLIN)
            began = perf_counter()
            for lane in opened:
                self._send(lane)
            total = sum(map(len, self.lanes))
            while len(self._latencies) < total:
                for number, _ in poll.poll():
                    self._receive(lanes[number])
            seconds = perf_counter() - began
        for lane in opened:
            lane.socket.close()
        return seconds, self._latencies

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _send(self, lane: _Lane) -> None:
        if lane.waiting:
            lane.sent = perf_counter()
            lane.socket.sendall(lane.waiting.pop())

    def _receive(self, lane: _Lane) -> None:
        data = lane.socket.recv(65536)
        if not data:
            raise ConnectionError("the witness hung up")
        lane.received += data
        head, separator, body = lane.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        if head[9:12] != self.status:
            raise RuntimeError(f"the witness answered {head[9:12].decode()} instead of {self.status.decode()}")
        lane.received = b""
        self._latencies.append(perf_counter() - lane.sent)
        self._send(lane)


_LENGTH = re.compile(rb"content-length: (\d+)")


# The steps of one cosignature, alone.


def _steps() -> dict[str, Callable[[], object]]:
    logs = Logs(START + 1)
    tree = Tree(leaves(START + 1))
    old, new = tree.head(START), tree.head(START + 1)
    body = logs.body(0, START, START + 1)
    raw, note = body.format(), Note.parse(body.checkpoint_note)
    verifiers, path = (logs.key(0).verifier_key,), body.path
    own = witness_key(NAME)
    message = message_to_sign(own.verifier_key, note.text, NOW)

    def parse() -> None:
        Checkpoint.parse(Note.parse(AddCheckpoint.parse(raw).checkpoint_note).text)

    def verify() -> None:
        open_note(note, verifiers)
        verify_consistency(old, new, path)

    def sign() -> None:
        signature = own.sign(message)
        own.verifier_key.verify(message, signature)
        signature_line(own.verifier_key, NOW, signature).format()

    def bare() -> None:
        verify()
        own.sign(message)

    return {"parse": parse, "verify": verify, "sign": sign, "bare": bare}


def _microseconds(step: Callable[[], object], repeats: int) -> float:
    """The median over some rounds, since others use the machine too."""
    rounds = []
    for _ in range(5):
        began = perf_counter()
        for _ in range(repeats // 5):
            step()
        rounds.append((perf_counter() - began) / (repeats // 5) * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    main()
