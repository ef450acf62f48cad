"""What a monitor process costs when nothing is wrong: 100 logs, 10 witnesses, each asked about each log once a minute.

Time runs ten times as fast, since a minute measures little: everything is asked every six seconds, and between two
rounds each log grows by ten entries, is signed by all ten witnesses, and shown by them. ``percent_of_core`` is the
processor time for each request that the monitor made, times the 1,200 that it makes in a minute: for the checkpoint and
the new entries of each log, and for each log at each witness. So it holds on a machine, too, that is too busy for it to
keep up, which ``requests_per_minute`` shows. ``ratio`` is the target divided by it.

    python -m bench.monitor_steady [--short]
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.monitor_catch_up import Running
from bench.monitor_memory import SERVE, resident_mb
from monitor.__main__ import _init
from monitor.config import read_settings
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.keyfiles import write_signer_key
from runtime.server import open_listener, serve, url_of
from tests.fakes_log import FakeLog, policy, signer
from tests.ports import free_port
from tlog.keys import KeyType
from tlog.note import Note

LOGS, WITNESSES, THRESHOLD = 100, 10, 6
FASTER = 10
EVERY = 60.0 / FASTER
GROWTH = 10
TARGET_PERCENT = 15
KEYS = [signer(f"witness.example/w{number}", KeyType.COSIGNATURE_ED25519) for number in range(1, WITNESSES + 1)]


class World:
    """All logs, and what each witness shows of them: the same head, with its own cosignature."""

    def __init__(self, logs: int) -> None:
        self.logs = {f"log{number}": FakeLog(origin=f"log.example/{number}") for number in range(logs)}
        self.by_hash = {hashlib.sha256(log.origin.encode()).hexdigest(): log for log in self.logs.values()}
        self.asked = 0

    def grow(self, log: FakeLog) -> None:
        log.add(GROWTH)
        log.publish(witnesses=KEYS, time=SystemClock().now())

    async def grow_for_ever(self) -> None:
        """Each log once in a round, spread over it."""
        while True:
            for log in self.logs.values():
                await trio.sleep(EVERY / len(self.logs))
                self.grow(log)

    async def log(self, request: Request) -> Response:
        self.asked += 1
        log = self.logs.get(request.path_params["name"])
        found = None if log is None else log.serve(request.path_params["path"])
        return Response(status_code=404) if found is None else Response(found)

    async def witness(self, request: Request) -> Response:
        self.asked += 1
        log = self.by_hash.get(request.path_params["hash"])
        if log is None:
            return Response(status_code=404)
        note = Note.parse(log.published)
        names = {log.origin, f"witness.example/{request.path_params['witness']}"}
        shown = Note(note.text, tuple(line for line in note.signatures if line.name in names))
        return Response(shown.format())


def configure(folder: Path, port: int, url: str, world: World) -> Path:
    write_signer_key(folder / "peer.key", signer("monitor.example/m1"))
    write_signer_key(folder / "observer.key", signer("monitor.example/m1-o", KeyType.COSIGNATURE_ED25519))
    lines = [
        f'name = "monitor.example/m1"\nlisten = "127.0.0.1:{port}"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\n'
        f'policy = "log0.txt"\npoll_interval = {EVERY}\nwitness_interval = {EVERY}\n'
    ]
    for name, log in world.logs.items():
        (folder / f"{name}.txt").write_bytes(policy(log.key, KEYS, THRESHOLD).format())
        lines.append(f'[[log]]\norigin = "{log.origin}"\nurl = "{url}/{name}"\npolicy = "{name}.txt"\n')
    names = [f"w{number}" for number in range(1, WITNESSES + 1)]
    lines += [f'[[witness]]\nname = "{name}"\nmonitoring_url = "{url}/{name}"\n' for name in names]
    path = folder / "monitor.toml"
    path.write_text("".join(lines))
    return path


async def measure(logs: int, seconds: float) -> Mapping[str, object]:
    world = World(logs)
    for log in world.logs.values():
        world.grow(log)
    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        path = configure(Path(folder), port, url_of(listener), world)
        await _init(read_settings(path))
        routes = [Route("/{witness:str}/{hash:str}/checkpoint", world.witness), Route("/{name}/{path:path}", world.log)]
        async with Client() as client, trio.open_nursery() as nursery:
            await nursery.start(partial(serve, Starlette(routes=routes), [listener], drain=drain))
            command = [sys.executable, "-c", SERVE, str(path)]
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            try:
                if process.stdout is None or not (ready := await process.stdout.receive_some()):
                    raise RuntimeError("the monitor did not start")
                url = msgspec.json.decode(ready)["url"]
                monitor = Running(process, client, url, time.perf_counter())
                await monitor.reach(GROWTH)
                nursery.start_soon(world.grow_for_ever)
                await trio.sleep(2 * EVERY)
                cpu, began, asked = monitor.cpu_seconds(), time.perf_counter(), world.asked
                await trio.sleep(seconds)
                cpu, passed, asked = monitor.cpu_seconds() - cpu, time.perf_counter() - began, world.asked - asked
                memory = resident_mb(process.pid, "VmRSS")
            finally:
                process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()
    wanted = logs * (WITNESSES + 2)
    percent = 100 * cpu / asked * wanted / 60
    return {
        "bench": "monitor_steady",
        "logs": logs,
        "witnesses": WITNESSES,
        "faster": FASTER,
        "figures": {
            "percent_of_core": round(percent, 2),
            "requests_per_minute": round(asked / passed * 60 / FASTER),
            "wanted_per_minute": wanted,
            "ms_per_request": round(1000 * cpu / asked, 2),
            "resident_mb": round(memory, 1),
        },
        "ratio": round(TARGET_PERCENT / percent, 2),
        "target_percent": TARGET_PERCENT,
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="10 logs for twelve seconds instead of 100 for a minute")
    short = parser.parse_args(arguments).short
    print(json.dumps(trio.run(measure, 10 if short else LOGS, 2 * EVERY if short else 10 * EVERY)))


if __name__ == "__main__":
    main(sys.argv[1:])
