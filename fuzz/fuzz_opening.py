#!/usr/bin/env python3
"""Openings: what parses is written back byte for byte, and what verifies is a subtree of a tree that was signed.

The log of the seeds signed two trees and nothing else, so whatever verifies shows the one hash that a complete subtree
of one of them has at its place.
"""

from fuzz.harness import main
from tests.keys import log_key, sign_checkpoint
from tests.rfc6962 import ReferenceTree
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, TlogError
from tlog.hashing import leaf_hash
from tlog.opening import TruncatedProof
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ENTRIES = [b"entry %d" % n for n in range(21)]
TREE = ReferenceTree(ENTRIES)
LOG = log_key()
TRUST = Trust((LOG.verifier_key,))
SIZES = (5, 21)


def opened(index: int, size: int, level: int) -> bytes:
    note = sign_checkpoint(Checkpoint("log.example/one", size, TREE.mth(0, size)), LOG)
    proof = TlogProof(index, tuple(TREE.path(index, 0, size)), note)
    return TruncatedProof.of(proof, leaf_hash(ENTRIES[index]), level).format()


SEEDS = [opened(0, 5, 8), opened(4, 5, 8), opened(9, 21, 3), opened(17, 21, 2), opened(20, 21, 0)]


def target(data: bytes) -> None:
    try:
        opening = TruncatedProof.parse(data)
    except FormatError:
        return
    if opening.format() != data:
        raise AssertionError("an accepted opening has a second spelling")
    try:
        head = opening.verify(TRUST)
    except TlogError:
        return
    first, width = opening.index << opening.level, 1 << opening.level
    if head.size not in SIZES or opening.node != TREE.mth(first, first + width):
        raise AssertionError("a subtree was accepted that no signed tree has")


if __name__ == "__main__":
    main(target, SEEDS)
