"""A real browser, and real monitor processes for it to look at: over logs in memory, served on loopback."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import trio
from typing_extensions import override

from monitor.samples import Sample, Samples
from monitor.tables import METADATA
from runtime.database import open_database
from runtime.keyfiles import write_signer_key
from tests.fakes_log import FakeLog, policy, signer
from tests.ports import free_port
from tlog.keys import KeyType

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE = 40.0  # seconds: for a machine that is busy
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = (
    "the page is looked at with Playwright and Chromium: run `make heavy`, and install your system's package chromium"
    if find_spec("playwright") is None or CHROMIUM is None
    else ""
)


@contextlib.contextmanager
def browser() -> Iterator["Browser"]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox does not work for root, and it visits nothing but our own monitor.
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield found
        finally:
            found.close()


@contextlib.contextmanager
def serving(logs: Sequence[FakeLog]) -> Iterator[str]:
    """Serve logs, each below its number."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            number, _, path = self.path.removeprefix("/").partition("/")
            found = logs[int(number)].serve(path)
            self.send_response(404 if found is None else 200)
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        @override
        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 512  # a monitor looks at all its logs at once

        @override
        def handle_error(self, *_: object) -> None:
            pass  # a monitor that ends takes its connections with it

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(slots=True)
class Process:
    """A monitor process."""

    url: str
    process: "subprocess.Popen[str]"
    operator: str = ""
    """Where its operator looks."""

    def ask(self, path: str, body: bytes | None = None) -> Any:
        with urlopen(Request(f"{self.url}{path}", body), timeout=PATIENCE) as answer:  # our own
            return json.loads(answer.read())

    def wait_until(self, check: Callable[[Any], object]) -> Any:
        """Wait until the overview is so."""
        until = time.monotonic() + PATIENCE
        while not check(found := self.ask("/v1/overview")):
            assert time.monotonic() < until, found["totals"]
            time.sleep(0.1)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def configure(folder: Path, logs: Sequence[FakeLog], served_at: str, poll_interval: float = 0.2) -> Path:
    """Write the configuration of a monitor that follows these, and make its state."""
    port = free_port()
    name = "monitor.example/m1"
    write_signer_key(folder / "peer.key", signer(name))
    write_signer_key(folder / "observer.key", signer(f"{name}-observer", KeyType.COSIGNATURE_ED25519))
    (folder / "policy.txt").write_bytes(policy(logs[0].key).format())
    config = folder / "monitor.toml"
    lines = [
        f'name = "{name}"\nlisten = "127.0.0.1:{port}"\noperator_listen = "127.0.0.1:0"',
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"',
        f'policy = "policy.txt"\npoll_interval = {poll_interval}\ngossip_interval = 1.0',
    ]
    for number, log in enumerate(logs):
        vkeys = f"vkeys = [{json.dumps(log.key.verifier_key.format())}]"
        lines.append(f'[[log]]\norigin = {json.dumps(log.origin)}\nurl = "{served_at}/{number}"\n{vkeys}')
    config.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "sameview", "monitor", "init", "--config", str(config)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    return config


def past(folder: Path, samples: Sequence[Sample]) -> None:
    """Give a monitor that does not run a past."""

    async def write() -> None:
        async with open_database(folder / "data" / "monitor.sqlite", METADATA) as database:
            await Samples(database).note(samples)

    trio.run(write)


@contextlib.contextmanager
def running(config: Path) -> Iterator[Process]:
    """Run a monitor as a process of its own."""
    listen = next(line for line in config.read_text().splitlines() if line.startswith("listen"))
    url = f"http://{listen.split(chr(34))[1]}"
    with (config.parent / "monitor.err").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "sameview", "monitor", "serve", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    found = Process(url, process)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready, (config.parent / "monitor.err").read_text()[-4000:]
        found.operator = json.loads(ready)["operator_url"]
        yield found
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
