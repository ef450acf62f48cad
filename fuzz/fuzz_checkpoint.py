#!/usr/bin/env python3
"""Checkpoint: what is accepted is what the grammar, written down a second time, accepts, and means the same."""

import base64
import re

from fuzz.harness import main
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import EMPTY_ROOT, Hash

SEEDS = [
    Checkpoint("log.example/one", 0, EMPTY_ROOT).format(),
    Checkpoint("go.sum database tree", 20852163, Hash(bytes(range(32)))).format(),
    Checkpoint("журнал", 2**63 - 1, Hash(b"\xff" * 32), (b"extension", b" ", "…".encode())).format(),
    Checkpoint("x" * 255, 1, Hash(bytes(32))).format(),
]

GRAMMAR = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n((?:[^\n]+\n)*)")


def target(data: bytes) -> None:
    try:
        checkpoint: Checkpoint | None = Checkpoint.parse(data)
    except FormatError:
        checkpoint = None
    if checkpoint != second_reading(data):
        raise AssertionError("two readers of the grammar disagree")
    if checkpoint is not None and checkpoint.format() != data:
        raise AssertionError("an accepted checkpoint has a second spelling")


def second_reading(data: bytes) -> Checkpoint | None:
    """The grammar, by other means: text mode, one expression, and the standard library's base64."""
    try:
        match = GRAMMAR.fullmatch(data.decode())
    except UnicodeDecodeError:
        return None
    if match is None or re.search(r"[\x00-\x09\x0b-\x1f]", match[0]):
        return None
    root = base64.standard_b64decode(match[3])
    if base64.standard_b64encode(root).decode() != match[3] or int(match[2]) >= 2**63 or len(match[1].encode()) > 255:
        return None
    return Checkpoint(match[1], int(match[2]), Hash(root), tuple(match[4].encode().split(b"\n")[:-1]))


if __name__ == "__main__":
    main(target, SEEDS)
