#!/usr/bin/env python3
"""Log lists: what is accepted holds every log it names, is written back as the same list, and only ever adds logs."""

from fuzz.harness import main
from tests.keys import log_key
from tlog.errors import FormatError
from tlog.log_list import LogList, merge

ONE, TWO = (log_key(f"log.example/{name}").verifier_key for name in ("one", "two"))
SEEDS = [
    b"logs/v0",
    f"logs/v0\n\nvkey {ONE}\nqpd 86400\ncontact https://log.example/\n".encode(),
    f"# list\n \tlogs/v0\nvkey {ONE}\nvkey {TWO}\norigin go.sum database tree\nqpd 1\nnew x\ncontact a\tb\n".encode(),
]


def target(data: bytes) -> None:
    try:
        found = LogList.parse(data)
    except FormatError:
        return
    if LogList.parse(found.format()) != found:
        raise AssertionError("a list is not read back as it was written")
    lines = [line.strip(b" \t") for line in data.split(b"\n")]
    if sum(line.startswith((b"vkey ", b"vkey\t")) for line in lines) != len(found.logs):
        raise AssertionError("a log of the list was read over")
    require_only_added(found)


def require_only_added(found: LogList) -> None:
    known = {ONE.name: (TWO,)}
    merged = merge(known, found)
    if any(log.origin == ONE.name for log in merged.added) or len({log.origin for log in merged.added}) != len(
        merged.added
    ):
        raise AssertionError("a list changed the key of a known log")
    known.update({log.origin: (log.key,) for log in merged.added})
    if merge(known, found).added or merge(known, found).conflicts != merged.conflicts:
        raise AssertionError("a list was not taken over whole")


if __name__ == "__main__":
    main(target, SEEDS)
