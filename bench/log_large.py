"""A log of ten million entries: its memory, how soon it serves again, and what adding costs beside a small one.

A log process makes the log from batches, as any other: entries of 200 bytes that are all different, duplicate
suppression on, tiles written and a checkpoint signed every 100 ms. Then it is killed while entries are added, and
started again. ``restart_seconds`` lasts from starting the process until ``/readyz`` says 200 and an entry was added,
whichever is later. ``adds_per_second`` is over 128 connections, in turns with a log of 10,000 entries that is made for
each turn; ``ratio`` is the quotient of the two medians, ``ratio_by_processor_time`` that of what an entry cost the
processor, on which other work weighs less. Memory is the most that the process ever held. At last ``sameview fsck``
checks the log.

    python -m bench.log_large [--short | --entries N]
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from bench._load import Daemon, Played, daemon, pin
from bench._log import BATCH, ENTRY_BYTES, KEY, adds, batches, configure, new_entries, new_log
from bench.fsck import measure
from tlog.checkpoint import Checkpoint
from tlog.note import Note

ENTRIES = 10_000_000
SMALL = 10_000
CONNECTIONS = 128
BATCH_CONNECTIONS = 4
BATCHES_AT_ONCE = 500  # that are made before they are sent: 26 MB
KILLED_AFTER_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
TARGETS = {"rss_mb": 400, "restart_seconds": 3, "ratio": 0.7, "fsck_entries_per_processor_second": 300_000}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked."""

    entries: int
    adds: int
    turns: int


@dataclass(frozen=True, slots=True)
class Start:
    """What it took to start a process: seconds, those of its processor, and memory."""

    seconds: float
    spent: float
    megabytes: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a small log, to see that the bench runs")
    options.add_argument("--entries", type=int, default=ENTRIES, help="how many entries the log has")
    chosen = options.parse_args()
    sizes = Sizes(30_000, 1000, 1) if chosen.short else Sizes(chosen.entries, 10_000, 5)
    pin(1)
    with TemporaryDirectory() as folder:
        print(json.dumps(_measure(Path(folder), sizes)))


def _measure(folder: Path, sizes: Sizes) -> dict[str, object]:
    entries = new_entries()
    config = configure(folder)
    with daemon("log", config) as served:
        built = list(_fill(served, entries, sizes.entries))
        memory = served.most_resident_megabytes()
        _kill_under_load(served, entries)
    killed, stopped = _restart(config, entries), _restart(config, entries)
    large, small = [], []
    with daemon("log", config) as served:
        for _ in range(sizes.turns):
            small.append(_small(entries, sizes.adds))
            large.append(_adds(served, entries, sizes.adds))
        memory = max(memory, served.most_resident_megabytes())
        size = _published(served)
    checked = measure(folder / "data" / "public", KEY.verifier_key.format(), size, 1)
    rates = {"large": _median_rate(large), "small": _median_rate(small)}
    costs = {"large": _median_cost(large), "small": _median_cost(small)}
    return {
        "bench": "log_large",
        "entries": size,
        "bytes_of_an_entry": ENTRY_BYTES,
        "figures": {
            "built_entries_per_second": {"first": built[0], "last": built[-1]},
            "rss_mb": memory,
            "rss_mb_after_start": stopped.megabytes,
            "restart_seconds": {"after_kill": killed.seconds, "after_stop": stopped.seconds},
            "restart_processor_seconds": {"after_kill": killed.spent, "after_stop": stopped.spent},
            "adds_per_second": rates,
            "p99_ms": {"large": _median_p99(large), "small": _median_p99(small)},
            "processor_us": costs,
            "ratio_by_processor_time": round(costs["small"] / costs["large"], 3),
            "fsck_entries_per_processor_second": checked["entries_per_processor_second"],
            "fsck_rss_mb": checked["rss_mb_of_all_processes"],
            "database_mb": round(sum(path.stat().st_size for path in (folder / "data").glob("*.sqlite*")) / 1e6),
        },
        "ratio": round(rates["large"] / rates["small"], 3),
        "targets": TARGETS,
    }


def _fill(served: Daemon, entries: Iterator[bytes], number: int) -> Iterator[int]:
    """Add entries in batches; the rate of each part."""
    for first in range(0, number, BATCHES_AT_ONCE * BATCH):
        parts = min(BATCHES_AT_ONCE, -(-(number - first) // BATCH))
        yield round(served.play(batches(entries, parts, BATCH_CONNECTIONS), b"200").rate * BATCH)


def _kill_under_load(served: Daemon, entries: Iterator[bytes]) -> None:
    timer = threading.Timer(KILLED_AFTER_SECONDS, served.process.kill)
    load = adds(entries, 100_000, CONNECTIONS)
    timer.start()
    with suppress(ConnectionError):
        served.play(load, b"200")
    timer.join()


def _restart(config: Path, entries: Iterator[bytes]) -> Start:
    """Start a process, until it does all its work."""
    began = time.perf_counter()
    with daemon("log", config) as served:
        _wait_until_ready(served)
        served.play(adds(entries, 1, 1), b"200")
        seconds = round(time.perf_counter() - began, 2)
        return Start(seconds, round(served.processor_seconds(), 2), served.resident_megabytes())


def _wait_until_ready(served: Daemon) -> None:
    until = time.perf_counter() + PATIENCE_SECONDS
    with closing(HTTPConnection("127.0.0.1", served.operator_port)) as connection:
        while time.perf_counter() < until:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                return
            time.sleep(0.005)
    raise RuntimeError("the log does not become ready")


def _small(entries: Iterator[bytes], number: int) -> Played:
    with new_log() as served:
        served.play(batches(entries, SMALL // BATCH, BATCH_CONNECTIONS), b"200")
        return _adds(served, entries, number)


def _adds(served: Daemon, entries: Iterator[bytes], number: int) -> Played:
    served.play(adds(entries, CONNECTIONS, CONNECTIONS), b"200")  # connects, and warms up
    return served.play(adds(entries, number, CONNECTIONS), b"200")


def _published(served: Daemon) -> int:
    """The size of the public checkpoint, once it is that of the log."""
    size = -1
    with closing(HTTPConnection("127.0.0.1", served.port)) as connection:
        while True:
            connection.request("GET", "/checkpoint")
            found = Checkpoint.parse(Note.parse(connection.getresponse().read()).text).size
            if found == size:
                return size
            size = found
            time.sleep(1)


def _median_rate(turns: list[Played]) -> int:
    return round(statistics.median(played.rate for played in turns))


def _median_cost(turns: list[Played]) -> float:
    return round(statistics.median(played.processor_us for played in turns), 1)


def _median_p99(turns: list[Played]) -> float:
    return statistics.median(played.percentile(99) for played in turns)


if __name__ == "__main__":
    main()
