"""Where databases are, how each connection is set up, and which errors are fatal."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import asyncpg
import pytest
import trio
from sqlalchemy import URL, Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

import runtime.engines
from runtime.database import Database, DatabaseFailed, Work, open_database
from runtime.engines import PostgreSQLPlace, SQLitePlace, is_fatal, place_of
from runtime.errors import CannotTell, UsageError

METADATA = MetaData(info={"schema": "test-numbers", "version": 1})
NUMBERS = Table("number", METADATA, Column("value", Integer, primary_key=True))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "db", METADATA, create=True) as opened:
        yield opened


async def add_all(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
    await connection.execute(insert(NUMBERS), [{"value": item} for item in items])
    return list(items)


async def numbers(connection: AsyncConnection) -> list[int]:
    return list((await connection.execute(select(NUMBERS.c.value))).scalars())


def pragmas(*names: str) -> Work[dict[str, object]]:
    async def work(connection: AsyncConnection) -> dict[str, object]:
        return {name: (await connection.execute(text(f"PRAGMA {name}"))).scalar() for name in names}

    return work


# Places.


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (Path("data/log.sqlite"), SQLitePlace(Path("data/log.sqlite"))),
        ("data/log.sqlite", SQLitePlace(Path("data/log.sqlite"))),
        ("sqlite:///data/log.sqlite", SQLitePlace(Path("data/log.sqlite"))),
        ("sqlite+aiosqlite:////var/lib/log.sqlite", SQLitePlace(Path("/var/lib/log.sqlite"))),
    ],
)
def test_paths_and_sqlite_urls_are_files(given: str | Path, place: SQLitePlace) -> None:
    assert place_of(given) == place


@pytest.mark.parametrize("given", ["postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"])
def test_postgresql_urls_are_servers_whatever_their_driver(given: str) -> None:
    place = place_of(given)
    assert isinstance(place, PostgreSQLPlace)
    assert place.url.render_as_string(hide_password=False) == "postgresql+asyncpg://u:p@h/d"


@pytest.mark.parametrize("given", ["mysql://host/name", "sqlite://", "sqlite+aiosqlite://", "://", "s3://bucket/key"])
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"PostgreSQL|postgresql"):
        place_of(given)


async def test_a_missing_file_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `init` once to make it; if it was there before"):
        async with open_database(tmp_path / "db", METADATA):
            pass
    assert list(await trio.Path(tmp_path).iterdir()) == []


async def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        async with open_database(tmp_path / "nowhere" / "db", METADATA, create=True):
            pass


async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    before = (tmp_path / "db").read_bytes()
    for create in (False, True):
        with pytest.raises(UsageError, match=r"cannot open the database .*not a database"):
            async with open_database(tmp_path / "db", METADATA, create=create):
                pass
    assert (tmp_path / "db").read_bytes() == before


async def test_an_interrupted_init_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "db").touch()
    with pytest.raises(UsageError, match="holds no test-numbers"):
        async with open_database(tmp_path / "db", METADATA):
            pass
    async with open_database(tmp_path / "db", METADATA, create=True) as database:
        assert await database.read(numbers) == []


async def test_any_file_name_will_do(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=memory#%41:é"
    async with open_database(path, METADATA, create=True) as database:
        await database.group(add_all).submit(1)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM number").fetchall() == [(1,)]


async def test_a_new_file_is_its_owners_only(tmp_path: Path, database: Database) -> None:
    entries = await trio.Path(tmp_path).iterdir()
    assert {(await entry.stat()).st_mode & 0o777 for entry in entries} == {0o600}


async def test_a_postgresql_server_that_does_not_answer_cannot_tell_and_keeps_its_password() -> None:
    with pytest.raises(CannotTell, match="does not answer") as caught:
        async with open_database("postgresql://user:secret@127.0.0.1:1/name", METADATA):
            pass
    assert "secret" not in str(caught.value)


async def test_a_postgresql_server_that_starts_or_is_full_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> NoReturn:
        raise asyncpg.CannotConnectNowError("the database system is starting up")

    monkeypatch.setattr(asyncpg, "connect", refuse)
    with pytest.raises(CannotTell, match="takes no connection now"):
        async with open_database("postgresql://user@127.0.0.1:1/name", METADATA):
            pass


async def test_postgresql_without_its_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.engines, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"install `sameview\[postgresql\]`"):
        async with open_database("postgresql://host/name", METADATA):
            pass


async def test_metadata_must_say_which_schema_it_is(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="which schema"):
        async with open_database(tmp_path / "db", MetaData(info={"schema": "x", "version": "1"}), create=True):
            pass


# Settings of SQLite.


async def test_the_writer_loses_nothing_that_was_committed(database: Database) -> None:
    values = await database.write(
        pragmas("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "busy_timeout", "query_only")
    )
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "trusted_schema": 0,
        "busy_timeout": 10_000,
        "query_only": 0,
    }


async def test_readers_cannot_write(database: Database) -> None:
    values = await database.read(pragmas("query_only", "foreign_keys", "trusted_schema"))
    assert values == {"query_only": 1, "foreign_keys": 1, "trusted_schema": 0}


async def test_the_writer_has_the_lock_from_its_first_statement(tmp_path: Path, database: Database) -> None:
    async def work(connection: AsyncConnection) -> str:
        await connection.execute(select(NUMBERS))
        other = sqlite3.connect(tmp_path / "db", timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return str(error)
        finally:
            other.close()
        return "not locked"

    assert await database.write(work) == "database is locked"


async def test_a_lock_that_another_process_holds_too_long_is_told_and_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.engines, "_PRAGMAS", ("PRAGMA busy_timeout=0",))
    async with open_database(tmp_path / "db", METADATA, create=True) as database:
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            await database.group(add_all).submit(1)
        other.execute("ROLLBACK")
        other.close()
        assert await database.group(add_all).submit(2) == 2
        assert await database.read(numbers) == [2]


async def test_a_database_that_another_process_keeps_for_itself_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.engines, "BUSY_MS", 0)
    other = sqlite3.connect(tmp_path / "db", isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UsageError, match=r"cannot open the database .*: database is locked"):
        async with open_database(tmp_path / "db", METADATA, create=True):
            pass
    other.close()


class WithoutSharedMemory:
    """URLs of SQLite's file system layer for network file systems, under which there is no write-ahead log."""

    @staticmethod
    def create(drivername: str, *, database: str, query: dict[str, str]) -> URL:
        return URL.create(drivername, database=database, query={**query, "vfs": "unix-dotfile"})


async def test_a_file_that_cannot_have_a_write_ahead_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.engines, "URL", WithoutSharedMemory)
    with pytest.raises(UsageError, match="cannot have a write-ahead log: put it on a local disk"):
        async with open_database(tmp_path / "db", METADATA, create=True):
            pass


# Errors.


def of_sqlite(code: int) -> DBAPIError:
    cause = sqlite3.OperationalError("x")
    cause.sqlite_errorcode = code
    return OperationalError("statement", None, cause)


@pytest.mark.parametrize(
    "error",
    [
        of_sqlite(sqlite3.SQLITE_IOERR_FSYNC),
        of_sqlite(sqlite3.SQLITE_FULL),
        of_sqlite(sqlite3.SQLITE_CORRUPT),
        of_sqlite(sqlite3.SQLITE_NOTADB),
        of_sqlite(sqlite3.SQLITE_CANTOPEN),
        of_sqlite(sqlite3.SQLITE_NOMEM),
        OSError(5, "Input/output error"),
        ConnectionResetError(),
        InterfaceError("statement", None, Exception("closed")),
        OperationalError("statement", None, Exception("unknown")),
        DBAPIError("statement", None, Exception("lost"), connection_invalidated=True),
    ],
)
def test_what_leaves_it_unknown_what_was_written_is_fatal(error: Exception) -> None:
    assert is_fatal(error)


@pytest.mark.parametrize(
    "error",
    [
        of_sqlite(sqlite3.SQLITE_BUSY),
        of_sqlite(sqlite3.SQLITE_BUSY_SNAPSHOT),
        of_sqlite(sqlite3.SQLITE_ERROR),
        IntegrityError("statement", None, Exception("unique")),
        LookupError("of the work itself"),
    ],
)
def test_what_was_rolled_back_is_not_fatal(error: Exception) -> None:
    assert not is_fatal(error)


@pytest.mark.parametrize(
    ("state", "fatal"),
    [
        ("08006", True),  # connection failure
        ("53100", True),  # disk full
        ("57P01", True),  # shut down by an administrator
        ("58030", True),  # input or output error
        ("XX001", True),  # data corrupted
        ("40001", False),  # serialisation failure
        ("42P01", False),  # no such table
        ("55P03", False),  # lock not available
    ],
)
def test_postgresql_tells_by_its_state_code(state: str, fatal: bool) -> None:
    cause = Exception("x")
    cause.sqlstate = state  # type: ignore[attr-defined]  # as the driver's exceptions have
    assert is_fatal(DBAPIError("statement", None, cause)) is fatal


async def test_a_commit_that_fails_is_fatal_whatever_the_reason(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        await connection.execute(text("CREATE TABLE child (x INTEGER REFERENCES number (value))"))
        await connection.execute(text("INSERT INTO child VALUES (1)"))

    with pytest.raises(DatabaseFailed) as caught:
        await database.write(work)
    assert isinstance(caught.value.__cause__, IntegrityError)


ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import sys, trio
from pathlib import Path
from tests.unit.test_engines import METADATA, add_all
from runtime.database import open_database

async def main():
    async with open_database(Path(sys.argv[1]), METADATA) as database, trio.open_nursery() as nursery:
        group = database.group(add_all)
        async def write(first):
            for value in range(first, 10**6, 8):
                await group.submit(value)
                sys.stdout.write(f"{value}\\n")
                sys.stdout.flush()
        for first in range(8):
            nursery.start_soon(write, first)

trio.run(main)
"""


async def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    async with open_database(tmp_path / "db", METADATA, create=True):
        pass
    acknowledged: list[int] = []
    for after in (30, 50):
        async with open_database(tmp_path / "db", METADATA) as database:
            await database.write(forget)
        acknowledged = await acknowledged_before_a_kill(tmp_path / "db", after)
        async with open_database(tmp_path / "db", METADATA) as database:
            assert set(acknowledged) <= set(await database.read(numbers))
    assert len(acknowledged) >= 50


async def forget(connection: AsyncConnection) -> None:
    await connection.execute(NUMBERS.delete())


async def acknowledged_before_a_kill(path: Path, after: int) -> list[int]:
    def collect() -> list[int]:
        command = [sys.executable, "-c", KILLED, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            seen = [int(process.stdout.readline()) for _ in range(after)]
            process.kill()
            rest = process.stdout.read()
        # The last line may have been cut by the kill.
        return seen + [int(line) for line in rest.split("\n")[:-1]]

    return await trio.to_thread.run_sync(collect)
