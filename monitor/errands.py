"""Tiles and proofs: what the machine wants fetched, lent to the mirror, made for a peer or sent to one.

What needs the network, or much reading, is an errand: it runs beside everything else, not twice at once, and there are
not too many. One that fails is forgotten, since whoever wanted it wants it again.
"""

from collections.abc import Callable, Mapping

import trio

from gossip.core import (
    Branch,
    Candidate,
    Event,
    Ignored,
    MissingTile,
    ProofFound,
    Prove,
    SeekProof,
    SeekTile,
    SendTile,
    TileLent,
)
from gossip.messages import Consistency, Known, TileData
from gossip.shell import Gossip
from monitor.core import proof_from_tiles, tiles_to_prove
from monitor.mirror import Mirror
from monitor.site import Site
from monitor.sources.source import NotServed
from tlog.errors import FormatError, ProofError
from tlog.hashing import TreeHead
from tlog.proofs import prove_consistency, root_at
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_hashes

MAX_ERRANDS = 32  # fetches of proofs and tiles at once; those beyond are dropped and asked for again later
MAX_ERRANDS_FOR_PEERS = 8  # of these: what peers ask for keeps us from nothing that we need ourselves


class Errands:
    """Those that are under way."""

    def __init__(
        self,
        sites: Mapping[bytes, Site],
        gossip: Gossip,
        nursery: trio.Nursery,
        count: Callable[[Ignored], None],
    ) -> None:
        self._sites = sites
        self._gossip = gossip
        self._nursery = nursery
        self._count = count
        self._under_way: set[SeekProof | SeekTile | Prove] = set()

    async def lend(self, origin: bytes, tile: int, data: bytes, level: int = 0) -> list[Event]:
        """Offer the mirror a tile of hashes that it lacks."""
        mirror = self._sites[origin].mirror if origin in self._sites else None
        try:
            if mirror is None or not mirror.misses(tile, level):
                raise ProofError("this tile was not asked for")
            await trio.to_thread.run_sync(mirror.lend, tile, tile_hashes(data), level)
        except (FormatError, ProofError, MissingTile):
            self._count(Ignored.UNWANTED_TILE)
            return []
        return [TileLent(origin)]

    async def send_tile(self, wanted: SendTile) -> None:
        """Send a peer a tile of the mirror."""
        tile = Tile(wanted.level, wanted.index, wanted.width) if wanted.level < 8 else None
        site = self._sites.get(wanted.origin)
        if tile is None or site is None or tile.end > site.mirror.size:
            self._count(Ignored.UNKNOWN_TILE)
            return
        try:
            data = await trio.to_thread.run_sync(_tile_of, site.mirror, tile)
        except MissingTile:
            self._count(Ignored.DROPPED_TILE)
            return
        self._gossip.send(wanted.peer, TileData(wanted.origin, wanted.level, wanted.index, data))

    def run(self, errand: SeekProof | SeekTile | Prove) -> None:
        """Do something that needs the network, beside everything else; not twice at once, and not too many."""
        for_peers = sum(isinstance(one, Prove) for one in self._under_way)
        full = len(self._under_way) >= MAX_ERRANDS or (isinstance(errand, Prove) and for_peers >= MAX_ERRANDS_FOR_PEERS)
        if errand in self._under_way or full or errand.origin not in self._sites:
            self._count(Ignored.ERRAND_WITHOUT_ROOM)
            return
        self._under_way.add(errand)
        self._nursery.start_soon(self._errand, errand)

    async def _errand(self, errand: SeekProof | SeekTile | Prove) -> None:
        try:
            match errand:
                case SeekProof(origin, old_size, head):
                    candidate = await self._proof_from_log(self._sites[origin], old_size, head)
                    if candidate is not None:
                        await self._gossip.dispatch(ProofFound(origin, head, candidate))
                case SeekTile(origin, tile, level):
                    data = await self._sites[origin].source.tile(Tile(level, tile))
                    for event in await self.lend(origin, tile, data, level):
                        await self._gossip.dispatch(event)
                case Prove(peer, origin, old_size, new_size):
                    answer = await self._consistency(origin, old_size, new_size)
                    if answer is not None:
                        self._gossip.send(peer, answer)
        except (NotServed, MissingTile):
            pass  # whoever asked asks again
        finally:
            self._under_way.discard(errand)

    async def _consistency(self, origin: bytes, old: int, new: int) -> Known | None:
        """Prove what the branch or, about a pending head, the log's own tiles show."""
        site = self._sites[origin]
        if new <= self._branch(origin).size:
            return await trio.to_thread.run_sync(_consistency_of, origin, site.mirror, old, new)
        for pending in self._branch(origin).pending:
            head = pending.signed.head
            candidate = await self._proof_from_log(site, old, head) if head.size == new else None
            if candidate is not None and candidate.root is not None:
                return Consistency(origin, old, new, candidate.root, head.root_hash, candidate.path)
        return None

    async def _proof_from_log(self, site: Site, old_size: int, head: TreeHead) -> Candidate | None:
        """Make a proof of the tiles that the log serves us, or else of those it serves another vantage."""
        for source in (site.source, site.elsewhere):
            try:
                tiles = (
                    {tile: await source.tile(tile) for tile in tiles_to_prove(old_size, head.size)} if source else {}
                )
            except NotServed:
                continue
            found = await trio.to_thread.run_sync(proof_from_tiles, old_size, head, tiles) if tiles else None
            if found is not None:
                return found
        return None

    def _branch(self, origin: bytes) -> Branch:
        return self._gossip.state.branch(origin)


def _tile_of(mirror: Mirror, tile: Tile) -> bytes:
    first, level = tile.index * TILE_WIDTH, tile.level * TILE_HEIGHT
    return b"".join(mirror.read(level, first + offset) for offset in range(tile.width))


def _consistency_of(origin: bytes, mirror: Mirror, old: int, new: int) -> Consistency:
    roots = root_at(old, mirror.read), root_at(new, mirror.read)
    return Consistency(origin, old, new, *roots, tuple(prove_consistency(old, new, mirror.read)))
