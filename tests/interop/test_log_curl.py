"""curl adds to a live log and reads it, and sees the exact bytes of the headers that clients compare."""

import shutil
from pathlib import Path

import pytest
import trio

from tests.keys import log_key, mldsa_key, witness_key
from tests.log_nodes import log
from tests.nodes import witness
from tests.served import Served
from tlog.tiles import format_entries

CURL = shutil.which("curl")
KEY = log_key()

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed: apt-get install curl")


async def curl(*arguments: str, body: bytes | None = None) -> bytes:
    command = [str(CURL), "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--path-as-is", *arguments]
    return (await trio.run_process(command, stdin=body or b"", capture_stdout=True)).stdout


async def post(asked: Served, path: str, body: bytes) -> bytes:
    return await curl("--include", "--header", "Expect:", "--data-binary", "@-", f"{asked.url}{path}", body=body)


async def test_entries_are_added_and_read(tmp_path: Path) -> None:
    async with log(tmp_path, [KEY]) as (opened, asked):
        added = await post(asked, "/add", b"an entry\0with\r\nevery\xffbyte")
        assert added.startswith(b"HTTP/1.1 200 ")
        assert b"\r\ncontent-type: text/plain; charset=utf-8\r\n" in added
        assert added.endswith(b"\r\n\r\n0\n")
        batch = await post(asked, "/add-batch", format_entries([b"a", b""]))
        assert batch.endswith(b'{"indexes":[1,2]}')
        await opened.publisher.publish()
        bundle = await curl(f"{asked.url}/tile/entries/000.p/3")
        assert bundle == format_entries([b"an entry\0with\r\nevery\xffbyte", b"a", b""])


async def test_headers_are_those_that_caches_need(tmp_path: Path) -> None:
    """SPEC: T-2, T-7"""
    async with log(tmp_path, [KEY]) as (opened, asked):
        await opened.add(b"a")
        await opened.publisher.publish()
        checkpoint = await curl("--include", f"{asked.url}/checkpoint")
        for field in (b"content-type: text/plain; charset=utf-8", b"cache-control: no-cache"):
            assert b"\r\n" + field + b"\r\n" in checkpoint
        tile = await curl("--include", f"{asked.url}/tile/0/000.p/1")
        for field in (
            b"content-type: application/octet-stream",
            b"cache-control: public, max-age=31536000, immutable",
            b"content-length: 32",
        ):
            assert b"\r\n" + field + b"\r\n" in tile
        head = await curl("--head", f"{asked.url}/tile/0/000.p/1")
        assert b"\r\ncontent-length: 32\r\n" in head


@pytest.mark.parametrize(
    "path", ["/tile/0/../../checkpoint", "/tile/0%2f000.p/1", "/tile/%2e%2e/checkpoint", "//checkpoint"]
)
async def test_paths_as_they_are_typed_lead_nowhere(path: str, tmp_path: Path) -> None:
    async with log(tmp_path, [KEY]) as (opened, asked):
        await opened.add(b"a")
        await opened.publisher.publish()
        assert b" 404 " in (await curl("--include", f"{asked.url}{path}")).split(b"\r\n")[0]


async def test_a_witness_names_its_size_in_a_bare_media_type(tmp_path: Path) -> None:
    """SPEC: W-14: deployed clients compare the whole field."""
    (tmp_path / "log").mkdir()
    keys = [witness_key(), mldsa_key("witness.example/one")]
    async with (
        log(tmp_path / "log", [KEY]) as (opened, _),
        witness(tmp_path, {KEY.name: [KEY.verifier_key]}, keys) as asked,
    ):
        await opened.add(*[b"%d" % number for number in range(9)])
        await opened.publisher.publish()
        published = opened.publisher.published
        assert published is not None
        answer = await post(asked, "/add-checkpoint", b"old 5\n\n" + published.raw)
        assert answer.startswith(b"HTTP/1.1 409 ")
        assert b"\r\ncontent-type: text/x.tlog.size\r\n" in answer
        assert answer.endswith(b"\r\n\r\n0\n")
        answer = await post(asked, "/add-checkpoint", b"old 0\n\n" + published.raw)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert "\r\n\r\n— witness.example/one ".encode() in answer
