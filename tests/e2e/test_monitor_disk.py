"""A monitor whose disk gets full adopts nothing, says so, and goes on by itself when there is room again."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from runtime.client import Client
from tests.disks import small_disk
from tests.e2e.monitors import Asker, Place, create, free_ports
from tests.e2e.test_monitor_kills import SERVE, place_for
from tests.fakes_log import FakeLog
from tests.tree_on_disk import TreeOnDisk
from tlog.text import encode_base64

SECONDS = 60.0  # most of it for the start of a process on a busy machine


@asynccontextmanager
async def process_of(place: Place, log: Path) -> AsyncIterator[tuple[trio.Process, str]]:
    """A monitor process, and where its operator looks."""
    with log.open("wb") as errors:
        command = [sys.executable, "-c", SERVE, str(place.config)]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        ready = msgspec.json.decode(await process.stdout.receive_some())
        yield process, ready["operator_url"]
    finally:
        process.kill()
        await process.wait()


async def said(log: Path, what: bytes) -> None:
    """Wait until the program has said something."""
    while what not in await trio.Path(log).read_bytes():  # noqa: ASYNC110 # nobody tells
        await trio.sleep(0.05)


async def test_a_full_disk_stops_a_monitor_s_view_and_room_on_it_starts_it_again(tmp_path: Path) -> None:
    tree = TreeOnDisk(tmp_path / "log", FakeLog())
    tree.grow(2000)
    tree.publish()
    (port,) = await free_ports(1)
    with small_disk(tmp_path / "disk", "8m") as disk, trio.fail_after(SECONDS):
        place = place_for(tmp_path / "m", port, tree)
        place.config.write_text(place.config.read_text().replace('"data"', f'"{disk.path}/data"'))
        await create(place)
        async with process_of(place, tmp_path / "stderr") as (process, operator), Client() as client:
            asker = Asker(client)
            await asker.wait_for_size(place.url, 2000)
            disk.fill(leaving=600_000)
            tree.grow(100_000)  # 3.2 MB of hashes: the mirror finds no room, the database still does
            tree.publish()
            await said(tmp_path / "stderr", b"No space left")
            ready = await client.fetch("GET", f"{operator}/readyz", cap=10_000, seconds=SECONDS)
            (head,) = await asker.list(place.url, "heads")
            assert (process.poll(), head["size"]) == (None, 2000)
            assert (ready.status, b"the disk does not take the mirror" in ready.body) == (503, True)
            disk.free()
            head = await asker.wait_for_size(place.url, tree.size)
            assert head["root_hash"] == encode_base64(tree.head().root_hash).decode()
            assert process.poll() is None


async def test_a_database_without_room_ends_a_monitor_that_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    tree = TreeOnDisk(tmp_path / "log", FakeLog())
    tree.grow(2000)
    tree.publish()
    (port,) = await free_ports(1)
    with small_disk(tmp_path / "disk", "8m") as disk, trio.fail_after(SECONDS):
        place = place_for(tmp_path / "m", port, tree)
        place.config.write_text(place.config.read_text().replace('"data"', f'"{disk.path}/data"'))
        await create(place)
        async with Client() as client, trio.open_nursery() as filling:
            asker = Asker(client)
            async with process_of(place, tmp_path / "stderr") as (process, _):
                await asker.wait_for_size(place.url, 2000)
                filling.start_soon(disk.keep_full)
                tree.grow(300)
                tree.publish()
                assert await process.wait() == 70
                await said(tmp_path / "stderr", b"start it again when the disk is well")
            filling.cancel_scope.cancel()
        disk.free()
        async with process_of(place, tmp_path / "stderr"), Client() as client:
            head = await Asker(client).wait_for_size(place.url, tree.size)
            assert head["root_hash"] == encode_base64(tree.head().root_hash).decode()
