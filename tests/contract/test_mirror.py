"""The mirror answers as a tree in memory does, at every size it grew through, and after every way of being torn."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from typing_extensions import override

from gossip.core import MissingTile
from monitor.mirror import MAX_LENT_TILES, Mirror
from runtime.errors import UsageError
from tests.fakes_log import FakeLog
from tlog.errors import ProofError
from tlog.hashing import Hash, TreeHead, leaf_hash, node_hash
from tlog.proofs import prove_consistency, root_at, verify_consistency

PLENTY = 10**9
# Hashes of a large tree are made once; building it takes longer than all the rest.
LEAVES = [leaf_hash(b"%d" % number) for number in range(66_000)]


def node(level: int, index: int) -> Hash:
    """The definition of a node, without any tile."""
    if level == 0:
        return LEAVES[index]
    return node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))


def grow(mirror: Mirror, size: int, step: int = 1000) -> None:
    """Hash leaves into the mirror and commit them, as a monitor does."""
    while mirror.draft_size < size:
        mirror.extend(LEAVES[mirror.draft_size : min(mirror.draft_size + step, size)])
    mirror.sync()
    mirror.adopt()


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 66_000])
def test_the_root_is_the_one_of_the_leaves(tmp_path: Path, size: int) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, size)
    assert mirror.draft_head() == TreeHead(size, root_at(size, node))
    mirror.close()


def test_every_earlier_root_and_proof_can_be_made(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    for size in (1, 7, 256, 600):
        grow(mirror, size)
    heads = [TreeHead(size, root_at(size, mirror.read)) for size in range(601)]
    assert [head.root_hash for head in heads] == [root_at(size, node) for size in range(601)]
    for old in (1, 7, 255, 256, 599):
        verify_consistency(heads[old], heads[600], prove_consistency(old, 600, mirror.read))
    mirror.close()


def test_files_hold_the_hashes_of_each_tile_level_in_order(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, 66_000)
    mirror.close()
    sizes = {path.name: path.stat().st_size // 32 for path in (tmp_path / "m").iterdir()}
    assert sizes == {"level-0": 66_000, "level-8": 257, "level-16": 1}
    assert (tmp_path / "m" / "level-8").read_bytes()[32:64] == node(8, 1)


def test_a_draft_is_invisible_until_it_is_adopted(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, 300)
    mirror.extend(LEAVES[300:700])
    assert (mirror.size, mirror.draft_size, mirror.tail) == (300, 700, tuple(LEAVES[512:700]))
    with pytest.raises(AssertionError):
        mirror.read(8, 1)
    mirror.abandon()
    assert (mirror.draft_size, mirror.tail, mirror.draft_head()) == (300, tuple(LEAVES[256:300]), tree(300))
    assert (tmp_path / "m" / "level-8").stat().st_size == 32
    mirror.close()


def tree(size: int) -> TreeHead:
    return TreeHead(size, root_at(size, node))


def test_what_a_crash_left_behind_the_committed_size_is_cut_off(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, 300)
    mirror.extend(LEAVES[300:66_000])
    mirror.close()
    mirror = Mirror.open(tmp_path / "m", 300, 300, max_bytes=PLENTY)
    assert mirror.draft_head() == tree(300)
    grow(mirror, 700)
    assert mirror.draft_head() == tree(700)
    mirror.close()


@pytest.mark.parametrize("name", ["level-0", "level-8"])
def test_a_mirror_that_lost_hashes_is_refused(tmp_path: Path, name: str) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, 700)
    mirror.close()
    path = tmp_path / "m" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match="shorter than its database says"):
        Mirror.open(tmp_path / "m", 700, 700, max_bytes=PLENTY)


def test_a_file_that_shrinks_under_us_is_our_fault(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, 10)
    (tmp_path / "m" / "level-0").write_bytes(b"")
    with pytest.raises(AssertionError):
        mirror.read(0, 3)
    mirror.close()


# A draft survives the program, up to where it was saved.


def saved(folder: Path, committed: int, *sizes: int, max_bytes: int = PLENTY) -> tuple[int, int, bytes]:
    """A mirror with a draft that was saved at each of these sizes, and then closed; what the database has of it."""
    mirror = Mirror.open(folder, max_bytes=max_bytes)
    grow(mirror, committed)
    committed_state = (committed, mirror.draft_kept, mirror.draft_edge)
    for size in sizes:
        mirror.extend(LEAVES[mirror.draft_size : size])
        mirror.save(mirror.take())
    mirror.extend(LEAVES[mirror.draft_size : mirror.draft_size + 300])
    mirror.close()
    return committed_state


@pytest.mark.parametrize("max_bytes", [PLENTY, 256 * 32])
@pytest.mark.parametrize("size", [301, 511, 512, 700, 65_536, 65_700])
def test_a_draft_goes_on_where_it_was_saved(tmp_path: Path, size: int, max_bytes: int) -> None:
    state = saved(tmp_path / "m", 300, 400, size, max_bytes=max_bytes)
    mirror = Mirror.open(tmp_path / "m", *state, max_bytes=max_bytes)
    assert (mirror.size, mirror.draft_size, mirror.resumed) == (300, max(size, 400), True)
    grow(mirror, 66_000)
    assert (mirror.draft_head(), mirror.resumed) == (tree(66_000), False)
    mirror.close()


@pytest.mark.parametrize(("start", "resumes_at"), [(0, 512), (16 * 1024, 700)])
def test_a_torn_mark_leaves_the_one_before(tmp_path: Path, start: int, resumes_at: int) -> None:
    state = saved(tmp_path / "m", 300, 512, 700)
    damage(tmp_path / "m" / "draft", 16 * 1024 - start + 20)
    mirror = Mirror.open(tmp_path / "m", *state, max_bytes=PLENTY)
    assert (mirror.draft_size, mirror.draft_head()) == (1212 - resumes_at, tree(1212 - resumes_at))
    mirror.close()


def damage(path: Path, at: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["level-0", "level-8"])
@pytest.mark.parametrize("lost", [0, 1, 100])
def test_a_draft_whose_files_are_short_or_wrong_is_forgotten(tmp_path: Path, name: str, lost: int) -> None:
    state = saved(tmp_path / "m", 300, 1500)
    path = tmp_path / "m" / name
    path.write_bytes(path.read_bytes()[: -lost or None])
    if not lost:
        damage(path, path.stat().st_size - 1)
    mirror = Mirror.open(tmp_path / "m", *state, max_bytes=PLENTY)
    assert (mirror.draft_size, mirror.resumed) == (300, False)
    grow(mirror, 2000)
    assert mirror.draft_head() == tree(2000)
    mirror.close()


def test_a_draft_under_another_limit_is_forgotten(tmp_path: Path) -> None:
    state = saved(tmp_path / "m", 100, 1500, max_bytes=256 * 32)
    mirror = Mirror.open(tmp_path / "m", *state, max_bytes=512 * 32)
    assert (mirror.draft_size, mirror.resumed) == (100, False)
    grow(mirror, 2000)
    assert mirror.draft_head() == tree(2000)
    mirror.close()


def test_an_abandoned_draft_does_not_come_back(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    mirror.extend(LEAVES[:600])
    mirror.save(mirror.take())
    mirror.abandon()
    mirror.close()
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    assert (mirror.draft_size, mirror.resumed) == (0, False)
    mirror.close()


@pytest.mark.parametrize("limit", [PLENTY, 256 * 32])
def test_a_draft_can_be_cut_between_two_tiles(tmp_path: Path, limit: int) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=limit)
    grow(mirror, 300)
    mirror.extend([*LEAVES[300:1024], *[leaf_hash(b"wrong")] * 70_000])
    mirror.rewind(1024)
    assert (mirror.draft_size, mirror.tail) == (1024, ())
    grow(mirror, 66_000)
    assert mirror.draft_head() == tree(66_000)
    mirror.close()


@pytest.mark.parametrize("size", [0, 256, 700, 1280])
def test_a_draft_is_not_cut_elsewhere(tmp_path: Path, size: int) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    grow(mirror, 300)
    mirror.extend(LEAVES[300:1100])
    with pytest.raises(ValueError):
        mirror.rewind(size)
    mirror.close()


def test_nothing_is_written_while_a_draft_is_extended(tmp_path: Path) -> None:
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    mirror.extend(LEAVES[:66_000])
    assert (list((tmp_path / "m").iterdir()), mirror.gathered_bytes) == ([], (66_000 + 257 + 1) * 32)
    mirror.close()


# Level 0 is limited.

LIMIT = 256 * 32 + 31  # one tile, and not quite one more hash


def limited(folder: Path, *sizes: int, max_bytes: int = LIMIT) -> Mirror:
    mirror = Mirror.open(folder, max_bytes=max_bytes)
    for size in sizes:
        grow(mirror, size)
    return mirror


@pytest.mark.parametrize("max_bytes", [0, LIMIT])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 300, 511, 512, 1000, 1024])
def test_a_limited_mirror_still_computes_its_root_and_grows(tmp_path: Path, size: int, max_bytes: int) -> None:
    mirror = limited(tmp_path / "m", size, max_bytes=max_bytes)
    assert mirror.draft_head() == tree(size)
    grow(mirror, 1500)
    assert mirror.draft_head() == tree(1500)
    assert sum(path.stat().st_size for path in (tmp_path / "m").glob("level-0")) <= max_bytes
    mirror.close()


@pytest.mark.parametrize(("old", "new"), [(300, 400), (300, 600), (700, 1000), (511, 1500)])
def test_growth_of_a_limited_mirror_can_be_proved_before_it_counts_and_after(
    tmp_path: Path, old: int, new: int
) -> None:
    mirror = limited(tmp_path / "m", old)
    mirror.extend(LEAVES[old:new])
    before = prove_consistency(old, new, mirror.read_draft)
    mirror.sync()
    mirror.adopt()
    assert prove_consistency(old, new, mirror.read) == before
    verify_consistency(tree(old), tree(new), before)
    mirror.close()


def test_a_limited_mirror_comes_back_with_its_edge(tmp_path: Path) -> None:
    mirror = limited(tmp_path / "m", 700)
    kept, edge = mirror.draft_kept, mirror.draft_edge
    mirror.close()
    assert (kept, len(edge) // 32) == (256, 700 - 512)
    # A larger limit later does not bring back what was dropped.
    mirror = Mirror.open(tmp_path / "m", 700, kept, edge, max_bytes=PLENTY)
    assert mirror.draft_head() == tree(700)
    grow(mirror, 1000)
    assert (mirror.draft_head(), mirror.draft_kept) == (tree(1000), 256)
    mirror.close()


def test_a_smaller_limit_later_keeps_what_is_there(tmp_path: Path) -> None:
    mirror = limited(tmp_path / "m", 700, max_bytes=PLENTY)
    mirror.close()
    mirror = Mirror.open(tmp_path / "m", 700, 700, max_bytes=LIMIT)
    grow(mirror, 1000)
    assert (mirror.draft_head(), mirror.draft_kept) == (tree(1000), 768)
    assert root_at(500, mirror.read) == tree(500).root_hash
    mirror.close()


def test_a_dropped_tile_is_missed_and_can_be_lent(tmp_path: Path) -> None:
    mirror = limited(tmp_path / "m", 1500)
    with pytest.raises(MissingTile) as missed:
        root_at(600, mirror.read)
    assert (missed.value.tile, mirror.misses(2), mirror.misses(0), mirror.misses(5)) == (2, True, False, False)
    mirror.lend(2, LEAVES[512:768])
    assert (root_at(600, mirror.read), mirror.misses(2)) == (tree(600).root_hash, False)
    mirror.close()


@pytest.mark.parametrize(
    ("tile", "hashes"),
    [(2, LEAVES[513:769]), (2, LEAVES[512:767]), (5, LEAVES[1280:1536]), (2**40, LEAVES[:256])],
    ids=["wrong", "partial", "beyond", "absurd"],
)
def test_a_wrong_tile_is_not_taken(tmp_path: Path, tile: int, hashes: list[Hash]) -> None:
    mirror = limited(tmp_path / "m", 1500)
    with pytest.raises(ProofError):
        mirror.lend(tile, hashes)
    mirror.close()


def test_only_so_many_tiles_are_lent(tmp_path: Path) -> None:
    mirror = limited(tmp_path / "m", 256 * (MAX_LENT_TILES + 3))
    for tile in range(1, MAX_LENT_TILES + 3):
        mirror.lend(tile, LEAVES[tile * 256 : tile * 256 + 256])
    assert [tile for tile in range(MAX_LENT_TILES + 3) if mirror.misses(tile)] == [1, 2]
    mirror.close()


def test_an_abandoned_draft_lends_nothing(tmp_path: Path) -> None:
    mirror = limited(tmp_path / "m", 700)
    mirror.extend([leaf_hash(b"wrong")] * 400)
    mirror.abandon()
    grow(mirror, 1100)
    assert prove_consistency(700, 1100, mirror.read) == prove_consistency(700, 1100, node)
    mirror.close()


class MirrorMachine(RuleBasedStateMachine):
    """Grows, adopts, abandons, crashes and reopens, and is always the tree that was committed."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.folder = Path(self.place.name) / "m"
        self.limit = 512 * 32
        self.mirror = Mirror.open(self.folder, max_bytes=self.limit)
        self.committed = (0, 0, b"")

    @rule(count=st.integers(1, 700))
    def extend(self, count: int) -> None:
        start = self.mirror.draft_size
        self.mirror.extend(LEAVES[start : start + count])

    @rule()
    def extend_wrongly_and_abandon(self) -> None:
        self.mirror.extend([leaf_hash(b"wrong")] * 300)
        self.mirror.abandon()

    @precondition(lambda self: self.mirror.draft_size > self.mirror.size)
    @rule()
    def adopt(self) -> None:
        self.mirror.sync()
        self.committed = (self.mirror.draft_size, self.mirror.draft_kept, self.mirror.draft_edge)
        self.mirror.adopt()

    @precondition(lambda self: self.mirror.draft_size > self.mirror.size)
    @rule()
    def crash_between_database_and_mirror(self) -> None:
        self.mirror.sync()
        self.committed = (self.mirror.draft_size, self.mirror.draft_kept, self.mirror.draft_edge)
        self.reopen()

    @rule()
    def save(self) -> None:
        self.mirror.save(self.mirror.take())

    @rule()
    def reopen(self) -> None:
        self.mirror.close()
        self.mirror = Mirror.open(self.folder, *self.committed, max_bytes=self.limit)

    @invariant()
    def it_is_the_committed_tree(self) -> None:
        size = self.committed[0]
        assert (self.mirror.size, root_at(size, self.mirror.read)) == (size, root_at(size, node))

    @invariant()
    def the_draft_is_a_tree(self) -> None:
        assert self.mirror.draft_head() == tree(self.mirror.draft_size)

    @override
    def teardown(self) -> None:
        self.mirror.close()
        self.place.cleanup()


MirrorMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestMirror = MirrorMachine.TestCase


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_the_mirror_reads_like_the_log_itself(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    log = FakeLog()
    mirror = Mirror.open(tmp_path_factory.mktemp("m") / "m", max_bytes=PLENTY)
    for step in steps:
        log.add(step)
        mirror.extend(log.leaves[mirror.draft_size :])
        mirror.sync()
        mirror.adopt()
    nodes = [(level, log.size >> level) for level in range(12)]
    for level, count in nodes:
        assert [mirror.read(level, index) for index in range(count)] == [log.node(level, i) for i in range(count)]
    mirror.close()
