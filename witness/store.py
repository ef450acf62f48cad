"""What a witness keeps in its database beside the register.

``accepted``    every checkpoint that was cosigned, as the log signed it, with our cosignatures; the larger ones for
                ``history_days``, the largest of each log for ever. A row is written in the transaction that moves the
                register, so there is never a statement without the note it was made from. The cosignatures are made
                after that, and join the row a moment later; those of the largest can always be made again.
``conflict``    heads that were refused although their log had signed them, with what they prove.
``conviction``  logs that contradicted themselves, each with the evidence that somebody brought.
``own_key``     the witness's own keys: when each was announced, and when it retires.
``place``       the machine and the directory where the witness ran last.

A note holds only the log's lines that were verified. Times are Unix seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.database import Database
from runtime.database_register import Record, add_register_tables
from tlog.hashing import Hash
from tlog.signed_checkpoint import SignedCheckpoint

DATABASE_NAME = "witness.sqlite"  # in the data directory
MAX_UNPROVEN = (
    16  # refused heads kept per log that prove nothing yet: anybody can make some of a busy log's checkpoints
)
MAX_PROVEN = 16  # refused heads kept per log that convict it: one would do, more show how far it went
PRUNED_AT_ONCE = 1000  # rows in one transaction, so that no cosignature waits long for it

METADATA = MetaData(info={"schema": "sameview-witness", "version": 1})

ACCEPTED = Table(
    "accepted",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("time", BigInteger, nullable=False, index=True),
    Column("note", LargeBinary, nullable=False, comment="as the log signed it, its verified lines only"),
    Column("cosignatures", LargeBinary, comment="our lines of this time; NULL for a moment, or for ever after a crash"),
)

CONFLICT = Table(
    "conflict",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("origin", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False, comment="when it was refused first"),
    Column("note", LargeBinary, nullable=False, comment="as the log signed it, its verified lines only"),
    Column("evidence_id", LargeBinary),
    Column("bundle", LargeBinary, comment="the evidence, where the head proves something"),
    UniqueConstraint("origin", "size", "root_hash"),
    sqlite_autoincrement=True,
)

CONVICTION = Table(
    "conviction",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("evidence_id", LargeBinary, nullable=False),
    Column("type", String, nullable=False),
    Column("accused", String, nullable=False, comment="vkey"),
    Column("bundle", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False),
)

OWN_KEY = Table(
    "own_key",
    METADATA,
    Column("vkey", String, primary_key=True),
    Column("announced", BigInteger, nullable=False),
    Column("retires", BigInteger, comment="from this time on it signs nothing"),
    Column("used", Boolean, nullable=False, comment="it was configured, and so may have signed"),
)

PLACE = Table("place", METADATA, Column("identity", String, primary_key=True))

add_register_tables(METADATA)

_STATEMENTS = METADATA.tables["register_statement"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A checkpoint that was cosigned."""

    size: int
    time: int
    note: bytes
    cosignatures: bytes | None


@dataclass(frozen=True, slots=True)
class Conflicting:
    """A head that was refused although its log had signed it."""

    number: int
    origin: str
    size: int
    root_hash: Hash
    time: int
    note: bytes
    evidence_id: bytes | None
    bundle: bytes | None


@dataclass(frozen=True, slots=True)
class Convicted:
    """A log that contradicted itself, and the evidence."""

    origin: str
    evidence_id: bytes
    type: str
    accused: str
    bundle: bytes
    time: int


@dataclass(frozen=True, slots=True)
class RecordedKey:
    """What is recorded of a key of our own."""

    retires: int | None
    used: bool


# Accepted checkpoints.


def accepted_record(checkpoint: SignedCheckpoint, time: int) -> Record:
    """The row for a checkpoint that was verified and is about to be cosigned."""
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "time": time,
        "note": checkpoint.raw,
        "cosignatures": None,
    }


async def write_accepted(connection: AsyncConnection, records: Sequence[Record]) -> None:
    """Add accepted checkpoints; one that is accepted again replaces itself, and later records win."""
    await connection.execute(_REPLACE_ACCEPTED, [dict(record) for record in records])


_REPLACE_ACCEPTED = insert(ACCEPTED).prefix_with("OR REPLACE", dialect="sqlite")


async def write_cosignatures(database: Database, rows: Sequence[Mapping[str, object]]) -> None:
    """Give rows, named by ``origin_``, ``size_`` and ``time_``, their ``cosignatures``."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_WRITE_COSIGNATURES, rows)

    await database.write(work)


_WRITE_COSIGNATURES = (
    update(ACCEPTED)
    .where(
        and_(
            ACCEPTED.c.origin == bindparam("origin_"),
            ACCEPTED.c.size == bindparam("size_"),
            ACCEPTED.c.time == bindparam("time_"),
        )
    )
    .values(cosignatures=bindparam("cosignatures"))
)


async def read_accepted(database: Database, origin: str, size: int) -> Accepted | None:
    """The accepted checkpoint of this size."""

    async def work(connection: AsyncConnection) -> Accepted | None:
        columns = (ACCEPTED.c.size, ACCEPTED.c.time, ACCEPTED.c.note, ACCEPTED.c.cosignatures)
        query = select(*columns).where(ACCEPTED.c.origin == origin, ACCEPTED.c.size == size)
        row = (await connection.execute(query)).one_or_none()
        return None if row is None else Accepted(*row)

    return await database.read(work)


async def read_stated_origins(database: Database) -> list[str]:
    """Every log of which something was ever cosigned, configured or not."""

    async def work(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(select(_STATEMENTS.c.origin))).scalars())

    return await database.read(work)


async def prune(database: Database, before: int) -> int:
    """Forget accepted checkpoints and unproven conflicts that are older, some at a time; how many were forgotten."""
    newer = ACCEPTED.alias()
    latest = select(func.max(newer.c.size)).where(newer.c.origin == ACCEPTED.c.origin).scalar_subquery()
    old = (
        select(ACCEPTED.c.origin, ACCEPTED.c.size)
        .where(ACCEPTED.c.time < before, ACCEPTED.c.size < latest)
        .limit(PRUNED_AT_ONCE)
    )

    async def work(connection: AsyncConnection) -> int:
        checkpoints = await connection.execute(
            delete(ACCEPTED).where(tuple_(ACCEPTED.c.origin, ACCEPTED.c.size).in_(old))
        )
        unproven = delete(CONFLICT).where(CONFLICT.c.time < before, CONFLICT.c.bundle.is_(None))
        return checkpoints.rowcount + (await connection.execute(unproven)).rowcount

    return await database.write(work)


# Conflicts and convictions.


async def read_heads_of_size(database: Database, origin: str, sizes: Sequence[int]) -> list[bytes]:
    """The notes of these sizes that the log is known to have signed: those that were cosigned, then those refused."""

    async def work(connection: AsyncConnection) -> list[bytes]:
        queries = (
            select(table.c.note).where(table.c.origin == origin, table.c.size.in_(sizes))
            for table in (ACCEPTED, CONFLICT)
        )
        return [note for query in queries for note in (await connection.execute(query)).scalars()]

    return await database.read(work)


async def add_conflict(database: Database, record: Record) -> bool:
    """Keep a refused head, unless it is kept already or its log has no room left; whether it was added.

    One that proves something takes the place of the same head kept without proof.
    """
    of_log = CONFLICT.c.origin == record["origin"]
    same = and_(of_log, CONFLICT.c.size == record["size"], CONFLICT.c.root_hash == record["root_hash"])
    proven = record["bundle"] is not None
    alike = CONFLICT.c.bundle.is_not(None) if proven else CONFLICT.c.bundle.is_(None)

    async def work(connection: AsyncConnection) -> bool:
        if proven:
            await connection.execute(delete(CONFLICT).where(same, CONFLICT.c.bundle.is_(None)))
        kept = (await connection.execute(select(func.count()).where(of_log, alike))).scalar_one()
        known = (await connection.execute(select(CONFLICT.c.number).where(same))).first()
        if known is not None or kept >= (MAX_PROVEN if proven else MAX_UNPROVEN):
            return False
        await connection.execute(insert(CONFLICT), [dict(record)])
        return True

    return await database.write(work)


async def remove_conflict(database: Database, origin: str, size: int, root_hash: Hash) -> None:
    """Forget a head that proved nothing and was cosigned later: it was its proof that was wrong."""
    same = and_(CONFLICT.c.origin == origin, CONFLICT.c.size == size, CONFLICT.c.root_hash == root_hash)

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(delete(CONFLICT).where(same, CONFLICT.c.bundle.is_(None)))

    await database.write(work)


async def read_conflicts(database: Database, after: int, limit: int) -> list[Conflicting]:
    """Kept heads in the order in which they came, those with a number above ``after``."""

    async def work(connection: AsyncConnection) -> list[Conflicting]:
        query = select(CONFLICT).where(CONFLICT.c.number > after).order_by(CONFLICT.c.number).limit(limit)
        return [Conflicting(*row) for row in await connection.execute(query)]

    return await database.read(work)


async def read_conflict_index(database: Database) -> list[tuple[str, int, Hash, bool]]:
    """Origin, size, root hash and whether it proves something, of every kept head."""

    async def work(connection: AsyncConnection) -> list[tuple[str, int, Hash, bool]]:
        columns = (CONFLICT.c.origin, CONFLICT.c.size, CONFLICT.c.root_hash, CONFLICT.c.evidence_id)
        rows = await connection.execute(select(*columns))
        return [(origin, size, Hash(root), evidence is not None) for origin, size, root, evidence in rows]

    return await database.read(work)


async def add_conviction(database: Database, record: Record) -> None:
    """Record that a log is convicted; the first evidence stays."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(insert(CONVICTION).prefix_with("OR IGNORE", dialect="sqlite"), [dict(record)])

    await database.write(work)


async def read_convictions(database: Database) -> list[Convicted]:
    """Every convicted log."""

    async def work(connection: AsyncConnection) -> list[Convicted]:
        return [Convicted(*row) for row in await connection.execute(select(CONVICTION).order_by(CONVICTION.c.origin))]

    return await database.read(work)


# Our own keys, and where we run.


async def read_own_keys(database: Database) -> dict[str, RecordedKey]:
    """The keys that were ever used or announced, by vkey."""

    async def work(connection: AsyncConnection) -> dict[str, RecordedKey]:
        rows = await connection.execute(select(OWN_KEY.c.vkey, OWN_KEY.c.retires, OWN_KEY.c.used))
        return {row.vkey: RecordedKey(row.retires, row.used) for row in rows}

    return await database.read(work)


async def write_own_keys(database: Database, now: int, keys: Mapping[str, RecordedKey]) -> None:
    """Record keys. A date that was given once stays, and so does that a key was used."""

    async def work(connection: AsyncConnection) -> None:
        for vkey, key in keys.items():
            row = {"vkey": vkey, "announced": now, "retires": None, "used": False}
            await connection.execute(insert(OWN_KEY).prefix_with("OR IGNORE", dialect="sqlite"), [row])
            this = update(OWN_KEY).where(OWN_KEY.c.vkey == vkey)
            await connection.execute(this.where(OWN_KEY.c.retires.is_(None)).values(retires=key.retires))
            await connection.execute(this.where(~OWN_KEY.c.used).values(used=key.used))

    await database.write(work)


async def read_place(database: Database) -> str | None:
    """Where the witness ran last; None before it ran at all."""

    async def work(connection: AsyncConnection) -> str | None:
        return (await connection.execute(select(PLACE.c.identity))).scalar_one_or_none()

    return await database.read(work)


async def write_place(database: Database, identity: str) -> None:
    """Record where the witness runs."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(delete(PLACE))
        await connection.execute(insert(PLACE).values(identity=identity))

    await database.write(work)
