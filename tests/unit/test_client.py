"""The client against our own server and against servers that lie, stall, flood or hang up."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from starlette.types import Receive, Scope, Send

from runtime.client import Client, Failure, FetchError, Response
from tests.serving import SECONDS, answering, echo, serving

SHORT = 0.1  # seconds; a deadline that a test waits for
MIB = 1024 * 1024

Behaviour = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def behaving(behaviour: Behaviour) -> AsyncIterator[str]:
    """A server that reads one request and then does what the test says; gives its URL."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            with trio.move_on_after(SECONDS):
                try:
                    await behaviour(stream)
                except trio.BrokenResourceError:
                    return

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handle, [listener])
            yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
            nursery.cancel_scope.cancel()


def saying(data: bytes) -> Behaviour:
    async def say(stream: trio.SocketStream) -> None:
        await stream.send_all(data)

    return say


def ok(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


async def fetch(behaviour: Behaviour, *, cap: int = MIB, seconds: float = SECONDS, gunzip: bool = False) -> Response:
    async with behaving(behaviour) as url, Client() as client:
        return await client.fetch("GET", url, cap=cap, seconds=seconds, gunzip=gunzip)


async def failure(behaviour: Behaviour, *, cap: int = MIB, seconds: float = SECONDS) -> tuple[Failure, str]:
    """How a fetch fails."""
    async with behaving(behaviour) as url, Client() as client:
        try:
            await client.fetch("GET", url, cap=cap, seconds=seconds)
        except FetchError as error:
            return error.failure, str(error)
    raise AssertionError("the fetch worked")


# Answers


async def test_an_answer_has_status_headers_and_body() -> None:
    app = answering(409, b"3\n", [(b"content-type", b"text/x.tlog.size")])
    async with serving(app) as served, Client() as client:
        answer = await client.fetch("GET", served.url, cap=10, seconds=SECONDS)
    assert (answer.status, answer.headers["content-type"], answer.body) == (409, "text/x.tlog.size", b"3\n")


async def test_a_body_is_sent() -> None:
    async with serving(echo) as served, Client() as client:
        answer = await client.fetch("POST", f"{served.url}/a/b", body=b"abc", cap=100, seconds=SECONDS)
    assert answer.body == b"POST /a/b abc"


async def test_the_request_says_no_more_than_needed() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])
        await answering()(scope, receive, send)

    async with serving(app) as served, Client("sameview/test") as client:
        await client.fetch("GET", served.url, cap=10, seconds=SECONDS, headers={"x-y": "z"})
        host = served.url.removeprefix("http://").encode()
    assert sorted(seen) == [
        (b"accept", b"*/*"),
        (b"accept-encoding", b"identity"),
        (b"connection", b"keep-alive"),
        (b"host", host),
        (b"user-agent", b"sameview/test"),
        (b"x-y", b"z"),
    ]


async def test_a_connection_is_kept_for_the_next_fetch() -> None:
    clients = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clients.append(scope["client"])
        await answering()(scope, receive, send)

    async with serving(app) as served, Client() as client:
        for _ in range(2):
            await client.fetch("GET", served.url, cap=10, seconds=SECONDS)
    assert clients[0] == clients[1]


async def test_a_server_cannot_make_the_client_carry_cookies() -> None:
    seen: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(name for name, _ in scope["headers"])
        await answering(headers=[(b"set-cookie", b"id=1; Max-Age=9999")])(scope, receive, send)

    async with serving(app) as served, Client() as client:
        for _ in range(2):
            await client.fetch("GET", served.url, cap=10, seconds=SECONDS)
    assert seen.count(b"host") == 2
    assert b"cookie" not in seen


async def test_fetches_run_at_the_same_time() -> None:
    async with serving(echo) as served, Client() as client, trio.open_nursery() as nursery:
        for i in range(20):
            nursery.start_soon(_fetch_and_check, client, f"{served.url}/{i}", b"GET /%d " % i)


async def _fetch_and_check(client: Client, url: str, body: bytes) -> None:
    assert (await client.fetch("GET", url, cap=100, seconds=SECONDS)).body == body


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    answer = await fetch(saying(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"))
    assert (answer.status, answer.headers["location"]) == (302, "http://127.0.0.1:1/")


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await fetch(saying(ok(b"abc")))).body == b"abc"


async def test_an_answer_may_be_as_large_as_the_cap() -> None:
    assert len((await fetch(saying(ok(b"a" * 1000)), cap=1000)).body) == 1000


async def test_an_answer_that_ends_with_the_connection_is_whole() -> None:
    assert (await fetch(saying(b"HTTP/1.0 200 OK\r\n\r\nabc"))).body == b"abc"


# Compression


@pytest.mark.parametrize("gunzip", [True, False])
async def test_gzip_is_decompressed_also_when_nobody_asked(gunzip: bool) -> None:
    answer = ok(gzip.compress(b"abc" * 1000), b"Content-Encoding: gzip\r\n")
    assert (await fetch(saying(answer), gunzip=gunzip)).body == b"abc" * 1000


async def test_gzip_is_asked_for_where_it_is_welcome() -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"])[b"accept-encoding"])
        await answering()(scope, receive, send)

    async with serving(app) as served, Client() as client:
        await client.fetch("GET", served.url, cap=10, seconds=SECONDS, gunzip=True)
    assert seen == [b"gzip, identity"]


@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 2**19, 2**20])
async def test_gzip_is_decompressed_whole_whatever_portions_it_comes_out_in(size: int) -> None:
    body = bytes(size)
    answer = await fetch(saying(ok(gzip.compress(body), b"Content-Encoding: gzip\r\n")))
    assert answer.body == body


async def test_gzip_that_could_not_compress_may_be_as_large_as_the_cap() -> None:
    noise = bytes(zlib.crc32(i.to_bytes(4, "big")) & 0xFF for i in range(100_000))
    answer = ok(gzip.compress(noise, 0), b"Content-Encoding: gzip\r\n")
    assert (await fetch(saying(answer), cap=len(noise))).body == noise


async def test_a_gzip_bomb_takes_no_memory() -> None:
    bomb = _bomb(200 * MIB)
    tracemalloc.start()
    try:
        refused = await failure(saying(ok(bomb, b"Content-Encoding: gzip\r\n")), cap=MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (refused[0], len(bomb) < 250_000, peak < 5 * MIB) == (Failure.TOO_LARGE, True, True)


def _bomb(size: int) -> bytes:
    deflate = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join(deflate.compress(bytes(MIB)) for _ in range(size // MIB)) + deflate.flush()


@pytest.mark.parametrize(
    "body",
    [
        b"not gzip at all",
        b"",
        gzip.compress(b"abc", mtime=0)[:-1],
        gzip.compress(b"abc", mtime=0) + b"x",
        gzip.compress(b"abc", mtime=0)[:-8] + bytes(8),
    ],
)
async def test_bad_gzip_is_the_servers_fault(body: bytes) -> None:
    assert (await failure(saying(ok(body, b"Content-Encoding: gzip\r\n"))))[0] == Failure.PROTOCOL


async def test_gzip_of_nothing_cannot_go_on_for_ever() -> None:
    async def flood(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10])
        while True:
            await stream.send_all(b"\x00\x00\x00\xff\xff" * 1000)  # stored blocks of no bytes

    assert (await failure(flood, cap=1000))[0] == Failure.TOO_LARGE


@pytest.mark.parametrize("coding", [b"br", b"deflate", b"zstd", b"gzip, gzip"])
async def test_another_encoding_is_refused(coding: bytes) -> None:
    assert (await failure(saying(ok(b"abc", b"Content-Encoding: %b\r\n" % coding))))[0] == Failure.PROTOCOL


# Failures


@pytest.mark.parametrize("fields", [b"", b"Content-Length: 99999999999999999\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_an_endless_body_is_cut_off_at_the_cap(fields: bytes) -> None:
    async def flood(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n%b\r\n" % fields)
        while True:
            await stream.send_all(b"1000\r\n" + b"a" * 4096 + b"\r\n")

    assert (await failure(flood, cap=100_000))[0] == Failure.TOO_LARGE


async def test_a_body_announced_as_too_large_is_not_read() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"

    async def announce(stream: trio.SocketStream) -> None:
        await stream.send_all(answer)
        await trio.sleep_forever()

    assert (await failure(announce, cap=1000))[0] == Failure.TOO_LARGE


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"])
async def test_dripped_bytes_do_not_extend_the_deadline(head: bytes) -> None:
    async def drip(stream: trio.SocketStream) -> None:
        await stream.send_all(head or b"H")
        while True:
            await trio.sleep(SHORT / 10)
            await stream.send_all(b"a" if head else b"")

    assert await failure(drip, seconds=SHORT) == (Failure.TIMEOUT, "no complete answer within 0.1 seconds")


async def test_silence_ends_with_the_deadline() -> None:
    async def silence(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    assert (await failure(silence, seconds=SHORT))[0] == Failure.TIMEOUT


async def test_interim_answers_for_ever_end_with_the_deadline() -> None:
    async def go_on(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await trio.sleep(SHORT / 100)

    assert (await failure(go_on, seconds=SHORT))[0] == Failure.TIMEOUT


async def test_a_failed_fetch_leaves_the_client_usable() -> None:
    async def silence(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with behaving(silence) as stalled, serving(echo) as served, Client() as client:
        with pytest.raises(FetchError):
            await client.fetch("GET", stalled, cap=10, seconds=SHORT)
        assert (await client.fetch("GET", served.url, cap=100, seconds=SECONDS)).body == b"GET / "


@pytest.mark.parametrize(
    "answer",
    [
        b"SECRET\r\n\r\n",
        b"HTTP/1.1 SECRET\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSECRET\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nSECRET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nSECRET\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: SECRET\r\n" * 20_000 + b"\r\n",
    ],
)
async def test_garbage_is_a_protocol_error_that_repeats_nothing(answer: bytes) -> None:
    assert await failure(saying(answer)) == (Failure.PROTOCOL, "the server does not speak proper HTTP")


async def test_bytes_beyond_the_announced_length_are_not_taken() -> None:
    assert (await fetch(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"))).body == b"abc"


async def test_a_server_that_hangs_up_is_unreachable() -> None:
    assert (await failure(saying(b"")))[0] == Failure.UNREACHABLE


async def test_a_closed_port_is_unreachable() -> None:
    async with Client() as client:
        with pytest.raises(FetchError, match="cannot be reached") as raised:
            await client.fetch("GET", "http://127.0.0.1:1/", cap=10, seconds=SECONDS)
    assert raised.value.failure == Failure.UNREACHABLE


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "ftp://127.0.0.1/",
        "http://",
        "http://[::1/",
        "file:///etc/passwd",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
    ],
)
async def test_a_url_that_cannot_be_fetched_is_unreachable(url: str) -> None:
    async with Client() as client:
        with pytest.raises(FetchError) as raised:
            await client.fetch("GET", url, cap=10, seconds=SECONDS)
    assert raised.value.failure == Failure.UNREACHABLE
