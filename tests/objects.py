"""An S3-compatible server process on loopback, written by others, and a new bucket in it for each test.

It is versitygw, which serves a folder; Go builds it once, as tests/interop/s3_go pins it. Where Go is missing such
tests are skipped, except in CI.
"""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.golang import build_go
from tests.ports import free_port

SOURCE = Path(__file__).parent / "interop" / "s3_go"
PROGRAM = "github.com/versity/versitygw/cmd/versitygw"
USER, PASSWORD = "sameview", "loopback-only"
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it serves, and the folder in which every bucket is a folder."""

    url: str
    root: Path

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"test-{secrets.token_hex(8)}"
        (self.root / name).mkdir()
        return name

    def environment(self) -> Mapping[str, str]:
        """What an S3 client has to know."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run the server."""
    program = build_go(folder, PROGRAM, SOURCE) / "versitygw"
    root, side = folder / "buckets", folder / "metadata"
    root.mkdir()
    side.mkdir()
    port = free_port()
    command = [str(program), "--quiet", "--keep-alive", "--port", f"127.0.0.1:{port}", "posix", "--sidecar", str(side)]
    secret = {"ROOT_ACCESS_KEY": USER, "ROOT_SECRET_KEY": PASSWORD}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(root)], env={**os.environ, **secret}, stdout=log, stderr=log)
    try:
        _wait_serving(port, process)
        yield S3Server(f"http://127.0.0.1:{port}", root)
    finally:
        process.kill()
        process.wait()


def _wait_serving(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "the S3 server ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the S3 server does not serve")
