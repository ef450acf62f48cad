"""Following a log from an entry in its middle: what its tiles have to show, and what observers have to have seen."""

import random
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from gossip.core import MissingTile
from monitor.mirror import Mirror
from monitor.start import (
    NotVouched,
    Vouched,
    WrongTiles,
    first_hashed,
    proven_roots,
    rows_before,
    tiles_to_begin,
    tiles_to_vouch,
    vouched_size,
)
from runtime.errors import UsageError
from tlog.errors import ProofError
from tlog.hashing import Hash, TreeHead, leaf_hash, node_hashes
from tlog.proofs import prove_consistency, prove_inclusion, root_at
from tlog.tiles import Tile, tile_hashes

PLENTY = 10**9
Answer = TypeVar("Answer")
ROWS = [[leaf_hash(b"%d" % number) for number in range(70_000)]]
while len(ROWS[-1]) > 1:
    ROWS.append(node_hashes(ROWS[-1]))
PLACES = [
    (256, 300),
    (512, 1000),
    (1024, 70_000),
    (65_536, 65_537),
    (65_536, 70_000),
    (65_792, 70_000),
    (69_888, 70_000),
]


def node(level: int, index: int) -> Hash:
    return ROWS[level][index]


def head(size: int) -> TreeHead:
    return TreeHead(size, root_at(size, node))


def tile(one: Tile) -> bytes:
    return b"".join(ROWS[8 * one.level][one.index * 256 : one.index * 256 + one.width])


def tiles(wanted: Iterable[Tile]) -> dict[Tile, bytes]:
    return {one: tile(one) for one in wanted}


def begun(folder: Path, start: int, size: int) -> Mirror:
    """A mirror that begins with an entry and was grown to a size."""
    mirror = Mirror.open(folder, max_bytes=PLENTY)
    mirror.begin(start, rows_before(start, head(size), tiles(tiles_to_begin(start, size))))
    mirror.extend(ROWS[0][start:size])
    mirror.sync()
    mirror.adopt()
    return mirror


def borrowing(mirror: Mirror, ask: Callable[[], Answer]) -> Answer:
    """Ask as often as it takes, and lend what is missing."""
    while True:
        try:
            return ask()
        except MissingTile as missing:
            place = missing.tile, missing.level
        assert mirror.misses(*place)
        mirror.lend(place[0], tile_hashes(tile(Tile(place[1], place[0]))), place[1])


@pytest.mark.parametrize(("size", "first"), [(0, 0), (1, 0), (256, 0), (257, 256), (512, 256), (513, 512)])
def test_hashing_begins_with_a_whole_bundle_before_the_size(size: int, first: int) -> None:
    assert first_hashed(size) == first


@pytest.mark.parametrize(("start", "size"), PLACES)
def test_a_mirror_that_begins_in_the_middle_has_every_later_root_and_proof(
    tmp_path: Path, start: int, size: int
) -> None:
    mirror = begun(tmp_path / "m", start, size)
    assert (mirror.start, mirror.size, mirror.draft_head()) == (start, size, head(size))
    for old in {start, start + 1, (start + size) // 2, size - 1}:
        assert prove_consistency(old, size, mirror.read) == prove_consistency(old, size, node)
    for index in {start, (start + size) // 2, size - 1}:
        assert prove_inclusion(index, size, mirror.read) == prove_inclusion(index, size, node)
    mirror.close()


@pytest.mark.parametrize(("start", "size"), PLACES)
def test_earlier_roots_come_with_tiles_that_are_lent(tmp_path: Path, start: int, size: int) -> None:
    mirror = begun(tmp_path / "m", start, size)
    for old in random.Random(start).sample(range(1, start), 9):
        assert borrowing(mirror, partial(root_at, old, mirror.read)) == head(old).root_hash
        proof = borrowing(mirror, partial(prove_consistency, old, size, mirror.read))
        assert proof == prove_consistency(old, size, node)
    mirror.close()


def test_a_tile_is_not_lent_before_the_one_above_it(tmp_path: Path) -> None:
    mirror = begun(tmp_path / "m", 65_792, 70_000)
    with pytest.raises(MissingTile) as missing:
        mirror.read(0, 300)
    assert (missing.value.level, missing.value.tile) == (1, 0)
    with pytest.raises(MissingTile):
        mirror.lend(1, tile_hashes(tile(Tile(0, 1))))
    with pytest.raises(ProofError):
        mirror.lend(0, tile_hashes(tile(Tile(0, 1))), 1)
    mirror.lend(0, tile_hashes(tile(Tile(1, 0))), 1)
    mirror.lend(1, tile_hashes(tile(Tile(0, 1))))
    assert mirror.read(0, 300) == node(0, 300)
    mirror.close()


def test_a_mirror_comes_back_with_its_first_entry(tmp_path: Path) -> None:
    mirror = begun(tmp_path / "m", 1024, 1500)
    kept, edge = mirror.draft_kept, mirror.draft_edge
    mirror.close()
    mirror = Mirror.open(tmp_path / "m", 1500, kept, edge, max_bytes=PLENTY)
    assert (mirror.start, mirror.draft_head()) == (1024, head(1500))
    mirror.extend(ROWS[0][1500:70_000])
    assert mirror.draft_head() == head(70_000)
    mirror.close()


def test_what_was_begun_and_never_adopted_is_gone_on_with(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    mirror.begin(1024, rows_before(1024, head(1500), tiles(tiles_to_begin(1024, 1500))))
    mirror.close()
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    assert (mirror.start, mirror.size) == (1024, 1024)
    mirror.extend(ROWS[0][1024:2000])
    assert mirror.draft_head() == head(2000)
    mirror.close()


def test_the_limit_of_a_mirror_counts_from_its_first_entry(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=512 * 32)
    mirror.begin(1024, rows_before(1024, head(3000), tiles(tiles_to_begin(1024, 3000))))
    mirror.extend(ROWS[0][1024:3000])
    assert (mirror.draft_kept, mirror.draft_head()) == (1536, head(3000))
    mirror.close()


@pytest.mark.parametrize(
    ("start", "rows"), [(0, {}), (100, {}), (256, {}), (256, {1: [node(0, 0)] * 2})], ids=["0", "100", "none", "two"]
)
def test_a_mirror_begins_only_with_a_whole_tile_and_what_is_before_it(
    tmp_path: Path, start: int, rows: dict[int, list[Hash]]
) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    with pytest.raises(ValueError, match=r"begins|before"):
        mirror.begin(start, rows)
    assert (mirror.start, mirror.size) == (0, 0)
    mirror.close()


def test_a_mirror_with_hashes_does_not_begin_again(tmp_path: Path) -> None:
    mirror = begun(tmp_path / "m", 256, 300)
    with pytest.raises(ValueError, match="empty mirror"):
        mirror.begin(256, {1: [node(8, 0)]})
    mirror.close()


def test_a_damaged_first_entry_is_named(tmp_path: Path) -> None:
    begun(tmp_path / "m", 256, 300).close()
    (tmp_path / "m" / "start").write_bytes(b"256.0\n")
    with pytest.raises(UsageError, match="start: the first entry is not a decimal"):
        Mirror.open(tmp_path / "m", 300, 300, max_bytes=PLENTY)


@pytest.mark.parametrize(("start", "size"), PLACES)
def test_no_changed_tile_is_believed(start: int, size: int) -> None:
    wanted = tiles(tiles_to_begin(start, size))
    for place, data in wanted.items():
        for at in (0, len(data) // 2, len(data) - 1):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(WrongTiles):
                rows_before(start, head(size), {**wanted, place: changed})


def test_a_tile_of_another_width_is_not_believed() -> None:
    wanted = tiles(tiles_to_begin(256, 300))
    with pytest.raises(WrongTiles):
        rows_before(256, head(300), {place: data[:-32] for place, data in wanted.items()})


def test_roots_at_earlier_sizes_are_proven_by_tiles() -> None:
    sizes = [1, 255, 256, 4000, 69_999, 70_000]
    wanted = tiles(tiles_to_vouch(sizes, 70_000))
    assert proven_roots(sizes, head(70_000), wanted) == {size: head(size).root_hash for size in sizes}
    for place, data in wanted.items():
        with pytest.raises(WrongTiles):
            proven_roots(sizes, head(70_000), {**wanted, place: b"?" * len(data)})


def test_a_size_is_vouched_for_when_enough_operators_saw_it_or_more() -> None:
    roots = {size: head(size).root_hash for size in (100, 200, 300)}
    seen = [Vouched("a", head(100)), Vouched("a", head(300)), Vouched("b", head(200)), Vouched("c", head(100))]
    assert [vouched_size(seen, roots, operators) for operators in (1, 2, 3)] == [300, 200, 100]


@pytest.mark.parametrize(
    "other", [Vouched("a", head(200)), Vouched("", head(200)), Vouched("b", TreeHead(200, head(100).root_hash))]
)
def test_one_operator_no_operator_and_another_tree_do_not_count(other: Vouched) -> None:
    roots = {size: head(size).root_hash for size in (100, 200)}
    with pytest.raises(NotVouched, match="observers of 1 operators"):
        vouched_size([Vouched("a", head(100)), other], roots, 2)


def test_a_start_that_no_file_reaches_is_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    start = 2**60
    mirror = Mirror.open(tmp_path / "mirror", max_bytes=10**9)
    with pytest.raises(OSError, match="large"):
        mirror.begin(start, {7: [leaf_hash(b"")] * 16})
    mirror.close()
