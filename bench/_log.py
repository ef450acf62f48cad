"""What benches of a log process share: a new log, entries that nobody has seen, and requests with them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from bench._load import Daemon, Lanes, daemon, post
from logserver.__main__ import init
from runtime.keyfiles import write_signer_key
from tests.keys import log_key
from tlog.tiles import format_entries

ORIGIN = "log.example/bench"
KEY = log_key(ORIGIN)
ENTRY_BYTES = 200
BATCH = 256
PUBLISH_SECONDS = 0.1
STEPS_FILE = "SAMEVIEW_BENCH_STEPS"  # names the file into which bench._log_steps writes


@contextmanager
def new_log(program: str = "sameview") -> Iterator[Daemon]:
    """A new log, on the first processor, until the block ends."""
    with TemporaryDirectory() as folder, daemon("log", configure(Path(folder)), program) as served:
        yield served


def configure(folder: Path) -> Path:
    """Configure a log in an empty folder, its public files in ``data/public``, and let it make its state."""
    write_signer_key(folder / "log.key", KEY)
    config = folder / "log.toml"
    config.write_text(
        f'origin = "{ORIGIN}"\nlisten = "127.0.0.1:0"\noperator_listen = "127.0.0.1:0"\ndata = "data"\n'
        f'register = "register"\nkeys = ["log.key"]\npublish_interval = {PUBLISH_SECONDS}\n'
    )
    init(config)
    return config


def new_entries() -> Iterator[bytes]:
    """Entries that were never seen before."""
    run = os.urandom(16)
    for number in count():
        yield (run + number.to_bytes(8, "big")).ljust(ENTRY_BYTES, b".")


def adds(entries: Iterator[bytes], number: int, connections: int) -> Lanes:
    """Single entries, over so many connections."""
    return lanes([post("/add", entry) for entry in islice(entries, number)], connections)


def batches(entries: Iterator[bytes], number: int, connections: int) -> Lanes:
    """Batches of as many entries as one may have, over so many connections."""
    bodies = (format_entries(list(islice(entries, BATCH))) for _ in range(number))
    return lanes([post("/add-batch", body) for body in bodies], connections)


def lanes(requests: list[bytes], number: int) -> Lanes:
    """Deal requests out to connections."""
    return [requests[first::number] for first in range(number)]


def get(path: str) -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
