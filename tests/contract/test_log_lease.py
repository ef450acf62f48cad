"""The lease has one holder at a time, and moves when its holder is gone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

import logserver.lead
from logserver.files import PublicFiles
from logserver.lead import RESIGN_SECONDS, UNREAD_SECONDS, Follower, Leader
from logserver.lease import LEASE_SECONDS, Lease
from logserver.shown import Shown
from logserver.store import LEASE, METADATA, Sequencer
from logserver.tasks import LATE_SECONDS, DamagedCheckpoint, Publisher
from runtime.database import Database, open_database
from runtime.register import Fenced
from runtime.signers import FileSigner
from tests.keys import log_key
from tests.log_nodes import make_log, open_log
from tests.postgresql import new_database, server_url
from tlog.compact_range import EMPTY_RANGE

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN)]
SHORT = 0.2  # seconds


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        async with open_database(tmp_path / "db", METADATA, create=True) as opened:
            yield opened
        return
    with new_database(server_url()) as url:
        async with open_database(url, METADATA, create=True) as opened:
            yield opened


async def test_the_lease_has_one_holder(database: Database) -> None:
    first, second = Lease(database), Lease(database)
    assert await first.take()
    assert not await second.take()
    assert await first.take()


async def test_a_lease_that_is_given_back_is_free(database: Database) -> None:
    first, second = Lease(database), Lease(database)
    assert await first.take()
    await second.release()  # it is not theirs
    assert not await second.take()
    await first.release()
    assert await second.take()


async def test_a_lease_that_is_not_renewed_is_taken_over(database: Database) -> None:
    first, second = Lease(database, SHORT), Lease(database, SHORT)
    assert await first.take()
    with trio.fail_after(60):
        await second.wait_taken()
        await first.keep()  # it returns: the lease is another's
    assert not await first.take()


async def test_a_lease_is_longer_each_time_that_it_is_renewed(database: Database) -> None:
    lease = Lease(database)
    assert await lease.take()
    before = await until_ms(database)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lease.keep)
        with trio.fail_after(60):
            while await until_ms(database) <= before:
                pass
        nursery.cancel_scope.cancel()


async def until_ms(database: Database) -> int:
    async def work(connection: AsyncConnection) -> int:
        return int((await connection.execute(select(LEASE.c.until_ms))).scalar_one())

    return await database.read(work)


async def test_a_lease_from_before_the_clock_was_set_back_keeps_nobody_waiting(database: Database) -> None:
    first, second = Lease(database), Lease(database)
    assert await first.take()

    async def set_ahead(connection: AsyncConnection) -> None:
        await connection.execute(update(LEASE).values(until_ms=LEASE.c.until_ms + 3_600_000))

    await database.write(set_ahead)
    assert await second.take()


class Term:
    """Publishers that end as they are told to."""

    def __init__(self, *endings: BaseException | None) -> None:
        self.endings = list(endings)
        self.began: list[float] = []
        self.over = trio.Event()

    @asynccontextmanager
    async def open(self, publisher: Publisher) -> AsyncIterator[tuple[Publisher, list[object]]]:
        self.began.append(trio.current_time())
        if not self.endings:
            self.over.set()
            await trio.sleep_forever()
        ending = self.endings.pop(0)
        if ending is not None:
            raise ending
        yield publisher, []


@pytest.mark.parametrize("ending", [Fenced(), OSError(None, "the storage is away")])
async def test_a_process_that_cannot_lead_any_more_tries_again(
    ending: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logserver.lead, "RESPITE_SECONDS", 0)
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(tmp_path / "log.sqlite", METADATA) as database:
        term = Term(ending)
        leader = Leader(Lease(database), lambda: term.open(opened.publisher))  # type: ignore[arg-type,return-value]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leader.run)
            with trio.fail_after(60):
                await term.over.wait()
            nursery.cancel_scope.cancel()
    assert (len(term.began), leader.publisher) == (2, None)


async def test_a_process_that_cannot_lead_lets_the_others_try(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(tmp_path / "log.sqlite", METADATA) as database:
        term = Term(OSError(None, "the storage is away"))
        leader = Leader(Lease(database), lambda: term.open(opened.publisher))  # type: ignore[arg-type,return-value]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leader.run)
            await term.over.wait()
            nursery.cancel_scope.cancel()
    first, second = term.began
    assert second - first >= LEASE_SECONDS  # the others look more often


async def test_a_broken_history_ends_the_process(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(tmp_path / "log.sqlite", METADATA) as database:
        term = Term(ValueError("two histories"))
        leader = Leader(Lease(database), lambda: term.open(opened.publisher))  # type: ignore[arg-type,return-value]
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="two histories"), flatten_subgroups=True):
            await leader.run()


async def test_a_follower_shows_what_another_publishes_and_never_less(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    shown = Shown(None)
    async with open_log(tmp_path, KEYS) as opened, open_database(tmp_path / "log.sqlite", METADATA) as database:
        signers = [FileSigner(key) for key in KEYS]
        sequencer = Sequencer(database, EMPTY_RANGE, "all")
        follower = Follower(sequencer, opened.files, signers, None, shown, interval=0.01)
        assert follower.problems() == ["no checkpoint is published yet"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            await opened.add(b"a", b"b")
            await opened.publisher.publish()
            with trio.fail_after(60):
                await shown.covered(1)
            nursery.cancel_scope.cancel()
        older = opened.publisher.published
        await opened.add(b"c")
        await opened.publisher.publish()
        newer = opened.publisher.published
        assert older is not None
        assert newer is not None
        shown.show(newer)
        opened.files.write_checkpoint(older.raw)
        await follower.look()
    assert follower.problems() == []
    assert shown.checkpoint == newer
    assert sequencer.tree.end == 3


async def test_a_follower_that_cannot_read_the_checkpoint_says_so(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    class Away(PublicFiles):
        @override
        def read_checkpoint(self) -> bytes | None:
            raise OSError(None, "the storage is away")

    await make_log(tmp_path, ORIGIN)
    async with open_database(tmp_path / "log.sqlite", METADATA) as database:
        sequencer = Sequencer(database, EMPTY_RANGE, "all")
        follower = Follower(sequencer, Away(tmp_path), [], None, Shown(None), interval=0.01)
        await follower.look()
        autojump_clock.jump(UNREAD_SECONDS + 1)
    assert follower.problems() == ["the public checkpoint cannot be read: the storage is away"]


async def test_a_process_goes_on_taking_entries_when_somebody_else_put_something_in_the_checkpoint_s_place(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(tmp_path / "log.sqlite", METADATA) as database:
        signers = [FileSigner(key) for key in KEYS]
        follower = Follower(
            Sequencer(database, EMPTY_RANGE, "all"), opened.files, signers, None, shown := Shown(None), interval=0.01
        )
        await opened.publisher.publish()
        await follower.look()
        before = shown.checkpoint
        (tmp_path / "public" / "checkpoint").write_bytes(b"theirs")
        term = Term(DamagedCheckpoint("the public folder", "cannot be gone on from"))
        leader = Leader(Lease(database), lambda: term.open(opened.publisher))  # type: ignore[arg-type,return-value]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follower.run)
            nursery.start_soon(leader.run)
            await term.over.wait()  # it led again: the process did not end
            nursery.cancel_scope.cancel()
        (problem,) = follower.problems()
        assert "Nothing is published over it" in problem
        assert shown.checkpoint == before
        (tmp_path / "public" / "checkpoint").unlink()
        await follower.look()
        assert follower.problems() == []


async def test_a_follower_says_when_nobody_publishes(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, open_database(tmp_path / "log.sqlite", METADATA) as database:
        sequencer = Sequencer(database, EMPTY_RANGE, "all")
        signers = [FileSigner(key) for key in KEYS]
        follower = Follower(sequencer, opened.files, signers, None, Shown(None), interval=0.01)
        await opened.add(b"a")
        await opened.publisher.publish()
        for _ in range(2):  # an idle log waits for nothing
            autojump_clock.jump(LATE_SECONDS + 1)
            await follower.look()
            assert follower.problems() == []
        await opened.add(b"b")
        autojump_clock.jump(LATE_SECONDS + 1)
        await follower.look()
        assert follower.problems() == [
            "1 entries wait for a checkpoint and no process publishes: see in their logs why"
        ]
        await opened.publisher.publish()
        await follower.look()
        assert follower.problems() == []


async def test_a_leader_that_cannot_write_for_long_lets_others_try(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    class Unwritable(PublicFiles):
        @override
        def write_checkpoint(self, note: bytes) -> None:
            raise OSError(None, "the storage is away")

    await make_log(tmp_path, ORIGIN)
    files = Unwritable(tmp_path / "public")
    async with open_log(tmp_path, KEYS, files=files, resign_after=RESIGN_SECONDS) as opened:
        await opened.publisher.publish()  # it may pass
        autojump_clock.jump(RESIGN_SECONDS + 1)
        with pytest.raises(OSError, match="the storage is away"):
            await opened.publisher.publish()
    async with open_log(tmp_path, KEYS, files=files) as alone:
        await alone.publisher.publish()
        autojump_clock.jump(RESIGN_SECONDS + 1)
        await alone.publisher.publish()
