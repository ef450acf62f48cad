"""A log whose hash tiles are wrong: what is followed all the same, and how what is wrong is named."""

from collections.abc import Iterable
from pathlib import Path

from typing_extensions import override

from gossip.core import WRONG_ENTRIES
from tests.fakes_log import FakeLog
from tests.unit.test_monitor_node import Bench, bench


class Damaged(FakeLog):
    """A log that serves some files with a byte changed."""

    def __init__(self, entries: Iterable[bytes] = (), damaged: Iterable[str] = ()) -> None:
        super().__init__(entries)
        self.damaged = set(damaged)
        self.replaced: dict[str, bytes] = {}
        self.publish()

    @override
    def serve(self, path: str) -> bytes | None:
        found = self.replaced.get(path) or super().serve(path)
        return found[:-1] + bytes([found[-1] ^ 1]) if found and path in self.damaged else found


ENTRIES = [b"entry %d" % number for number in range(600)]
TILE, BUNDLE = "tile/0/002.p/88", "tile/entries/001"


async def subjects(one: Bench) -> list[tuple[str, str]]:
    return [(alarm.kind, alarm.subject) for alarm in await one.monitor.alarms.all() if alarm.cleared_ms is None]


async def test_where_the_last_tile_is_wrong_the_entries_are_read_instead(tmp_path: Path) -> None:
    log = Damaged(ENTRIES, [TILE])
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.follow()
        assert (one.size, await subjects(one)) == (600, [])
        assert "tile/entries/002.p/88" in one.internet.asked


async def test_a_wrong_entry_is_named_by_the_bundle_it_is_in(tmp_path: Path) -> None:
    log = Damaged(ENTRIES, [BUNDLE])
    async with bench(tmp_path, log) as one:
        await one.poll()
        assert one.size == 0
        assert await subjects(one) == [(WRONG_ENTRIES, f"entry 511, in {BUNDLE}, is not the one that was signed")]


async def test_where_tiles_and_entries_are_wrong_nobody_can_tell_which(tmp_path: Path) -> None:
    log = Damaged(ENTRIES, [TILE, BUNDLE])
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.follow()
        assert one.size == 0
        assert await subjects(one) == [(WRONG_ENTRIES, "the log's hash tiles do not lead to the signed root either")]
        log.damaged.clear()
        await one.poll()
        assert (one.size, await subjects(one)) == (600, [])


async def test_a_malformed_bundle_is_named(tmp_path: Path) -> None:
    log = Damaged(ENTRIES)
    log.replaced[BUNDLE] = b"?"
    async with bench(tmp_path, log) as one:
        await one.poll()
        assert one.size == 0
        ((kind, subject),) = await subjects(one)
        assert (kind, subject) == (WRONG_ENTRIES, f"{BUNDLE}: an entry bundle ends before its last entry")
