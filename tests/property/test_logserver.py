"""Whatever is added, published, cut off and started again, in any order: one history, and every answer stays true."""

import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.test_log_restarts import FragileFiles, FragileRegister, FragileSigner, Fuse, Killed
from tests.keys import log_key
from tests.log_nodes import OpenLog, make_log, open_log
from tests.rfc6962 import ReferenceTree
from tlog.signed_checkpoint import open_checkpoint
from tlog.tiles import EntryBundle, parse_entries

KEY = log_key()
ENOUGH = 10_000  # steps, for a life that nothing cuts off

ENTRIES = st.lists(st.integers(0, 400), min_size=1, max_size=130)


@dataclass(frozen=True, slots=True)
class Life:
    """Between a start and an end: batches that are added, each followed by a round; then a step at which it ends."""

    batches: list[list[int]]
    last_batch: list[int]
    steps: int


LIVES = st.lists(st.builds(Life, st.lists(ENTRIES, max_size=2), ENTRIES, st.integers(0, 14)), min_size=1, max_size=4)


@dataclass(slots=True)
class Model:
    """What a log without duplicates is."""

    entries: list[bytes] = field(default_factory=list)

    def add(self, batch: list[bytes]) -> tuple[int, ...]:
        self.entries += [entry for entry in dict.fromkeys(batch) if entry not in self.entries]
        return tuple(self.entries.index(entry) for entry in batch)


@settings(max_examples=15)
@given(LIVES)
def test_a_log_is_its_entries_in_order_whatever_happens_to_it(lives: list[Life]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        trio.run(live_through, Path(directory), lives)


async def live_through(directory: Path, lives: list[Life]) -> None:
    await make_log(directory, KEY.name)
    model = Model()
    shown: list[bytes] = []
    for life in lives:
        with suppress(Killed):
            await live(directory, model, life, shown)
    async with open_log(directory, [KEY]) as opened:
        await opened.publisher.publish()
        check(opened, model, shown)


async def live(directory: Path, model: Model, life: Life, shown: list[bytes]) -> None:
    fuse = Fuse(ENOUGH)
    async with open_log(
        directory,
        [KEY],
        files=FragileFiles(directory / "public", fuse),
        wrap_register=lambda register: FragileRegister(register, fuse),
        wrap_signer=lambda signer: FragileSigner(signer, fuse),
    ) as opened:
        for batch in life.batches:
            await add(opened, model, batch)
            await opened.publisher.publish()
            shown.append(opened.files.read_checkpoint() or b"")
        await add(opened, model, life.last_batch)
        fuse.left = life.steps
        await opened.publisher.publish()


async def add(opened: OpenLog, model: Model, numbers: list[int]) -> None:
    batch = [b"entry %d" % number for number in numbers]
    assert await opened.add(*batch) == model.add(batch)


def check(opened: OpenLog, model: Model, shown: list[bytes]) -> None:
    tree = ReferenceTree(model.entries)
    published = opened.publisher.published
    assert published is not None
    assert published.size == len(model.entries)
    for note in (*shown, published.raw):
        head = open_checkpoint(note, [KEY.verifier_key])
        assert head.root_hash == tree.mth(0, head.size)
        assert stored(opened, head.size) == model.entries[: head.size]


def stored(opened: OpenLog, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        bundle = EntryBundle(index, min(256, size - 256 * index))
        entries += parse_entries(opened.files.read(bundle.path()) or b"", bundle.end - bundle.start)
    return entries
