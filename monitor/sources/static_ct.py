"""Reads a certificate log that serves tiles (c2sp.org/static-ct-api): data tiles, and the issuers that they name.

What the tree hashes of an entry is compared with a signed root, as with every log. The rest of a data tile is looked
at when it is fetched, with the certificates of the chains: what is wrong with it is told, and holds nothing up.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice

import trio
from typing_extensions import override

from monitor.sources.chains import is_issuer, objection
from monitor.sources.layout import Layout
from monitor.sources.source import Fetch, NotServed, Served
from monitor.sources.tiles import TILE_SECONDS, TilesSource
from tlog.errors import FormatError
from tlog.static_ct import MAX_DATA_TILE_BYTES, TileLeaf, data_tile_path, issuer_path, parse_leaves
from tlog.tiles import EntryBundle, Tile

MAX_ISSUER_BYTES = 16 * 1024
MAX_ISSUERS = 1024  # kept; the chains of all that is trusted on the web need fewer
MAX_NEW_ISSUERS = 16  # fetched for one data tile: a log that makes up issuers makes nobody fetch without end
MAX_COMPLAINTS = 64  # about one log at a time: a log that is all wrong is a few alarms, not a million
COMPLAINT_SECONDS = 86_400.0  # what was found so long ago, and not again, is no complaint any more
RETRY_SECONDS = 3600.0  # until an issuer that was not served is asked for again


def certified_entries(bundle: EntryBundle, data: bytes) -> Sequence[bytes]:
    """Read a data tile: a leaf is the ``MerkleTreeLeaf`` of RFC 6962."""
    return [leaf.merkle_tree_leaf() for leaf in parse_leaves(data, bundle.start, bundle.width)]


LAYOUT = Layout("checkpoint", Tile.path, data_tile_path, certified_entries, MAX_DATA_TILE_BYTES)


class StaticCtSource(TilesSource):
    """One certificate log at its monitoring prefix."""

    def __init__(self, url: str, fetch: Fetch) -> None:
        super().__init__(url, fetch, LAYOUT)
        self._issuers: dict[bytes, bytes] = {}
        self._missing: dict[bytes, float] = {}
        self._inspecting = trio.Lock()
        self._complaints: dict[str, float] = {}

    @override
    async def bundle(self, bundle: EntryBundle) -> Served:
        """Fetch a data tile; where a partial one is gone, the full one. Look at what in it no tree hashes."""
        # SPEC: C-14 clients support gzip
        served = await super().bundle(bundle)
        async with self._inspecting:
            await self._inspect(bundle, served)
        return served

    @override
    def complaints(self) -> Sequence[str]:
        """Tell which entries came with what does not belong to them, the last day."""
        since = trio.current_time() - COMPLAINT_SECONDS
        self._complaints = {sentence: when for sentence, when in self._complaints.items() if when >= since}
        return tuple(self._complaints)

    async def _inspect(self, bundle: EntryBundle, served: Served) -> None:
        try:
            leaves = parse_leaves(served.data, bundle.start, served.width)[: bundle.width]
        except FormatError:
            return  # the follower finds out, and says so
        path = self.path(EntryBundle(bundle.index, served.width))
        for index, fingerprint in self._unknown(bundle, leaves):
            if not await self._fetch_issuer(fingerprint, f"entry {index} in {path}"):
                break  # one that does not answer holds this data tile up once, and not for each certificate
        for index, sentence in await trio.to_thread.run_sync(partial(_objections, bundle, leaves, self._issuers)):
            self._complain(f"entry {index} in {path}: {sentence}")

    def _unknown(self, bundle: EntryBundle, leaves: Sequence[TileLeaf]) -> list[tuple[int, bytes]]:
        """List some of the certificates that have not been seen, each with the first entry that names it."""
        found: dict[bytes, int] = {}
        recently = trio.current_time() - RETRY_SECONDS
        for index, leaf in enumerate(leaves, bundle.start):
            for fingerprint in leaf.chain:
                if fingerprint not in self._issuers and self._missing.get(fingerprint, recently) <= recently:
                    found.setdefault(fingerprint, index)
        return [(index, fingerprint) for fingerprint, index in islice(found.items(), MAX_NEW_ISSUERS)]

    async def _fetch_issuer(self, fingerprint: bytes, whose: str) -> bool:
        """Look at a certificate of a chain; tell whether the log answered."""
        path = issuer_path(fingerprint)
        try:
            der = await self.get(path, MAX_ISSUER_BYTES, TILE_SECONDS)
        except NotServed:
            return False  # with the next data tile
        if der is not None and is_issuer(fingerprint, der):
            self._issuers[fingerprint] = der
            self._missing.pop(fingerprint, None)
            for told in [sentence for sentence in self._complaints if path in sentence]:
                del self._complaints[told]
            if len(self._issuers) > MAX_ISSUERS:
                del self._issuers[next(iter(self._issuers))]
            return True
        what = "is not served" if der is None else "is another certificate"
        self._complain(f"{whose}: {path}, which its chain names, {what}")
        self._missing[fingerprint] = trio.current_time()
        if len(self._missing) > MAX_ISSUERS:
            del self._missing[next(iter(self._missing))]
        return True

    def _complain(self, sentence: str) -> None:
        if len(self._complaints) < MAX_COMPLAINTS or sentence in self._complaints:
            self._complaints[sentence] = trio.current_time()


def _objections(bundle: EntryBundle, leaves: Sequence[TileLeaf], issuers: dict[bytes, bytes]) -> list[tuple[int, str]]:
    found = ((index, objection(leaf, issuers)) for index, leaf in enumerate(leaves, bundle.start))
    return [(index, sentence) for index, sentence in found if sentence is not None]
