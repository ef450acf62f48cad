"""Entries a second that a log process makes durable, and what it answers to who reads.

The log runs on one processor, the load on another: kept connections, on each of them one request in flight. Entries
have 200 bytes and are all different; duplicate suppression is on, tiles are written and a checkpoint is signed every
100 ms meanwhile. ``published_ms`` is how long after an entry was sent, at a random time, a reader could fetch a
checkpoint that covers it, without witnesses.

``budget_us`` is the processor time of an entry that is added alone, over 128 connections, by the steps that it goes
through. bench/_log_steps.py names them, and times each in a log process of its own; what their clocks take is taken off
again in proportion. ``rest`` belongs to none of them. ``idle`` is no processor time: how long, for each entry, its
processor waits or does something else. ``limit`` names the largest of all these, its share of the time between two
entries, and how many entries a second it would allow if it were all there is; then how many one processor would, were
it never idle. ``bare_us`` is what no durable log can do without, in this Python: hashing, and a row for the batch.

    python -m bench.log [--short]
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path

import msgspec

from bench._load import Daemon, Played, microseconds, pin, post
from bench._log import BATCH, PUBLISH_SECONDS, STEPS_FILE, adds, batches, get, lanes, new_entries, new_log
from tlog.checkpoint import Checkpoint
from tlog.hashing import leaf_hashes
from tlog.note import Note

BATCH_CONNECTIONS = 8

ANSWER_SECONDS = 10.0
TARGETS = {
    "adds_per_second_32": 2800,
    "adds_per_second_128": 5000,
    "p99_ms_128": 80,
    "adds_per_second_512": 6000,
    "batched_entries_per_second": 40_000,
    "published_ms": 60,
    "proofs_per_second": 1200,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is asked."""

    adds: int
    batches: int
    published: int
    proofs: int
    repeats: int


LONG = Sizes(adds=60_000, batches=1200, published=40, proofs=6000, repeats=50)
SHORT = Sizes(adds=3000, batches=60, published=5, proofs=300, repeats=10)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a fraction of the requests, for a first impression")
    sizes = SHORT if options.parse_args().short else LONG
    print(json.dumps(_measure(sizes)))


def _measure(sizes: Sizes) -> dict[str, object]:
    pin(0)  # as the log is
    bare = _bare(sizes.repeats)
    pin(1)
    entries = new_entries()
    singles = {number: _adds(entries, number, sizes.adds) for number in (32, 128, 512)}
    budget = _budget(entries, sizes.adds, singles[128])
    with new_log() as served:
        batched = served.play(batches(entries, sizes.batches, BATCH_CONNECTIONS), b"200")
    with new_log() as served:
        served.play(batches(entries, 8, 1), b"200")
        published = [_published_ms(served, entries) for _ in range(sizes.published)]
        proofs = served.play(lanes([_proof(index % 2048) for index in range(sizes.proofs)], 32), b"200")
        refused = post("/add", b"").replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        nothing = served.play(lanes([refused] * sizes.proofs, 32), b"415")
    return {
        "bench": "log",
        "figures": {
            **{f"adds_per_second_{number}": round(played.rate) for number, played in singles.items()},
            **{f"p99_ms_{number}": played.percentile(99) for number, played in singles.items()},
            "batched_entries_per_second": round(batched.rate * BATCH),
            "published_ms": round(statistics.median(published), 1),
            "proofs_per_second": round(proofs.rate),
            "processor_us": {
                **{f"add_{number}": round(played.processor_us) for number, played in singles.items()},
                "batched_entry": round(batched.processor_us / BATCH, 1),
                "proof": round(proofs.processor_us),
                "refusal": round(nothing.processor_us),
            },
            "bare_us": bare,
            "budget_us": budget,
            "limit": _limit(budget),
        },
        "ratio": round(singles[128].rate * bare / 1e6, 3),
        "targets": TARGETS,
    }


def _adds(entries: Iterator[bytes], connections: int, number: int) -> Played:
    with new_log() as served:
        served.play(adds(entries, connections, connections), b"200")
        return served.play(adds(entries, number, connections), b"200")


def _budget(entries: Iterator[bytes], number: int, untimed: Played) -> dict[str, float]:
    """Where the processor time of an entry goes, and how long its processor idles, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "steps"
        os.environ[STEPS_FILE] = str(file)  # which the process inherits
        with new_log("bench._log_steps") as served:
            served.play(adds(entries, 128, 128), b"200")
            load = adds(entries, number, 128)
            before = _steps(served, file)
            served.play(load, b"200")
            after = _steps(served, file)
    spent = {step: after[step] - before.get(step, 0.0) for step in after}
    everything = spent.pop("all")
    untaken = everything - sum(spent.values())
    shares = {step: seconds / everything for step, seconds in sorted(spent.items(), key=_by_value, reverse=True)}
    budget = {step: share * untimed.processor_us for step, share in {**shares, "rest": untaken / everything}.items()}
    budget["idle"] = max(0.0, 1e6 / untimed.rate - untimed.processor_us)
    return {step: round(spent, 1) for step, spent in budget.items()}


def _by_value(item: tuple[str, float]) -> float:
    return item[1]


def _steps(served: Daemon, file: Path) -> Mapping[str, float]:
    """What each step has taken until now, in seconds."""
    file.unlink(missing_ok=True)
    served.process.send_signal(signal.SIGUSR1)
    until = time.perf_counter() + ANSWER_SECONDS
    while not file.exists():
        if time.perf_counter() > until:
            raise RuntimeError("the log does not say what its steps take")
        time.sleep(0.01)
    steps: Mapping[str, float] = json.loads(file.read_bytes())
    return steps


def _limit(budget: Mapping[str, float]) -> dict[str, object]:
    """Name what stands most in the way of more entries a second."""
    step, largest = max(budget.items(), key=_by_value)
    return {
        "step": step,
        "share": round(largest / sum(budget.values()), 2),
        "adds_per_second_by_it_alone": round(1e6 / largest),
        "adds_per_second_of_a_busy_processor": round(1e6 / (sum(budget.values()) - budget["idle"])),
    }


def _published_ms(served: Daemon, entries: Iterator[bytes]) -> float:
    """From sending an entry until a reader can fetch a checkpoint that covers it."""
    connection = HTTPConnection("127.0.0.1", served.port)
    with closing(connection):
        time.sleep(random.uniform(0, 2 * PUBLISH_SECONDS))
        began = time.perf_counter()
        connection.request("POST", "/add", next(entries))
        index = int(connection.getresponse().read())
        while Checkpoint.parse(Note.parse(_read(connection, "/checkpoint")).text).size <= index:
            time.sleep(0.001)
        return (time.perf_counter() - began) * 1000


def _read(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def _proof(index: int) -> bytes:
    return get(f"/v1/proofs/entry/{index}")


def _bare(repeats: int) -> float:
    """Microseconds an entry for hashing a batch of 128 and making its row durable, and nothing else."""
    source = new_entries()

    def batch() -> list[bytes]:
        return list(islice(source, 128))

    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "bare")) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE batch (first INTEGER PRIMARY KEY, rows BLOB);"
        )

        def commit() -> None:
            with database:
                database.execute("INSERT INTO batch (rows) VALUES (?)", [msgspec.msgpack.encode(batch())])

        some = batch()
        hashed = microseconds(lambda: leaf_hashes(some), 10 * repeats)
        return round((hashed + microseconds(commit, repeats)) / 128, 1)


if __name__ == "__main__":
    main()
