"""A log's memory, derived again from its entries alone."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.files import PublicFiles
from logserver.replay import Replayed, replay
from logserver.store import BATCH, CHECKPOINT, METADATA
from runtime.database import Database, open_database
from tests.fakes import FakeClock
from tests.keys import NOW, log_key
from tests.log_nodes import make_log, open_log
from tests.postgresql import new_database, server_url
from tests.rfc6962 import ReferenceTree
from tlog.errors import ProofError

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN)]
ENTRIES = [b"entry %d" % number for number in range(700)]
STEPS = (0, 1, 255, 257, 700)


@asynccontextmanager
async def grown_log(directory: Path) -> AsyncIterator[Database]:
    """The database of a log that published at five sizes."""
    clock = FakeClock(NOW)
    await make_log(directory, ORIGIN)
    async with open_log(directory, KEYS, clock=clock) as opened:
        size = 0
        for step in STEPS:
            if step > size:
                await opened.add(*ENTRIES[size:step])
            size = step
            await opened.publisher.publish()
            clock.advance(10)
    async with open_database(directory / "log.sqlite", METADATA) as database:
        yield database


def public(directory: Path) -> PublicFiles:
    return PublicFiles(directory / "public")


async def replayed(directory: Path) -> Replayed:
    async with grown_log(directory) as database:
        return await replay(database, ORIGIN, public(directory))


async def test_every_checkpoint_comes_out_again(tmp_path: Path) -> None:
    found = await replayed(tmp_path)
    assert (found.head.size, found.checkpoints) == (700, len(STEPS))
    assert found.head.root_hash == ReferenceTree(ENTRIES).mth(0, 700)


async def test_two_logs_with_the_same_entries_and_sizes_have_one_hash(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert (await replayed(tmp_path / "one")).hash == (await replayed(tmp_path / "two")).hash


async def test_the_origin_is_part_of_the_hash(tmp_path: Path) -> None:
    async with grown_log(tmp_path) as database:
        assert (await replay(database, ORIGIN, public(tmp_path))).hash != (
            await replay(database, ORIGIN + "x", public(tmp_path))
        ).hash


async def test_a_changed_entry_is_found_at_the_first_checkpoint_that_covers_it(tmp_path: Path) -> None:
    async with grown_log(tmp_path) as database:

        async def damage(connection: AsyncConnection) -> None:
            row = (await connection.execute(select(BATCH).where(BATCH.c.first_index == 1))).one()
            changed = row.entries.replace(b"entry 7", b"entry 8", 1)
            await connection.execute(update(BATCH).where(BATCH.c.first_index == 1).values(entries=changed))

        await database.write(damage)
        with pytest.raises(ProofError, match="size 255"):
            await replay(database, ORIGIN, public(tmp_path))


async def test_a_changed_history_row_is_named(tmp_path: Path) -> None:
    async with grown_log(tmp_path) as database:

        async def damage(connection: AsyncConnection) -> None:
            await connection.execute(
                update(CHECKPOINT).where(CHECKPOINT.c.size == 257).values(root_hash=os.urandom(32))
            )

        await database.write(damage)
        with pytest.raises(ProofError, match="size 257"):
            await replay(database, ORIGIN, public(tmp_path))


async def test_entries_that_were_lost_are_noticed(tmp_path: Path) -> None:
    async with grown_log(tmp_path) as database:

        async def damage(connection: AsyncConnection) -> None:
            await connection.execute(delete(BATCH).where(BATCH.c.first_index == 257))

        await database.write(damage)
        with pytest.raises(ProofError, match="size 700 is recorded, and the database holds 257"):
            await replay(database, ORIGIN, public(tmp_path))


async def test_sqlite_and_postgresql_replay_to_one_hash(tmp_path: Path) -> None:
    with new_database(server_url()) as url:
        async with grown_log(tmp_path) as database, open_database(url, METADATA, create=True) as copy:
            for table in (BATCH, CHECKPOINT):
                await copy.write(partial(write, table, await database.read(partial(rows, table))))
            assert await replay(copy, ORIGIN, public(tmp_path)) == await replay(database, ORIGIN, public(tmp_path))


async def rows(table: Table, connection: AsyncConnection) -> list[dict[str, object]]:
    return [dict(row._mapping) for row in await connection.execute(select(table))]


async def write(table: Table, found: list[dict[str, object]], connection: AsyncConnection) -> None:
    await connection.execute(insert(table), found)
