"""A monitor whose disk gets full adopts nothing, says so, and goes on by itself when there is room again."""

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from runtime.client import Client, Response
from tests.disks import small_disk
from tests.e2e.monitors import Asker, Place, create
from tests.e2e.test_monitor_kills import SERVE, flip, place_for
from tests.fakes_log import FakeLog
from tests.ports import free_port
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
    port = free_port()
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
            (told,) = await asker.wait_until(place.url, "alarms", lambda found: found)
            assert (told["kind"], told["subject"], told["cleared_ms"]) == ("disk-failed", "the mirror", None)
            disk.free()
            head = await asker.wait_for_size(place.url, tree.size)
            (ended,) = await asker.wait_until(place.url, "alarms", lambda found: found[0]["cleared_ms"])
            assert ended["raised_ms"] == told["raised_ms"]
            assert head["root_hash"] == encode_base64(tree.head().root_hash).decode()
            assert process.poll() is None


async def test_a_database_without_room_stops_all_until_there_is_some_and_nothing_is_told_twice(tmp_path: Path) -> None:
    good = TreeOnDisk(tmp_path / "good", FakeLog(origin="log.example/good"))
    bad = TreeOnDisk(tmp_path / "bad", FakeLog(origin="log.example/bad"))
    for tree in (good, bad):
        tree.grow(2000)
        tree.publish()
    flip(bad.folder / "tile/entries/001", 100)
    port = free_port()
    stderr = tmp_path / "stderr"
    with small_disk(tmp_path / "disk", "8m") as disk, trio.fail_after(SECONDS):
        place = place_for(tmp_path / "m", port, good, bad)
        place.config.write_text(place.config.read_text().replace('"data"', f'"{disk.path}/data"'))
        await create(place)
        async with process_of(place, stderr) as (process, operator), Client() as client, trio.open_nursery() as tasks:
            asker, filling = Asker(client), trio.CancelScope()

            async def fill() -> None:
                with filling:
                    await disk.keep_full()

            def ready() -> Awaitable[Response]:
                return client.fetch("GET", f"{operator}/readyz", cap=10_000, seconds=SECONDS)

            await asker.wait_until(place.url, "heads", lambda heads: 2000 in {head["size"] for head in heads})
            before = await asker.wait_until(place.url, "alarms", lambda found: any(map(is_wrong, found)))
            tasks.start_soon(fill)
            good.grow(300)
            good.publish()
            await said(stderr, b"the state cannot be written or opened")
            why = await ready()
            assert (why.status, b"disk is full" in why.body) == (503, True)
            shut = await client.fetch("GET", f"{place.url}/v1/heads", cap=10_000, seconds=SECONDS)
            assert (shut.status, shut.headers["retry-after"]) == (503, "10")
            filling.cancel()
            disk.free()
            await said(stderr, b"the state is open again")
            heads = await asker.wait_until(
                place.url, "heads", lambda heads: good.size in {head["size"] for head in heads}
            )
            roots = {head["origin"]: head["root_hash"] for head in heads}
            assert roots[good.log.origin] == encode_base64(good.head().root_hash).decode()
            after = await asker.wait_until(place.url, "alarms", lambda found: any(map(is_disk_failed, found)))
            assert [alarm["raised_ms"] for alarm in filter(is_wrong, after)] == [
                alarm["raised_ms"] for alarm in filter(is_wrong, before)
            ]
            (told,) = filter(is_disk_failed, after)
            assert (told["subject"], "disk is full" in told["detail"]) == ("the database", True)
            assert b"Traceback" not in await trio.Path(stderr).read_bytes()
            assert process.poll() is None


def is_wrong(alarm: dict[str, object]) -> bool:
    return alarm["kind"] == "wrong-entries"


def is_disk_failed(alarm: dict[str, object]) -> bool:
    return alarm["kind"] == "disk-failed"
