#!/usr/bin/env python3
"""Entry bundles and tiles: what parses is written back, and holds neither more nor less than was asked for.

Input: a byte for the number of entries and then the bundle, which is read as a tile too.
"""

from tlog.errors import FormatError
from tlog.tiles import format_entries, parse_entries, tile_hashes


def target(data: bytes) -> None:
    width, bundle = (data[0] + 1, data[1:]) if data else (1, b"")
    entries = parsed(bundle, width)
    if entries != plain(bundle, width):
        raise AssertionError("a bundle reads unlike its grammar")
    if entries is not None:
        if format_entries(entries) != bundle:
            raise AssertionError("an accepted bundle has a second spelling")
        others = [(bundle + b"\0", width), (bundle[:-1], width), (bundle, width - 1), (bundle, width + 1)]
        if any(parsed(other, count) is not None for other, count in others):
            raise AssertionError("a bundle can hold more or less than its entries")
    try:
        hashes = tile_hashes(bundle)
    except FormatError:
        hashes = []
    if bool(hashes) != (len(bundle) in range(32, 8193, 32)) or (hashes and b"".join(hashes) != bundle):
        raise AssertionError("a tile is not its hashes")


def parsed(bundle: bytes, width: int) -> list[bytes] | None:
    try:
        return parse_entries(bundle, width)
    except FormatError:
        return None


def plain(bundle: bytes, width: int) -> list[bytes] | None:
    """The grammar, entry by entry from what is left."""
    entries = []
    for _ in range(width):
        length, rest = int.from_bytes(bundle[:2], "big"), bundle[2:]
        if len(bundle) < 2 or len(rest) < length:
            return None
        entries.append(rest[:length])
        bundle = rest[length:]
    return None if bundle else entries


SEEDS = [
    b"",
    b"\x00\x00\x00",
    b"\x00\x00\x03abc",
    b"\x02\x00\x00\x00\x01a\x00\x00",
    b"\x01\x00\x02a",
    b"\x00" + format_entries([bytes(65535)]),
    b"\xff" + format_entries([b"x"] * 256),
    b"\x00\x00\x1e" + bytes(30),
    b"\x00" + bytes(8192),
]

if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
