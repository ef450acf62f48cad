"""What benches of a daemon share: a process on the first processor, and load on it from the second.

Requests go in *lanes*: a lane is a kept connection with one request in flight; its next one leaves when the last one
was answered.
"""

import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

STOP_SECONDS = 30.0
ROOT = Path(__file__).resolve().parent.parent

Lanes = Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Played:
    """What came of some requests."""

    seconds: float
    latencies: list[float]
    processor_us: float
    written: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """Milliseconds that so many of a hundred requests stay below."""
        return round(statistics.quantiles(self.latencies, n=100)[percent - 1] * 1000, 2)


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that serves."""

    process: subprocess.Popen[bytes]
    port: int
    operator_port: int | None = None

    def play(self, lanes: Lanes, status: bytes) -> Played:
        """Send each lane over a connection of its own; every answer must have this status."""
        spent, written = self.processor_seconds(), self._written()
        seconds, latencies = Load(self.port, lanes, status).run()
        spent = self.processor_seconds() - spent
        return Played(seconds, latencies, spent / len(latencies) * 1e6, self._written() - written)

    def resident_megabytes(self) -> float:
        """The memory that it holds."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return round(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    def most_resident_megabytes(self) -> float:
        """The most memory that it has held."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return round(int(fields["VmHWM"].split()[0]) * 1024 / 1e6, 1)

    def processor_seconds(self) -> float:
        """The processor time that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _written(self) -> int:
        """Bytes that it caused to be written to a disk."""
        counts = dict(line.split(": ") for line in Path(f"/proc/{self.process.pid}/io").read_text().splitlines())
        return int(counts["write_bytes"])


@contextmanager
def daemon(role: str, config: Path, program: str = "sameview") -> Iterator[Daemon]:
    """Serve on the first processor, until the block ends; ``program`` is a module that is called as ours is."""
    command = [sys.executable, "-m", program, role, "serve", "--config", str(config)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, preexec_fn=partial(pin, 0)
    )
    if process.stdout is None:
        raise AssertionError("the process has a pipe")
    with process.stdout as ready:
        try:
            said = json.loads(ready.readline())
            ports = [int(said[name].rpartition(":")[2]) for name in ("url", "operator_url") if name in said]
            yield Daemon(process, *ports)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


def pin(index: int) -> None:
    """Stay on one processor."""
    os.sched_setaffinity(0, {_ALLOWED[index % len(_ALLOWED)]})


def post(path: str, body: bytes, content_type: str = "application/octet-stream") -> bytes:
    """A request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def microseconds(step: Callable[[], object], repeats: int) -> float:
    """What a step takes: the median over some rounds, since others use the machine too."""
    rounds = []
    for _ in range(5):
        began = perf_counter()
        for _ in range(repeats // 5):
            step()
        rounds.append((perf_counter() - began) / (repeats // 5) * 1e6)
    return statistics.median(rounds)


@dataclass(slots=True)
class _Lane:
    socket: socket.socket
    waiting: list[bytes]
    sent: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class Load:
    """Requests in lanes."""

    port: int
    lanes: Lanes
    status: bytes
    _latencies: list[float] = field(default_factory=list)

    def run(self) -> tuple[float, list[float]]:
        """Seconds until all were answered, and how long each took."""
        opened = [_Lane(self._connect(), list(reversed(lane))) for lane in self.lanes]
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
            raise ConnectionError("the daemon hung up")
        lane.received += data
        head, separator, body = lane.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        if head[9:12] != self.status:
            raise RuntimeError(f"the daemon answered {head[9:12].decode()} instead of {self.status.decode()}")
        lane.received = b""
        self._latencies.append(perf_counter() - lane.sent)
        self._send(lane)


_ALLOWED = sorted(os.sched_getaffinity(0))
_LENGTH = re.compile(rb"(?i:content-length): (\d+)")
