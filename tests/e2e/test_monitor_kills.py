"""A monitor that is killed again and again, wherever it happens to be, catches up with nothing skipped or repeated.

Two logs are followed. One grows by tens of thousands of entries between two kills. Of the other a byte is flipped on
the disk, which is one alarm, raised once, however often the monitor finds it again.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from subprocess import PIPE

import trio

from runtime.client import Client
from runtime.keyfiles import write_signer_key
from tests.e2e.monitors import Asker, Place, create
from tests.fakes_log import FakeLog, policy, signer
from tests.ports import free_port
from tests.tree_on_disk import TreeOnDisk
from tlog.hashing import leaf_hashes
from tlog.keys import KeyType
from tlog.text import encode_base64

KILLS = int(os.environ.get("SAMEVIEW_TEST_KILLS", "30"))
GROWTH = 30_000  # a tenth of a second of work
LONGEST_LIFE = 0.4  # seconds from ready to the kill
SECONDS = 100.0  # for a start, and for the last catch-up: each takes two, and this is for a machine that is busy
STARTS = """
import os, pathlib, sys
from monitor.__main__ import serve
for _ in sys.stdin:
    if not (child := os.fork()):
        os._exit(serve(pathlib.Path(sys.argv[1])))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("gone", flush=True)
"""
SERVE = "import sys, pathlib; from monitor.__main__ import serve; sys.exit(serve(pathlib.Path(sys.argv[1])))"


def place_for(folder: Path, port: int, *trees: TreeOnDisk) -> Place:
    """Configure a monitor of logs that lie in folders."""
    folder.mkdir()
    place = Place(folder, "m", signer("m"), signer("m-observer", KeyType.COSIGNATURE_ED25519), port)
    write_signer_key(folder / "peer.key", place.peer)
    write_signer_key(folder / "observer.key", place.observer)
    logs = ""
    for number, tree in enumerate(trees):
        (folder / f"{number}.txt").write_bytes(policy(tree.log.key, threshold=None).format())
        url = f"file://{tree.folder}"
        logs += f'[[log]]\norigin = "{tree.log.origin}"\nurl = "{url}"\npolicy = "{number}.txt"\n'
    place.config.write_text(
        f'name = "{place.name}"\nlisten = "127.0.0.1:{port}"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
        'register = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\npolicy = "0.txt"\n'
        f"poll_interval = 0.05\n{logs}"
    )
    return place


class Starter:
    """Starts monitors as children of a process that has imported all they need: then a start takes a tenth as long."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = b""

    async def line(self) -> bytes:
        assert self._process.stdout is not None
        while b"\n" not in self._lines:
            self._lines += await self._process.stdout.receive_some()
        line, self._lines = self._lines.split(b"\n", 1)
        return line

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """A monitor process that serves; it is killed at the end."""
        assert self._process.stdin is not None
        with trio.fail_after(SECONDS):
            await self._process.stdin.send_all(b"start\n")
            lines = {await self.line(), await self.line()}  # the number of the process, and what it says when it serves
        (number,) = (int(line) for line in lines if line.isdigit())
        try:
            yield
        finally:
            os.kill(number, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                assert await self.line() == b"gone"


@asynccontextmanager
async def starter(place: Place) -> AsyncIterator[Starter]:
    with (place.folder / "stderr").open("ab") as errors:
        command = [sys.executable, "-c", STARTS, str(place.config)]
        process = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE, stderr=errors)
    try:
        yield Starter(process)
    finally:
        process.kill()
        await process.wait()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


async def test_nothing_is_skipped_and_nothing_alarmed_twice_by_a_monitor_that_is_killed(tmp_path: Path) -> None:
    random = Random(5)
    good = TreeOnDisk(tmp_path / "good", FakeLog(origin="log.example/good"))
    bad = TreeOnDisk(tmp_path / "bad", FakeLog(origin="log.example/bad"))
    bad.grow(1000)
    bad.publish()
    flip(bad.folder / "tile/entries/001", 100)
    port = free_port()
    place = place_for(tmp_path / "m", port, good, bad)
    await create(place)
    async with starter(place) as monitor, Client() as client:
        for _ in range(KILLS):
            good.grow(random.randrange(GROWTH))
            good.publish()
            async with monitor.alive():
                await trio.sleep(random.uniform(0, LONGEST_LIFE))
        async with monitor.alive():
            asker = Asker(client)
            with trio.fail_after(SECONDS):
                heads = await asker.list(place.url, "heads")
                while all(head["size"] < good.size for head in heads):
                    await trio.sleep(0.1)
                    heads = await asker.list(place.url, "heads")
            alarms = await asker.wait_until(
                place.url, "alarms", lambda found: bad.log.origin in {alarm["origin"] for alarm in found}
            )
    (head,) = (head for head in heads if head["origin"] == good.log.origin)
    assert head["root_hash"] == encode_base64(good.head().root_hash).decode()
    mirrors = {path.stat().st_size: path.read_bytes() for path in (place.folder / "data").glob("*/level-0")}
    assert mirrors[good.size * 32] == b"".join(leaf_hashes(good.entries(0, good.size)))
    # One of its two logs is damaged; nothing of that was adopted, and there is one alarm about it.
    assert all(head["size"] == 0 for head in heads if head["origin"] == bad.log.origin)
    about = [(alarm["kind"], alarm["cleared_ms"]) for alarm in alarms if alarm["origin"] == bad.log.origin]
    assert about == [("wrong-entries", None)]
