"""The hash tiles that a log serves, compared with what was hashed."""

from pathlib import Path

import pytest
import trio

from monitor.audit import MAX_WRONG, Audit, is_of, tile_at
from monitor.mirror import Mirror
from monitor.sources.source import NotServed
from monitor.sources.sumdb import sumdb_source
from monitor.sources.tiles import TilesSource
from runtime.client import Response
from tests.fakes_log import FakeLog
from tests.unit.test_monitor_start import begun
from tlog.hashing import node_hashes
from tlog.tiles import Tile, tiles_at

PLENTY = 10**9


class Served:
    """What a log serves, some of it changed."""

    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.changed: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.told: list[tuple[str, bool]] = []
        self.gone: set[str] = set()

    async def fetch(self, method: str, url: str, *, cap: int, seconds: float, **_: object) -> Response:
        path = url.removeprefix("http://log/")
        self.asked.append(path)
        found = None if path in self.gone else self.changed.get(path, self.log.serve(path))
        return Response(404, {}, b"") if found is None else Response(200, {}, found)

    async def tell(self, path: str, wrong: bool) -> None:
        self.told.append((path, wrong))

    def change(self, path: str, at: int = 5) -> None:
        data = self.log.serve(path) or b""
        self.changed[path] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def grow(mirror: Mirror, log: FakeLog) -> None:
    mirror.extend(log.leaves[mirror.size :])
    mirror.sync()
    mirror.adopt()


def audited(folder: Path, size: int, max_bytes: int = PLENTY) -> tuple[Served, Mirror, Audit]:
    """A log, the mirror of it, and an audit that began before."""
    log = FakeLog()
    log.add(size)
    served, mirror = Served(log), Mirror.open(folder / "m", max_bytes=max_bytes)
    audit = Audit(mirror, TilesSource("http://log", served.fetch), served.tell)
    grow(mirror, log)
    return served, mirror, audit


async def test_every_tile_of_the_branch_is_looked_at_once(tmp_path: Path) -> None:
    served, mirror, audit = audited(tmp_path, 600)
    for _ in range(2):
        await audit.look()
    assert (served.asked, served.told) == ([tile.path() for tile in tiles_at(600)], [])
    served.log.add(200)
    grow(mirror, served.log)
    served.asked.clear()
    await audit.look()
    assert served.asked == ["tile/0/002", "tile/0/003.p/32", "tile/1/000.p/3"]
    mirror.close()


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2"])
async def test_a_wrong_tile_is_named_until_it_is_right(tmp_path: Path, path: str) -> None:
    served, mirror, audit = audited(tmp_path, 600)
    served.change(path)
    for _ in range(2):
        await audit.look()
    assert served.told == [(path, True)]
    served.changed.clear()
    await audit.look()
    assert served.told == [(path, True), (path, False)]
    mirror.close()


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 32, b"x" * 8192 + b"y" * 32])
async def test_what_is_no_tile_is_wrong(tmp_path: Path, data: bytes) -> None:
    served, mirror, audit = audited(tmp_path, 600)
    served.changed["tile/0/000"] = data
    await audit.look()
    assert served.told == [("tile/0/000", True)]
    mirror.close()


async def test_a_log_that_does_not_answer_is_asked_for_the_rest_later(tmp_path: Path) -> None:
    served, mirror, audit = audited(tmp_path, 600)
    log, served.log = served.log, FakeLog()
    with pytest.raises(NotServed):
        await audit.look()
    served.log = log
    served.asked.clear()
    await audit.look()
    assert served.asked == [tile.path() for tile in tiles_at(600)]
    mirror.close()


async def test_of_a_log_that_is_all_wrong_only_so_much_is_named(tmp_path: Path) -> None:
    served, mirror, audit = audited(tmp_path, 256 * (MAX_WRONG + 5))
    for number in range(MAX_WRONG + 5):
        served.changed[f"tile/0/{number:03}"] = b""
    await audit.look()
    assert len(served.told) == MAX_WRONG
    served.changed.clear()
    await audit.look()
    assert served.told[MAX_WRONG:] == [(f"tile/0/{number:03}", False) for number in range(MAX_WRONG)]
    mirror.close()


async def test_tiles_whose_hashes_were_dropped_are_compared_by_the_hash_above_them(tmp_path: Path) -> None:
    served, mirror, audit = audited(tmp_path, 1024, max_bytes=256 * 32)
    served.change("tile/0/002")
    await audit.look()
    assert served.told == [("tile/0/002", True)]
    mirror.close()


async def test_what_precedes_the_first_entry_of_a_mirror_is_compared_with_the_hashes_above_it(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(1000)
    served, mirror = Served(log), Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    audit = Audit(mirror, TilesSource("http://log", served.fetch), served.tell)
    row = log.leaves[:512]
    while len(row) > 2:
        row = node_hashes(row)
    mirror.begin(512, {1: row})
    grow(mirror, log)
    served.change("tile/0/000")
    served.change("tile/0/003.p/232")
    await audit.look()
    assert served.told == [("tile/0/000", True), ("tile/0/003.p/232", True)]
    mirror.close()


async def test_what_there_is_no_hash_for_is_not_judged(tmp_path: Path) -> None:
    mirror = begun(tmp_path / "m", 65_792, 70_000)
    assert is_of(mirror, Tile(0, 3), b"?" * 8192)
    assert not is_of(mirror, Tile(0, 257), b"?" * 8192)
    mirror.close()


async def test_what_an_earlier_run_found_wrong_is_looked_at_again(tmp_path: Path) -> None:
    served, mirror, _ = audited(tmp_path, 600)
    audit = Audit(mirror, TilesSource("http://log", served.fetch), served.tell)
    with trio.move_on_after(0.2):
        await audit.run(0.01, ["tile/0/000", "nonsense"])
    assert (served.told, set(served.asked)) == ([("tile/0/000", False)], {"tile/0/000"})
    mirror.close()


async def test_a_wrong_tile_that_is_not_served_any_more_holds_nothing_up(tmp_path: Path) -> None:
    served, mirror, audit = audited(tmp_path, 600)
    served.change("tile/0/000")
    await audit.look()
    served.changed["tile/0/000"] = b""
    served.gone.add("tile/0/000")
    served.log.add(100)
    grow(mirror, served.log)
    await audit.look()
    assert (served.told, served.asked[-1]) == ([("tile/0/000", True)], "tile/0/002.p/188")
    mirror.close()


def test_tiles_are_found_by_where_each_kind_keeps_them() -> None:
    sources = [TilesSource("http://log", Served(FakeLog()).fetch), sumdb_source("http://log", Served(FakeLog()).fetch)]
    for source in sources:
        assert tile_at(source, source.path(Tile(1, 1067, 8))) == Tile(1, 1067, 8)
    assert [tile_at(sources[0], path) for path in ("tile/8/0/000", "tile/entries/000")] == [None, None]
