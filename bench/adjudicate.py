"""How long a monitor takes to judge one head: on its branch, or a fork, in a mirror of a million leaves on disk.

For random sizes: a head that lies on the branch, and one of the same size with another root, which has to be made into
evidence. ``ratio`` is the median of what cannot be saved for a head on the branch by our time to judge it: hashlib over
as many nodes as its root consists of within tiles, prepared before the clock starts, without files or trees.

    python -m bench.adjudicate [--short]
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import perf_counter

from gossip.core import Forked, OnBranch, adjudicate
from monitor.mirror import Mirror
from tests.forks import signed
from tests.keys import log_key
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.proofs import root_at
from tlog.signed_checkpoint import SignedCheckpoint

LEAVES = 1_000_000
TARGET_MS = 20.0
SEED = 1_000_003
LOG = log_key()


def measure(count: int) -> dict[str, object]:
    choices = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        mirror = Mirror.open(Path(folder) / "mirror", max_bytes=1 << 30)
        for start in range(0, LEAVES, 1 << 16):
            mirror.extend([Hash(choices.randbytes(HASH_SIZE)) for _ in range(min(1 << 16, LEAVES - start))])
        own = signed(mirror.draft_head(), LOG)
        mirror.adopt()
        bare, right, wrong = [], [], []
        for _ in range(count):
            size = choices.randrange(1, LEAVES)
            head = signed(TreeHead(size, root_at(size, mirror.read)), LOG)
            lie = signed(TreeHead(size, Hash(choices.randbytes(HASH_SIZE))), LOG)
            bare.append(_bare(size))
            right.append(_taken(partial(_judge, OnBranch, own, head, mirror)))
            wrong.append(_taken(partial(_judge, Forked, own, lie, mirror)))
        mirror.close()
    return {
        "bench": "adjudicate",
        "leaves": LEAVES,
        "heads": count,
        "figures": {
            "on_branch_ms": round(statistics.median(right), 3),
            "on_branch_p95_ms": round(statistics.quantiles(right, n=20)[-1], 3),
            "fork_ms": round(statistics.median(wrong), 3),
            "fork_p95_ms": round(statistics.quantiles(wrong, n=20)[-1], 3),
            "bare_ms": round(statistics.median(bare), 3),
        },
        "ratio": round(statistics.median(bare) / statistics.median(right), 3),
        "target_ms": TARGET_MS,
    }


def _judge(kind: type[object], own: SignedCheckpoint, head: SignedCheckpoint, mirror: Mirror) -> None:
    if not isinstance(adjudicate(own, head, (), mirror.read, {}), kind):
        raise RuntimeError("the head was judged wrongly")


def _bare(size: int) -> float:
    """Milliseconds for the hashes alone: a subtree for each bit of the size, hashed up from a row of a tile, joined."""
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    count = sum((1 << level % 8) - 1 for level in levels) + len(levels) - 1
    children = [b"\x01" + index.to_bytes(2 * HASH_SIZE, "big") for index in range(count)]
    started = perf_counter()
    for pair in children:
        sha256(pair).digest()
    return 1000 * (perf_counter() - started)


def _taken(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return 1000 * (perf_counter() - started)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer heads")
    print(json.dumps(measure(20 if parser.parse_args(arguments).short else 500)))


if __name__ == "__main__":
    main(sys.argv[1:])
