"""The tables of a monitor's database, and the rows of them as values.

Times are milliseconds of Unix time, except where a column says otherwise.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table

from runtime.database_register import add_register_tables

METADATA = MetaData(info={"schema": "sameview-monitor", "version": 3})

BRANCH = Table(
    "branch",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="the verified lines of the log and its witnesses"),
    Column("kept", BigInteger, nullable=False, comment="leaf hashes in the mirror's level-0 file"),
    Column("edge", LargeBinary, nullable=False, comment="leaf hashes of the last tile, where that file has none"),
)

HEAD = Table(
    "head",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("root_hash", LargeBinary, primary_key=True),
    Column("note", LargeBinary, nullable=False),
    Column("via", LargeBinary, comment="the peer that presented it; NULL for the log or a client"),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("settled", Boolean, nullable=False, comment="known to lie on the branch"),
    Index("head_unsettled", "origin", "settled", "size"),
)

EVIDENCE = Table(
    "evidence",
    METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("origin", String, nullable=False),
    Column("type", String, nullable=False),
    Column("accused", String, nullable=False),
    Column("bundle", LargeBinary, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False, comment="when both statements had been seen here"),
    Column("convicted_ms", BigInteger, nullable=False),
)

STATEMENT = Table(
    "statement",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("origin", String, nullable=False),
    Column("key", LargeBinary, nullable=False, comment="SHA-256 of the vkey"),
    Column("time", BigInteger, nullable=False, comment="as it was signed, in the key's own unit"),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="with the line of this key alone"),
    Index("statement_size", "origin", "key", "size"),
)

TESTIMONY = Table(
    "testimony",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("root_hash", LargeBinary, primary_key=True),
    Column("peer", LargeBinary, primary_key=True, comment="SHA-256 of the vkey of whoever testifies"),
    Column("note", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Index("testimony_received", "origin", "received_ms"),
)

DELIVERY = Table(
    "delivery",
    METADATA,
    Column("evidence_id", LargeBinary, primary_key=True),
    Column("witness", String, primary_key=True),
    Column("status", Integer, nullable=False, comment="of the witness's last answer"),
    Column("refusals", Integer, nullable=False),
    Column("answered_ms", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False, comment="taken, or refused for good; what has no such row is brought"),
)

add_register_tables(METADATA)


@dataclass(frozen=True, slots=True)
class StoredBranch:
    """A branch as it was committed."""

    origin: str
    size: int
    root_hash: bytes
    note: bytes
    kept: int
    edge: bytes


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A signed head as it was remembered."""

    origin: str
    size: int
    root_hash: bytes
    note: bytes
    via: bytes | None
    first_seen_ms: int
    settled: bool


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Evidence with what it says, so that a list of it needs no verification."""

    id: bytes
    origin: str
    type: str
    accused: str
    bundle: bytes
    first_seen_ms: int
    convicted_ms: int


@dataclass(frozen=True, slots=True)
class StoredStatement:
    """A signed note with one timestamped line; ``key`` is the SHA-256 of the vkey that signed it."""

    number: int
    origin: str
    key: bytes
    time: int
    size: int
    root_hash: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class IndexedStatement:
    """What is kept of a statement in memory."""

    number: int
    key: bytes
    time: int
    size: int
    root_hash: bytes


@dataclass(frozen=True, slots=True)
class Writes:
    """What one transaction writes down: heads, which of those on disk are settled, statements, and which are gone."""

    heads: tuple[StoredHead, ...] = ()
    settled: tuple[tuple[str, int, bytes], ...] = ()
    statements: tuple[StoredStatement, ...] = ()
    gone: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredTestimony:
    """A peer's testimony, or our own, about one head; ``peer`` is the SHA-256 of the vkey."""

    origin: str
    size: int
    root_hash: bytes
    peer: bytes
    note: bytes
    received_ms: int
