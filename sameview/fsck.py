"""``sameview fsck``: believe nothing that a log serves but its signature, and re-derive everything else.

Every entry is hashed, every tile of every level is computed from the entries and compared with the one that is served,
and the root of all of them is compared with the signed one. The derivation shares no code with the log server. With
``tiles_only`` the level-0 tiles take the place of the entries, for mirrors and logs that keep their entries elsewhere.

The first difference ends the check and names the file at fault. Two files disagree then, and the signed root tells
which is wrong: a hash that really is in the tree leads to it along the hashes beside it, another one does not.
"""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from runtime.client import Client, Failure, FetchError, Response
from runtime.errors import CannotTell, UsageError
from sameview.urls import checked_url
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, TreeHead, leaf_hashes
from tlog.note import MAX_NOTE_BYTES
from tlog.proofs import prove_subtree_consistency, root_from_node, subtree_nodes
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    EntryBundle,
    Tile,
    TileReader,
    bundles_for,
    parse_entries,
    tile_hashes,
    tiles_for,
)
from tlog.trust import Trust

FETCH_SECONDS = 60  # for one bundle of up to 16 MB
AT_ONCE = 16  # files under way: hides the round trips, and bounds memory at about what they hold
RETRY_SECONDS = (0.2, 1.0)  # waits before a server that is busy is asked again; then it is asked no more
NOT_THERE = frozenset({403, 404, 410})  # some stores answer 403 where nothing is
GZIP = b"\x1f\x8b"

Read = Callable[[str, int], Awaitable[bytes | None]]
"""Reads a path below the log's prefix, up to a number of bytes; None when it is not there."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was re-derived without finding a difference."""

    head: SignedCheckpoint
    entries: int
    tiles: int


def say_nothing(done: int, size: int) -> None:
    """Keep progress to oneself."""


async def check(
    source: str,
    trust: Trust,
    older: SignedCheckpoint | None = None,
    *,
    tiles_only: bool = False,
    progress: Callable[[int, int], None] = say_nothing,
) -> Checked:
    """Check the log at a URL or in a directory against the checkpoint it serves, or against an older one.

    ``progress`` is told how many entries of how many are done.

    Raises:
        SignatureError: neither the log nor a trusted mirror signed the checkpoint.
        ProofError: the log does not hold what the checkpoint says; names the file.
        CannotTell: a file could not be fetched.
        UsageError: there is no log there.
    """
    async with _open(source) as read:
        signed = older or await _served_head(read, trust)
        served = _Served(read, signed.head, tiles_only)
        tree, tiles = DerivedTree(), 0
        bundles = bundles_for(0, signed.size, signed.size)
        for first in range(0, len(bundles), AT_ONCE):
            pieces = await _at_once(served.leaves, bundles[first : first + AT_ONCE])
            derived = [pair for piece in pieces for pair in tree.append(piece)]
            tiles += len(await _at_once(served.compare, derived))
            progress(tree.range.end, signed.size)
        tiles += len(await _at_once(served.compare, list(tree.edge())))
        if tree.range.root() != signed.root_hash:
            raise ProofError(await served.explain_root())
        return Checked(signed, 0 if tiles_only else signed.size, tiles)


class DerivedTree:
    """The tiles of a tree, made from its leaf hashes. Keeps no more of them than its right edge."""

    def __init__(self) -> None:
        self.range = EMPTY_RANGE
        self._rows: list[list[Hash]] = []  # the hashes in the last, unfilled tile of each level above 0

    def append(self, leaves: list[Hash]) -> Iterator[tuple[Tile, list[Hash]]]:
        """Add the leaves of one tile; yield it and the tiles above that it fills."""
        start = self.range.end
        piece = CompactRange(start, start, ()).extend(leaves)
        self.range = self.range.merge(piece)
        yield Tile(0, start // TILE_WIDTH, len(leaves)), leaves
        # SPEC: T-9 only full tiles are hashed into the level above.
        level, filled = 1, piece.hashes[0] if len(leaves) == TILE_WIDTH else None
        while filled is not None:
            if level > len(self._rows):
                self._rows.append([])
            row = self._rows[level - 1]
            row.append(filled)
            filled = None
            if len(row) == TILE_WIDTH:
                yield Tile(level, start >> TILE_HEIGHT * (level + 1)), row
                filled = EMPTY_RANGE.extend(row).root()
                self._rows[level - 1] = []
            level += 1

    def edge(self) -> Iterator[tuple[Tile, list[Hash]]]:
        """Yield the unfilled tiles above level 0."""
        for level, row in enumerate(self._rows, 1):
            if row:
                yield Tile(level, self.range.end >> TILE_HEIGHT * (level + 1), len(row)), row


class _Found(NamedTuple):
    """A file and the hashes that it holds, or that its entries have."""

    path: str
    hashes: list[Hash]


@dataclass(frozen=True, slots=True)
class _Served:
    """What the log serves, and the head it is measured by."""

    read: Read
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
        found = await self._tile(tile)
        if found.hashes != hashes:
            raise ProofError(await self._blame(tile, found, hashes))

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
        path, width, data = await self._file(tile, Tile(tile.level, tile.index), MAX_TILE_BYTES)
        try:
            hashes = tile_hashes(data)
        except FormatError as error:
            raise ProofError(f"{path}: {error}") from None
        if len(hashes) != width:
            raise ProofError(f"{path} does not have the width in its name")
        return _Found(path, hashes[: tile.width])

    async def _file(self, wanted: Tile | EntryBundle, full: Tile | EntryBundle, cap: int) -> tuple[str, int, bytes]:
        """Read a file, or the full one that a partial one is the beginning of and may have given way to."""
        for file in dict.fromkeys((wanted, full)):
            data = await self.read(file.path(), cap)
            if data is not None:
                return file.path(), file.width, data
        raise ProofError(f"{wanted.path()} is missing")


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


async def _served_head(read: Read, trust: Trust) -> SignedCheckpoint:
    raw = await read("checkpoint", MAX_NOTE_BYTES)
    if raw is None:
        raise UsageError(
            "there is no checkpoint at this place: give the log's URL, its public directory, or --checkpoint"
        )
    try:
        return trust.open(raw).require_any()
    except FormatError as error:
        # What a log serves is what is checked here: it does not hold.
        raise ProofError(f"checkpoint: {error}") from None


async def _at_once(ask: Callable[[T], Awaitable[R]], questions: Sequence[T]) -> list[R]:
    """Ask all questions at the same time. Of several faults the first in the log is the one to name."""
    answers: dict[int, R] = {}
    faults: dict[int, ProofError | CannotTell] = {}
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(number: int, question: T) -> None:
        async with limit:
            try:
                answers[number] = await ask(question)
            except (ProofError, CannotTell) as fault:
                faults[number] = fault

    async with trio.open_nursery() as nursery:
        for number, question in enumerate(questions):
            nursery.start_soon(one, number, question)
    if faults:
        raise faults[min(faults)]
    return [answers[number] for number in range(len(questions))]


@asynccontextmanager
async def _open(source: str) -> AsyncIterator[Read]:
    if "://" in source:
        async with Client() as client:
            yield _reader_of_url(client, checked_url(source, "the source"))
    else:
        folder = Path(source)
        if not folder.is_dir():
            raise UsageError(f"{source} is neither a URL nor a directory: name a log's URL or its public directory")
        yield _reader_of_folder(folder)


def _reader_of_url(client: Client, url: str) -> Read:
    async def ask(path: str, cap: int) -> Response:
        try:
            return await client.fetch("GET", f"{url}/{path}", cap=cap, seconds=FETCH_SECONDS, gunzip=True)
        except FetchError as error:
            if error.failure is Failure.TOO_LARGE:
                raise ProofError(f"{path} is larger than any legal one") from None
            raise CannotTell(f"{path} cannot be fetched: {error}") from None

    async def read(path: str, cap: int) -> bytes | None:
        answer = await ask(path, cap)
        for seconds in RETRY_SECONDS:
            if answer.status != 429 and answer.status < 500:
                break
            await trio.sleep(seconds)
            answer = await ask(path, cap)
        if answer.status in NOT_THERE:
            return None
        if answer.status != 200:
            raise CannotTell(f"{path} cannot be fetched: the server answered {answer.status}")
        return answer.body

    return read


def _reader_of_folder(folder: Path) -> Read:
    async def read(path: str, cap: int) -> bytes | None:
        try:
            with (folder / path).open("rb") as file:
                data = file.read(cap + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise CannotTell(f"{path} cannot be read: {error.strerror}") from None
        if len(data) > cap:
            raise ProofError(f"{path} is larger than any legal one")
        return data

    return read
