"""How fast a monitor process re-hashes a log that it has not seen before, from nginx and from local files.

For each size a log is written to disk, and a monitor is started that has nothing of it. The time runs from the line
with which it says that it serves until its branch is the whole log: fetched, hashed, compared with the signed root,
saved, and signed by the observer. ``cpu_seconds`` is what the process used for it, so that a busy machine can be told
from a slow program. Then the monitor is killed in the middle of another catch-up, and started again: ``repeated`` are
the entries that nginx gave it twice, and ``lost_seconds`` is the time they take at the rate it had. ``beside`` is the
rate of the same catch-up while eight other logs hang, drip, send without end or say 429. In the end the log grows by up
to 1,000 entries at a time: ``view_ms`` is from the checkpoint's appearing until the monitor shows it as its view, and
contains up to ``poll_ms`` of waiting for a poll.

``ratio`` is the rate from nginx divided by that of one core which does nothing but hash the same entries.

    python -m bench.monitor_catch_up [--short] [--sizes 100000,1000000,10000000]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from bench.monitor_memory import SERVE, resident_mb
from monitor.__main__ import _init
from monitor.config import read_settings
from runtime.client import Client
from runtime.keyfiles import write_signer_key
from tests.fakes_log import FakeLog, policy, signer
from tests.logs_served import Answer, served, whole
from tests.ports import free_port
from tests.tree_on_disk import ENTRY_BYTES, TreeOnDisk
from tlog.compact_range import EMPTY_RANGE
from tlog.hashing import Hash, TreeHead, leaf_hashes
from tlog.keys import KeyType

SIZES = (100_000, 1_000_000, 10_000_000)
SHORT_SIZES = (50_000,)
GROWTHS = (1, 100, 1000)
ROUNDS = 5
POLL_SECONDS = 0.05  # where the time until a poll is part of what is measured
SELDOM_SECONDS = 1.0
PATIENCE = 600.0
TARGETS = {"nginx_per_second": 100_000, "files_per_second": 300_000, "rss_mb": 250, "lost_seconds": 1, "view_ms": 200}


@dataclass(frozen=True, slots=True)
class Running:
    """A monitor process."""

    process: trio.Process
    client: Client
    url: str
    began: float

    async def size(self) -> int:
        answer = await self.client.fetch("GET", f"{self.url}/v1/heads", cap=1 << 20, seconds=PATIENCE)
        sizes: list[int] = [head["size"] for head in msgspec.json.decode(answer.body)["heads"]]
        return max(sizes)

    async def reach(self, size: int, every: float = 0.02) -> float:
        """Wait until the branch has a size; the time it took since the monitor served."""
        with trio.fail_after(PATIENCE):
            while await self.size() < size:  # noqa: ASYNC110 # nobody tells
                await trio.sleep(every)
        return time.perf_counter() - self.began

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def configure(folder: Path, port: int, logs: Mapping[str, FakeLog], poll: float) -> Path:
    """Write a monitor's configuration, of logs by their URLs."""
    folder.mkdir()
    write_signer_key(folder / "peer.key", signer("monitor.example/m1"))
    write_signer_key(folder / "observer.key", signer("monitor.example/m1-o", KeyType.COSIGNATURE_ED25519))
    path = folder / "monitor.toml"
    lines = [
        f'name = "monitor.example/m1"\nlisten = "127.0.0.1:{port}"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\n'
        f'policy = "0.txt"\npoll_interval = {poll}\n'
    ]
    for number, (url, log) in enumerate(logs.items()):
        (folder / f"{number}.txt").write_bytes(policy(log.key, threshold=None).format())
        lines.append(f'[[log]]\norigin = "{log.origin}"\nurl = "{url}"\npolicy = "{number}.txt"\n')
    path.write_text("".join(lines))
    return path


async def make(folder: Path, logs: Mapping[str, FakeLog], poll: float = SELDOM_SECONDS) -> Path:
    """Configure a monitor, and let it make its state."""
    port = free_port()
    path = configure(folder, port, logs, poll)
    await _init(read_settings(path))
    return path


@asynccontextmanager
async def running(config: Path) -> AsyncIterator[Running]:
    """Run a monitor process, and kill it in the end."""
    command = [sys.executable, "-c", SERVE, str(config)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        if process.stdout is None or not (ready := await process.stdout.receive_some()):
            raise RuntimeError("the monitor did not start")
        url = msgspec.json.decode(ready)["url"]
        async with Client() as client:
            yield Running(process, client, url, time.perf_counter())
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def nginx(folder: Path, root: Path) -> AsyncIterator[str]:
    """Serve a folder."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx")
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"user root;\nevents {{ worker_connections 256; }}\nhttp {{\n{places}sendfile on;\n"
        f"log_format path $request_uri; access_log {folder}/asked path buffer=64k flush=1s;\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }}\n}}\n"
    )
    command = [program, "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", f"{folder}/error.log"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with trio.fail_after(10):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def catch_up(folder: Path, tree: TreeOnDisk, url: str, bad: Mapping[str, FakeLog]) -> dict[str, float]:
    """Follow a whole log once."""
    config = await make(folder, {url: tree.log, **bad})
    async with running(config) as monitor:
        before = monitor.cpu_seconds()
        seconds = await monitor.reach(tree.size)
        cpu = monitor.cpu_seconds() - before
        most = resident_mb(monitor.process.pid, "VmHWM")
    return {
        "per_second": round(tree.size / seconds),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "highest_rss_mb": round(most, 1),
    }


async def resume(folder: Path, tree: TreeOnDisk, url: str, asked: Path, seconds: float) -> dict[str, float]:
    """Kill a monitor in the middle, and see how much of the work it does again when it is started again."""
    config = await make(folder, {url: tree.log})
    await trio.sleep(1.5)  # nginx writes down what was asked after a second
    before = len(bundles_in(asked))
    async with running(config):
        await trio.sleep(seconds * 0.6)
    async with running(config) as monitor:
        rest = await monitor.reach(tree.size)
    await trio.sleep(1.5)
    bundles = bundles_in(asked)[before:]
    repeated = (len(bundles) - len(set(bundles))) * 256
    lost = repeated / tree.size * seconds
    return {"rest_seconds": round(rest, 2), "repeated": repeated, "lost_seconds": round(lost, 2)}


def bundles_in(asked: Path) -> list[bytes]:
    """The bundles that nginx was asked for."""
    return [line for line in asked.read_bytes().splitlines() if line.startswith(b"/tile/entries/")]


async def drip(path: str, stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await stream.send_all(b"\x00")
        await trio.sleep(1)


async def hang(path: str, stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def endless(path: str, stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await stream.send_all(bytes(1 << 16))


async def busy(path: str, stream: trio.SocketStream) -> None:
    await stream.send_all(whole(429, b"", "retry-after: 3600\r\n"))


@asynccontextmanager
async def bad_logs() -> AsyncIterator[dict[str, FakeLog]]:
    """Eight logs that show a checkpoint of a million entries, and then behave badly."""
    async with AsyncExitStack() as stack:
        logs = {}
        for number in range(8):
            log = FakeLog(origin=f"log.example/bad{number}")
            log.published = log.sign(head=TreeHead(999_936, Hash(bytes(32))), witnesses=())
            logs[(await stack.enter_async_context(served(badly(log, BAD[number % len(BAD)])))).url] = log
        yield logs


def badly(log: FakeLog, answer: Answer) -> Answer:
    async def answer_badly(path: str, stream: trio.SocketStream) -> None:
        await (stream.send_all(whole(200, log.published)) if path == "checkpoint" else answer(path, stream))

    return answer_badly


BAD = (drip, hang, endless, busy)


async def views(folder: Path, tree: TreeOnDisk, url: str) -> dict[str, float]:
    """How long it takes from a new checkpoint to the verified view."""
    config = await make(folder, {url: tree.log}, POLL_SECONDS)
    figures = {}
    async with running(config) as monitor:
        await monitor.reach(tree.size)
        for growth in GROWTHS:
            took = []
            for _ in range(ROUNDS):
                tree.grow(growth)
                tree.publish()
                began = time.perf_counter()
                await monitor.reach(tree.size, every=0.002)
                took.append((time.perf_counter() - began) * 1000)
            figures[str(growth)] = round(statistics.median(took), 1)
    return figures


def bare_rate() -> int:
    """How many entries a core hashes into a tree in a second, when they are in memory."""
    entries = TreeOnDisk.entries(0, 51_200)
    began = time.perf_counter()
    tree = EMPTY_RANGE
    for start in range(0, len(entries), 256):
        tree = tree.extend(leaf_hashes(entries[start : start + 256]))
    tree.root()
    return round(len(entries) / (time.perf_counter() - began))


@asynccontextmanager
async def log_of(size: int) -> AsyncIterator[tuple[Path, TreeOnDisk, str]]:
    """A log of some size behind nginx."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        tree = TreeOnDisk(folder, FakeLog())
        tree.grow(size)
        tree.publish()
        async with nginx(folder, tree.folder) as url:
            yield folder, tree, url


async def measure(sizes: Sequence[int]) -> Mapping[str, object]:
    figures: dict[str, object] = {}
    rate = 0.0
    bare = bare_rate()
    for size in sizes:
        async with log_of(size) as (folder, tree, url), bad_logs() as bad:
            found = await catch_up(folder / "m-nginx", tree, url, {})
            rate = found["per_second"]
            figures[str(size)] = {
                "nginx": found,
                "files": await catch_up(folder / "m-files", tree, f"file://{tree.folder}", {}),
                "beside": await catch_up(folder / "m-beside", tree, url, bad),
                "killed": await resume(folder / "m-killed", tree, url, folder / "asked", found["seconds"]),
            }
    async with log_of(1000) as (folder, tree, url):
        view = await views(folder / "m", tree, url)
    return {
        "bench": "monitor_catch_up",
        "entry_bytes": ENTRY_BYTES,
        "poll_ms": POLL_SECONDS * 1000,
        "figures": figures,
        "view_ms": view,
        "bare_per_second": bare,
        "ratio": round(rate / bare, 3),
        "targets": TARGETS,
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="50,000 entries instead of up to 10,000,000")
    parser.add_argument("--sizes", help="other sizes, with commas")
    chosen = parser.parse_args(arguments)
    sizes: Sequence[int] = SHORT_SIZES if chosen.short else SIZES
    if chosen.sizes:
        sizes = tuple(int(size) for size in chosen.sizes.split(","))
    print(json.dumps(trio.run(measure, sizes)))


if __name__ == "__main__":
    main(sys.argv[1:])
