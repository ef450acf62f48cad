#!/usr/bin/env python3
"""Paths of tiles and entry bundles: one spelling each, the same as a plain reading of the grammar, and none besides."""

from tlog.errors import FormatError
from tlog.proofs import NodeId
from tlog.text import MAX_INTEGER
from tlog.tiles import EntryBundle, Tile, bundles_for, tile_of

DIGITS = frozenset("0123456789")

Place = tuple[int, int]


def target(data: bytes) -> None:
    path = data.decode("utf-8", "surrogateescape")
    try:
        tile = Tile.parse(path)
    except FormatError:
        tile = None
    try:
        bundle = EntryBundle.parse(path)
    except FormatError:
        bundle = None
    if (tile and (tile.level, tile.index, tile.width)) != plain_tile(path):
        raise AssertionError("a tile path reads unlike its grammar")
    if (bundle and (bundle.index, bundle.width)) != plain_bundle(path):
        raise AssertionError("a bundle path reads unlike its grammar")
    for found in (tile, bundle):
        if found and found.path() != path:
            raise AssertionError("an accepted path has a second spelling")
    if tile and tile.end <= MAX_INTEGER:
        is_in_the_tree_it_ends(tile)
    if bundle and bundle.end <= MAX_INTEGER and bundles_for(bundle.start, bundle.end, bundle.end) != [bundle]:
        raise AssertionError("a bundle does not hold its own entries")


def is_in_the_tree_it_ends(tile: Tile) -> None:
    """A tree that ends where a tile ends has this tile, in this width."""
    for index in (tile.index * 256, tile.index * 256 + tile.width - 1):
        if tile_of(NodeId(8 * tile.level, index), tile.end) != tile:
            raise AssertionError("a tile does not hold its own hashes")


def plain_tile(path: str) -> tuple[int, int, int] | None:
    parts = path.split("/")
    if len(parts) < 3 or parts[0] != "tile" or not is_decimal(parts[1]) or len(parts[1]) > 2 or int(parts[1]) > 63:
        return None
    place = plain_place(parts[2:])
    return place and (int(parts[1]), *place)


def plain_bundle(path: str) -> Place | None:
    parts = path.split("/")
    return plain_place(parts[2:]) if parts[:2] == ["tile", "entries"] else None


def plain_place(parts: list[str]) -> Place | None:
    width = 256
    if len(parts) > 1 and parts[-2].endswith(".p"):
        if not is_decimal(parts[-1]) or not 0 < int(parts[-1][:4]) < 256:
            return None
        width = int(parts[-1])
        parts = [*parts[:-2], parts[-2].removesuffix(".p")]
    *heads, last = parts or [""]
    groups = [*(head.removeprefix("x") for head in heads), last]
    if not all(head.startswith("x") for head in heads) or not all(len(g) == 3 and DIGITS.issuperset(g) for g in groups):
        return None
    if (len(groups) > 1 and groups[0] == "000") or len(groups) > 7 or int("".join(groups)) > MAX_INTEGER:
        return None
    return int("".join(groups)), width


def is_decimal(text: str) -> bool:
    return text == "0" or (text != "" and DIGITS.issuperset(text) and text[0] != "0")


SEEDS = [
    b"tile/0/000",
    b"tile/63/x001/x234/067.p/89",
    b"tile/1/000.p/1",
    b"tile/7/000.p/127",
    b"tile/0/x009/x223/x372/x036/x854/x775/807.p/255",
    b"tile/0/x035/x000/x000/x000/000.p/10",
    b"tile/entries/x001/067.p/8",
    b"tile/entries/255",
    b"tile/64/x000/000.p/256",
    b"tile/00/001/0002.p/01",
    b"tile/entries/../000%2F.p/",
    "tile/٣/٠٠٠".encode(),
]

if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
