"""How long a witness of many logs takes to start, and how much memory it then has.

The database holds a cosigned checkpoint of every log. Measured is a new process, from its start to its ready line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from runtime.clock import SystemClock
from runtime.keyfiles import write_signer_key
from tests.keys import log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.hashing import leaf_hash
from witness.__main__ import create, opened
from witness.config import read_settings

NAME = "witness.example/one"


async def fill(config: Path, origins: list[str]) -> None:
    """Cosign something of every log."""
    settings = read_settings(config)
    await create(settings)
    async with opened(settings, SystemClock()) as witness, trio.open_nursery() as nursery:
        limit = trio.CapacityLimiter(200)

        async def cosign(origin: str) -> None:
            async with limit:
                checkpoint = Checkpoint(origin, 1, leaf_hash(origin.encode()))
                await witness.cosigner.add_checkpoint(b"old 0\n\n" + sign_checkpoint(checkpoint, log_key(origin)))

        for origin in origins:
            nursery.start_soon(cosign, origin)


def start(config: Path) -> tuple[float, float]:
    """Seconds until it is ready, and megabytes that it holds then."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "sameview", "witness", "serve", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    seconds = time.perf_counter() - began
    assert ready["event"] == "ready"
    resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    process.terminate()
    process.wait()
    process.stdout.close()
    return seconds, resident / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    logs = 500 if parser.parse_args().short else 10_000
    origins = [f"log.example/{number}" for number in range(logs)]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_signer_key(directory / "ed25519.key", witness_key(NAME))
        write_signer_key(directory / "mldsa44.key", mldsa_key(NAME))
        listed = "".join(f'[[log]]\nvkey = "{log_key(origin).verifier_key.format()}"\n' for origin in origins)
        config = directory / "witness.toml"
        config.write_text(
            f'name = "{NAME}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
            f'register = "register"\nkeys = ["ed25519.key", "mldsa44.key"]\n{listed}'
        )
        trio.run(fill, config, origins)
        runs = [start(config) for _ in range(3)]
    seconds, megabytes = min(runs)
    print(json.dumps({"logs": logs, "start_seconds": round(seconds, 2), "resident_megabytes": round(megabytes, 1)}))


if __name__ == "__main__":
    main()
