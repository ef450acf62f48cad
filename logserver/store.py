"""What a log keeps in its database, and the one transaction that makes an entry part of the log.

A batch of entries is one row: the entries, and the tree they lead to. Its commit is the durability point: before it
nothing was promised, after it the entries have their indexes for ever. The entry table maps leaf hashes to first
indexes, so that the same entry gets the same answer again. What was published is kept beside, for those who ask later.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec
import trio
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    TextClause,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.config import Dedup
from logserver.core import Sequenced, sequence
from runtime.database import Database
from runtime.errors import UsageError
from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.hashing import Hash, leaf_hashes

METADATA = MetaData(info={"schema": "sameview-log", "version": 3})

BATCH = Table(
    "batch",
    METADATA,
    Column("first_index", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False, comment="of the tree with this batch"),
    Column("hashes", LargeBinary, nullable=False, comment="the compact range of that tree, concatenated"),
    Column("entries", LargeBinary, nullable=False, comment="msgpack array of the entries"),
)

ENTRY = Table(
    "entry",
    METADATA,
    Column("leaf_hash", LargeBinary, primary_key=True),
    Column("first_index", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

CHECKPOINT = Table(
    "checkpoint",
    METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False, index=True, comment="when it was published last, in Unix seconds"),
    Column("note", LargeBinary, nullable=False),
    Column("epoch", BigInteger, nullable=False, comment="of the register, when it was published last"),
    Column("version", String, nullable=False, comment="of the program that published it last"),
)

SIGNATURE = Table(
    "checkpoint_signature",
    METADATA,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("key_name", String, primary_key=True),
    Column("key_id", LargeBinary, primary_key=True),
    Column("time", BigInteger, comment="that the signature states, in Unix seconds"),
    Index("checkpoint_signature_by_key", "key_name", "key_id"),
    sqlite_with_rowid=False,
)

SECRET = Table("secret", METADATA, Column("key", LargeBinary, primary_key=True, comment="of the cursors"))

LEASE = Table(
    "lease",
    METADATA,
    Column("work", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until_ms", BigInteger, nullable=False, comment="by the clock of the database"),
)

MAX_BATCH_REQUESTS = 1024  # what one commit carries: larger batches delay the first answer more than they save
MAX_UNTILED = 65_536  # durable entries without tiles: a start after a crash makes them first, half a second of work
RECENT_ENTRIES = 65_536  # about 8 MB; `dedup = "recent"` forgets older ones, and all of them at a restart


# A batch's leaf hashes go to the database as one value, which it takes apart itself, 32 bytes each. With a parameter or
# a statement for each, SQLite's driver would hand the interpreter to the other thread and wait for it as many times.
_FIND = (
    text("""
    WITH RECURSIVE place(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM place WHERE n + 1 < :count)
    SELECT entry.leaf_hash, entry.first_index
    FROM place JOIN entry ON entry.leaf_hash = substr(:leaves, n * 32 + 1, 32)
    """)
    .bindparams(bindparam("leaves", type_=LargeBinary), bindparam("count", type_=BigInteger))
    .columns(ENTRY.c.leaf_hash, ENTRY.c.first_index)
)
_NOTE = """
    INSERT INTO entry (leaf_hash, first_index)
    WITH RECURSIVE place(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM place WHERE n + 1 < :count)
    SELECT substr(:leaves, n * 32 + 1, 32), :first + n FROM place WHERE true
    ON CONFLICT (leaf_hash) DO """


def _noting(conflict: str) -> TextClause:
    return text(_NOTE + conflict).bindparams(
        bindparam("leaves", type_=LargeBinary),
        bindparam("count", type_=BigInteger),
        bindparam("first", type_=BigInteger),
    )


_NOTE_NEW = _noting("NOTHING")
_NOTE_ALL = _noting("UPDATE SET first_index = excluded.first_index")


# Released at the end of the transaction, after its commit can be seen: whoever gets it next sees the tree as it is.
_LOCK = text("SELECT pg_advisory_xact_lock(7813572906153427)")


class Trimmed(UsageError):  # noqa: N818  # it names a state
    """Entries are needed that the database was told to forget."""

    def __init__(self, kept: int) -> None:
        super().__init__(
            f"the database keeps entries from {kept} on, because of `trim`, and the tiles of earlier ones are gone: "
            "put the public files back from a backup or a mirror"
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """Where first indexes are looked up, for one of the settings of ``dedup``."""

    setting: Dedup
    recent: OrderedDict[Hash, int]

    async def find(self, connection: AsyncConnection, leaves: Sequence[Hash], first: int) -> dict[Hash, int] | None:
        """The indexes of those that the log holds; None if it does not look, or noted all as new, from ``first`` on."""
        if self.setting == "off" or not leaves:
            return None
        if self.setting == "recent":
            return {leaf: self.recent[leaf] for leaf in leaves if leaf in self.recent}
        # Most often all are new: then each is looked for once, in the very place where it is put.
        if await self._note(connection, _NOTE_NEW, leaves, first) == len(leaves):
            return None
        rows = await connection.execute(_FIND, {"leaves": b"".join(leaves), "count": len(leaves)})
        return {Hash(row.leaf_hash): row.first_index for row in rows if row.first_index < first}

    async def note(self, connection: AsyncConnection, leaves: Sequence[Hash], first: int) -> None:
        """Note the indexes of new ones, in the place of those that ``find`` noted before it knew which are new."""
        if self.setting == "all":
            await self._note(connection, _NOTE_ALL, leaves, first)

    async def _note(self, connection: AsyncConnection, how: TextClause, leaves: Sequence[Hash], first: int) -> int:
        values = {"leaves": b"".join(leaves), "count": len(leaves), "first": first}
        return (await connection.execute(how, values)).rowcount

    def remember(self, leaves: Sequence[Hash], first: int) -> None:
        if self.setting == "recent":
            self.recent.update((leaf, first + i) for i, leaf in enumerate(leaves))
            while len(self.recent) > RECENT_ENTRIES:
                self.recent.popitem(last=False)


class Sequencer:
    """Gives entries their indexes, many at a time, durably."""

    def __init__(self, database: Database, tree: CompactRange, dedup: Dedup) -> None:
        self.tree = tree
        """The tree of everything that is durable."""
        self._database = database
        self._known = _Known(dedup, OrderedDict())
        self._pending: Sequenced | None = None
        self._grown = trio.Event()
        self._tiled: int | None = None
        self._caught_up = trio.Event()
        self._group = database.group(self._commit, on_commit=self._committed, max_batch=MAX_BATCH_REQUESTS)

    async def add(self, entries: tuple[bytes, ...]) -> tuple[int, ...]:
        """Make entries part of the log; when this returns they are durable. One index for each, in order."""
        indexes = await self._group.submit(entries)
        self._grown.set()
        self._grown = trio.Event()
        return indexes

    async def look(self) -> None:
        """See what other processes have added."""

        async def work(connection: AsyncConnection) -> None:
            # In the writer, where no commit of ours can come in between.
            tree = await _last_tree(connection)
            if tree.end > self.tree.end:
                self.tree = tree

        await self._database.write(work)
        self._grown.set()
        self._grown = trio.Event()

    async def wait_beyond(self, size: int) -> None:
        """Wait until the log is larger than this."""
        while self.tree.end <= size:
            await self._grown.wait()

    def tiled(self, size: int | None) -> None:
        """Note up to which size the tiles are written; None says that another process writes them now."""
        self._tiled = size
        self._caught_up.set()
        self._caught_up = trio.Event()

    @property
    def is_ahead(self) -> bool:
        """Whether so many entries wait for their tiles that more had better wait as well."""
        return self._tiled is not None and self.tree.end - self._tiled > MAX_UNTILED

    async def wait_for_tiles(self) -> None:
        """Wait until fewer entries do."""
        while self.is_ahead:
            await self._caught_up.wait()

    async def _commit(
        self, connection: AsyncConnection, requests: Sequence[tuple[bytes, ...]]
    ) -> list[tuple[int, ...]]:
        entries = [entry for request in requests for entry in request]
        leaves = leaf_hashes(entries)
        tree = await self._newest(connection)
        known = await self._known.find(connection, leaves, tree.end)
        batch = sequence(tree, entries, leaves, known)
        if batch.fresh:
            await connection.execute(insert(BATCH), _row(tree.end, batch))
            if known is not None:
                await self._known.note(connection, batch.fresh_leaves, tree.end)
        self._pending = batch
        indexes = iter(batch.indexes)
        return [tuple(islice(indexes, len(request))) for request in requests]

    def _committed(self) -> None:
        """Only now is the new tree the log's: had the commit failed, the next batch would build on the old one."""
        if self._pending is None:
            raise AssertionError("a commit without a batch")
        first = self._pending.tree.end - len(self._pending.fresh_leaves)
        self._known.remember(self._pending.fresh_leaves, first)
        self.tree, self._pending = self._pending.tree, None

    async def _newest(self, connection: AsyncConnection) -> CompactRange:
        """The tree to grow. Several processes may grow one in PostgreSQL; a SQLite file is one process's own."""
        if connection.dialect.name == "sqlite":
            return self.tree
        await exclude_others(connection)
        return await _last_tree(connection)


def _row(first: int, batch: Sequenced) -> dict[str, int | bytes]:
    return {
        "first_index": first,
        "size": batch.tree.end,
        "hashes": b"".join(batch.tree.hashes),
        "entries": msgspec.msgpack.encode(batch.fresh),
    }


async def exclude_others(connection: AsyncConnection) -> None:
    """Let no other process write to the log until this transaction ends. Under SQLite none can."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_LOCK)


async def load_tree(database: Database) -> CompactRange:
    """The tree of everything that is durable."""
    return await database.read(_last_tree)


async def _last_tree(connection: AsyncConnection) -> CompactRange:
    newest = select(BATCH.c.size, BATCH.c.hashes).order_by(BATCH.c.first_index.desc()).limit(1)
    row = (await connection.execute(newest)).first()
    if row is None:
        return EMPTY_RANGE
    hashes = tuple(Hash(row.hashes[i : i + 32]) for i in range(0, len(row.hashes), 32))
    return CompactRange(0, row.size, hashes)


async def load_entries(database: Database, begin: int, end: int) -> list[bytes]:
    """The entries from ``begin`` up to, not including, ``end``."""

    async def rows(connection: AsyncConnection) -> list[bytes]:
        holds_begin = select(func.max(BATCH.c.first_index)).where(BATCH.c.first_index <= begin).scalar_subquery()
        overlapping = (
            select(BATCH.c.first_index, BATCH.c.entries)
            .where(BATCH.c.first_index >= holds_begin, BATCH.c.first_index < end)
            .order_by(BATCH.c.first_index)
        )
        found: list[bytes] = []
        for row in await connection.execute(overlapping):
            entries = msgspec.msgpack.decode(row.entries, type=list[bytes])
            found += entries[max(0, begin - row.first_index) : end - row.first_index]
        return found

    entries = await database.read(rows)
    if len(entries) != end - begin:
        kept = await first_kept(database)
        if begin < kept:
            raise Trimmed(kept)
        raise AssertionError("the database lacks entries it acknowledged")
    return entries


async def first_kept(database: Database) -> int:
    """The index from which on the database has all entries; earlier ones were trimmed, and are in bundles only."""

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(select(func.min(BATCH.c.first_index)))).scalar_one_or_none() or 0

    return await database.read(work)
