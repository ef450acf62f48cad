"""Memory of a monitor process that follows 100 logs and has talked to 32 peers.

The logs are served from here over loopback. When the monitor has re-hashed all of them, each peer sends it the heads of
all logs, a hundred in an envelope, with the line of an observer of its own, as a peer that has just started does. Then
the logs grow, the monitor follows them, and its resident memory is read, now and at its highest.

``ratio`` is the memory of a Python that has only imported the libraries which a monitor needs by ours.

    python -m bench.monitor_memory [--short]
"""

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.envelopes import ME, OTHERS, grown
from gossip.core import origin_id
from gossip.envelope import Envelope, peer_id, seal
from gossip.messages import VERIFIED, Head, format_message
from gossip.shell import EXCHANGE_PATH
from monitor.__main__ import _init
from monitor.config import read_settings
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.keyfiles import write_signer_key
from runtime.server import open_listener, serve, url_of
from tests.fakes_log import FakeLog, policy, signer
from tests.keys import cosign
from tests.ports import free_port
from tlog.keys import KeyType, SignerKey

LOGS = 100
LEAVES = 600
TARGET_MB = 150
PATIENCE = 120.0
SERVE = "import sys, pathlib; from monitor.__main__ import serve; sys.exit(serve(pathlib.Path(sys.argv[1])))"
LIBRARIES = (
    "httpx, msgpack, msgspec, nacl.bindings, prometheus_client, sqlalchemy.ext.asyncio, starlette, structlog, trio"
)


def config(folder: Path, port: int, url: str, logs: Mapping[str, FakeLog]) -> Path:
    observer = signer("monitor.example/m1-observer", KeyType.COSIGNATURE_ED25519)
    write_signer_key(folder / "peer.key", ME)
    write_signer_key(folder / "observer.key", observer)
    lines = [
        f'name = "monitor.example/m1"\nlisten = "127.0.0.1:{port}"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\n'
        'policy = "log0.txt"\npoll_interval = 1.0\ngossip_interval = 10.0\n'
    ]
    for name, log in logs.items():
        (folder / f"{name}.txt").write_bytes(policy(log.key).format())
        lines.append(f'[[log]]\norigin = "{log.origin}"\nurl = "{url}/{name}"\npolicy = "{name}.txt"\n')
    lines += [
        f'[[peer]]\nname = "{key.name}"\nvkey = "{key.verifier_key}"\nobserver = "{observer_of(key).verifier_key}"\n'
        for key in OTHERS
    ]
    path = folder / "monitor.toml"
    path.write_text("".join(lines))
    return path


def observer_of(key: SignerKey) -> SignerKey:
    return signer(f"{key.name}-o", KeyType.COSIGNATURE_ED25519)


async def show(client: Client, url: str, logs: Sequence[FakeLog], key: SignerKey) -> None:
    """Send all heads as one peer."""
    heads = [Head(origin_id(log.origin), cosign(log.published, observer_of(key)), VERIFIED, None, ()) for log in logs]
    clock = SystemClock()
    ids = peer_id(key.verifier_key), peer_id(ME.verifier_key)
    values = tuple(format_message(head) for head in heads)
    sealed = seal(Envelope(*ids, clock.now_ms(), secrets.token_bytes(16), None, values), key)
    answer = await client.fetch("POST", url + EXCHANGE_PATH, body=sealed, cap=1 << 20, seconds=PATIENCE)
    if answer.status != 200:
        raise RuntimeError(f"the monitor answered {answer.status}")


async def wait_for(client: Client, url: str, size: int) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            answer = await client.fetch("GET", f"{url}/v1/heads", cap=1 << 24, seconds=PATIENCE)
            if all(head["size"] >= size for head in msgspec.json.decode(answer.body)["heads"]):
                return
            await trio.sleep(0.5)


def resident_mb(pid: int | str, what: str) -> float:
    """Read a line such as ``VmRSS:  1234 kB``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system does not tell how much memory a process has")


def bare_mb() -> float:
    command = f"import {LIBRARIES}; print(open('/proc/self/status').read())"
    told = subprocess.run([sys.executable, "-c", command], stdout=subprocess.PIPE, check=True, text=True).stdout
    return next(int(line.split()[1]) / 1024 for line in told.splitlines() if line.startswith("VmRSS"))


async def measure(rounds: int) -> dict[str, object]:
    logs = grown(LOGS, LEAVES)

    async def answer(request: Request) -> Response:
        found = logs[request.path_params["name"]].serve(request.path_params["path"])
        return Response(status_code=404) if found is None else Response(found)

    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        path = config(Path(folder), port, url_of(listener), logs)
        await _init(read_settings(path))
        app = Starlette(routes=[Route("/{name}/{path:path}", answer)])
        async with Client() as client, trio.open_nursery() as nursery:
            await nursery.start(partial(serve, app, [listener], drain=drain))
            command = [sys.executable, "-c", SERVE, str(path)]
            process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            url = f"http://127.0.0.1:{port}"
            try:
                if process.stdout is None or not await process.stdout.receive_some():
                    raise RuntimeError("the monitor did not start")
                await wait_for(client, url, LEAVES)
                for grown_by in range(1, rounds + 1):
                    for key in OTHERS:
                        await show(client, url, list(logs.values()), key)
                    for log in logs.values():
                        log.add(10)
                        log.publish()
                    await wait_for(client, url, LEAVES + 10 * grown_by)
                now, most = resident_mb(process.pid, "VmRSS"), resident_mb(process.pid, "VmHWM")
            finally:
                process.terminate()
                await process.wait()
            drain.set()
    bare = bare_mb()
    return {
        "bench": "monitor_memory",
        "logs": LOGS,
        "peers": len(OTHERS),
        "rounds": rounds,
        "figures": {"resident_mb": round(now, 1), "highest_mb": round(most, 1), "bare_mb": round(bare, 1)},
        "ratio": round(bare / now, 3),
        "target_mb": TARGET_MB,
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one round of growth instead of five")
    print(json.dumps(trio.run(measure, 1 if parser.parse_args(arguments).short else 5)))


if __name__ == "__main__":
    main(sys.argv[1:])
