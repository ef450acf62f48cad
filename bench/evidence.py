"""What a conviction costs: evidence of a fork made from tiles, and verified, in a tree of a million leaves.

For random sizes m < n: the log has signed another root at m than its tree of n leaves has there. Evidence is made by
``non_consistent`` out of the tiles of the larger tree, whose maker verifies what it made, is written, read again and
verified as a stranger would. Nothing is kept from one conviction to the next.

Beside it, in turns, runs what cannot be saved: two Ed25519 verifications for the maker and two for the stranger, the
nodes that have to be hashed out of tiles, and the hashes of both folds. ``ratio`` is the median of bare cost by ours.

    python -m bench.evidence [--short]
"""

import argparse
import json
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import perf_counter

from nacl.bindings import crypto_sign_open

from tests.forks import ORIGIN, Tree, signed
from tests.keys import log_key
from tlog.evidence import Evidence, non_consistent, verify_evidence
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.proofs import consistency_nodes, root_nodes
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_HEIGHT, Tile, TileReader, tiles_for

LEAVES = 1_000_000
TARGET_MS = 5.0
SEED = 9162
LOG = log_key()


@dataclass(frozen=True, slots=True)
class Case:
    """A head that does not fit the tree, and the larger head of the tree."""

    smaller: SignedCheckpoint
    larger: SignedCheckpoint


class Tiles:
    """Every tile of one tree, in memory; a tree of fewer leaves has the same tiles, the last of them narrower."""

    def __init__(self, leaves: list[Hash]) -> None:
        self.tree = Tree(leaves)
        self._rows = [b"".join(row) for row in self.tree.rows[::TILE_HEIGHT]]

    def read(self, tile: Tile) -> bytes:
        start = (tile.index << TILE_HEIGHT) * HASH_SIZE
        return self._rows[tile.level][start : start + tile.width * HASH_SIZE]


def cases(tiles: Tiles, count: int, choices: random.Random) -> list[Case]:
    made = []
    for _ in range(count):
        large = choices.randint(LEAVES // 2, LEAVES)
        lie = TreeHead(choices.randrange(1, large), Hash(choices.randbytes(HASH_SIZE)))
        made.append(Case(signed(lie, LOG), signed(tiles.tree.head(large), LOG)))
    return made


def ours(tiles: Tiles, case: Case) -> tuple[float, float, bytes]:
    """Seconds to make evidence and to verify it from its bytes, and the bytes."""
    started = perf_counter()
    bundle = non_consistent(case.smaller, case.larger, TileReader(case.larger.size, tiles.read).node).format()
    made = perf_counter()
    verify_evidence(Evidence.parse(bundle), [LOG.verifier_key])
    return made - started, perf_counter() - made, bundle


def bare(tiles: Tiles, case: Case) -> float:
    """Seconds for the signatures and hashes alone; what they are is prepared before the clock starts."""
    public_key = LOG.verifier_key.public_key
    messages = [head.signatures[0].line.body + head.note.text for head in (case.smaller, case.larger)]
    inner = inner_nodes(tiles, case)
    folded = 2 * len(consistency_nodes(case.smaller.size, case.larger.size))
    started = perf_counter()
    for message in 2 * messages:
        crypto_sign_open(message, public_key)
    for rows in inner:
        for children in rows:
            sha256(b"\x01" + children).digest()
    for _ in range(2 * folded):
        sha256(b"\x01" + messages[0][:64]).digest()
    return perf_counter() - started


def inner_nodes(tiles: Tiles, case: Case) -> list[list[bytes]]:
    """The pairs of children that have to be hashed to read the proof and the root out of tiles."""
    nodes = {*consistency_nodes(case.smaller.size, case.larger.size), *root_nodes(case.smaller.size)}
    heights: dict[Tile, int] = defaultdict(int)
    for node in nodes:
        (tile,) = tiles_for([node], case.larger.size)
        heights[tile] = max(heights[tile], node.level % TILE_HEIGHT)
    pairs = []
    for tile, height in heights.items():
        count = sum(tile.width >> level for level in range(1, height + 1))
        data = tiles.read(tile)
        pairs.append([data[:64]] * count)
    return pairs


def measure(count: int, leaves: int) -> dict[str, object]:
    choices = random.Random(SEED)
    tiles = Tiles([Hash(choices.randbytes(HASH_SIZE)) for _ in range(leaves)])
    taken = []
    for turn, case in enumerate(cases(tiles, count, choices)):
        # Who goes first changes: the second finds its data in the cache of the processor.
        theirs = bare(tiles, case) if turn % 2 else 0.0
        make, verify, bundle = ours(tiles, case)
        theirs = theirs or bare(tiles, case)
        taken.append((make, verify, theirs, len(bundle)))
    totals = [1000 * (make + verify) for make, verify, _, _ in taken]
    return {
        "bench": "evidence",
        "leaves": leaves,
        "convictions": count,
        "origin_bytes": len(ORIGIN),
        "figures": {
            "total_ms": round(statistics.median(totals), 3),
            "total_p95_ms": round(statistics.quantiles(totals, n=20)[-1], 3),
            "make_ms": round(1000 * statistics.median(make for make, *_ in taken), 3),
            "verify_ms": round(1000 * statistics.median(verify for _, verify, *_ in taken), 3),
            "bare_ms": round(1000 * statistics.median(theirs for *_, theirs, _ in taken), 3),
            "bundle_bytes": round(statistics.median(size for *_, size in taken)),
        },
        "ratio": round(statistics.median(theirs / (make + verify) for make, verify, theirs, _ in taken), 3),
        "target_ms": TARGET_MS,
    }


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer convictions")
    short = parser.parse_args(arguments).short
    print(json.dumps(measure(50 if short else 2000, LEAVES)))


if __name__ == "__main__":
    main(sys.argv[1:])
