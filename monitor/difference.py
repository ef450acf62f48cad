"""Finds out which entry of a log is not what it signed.

The log's own hash tiles tell: where they lead to the signed root, the hashes in them are the right ones, and the first
that differs from what was hashed here leads to the entry in a few steps. Where they do not lead there, nobody can tell.
"""

from dataclasses import dataclass

from gossip.core import MissingTile
from monitor.sources.source import NotServed, Source
from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, TreeHead, node_hashes
from tlog.proofs import NodeId, ReadNode, inclusion_nodes, prove_inclusion, root_at, root_nodes, verify_inclusion
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileReader, tile_hashes, tiles_for


@dataclass(frozen=True, slots=True)
class Suspect:
    """The first entry that is served wrongly, and the hash that its leaf should have."""

    index: int
    leaf: Hash


async def first_difference(source: Source, head: TreeHead, ours: ReadNode) -> Suspect | None:
    """Compare the log's tiles, from the top downwards, with what was hashed; None if they do not help."""
    try:
        edge = {tile: await source.tile(tile) for tile in tiles_for(root_nodes(head.size), head.size)}
        reader = TileReader(head.size, edge.__getitem__)
        if root_at(head.size, reader.node) != head.root_hash:
            return None
        node = next((one for one in root_nodes(head.size) if reader.node(*one) != ours(*one)), None)
        return None if node is None else await _descend(source, head.size, node, reader.node(*node), ours)
    except (NotServed, FormatError, MissingTile):
        return None


async def holds(source: Source, head: TreeHead, suspect: Suspect) -> bool:
    """Tell whether the log's tiles show that the tree of this head has the right leaf in that place."""
    nodes = inclusion_nodes(suspect.index, head.size)
    try:
        tiles = {tile: await source.tile(tile) for tile in tiles_for(nodes, head.size)}
        path = prove_inclusion(suspect.index, head.size, TileReader(head.size, tiles.__getitem__).node)
        verify_inclusion(suspect.leaf, suspect.index, head, path)
    except (NotServed, FormatError, ProofError):
        return False
    return True


async def _descend(source: Source, size: int, node: NodeId, right: Hash, ours: ReadNode) -> Suspect | None:
    level, index = node
    while level:
        level, below = (level - 1) // TILE_HEIGHT * TILE_HEIGHT, level
        first, count = index << below - level, 1 << below - level
        hashes = await _hashes(source, size, level, first, count)
        if _root(hashes) != right:
            return None
        offset = next((offset for offset in range(count) if hashes[offset] != ours(level, first + offset)), None)
        if offset is None:
            return None
        index, right = first + offset, hashes[offset]
    return Suspect(index, right)


async def _hashes(source: Source, size: int, level: int, first: int, count: int) -> list[Hash]:
    """Read neighbouring hashes of a level out of the tile that they are in."""
    tile, offset = divmod(first, TILE_WIDTH)
    width = min((size >> level) - tile * TILE_WIDTH, TILE_WIDTH)
    hashes = tile_hashes(await source.tile(Tile(level // TILE_HEIGHT, tile, width)))
    if len(hashes) != width:
        raise FormatError("a tile is not as wide as the tree demands")
    return hashes[offset : offset + count]


def _root(hashes: list[Hash]) -> Hash:
    while len(hashes) > 1:
        hashes = node_hashes(hashes)
    return hashes[0]
