"""A plain nginx that serves a folder."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from runtime.server import open_listener

SECONDS = 20.0


@asynccontextmanager
async def plain_nginx(directory: Path, root: Path) -> AsyncIterator[str]:
    """Serve a folder on a free port, with nothing configured that is not needed to run at all; its URL."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx")
    async with await open_listener("127.0.0.1:0") as listener:
        port: int = listener.socket.getsockname()[1]
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind}; " for kind in kinds)
    main = directory / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{ {places} access_log off;\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    command = [program, "-c", str(main), "-p", str(directory), "-e", str(directory / "error.log")]
    run: Callable[..., Awaitable[subprocess.CompletedProcess[bytes]]] = partial(
        trio.run_process, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        try:
            await _answering(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def _answering(port: int) -> None:
    with trio.fail_after(SECONDS):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                return
            except OSError:
                await trio.sleep(0.02)
