"""A server process among clients that mean it ill: it neither falls, grows, leaks nor keeps good clients waiting."""

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from starlette.types import Receive, Scope, Send

from tests.serving import SECONDS, RawClient, answering, serving

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
MANY = 150  # hostile clients at once; more than a browser opens, fewer than the descriptors a test may have


# Smuggling: one request for us, two for a proxy that reads otherwise, or the other way round

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = {
    "CL.TE": POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(HIDDEN)) + HIDDEN,
    "TE.CL": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + HIDDEN,
    "CL.0 space before colon": POST + b"Content-Length : %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "listed lengths": POST + b"Content-Length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "signed length": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "TE space before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE tab in value": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE listed": POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE after bare LF": POST + b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE after bare CR": POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "TE on 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunk size with LF": CHUNKED + b"0\n\r\n" + HIDDEN,
    "chunk size overflow": CHUNKED + b"10000000000000000\r\n\r\n" + HIDDEN,
    "chunk without line end": CHUNKED + b"1\r\na0\r\n\r\n" + HIDDEN,
    "chunk extension with LF": CHUNKED + b"0;a\nb\r\n\r\n" + HIDDEN,
    "trailer": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n" + HIDDEN,
    "two hosts": b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "absolute target": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /\r\n\r\n" + HIDDEN,
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED)
async def test_no_second_request_is_found_in_an_ambiguous_one(data: bytes) -> None:
    asked = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await answering()(scope, receive, send)

    async with serving(app) as served, served.connect() as client:
        answer = await client.ask(data)
        rest = await client.wait_closed()
    assert (answer.status in (400, 501), rest, "/hidden" in asked) == (True, b"", False)


# A process of its own


@dataclass(frozen=True, slots=True)
class Process:
    """The echo server as a process that can be looked at from outside."""

    pid: int
    port: int

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def asks_well(self) -> bool:
        """Whether a client that behaves is served."""
        async with await self.connect() as stream:
            answer = await RawClient(stream).ask(POST + b"Content-Length: 3\r\n\r\nabc")
        return answer.body == b"POST / abc"

    @property
    def memory(self) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    async def wait_descriptors(self, count: int) -> None:
        while self.descriptors > count:  # noqa: ASYNC110 # another process sets no event
            await trio.sleep(0.01)


@pytest.fixture(scope="module")
def running() -> Iterator[Process]:
    """One process for all tests: what one of them leaves behind, the next one notices."""
    command = [sys.executable, "-m", "tests.e2e.echo_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            if process.stdout is None:
                raise AssertionError("the process has a pipe")
            yield Process(process.pid, int(process.stdout.readline()))
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


@pytest.fixture
async def server(running: Process) -> AsyncIterator[Process]:
    with trio.fail_after(3 * SECONDS):
        await running.asks_well()
        yield running


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HTTP/1.1\r\nX: ", CHUNKED + b"ff\r\n", POST + b"Content-Length: 9\r\n\r\n"],
    ids=["silence", "head", "chunk", "body"],
)
async def test_slow_clients_are_closed_and_good_ones_served_meanwhile(server: Process, begun: bytes) -> None:
    before = server.descriptors
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(await server.connect()) for _ in range(MANY)]
        for stream in slow:
            await stream.send_all(begun)
        async with trio.open_nursery() as nursery:
            for stream in slow:
                nursery.start_soon(_drip_until_closed, stream, bool(begun))
            assert await server.asks_well()
        await server.wait_descriptors(before)


async def _drip_until_closed(stream: trio.SocketStream, drips: bool) -> None:
    with suppress(trio.BrokenResourceError):
        while True:
            with trio.move_on_after(0.1):
                while await stream.receive_some():
                    pass
                return
            if drips:
                await stream.send_all(b"a")


async def test_clients_that_never_read_do_not_fill_the_memory(server: Process) -> None:
    before = server.memory
    async with AsyncExitStack() as stack:
        deaf = [await stack.enter_async_context(await server.connect()) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for stream in deaf:
                nursery.start_soon(_send_requests_without_reading, stream)
    assert (await server.asks_well(), server.memory - before < 20 * MIB) == (True, True)


async def _send_requests_without_reading(stream: trio.SocketStream) -> None:
    request = POST + b"Content-Length: 60000\r\n\r\n" + bytes(60_000)
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(request)


@pytest.mark.parametrize(
    ("begun", "more"),
    [
        (b"GET /", b"a" * 4096),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 500),
        (CHUNKED, b"1\r\na\r\n" * 500),
        (CHUNKED, b"1000\r\n" + bytes(4096) + b"\r\n"),
        (CHUNKED + b"1;", b"x" * 4096),
    ],
    ids=["target", "fields", "tiny chunks", "chunks", "extension"],
)
async def test_a_request_without_end_is_cut_off(server: Process, begun: bytes, more: bytes) -> None:
    before = server.memory
    async with await server.connect() as stream:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(begun)
            while True:
                await stream.send_all(more)
    # The largest body that is accepted, and as much again while it is put together.
    assert (await server.asks_well(), server.memory - before < 64 * MIB) == (True, True)


@pytest.mark.parametrize("data", [b"", GET[:10], CHUNKED, POST + b"Content-Length: 9\r\n\r\n", GET * 20])
async def test_clients_that_reset_leave_nothing_behind(server: Process, data: bytes) -> None:
    before = server.descriptors
    for _ in range(MANY):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.send(data)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert await server.asks_well()
    await server.wait_descriptors(before)


async def test_more_connections_than_served_are_refused_and_then_served_again(server: Process) -> None:
    before = server.descriptors
    async with AsyncExitStack() as stack:
        for _ in range(500):
            stream = await stack.enter_async_context(await server.connect())
            await stream.send_all(GET[:-2])
    await server.wait_descriptors(before)
    assert await server.asks_well()


async def test_noise_is_refused(server: Process) -> None:
    noise = bytes((i * 131 + 7) % 256 for i in range(50_000))
    for start in range(0, len(noise), 500):
        async with await server.connect() as stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(noise[start : start + 500])
                await stream.send_eof()
    assert await server.asks_well()
