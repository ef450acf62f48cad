"""Entries leave the database once their bundles are durable, and nothing but their second copy is gone."""

from pathlib import Path

import pytest
import trio
import trio.testing
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.core import TileFile
from logserver.files import LostTile
from logserver.integrate import HistoryBroken
from logserver.replay import replay
from logserver.store import BATCH, METADATA, Trimmed, first_kept, load_entries
from logserver.trim import Trimmer
from runtime.database import Database, open_database
from tests.keys import log_key
from tests.log_nodes import OpenLog, make_log, open_log, place_of
from tlog.signed_checkpoint import SignedCheckpoint

pytestmark = pytest.mark.usefixtures("place")

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN)]
ENTRIES = [b"entry %d" % number for number in range(1000)]


async def fill(opened: OpenLog) -> None:
    for start in range(0, len(ENTRIES), 100):
        await opened.add(*ENTRIES[start : start + 100])
    await opened.publisher.publish()


async def test_only_what_stands_in_full_public_bundles_goes(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(place_of(tmp_path).database, METADATA) as database:
        trimmer = Trimmer(database, opened.files, lambda: opened.publisher.published)
        await trimmer.trim()
        await fill(opened)
        before = await replay(database, ORIGIN, opened.files)
        await trimmer.trim()
        # 768 entries are in full bundles; the batch that ends with 700 is the last that ends before.
        assert await first_kept(database) == 700
        assert await load_entries(database, 700, 1000) == ENTRIES[700:]
        with pytest.raises(Trimmed, match="from 700 on"):
            await load_entries(database, 699, 1000)
        await trimmer.trim()
        assert await batches(database) == 3
        assert await replay(database, ORIGIN, opened.files) == before
        # What was added before keeps its index.
        assert await opened.add(ENTRIES[3], b"new") == (3, 1000)
    async with open_log(tmp_path, KEYS) as opened:
        assert await opened.add(b"newer") == (1001,)
        await opened.publisher.publish()
        assert opened.publisher.published is not None
        assert opened.publisher.published.size == 1002


async def test_the_newest_batch_stays(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(place_of(tmp_path).database, METADATA) as database:
        await opened.add(*ENTRIES[:256])
        await opened.publisher.publish()
        await Trimmer(database, opened.files, lambda: opened.publisher.published).trim()
        assert await batches(database) == 1


async def test_entries_that_a_bundle_does_not_hold_stay_and_stop_the_log(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(place_of(tmp_path).database, METADATA) as database:
        await fill(opened)
        bundle = opened.files.read("tile/entries/001")
        assert bundle is not None
        changed = bytearray(bundle)
        changed[-1] ^= 1
        opened.files.write([TileFile("tile/entries/001", bytes(changed))])
        trimmer = Trimmer(database, opened.files, lambda: opened.publisher.published)
        with pytest.raises(HistoryBroken, match="do not hold what the database has"):
            await trimmer.trim()
        assert await first_kept(database) == 0
        opened.files.write([TileFile("tile/entries/001", b"")])
        with pytest.raises(LostTile):
            await trimmer.trim()


async def test_a_storage_that_is_away_for_a_while_stops_no_trimmer(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    looked = 0

    def published() -> SignedCheckpoint | None:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise OSError(None, "the storage is away")
        if looked == 3:
            nursery.cancel_scope.cancel()
        return opened.publisher.published

    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(place_of(tmp_path).database, METADATA) as database:
        await fill(opened)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Trimmer(database, opened.files, published).run)
        assert await first_kept(database) == 700


async def batches(database: Database) -> int:
    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(select(func.count()).select_from(BATCH))).scalar_one()

    return await database.read(work)


async def test_a_log_that_is_not_trimmed_replays_without_its_bundles(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(place_of(tmp_path).database, METADATA) as database:
        for size in (3, 5):
            await opened.add(*ENTRIES[size - 2 : size])
            await opened.publisher.publish()
        assert (await replay(database, ORIGIN, opened.files)).head.size == 4
