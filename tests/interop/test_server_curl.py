"""curl, a client that nobody here wrote, talks to the server."""

import shutil
import subprocess
from pathlib import Path

import pytest
import trio
from starlette.types import Receive, Scope, Send

from tests.serving import SECONDS, answering, echo, serving

CURL = shutil.which("curl")

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed: apt-get install curl")


async def curl(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    command = [str(CURL), "--silent", "--show-error", "--noproxy", "*", "--max-time", str(SECONDS), *arguments]
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=check)


async def test_a_page_is_got() -> None:
    async with serving(answering(200, b"abc")) as served:
        assert (await curl(served.url)).stdout == b"abc"


async def test_the_content_type_of_a_size_stays_bare() -> None:
    # SPEC: W-14 the Content-Type of a 409 is `text/x.tlog.size`, and nothing follows it.
    app = answering(409, b"3\n", [(b"content-type", b"text/x.tlog.size")])
    async with serving(app) as served:
        shown = (await curl("--include", served.url)).stdout
    assert b"\r\ncontent-type: text/x.tlog.size\r\n" in shown


async def test_a_head_is_got_without_waiting_for_a_body() -> None:
    async with serving(answering(200, b"abc")) as served:
        assert b"\r\ncontent-length: 3\r\n" in (await curl("--head", served.url)).stdout


@pytest.mark.parametrize("size", [0, 3, 1_100_000])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
async def test_a_body_is_posted(tmp_path: Path, size: int, version: str) -> None:
    body = b"a" * size
    (tmp_path / "body").write_bytes(body)
    async with serving(echo) as served:
        # Above a megabyte curl waits for `100 Continue` before it sends the body.
        answer = await curl(version, "--data-binary", f"@{tmp_path / 'body'}", f"{served.url}/x")
    assert answer.stdout == b"POST /x " + body


async def test_curl_waits_for_continue_and_gets_it(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"abc")
    waiting = ["--expect100-timeout", str(SECONDS), "--header", "Expect: 100-continue", "--verbose"]
    async with serving(echo) as served:
        answer = await curl(*waiting, "--data-binary", f"@{tmp_path / 'body'}", served.url)
    assert (answer.stdout, b"< HTTP/1.1 100 Continue" in answer.stderr) == (b"POST / abc", True)


async def test_a_chunked_body_is_posted() -> None:
    async with serving(echo) as served:
        answer = await curl("--header", "Transfer-Encoding: chunked", "--data-binary", "abc", served.url)
    assert answer.stdout == b"POST / abc"


async def test_a_chunked_answer_is_got() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"a", b"b", b"c"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    async with serving(app) as served:
        assert (await curl(served.url)).stdout == b"abc"


async def test_one_connection_serves_several_requests() -> None:
    async with serving(echo) as served:
        answer = await curl("--write-out", "%{num_connects},", f"{served.url}/[1-5]")
    assert answer.stdout == b"GET /1 1,GET /2 0,GET /3 0,GET /4 0,GET /5 0,"


async def test_an_offer_of_http_2_is_answered_with_http_1_1() -> None:
    async with serving(echo) as served:
        answer = await curl("--http2", "--write-out", "%{http_version}", "--data", "abc", served.url)
    assert answer.stdout == b"POST / abc1.1"


async def test_a_refusal_of_a_large_body_is_read() -> None:
    async with serving(echo, body_bytes=1000) as served:
        answer = await curl("--header", "Expect:", "--write-out", "%{http_code}", "--data", "a" * 100_000, served.url)
    assert answer.stdout == b"the body is too large\n413"


async def test_an_answer_cut_short_is_an_error_for_curl() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    async with serving(app) as served:
        assert (await curl("--http1.0", served.url, check=False)).returncode != 0
