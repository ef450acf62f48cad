"""What a log serves, held to what was derived, and the file at fault when the two differ.

Two files disagree then, and the signed root tells which is wrong: a hash that really is in the tree leads to it along
the hashes beside it, another one does not.
"""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

from sameview.fsck.source import Source
from tlog.errors import FormatError, ProofError
from tlog.hashing import HASH_SIZE, Hash, TreeHead, leaf_hashes
from tlog.proofs import prove_subtree_consistency, root_from_node, subtree_nodes
from tlog.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    EntryBundle,
    Tile,
    TileReader,
    parse_entries,
    tile_hashes,
    tiles_for,
)

GZIP = b"\x1f\x8b"


class _Found(NamedTuple):
    """A file and the hashes that it holds, or that its entries have."""

    path: str
    hashes: list[Hash]


@dataclass(frozen=True, slots=True)
class Served:
    """What the log serves, and the head it is measured by."""

    source: Source
    head: TreeHead
    tiles_only: bool

    async def leaves(self, bundle: EntryBundle) -> list[Hash]:
        """The leaf hashes of a bundle, from what counts as the source of truth."""
        return (await self._source(bundle.index, bundle.width)).hashes

    async def compare(self, derived: tuple[Tile, list[Hash]]) -> None:
        """Hold a tile that is served to what was derived."""
        tile, hashes = derived
        if tile.level == 0 and self.tiles_only:
            return
        path, width, data = await self._tile_file(tile)
        # Bytes are compared with bytes: a tile is taken apart only to say what is wrong with it.
        if len(data) == HASH_SIZE * width and data.startswith(b"".join(hashes)):
            return
        found = _read_tile(path, width, data, tile.width)
        raise ProofError(await self._blame(tile, found, hashes))

    async def tile(self, tile: Tile) -> list[Hash]:
        """The hashes of a tile, as they are served."""
        return (await self._tile(tile)).hashes

    async def explain_root(self) -> str:
        """Name what can be wrong when all files agree with each other: what nothing else is made from."""
        width = self.head.size % TILE_WIDTH
        last = f"{(await self._source(self.head.size // TILE_WIDTH, width)).path} or " if width else ""
        return f"{last}the checkpoint is wrong: all files agree with each other, and their root is not the signed one"

    async def _blame(self, tile: Tile, found: _Found, derived: list[Hash]) -> str:
        place = next(at for at in range(tile.width) if found.hashes[at] != derived[at])
        below = await self._names_below(tile, tile.index * TILE_WIDTH + place)
        if await self._leads_to_root(tile, derived, place):
            return f"{found.path}: not the hashes of {below}"
        if await self._leads_to_root(tile, found.hashes, place):
            return f"{below}: other hashes than those in {found.path}, which agree with the signed root"
        return f"{found.path} and {below}: they disagree, and neither agrees with the signed root"

    async def _names_below(self, tile: Tile, index: int) -> str:
        """The files that a hash of this tile is made from; they agree with each other."""
        if tile.level == 0:
            return (await self._source(tile.index, tile.width)).path
        child = Tile(tile.level - 1, index).path()
        return child if tile.level > 1 or self.tiles_only else f"{EntryBundle(index).path()} and {child}"

    async def _leads_to_root(self, tile: Tile, hashes: list[Hash], place: int) -> bool:
        """Tell whether a hash is in the signed tree, if this tile holds these hashes and the others what is served."""
        level, index, size = TILE_HEIGHT * tile.level, tile.index * TILE_WIDTH + place, self.head.size
        start, end = index << level, (index + 1) << level
        others = [other for other in tiles_for(subtree_nodes(start, end, size), size) if other != tile]
        read = {other: (await self._tile(other)).hashes for other in others} | {tile: hashes}
        reader = TileReader(size, lambda wanted: b"".join(read[wanted]))
        path = prove_subtree_consistency(start, end, size, reader.node)
        return root_from_node(level, index, size, hashes[place], path) == self.head.root_hash

    async def _source(self, index: int, width: int) -> _Found:
        return await (self._tile(Tile(0, index, width)) if self.tiles_only else self._bundle(EntryBundle(index, width)))

    async def _bundle(self, bundle: EntryBundle) -> _Found:
        path, width, data = await self._file(bundle, EntryBundle(bundle.index), MAX_BUNDLE_BYTES)
        try:
            return _Found(path, leaf_hashes(_entries(data, width)[: bundle.width]))
        except FormatError as error:
            raise ProofError(f"{path}: {error}") from None

    async def _tile(self, tile: Tile) -> _Found:
        return _read_tile(*await self._tile_file(tile), tile.width)

    async def _tile_file(self, tile: Tile) -> tuple[str, int, bytes]:
        return await self._file(tile, Tile(tile.level, tile.index), MAX_TILE_BYTES)

    async def _file(self, wanted: Tile | EntryBundle, full: Tile | EntryBundle, cap: int) -> tuple[str, int, bytes]:
        """Read a file, or the full one that a partial one is the beginning of and may have given way to."""
        for file in dict.fromkeys((wanted, full)):
            path = file.path()
            data = await self.source.read(path, cap)
            if data is not None:
                return path, file.width, data
        raise ProofError(f"{wanted.path()} is missing")


def _read_tile(path: str, width: int, data: bytes, wanted: int) -> _Found:
    """Take apart a file of which the name says how wide it is; the first hashes of it are wanted."""
    try:
        hashes = tile_hashes(data)
    except FormatError as error:
        raise ProofError(f"{path}: {error}") from None
    if len(hashes) != width:
        raise ProofError(f"{path} does not have the width in its name")
    return _Found(path, hashes[:wanted])


def _entries(data: bytes, width: int) -> list[bytes]:
    """Split a bundle. On disk it may be compressed, as logs keep it that are served without a program of theirs."""
    try:
        return parse_entries(data, width)
    except FormatError:
        if not data.startswith(GZIP):
            raise
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        data = inflate.decompress(data, MAX_BUNDLE_BYTES)
    except zlib.error:
        raise FormatError("an entry bundle is neither entries nor their gzip") from None
    if not inflate.eof or inflate.unused_data:
        raise FormatError("an entry bundle does not end with its gzip")
    return parse_entries(data, width)
