"""A log whose tiles do not keep up with its entries: how far that goes, and what who adds is told."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from typing_extensions import override

from logserver.core import TileFile
from logserver.files import PublicFiles
from runtime.client import Client, Response
from tests.keys import log_key
from tests.log_nodes import OpenLog, make_log, open_log
from tests.served import served

KEY = log_key()
ALLOWED = 4  # entries without tiles, here


@dataclass(frozen=True, slots=True)
class FullDisk(PublicFiles):
    """Refuses tiles while told to."""

    refuse: list[bool]
    refused: trio.Event

    @override
    def write(self, files: Sequence[TileFile]) -> None:
        if self.refuse:
            trio.from_thread.run_sync(self.refused.set)
            raise OSError(28, "No space left on device")
        super(FullDisk, self).write(files)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logserver.store.MAX_UNTILED", ALLOWED)
    monkeypatch.setattr("logserver.tasks.MAX_UNTILED", ALLOWED)


@dataclass(frozen=True, slots=True)
class Behind:
    """A log that is published at the test's pace, and its URL."""

    opened: OpenLog
    url: str
    client: Client

    async def post(self, number: int) -> Response:
        return await self.client.fetch("POST", f"{self.url}/add", body=b"%d" % number, cap=10_000, seconds=60)


@asynccontextmanager
async def behind(directory: Path) -> AsyncIterator[Behind]:
    """A log with more entries than may be without tiles."""
    await make_log(directory, KEY.name)
    async with open_log(directory, [KEY]) as opened, served(opened.app.app()) as ours, Client() as client:
        await opened.add(*(b"entry %d" % number for number in range(ALLOWED + 1)))
        yield Behind(opened, ours.url, client)


async def test_an_entry_waits_for_the_tiles_of_those_before_it(tmp_path: Path) -> None:
    async with behind(tmp_path) as log, trio.open_nursery() as nursery:
        assert log.opened.sequencer.is_ahead
        nursery.start_soon(log.opened.publisher.publish)
        answer = await log.post(1)
        assert (answer.status, log.opened.sequencer.is_ahead) == (200, False)


async def test_an_entry_that_would_wait_too_long_is_refused_and_not_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logserver.app.TILES_SECONDS", 0.01)
    async with behind(tmp_path) as log:
        answer = await log.post(1)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert log.opened.sequencer.tree.end == ALLOWED + 1
        await log.opened.publisher.publish()
        assert (await log.post(1)).body == b"%d\n" % (ALLOWED + 1)


async def test_a_process_that_writes_no_tiles_lets_nobody_wait_for_them(tmp_path: Path) -> None:
    async with behind(tmp_path) as log:
        log.opened.sequencer.tiled(None)
        assert (await log.post(1)).status == 200


async def test_tiles_of_what_piles_up_are_written_between_two_rounds(tmp_path: Path) -> None:
    await make_log(tmp_path, KEY.name)
    async with open_log(tmp_path, [KEY], interval=3600) as opened, trio.open_nursery() as nursery:
        nursery.start_soon(opened.publisher.run)
        await opened.add(b"first")  # published at once, and nothing else for an hour
        for number in range(20):
            await opened.sequencer.wait_for_tiles()
            await opened.add(b"%d" % number)
        await opened.sequencer.wait_for_tiles()
        written = [int(tile.name) for tile in (tmp_path / "public/tile/0/000.p").iterdir() if tile.name.isdecimal()]
        assert max(written) >= 21 - ALLOWED
        assert opened.publisher.published is None or opened.publisher.published.size <= 1
        nursery.cancel_scope.cancel()


async def test_a_disk_that_takes_no_tiles_between_two_rounds_is_tried_again_in_the_next(tmp_path: Path) -> None:
    await make_log(tmp_path, KEY.name)
    files = FullDisk(tmp_path / "public", [], trio.Event())
    async with open_log(tmp_path, [KEY], interval=0.5, files=files) as opened, trio.open_nursery() as nursery:
        nursery.start_soon(opened.publisher.run)
        await opened.add(b"first")
        files.refuse.append(True)
        await opened.add(*(b"%d" % number for number in range(9)))
        await files.refused.wait()
        files.refuse.clear()
        await opened.sequencer.wait_for_tiles()
        nursery.cancel_scope.cancel()
        assert opened.files.read("tile/0/000.p/10") is not None
