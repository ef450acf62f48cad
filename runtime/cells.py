"""Cells: a few bytes that several processes share, and that change only from what is known to what is wanted.

A register of a log that is served by more than one process stands in one: a row of another PostgreSQL cluster than the
log's, or an object of S3-compatible storage. Neither belongs in a backup.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Protocol

import trio
from sqlalchemy import Column, LargeBinary, MetaData, String, Table, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.database import Database, DatabaseFailed, open_database
from runtime.errors import UsageError
from runtime.held import MAX_HELD_BYTES
from runtime.objects import Objects, Overtaken, open_objects

METADATA = MetaData(info={"schema": "sameview-register", "version": 1})

CELL = Table(
    "cell",
    METADATA,
    Column("name", String, primary_key=True),
    Column("held", LargeBinary, nullable=False),
)


class Cell(Protocol):
    """The bytes. Errors of what is below (``OSError``, ``DatabaseFailed``) leave it unknown what they are now."""

    async def create(self, new: bytes) -> None:
        """Fill the empty cell.

        Raises:
            UsageError: it is not empty.
        """
        ...

    async def read(self) -> bytes:
        """What is in it.

        Raises:
            UsageError: it is empty.
        """
        ...

    async def swap(self, known: bytes, new: bytes) -> None:
        """Replace what is known, durably.

        Raises:
            Overtaken: it holds something else.
        """
        ...


class DatabaseCell:
    """A row."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    async def create(self, new: bytes) -> None:
        async def work(connection: AsyncConnection) -> None:
            if (await connection.execute(select(CELL.c.name).where(CELL.c.name == self._name))).first() is not None:
                raise UsageError("the register holds something already: `init` makes new state only")
            await connection.execute(insert(CELL).values(name=self._name, held=new))

        await self._database.write(work)

    async def read(self) -> bytes:
        async def work(connection: AsyncConnection) -> bytes | None:
            found = await connection.execute(select(CELL.c.held).where(CELL.c.name == self._name))
            return found.scalar_one_or_none()

        with _unsure():
            held = await self._database.read(work)
        if held is None:
            raise UsageError(_EMPTY)
        return held

    async def swap(self, known: bytes, new: bytes) -> None:
        async def work(connection: AsyncConnection) -> int:
            mine = (CELL.c.name == self._name) & (CELL.c.held == known)
            return (await connection.execute(update(CELL).where(mine).values(held=new))).rowcount

        with _unsure():
            swapped = await self._database.write(work)
        if swapped != 1:
            raise Overtaken


@contextmanager
def _unsure() -> Iterator[None]:
    """Also a statement that a server refused, as one that only reads for now does, is no answer about the cell."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseFailed(error) from error


class ObjectCell:
    """An object."""

    def __init__(self, objects: Objects, path: str) -> None:
        self._objects = objects
        self._path = path
        self._marks: dict[bytes, str] = {}  # of what was read or written last

    async def create(self, new: bytes) -> None:
        try:
            await self._replace(None, new)
        except Overtaken:
            raise UsageError("the register holds something already: `init` makes new state only") from None

    async def read(self) -> bytes:
        found = await trio.to_thread.run_sync(self._objects.read, self._path, MAX_HELD_BYTES)
        if found is None:
            raise UsageError(_EMPTY)
        self._marks = {found.data: found.mark}
        return found.data

    async def swap(self, known: bytes, new: bytes) -> None:
        if known not in self._marks:
            raise Overtaken
        await self._replace(self._marks[known], new)

    async def _replace(self, mark: str | None, new: bytes) -> None:
        # Not abandoned when cancelled: once begun, the caller learns how it ended.
        self._marks = {new: await trio.to_thread.run_sync(partial(self._objects.replace, self._path, mark, new))}


@asynccontextmanager
async def open_cell(url: str, name: str, *, create: bool = False) -> AsyncIterator[Cell]:
    """Open the cell of this name, at ``postgresql://…`` or ``s3://bucket/prefix``.

    With ``create`` there is room for it afterwards; whether something is in it the cell itself tells.

    Raises:
        UsageError: it cannot be had, says why.
        CannotTell: the PostgreSQL server does not answer.
    """
    if url.startswith("s3://"):
        yield ObjectCell(open_objects(url), "register.json")
        return
    if create:
        await _make_table(url)
    async with open_database(url, METADATA) as database:
        yield DatabaseCell(database, name)


async def _make_table(url: str) -> None:
    try:
        async with open_database(url, METADATA, create=True):
            pass
    except UsageError:
        return  # it was there, which opening it will show, or it cannot be made, and opening it will say why


_EMPTY = (
    "the register is missing: run `init` once to make it. If it was there before, put it back: without it nobody knows "
    "what the key stated last, and it must not sign again"
)
