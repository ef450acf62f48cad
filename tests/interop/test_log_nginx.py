"""The nginx configuration that is shipped for logs: a real nginx serves the folder that our log writes."""

import gzip
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from runtime.client import Client, Response
from sameview.fsck import check
from tests.contract.test_log import TRICKS
from tests.keys import log_key
from tests.log_nodes import OpenLog, log
from tests.ports import free_port
from tests.serving import Answer, RawClient
from tlog.tiles import format_entries
from tlog.trust import Trust

SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx" / "log.conf"
KEY = log_key()
SECONDS = 20.0
ENTRIES = [b"entry %d " % number * 20 for number in range(300)]
NOBODY = "127.0.0.1:9"  # discard: the read path needs no log behind it


@dataclass(frozen=True, slots=True)
class Fronted:
    """A log, and nginx in front of its files."""

    log: OpenLog
    log_url: str
    url: str
    client: Client

    async def get(self, path: str, *, of_log: bool = False, gunzip: bool = False) -> Response:
        url = f"{self.log_url if of_log else self.url}{path}"
        return await self.client.fetch("GET", url, cap=1 << 24, seconds=SECONDS, gunzip=gunzip)

    async def post(self, path: str, body: bytes) -> Response:
        return await self.client.fetch("POST", f"{self.url}{path}", body=body, cap=1 << 24, seconds=SECONDS)


def configure(directory: Path, port: int, public: Path, upstream: str) -> Path:
    """The shipped file with other addresses and places, and without TLS, in a configuration that runs nothing else."""
    shipped = "".join(
        line for line in SHIPPED.read_text().splitlines(keepends=True) if not line.strip().startswith("ssl_")
    )
    for theirs, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:8080;", f"server {upstream};"),
        ("root /srv/sameview-log/public;", f"root {public};"),
    ):
        assert theirs in shipped
        shipped = shipped.replace(theirs, ours)
    (directory / "log.conf").write_text(shipped)
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = directory / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n{places}include {directory}/log.conf;\n}}\n"
    )
    return main


@asynccontextmanager
async def fronted(directory: Path, *, upstream: bool) -> AsyncIterator[Fronted]:
    """A log of 300 entries behind nginx; without ``upstream`` nginx knows its files only."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    front, state = directory / "nginx", directory / "log"
    front.mkdir()
    state.mkdir()
    async with log(state, [KEY]) as (opened, ours), Client() as client, trio.open_nursery() as nursery:
        await opened.add(*ENTRIES)
        await opened.publisher.publish()
        port = free_port()
        main = configure(front, port, state / "public", urlsplit(ours.url).netloc if upstream else NOBODY)
        command = [program, "-c", str(main), "-p", str(front), "-e", str(front / "error.log")]
        start: Callable[..., Awaitable[subprocess.CompletedProcess[bytes]]] = partial(
            trio.run_process, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        process: trio.Process = await nursery.start(start)
        try:
            await answering(port)
            yield Fronted(opened, ours.url, f"http://127.0.0.1:{port}", client)
        finally:
            process.terminate()


async def answering(port: int) -> None:
    """Wait until somebody listens."""
    with trio.fail_after(SECONDS):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                return
            except OSError:
                await trio.sleep(0.02)


async def raw(url: str, target: str, fields: bytes = b"") -> Answer:
    """One request with exactly this target."""
    address = urlsplit(url)
    async with await trio.open_tcp_stream(str(address.hostname), int(address.port or 0)) as stream:
        return await RawClient(stream).ask(
            b"GET " + target.encode("latin-1") + b" HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
        )


async def test_a_log_is_read_whole_without_the_log(tmp_path: Path) -> None:
    async with fronted(tmp_path, upstream=False) as behind:
        checked = await check(behind.url, Trust((KEY.verifier_key,)), None, tiles_only=False)
        assert (checked.entries, (await behind.post("/add", b"a")).status) == (300, 502)


async def test_nginx_answers_readers_as_the_log_does(tmp_path: Path) -> None:
    """SPEC: T-2, T-7"""
    paths = ["/checkpoint", "/tile/0/000", "/tile/0/001.p/44", "/tile/1/000.p/1", "/tile/entries/000"]
    absent = ["/tile/0/001", "/tile/entries/001.p/45", "/tile/63/000", "/v2"]
    async with fronted(tmp_path, upstream=False) as behind:
        for path in [*paths, *absent[:3]]:
            theirs, ours = await behind.get(path), await behind.get(path, of_log=True)
            assert shown(theirs) == shown(ours), path
        assert [(await behind.get(path)).headers["cache-control"] for path in absent] == ["no-store"] * 4


def shown(answer: Response) -> tuple[object, ...]:
    fields = [answer.headers.get(name) for name in ("content-type", "cache-control", "access-control-allow-origin")]
    # The sentence of a 404 may differ.
    return answer.status, answer.body if answer.status == 200 else b"", fields


async def test_a_path_in_any_other_spelling_leads_nowhere(tmp_path: Path) -> None:
    """SPEC: T-5, T-6"""
    drafts = ["/tile/0/.000.0123456789abcdef", "/.checkpoint.0123456789abcdef", "/tile/0/000.p", "/tile/0/001.p/"]
    async with fronted(tmp_path, upstream=True) as behind:
        public = Path(behind.log.files.place)
        (public / ".checkpoint.0123456789abcdef").write_bytes(b"draft")
        (public / "tile/0/.000.0123456789abcdef").write_bytes(b"draft")
        (public.parent / "log.sqlite").touch()
        statuses = {target: (await raw(behind.url, target)).status for target in [*TRICKS, *drafts]}
    assert {target: status for target, status in statuses.items() if status not in (400, 404)} == {}


async def test_a_new_checkpoint_is_seen_at_once_by_who_revalidates(tmp_path: Path) -> None:
    async with fronted(tmp_path, upstream=False) as behind:
        before = await behind.get("/checkpoint")
        await behind.log.add(b"another")
        await behind.log.publisher.publish()
        after = await behind.get("/checkpoint")
        assert (b"\n301\n" in after.body, before.body != after.body) == (True, True)
        assert {"etag", "last-modified"}.isdisjoint(after.headers)


@pytest.mark.parametrize("path", ["/tile/entries/000", "/tile/entries/001.p/44"])
async def test_bundles_are_compressed_for_who_asks(path: str, tmp_path: Path) -> None:
    """SPEC: T-15, T-16"""
    async with fronted(tmp_path, upstream=False) as behind:
        offered, plain = await behind.get(path, gunzip=True), await behind.get(path)
        assert (offered.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
        # A cache in front must not give to the one what it keeps for the other.
        assert [answer.headers["vary"].lower() for answer in (offered, plain)] == ["accept-encoding"] * 2
        assert offered.headers["cache-control"] == plain.headers["cache-control"]
        entries = ENTRIES[:256] if path.endswith("000") else ENTRIES[256:]
        assert offered.body == plain.body == format_entries(entries)
        # On the way it was as small as that.
        sent = await raw(behind.url, path, b"Accept-Encoding: gzip\r\n")
        assert gzip.decompress(sent.body) == plain.body
        assert len(sent.body) < len(plain.body) / 5


async def test_hash_tiles_are_sent_as_they_are(tmp_path: Path) -> None:
    async with fronted(tmp_path, upstream=False) as behind:
        for path in ("/tile/0/000", "/tile/0/001.p/44"):
            assert "content-encoding" not in (await behind.get(path, gunzip=True)).headers


async def test_entries_and_questions_get_to_the_log(tmp_path: Path) -> None:
    async with fronted(tmp_path, upstream=True) as behind:
        assert (await behind.post("/add", b"x" * 65535)).body == b"300\n"
        assert (await behind.post("/add", b"x" * 65536)).status == 413
        assert (await behind.post("/add-batch", format_entries([b"a", b"b"]))).body == b'{"indexes":[301,302]}'
        largest = format_entries([bytes([number]) * 65535 for number in range(256)])
        assert (await behind.post("/add-batch", largest)).status == 200
        for path in ("entry/5", "inclusion?index=5&size=300", "consistency?from=5&to=300"):
            theirs, ours = await behind.get(f"/v1/proofs/{path}"), await behind.get(f"/v1/proofs/{path}", of_log=True)
            assert (theirs.status, theirs.body, theirs.headers["content-type"]) == (
                200,
                ours.body,
                ours.headers["content-type"],
            )


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/version", "/", "/add/", "/v1/", "/v1/proofs"])
async def test_nothing_else_passes(path: str, tmp_path: Path) -> None:
    async with fronted(tmp_path, upstream=True) as behind:
        assert (await behind.get(path)).status == 404
