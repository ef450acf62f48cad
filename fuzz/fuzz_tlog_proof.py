#!/usr/bin/env python3
"""Proof files: what parses is written back byte for byte, and what verifies is what was once signed and logged.

The log and the witness of the seeds signed two trees and nothing else. So a proof that verifies names one of these
trees, and an entry at its place, or signatures and hashes can be forged by changing bytes.
"""

from fuzz.harness import main
from tests.keys import log_key, sign_checkpoint, witness_key
from tests.rfc6962 import ReferenceTree
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, TlogError
from tlog.hashing import leaf_hash
from tlog.policy import Policy
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ENTRIES = [b"entry %d" % n for n in range(5)]
TREE = ReferenceTree(ENTRIES)
LOG, WITNESS = log_key(), witness_key()
POLICY = Policy.parse(f"log {LOG.verifier_key}\nwitness w {WITNESS.verifier_key}\nquorum w\n".encode())
TRUST = Trust(policy=POLICY)


def signed(size: int) -> bytes:
    return sign_checkpoint(Checkpoint("log.example/one", size, TREE.mth(0, size)), LOG, WITNESS)


SIZES = (1, 5)
SEEDS = [TlogProof(index, tuple(TREE.path(index, 0, 5)), signed(5)).format() for index in (0, 3, 4)]
SEEDS += [TlogProof(0, (), signed(1)).format(), TlogProof(0, (), signed(1), b"extra").format()]


def target(data: bytes) -> None:
    try:
        proof = TlogProof.parse(data)
    except FormatError:
        return
    if proof.format() != data:
        raise AssertionError("an accepted proof has a second spelling")
    for index, entry in enumerate(ENTRIES):
        try:
            opened = proof.verify(leaf_hash(entry), TRUST)
        except TlogError:
            continue
        if opened.size not in SIZES or opened.root_hash != TREE.mth(0, opened.size):
            raise AssertionError("a tree that nobody signed was accepted")
        if proof.index != index or list(proof.path) != TREE.path(index, 0, opened.size):
            raise AssertionError("an entry was proven where it does not stand")


if __name__ == "__main__":
    main(target, SEEDS)
