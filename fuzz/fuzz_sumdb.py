#!/usr/bin/env python3
"""Data tiles of Go checksum databases: what parses is written back, up to the empty line after the last entry.

Input: a byte for the number of entries, and then the data tile.
"""

from tlog.errors import FormatError
from tlog.sumdb import format_records, parse_records


def target(data: bytes) -> None:
    width, tile = (data[0] + 1, data[1:]) if data else (1, b"")
    try:
        records = parse_records(tile, 0, width)
    except FormatError:
        return
    written = format_records(records)
    if written not in (tile, tile + b"\n"):
        raise AssertionError("an accepted data tile has a third spelling")
    if len(records) != width or any(b"\n\n" in record or not record.endswith(b"\n") for record in records):
        raise AssertionError("an entry is not the lines of a text")


SEEDS = [
    b"",
    b"\x00a v1 h1:x\n",
    b"\x00a v1 h1:x\n\n",
    b"\x01a v1 h1:x\na v1/go.mod h1:y\n\nb v1 h1:z\n\n",
    b"\x01a\n\n\nb\n",
    b"\x00\n",
    b"\x00a\n\n\n",
    b"\x00a\r\n",
    b"\x00\xff\n",
]

if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
