"""A database that is opened after a failure writes what its log holds once more, before anybody relies on it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.database import open_database
from runtime.errors import UsageError
from tests.disks import BLOCK, small_disk

METADATA = MetaData(info={"schema": "test-numbers", "version": 1})
NUMBERS = Table("number", METADATA, Column("value", Integer, primary_key=True), Column("data", LargeBinary))
ROWS = 100


async def add_rows(connection: AsyncConnection) -> None:
    await connection.execute(insert(NUMBERS), [{"value": value, "data": bytes(BLOCK)} for value in range(ROWS)])


async def left_behind(made: Path, place: Path) -> None:
    """A database as a process leaves it that dies: the rows are in the write-ahead log."""
    async with open_database(made, METADATA, create=True) as database:
        await database.write(add_rows)
        for suffix in ("", "-wal"):
            shutil.copy(made.with_name(made.name + suffix), place / f"db{suffix}")
    assert (place / "db-wal").stat().st_size > ROWS * BLOCK


def rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT count(*) FROM number").fetchone()
    return int(found[0])


async def test_the_rows_are_in_the_database_alone_once_it_is_open(tmp_path: Path) -> None:
    await left_behind(tmp_path / "made", tmp_path)
    async with open_database(tmp_path / "db", METADATA):
        assert (tmp_path / "db-wal").stat().st_size == 0
        shutil.copy(tmp_path / "db", tmp_path / "alone")
    assert rows(tmp_path / "alone") == ROWS


async def test_a_database_whose_log_cannot_be_written_once_more_does_not_open(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        await left_behind(tmp_path / "made", disk.path)
        # Room for SQLite's shared memory, but not for what the database has to grow by.
        disk.fill(leaving=20 * BLOCK)
        with pytest.raises(UsageError, match="database or disk is full"):
            async with open_database(disk.path / "db", METADATA):
                pass
        disk.free()
        async with open_database(disk.path / "db", METADATA):
            pass
        assert rows(disk.path / "db") == ROWS
