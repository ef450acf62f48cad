"""SQLite's writer works in the thread that uses it, under the interface of the driver that it stands in for."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite
import pytest

from runtime.sqlite_here import Connection, connect

T = TypeVar("T")


def using(path: Path, work: Callable[[Connection], Awaitable[T]]) -> T:
    async def run() -> T:
        connection = await connect(
            str(path), uri=False, timeout=1.0, isolation_level=None, check_same_thread=True
        )  # SQLite itself then refuses another thread
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


async def numbers(connection: Connection) -> list[tuple[object, ...]]:
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE TABLE n (n)")
        await cursor.executemany("INSERT INTO n VALUES (?)", [(1,), (2,)])
        assert cursor.rowcount == 2
        await cursor.execute("SELECT n FROM n ORDER BY n")
        return await cursor.fetchall()


def test_statements_run_in_the_calling_thread(tmp_path: Path) -> None:
    assert using(tmp_path / "db", numbers) == [(1,), (2,)]


def test_no_thread_is_started(tmp_path: Path) -> None:
    async def count(_connection: Connection) -> int:
        return threading.active_count()

    before = threading.active_count()
    assert using(tmp_path / "db", count) == before


def test_what_is_rolled_back_is_not_there_and_what_is_committed_is(tmp_path: Path) -> None:
    async def work(connection: Connection) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute("BEGIN")
            await cursor.execute("CREATE TABLE kept (n)")
            await connection.commit()
            await cursor.execute("BEGIN")
            await cursor.execute("CREATE TABLE lost (n)")
            await connection.rollback()

    using(tmp_path / "db", work)
    with sqlite3.connect(tmp_path / "db") as found:
        tables = found.execute("SELECT name FROM sqlite_master").fetchall()
    found.close()
    assert tables == [("kept",)]


def test_a_closed_connection_says_so_as_the_driver_does(tmp_path: Path) -> None:
    async def work(connection: Connection) -> None:
        await connection.close()
        await connection.close()
        connection.cursor()

    # SQLAlchemy's adapter knows the driver's ValueError by these words, and makes an OperationalError of it.
    with pytest.raises(ValueError, match=r"^Connection closed$"):
        using(tmp_path / "db", work)


def test_it_has_what_sqlalchemy_uses_of_the_driver() -> None:
    used = ("cursor", "commit", "rollback", "close", "stop", "create_function", "isolation_level")
    assert [name for name in used if not (hasattr(aiosqlite.Connection, name) and hasattr(Connection, name))] == []
