"""``sameview fsck`` over a log on disk: entries a second for each processor, and the memory of every process.

The command itself runs, as anybody would run it, with one process and with as many as there are processors. Seconds for
each processor are those of processor time, of all its processes from start to end; what a processor that does nothing
but the same hashes of the same bytes needs stands beside them.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from sameview.fsck.derived import DerivedTree
from sameview.fsck.segments import processors
from tests.fakes_log import FakeLog
from tlog.hashing import leaf_hashes
from tlog.tiles import TILE_WIDTH, EntryBundle, format_entries

ENTRIES = 5_000_000
SHORT_ENTRIES = 400_000
ENTRY_BYTES = 100  # a line about a module or an artefact; a certificate is ten times that
POLL_SECONDS = 0.05


def make_log(folder: Path, size: int) -> str:
    """Write every file of a log, and return its vkey."""
    log, tree = FakeLog(), DerivedTree()
    for start in range(0, size, TILE_WIDTH):
        entries = [b"entry %d " % index for index in range(start, min(start + TILE_WIDTH, size))]
        entries = [entry.ljust(ENTRY_BYTES, b".") for entry in entries]
        _write(folder / EntryBundle(start // TILE_WIDTH, len(entries)).path(), format_entries(entries))
        for tile, hashes in tree.append(leaf_hashes(entries)):
            _write(folder / tile.path(), b"".join(hashes))
    for tile, hashes in tree.edge():
        _write(folder / tile.path(), b"".join(hashes))
    _write(folder / "checkpoint", log.sign(head=tree.range.tree_head(), witnesses=()))
    return log.key.verifier_key.format()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def measure(folder: Path, vkey: str, size: int, jobs: int) -> Mapping[str, float | int]:
    """Run the command, and watch its processes."""
    command = [sys.executable, "-m", "sameview", "fsck", str(folder), "--vkey", vkey, "--jobs", str(jobs)]
    before, began = os.times(), time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    largest: dict[int, int] = {}
    while running.poll() is None:
        for process in _family(running.pid):
            largest[process] = max(largest.get(process, 0), _resident(process))
        time.sleep(POLL_SECONDS)
    if running.returncode:
        raise RuntimeError("fsck did not hold")
    seconds, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "jobs": jobs,
        "seconds": round(seconds, 2),
        "processor_seconds": round(spent, 2),
        "entries_per_second": round(size / seconds),
        "entries_per_processor_second": round(size / spent),
        "rss_mb_of_all_processes": round(sum(largest.values()) / 1e6),
        "rss_mb_of_largest_process": round(max(largest.values()) / 1e6),
    }


def _family(process: int) -> list[int]:
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(one for child in children for one in _family(int(child)))]


def _resident(process: int) -> int:
    try:
        pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def hashes_alone(size: int) -> int:
    """Leaves and nodes of as many entries a second by hashlib, each hash by itself, bytes ready."""
    leaf, node = b"\0" + bytes(ENTRY_BYTES), b"\1" + bytes(64)
    began = time.process_time()
    for _ in range(size):
        sha256(leaf).digest()
        sha256(node).digest()
    return round(size / (time.process_time() - began))


def main() -> None:
    size = SHORT_ENTRIES if "--short" in sys.argv[1:] else ENTRIES
    with TemporaryDirectory() as name:
        folder = Path(name)
        vkey = make_log(folder, size)
        runs = [measure(folder, vkey, size, jobs) for jobs in dict.fromkeys((1, processors()))]
    document = {
        "entries": size,
        "bytes_of_an_entry": ENTRY_BYTES,
        "runs": runs,
        "hashlib_alone_per_processor_second": hashes_alone(200_000),
        "machine": {"python": platform.python_version(), "processors": processors()},
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
