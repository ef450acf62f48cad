"""Tiles and bundles of a log through nginx as we ship it, beside the plainest nginx over the same files.

A log process writes the files. Both nginx run on the first processor, one worker each, and are asked in turns from the
second: by wrk where it is installed, otherwise by the lanes of these benches, which are slower than nginx, so that only
processor time tells then. The plain one has a root, ``sendfile on`` and no access log; ours is deploy/nginx/log.conf
without TLS, which the plain one has not either. ``ratio`` is the median of ours a second divided by that of the plain
one, ``ratio_by_processor_time`` the quotient of what a request cost nginx; the worse of tiles and bundles counts.

    python -m bench.log_tiles [--short]
"""

import argparse
import json
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from bench._load import Daemon, daemon, pin
from bench._log import batches, configure, get, lanes, new_entries
from tests.interop.test_log_nginx import configure as configure_shipped

MISSING = "nginx is not installed: apt-get install nginx"
CONNECTIONS = 32  # half of what the shipped configuration gives to one address
PATHS = 1000
START_SECONDS = 10.0
PUBLISHED_SECONDS = 2.0  # twenty times the interval
TARGET = 0.9
_RATE = re.compile(r"(\d+) requests in ([\d.]+)(ms|s)")
_ERRORS = ("Socket errors", "Non-2xx")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked."""

    batches: int
    seconds: float
    turns: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of asking one nginx for a while."""

    rate: float
    processor_us: float


Play = Callable[[Daemon, Sequence[str]], Turn]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a moment each, for a first impression")
    sizes = Sizes(40, 0.3, 2) if options.parse_args().short else Sizes(1000, 3.0, 5)
    document: dict[str, object] = {"bench": "log_tiles"}
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None and os.environ.get("CI") == "true":
        raise SystemExit(f"nothing may be skipped in CI: {MISSING}")
    document |= {"skipped": MISSING} if program is None else _measure(program, sizes)
    print(json.dumps(document))


def _measure(program: str, sizes: Sizes) -> dict[str, object]:
    pin(1)
    wrk = shutil.which("wrk")
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        public = _public(folder, sizes.batches)
        play = partial(_by_lanes, sizes) if wrk is None else partial(_by_wrk, wrk, folder, sizes)
        with (
            _nginx(program, folder / "ours", _shipped, public) as ours,
            _nginx(program, folder / "plain", _plain, public) as plain,
        ):
            figures = {
                kind: _compare(play, ours, plain, _paths(sizes.batches, f"tile/{prefix}"), public, sizes.turns)
                for kind, prefix in (("tiles", "0"), ("bundles", "entries"))
            }
    return {
        "load": "the lanes of bench._load" if wrk is None else "wrk",
        "connections": CONNECTIONS,
        "figures": figures,
        "ratio": min(found["ratio"] for found in figures.values()),
        "ratio_by_processor_time": min(found["ratio_by_processor_time"] for found in figures.values()),
        "target": TARGET,
    }


def _compare(
    play: Play, ours: Daemon, plain: Daemon, paths: Sequence[str], public: Path, turns: int
) -> dict[str, float]:
    """Ask both for the same files in turns."""
    bytes_of_one = statistics.mean((public / path).stat().st_size for path in paths)
    pairs = [(play(ours, paths), play(plain, paths)) for _ in range(turns)]
    rate, plain_rate = (statistics.median(pair[i].rate for pair in pairs) for i in (0, 1))
    cost, plain_cost = (statistics.median(pair[i].processor_us for pair in pairs) for i in (0, 1))
    return {
        "requests_per_second": round(rate),
        "plain_requests_per_second": round(plain_rate),
        "megabytes_per_second": round(rate * bytes_of_one / 1e6),
        "processor_us": round(cost, 1),
        "plain_processor_us": round(plain_cost, 1),
        "ratio": round(rate / plain_rate, 3),
        "ratio_by_processor_time": round(plain_cost / cost, 3),
    }


def _by_wrk(wrk: str, folder: Path, sizes: Sizes, nginx: Daemon, paths: Sequence[str]) -> Turn:
    script = folder / "paths.lua"
    listed = ",".join(f'"/{path}"' for path in paths)
    script.write_text(
        f"local paths, at = {{{listed}}}, 0\nlocal requests = {{}}\n"
        "init = function() for i, path in ipairs(paths) do requests[i] = wrk.format('GET', path) end end\n"
        "request = function() at = at % #requests + 1; return requests[at] end\n"
    )
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(sizes.seconds))}s", "-s", str(script)]
    spent = nginx.processor_seconds()
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{nginx.port}/"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    spent = nginx.processor_seconds() - spent
    found = _RATE.search(said)
    if found is None or any(error in said for error in _ERRORS):
        raise RuntimeError("wrk did not get the files")
    seconds = float(found[2]) / (1000 if found[3] == "ms" else 1)
    return Turn(int(found[1]) / seconds, spent / int(found[1]) * 1e6)


def _by_lanes(sizes: Sizes, nginx: Daemon, paths: Sequence[str]) -> Turn:
    requests = [get(f"/{path}") for path in paths] * max(1, round(sizes.seconds * 10))
    played = nginx.play(lanes(requests, CONNECTIONS), b"200")
    return Turn(played.rate, played.processor_us)


def _public(folder: Path, number: int) -> Path:
    """The public files of a log of so many full bundles, once all of them are there."""
    data = folder / "log"
    data.mkdir(mode=0o755)
    with daemon("log", configure(data)) as served:
        served.play(batches(new_entries(), number, 4), b"200")
        time.sleep(PUBLISHED_SECONDS)
    return data / "data" / "public"


def _paths(number: int, prefix: str) -> list[str]:
    names = [f"x{index // 1000:03}/{index % 1000:03}" if index >= 1000 else f"{index:03}" for index in range(number)]
    return [f"{prefix}/{random.choice(names)}" for _ in range(PATHS)]


def _shipped(folder: Path, port: int, public: Path) -> Path:
    return configure_shipped(folder, port, public, "127.0.0.1:9")


def _plain(folder: Path, port: int, public: Path) -> Path:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind}; " for kind in kinds)
    main = folder / "nginx.conf"
    main.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 256; }}\nhttp {{ {places} access_log off; sendfile on;\n"
        f"keepalive_requests 100000; server {{ listen 127.0.0.1:{port}; root {public}; }} }}\n"
    )
    return main


@contextmanager
def _nginx(program: str, folder: Path, configured: Callable[[Path, int, Path], Path], public: Path) -> Iterator[Daemon]:
    """Serve on the first processor, until the block ends."""
    folder.mkdir()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
    command = [program, "-c", str(configured(folder, port, public)), "-p", str(folder), "-e", f"{folder}/error.log"]
    process = subprocess.Popen(command, preexec_fn=partial(pin, 0))
    try:
        _wait_until_listening(port)
        yield Daemon(process, port)
    finally:
        process.terminate()
        process.wait()


def _wait_until_listening(port: int) -> None:
    until = time.perf_counter() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.perf_counter() > until:
                raise
            time.sleep(0.02)


if __name__ == "__main__":
    main()
