"""Derives every recorded checkpoint again, from the entries alone: the log's memory checked against what it promised.

Of the database only the entries and the recorded checkpoints are read: no tile, no stored hash. The answer ends in one
canonical hash, which two copies of one log have in common whatever machine, database or time they are read on:

    SHA-256 of  "sameview-log-replay@v1" LF origin LF, then for each recorded checkpoint, from the smallest on, and for
    the tree of all entries:  size SP root in base64 LF
"""

from dataclasses import dataclass
from hashlib import sha256

import trio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.files import StaticFiles
from logserver.store import BATCH, CHECKPOINT, first_kept, load_entries
from logserver.trim import bundled_entries
from runtime.database import Database
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.errors import ProofError
from tlog.hashing import Hash, TreeHead, leaf_hashes
from tlog.text import encode_base64

HEADER = b"sameview-log-replay@v1\n"
ENTRIES_AT_ONCE = 4096  # at most 256 MiB of them in memory
CHECKPOINTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out: the tree of all entries, how many checkpoints lie on the way to it, and the canonical hash."""

    head: TreeHead
    checkpoints: int
    hash: bytes


async def replay(database: Database, origin: str, files: StaticFiles) -> Replayed:
    """Hash all entries once, and compare on the way with every recorded checkpoint.

    Entries that the database was told to forget are read from their bundles.

    A log that is being served may grow meanwhile: what is compared is what it held at the beginning.

    Raises:
        ProofError: a checkpoint is not one of these entries; names its size.
    """
    end = await _size(database)
    entries = _Entries(database, files, await first_kept(database))
    digest = sha256(HEADER + origin.encode() + b"\n")
    tree, count, after = EMPTY_RANGE, 0, -1
    while recorded := await _recorded(database, after, end):
        for head in recorded:
            tree = await entries.grown(tree, head.size)
            if tree.root() != head.root_hash:
                raise ProofError(
                    f"the recorded checkpoint of size {head.size} is not one of the entries in the database"
                )
            digest.update(_line(head))
        count, after = count + len(recorded), recorded[-1].size
    tree = await entries.grown(tree, end)
    digest.update(_line(tree.tree_head()))
    return Replayed(tree.tree_head(), count, digest.digest())


async def _size(database: Database) -> int:
    """How many entries there are; no recorded checkpoint may be larger."""

    async def work(connection: AsyncConnection) -> tuple[int, int]:
        sizes = [await connection.execute(select(func.max(column))) for column in (BATCH.c.size, CHECKPOINT.c.size)]
        entries, recorded = (int(size.scalar_one_or_none() or 0) for size in sizes)
        return entries, recorded

    entries, recorded = await database.read(work)
    if recorded > entries:
        raise ProofError(f"a checkpoint of size {recorded} is recorded, and the database holds {entries} entries")
    return entries


async def _recorded(database: Database, after: int, end: int) -> list[TreeHead]:
    async def work(connection: AsyncConnection) -> list[TreeHead]:
        wanted = select(CHECKPOINT.c.size, CHECKPOINT.c.root_hash).where(CHECKPOINT.c.size.between(after + 1, end))
        rows = await connection.execute(wanted.order_by(CHECKPOINT.c.size).limit(CHECKPOINTS_AT_ONCE))
        return [TreeHead(row.size, Hash(row.root_hash)) for row in rows]

    return await database.read(work)


@dataclass(frozen=True, slots=True)
class _Entries:
    database: Database
    files: StaticFiles
    kept: int

    async def grown(self, tree: CompactRange, size: int) -> CompactRange:
        while tree.end < size:
            end = min(size, tree.end + ENTRIES_AT_ONCE)
            tree = tree.extend(leaf_hashes(await self._load(tree.end, end)))
        return tree

    async def _load(self, begin: int, end: int) -> list[bytes]:
        trimmed = min(max(begin, self.kept), end)
        bundled = await trio.to_thread.run_sync(bundled_entries, self.files, begin, trimmed)
        return bundled + await load_entries(self.database, trimmed, end)


def _line(head: TreeHead) -> bytes:
    return b"%d %s\n" % (head.size, encode_base64(head.root_hash))
