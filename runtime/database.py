"""The database: what ``write`` returned is on disk, and a cancelled caller never tears a transaction.

The drivers (aiosqlite, asyncpg) need asyncio, the programs run on trio. So they live apart: one dedicated thread runs
an asyncio loop with SQLAlchemy's engines; trio tasks hand it work and wait. Work is an ``async`` function of a
connection. It runs in that thread and may do nothing but use the connection.

    await database.write(work)     one transaction, after every earlier write and before every later one
    await database.read(work)      one consistent snapshot, beside others
    await group.submit(item)       a place in a transaction shared with whoever waits at the same time

Cancellation has two cases and no third. Cancelled before its work started, a call never runs it. Cancelled later, it
waits for the end and returns the result or raises the error as if it had not been cancelled. So whoever gets
``Cancelled`` out of a call knows that nothing happened. A signer lives on this: a statement that was committed although
its request was "cancelled" would be one that the program does not know it has made.

There is one writer. While it commits, the items of a group gather; all of them share the next transaction, hence one
wait for the disk: *group commit*. Order is kept.

After an error of the disk or of the connection nobody knows what was written: the page cache may hold what the disk
refused. The database then counts as failed. Every waiting and every later call raises ``DatabaseFailed``; nothing is
tried again. The way on is to stop and start again, which reads what is really there.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from sqlalchemy import MetaData

from runtime.database_thread import Apply as Apply  # part of this module's interface, as the next two
from runtime.database_thread import Batches, DatabaseThread
from runtime.database_thread import DatabaseFailed as DatabaseFailed
from runtime.database_thread import Work as Work
from runtime.engines import check_schema, make_schema, place_of

MAX_BATCH = 1024  # items in one transaction: some 10 ms of work, which is what the next item then has to wait

T = TypeVar("T")
Q = TypeVar("Q")
R = TypeVar("R")


class Database:
    """An open database. Made by ``open_database``."""

    def __init__(self, thread: DatabaseThread) -> None:
        self._thread = thread

    async def write(self, work: Work[T]) -> T:
        """Do the work in a transaction of its own. When this returns it is on disk; when it raises nothing is."""
        return await self._thread.wait(self._thread.queue_write, work)

    async def read(self, work: Work[T]) -> T:
        """Do the work on one consistent snapshot of the database. It cannot write."""
        return await self._thread.wait(self._thread.queue_read, work)

    def group(
        self, apply: Apply[Q, R], *, on_commit: Callable[[], None] | None = None, max_batch: int = MAX_BATCH
    ) -> "Group[Q, R]":
        """Make a group, whose items share transactions.

        ``on_commit`` runs in the database's thread after each commit of the group, before any submitter learns of it.
        If it raises, the database counts as failed: what had to follow the commit did not.
        """
        return Group(self._thread, Batches(apply, on_commit, max_batch))

    async def wait_failed(self) -> NoReturn:
        """Wait until the database fails, then raise ``DatabaseFailed``. A daemon runs this beside its other tasks."""
        await self._thread.failed.wait()
        raise self._thread.failure()


class Group(Generic[Q, R]):
    """Items that share transactions with whatever is submitted at the same time. Made by ``Database.group``."""

    def __init__(self, thread: DatabaseThread, batches: Batches[Q, R]) -> None:
        self._thread = thread
        self._batches = batches

    async def submit(self, item: Q) -> R:
        """Apply the item; it is on disk when this returns, and was not applied when this raises ``Cancelled``."""
        return await self._thread.wait(partial(self._thread.queue_item, self._batches), item)


@asynccontextmanager
async def open_database(
    url_or_path: str | Path, metadata: MetaData, *, create: bool = False
) -> AsyncIterator[Database]:
    """Open a database: a path, a ``sqlite+aiosqlite:`` URL, or a ``postgresql:`` URL.

    ``metadata.info`` says ``{"schema": name, "version": number}``. With ``create`` the tables are made, and must not be
    there already; without, they must be there in this version. On leaving, whatever was queued is finished first.

    Raises:
        UsageError: the database is missing, exists already, or holds another schema or version.
        CannotTell: the PostgreSQL server does not answer.
    """
    place = place_of(url_or_path)
    place.prepare(create=create)
    thread = DatabaseThread(place, make_schema if create else check_schema, metadata)
    await thread.start()
    try:
        yield Database(thread)
    finally:
        await thread.close()
