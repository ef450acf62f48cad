"""The server as applications and clients see it: framing, order, headers, failures, limits in time, drain."""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import structlog
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.database import DatabaseFailed
from runtime.errors import UsageError
from runtime.server import open_listener, serve, url_of
from tests.serving import answering, echo, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SHORT = 0.05  # seconds; a limit that a test waits for


# Requests


async def test_a_request_is_described_as_asgi_has_it() -> None:
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answering()(scope, receive, send)

    async with serving(app) as served, served.connect() as client:
        await client.ask(b"GET /a%2fb?c=d HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n")
        client_address = client.stream.socket.getsockname()
    assert scopes == [
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/a/b",
            "raw_path": b"/a%2fb",
            "query_string": b"c=d",
            "root_path": "",
            "headers": [(b"host", b"a"), (b"x-y", b"z")],
            "client": client_address,
            "server": served.address,
        }
    ]


async def test_a_request_fed_byte_by_byte_is_answered_like_the_whole() -> None:
    async with serving(echo) as served, served.connect() as client:
        for byte in CHUNKED + b"3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n":
            await client.send(bytes([byte]))
        answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"POST / abcd")


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with serving(echo) as served, served.connect() as client:
        await client.send(b"".join(POST.replace(b"/ ", b"/%d " % i, 1) + b"abc" for i in range(50)))
        answers = [await client.answer() for _ in range(50)]
    assert [answer.body for answer in answers] == [b"POST /%d abc" % i for i in range(50)]


async def test_connections_are_served_at_the_same_time() -> None:
    both = trio.Event()
    arrived = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.append(scope["path"])
        if len(arrived) == 2:
            both.set()
        await both.wait()
        await answering()(scope, receive, send)

    async with serving(app) as served, trio.open_nursery() as nursery:
        nursery.start_soon(served.ask, GET)
        nursery.start_soon(served.ask, GET)
    assert len(arrived) == 2


async def test_continue_is_sent_when_the_application_wants_the_body() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with serving(echo) as served, served.connect() as client:
        await client.send(head)
        assert await client.stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"a")
        await trio.testing.wait_all_tasks_blocked()
        answer = await client.ask(b"bc")
    assert (answer.body, answer.interim) == (b"POST / abc", ())


async def test_no_continue_is_sent_to_a_client_that_did_not_wait() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with serving(echo) as served:
        assert (await served.ask(head + b"abc")).interim == ()


async def test_no_continue_is_sent_when_the_application_refuses_by_the_head() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with serving(answering(403)) as served, served.connect() as client:
        answer = await client.ask(head)
    assert (answer.status, answer.interim, answer.headers[b"connection"]) == (403, (), b"close")


async def test_a_body_nobody_read_closes_the_connection() -> None:
    async with serving(answering(404)) as served, served.connect() as client:
        answer = await client.ask(POST + b"abc" + GET)
        assert (answer.headers[b"connection"], await client.wait_closed()) == (b"close", b"")


async def test_a_streamed_body_is_received_in_parts() -> None:
    messages: list[Message] = []
    received = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
            received.set()
        await answering()(scope, receive, send)

    async with serving(app) as served, served.connect() as client:
        await client.send(POST + b"ab")
        await received.wait()
        await client.ask(b"c")
    assert messages == [
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c", "more_body": False},
    ]


# Responses


async def test_headers_go_out_as_the_application_gave_them() -> None:
    app = answering(409, b"3\n", [(b"content-type", b"text/x.tlog.size"), (b"x-odd", b"a  b")])
    async with serving(app) as served, served.connect() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await client.wait_closed()).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[:3] == [b"HTTP/1.1 409 Conflict", b"content-type: text/x.tlog.size", b"x-odd: a  b"]
    assert [line.partition(b":")[0] for line in lines[3:]] == [b"date", b"content-length", b"connection"]
    assert body == b"3\n"


async def test_a_date_of_the_application_is_kept() -> None:
    date = b"Thu, 01 Jan 1970 00:00:00 GMT"
    async with serving(answering(200, b"", [(b"date", date)])) as served, served.connect() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        data = await client.wait_closed()
    assert (data.count(b"date: "), date in data) == (1, True)


async def test_a_length_of_the_application_is_kept() -> None:
    async with serving(answering(200, b"abc", [(b"content-length", b"3")])) as served, served.connect() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.wait_closed()).count(b"content-length: 3\r\n") == 1


async def test_framing_of_the_application_is_not_taken_over() -> None:
    app = answering(200, b"abc", [(b"transfer-encoding", b"chunked"), (b"connection", b"keep-alive")])
    async with serving(app) as served:
        answer = await served.ask(GET)
    assert (answer.body, answer.headers[b"content-length"], b"connection" in answer.headers) == (b"abc", b"3", False)


async def test_an_application_may_close_the_connection() -> None:
    async with serving(answering(200, b"abc", [(b"connection", b"close")])) as served, served.connect() as client:
        answer = await client.ask(GET)
        assert (answer.headers[b"connection"], await client.wait_closed()) == (b"close", b"")


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"a", b"", b"bc"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body"})


async def test_a_body_of_unknown_length_is_chunked_and_the_connection_stays() -> None:
    async with serving(_stream) as served, served.connect() as client:
        answers = [await client.ask(GET), await client.ask(GET)]
    assert [(each.body, each.headers[b"transfer-encoding"]) for each in answers] == [(b"abc", b"chunked")] * 2


async def test_a_body_of_unknown_length_ends_with_the_connection_for_http_1_0() -> None:
    async with serving(_stream) as served, served.connect() as client:
        answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert (answer.body, answer.headers[b"connection"], b"transfer-encoding" in answer.headers) == (
        b"abc",
        b"close",
        False,
    )


async def test_a_connection_of_http_1_0_can_be_kept() -> None:
    async with serving(answering(200, b"abc")) as served, served.connect() as client:
        answers = [await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") for _ in range(2)]
    assert [(each.body, each.headers[b"connection"]) for each in answers] == [(b"abc", b"keep-alive")] * 2


@pytest.mark.parametrize("app", [answering(200, b"abc"), answering(200, b"abc", [(b"content-length", b"3")])])
async def test_head_is_answered_like_get_without_the_body(app: ASGIApp) -> None:
    async with serving(app) as served, served.connect() as client:
        head = await client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD")
        assert (head.headers[b"content-length"], (await client.ask(GET)).body) == (b"3", b"abc")


async def test_a_streamed_answer_to_head_has_no_body_and_keeps_the_connection() -> None:
    async with serving(_stream) as served, served.connect() as client:
        await client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD")
        assert (await client.ask(GET)).body == b"abc"


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_neither_body_nor_length(status: int) -> None:
    async with serving(answering(status, b"abc")) as served, served.connect() as client:
        answers = [await client.ask(GET), await client.ask(GET)]
    assert [(each.body, b"content-length" in each.headers) for each in answers] == [(b"", False)] * 2


async def test_a_large_answer_arrives_whole() -> None:
    body = bytes(range(256)) * 20_000
    async with serving(answering(200, body)) as served:
        assert (await served.ask(GET)).body == body


async def test_a_status_nobody_named_has_no_reason() -> None:
    async with serving(answering(299)) as served, served.connect() as client:
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.wait_closed()).startswith(b"HTTP/1.1 299 \r\n")


# Applications that fail


async def _boom(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("a bug")


async def _too_long(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"abc", "more_body": True})


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


@pytest.mark.parametrize(
    "app",
    [
        _boom,
        _too_long,
        _nothing,
        answering(200, b"", [(b"x", b"a\r\nset-cookie: b")]),
        answering(200, b"", [(b"x y", b"a")]),
        answering(200, b"", [(b"content-length", b"many")]),
        answering(200, b"abc", [(b"content-length", b"2")]),
        answering(200, b"abc", [(b"content-length", b"4")]),
        answering(101),
    ],
)
async def test_an_application_that_fails_before_it_answers_is_500(app: ASGIApp) -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving(app) as served, served.connect() as client:
            answer = await client.ask(GET)
            assert (answer.status, answer.headers[b"connection"], await client.wait_closed()) == (500, b"close", b"")
    assert [log["event"] for log in logs] == ["request_failed"] * (app is not _nothing)


async def test_a_disk_that_fails_below_a_request_is_told_without_a_traceback() -> None:
    async def failing(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise DatabaseFailed(OSError(28, "No space left on device"))

    with structlog.testing.capture_logs() as logs:
        async with serving(failing) as served, served.connect() as client:
            assert (await client.ask(GET)).status == 500
    assert [log["event"] for log in logs] == ["request_failed"]
    assert "No space left on device" in logs[0]["reason"]
    assert "exc_info" not in logs[0]


async def test_a_failure_to_answer_head_has_no_body() -> None:
    async with serving(_nothing) as served, served.connect() as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.wait_closed()
    assert (answer[:13], answer[-4:]) == (b"HTTP/1.1 500 ", b"\r\n\r\n")


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"10")]])
async def test_an_answer_cut_short_looks_cut_short(request_line: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await trio.testing.wait_all_tasks_blocked()  # the client has what was sent
        raise ValueError("a bug")

    with structlog.testing.capture_logs():
        async with serving(app) as served, served.connect() as client:
            await client.send(request_line)
            with pytest.raises(trio.BrokenResourceError):
                await client.wait_closed()


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        [{"type": "http.response.push"}],
    ],
)
async def test_a_message_out_of_turn_is_the_applications_fault(messages: list[Message]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    with structlog.testing.capture_logs() as logs:
        async with serving(app) as served:
            assert (await served.ask(GET)).status == 500
    assert isinstance(logs[0]["exc_info"], RuntimeError)


async def test_a_body_that_goes_on_after_its_end_is_the_applications_fault() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(200, b"abc")(scope, receive, send)
        await send({"type": "http.response.body", "body": b"more"})

    with structlog.testing.capture_logs() as logs:
        async with serving(app) as served, served.connect() as client:
            answers = [await client.ask(GET), await client.ask(GET)]
    assert ([each.body for each in answers], len(logs)) == ([b"abc"] * 2, 2)


# Clients that leave


async def test_the_application_is_told_that_the_client_left() -> None:
    messages: list[Message] = []
    told = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages.extend([await receive(), await receive()])
        told.set()
        with pytest.raises(OSError, match="over"):
            await answering()(scope, receive, send)

    async with serving(app) as served:
        async with served.connect() as client:
            await client.send(GET)
        await told.wait()
    assert [message["type"] for message in messages] == ["http.request", "http.disconnect"]


async def test_the_application_is_told_that_the_client_left_within_the_body() -> None:
    messages: list[Message] = []
    told = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        messages.append(await receive())
        told.set()

    async with serving(app) as served:
        async with served.connect() as client:
            await client.send(POST)
        await told.wait()
    assert messages == [{"type": "http.disconnect"}]


async def test_a_failure_because_the_client_left_is_not_logged() -> None:
    failed = trio.Event()

    async def endpoint(request: Request) -> Response:
        try:
            await request.body()
        finally:
            failed.set()
        return Response()

    with structlog.testing.capture_logs() as logs:
        async with serving(Starlette(routes=[Route("/", endpoint, methods=["POST"])])) as served:
            async with served.connect() as client:
                await client.send(POST)
            await failed.wait()
            await trio.testing.wait_all_tasks_blocked()
    assert logs == []


async def test_waiting_for_the_client_to_leave_ends_with_the_answer() -> None:
    ends: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

        async def watch() -> None:
            ends.append((await receive())["type"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            await answering(200, b"abc")(scope, receive, send)
        ends.append((await receive())["type"])

    async with serving(app) as served, served.connect() as client:
        bodies = [(await client.ask(GET)).body, (await client.ask(GET)).body]
    assert (bodies, ends) == ([b"abc"] * 2, ["http.disconnect"] * 4)


async def test_what_is_sent_ahead_while_an_application_watches_is_kept() -> None:
    blocked = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            await receive()
            nursery.start_soon(receive)
            await blocked.wait()
            await echo_path(scope, send)
            nursery.cancel_scope.cancel()

    async def echo_path(scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["raw_path"]})

    ahead = [b"/%d" % i for i in range(40)]
    async with serving(app, buffered_bytes=200) as served, served.connect() as client:
        for path in ahead:
            await client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
            await trio.testing.wait_all_tasks_blocked()
        blocked.set()
        assert [(await client.answer()).body for _ in ahead] == ahead


async def test_reading_ahead_is_bounded() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    sent = trio.Event()

    async def send_ahead(stream: trio.SocketStream) -> None:
        await stream.send_all(GET + bytes(24_000_000))  # more than the sockets of both sides hold
        sent.set()

    async with serving(app) as served, served.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(send_ahead, client.stream)
        await trio.testing.wait_all_tasks_blocked(SHORT)
        assert not sent.is_set()
        nursery.cancel_scope.cancel()


async def test_starlette_streams_over_this_server() -> None:
    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for part in ("a", "b", "c"):
                await trio.lowlevel.checkpoint()
                yield part

        return StreamingResponse(parts())

    async with serving(Starlette(routes=[Route("/", endpoint)])) as served, served.connect() as client:
        assert [(await client.ask(GET)).body for _ in range(2)] == [b"abc"] * 2


# Limits


@pytest.mark.parametrize(
    ("data", "limits", "status"),
    [
        (b"GET /" + b"a" * 100 + b" HTTP/1.1\r\n", {"target_bytes": 50}, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 100, {"head_bytes": 100}, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", {"body_bytes": 100}, 413),
        (CHUNKED + b"65\r\n", {"body_bytes": 100}, 413),
        (CHUNKED + b"1\r\na\r\n" * 40, {"chunk_framing_bytes": 100}, 400),
        (b"GET / HTTP/1.1\n", {}, 400),
        (POST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), {}, 400),
    ],
)
async def test_what_is_too_much_is_refused_at_once_and_the_connection_closed(
    data: bytes, limits: dict[str, int], status: int
) -> None:
    async with serving(echo, **limits) as served, served.connect() as client:
        answer = await client.ask(data)
        assert (answer.status, answer.headers[b"connection"], await client.wait_closed()) == (status, b"close", b"")


async def test_a_refusal_arrives_although_the_client_goes_on_sending() -> None:
    async with serving(echo, body_bytes=100) as served, served.connect() as client:
        answer = await client.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + b"a" * 500_000)
    assert answer.status == 413


async def test_an_application_does_not_see_a_request_with_too_large_a_body() -> None:
    async with serving(_boom, body_bytes=100) as served:
        answer = await served.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n")
    assert answer.body == b"the body is too large\n"


async def test_a_dripped_head_is_closed() -> None:
    async with serving(echo, head_seconds=SHORT) as served, served.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(_drip, client.stream, b"GET / HTTP/1.1\r\nX: ")
        answer = await client.answer()
        nursery.cancel_scope.cancel()
    assert answer.status == 408


@pytest.mark.parametrize("head", [CHUNKED + b"fff\r\n", CHUNKED, POST.replace(b"3", b"999")])
async def test_a_dripped_body_is_closed(head: bytes) -> None:
    async with serving(echo, body_seconds=SHORT) as served, served.connect() as client, trio.open_nursery() as nursery:
        nursery.start_soon(_drip, client.stream, head)
        answer = await client.answer()
        nursery.cancel_scope.cancel()
    assert answer.status == 408


async def _drip(stream: trio.SocketStream, data: bytes) -> None:
    """Send something, then a byte at a time for ever, always in time for a limit that began anew with each."""
    await stream.send_all(data)
    while True:
        await trio.sleep(SHORT / 5)
        try:
            await stream.send_all(b"0" if not data.endswith(b"chunked\r\n\r\n") else b"1\r\na\r\n")
        except trio.BrokenResourceError:
            return


async def test_an_application_that_waits_for_a_late_body_is_not_asked_for_the_answer() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        assert first == await receive() == {"type": "http.disconnect"}
        await answering(200, b"all is well")(scope, receive, send)

    with structlog.testing.capture_logs() as logs:
        async with serving(app, body_seconds=SHORT) as served:
            answer = await served.ask(POST)
    assert (answer.status, logs) == (408, [])


async def test_a_body_that_fails_after_the_answer_began_breaks_the_connection_off() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await receive()

    async with serving(app) as served, served.connect() as client:
        await client.send(CHUNKED + b"no\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await client.wait_closed()


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with serving(echo, idle_seconds=SHORT) as served, served.connect() as client:
        assert await client.wait_closed() == b""


async def test_a_kept_connection_is_closed_without_a_word() -> None:
    async with serving(echo, idle_seconds=SHORT) as served, served.connect() as client:
        await client.ask(GET)
        assert await client.wait_closed() == b""


async def test_time_for_a_head_or_a_body_is_not_taken_from_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(SHORT * 2)
        await echo(scope, receive, send)

    async with serving(app, idle_seconds=SHORT, head_seconds=SHORT, body_seconds=SHORT) as served:
        assert (await served.ask(POST + b"abc")).body == b"POST / abc"


async def test_a_client_that_does_not_read_is_left() -> None:
    gone = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await answering(200, bytes(50_000_000))(scope, receive, send)
        finally:
            gone.set()

    with structlog.testing.capture_logs() as logs:
        async with serving(app, write_seconds=SHORT) as served, served.connect() as client:
            await client.send(GET)
            await gone.wait()
            await trio.testing.wait_all_tasks_blocked()
    assert logs == []


async def test_a_connection_serves_so_many_requests() -> None:
    async with serving(answering(), requests_per_connection=2) as served, served.connect() as client:
        answers = [await client.ask(GET), await client.ask(GET)]
        assert await client.wait_closed() == b""
    assert [b"connection" in answer.headers for answer in answers] == [False, True]


async def test_beyond_the_connections_served_a_client_is_told_to_come_again() -> None:
    busy = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        busy.set()
        await trio.sleep_forever()

    async with serving(app, connections=1) as served, served.connect() as first:
        await first.send(GET)
        await busy.wait()
        refused = await served.ask(GET)
    assert (refused.status, refused.headers[b"retry-after"]) == (503, b"1")


async def test_an_idle_connection_makes_room() -> None:
    async with serving(answering(), connections=2) as served, AsyncExitStack() as stack:
        oldest, newest = [await stack.enter_async_context(served.connect()) for _ in range(2)]
        await oldest.ask(GET)
        await newest.ask(GET)
        third = await served.ask(GET)
        assert (await oldest.wait_closed(), (await newest.ask(GET)).status, third.status) == (b"", 200, 200)


async def test_beyond_the_refusals_clients_wait_to_be_accepted() -> None:
    busy, go_on = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        busy.set()
        await go_on.wait()
        await answering()(scope, receive, send)

    async with serving(app, connections=1, refused_connections=0) as served, trio.open_nursery() as nursery:
        async with served.connect() as first, served.connect() as second:
            await first.send(GET)
            await busy.wait()
            await second.send(GET)
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
            await first.answer()
            await first.stream.aclose()
            assert (await second.answer()).status == 200
        nursery.cancel_scope.cancel()


# Drain


async def test_a_drained_server_accepts_no_more() -> None:
    async with serving(answering()) as served:
        served.drain.set()
        await served.drained.wait()
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream(*served.address)


async def test_a_drain_closes_idle_connections() -> None:
    async with serving(answering()) as served, served.connect() as fresh, served.connect() as kept:
        await kept.ask(GET)
        served.drain.set()
        assert (await fresh.wait_closed(), await kept.wait_closed()) == (b"", b"")
        await served.drained.wait()


async def test_a_drain_lets_requests_finish_and_closes_their_connections() -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await answering(200, b"abc")(scope, receive, send)

    async with serving(app) as served, served.connect() as client:
        await client.send(GET)
        await begun.wait()
        served.drain.set()
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        answer = await client.answer()
        assert (answer.body, answer.headers[b"connection"], await client.wait_closed()) == (b"abc", b"close", b"")
        await client.stream.aclose()
        await served.drained.wait()


async def test_a_request_whose_head_has_begun_is_served_before_the_drain_ends() -> None:
    async with serving(answering(200, b"abc")) as served, served.connect() as client:
        await client.send(GET[:5])
        await trio.testing.wait_all_tasks_blocked()
        served.drain.set()
        await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask(GET[5:])).body == b"abc"
        await client.stream.aclose()
        await served.drained.wait()


async def test_a_drain_is_bounded() -> None:
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(scope["path"])

    async with serving(app, drain_seconds=SHORT) as served, served.connect() as client:
        await client.send(GET)
        await trio.testing.wait_all_tasks_blocked()
        served.drain.set()
        await served.drained.wait()
    assert ended == ["/"]


# Accepting


class _Weather:
    """A listener whose socket fails before it works, as a busy machine's does."""

    def __init__(self, listener: trio.SocketListener, errors: list[int]) -> None:
        self.socket = self
        self._listener = listener
        self._errors = errors

    async def __aenter__(self) -> "_Weather":
        return self

    async def __aexit__(self, *exit: object) -> None:
        await self._listener.aclose()

    async def accept(self) -> object:
        if self._errors:
            raise OSError(self._errors.pop(0), "weather")
        return await self._listener.socket.accept()


async def test_accepting_goes_on_after_passing_failures() -> None:
    listener = await open_listener("127.0.0.1:0")
    weather: Any = _Weather(listener, [errno.ECONNABORTED, errno.EMFILE, errno.ECONNABORTED])
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, answering(200, b"abc"), [weather], drain=trio.Event()))
        async with await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
            await stream.send_all(GET)
            assert (await stream.receive_some()).endswith(b"\r\n\r\nabc")
        nursery.cancel_scope.cancel()


async def test_a_listener_that_broke_is_a_failure() -> None:
    weather: Any = _Weather(await open_listener("127.0.0.1:0"), [errno.EINVAL])
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await serve(answering(), [weather], drain=trio.Event())


# Listening


async def test_a_port_in_use_is_the_operators_to_solve() -> None:
    async with await open_listener("127.0.0.1:0") as listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(UsageError, match="the port is taken"):
            await open_listener(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "address",
    ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:80", "a:-1", "a:٣"],
)
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="write host:port"):
        await open_listener(address)


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="does not have that address"):
        await open_listener("192.0.2.1:0")


async def test_a_host_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="not known here"):
        await open_listener("nowhere.invalid:0")


async def test_a_url_is_what_a_client_on_this_machine_needs() -> None:
    async with await open_listener("0.0.0.0:0") as listener:
        port = listener.socket.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_is_served() -> None:
    listener = await open_listener("[::1]:0")
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, answering(200, b"abc"), [listener], drain=drain))
        port = listener.socket.getsockname()[1]
        assert url_of(listener) == f"http://[::1]:{port}"
        async with await trio.open_tcp_stream("::1", port) as stream:
            await stream.send_all(GET)
            assert (await stream.receive_some()).endswith(b"\r\n\r\nabc")
        drain.set()
