"""Requests a second of our HTTP server and of Hypercorn's trio worker, with the same small Starlette route.

Each server runs in a process of its own, the load generator in a third: 32 kept connections, each with one request in
flight. The servers take turns, so that what else the machine does hits both. ``ratio`` is by the clock, the median over
the turns; it also measures the generator, which is written in Python, and what else runs. ``ratio_by_processor_time``
compares what a request costs the server's process, without the kernel's work that is charged to others.

    python -m bench.http_server [--short]
"""

import argparse
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONNECTIONS = 32
BODY = b"x" * 300  # about a signed checkpoint
TARGET = 5.0  # what a server of our own must be worth, as a multiple of Hypercorn
REQUEST = b"GET /checkpoint HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
STOP_SECONDS = 20.0
ROOT = Path(__file__).resolve().parent.parent


async def checkpoint(request: Request) -> Response:
    return Response(BODY, headers={"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"})


app = Starlette(routes=[Route("/checkpoint", checkpoint)])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a fraction of the time, for a first impression")
    options.add_argument("--serve", choices=["sameview", "hypercorn"], help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.serve is not None:
        trio.run({"sameview": _serve_ours, "hypercorn": _serve_hypercorn}[chosen.serve])
        return
    turns, seconds = (4, 0.5) if chosen.short else (20, 1.0)
    print(json.dumps(_measure(turns, seconds)))


def _measure(turns: int, seconds: float) -> dict[str, object]:
    with ExitStack() as stack:
        servers = [stack.enter_context(_server(name)) for name in ("sameview", "hypercorn")]
        _pin(0)
        for server in servers:
            _load(server.port, seconds / 4)  # warms up caches on both sides
        for _ in range(turns):
            for server in servers:
                server.take_turn(seconds)
    ours, theirs = servers
    ratio = statistics.median(mine / other for mine, other in zip(ours.rates, theirs.rates, strict=True))
    return {
        "bench": "http_server",
        "figures": {server.name: server.figures() for server in servers},
        "connections": CONNECTIONS,
        "turns": turns,
        "seconds": seconds,
        "ratio": round(ratio, 2),
        "ratio_by_processor_time": round(theirs.processor_time / ours.processor_time, 2),
        "target": TARGET,
    }


class Server:
    """A server process and what was measured of it."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int) -> None:
        self.name = name
        self.port = port
        self._process = process
        self.rates: list[float] = []
        self._latencies: list[float] = []
        self._processor_seconds = 0.0

    def take_turn(self, seconds: float) -> None:
        before = _processor_seconds(self._process.pid)
        rate, latencies = _load(self.port, seconds)
        self._processor_seconds += _processor_seconds(self._process.pid) - before
        self.rates.append(rate)
        self._latencies += latencies

    @property
    def processor_time(self) -> float:
        return self._processor_seconds / len(self._latencies)

    def figures(self) -> dict[str, float]:
        return {
            "requests_per_processor_second": round(1 / self.processor_time),
            "requests_per_second": round(statistics.median(self.rates)),
            "lowest": round(min(self.rates)),
            "highest": round(max(self.rates)),
            "p50_ms": _percentile(self._latencies, 50),
            "p99_ms": _percentile(self._latencies, 99),
        }


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _percentile(times: list[float], percent: int) -> float:
    return round(statistics.quantiles(times, n=100)[percent - 1] * 1000, 2)


# The servers


async def _serve_ours() -> None:
    from runtime.server import open_listener, serve, url_of

    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, app, [listener], drain=drain))
        print(url_of(listener).rpartition(":")[2], flush=True)
        await _wait_for_termination()
        drain.set()


async def _serve_hypercorn() -> None:
    from hypercorn.config import Config
    from hypercorn.trio import serve

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(serve, app, config)
        print(urls[0].rpartition(":")[2], flush=True)
        await _wait_for_termination()
        nursery.cancel_scope.cancel()


async def _wait_for_termination() -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        await anext(signals)


@contextmanager
def _server(name: str) -> Iterator[Server]:
    """A server process, on the second processor if there is one."""
    command = [sys.executable, "-m", "bench.http_server", "--serve", name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, preexec_fn=partial(_pin, 1))
    if process.stdout is None:
        raise AssertionError("the process has a pipe")
    try:
        yield Server(name, process, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _pin(index: int) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) > 1:
        os.sched_setaffinity(0, {allowed[index % len(allowed)]})


# The load


def _load(port: int, seconds: float) -> tuple[float, list[float]]:
    """Requests a second, and how long each of them took."""
    sockets = {}
    poll = select.epoll()
    answer_size = _answer_size(port)
    for _ in range(CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    sent = {}
    missing = dict.fromkeys(sockets, answer_size)
    times = []
    begin = time.perf_counter()
    for number, sock in sockets.items():
        sent[number] = time.perf_counter()
        sock.send(REQUEST)
    while (now := time.perf_counter()) < begin + seconds:
        for number, _ in poll.poll(0):
            received = len(sockets[number].recv(65536))
            if not received:
                raise ConnectionError("the server hung up")
            missing[number] -= received
            if not missing[number]:
                now = time.perf_counter()
                times.append(now - sent[number])
                missing[number] = answer_size
                sent[number] = now
                sockets[number].send(REQUEST)
    for sock in sockets.values():
        sock.close()
    poll.close()
    return len(times) / (now - begin), times


def _answer_size(port: int) -> int:
    """The size of one answer: the same for all, since a date has a fixed length."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(REQUEST)
        data = b""
        while not data.endswith(BODY):
            data += sock.recv(65536)
    if not data.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError("the server does not serve the page")
    return len(data)


if __name__ == "__main__":
    main()
