"""A connection to SQLite that works in the thread that uses it, for SQLAlchemy's asyncio engine.

SQLAlchemy's driver for asyncio, aiosqlite, keeps a thread for each connection and sends it every call: three for a
statement, twenty and more for a transaction, each as dear as the statement itself. The writer needs none of that. The
database already lives in a thread of its own, where nothing else writes meanwhile; so here a call is made at once, and
the coroutine around it never waits. Only readers keep aiosqlite, because a long read must not hold the writer up.

The names are those of aiosqlite, as far as SQLAlchemy's adapter uses them.
"""

import sqlite3
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

Value = str | bytes | int | float | None
Parameters = Sequence[Value]


class Connection:
    """One connection, opened and closed by the thread that uses it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection

    @property
    def isolation_level(self) -> str | None:
        return self._open.isolation_level

    def cursor(self) -> "Cursor":
        return Cursor(self._open.cursor())

    async def create_function(
        self, name: str, narg: int, func: Callable[[str, str | None], Value], *, deterministic: bool = False
    ) -> None:
        self._open.create_function(name, narg, func, deterministic=deterministic)

    async def commit(self) -> None:
        self._open.commit()

    async def rollback(self) -> None:
        self._open.rollback()

    async def close(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Close it, also where nobody can wait."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("Connection closed")
        return self._connection


class Cursor:
    """What one statement gave."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    @property
    def description(self) -> Sequence[tuple[object, ...]] | None:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid

    @property
    def arraysize(self) -> int:
        return self._cursor.arraysize

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cursor.close()

    async def execute(self, statement: str, parameters: Parameters = ()) -> None:
        self._cursor.execute(statement, parameters)

    async def executemany(self, statement: str, parameters: Sequence[Parameters]) -> None:
        self._cursor.executemany(statement, parameters)

    async def fetchall(self) -> list[tuple[object, ...]]:
        return self._cursor.fetchall()

    async def close(self) -> None:
        self._cursor.close()


async def connect(
    database: str,
    *,
    uri: bool,
    timeout: float,  # noqa: ASYNC109 # how long SQLite waits for a lock, under the name that its driver has for it
    isolation_level: None,
    check_same_thread: bool,
) -> Connection:
    """Open a connection for the calling thread; SQLAlchemy gives what it gives to aiosqlite."""
    opened = sqlite3.connect(
        database, timeout=timeout, isolation_level=isolation_level, check_same_thread=check_same_thread, uri=uri
    )
    return Connection(opened)
