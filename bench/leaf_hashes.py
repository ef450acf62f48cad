"""How fast entries are hashed to leaves in bulk, beside hashlib without anything around it.

Both hash the same entries in turns, so that whatever else the machine does slows both; the ratio is the median of the
turns. ``--short`` measures for a moment only.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from time import perf_counter

from tlog.hashing import leaf_hashes

TARGET = 0.85  # of the speed of hashlib alone
SIZES = (32, 200, 2000)  # bytes of an entry: a hash, a short record, a certificate
SEED = 6962


def bare(entries: Sequence[bytes]) -> list[bytes]:
    """What cannot be undercut: one call of hashlib for each entry."""
    return [sha256(b"\0" + entry).digest() for entry in entries]


def seconds(hash_all: Callable[[Sequence[bytes]], object], entries: Sequence[bytes]) -> float:
    started = perf_counter()
    hash_all(entries)
    return perf_counter() - started


def measure(size: int, count: int, turns: int) -> dict[str, float]:
    choices = random.Random(SEED)
    entries = [choices.randbytes(size) for _ in range(count)]
    if leaf_hashes(entries) != bare(entries):
        raise AssertionError("the two do not hash alike")
    pairs = []
    for turn in range(turns):
        # Who goes first changes: the second finds the entries in the cache.
        order = (bare, leaf_hashes) if turn % 2 else (leaf_hashes, bare)
        taken = {hash_all: seconds(hash_all, entries) for hash_all in order}
        pairs.append((taken[leaf_hashes], taken[bare]))
    return {
        "hashes_per_second": round(count / statistics.median(ours for ours, _ in pairs)),
        "hashlib_per_second": round(count / statistics.median(theirs for _, theirs in pairs)),
        "ratio": round(statistics.median(theirs / ours for ours, theirs in pairs), 3),
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quick look instead of a measurement")
    short = parser.parse_args(arguments).short
    count, turns = (2_000, 5) if short else (50_000, 21)
    figures = {f"entries_of_{size}_bytes": measure(size, count, turns) for size in SIZES}
    ratio = min(figure["ratio"] for figure in figures.values())
    print(json.dumps({"bench": "leaf_hashes", "figures": figures, "ratio": ratio, "target": TARGET}))


if __name__ == "__main__":
    main(sys.argv[1:])
