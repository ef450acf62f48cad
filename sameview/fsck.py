"""``sameview fsck``: believe nothing that a log serves but its signature, and re-derive everything else.

Every entry is hashed, every tile of every level is computed from the entries and compared with the one that is served,
and the root from all of them is compared with the signed one. The first difference is named. With ``tiles_only`` the
level-0 tiles take the place of the entries, for mirrors and logs that keep their entries elsewhere.
"""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from logserver.core import EMPTY_EDGE, Edge, TileFile, grow_tiles
from runtime.client import Client, FetchError
from runtime.errors import CannotTell, UsageError
from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, leaf_hashes
from tlog.note import MAX_NOTE_BYTES
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import MAX_BUNDLE_BYTES, MAX_TILE_BYTES, TILE_WIDTH, EntryBundle, Tile, parse_entries, tile_hashes
from tlog.trust import Trust

FETCH_SECONDS = 60  # for one bundle of up to 16 MB
FETCHED_AHEAD = 16  # bundles under way: hides the round trips, and bounds memory at about what they hold

Read = Callable[[str, int], Awaitable[bytes | None]]
"""Reads a path below the log's prefix, up to a number of bytes; None when it is not there."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was re-derived without finding a difference."""

    head: SignedCheckpoint
    entries: int
    tiles: int


async def check(source: str, trust: Trust, checkpoint: bytes | None, *, tiles_only: bool) -> Checked:
    """Check the log at a URL or in a directory against its checkpoint, or against an older one given as bytes.

    Raises:
        FormatError, SignatureError: the checkpoint is malformed, or not signed by a trusted key.
        ProofError: the log does not hold what the checkpoint says; names the file.
        CannotTell: a file could not be fetched.
        UsageError: there is no log there.
    """
    async with _open(source) as read:
        raw = checkpoint if checkpoint is not None else await read("checkpoint", MAX_NOTE_BYTES)
        if raw is None:
            raise UsageError(
                "there is no checkpoint at this place: give the log's URL, its public directory, or --checkpoint"
            )
        head = trust.open(raw).require()
        tiles = 0
        edge = EMPTY_EDGE
        async for leaves in _leaves(read, head.size, tiles_only=tiles_only):
            hashes, files = grow_tiles(edge.size, edge.hashes, leaves)
            edge = Edge(edge.size + len(leaves), hashes, ())
            for file in files:
                if _belongs(file, head.size):
                    await _compare(read, file, head.size)
                    tiles += 1
            _progress(edge.size, head.size)
        if edge.root_hash() != head.root_hash:
            raise ProofError("every tile agrees with the entries, but their root is not the one that was signed")
        return Checked(head, 0 if tiles_only else head.size, tiles)


async def _leaves(read: Read, size: int, *, tiles_only: bool) -> AsyncIterator[list[Hash]]:
    """The leaf hashes of the log, a tile's worth at a time, fetched some tiles ahead."""
    one = _leaves_of_tile if tiles_only else _leaves_of_bundle
    count = -(-size // TILE_WIDTH)
    for first in range(0, count, FETCHED_AHEAD):
        window = range(first, min(first + FETCHED_AHEAD, count))
        fetched: dict[int, list[Hash]] = {}

        async def fetch(index: int, into: dict[int, list[Hash]] = fetched) -> None:
            into[index] = await one(read, index, min(TILE_WIDTH, size - index * TILE_WIDTH))

        try:
            async with trio.open_nursery() as nursery:
                for index in window:
                    nursery.start_soon(fetch, index)
        except* (ProofError, CannotTell) as errors:
            # Of several faults at once the first in the log is the one to name.
            raise _first(errors) from None
        for index in window:
            yield fetched[index]


def _first(errors: BaseExceptionGroup[ProofError | CannotTell]) -> ProofError | CannotTell:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ProofError | CannotTell):
        raise AssertionError("except* selected another error")
    return error


async def _leaves_of_bundle(read: Read, index: int, width: int) -> list[Hash]:
    bundle = EntryBundle(index, width)
    data = await read(bundle.path(), MAX_BUNDLE_BYTES)
    try:
        if data is not None:
            return leaf_hashes(parse_entries(data, width))
        data = await read(EntryBundle(index).path(), MAX_BUNDLE_BYTES) if bundle.is_partial else None
        if data is not None:
            return leaf_hashes(parse_entries(data, TILE_WIDTH)[:width])
    except FormatError as error:
        raise ProofError(f"{bundle.path()}: {error}") from None
    raise ProofError(f"{bundle.path()} is missing")


async def _leaves_of_tile(read: Read, index: int, width: int) -> list[Hash]:
    tile = Tile(0, index, width)
    try:
        return tile_hashes(await _tile(read, tile))
    except FormatError as error:
        raise ProofError(f"{tile.path()}: {error}") from None


async def _tile(read: Read, tile: Tile) -> bytes:
    """A tile's bytes: a partial one may have given way to the full one, of which it is the beginning."""
    data = await read(tile.path(), MAX_TILE_BYTES)
    if data is None and tile.is_partial:
        full = await read(Tile(tile.level, tile.index).path(), MAX_TILE_BYTES)
        data = full[: tile.width * 32] if full is not None else None
    if data is None:
        raise ProofError(f"{tile.path()} is missing")
    return data


def _belongs(file: TileFile, size: int) -> bool:
    """Whether a tree of this size has the tile; growing towards it passes by narrower ones."""
    tile = Tile.parse(file.path)
    at_level = size >> (8 * tile.level)
    return tile.width == min(TILE_WIDTH, at_level - tile.index * TILE_WIDTH)


async def _compare(read: Read, expected: TileFile, size: int) -> None:
    if await _tile(read, Tile.parse(expected.path)) != expected.data:
        raise ProofError(f"{expected.path} is not what the entries below {size} hash to")


@asynccontextmanager
async def _open(source: str) -> AsyncIterator[Read]:
    if "://" in source:
        async with Client() as client:
            yield _reader_of_url(client, source.rstrip("/"))
    else:
        folder = Path(source)
        if not folder.is_dir():
            raise UsageError(f"{source} is neither a URL nor a directory: name a log's URL or its public directory")
        yield _reader_of_folder(folder)


def _reader_of_url(client: Client, url: str) -> Read:
    async def read(path: str, cap: int) -> bytes | None:
        try:
            answer = await client.fetch("GET", f"{url}/{path}", cap=cap, seconds=FETCH_SECONDS, gunzip=True)
        except FetchError as error:
            raise CannotTell(f"{path} cannot be fetched: {error}") from None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise CannotTell(f"{path} was answered {answer.status}")
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


def _progress(done: int, size: int) -> None:
    if sys.stderr.isatty() and (done == size or done % (64 * TILE_WIDTH) == 0):
        click.echo(f"\r{done:,} of {size:,} entries", err=True, nl=done == size)
