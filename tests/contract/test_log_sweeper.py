"""Partial tiles go when nobody needs them any more, and not before."""

from pathlib import Path

import trio
import trio.testing
from typing_extensions import override

from logserver.files import PublicFiles
from logserver.tasks import KEEP_PARTIAL_SECONDS, Sweeper
from sameview.fsck import check
from tests.keys import log_key
from tests.log_nodes import OpenLog, make_log, open_log
from tlog.trust import Trust

KEY = log_key()


def partials(directory: Path) -> set[str]:
    return {str(path.relative_to(directory / "public")) for path in (directory / "public").glob("tile/**/*.p/*")}


async def grow(opened: OpenLog, *sizes: int) -> None:
    for size in sizes:
        await opened.add(*[b"%d" % number for number in range(opened.sequencer.tree.end, size)])
        await opened.publisher.publish()


async def test_partial_tiles_go_one_sweep_after_the_full_one_is_public(tmp_path: Path) -> None:
    """SPEC: T-12, T-14"""
    await make_log(tmp_path, KEY.name)
    async with open_log(tmp_path, [KEY]) as opened:
        sweeper = Sweeper(opened.files, lambda: opened.publisher.published)
        await sweeper.sweep()
        await grow(opened, 100, 200, 300)
        before = partials(tmp_path)
        await sweeper.sweep()
        assert partials(tmp_path) == before
        await grow(opened, 600)
        await sweeper.sweep()
        # What was full an hour ago: the first tile and bundle. Level 1 is not.
        gone = {path for path in before if path.startswith(("tile/0/000.p/", "tile/entries/000.p/"))}
        assert len(gone) == 4
        assert before - partials(tmp_path) == gone
        await sweeper.sweep()
        assert partials(tmp_path) == {
            "tile/0/002.p/88",
            "tile/entries/002.p/88",
            "tile/1/000.p/1",
            "tile/1/000.p/2",
        }
        # A reader who is still at an older checkpoint finds the full tiles.
        checked = await check(str(tmp_path / "public"), Trust((KEY.verifier_key,)), None, tiles_only=False)
        assert checked.entries == 600


async def test_a_log_goes_on_from_swept_tiles_after_a_restart(tmp_path: Path) -> None:
    await make_log(tmp_path, KEY.name)
    for size in (100, 300, 600):
        async with open_log(tmp_path, [KEY]) as opened:
            await grow(opened, size)
            sweeper = Sweeper(opened.files, lambda: opened.publisher.published)
            await sweeper.sweep()
            await sweeper.sweep()
    assert {path for path in partials(tmp_path) if "/000.p/" in path} == {"tile/1/000.p/1", "tile/1/000.p/2"}


async def test_what_is_not_public_is_not_swept(tmp_path: Path) -> None:
    await make_log(tmp_path, KEY.name)
    async with open_log(tmp_path, [KEY]) as opened:
        await grow(opened, 100, 300)
        before = partials(tmp_path)
        sweeper = Sweeper(opened.files, lambda: None)
        await sweeper.sweep()
        await sweeper.sweep()
        assert partials(tmp_path) == before


async def test_a_partial_tile_stays_while_the_full_one_is_missing(tmp_path: Path) -> None:
    await make_log(tmp_path, KEY.name)
    async with open_log(tmp_path, [KEY]) as opened:
        await grow(opened, 100, 300)
        (tmp_path / "public/tile/0/000").unlink()
        opened.files.drop_partial("tile/0/000")
        opened.files.drop_partial("tile/entries/000")
        assert {path for path in partials(tmp_path) if "/000.p/" in path} == {"tile/0/000.p/100", "tile/1/000.p/1"}


async def test_the_loop_sweeps_every_hour(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    times: list[float] = []

    def note_time() -> None:
        times.append(trio.current_time())
        if len(times) == 3:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Sweeper(PublicFiles(tmp_path), note_time).run)
    assert [round(later - times[0]) for later in times] == [0, KEEP_PARTIAL_SECONDS, 2 * KEEP_PARTIAL_SECONDS]


async def test_a_storage_that_is_away_for_a_while_stops_no_sweeper(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    swept = trio.Event()
    token = trio.lowlevel.current_trio_token()
    asked: list[str] = []

    class Away(PublicFiles):
        @override
        def drop_partial(self, path: str) -> None:
            asked.append(path)
            if len(asked) > 1:
                token.run_sync_soon(swept.set)
            else:
                raise OSError(None, "the storage is away")

    await make_log(tmp_path, KEY.name)
    async with open_log(tmp_path, [KEY]) as opened:
        await grow(opened, 256)
        sweeper = Sweeper(Away(tmp_path / "public"), lambda: opened.publisher.published)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sweeper.run)
            await swept.wait()
            nursery.cancel_scope.cancel()
    assert asked[0] == asked[1]
