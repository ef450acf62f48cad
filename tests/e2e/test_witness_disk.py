"""A witness process whose disks get full, read-only and broken under load, on real mounts.

No signature leaves for a state that is not on the disk; requests are answered 503; /readyz and the log say why; and
service resumes by itself when the disk is well, in the same process.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest
import trio

from runtime.keyfiles import write_signer_key
from tests.disks import breaking_disk, mount_again, small_disk
from tests.e2e.test_witness_crash import LOG_KEYS, TREES, Load, asked
from tests.repo.checkout import ROOT
from tests.witness_logs import KEYS, NAME
from tests.witness_record import Record

SECONDS = 60.0  # for one test, of which most are over in six: a hang is a failure
EXPECTED = {200, 409, 422, 503}  # of logs that grow, repeat themselves, and lie
SOME = 20  # answers that show that it goes on, or does not


@dataclass(slots=True)
class Loaded:
    """A witness process under load, and what it answered."""

    public: int
    operator: int
    log: Path
    record: Record = field(default_factory=lambda: Record(*TREES))
    statuses: Counter[int] = field(default_factory=Counter)

    async def bother(self, load: Load) -> None:
        """Submit for ever."""
        async with await trio.open_tcp_stream("127.0.0.1", self.public) as stream:
            while (answer := await asked(stream, b"POST /add-checkpoint", request := load.request())) is not None:
                self.statuses[answer[0]] += 1
                load.answered(request, *answer)
                if answer[0] == 503:
                    await trio.sleep(0.01)
        raise AssertionError("the witness is gone")

    async def more(self, status: int) -> None:
        """Wait until some more answers have had this status."""
        enough = self.statuses[status] + SOME
        while self.statuses[status] < enough:  # noqa: ASYNC110 # nobody tells
            await trio.sleep(0.01)

    async def readyz(self) -> tuple[int, str]:
        async with await trio.open_tcp_stream("127.0.0.1", self.operator) as stream:
            status, body = await asked(stream, b"GET /readyz") or (0, b"")
        return status, body.decode()

    async def until(self, holds: Callable[[int, str], bool]) -> None:
        """Wait until /readyz says so."""
        while not holds(*await self.readyz()):  # noqa: ASYNC110 # nobody tells
            await trio.sleep(0.02)


@asynccontextmanager
async def loaded(directory: Path, data: Path, register: Path) -> AsyncIterator[Loaded]:
    """Start a witness whose state is in these places, and submit to it until the end."""
    for number, key in enumerate(KEYS):
        write_signer_key(directory / f"{number}.key", key)
    logs = "".join(f'[[log]]\nvkey = "{key.verifier_key.format()}"\n' for key in LOG_KEYS)
    (directory / "w.toml").write_text(
        f'name = "{NAME}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "{data}"\n'
        f'register = "{register}"\nkeys = ["0.key", "1.key"]\n{logs}'
    )
    command = [sys.executable, "-m", "sameview", "witness"]
    config = ["--config", str(directory / "w.toml")]
    await trio.run_process([*command, "init", *config], capture_stderr=True, cwd=ROOT)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 # it starts while nothing else runs
            [*command, "serve", *config], cwd=ROOT, stdout=subprocess.PIPE, stderr=log
        )
        try:
            with trio.fail_after(SECONDS):
                yield await _under_load(process, directory / "log")
            # It was never started anew, and still ends as it should.
            process.terminate()
            assert await trio.to_thread.run_sync(process.wait) == 0
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


async def _under_load(process: "subprocess.Popen[bytes]", log: Path) -> Loaded:
    assert process.stdout is not None
    ready = json.loads(await trio.to_thread.run_sync(process.stdout.readline))
    public, operator = (urlsplit(ready[name]).port for name in ("url", "operator_url"))
    assert public is not None
    assert operator is not None
    return Loaded(public, operator, log)


@asynccontextmanager
async def bothered(ours: Loaded) -> AsyncIterator[trio.Nursery]:
    random = Random(1)
    loads = [Load(key, random, ours.record) for key in LOG_KEYS]
    async with trio.open_nursery() as nursery:
        for load in loads * 2:
            nursery.start_soon(ours.bother, load)
        await ours.more(200)
        yield nursery
        nursery.cancel_scope.cancel()
    ours.record.verify()
    assert set(ours.statuses) <= EXPECTED


async def signs_nothing(ours: Loaded) -> None:
    """While it refuses, nothing is signed."""
    signed = ours.statuses[200]
    await ours.more(503)
    assert ours.statuses[200] == signed


def holds_what_was_signed(ours: Loaded, data: Path) -> None:
    """What is on the disk now knows every size that anybody was given a signature of."""
    with closing(sqlite3.connect(data / "witness.sqlite")) as database:
        stored = dict(database.execute("SELECT origin, size FROM register_statement"))
    assert all(stored[key.name] >= ours.record.largest(key.name) for key in LOG_KEYS)


async def resumes(ours: Loaded) -> None:
    """It is ready again, cosigns, and has said when it stopped and when it went on."""
    await ours.until(lambda status, _: status == 200)
    await ours.more(200)
    log = ours.log.read_text()
    assert "the state cannot be written or opened, and nothing is signed until it can" in log
    assert "the state is open again and the witness goes on" in log
    assert "Traceback" not in log


async def test_a_full_and_then_read_only_disk_stops_signing_until_it_is_well(tmp_path: Path) -> None:
    """SPEC: W-27"""
    with small_disk(tmp_path / "disk", "3m") as disk:
        data, register = disk.path / "data", tmp_path / "register"
        async with loaded(tmp_path, data, register) as ours, bothered(ours) as nursery:
            nursery.start_soon(disk.keep_full)
            await ours.until(lambda status, reason: status == 503 and "disk is full" in reason)
            await ours.more(503)
            # Its files are closed meanwhile: a disk in use is not made read-only.
            await disk.remount("ro")
            await ours.until(lambda status, reason: status == 503 and "Read-only file system" in reason)
            await signs_nothing(ours)
            # SQLite cannot read a write-ahead log where it cannot write.
            holds_what_was_signed(ours, Path(shutil.copytree(data, tmp_path / "copy")))
            await disk.remount("rw")
            disk.free()
            await resumes(ours)


@pytest.mark.parametrize("breaking", ["data", "register"])
async def test_a_disk_that_breaks_under_a_witness_is_taken_out_and_put_back(breaking: str, tmp_path: Path) -> None:
    """SPEC: W-27"""
    image = tmp_path / "image"
    with breaking_disk(tmp_path / "disk", image, 1 << 24) as disk:
        places = {name: (disk.path if name == breaking else tmp_path) / name for name in ("data", "register")}
        async with loaded(tmp_path, **places) as ours, bothered(ours):
            await disk.remount("abort")
            await ours.until(lambda status, _: status == 503)
            await signs_nothing(ours)
            # Its files are closed meanwhile: otherwise the disk could not be taken out.
            await mount_again(disk, image)
            holds_what_was_signed(ours, places["data"])
            await resumes(ours)
