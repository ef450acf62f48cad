"""What differs between SQLite and PostgreSQL: where the data is, how to connect, and which errors are fatal.

Settings are made on every connection, never left to a server's or a library's defaults, because durability depends on
them. Nothing here decides when something is written; that is ``runtime.database``.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from sqlalchemy import URL, Column, Integer, MetaData, String, Table, event, insert, inspect, make_url, select
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry

from runtime import sqlite_here
from runtime.errors import CannotTell, UsageError
from runtime.files import sync_directory

READERS = 4  # connections for reading; each is a thread under SQLite and a server process under PostgreSQL
BUSY_MS = 10_000  # how long another process (`witness add-log`) may hold SQLite's write lock before we report it
CONNECT_SECONDS = 10.0  # a PostgreSQL server that has not answered by then is down or unreachable
# A writer whose machine is frozen or cut off may hold locks that other processes of the same log wait for. PostgreSQL
# ends its transaction after so long without a statement; nothing of it was promised to anybody.
IDLE_MS = 10_000
# The other way round: a server that is gone without a word answers no statement, and TCP alone would wait for ever.
ANSWER_SECONDS = 300.0
WAL_PAGES = 1000  # SQLite's default: 4 MB of log before it is copied into the database, a few ms of one commit


class Place(Protocol):
    """Where a database is, and how to reach it."""

    def prepare(self, *, create: bool) -> None:
        """Make the place if asked to; refuse a missing one otherwise, by a ``UsageError``."""
        ...

    def writer(self) -> AsyncEngine:
        """An engine of one connection, whose transactions exclude every other writer."""
        ...

    def reader(self) -> AsyncEngine:
        """An engine of ``READERS`` connections that cannot write, whose transactions see one snapshot."""
        ...


def place_of(url_or_path: str | Path) -> Place:
    """Tell a path or SQLite URL from a PostgreSQL URL.

    Raises:
        UsageError: it is a URL of something else.
    """
    if isinstance(url_or_path, Path) or ":/" not in url_or_path:
        return SQLitePlace(Path(url_or_path))
    try:
        url = make_url(url_or_path)
    except ArgumentError:
        raise UsageError("the database is neither a path nor a URL such as postgresql://user@host/name") from None
    match url.get_backend_name():
        case "sqlite" if url.database:
            return SQLitePlace(Path(url.database))
        case "postgresql":
            return PostgreSQLPlace(url.set(drivername="postgresql+asyncpg"))
        case _:
            raise UsageError("the database is neither SQLite nor PostgreSQL: give a path or a postgresql:// URL")


@dataclass(frozen=True, slots=True)
class SQLitePlace:
    """One file, with its write-ahead log beside it. On a local disk: network file systems break SQLite's locks."""

    path: Path

    def prepare(self, *, create: bool) -> None:
        if not create:
            if not self.path.is_file():
                raise UsageError(
                    f"there is no database {self.path}: run `init` once to make it; "
                    "if it was there before, find out first where it went"
                )
            return
        try:
            self.path.touch(mode=0o600)
            sync_directory(self.path.parent)
        except OSError as error:
            raise UsageError(f"cannot make the database {self.path}: {error.strerror}") from None

    def writer(self) -> AsyncEngine:
        return self._engine("BEGIN IMMEDIATE", 1, *_WRITER_PRAGMAS, async_creator_fn=sqlite_here.connect)

    def reader(self) -> AsyncEngine:
        return self._engine("BEGIN", READERS, "PRAGMA query_only=ON")

    def _engine(self, begin: str, connections: int, *pragmas: str, **arguments: object) -> AsyncEngine:
        # mode=rw: a file that disappeared is an error, and never an empty database in its place.
        url = URL.create(
            "sqlite+aiosqlite",
            database=f"file:{quote(str(self.path.absolute()))}",
            query={"mode": "rw", "uri": "true"},
        )
        engine = create_async_engine(
            url,
            # No implicit transactions: the driver's own begin too late, and not before every statement that writes.
            connect_args={"isolation_level": None, "timeout": BUSY_MS / 1000, **arguments},
            poolclass=AsyncAdaptedQueuePool,
            pool_size=connections,
            max_overflow=0,
        )

        @event.listens_for(engine.sync_engine, "connect")
        def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
            try:
                self._set_up(connection, pragmas)
            except BaseException:
                connection.close()  # nobody else would, and the thread of a connection keeps its process alive
                raise

        @event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    def _set_up(self, connection: DBAPIConnection, pragmas: Sequence[str]) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        if cursor.fetchone() != ("wal",):
            raise UsageError(f"{self.path} cannot have a write-ahead log: put it on a local disk")
        for statement in (*_PRAGMAS, *pragmas):
            cursor.execute(statement)
        cursor.close()


_PRAGMAS = (
    "PRAGMA foreign_keys=ON",
    f"PRAGMA busy_timeout={BUSY_MS}",
    "PRAGMA trusted_schema=OFF",
    f"PRAGMA wal_autocheckpoint={WAL_PAGES}",
)

# After a disk refused to sync, its write-ahead log may be whole in the page cache and nowhere else, and a later sync
# would say nothing of that. So whoever opens a database has all of the log written once more, into the database, and
# synced, before anything read from it is relied on; where that fails, the database does not open.
_WRITER_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)


@dataclass(frozen=True, slots=True)
class PostgreSQLPlace:
    """A database of a PostgreSQL server."""

    url: URL

    def prepare(self, *, create: bool) -> None:
        if find_spec("asyncpg") is None:
            raise UsageError("PostgreSQL needs the driver asyncpg: install `sameview[postgresql]`")

    def writer(self) -> AsyncEngine:
        settings = {"synchronous_commit": "on", "idle_in_transaction_session_timeout": str(IDLE_MS)}
        return self._engine("READ COMMITTED", 1, settings, command_timeout=ANSWER_SECONDS)

    def reader(self) -> AsyncEngine:
        return self._engine("REPEATABLE READ", READERS, {"default_transaction_read_only": "on"})

    def _engine(self, isolation: str, connections: int, settings: dict[str, str], **arguments: float) -> AsyncEngine:
        return create_async_engine(
            self.url,
            isolation_level=isolation,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "server_settings": {"application_name": "sameview", "timezone": "UTC", **settings},
                **arguments,
            },
            poolclass=AsyncAdaptedQueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,  # an idle connection that a firewall dropped is replaced before work is given to it
        )


async def connect(engine: AsyncEngine) -> AsyncConnection:
    """Open a connection.

    Raises:
        CannotTell: the server does not answer, or takes no connection now.
        UsageError: the file is no database, or access is refused.
    """
    try:
        return await engine.connect()
    except (OSError, TimeoutError):
        raise CannotTell(
            f"the database {engine.url.render_as_string()} does not answer: is its server running?"
        ) from None
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if isinstance(state, str) and state[:2] in _PASSING_SQLSTATES:
            raise CannotTell(
                f"the database {engine.url.render_as_string()} takes no connection now: {error.orig}"
            ) from None
        raise UsageError(f"cannot open the database {engine.url.render_as_string()}: {error.orig}") from error


async def make_schema(connection: AsyncConnection, metadata: MetaData) -> None:
    """Make the tables.

    Raises:
        UsageError: they were made before.
    """
    name, version = _schema_of(metadata)
    if await _recorded_version(connection, name) is not None:
        raise UsageError(
            f"the database holds a {name} already: `init` makes new state only, it never replaces any; "
            "to go on with it run `serve`"
        )
    await connection.run_sync(metadata.create_all)
    await connection.run_sync(_schema.metadata.create_all)
    await connection.execute(insert(_schema).values(name=name, version=version))


async def check_schema(connection: AsyncConnection, metadata: MetaData) -> None:
    """Check that the database holds these tables in this version.

    Raises:
        UsageError: it does not.
    """
    name, version = _schema_of(metadata)
    recorded = await _recorded_version(connection, name)
    if recorded is None:
        raise UsageError(f"the database holds no {name}: run `init` once to make it, or correct its name")
    if recorded != version:
        raise UsageError(
            f"the database holds a {name} of version {recorded} and this program needs version {version}: "
            "use the release that made it, or migrate as the changelog says"
        )


def is_fatal(error: BaseException) -> bool:
    """Whether an error of a driver leaves it unknown what is on disk, or says that the disk or server is unwell.

    A statement that breaks a constraint, or a lock that another process holds too long, is not fatal: it was rolled
    back and the next transaction can succeed. What cannot be told counts as fatal.
    """
    if isinstance(error, OSError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    if isinstance(error, IntegrityError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        # The other kinds of "read only" are a writer's: its file was moved, or its disk cannot be written.
        return code & 0xFF not in _HARMLESS_SQLITE or (code & 0xFF == sqlite3.SQLITE_READONLY != code)
    state = getattr(error.orig, "sqlstate", None)
    return not isinstance(state, str) or state[:2] in _FATAL_SQLSTATES


_HARMLESS_SQLITE = frozenset(
    {
        sqlite3.SQLITE_ERROR,  # the statement is wrong
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_READONLY,  # a reader tried to write
    }
)

# Connection exception, insufficient resources, operator intervention, system error, configuration file, internal error.
_FATAL_SQLSTATES = frozenset({"08", "53", "57", "58", "F0", "XX"})

# Of those the ones that pass by themselves: it starts or stops, or has too many connections.
_PASSING_SQLSTATES = frozenset({"08", "53", "57"})

_schema = Table(
    "sameview_schema",
    MetaData(),
    Column("name", String, primary_key=True),
    Column("version", Integer, nullable=False),
)


def _schema_of(metadata: MetaData) -> tuple[str, int]:
    name, version = metadata.info["schema"], metadata.info["version"]
    if not isinstance(name, str) or not isinstance(version, int):
        raise AssertionError("metadata.info must say which schema it is, and in which version")
    return name, version


async def _recorded_version(connection: AsyncConnection, name: str) -> int | None:
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(_schema.name)):
        return None
    row = (await connection.execute(select(_schema.c.version).where(_schema.c.name == name))).one_or_none()
    return None if row is None else int(row.version)
