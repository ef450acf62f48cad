#!/usr/bin/env python3
"""Subtree and Rotation: what is accepted has one spelling, and nothing is both, or a checkpoint."""

from fuzz.harness import main, round_trip
from tests.evidence_cases import part, record
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.rotation import Rotation
from tlog.subtree import Subtree

SEEDS = [part(b"entry"), part(b"entry", 0, 1), record("key"), record("log.example/one+00000000+AQ==", 2**63 - 1)]

_TARGETS = [(one, round_trip(one.parse)) for one in (Subtree, Rotation, Checkpoint)]


def target(data: bytes) -> None:
    read = 0
    for one, written_back in _TARGETS:
        written_back(data)
        try:
            one.parse(data)
        except FormatError:
            continue
        read += 1
    if read > 1:
        raise AssertionError("one text says two things")


if __name__ == "__main__":
    main(target, SEEDS)
