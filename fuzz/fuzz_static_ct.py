#!/usr/bin/env python3
"""Data tiles of certificate logs: what ``parse_leaves`` and ``parse_extensions`` accept is written back as it came.

Input: a byte for the number of entries, one for the index of the first, and then the data tile, which is read as the
extensions of an entry and as a certificate too (``parse_precertificate``).
"""

from tlog.errors import FormatError
from tlog.precertificate import parse_precertificate
from tlog.static_ct import (
    TileLeaf,
    format_extensions,
    format_leaves,
    parse_extensions,
    parse_leaves,
    parse_merkle_tree_leaf,
)


def target(data: bytes) -> None:
    width, first, tile = (data[0] + 1, data[1], data[2:]) if len(data) > 1 else (1, 0, b"")
    try:
        leaves = parse_leaves(tile, first, width)
    except FormatError:
        leaves = []
    if leaves:
        if format_leaves(leaves) != tile:
            raise AssertionError("an accepted data tile has a second spelling")
        if [leaf.leaf_index for leaf in leaves] != list(range(first, first + width)):
            raise AssertionError("an entry stands at another place than it names")
        if [parse_merkle_tree_leaf(leaf.merkle_tree_leaf()).merkle_tree_leaf() for leaf in leaves] != [
            leaf.merkle_tree_leaf() for leaf in leaves
        ]:
            raise AssertionError("what the tree hashes of an entry is read as something else")
    try:
        index = parse_extensions(tile)
    except FormatError:
        index = None
    if index is not None and parse_extensions(format_extensions(index)) != index:
        raise AssertionError("a leaf index has a second value")
    try:
        leaf = parse_merkle_tree_leaf(tile)
    except FormatError:
        leaf = None
    if leaf is not None and leaf.merkle_tree_leaf() != tile:
        raise AssertionError("an accepted leaf has a second spelling")
    try:
        parse_precertificate(tile)
    except FormatError:
        return


SEEDS = [
    b"",
    b"\x00\x00",
    b"\x00\x05" + TileLeaf(1, b"certificate", format_extensions(5), (bytes(32),)).format(),
    b"\x01\x05"
    + format_leaves(
        [
            TileLeaf(1, b"c", format_extensions(5)),
            TileLeaf(2, b"tbs", format_extensions(6), (bytes(32), bytes(32)), bytes(32), b"whole"),
        ]
    ),
    b"\x00\x00" + format_extensions(7),
    b"\x00\x00" + TileLeaf(1, b"certificate", format_extensions(5)).merkle_tree_leaf(),
    b"\x00\x00\x01\x00\x00" + format_extensions(2**40 - 1),
    bytes.fromhex("00003023301c020107a31730153013060a2b06010401d6790204030101ff040205003000030100"),
]

if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
