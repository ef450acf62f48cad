"""A log whose object storage takes requests and never answers goes on taking entries, and ends when it is told to."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from runtime.client import Client
from runtime.server import open_listener
from tests.e2e.log_process import SECONDS, configure, init, running
from tests.objects import S3Server

# More than it takes (STOP_SECONDS), and less than it takes the client of the storage to give up all it is asked.
PATIENCE = 25.0


@asynccontextmanager
async def between(s3: S3Server) -> AsyncIterator[tuple[str, trio.Event, trio.Event]]:
    """A way to the storage; from when the first event is set nothing comes through. The second: somebody waits."""
    cut, waiting = trio.Event(), trio.Event()

    async def carry(source: trio.SocketStream, sink: trio.SocketStream, *, to_storage: bool) -> None:
        try:
            async for piece in source:
                if cut.is_set():
                    if to_storage:
                        waiting.set()
                    await trio.sleep_forever()
                await sink.send_all(piece)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def serve(client: trio.SocketStream) -> None:
        host, port = s3.url.removeprefix("http://").split(":")
        async with client, await trio.open_tcp_stream(host, int(port)) as storage, trio.open_nursery() as both:
            both.start_soon(lambda: carry(storage, client, to_storage=False))
            await carry(client, storage, to_storage=True)
            both.cancel_scope.cancel()

    async with await open_listener("127.0.0.1:0") as listener, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}", cut, waiting
        nursery.cancel_scope.cancel()


async def test_a_storage_that_hangs_does_not_keep_a_log_from_ending(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with between(s3) as (url, cut, waiting), Client() as client:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        configure(tmp_path, more=f'storage = "s3://{s3.new_bucket()}/log"\npublish_interval = 0.01\n')
        await init(tmp_path)
        async with running(tmp_path) as (log_url, process):
            cut.set()
            answer = await client.fetch("POST", f"{log_url}/add", body=b"a", cap=100, seconds=30)
            assert answer.body == b"0\n"
            with trio.fail_after(SECONDS):
                await waiting.wait()
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(PATIENCE):
                assert await process.wait() == 0
        assert "stopped although something did not answer" in (tmp_path / "log.log").read_text()
        # What it answered is there when it serves again.
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        async with running(tmp_path) as (log_url, _):
            proof = await client.fetch("GET", f"{log_url}/v1/proofs/entry/0?wait=20", cap=100_000, seconds=60)
            assert proof.status == 200
