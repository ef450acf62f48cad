"""A log that dies between any two steps goes on with the same history.

Each step of a round is an object that can be made to fail: the files, the register, a signer, a witness. What is
raised there ends the process as far as the log can tell; the next one opens what is in the directory.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest
import structlog
from starlette.responses import Response
from typing_extensions import override

from logserver.core import TileFile
from logserver.files import LostTile, PublicFiles
from logserver.integrate import ENTRIES_AT_ONCE, HistoryBroken
from runtime.errors import UsageError, exit_code
from runtime.register import Conflict, Persisted, Register, persisted
from runtime.signers import Signer
from tests.fakes import FakeClock
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tests.log_nodes import OpenLog, make_log, open_log
from tests.rfc6962 import ReferenceTree
from tests.served import served
from tests.witnesses import ScriptedWitness, cosign, policy_of, says
from tlog.add_checkpoint import AddCheckpoint
from tlog.advance import Advance, Refresh, Statement
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.signed_checkpoint import open_checkpoint
from tlog.tiles import EntryBundle, parse_entries, tiles_at

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN), mldsa_key(ORIGIN)]
ENTRIES = [b"entry %d" % number for number in range(700)]
TREE = ReferenceTree(ENTRIES)


class Killed(Exception):  # noqa: N818  # it says what happened
    """The process ends here."""


class Fuse:
    """Burns down by one each time a step is reached; the step at which it is out does not return."""

    def __init__(self, length: int) -> None:
        self.left = length

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@dataclass(frozen=True, slots=True)
class FragileFiles(PublicFiles):
    """May die before and after each file."""

    fuse: Fuse

    @override
    def write(self, files: Sequence[TileFile]) -> None:
        for file in files:
            self.fuse.burn()
            super(FragileFiles, self).write([file])

    @override
    def write_checkpoint(self, note: bytes) -> None:
        self.fuse.burn()
        super(FragileFiles, self).write_checkpoint(note)
        self.fuse.burn()


class FragileRegister:
    """May die before and after it has moved."""

    def __init__(self, register: Register, fuse: Fuse) -> None:
        self._register = register
        self._fuse = fuse

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        return await self._register.latest(origin)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        self._fuse.burn()
        stated = await self._register.advance(known, decision)
        self._fuse.burn()
        return stated

    async def wait_lost(self) -> NoReturn:
        await self._register.wait_lost()


class FragileSigner:
    """May die before and after it has signed."""

    def __init__(self, signer: Signer, fuse: Fuse) -> None:
        self._signer = signer
        self._fuse = fuse

    @property
    def vkey(self) -> VerifierKey:
        return self._signer.vkey

    async def sign(self, statement: Persisted[Statement]) -> bytes:
        self._fuse.burn()
        line = await self._signer.sign(statement)
        self._fuse.burn()
        return line


@asynccontextmanager
async def fragile(directory: Path, policy: Policy, clock: FakeClock, fuse: Fuse) -> AsyncIterator[OpenLog]:
    async with open_log(
        directory,
        KEYS,
        policy=policy,
        clock=clock,
        files=FragileFiles(directory / "public", fuse),
        wrap_register=lambda register: FragileRegister(register, fuse),
        wrap_signer=lambda signer: FragileSigner(signer, fuse),
    ) as opened:
        yield opened


@asynccontextmanager
async def one_witness() -> AsyncIterator[tuple[ScriptedWitness, Policy]]:
    witness = ScriptedWitness(witness_key(), cosign)
    async with served(witness.app()) as asked:
        witness.url = asked.url
        yield witness, policy_of(KEYS[0], [witness])


def tiles_and_bundles(directory: Path) -> dict[str, bytes]:
    public = directory / "public"
    return {str(path.relative_to(public)): path.read_bytes() for path in public.glob("tile/**/*") if path.is_file()}


def expected_files(size: int) -> dict[str, bytes]:
    """Every tile and bundle of a tree, from the definition."""
    files: dict[str, bytes] = {}
    for tile in tiles_at(size):
        step = 256**tile.level
        files[tile.path()] = b"".join(TREE.mth(start, start + step) for start in range(tile.start, tile.end, step))
    for index in range(-(-size // 256)):
        bundle = EntryBundle(index, min(256, size - 256 * index))
        files[bundle.path()] = b"".join(
            len(entry).to_bytes(2, "big") + entry for entry in ENTRIES[bundle.start : bundle.end]
        )
    return files


async def test_a_log_that_dies_at_any_step_of_a_round_goes_on_with_one_history(tmp_path: Path) -> None:
    """SPEC: CP-7, T-11"""
    await make_log(tmp_path, ORIGIN)
    clock = FakeClock(NOW)
    async with one_witness() as (witness, policy):
        size, step, shown = 0, 0, 0
        died = True
        # Each life adds some entries, and ends one step later in its round than the last one.
        while died:
            died = False
            try:
                async with fragile(tmp_path, policy, clock, Fuse(10_000)) as opened:
                    fuse = opened.files.fuse  # type: ignore[attr-defined]
                    added = ENTRIES[size : size + 47]
                    assert await opened.add(*added) == tuple(range(size, size + 47))
                    size += 47
                    fuse.left = step
                    await opened.publisher.publish()
            except Killed:
                died = True
            note = PublicFiles(tmp_path / "public").read_checkpoint()
            published = None if note is None else open_checkpoint(note, [KEYS[0].verifier_key, *policy.witness_keys])
            # A reader sees a whole checkpoint with its quorum, and never an older one than before.
            if published is not None:
                assert policy.cosigned(published).met
                assert published.size >= shown
                shown = published.size
            step += 1
            clock.advance(1)
        assert shown == size
        assert step > 10  # files, register, each signer and the checkpoint, each before and after
        # Whatever a witness or a reader ever saw lies on the one tree of the acknowledged entries.
        for checkpoint in witness.checkpoints:
            assert checkpoint.root_hash == TREE.mth(0, checkpoint.size)
            assert expected_files(checkpoint.size).items() <= tiles_and_bundles(tmp_path).items()


async def test_what_was_acknowledged_and_not_yet_written_is_there_after_a_restart(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened:
        await opened.publisher.publish()
        await opened.add(*ENTRIES[:300])
    async with open_log(tmp_path, KEYS) as opened:
        # Even before the first round.
        assert tiles_and_bundles(tmp_path) == expected_files(300)
        assert await opened.add(ENTRIES[299], ENTRIES[300]) == (299, 300)


async def test_more_entries_than_one_step_takes_make_no_partial_bundles_on_the_way(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    entries = [b"%d" % number for number in range(2 * ENTRIES_AT_ONCE + 100)]
    async with open_log(tmp_path, KEYS) as opened:
        await opened.add(*entries[:100])
        await opened.publisher.publish()
        await opened.add(*entries[100:])
        await opened.publisher.publish()
        partial = {path for path in tiles_and_bundles(tmp_path) if path.startswith("tile/entries/") and ".p/" in path}
        assert partial == {"tile/entries/000.p/100", "tile/entries/032.p/100"}
        last = opened.files.read("tile/entries/032.p/100")
        assert last is not None
        assert parse_entries(last, 100) == entries[-100:]


async def test_the_published_checkpoint_is_served_from_the_first_moment_after_a_restart(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with one_witness() as (witness, policy):
        async with open_log(tmp_path, KEYS, policy=policy) as opened:
            await opened.add(*ENTRIES[:5])
            await opened.publisher.publish()
            before = opened.files.read_checkpoint()
        witness.answer = says(500)
        for hold in (True, False):
            async with open_log(tmp_path, KEYS, policy=policy, hold=hold) as opened, served(opened.app.app()) as asked:
                assert (await asked.get("/checkpoint")).body == before
                await opened.publisher.publish()
                published = (await asked.get("/checkpoint")).body
                assert policy.cosigned(open_checkpoint(published, policy.witness_keys)).met
                assert opened.files.read_checkpoint() == published


async def test_a_witness_that_cosigned_what_was_never_published_is_led_on(tmp_path: Path) -> None:
    """SPEC: W-13: the log dies after the witness answered; afterwards it does not know that it did."""
    await make_log(tmp_path, ORIGIN)
    async with one_witness() as (witness, policy):
        known = 0

        async def remember(scripted: ScriptedWitness, sent: AddCheckpoint) -> Response:
            nonlocal known
            if sent.old_size != known:
                return Response(b"%d\n" % known, 409, {"content-type": "text/x.tlog.size"})
            known = scripted.checkpoints[-1].size
            return await cosign(scripted, sent)

        witness.answer = remember
        async with open_log(tmp_path, KEYS, policy=policy, files=Unwritable(tmp_path / "public")) as opened:
            await opened.add(*ENTRIES[:5])
            with pytest.raises(Killed):
                await opened.publisher.publish()
        async with open_log(tmp_path, KEYS, policy=policy) as opened:
            await opened.add(*ENTRIES[5:9])
            await opened.publisher.publish()
            assert [request.old_size for request in witness.seen] == [0, 0, 5]
            assert opened.publisher.published is not None
            assert opened.publisher.published.size == 9


@dataclass(frozen=True, slots=True)
class Unwritable(PublicFiles):
    """Dies instead of publishing a checkpoint."""

    @override
    def write_checkpoint(self, note: bytes) -> None:
        raise Killed


@dataclass(frozen=True, slots=True)
class FullDisk(PublicFiles):
    """Has no room while the test says so."""

    full: list[str]

    @override
    def write(self, files: Sequence[TileFile]) -> None:
        if "tiles" in self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super(FullDisk, self).write(files)

    @override
    def write_checkpoint(self, note: bytes) -> None:
        if "checkpoint" in self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super(FullDisk, self).write_checkpoint(note)


@pytest.mark.parametrize("what", ["tiles", "checkpoint"])
async def test_a_full_disk_holds_a_log_until_there_is_room(what: str, tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    full: list[str] = []
    async with open_log(tmp_path, KEYS, files=FullDisk(tmp_path / "public", full)) as opened:
        await opened.publisher.publish()
        before = opened.files.read_checkpoint()
        full.append(what)
        with structlog.testing.capture_logs() as logged:
            for entry in ENTRIES[:3]:
                await opened.add(entry)
                await opened.publisher.publish()
        assert [line["why"] for line in logged if "why" in line] == [
            "the public files cannot be written or read: No space left on device"
        ]
        assert opened.files.read_checkpoint() == before
        full.clear()
        await opened.publisher.publish()
        assert tiles_and_bundles(tmp_path).items() >= expected_files(3).items()
        assert opened.publisher.published is not None
        assert opened.publisher.published.root_hash == TREE.mth(0, 3)


# What contradicts what was signed.


def make_old(directory: Path, name: str) -> None:
    """Put the copy of a file or folder that ``keep`` made back."""
    for path in directory.glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    kept = directory / "kept" / name
    (shutil.copytree if kept.is_dir() else shutil.copy)(kept, directory / name)


async def log_with_an_old_copy(directory: Path) -> None:
    """A log at 300 entries, with a copy of all its files when it had 5."""
    await make_log(directory, ORIGIN)
    async with open_log(directory, KEYS) as opened:
        await opened.add(*ENTRIES[:5])
        await opened.publisher.publish()
    (directory / "kept").mkdir()
    for name in ("register", "public"):
        shutil.copytree(directory / name, directory / "kept" / name)
    shutil.copy(directory / "log.sqlite", directory / "kept" / "log.sqlite")
    async with open_log(directory, KEYS) as opened:
        await opened.add(*ENTRIES[5:300])
        await opened.publisher.publish()


def write(path: str, data: bytes) -> Callable[[Path], None]:
    def overwrite(directory: Path) -> None:
        (directory / path).write_bytes(data)

    return overwrite


def change(path: str) -> Callable[[Path], None]:
    def flip(directory: Path) -> None:
        data = bytearray((directory / path).read_bytes())
        data[-1] ^= 1
        (directory / path).write_bytes(data)

    return flip


BROKEN: dict[str, tuple[Callable[[Path], None], type[UsageError], str]] = {
    "an old database": (lambda d: make_old(d, "log.sqlite"), HistoryBroken, "it is an old copy"),
    "an old register": (lambda d: make_old(d, "register"), HistoryBroken, "a register belongs in no backup"),
    "old tiles": (lambda d: make_old(d, "public"), LostTile, "missing or damaged"),
    "a tile that is gone": (lambda d: (d / "public/tile/0/001.p/44").unlink(), LostTile, "missing or damaged"),
    "a bundle that is gone": (
        lambda d: (d / "public/tile/entries/001.p/44").unlink(),
        LostTile,
        "tile/entries/001.p/44 of the log's public folder is missing",
    ),
    "a bundle cut short": (write("public/tile/entries/001.p/44", b"\0\5abc"), LostTile, "missing or damaged"),
    "a tile cut short": (write("public/tile/1/000.p/1", b"x" * 31), LostTile, "missing or damaged"),
    "another tile": (change("public/tile/0/001.p/44"), HistoryBroken, "the tiles do not hold the tree of 300 entries"),
    "another full tile": (change("public/tile/1/000.p/1"), HistoryBroken, "the tiles do not hold the tree"),
    "a checkpoint that is none": (write("public/checkpoint", b"x"), UsageError, "cannot be gone on from"),
    "an empty checkpoint": (write("public/checkpoint", b""), UsageError, "cannot be gone on from"),
    "a changed checkpoint": (change("public/checkpoint"), UsageError, "cannot be gone on from"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_stores_that_tell_different_stories_stop_a_log_before_it_serves(name: str, tmp_path: Path) -> None:
    damage, kind, sentence = BROKEN[name]
    await log_with_an_old_copy(tmp_path)
    damage(tmp_path)
    with pytest.raises(kind, match=sentence) as raised:
        async with open_log(tmp_path, KEYS):
            pass
    assert exit_code(raised.value) == 2


class Stubborn:
    """A register that says something else was stated than what was, or was meanwhile."""

    def __init__(self, register: Register, says: Statement | None, *, conflict: bool = False) -> None:
        self._register = register
        self._says = says
        self._conflict = conflict

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        return None if self._says is None else persisted(self._says)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        return Conflict(None) if self._conflict else await self._register.advance(known, decision)

    async def wait_lost(self) -> NoReturn:
        await self._register.wait_lost()


async def test_a_register_that_somebody_else_moved_ends_a_log(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS, wrap_register=lambda real: Stubborn(real, None, conflict=True)) as opened:
        with pytest.raises(HistoryBroken, match="run only one"):
            await opened.publisher.publish()
        assert opened.files.read_checkpoint() is None


@pytest.mark.parametrize("size", [3, 5])
async def test_a_tree_that_does_not_extend_what_was_signed_is_not_signed(size: int, tmp_path: Path) -> None:
    """SPEC: CP-7"""
    await make_log(tmp_path, ORIGIN)
    other = Statement(ORIGIN, size, TREE.mth(100, 100 + size), NOW)
    async with open_log(tmp_path, KEYS, wrap_register=lambda real: Stubborn(real, other)) as opened:
        await opened.add(*ENTRIES[:5])
        with pytest.raises(HistoryBroken, match="does not extend the one that was signed"):
            await opened.publisher.publish()
        assert opened.files.read_checkpoint() is None


async def test_a_log_does_not_go_on_under_another_key(tmp_path: Path) -> None:
    await log_with_an_old_copy(tmp_path)
    with pytest.raises(UsageError, match="cannot be gone on from: "):
        async with open_log(tmp_path, [log_key(ORIGIN, seed=2)]):
            pass


async def test_a_checkpoint_that_only_witnesses_of_the_policy_signed_is_not_gone_on_from(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with one_witness() as (_, policy):
        async with open_log(tmp_path, KEYS, policy=policy) as opened:
            await opened.publisher.publish()
        with pytest.raises(UsageError, match="put the keys back"):
            async with open_log(tmp_path, [log_key(ORIGIN, seed=2)], policy=policy):
                pass


async def test_a_key_can_be_added_to_a_log(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    signed_by: list[int] = []
    for keys in (KEYS[:1], KEYS):
        async with open_log(tmp_path, keys) as opened:
            await opened.publisher.publish()
            assert opened.publisher.published is not None
            signed_by.append(len(opened.publisher.published.signatures))
    assert signed_by == [1, 2]


async def test_entries_that_were_changed_in_the_database_stop_a_log(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened:
        await opened.publisher.publish()
        await opened.add(*ENTRIES[:5])
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as database, database:
        database.execute("UPDATE batch SET entries = ?", [msgspec.msgpack.encode(ENTRIES[5:10])])
    with pytest.raises(HistoryBroken, match="hold different trees"):
        async with open_log(tmp_path, KEYS):
            pass


async def test_tiles_that_were_moved_away_are_made_anew_from_the_database(tmp_path: Path) -> None:
    async with one_witness() as (witness, policy):
        await make_log(tmp_path, ORIGIN)
        async with open_log(tmp_path, KEYS, policy=policy) as opened:
            await opened.add(*ENTRIES[:290])
            await opened.publisher.publish()
            witness.answer = says(500)
            await opened.add(*ENTRIES[290:300])
            await opened.publisher.publish()
        before = tiles_and_bundles(tmp_path)
        shutil.rmtree(tmp_path / "public" / "tile")
        async with open_log(tmp_path, KEYS, policy=policy):
            pass
        # Those of the size that was published and of the one that was only signed.
        assert tiles_and_bundles(tmp_path) == before


async def test_public_files_can_be_read_by_a_web_server_of_another_user(tmp_path: Path, narrow_umask: None) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened:
        await opened.add(b"a")
        await opened.publisher.publish()
    public = tmp_path / "public"
    modes = {path.stat().st_mode & 0o777 for path in [public, *public.rglob("*")] if path.is_dir()}
    assert modes == {0o755}
    assert {path.stat().st_mode & 0o777 for path in public.rglob("*") if path.is_file()} == {0o644}


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_a_public_folder_is_made_in_an_empty_place_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place, sentence in (
        (tmp_path, "is not empty"),
        (tmp_path / "file", "cannot make"),
        (tmp_path / "a/b", "cannot"),
    ):
        with pytest.raises(UsageError, match=sentence):
            PublicFiles(place).create()
