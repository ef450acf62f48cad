"""What the endpoints of every role share."""

from collections.abc import Sequence

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from runtime.http import bare, operator_routes, read_body, refusal, shortcut
from runtime.metrics import Metrics
from tests.serving import Answer, serving

CAP = 100


async def _echo(request: Request) -> Response:
    return bare(200, await read_body(request, CAP))


ECHO = Starlette(routes=[Route("/", _echo, methods=["POST"])])
SHORTENED = shortcut(ECHO, "/", _echo)
either = pytest.mark.parametrize("app", [ECHO, SHORTENED], ids=["routed", "shortened"])


@pytest.mark.parametrize("size", [0, 1, CAP])
@pytest.mark.parametrize("chunked", [True, False])
@either
async def test_a_body_up_to_the_cap_is_read(size: int, chunked: bool, app: ASGIApp) -> None:
    async with serving(app) as served:
        answer = await served.ask(_post(b"a" * size, chunked))
    assert (answer.status, answer.body) == (200, b"a" * size)


@pytest.mark.parametrize("chunked", [True, False])
@either
async def test_a_body_beyond_the_cap_is_413(chunked: bool, app: ASGIApp) -> None:
    async with serving(app) as served:
        answer = await served.ask(_post(b"a" * (CAP + 1), chunked))
    assert (answer.status, answer.body) == (413, b"the body is larger than 100 bytes")


@either
async def test_a_body_announced_beyond_the_cap_is_413_before_it_comes(app: ASGIApp) -> None:
    async with serving(app) as served:
        answer = await served.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n")
    assert answer.status == 413


@either
async def test_a_compressed_body_is_415(app: ASGIApp) -> None:
    async with serving(app) as served:
        answer = await served.ask(_post(b"abc", chunked=False).replace(b"Host", b"Content-Encoding: gzip\r\nHost"))
    assert answer.status == 415


async def test_half_a_body_is_not_taken_for_one() -> None:
    read: list[bytes] = []
    over = trio.Event()

    async def endpoint(request: Request) -> Response:
        try:
            read.append(await read_body(request, CAP))
        finally:
            over.set()
        return bare(200)

    async with serving(shortcut(ECHO, "/", endpoint)) as served:
        async with served.connect() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        await over.wait()
    assert read == []


@pytest.mark.parametrize(("request_line", "status"), [(b"GET / ", 405), (b"GET /x ", 404), (b"DELETE / ", 405)])
async def test_what_has_no_shortcut_goes_to_the_app(request_line: bytes, status: int) -> None:
    async with serving(SHORTENED) as served:
        answer = await served.ask(request_line + b"HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == status


def _post(body: bytes, chunked: bool) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"


def test_a_bare_answer_has_exactly_the_headers_it_was_given() -> None:
    # SPEC: W-14 clients compare Content-Type for equality, so that no charset may follow.
    answer = bare(409, b"3\n", "text/x.tlog.size", {"x-y": "z"})
    assert (answer.status_code, answer.body, answer.raw_headers) == (
        409,
        b"3\n",
        [(b"x-y", b"z"), (b"content-type", b"text/x.tlog.size"), (b"content-length", b"2")],
    )


def test_an_answer_without_a_type_has_none() -> None:
    assert bare(200, b"abc").raw_headers == [(b"content-length", b"3")]


def test_a_refusal_is_a_sentence_for_people() -> None:
    answer = refusal(429, "too many at once: try again", {"retry-after": "1"})
    assert (answer.status_code, answer.body, answer.headers["content-type"], answer.headers["retry-after"]) == (
        429,
        b"too many at once: try again\n",
        "text/plain; charset=utf-8",
        "1",
    )


async def _ask_operator(path: str, problems: Sequence[str] = ()) -> Answer:
    async def find_problems() -> Sequence[str]:
        return problems

    metrics = Metrics()
    metrics.counter("things", "Things that were counted.").inc()
    routes = operator_routes(metrics, find_problems, {"version": "1.2.3"})
    async with serving(Starlette(routes=routes)) as served:
        return await served.ask(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())


async def test_healthz_says_that_the_process_answers() -> None:
    answer = await _ask_operator("/healthz", ["the log is behind"])
    assert (answer.status, answer.body) == (200, b"ok\n")


async def test_readyz_says_that_work_can_be_done() -> None:
    answer = await _ask_operator("/readyz")
    assert (answer.status, answer.body) == (200, b"ready\n")


async def test_readyz_names_every_problem() -> None:
    answer = await _ask_operator("/readyz", ["the log is behind", "no witness answers"])
    assert (answer.status, answer.body) == (503, b"the log is behind\nno witness answers\n")


async def test_metrics_are_what_prometheus_scrapes() -> None:
    answer = await _ask_operator("/metrics")
    assert (answer.headers[b"content-type"].partition(b";")[0], b"\nsameview_things_total 1.0\n" in answer.body) == (
        b"text/plain",
        True,
    )


async def test_version_is_json() -> None:
    answer = await _ask_operator("/version")
    assert (answer.headers[b"content-type"], answer.body) == (b"application/json", b'{"version":"1.2.3"}')


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/version"])
async def test_no_cache_keeps_what_an_operator_asks_for(path: str) -> None:
    assert (await _ask_operator(path)).headers[b"cache-control"] == b"no-store"
