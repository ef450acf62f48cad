"""A large log is checked by several processes, in segments, and an interrupted check goes on where it stopped."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path

import pytest
import trio

from runtime.errors import CannotTell, UsageError
from sameview.fsck import DerivedTree, check
from sameview.fsck.derived import SEGMENT
from sameview.fsck.state import StateFile
from sameview.progress import Tell
from tests.commands import Sameview
from tests.fakes_log import FakeLog
from tlog.errors import ProofError
from tlog.hashing import leaf_hashes
from tlog.tiles import TILE_WIDTH, Tile
from tlog.trust import Trust

SIZE = 4 * SEGMENT + 300


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiles of a log of five segments, without the entries."""
    folder = tmp_path_factory.mktemp("mirror")
    tree, log = DerivedTree(), FakeLog()
    for start in range(0, SIZE, TILE_WIDTH):
        leaves = leaf_hashes(b"%d" % number for number in range(start, min(start + TILE_WIDTH, SIZE)))
        for tile, hashes in tree.append(leaves):
            write(folder / tile.path(), b"".join(hashes))
    for tile, hashes in tree.edge():
        write(folder / tile.path(), b"".join(hashes))
    write(folder / "checkpoint", log.sign(head=tree.range.tree_head(), witnesses=()))
    return folder


@pytest.fixture(scope="module")
def trust() -> Trust:
    return Trust((FakeLog().key.verifier_key,))


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def flipped(file: Path, place: int) -> Iterator[None]:
    """A file with one bit flipped, for a while."""
    good = file.read_bytes()
    bad = bytearray(good)
    bad[place] ^= 1
    file.write_bytes(bad)
    yield
    file.write_bytes(good)


ALL_TILES = (SIZE + 255) // 256 + 5 + 1


@pytest.mark.parametrize("jobs", [1, 2])
async def test_one_process_and_several_find_the_same(mirror: Path, trust: Trust, jobs: int) -> None:
    seen: list[int] = []
    checked = await check(str(mirror), trust, tiles_only=True, jobs=jobs, progress=lambda done, size: seen.append(done))
    assert (checked.head.size, checked.tiles) == (SIZE, ALL_TILES)
    assert seen == sorted(seen)
    assert seen[-1] == SIZE


@pytest.mark.parametrize(
    ("tile", "named", "jobs"),
    [
        (Tile(0, 700), "tile/0/700", 2),
        (Tile(1, 2), "tile/1/002", 1),
        (Tile(2, 0, 4), "tile/2/000.p/4", 1),
        (Tile(0, 1025, 44), "tile/0/x001/025.p/44", 1),
    ],
)
async def test_one_flipped_bit_is_named_whichever_process_finds_it(
    mirror: Path, trust: Trust, tile: Tile, named: str, jobs: int
) -> None:
    with flipped(mirror / tile.path(), 40), pytest.raises(ProofError) as raised:
        await check(str(mirror), trust, tiles_only=True, jobs=jobs)
    assert named in str(raised.value)


async def test_of_two_faults_the_first_in_the_log_is_named(mirror: Path, trust: Trust) -> None:
    with (
        flipped(mirror / Tile(0, 10).path(), 0),
        flipped(mirror / Tile(0, 900).path(), 0),
        pytest.raises(ProofError, match="tile/0/010"),
    ):
        await check(str(mirror), trust, tiles_only=True, jobs=2)


class StoppedError(Exception):
    """Somebody presses Ctrl-C."""


def stopping_at(size: int) -> Tell:
    def tell(done: int, _size: int) -> None:
        if done >= size:
            raise StoppedError

    return tell


async def test_an_interrupted_check_goes_on_where_it_stopped(
    mirror: Path, trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameview.fsck.whole.KEEP_SECONDS", 0.0)
    state = tmp_path / "state"
    with pytest.raises(StoppedError):
        await check(
            str(mirror), trust, tiles_only=True, jobs=1, state=state, progress=stopping_at(3 * SEGMENT + TILE_WIDTH)
        )
    read: list[int] = []
    checked = await check(str(mirror), trust, tiles_only=True, state=state, progress=lambda done, _: read.append(done))
    assert (checked.resumed, checked.tiles) == (3 * SEGMENT, ALL_TILES)
    assert min(read) == 3 * SEGMENT
    # What has come to its end is not gone on with: the next check reads everything again.
    assert not state.exists()


async def test_a_fault_before_the_end_of_a_resumed_check_is_found(
    mirror: Path, trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameview.fsck.whole.KEEP_SECONDS", 0.0)
    state = tmp_path / "state"
    with flipped(mirror / Tile(0, 700).path(), 0):
        with pytest.raises(ProofError):
            await check(str(mirror), trust, tiles_only=True, jobs=1, state=state)
        # The segments before it are done; the fault is looked at again.
        with pytest.raises(ProofError, match="tile/0/700"):
            await check(str(mirror), trust, tiles_only=True, jobs=1, state=state)
    assert (await check(str(mirror), trust, tiles_only=True, jobs=1, state=state)).resumed == 2 * SEGMENT


async def test_a_state_that_was_tampered_with_does_not_make_a_wrong_log_right(
    mirror: Path, trust: Trust, tmp_path: Path
) -> None:
    tree = DerivedTree()
    for _ in range(0, SEGMENT, TILE_WIDTH):
        list(tree.append(leaf_hashes([b"another log"] * TILE_WIDTH)))
    StateFile(tmp_path / "state", str(mirror), FakeLog().origin, True).write(tree, 257)
    with pytest.raises(ProofError):
        await check(str(mirror), trust, tiles_only=True, jobs=1, state=tmp_path / "state")


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"size": 1}'])
async def test_a_file_that_is_no_state_is_left_alone(mirror: Path, trust: Trust, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "state").write_bytes(raw)
    with pytest.raises(UsageError, match="does not say how far a check had come"):
        await check(str(mirror), trust, tiles_only=True, state=tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == raw


async def test_the_state_of_another_check_is_refused(mirror: Path, trust: Trust, tmp_path: Path) -> None:
    StateFile(tmp_path / "state", "elsewhere", FakeLog().origin, True).write(DerivedTree(), 0)
    with pytest.raises(UsageError, match="is of another check"):
        await check(str(mirror), trust, tiles_only=True, state=tmp_path / "state")


async def test_the_state_of_a_larger_tree_is_refused(mirror: Path, trust: Trust, tmp_path: Path) -> None:
    tree = DerivedTree()
    for _ in range(0, SEGMENT, TILE_WIDTH):
        list(tree.append(leaf_hashes([b""] * TILE_WIDTH)))
    StateFile(tmp_path / "state", str(mirror), FakeLog().origin, True).write(tree, 257)
    older = trust.open(FakeLog([b"one"]).sign()).require()
    with pytest.raises(UsageError, match="larger checkpoint"):
        await check(str(mirror), trust, older, tiles_only=True, state=tmp_path / "state")


async def test_a_state_that_cannot_be_kept_says_so(
    mirror: Path, trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameview.fsck.whole.KEEP_SECONDS", 0.0)
    with pytest.raises(UsageError, match="cannot write"):
        await check(str(mirror), trust, tiles_only=True, jobs=1, state=tmp_path / "no" / "state")
    with pytest.raises(UsageError, match="cannot read"):
        await check(str(mirror), trust, tiles_only=True, jobs=1, state=tmp_path)


async def test_a_process_that_is_killed_tells_nothing_of_the_log(mirror: Path, trust: Trust) -> None:
    def kill(_done: int, _size: int) -> None:
        for child in active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(CannotTell, match="--jobs 1"):
        await check(str(mirror), trust, tiles_only=True, jobs=2, progress=kill)


async def test_who_is_told_to_stop_leaves_no_process_behind(mirror: Path, trust: Trust) -> None:
    with trio.move_on_after(10), pytest.raises(StoppedError):
        await check(str(mirror), trust, tiles_only=True, jobs=2, progress=stopping_at(SEGMENT))
    assert active_children() == []


def test_the_command_takes_jobs_and_a_state(sameview: Sameview, mirror: Path, tmp_path: Path) -> None:
    vkey = FakeLog().key.verifier_key.format()
    options = ("--tiles-only", "--jobs", 2, "--state", tmp_path / "state", "--json")
    done = sameview("fsck", mirror, "--vkey", vkey, *options)
    assert (done.code, done.document["tiles"]) == (0, ALL_TILES)
