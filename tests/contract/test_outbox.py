"""Notices are numbered in the order of their commits, and each key gets one number."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.outbox import MAX_NOTICE_BYTES, Notice, Numbered, Topic, after, forget, newest, put
from monitor.tables import METADATA
from runtime.database import Database, open_database

ALL = tuple(Topic)


@asynccontextmanager
async def outbox(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "monitor.sqlite", METADATA, create=True) as database:
        yield database


def notice(key: str, topic: Topic = Topic.ALARM, at_ms: int = 1) -> Notice:
    return Notice.of(topic, key, at_ms, {"key": key})


async def put_all(database: Database, notices: Sequence[Notice]) -> None:
    async def work(connection: AsyncConnection) -> None:
        await put(connection, notices)

    await database.write(work)


async def listed(database: Database, number: int = 0, topics: Sequence[Topic] = ALL) -> list[Numbered]:
    return await database.read(partial(after, number=number, topics=topics, limit=1000))


async def test_notices_are_numbered_in_order(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice("a"), notice("b")])
        await put_all(database, [notice("c")])
        assert [(one.number, one.notice.key) for one in await listed(database)] == [(1, "a"), (2, "b"), (3, "c")]
        assert (await listed(database, 2))[0].notice == notice("c")


async def test_a_key_is_put_down_once(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice("a", at_ms=1), notice("b"), notice("a", at_ms=2)])
        await put_all(database, [notice("b", at_ms=7), notice("c"), notice("a", at_ms=8)])
        found = [one.notice for one in await listed(database)]
        assert [(one.key, one.at_ms) for one in found] == [("a", 1), ("b", 1), ("c", 1)]


async def test_more_notices_than_a_query_takes_keep_their_order(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice(f"{number}") for number in range(600)])
        assert [one.notice.key for one in await listed(database)] == [f"{number}" for number in range(600)]


async def test_a_channel_reads_only_its_topics(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice("a"), notice("m", Topic.MATCH), notice("h", Topic.HEALTH)])
        assert [one.number for one in await listed(database, topics=[Topic.MATCH, Topic.HEALTH])] == [2, 3]


async def test_a_transaction_that_fails_leaves_no_notice(tmp_path: Path) -> None:
    async def work(connection: AsyncConnection) -> None:
        await put(connection, [notice("a")])
        raise LookupError

    async with outbox(tmp_path) as database:
        with pytest.raises(LookupError):
            await database.write(work)
        assert await listed(database) == []


async def test_what_every_channel_has_passed_is_forgotten_when_it_is_old(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice("a", at_ms=1), notice("b", at_ms=5), notice("c", at_ms=1)])
        await database.write(partial(forget, up_to=3, before_ms=5))
        assert [one.notice.key for one in await listed(database)] == ["b", "c"]


async def test_of_a_match_that_every_channel_has_passed_nothing_stays(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice("m", Topic.MATCH), notice("a"), notice("n", Topic.MATCH), notice("b")])
        await database.write(partial(forget, up_to=2, before_ms=0))
        assert [one.notice.key for one in await listed(database, topics=list(Topic))] == ["a", "n", "b"]


async def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        await put_all(database, [notice("a"), notice("b")])
        await database.write(partial(forget, up_to=2, before_ms=1000))
        assert await database.read(newest) == 2
        await put_all(database, [notice("c")])
        assert [one.number for one in await listed(database)] == [2, 3]


async def test_a_notice_is_no_place_for_whole_entries(tmp_path: Path) -> None:
    async with outbox(tmp_path) as database:
        with pytest.raises(AssertionError):
            await put_all(database, [Notice(Topic.MATCH, "a", b"x" * (MAX_NOTICE_BYTES + 1), 1)])
