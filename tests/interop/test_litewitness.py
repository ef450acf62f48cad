"""litewitness, a witness that others run, cosigns our log as it grows and after restarts, and refuses its twin."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from sqlite3 import connect

import pytest
import structlog
import trio

from logserver.cosign import Patience
from runtime.server import open_listener
from tests.keys import log_key, mldsa_key, witness_key
from tests.log_nodes import make_log, open_log
from tlog.hashing import EMPTY_ROOT
from tlog.keys import SignerKey
from tlog.policy import Policy, PolicyLog, PolicyWitness
from tlog.text import encode_base64
from tlog.trust import Trust

LOG_KEYS = [log_key(), mldsa_key()]
ORIGIN = LOG_KEYS[0].name
WITNESS = witness_key("witness.example/lite")
SECONDS = 60.0
PATIENT = Patience(witness=20.0)

pytestmark = pytest.mark.slow


@asynccontextmanager
async def process(*command: str) -> AsyncIterator[trio.Process]:
    """A program that ends with the test."""
    started = await trio.lowlevel.open_process(
        list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield started
    finally:
        started.kill()
        with trio.CancelScope(shield=True):
            await started.wait()


@asynccontextmanager
async def running(programs: Path, litewitness: Path, directory: Path, log: SignerKey | None) -> AsyncIterator[str]:
    """litewitness with one key, in an agent, and one log, in its database; its URL."""
    public = WITNESS.verifier_key.public_key
    socket, database = directory / "agent", directory / "litewitness.db"
    async with await open_listener("127.0.0.1:0") as listener:
        address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    async with process(str(programs / "agent"), str(socket), WITNESS.seed.hex()) as agent:
        assert agent.stdout is not None
        await agent.stdout.receive_some()
        key = ["-key", sha256(public).hexdigest(), "-ssh-agent", str(socket)]
        place = ["-name", WITNESS.name, "-db", str(database), "-listen", address]
        async with process(str(litewitness), *key, *place):
            await answering(address)
            if log is not None:
                know(database, log)
            yield f"http://{address}"


async def answering(address: str) -> None:
    """Wait until somebody listens."""
    host, port = address.split(":")
    with trio.fail_after(SECONDS):
        while True:
            try:
                await (await trio.open_tcp_stream(host, int(port))).aclose()
                return
            except OSError:
                await trio.sleep(0.02)


def know(database: Path, log: SignerKey) -> None:
    """What witnessctl does to add a log."""
    with closing(connect(database)) as opened, opened:
        opened.execute("INSERT OR IGNORE INTO log VALUES (?, 0, ?)", (log.name, encode_base64(EMPTY_ROOT).decode()))
        opened.execute("INSERT INTO key VALUES (?, ?)", (log.name, log.verifier_key.format()))


def policy(url: str) -> Policy:
    line = PolicyWitness("lite", WITNESS.verifier_key, url)
    return Policy((PolicyLog(LOG_KEYS[0].verifier_key),), (line,), (), "lite")


async def test_our_log_is_cosigned_while_it_grows_and_after_it_was_restarted(
    tmp_path: Path, go_programs: Path, litewitness: Path
) -> None:
    await make_log(tmp_path, ORIGIN)
    async with running(go_programs, litewitness, tmp_path, LOG_KEYS[0]) as url:
        for life in range(3):
            # After a restart the log begins at size 0 again and is told the witness's size.
            async with open_log(tmp_path, LOG_KEYS, policy=policy(url), patience=PATIENT) as opened:
                for _ in range(3):
                    await opened.add(*[b"%d %d" % (opened.sequencer.tree.end, number) for number in range(100)])
                    await opened.publisher.publish()
                published = opened.publisher.published
                assert published is not None
                head = Trust((), None, policy(url)).open(published.raw).require()
                assert head.size == (life + 1) * 300


async def test_a_witness_that_does_not_know_our_log_is_said_to(
    tmp_path: Path, go_programs: Path, litewitness: Path
) -> None:
    await make_log(tmp_path, ORIGIN)
    async with (
        running(go_programs, litewitness, tmp_path, None) as url,
        open_log(tmp_path, LOG_KEYS, policy=policy(url), patience=PATIENT) as opened,
    ):
        with structlog.testing.capture_logs() as logged:
            await opened.publisher.publish()
        assert opened.publisher.published is None
        assert logged[0]["why"].startswith(("it does not know this log", "it answered 403"))


async def test_a_twin_of_our_log_is_refused(tmp_path: Path, go_programs: Path, litewitness: Path) -> None:
    """SPEC: W-18, W-19"""
    async with running(go_programs, litewitness, tmp_path, LOG_KEYS[0]) as url:
        logged: list[structlog.typing.EventDict] = []
        for name, sizes in (("honest", (5, 9)), ("twin", (5, 9, 12))):
            (tmp_path / name).mkdir()
            await make_log(tmp_path / name, ORIGIN)
            async with open_log(tmp_path / name, LOG_KEYS, policy=policy(url), patience=PATIENT) as opened:
                with structlog.testing.capture_logs() as lines:
                    for size in sizes:
                        new = [b"%s %d" % (name.encode(), number) for number in range(opened.sequencer.tree.end, size)]
                        await opened.add(*new)
                        await opened.publisher.publish()
                assert (opened.publisher.published is not None) == (name == "honest")
            logged += lines
    whys = [line["why"] for line in logged if line["event"] == "witness_does_not_cosign"]
    # At 5 it is told of a larger tree; from 9 on, that its trees do not fit.
    assert whys[0] == "it says it cosigned 9 entries, more than this log ever signed"
    assert "this log's key is misused" in whys[1]
