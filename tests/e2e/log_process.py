"""A log as its operator runs it: configured in a file, made by ``init``, served by a process that can be killed."""

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from runtime.keyfiles import write_signer_key
from tests.keys import log_key
from tlog.keys import SignerKey
from tlog.policy import Policy

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "log.example/one"
KEY = log_key(ORIGIN)
SECONDS = 60.0  # for an interpreter to start on a machine that is busy

CONFIG = """\
listen = "127.0.0.1:0"
operator_listen = "127.0.0.1:0"
data = "data"
register = "register"
keys = ["log.key"]
"""


def configure(directory: Path, policy: Policy | None = None, more: str = "", key: SignerKey = KEY) -> None:
    """Write the key, the policy and the configuration."""
    write_signer_key(directory / "log.key", key)
    if policy is not None:
        (directory / "policy.txt").write_bytes(policy.format())
        more += 'policy = "policy.txt"\n'
    (directory / "log.toml").write_text(f'origin = "{key.name}"\n{CONFIG}{more}')


SAMEVIEW = (sys.executable, "-m", "sameview")


def command(directory: Path, verb: str, program: Sequence[str] = SAMEVIEW) -> list[str]:
    return [*program, "log", verb, "--config", str(directory / "log.toml")]


async def init(directory: Path) -> None:
    await trio.run_process(command(directory, "init"), cwd=ROOT, capture_stderr=True)


@asynccontextmanager
async def running(directory: Path, program: Sequence[str] = SAMEVIEW) -> AsyncIterator[tuple[str, trio.Process]]:
    """Serve the log; its URL and process. It is killed on the way out if it still runs."""
    with (directory / "log.log").open("ab") as log:
        process = await trio.lowlevel.open_process(
            command(directory, "serve", program), cwd=ROOT, stdout=subprocess.PIPE, stderr=log
        )
    try:
        with trio.fail_after(SECONDS):
            yield await ready_url(process), process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()


async def ready_url(process: trio.Process) -> str:
    """Wait for the ready line."""
    line = b""
    if process.stdout is not None:
        async for piece in process.stdout:
            line += piece
            if b"\n" in line:
                return str(json.loads(line)["url"])
    raise AssertionError("the log ended before it was ready; see log.log beside its configuration")
