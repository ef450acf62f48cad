"""Entries a second that a log process makes durable, and what it answers to who reads.

The log runs on one processor, the load on another: kept connections, on each of them one request in flight. Entries
have 200 bytes and are all different; duplicate suppression is on, tiles are written and a checkpoint is signed every
100 ms meanwhile. ``published_ms`` is how long after an entry was sent, at a random time, a reader could fetch a
checkpoint that covers it, without witnesses. ``budget_us`` says where the processor time of an entry goes with 128
connections: ``http`` is that of a request that the log refuses unread; ``hash``, ``dedup`` and ``commit`` are those
steps alone, for a batch of 128 entries, in this process; ``rest`` is what is left: the answer, integrating, signing,
and the ways between threads. ``bare_us`` is what no durable log can do without, in this Python: hashing, and a row for
the batch.

    python -m bench.log [--short]
"""

import argparse
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path

import msgspec

from bench._load import Daemon, Lanes, Played, daemon, microseconds, pin, post
from logserver.__main__ import init
from runtime.keyfiles import write_signer_key
from tests.keys import log_key
from tlog.checkpoint import Checkpoint
from tlog.hashing import leaf_hashes
from tlog.note import Note
from tlog.tiles import format_entries

ORIGIN = "log.example/bench"
ENTRY_BYTES = 200
BATCH = 256
PUBLISH_SECONDS = 0.1
BATCH_CONNECTIONS = 4
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
    steps = _steps(sizes.repeats)
    pin(1)
    entries = _entries()
    adds = {number: _adds(entries, number, sizes.adds) for number in (32, 128, 512)}
    with _log() as served:
        batches = served.play(_lanes([_batch(entries) for _ in range(sizes.batches)], BATCH_CONNECTIONS), b"200")
    with _log() as served:
        served.play(_lanes([_batch(entries) for _ in range(8)], 1), b"200")
        published = [_published_ms(served, entries) for _ in range(sizes.published)]
        proofs = served.play(_lanes([_proof(index % 2048) for index in range(sizes.proofs)], 32), b"200")
        refused = post("/add", b"").replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        nothing = served.play(_lanes([refused] * sizes.proofs, 32), b"415")
    bare = steps.pop("bare")
    budget = {"http": round(nothing.processor_us, 1), **steps}
    budget["rest"] = round(adds[128].processor_us - sum(budget.values()), 1)
    figures: dict[str, object] = {f"adds_per_second_{number}": round(played.rate) for number, played in adds.items()}
    return {
        "bench": "log",
        "figures": {
            **figures,
            "p99_ms_32": adds[32].percentile(99),
            "p99_ms_128": adds[128].percentile(99),
            "p99_ms_512": adds[512].percentile(99),
            "batched_entries_per_second": round(batches.rate * BATCH),
            "published_ms": round(statistics.median(published), 1),
            "proofs_per_second": round(proofs.rate),
            "processor_us": {
                **{f"add_{number}": round(played.processor_us) for number, played in adds.items()},
                "batched_entry": round(batches.processor_us / BATCH, 1),
                "proof": round(proofs.processor_us),
            },
            "bare_us": bare,
            "budget_us": budget,
        },
        "ratio": round(adds[128].rate * bare / 1e6, 3),
        "targets": TARGETS,
    }


def _adds(entries: Iterator[bytes], connections: int, number: int) -> Played:
    with _log() as served:
        served.play(_lanes([post("/add", next(entries)) for _ in range(connections)], connections), b"200")
        return served.play(_lanes([post("/add", next(entries)) for _ in range(number)], connections), b"200")


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


def _lanes(requests: list[bytes], number: int) -> Lanes:
    return [requests[first::number] for first in range(number)]


def _batch(entries: Iterator[bytes]) -> bytes:
    return post("/add-batch", format_entries([next(entries) for _ in range(BATCH)]))


def _proof(index: int) -> bytes:
    return _get(f"/v1/proofs/entry/{index}")


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def _entries() -> Iterator[bytes]:
    """Entries that were never seen before."""
    run = os.urandom(16)
    for number in count():
        yield (run + number.to_bytes(8, "big")).ljust(ENTRY_BYTES, b".")


@contextmanager
def _log() -> Iterator[Daemon]:
    """A new log, on the first processor."""
    with tempfile.TemporaryDirectory() as folder:
        write_signer_key(Path(folder) / "log.key", log_key(ORIGIN))
        config = Path(folder) / "log.toml"
        config.write_text(
            f'origin = "{ORIGIN}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
            f'register = "register"\nkeys = ["log.key"]\npublish_interval = {PUBLISH_SECONDS}\n'
        )
        init(config)
        with daemon("log", config) as served:
            yield served


def _steps(repeats: int) -> dict[str, float]:
    """Microseconds an entry for the steps of a batch of 128, alone."""
    source = _entries()
    batches = _batches(source)
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "bare")) as database:
        database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE batch (first INTEGER PRIMARY KEY, rows BLOB);"
            "CREATE TABLE entry (leaf BLOB PRIMARY KEY, first INTEGER) WITHOUT ROWID;"
        )

        def commit() -> None:
            with database:
                database.execute("INSERT INTO batch (rows) VALUES (?)", [msgspec.msgpack.encode(next(batches))])

        def dedup() -> None:
            leaves = leaf_hashes(next(batches))
            database.execute(f"SELECT leaf FROM entry WHERE leaf IN ({','.join('?' * 128)})", leaves).fetchall()
            database.executemany("INSERT INTO entry VALUES (?, 1)", [(leaf,) for leaf in leaves])

        some = next(batches)
        hashed = microseconds(lambda: leaf_hashes(some), 10 * repeats) / 128
        committed = microseconds(commit, repeats) / 128
        looked_up = microseconds(dedup, repeats) / 128 - hashed
    return {
        "hash": round(hashed, 1),
        "dedup": round(looked_up, 1),
        "commit": round(committed, 1),
        "bare": round(hashed + committed, 1),
    }


def _batches(source: Iterator[bytes]) -> Iterator[list[bytes]]:
    while True:
        yield [next(source) for _ in range(128)]


if __name__ == "__main__":
    main()
