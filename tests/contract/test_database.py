"""What the database promises, on SQLite and on PostgreSQL alike."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from sqlalchemy import Column, Integer, MetaData, String, Table, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

import runtime.database_thread
import runtime.engines
from runtime.database import Database, DatabaseFailed, open_database
from runtime.engines import READERS
from runtime.errors import UsageError
from tests.postgresql import new_database, server_url

METADATA = MetaData(info={"schema": "test-numbers", "version": 1})
NUMBERS = Table("number", METADATA, Column("value", Integer, primary_key=True), Column("note", String))


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> str | None:
    """The PostgreSQL server to use, if any."""
    return server_url() if request.param == "postgresql" else None


@pytest.fixture
def place(server: str | None, tmp_path: Path) -> Iterator[str | Path]:
    """Where a database can be made."""
    if server is None:
        yield tmp_path / "numbers.sqlite"
    else:
        with new_database(server) as url:
            yield url


@pytest.fixture
async def database(place: str | Path) -> AsyncIterator[Database]:
    async with open_database(place, METADATA, create=True) as opened:
        yield opened


def adding(*values: int) -> Callable[[AsyncConnection], Awaitable[None]]:
    async def work(connection: AsyncConnection) -> None:
        for value in values:
            await connection.execute(insert(NUMBERS).values(value=value))

    return work


async def numbers(connection: AsyncConnection) -> list[int]:
    return list((await connection.execute(select(NUMBERS.c.value).order_by(NUMBERS.c.value))).scalars())


async def add_all(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
    await connection.execute(insert(NUMBERS), [{"value": item} for item in items])
    return list(items)


class Gate:
    """A transaction that stays open until told, so that a test decides what waits behind it."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    async def work(self, connection: AsyncConnection) -> None:
        await connection.execute(select(1))
        self._entered.set()
        await asyncio.to_thread(self._opened.wait)

    async def wait_entered(self) -> None:
        await trio.to_thread.run_sync(self._entered.wait)

    def open(self) -> None:
        self._opened.set()


# Transactions.


async def test_what_was_written_is_there_after_reopening(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True) as database:
        await database.write(adding(1, 2))
    async with open_database(place, METADATA) as database:
        assert await database.read(numbers) == [1, 2]


async def test_work_returns_its_result(database: Database) -> None:
    async def work(connection: AsyncConnection) -> int:
        await adding(1)(connection)
        return 41

    assert await database.write(work) == 41


async def test_work_that_raises_leaves_nothing(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await adding(1)(connection)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await database.write(work)
    assert await database.read(numbers) == []


async def test_a_broken_constraint_is_told_and_the_next_transaction_works(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await database.write(adding(1, 1))
    await database.write(adding(1))
    assert await database.read(numbers) == [1]


async def test_a_wrong_statement_is_told_and_the_next_transaction_works(database: Database) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(text("INSERT INTO nothing VALUES (1)"))

    with pytest.raises(DBAPIError):
        await database.write(work)
    await database.write(adding(1))
    assert await database.read(numbers) == [1]


async def test_reading_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        await database.read(adding(1))
    assert await database.read(numbers) == []


async def test_reading_sees_one_snapshot(database: Database) -> None:
    looked, written = threading.Event(), threading.Event()

    async def look_twice(connection: AsyncConnection) -> tuple[list[int], list[int]]:
        before = await numbers(connection)
        looked.set()
        await asyncio.to_thread(written.wait)
        return before, await numbers(connection)

    async def write() -> None:
        await trio.to_thread.run_sync(looked.wait)
        await database.write(adding(1))
        written.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert await database.read(look_twice) == ([], [])


async def test_writers_come_one_after_the_other_in_order(database: Database) -> None:
    inside = 0
    order: list[int] = []

    def writing(value: int) -> Callable[[AsyncConnection], Awaitable[None]]:
        async def work(connection: AsyncConnection) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            await adding(value)(connection)
            order.append(value)
            inside -= 1

        return work

    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        for value in range(20):
            nursery.start_soon(database.write, writing(value))
            await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert order == list(range(20))


async def test_a_writer_that_is_frozen_with_locks_does_not_keep_other_processes_from_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime.engines, "IDLE_MS", 200)
    frozen, done = threading.Event(), threading.Event()

    async def locked(connection: AsyncConnection) -> None:
        await connection.execute(text("LOCK TABLE number IN EXCLUSIVE MODE"))

    async def freeze(connection: AsyncConnection) -> None:
        await locked(connection)
        frozen.set()
        await asyncio.to_thread(done.wait)
        await adding(1)(connection)

    with new_database(server_url()) as url:
        async with (
            open_database(url, METADATA, create=True) as first,
            open_database(url, METADATA) as second,
            trio.open_nursery() as nursery,
        ):

            async def wake_up_too_late() -> None:
                with pytest.raises(DatabaseFailed):
                    await first.write(freeze)

            nursery.start_soon(wake_up_too_late)
            await trio.to_thread.run_sync(frozen.wait)
            try:
                with trio.fail_after(60):
                    await second.write(locked)
            finally:
                done.set()
            assert await second.read(numbers) == []


async def test_a_server_that_never_answers_the_writer_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.engines, "ANSWER_SECONDS", 0.2)

    async def wait(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_sleep(600)"))

    with new_database(server_url()) as url:
        async with open_database(url, METADATA, create=True) as database:
            with trio.fail_after(60), pytest.raises(DatabaseFailed):
                await database.write(wait)
            with pytest.raises(DatabaseFailed):
                await database.write(adding(1))


# Group commit.


async def test_items_that_wait_together_share_a_transaction(database: Database) -> None:
    batches: list[list[int]] = []

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        batches.append(list(items))
        return await add_all(connection, items)

    group = database.group(apply)
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        for item in range(50):
            nursery.start_soon(group.submit, item)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert [len(batch) for batch in batches] == [50]
    assert await database.read(numbers) == list(range(50))


async def test_each_submitter_gets_the_result_of_its_item(database: Database) -> None:
    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[str | Exception]:
        return [f"<{item}>" for item in items]

    group = database.group(apply)
    results: dict[int, str] = {}

    async def submit(item: int) -> None:
        results[item] = await group.submit(item)

    async with trio.open_nursery() as nursery:
        for item in range(50):
            nursery.start_soon(submit, item)
    assert results == {item: f"<{item}>" for item in range(50)}


async def test_a_batch_has_at_most_max_batch_items_and_others_write_between(database: Database) -> None:
    seen: list[int] = []

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[Exception | None]:
        seen.append(len(items))
        return [None] * len(items)

    async def other(connection: AsyncConnection) -> None:
        seen.append(0)

    group = database.group(apply, max_batch=4)
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        for item in range(10):
            nursery.start_soon(group.submit, item)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(database.write, other)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert seen == [4, 0, 4, 2]


async def test_an_exception_as_a_result_refuses_that_item_alone(database: Database) -> None:
    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        accepted = [item for item in items if item % 2 == 0]
        await add_all(connection, accepted)
        return [item if item in accepted else LookupError(f"{item} is odd") for item in items]

    group = database.group(apply)
    refused: list[str] = []

    async def submit(item: int) -> None:
        try:
            await group.submit(item)
        except LookupError as error:
            refused.append(str(error))

    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        for item in range(6):
            nursery.start_soon(submit, item)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert sorted(refused) == ["1 is odd", "3 is odd", "5 is odd"]
    assert await database.read(numbers) == [0, 2, 4]


async def test_an_exception_that_is_raised_refuses_the_batch_and_not_the_next(database: Database) -> None:
    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        await add_all(connection, items)
        if 3 in items:
            raise LookupError("three")
        return list(items)

    group = database.group(apply)
    refused: list[int] = []

    async def submit(item: int) -> None:
        try:
            await group.submit(item)
        except LookupError:
            refused.append(item)

    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        for item in range(5):
            nursery.start_soon(submit, item)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    await group.submit(9)
    assert sorted(refused) == [0, 1, 2, 3, 4]
    assert await database.read(numbers) == [9]


async def test_on_commit_runs_after_the_commit_and_before_anybody_learns_of_it(database: Database) -> None:
    events: list[str] = []

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        events.append("apply")
        return await add_all(connection, items)

    group = database.group(apply, on_commit=lambda: events.append("on_commit"))

    async def submit(item: int) -> None:
        await group.submit(item)
        events.append("told")

    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        nursery.start_soon(submit, 1)
        nursery.start_soon(submit, 2)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert events == ["apply", "on_commit", "told", "told"]


async def test_when_on_commit_runs_others_see_the_rows(tmp_path: Path) -> None:
    seen: list[int] = []

    def look() -> None:
        connection = sqlite3.connect(tmp_path / "db")
        seen.extend(connection.execute("SELECT count(*) FROM number").fetchone())
        connection.close()

    async with open_database(tmp_path / "db", METADATA, create=True) as database:
        await database.group(add_all, on_commit=look).submit(1)
    assert seen == [1]


async def test_on_commit_does_not_run_when_nothing_was_committed(database: Database) -> None:
    events: list[str] = []

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        raise LookupError

    group = database.group(apply, on_commit=lambda: events.append("on_commit"))
    with pytest.raises(LookupError):
        await group.submit(1)
    assert events == []


async def test_apply_must_answer_every_item(database: Database) -> None:
    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        await add_all(connection, items)
        return []

    with pytest.raises(AssertionError, match="one result for each item"):
        await database.group(apply).submit(1)
    assert await database.read(numbers) == []


# Cancellation.


async def test_a_call_cancelled_before_it_starts_never_runs(database: Database) -> None:
    ran: list[str] = []

    async def work(connection: AsyncConnection) -> None:
        ran.append("work")

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[Exception | None]:
        ran.append("apply")
        return [None] * len(items)

    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        async with trio.open_nursery() as waiting:
            waiting.start_soon(database.write, work)
            waiting.start_soon(database.group(apply).submit, 1)
            await trio.testing.wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        gate.open()
    await database.write(adding(1))
    assert ran == []


async def test_a_call_cancelled_while_it_runs_returns_its_result(database: Database) -> None:
    gate = Gate()
    results: list[str] = []

    async def work(connection: AsyncConnection) -> str:
        await adding(1)(connection)
        await gate.work(connection)
        return "done"

    async def write(scope: trio.CancelScope) -> None:
        with scope:
            results.append(await database.write(work))
            await trio.lowlevel.checkpoint()
            results.append("not cancelled")

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, scope)
        await gate.wait_entered()
        scope.cancel()
        gate.open()
    assert results == ["done"]
    assert await database.read(numbers) == [1]


async def test_a_cancelled_reader_that_has_not_started_never_runs(database: Database) -> None:
    gates = [Gate() for _ in range(READERS)]
    ran: list[int] = []

    async def look(connection: AsyncConnection) -> None:
        ran.append(1)

    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(database.read, gate.work)
            await gate.wait_entered()
        async with trio.open_nursery() as waiting:
            waiting.start_soon(database.read, look)
            await trio.testing.wait_all_tasks_blocked()
            waiting.cancel_scope.cancel()
        for gate in gates:
            gate.open()
    await database.read(numbers)
    assert ran == []


async def test_whoever_gets_cancelled_wrote_nothing_and_everybody_else_did(database: Database) -> None:
    random_turns = random.Random(7)
    returned: list[int] = []
    cancelled: list[int] = []
    group = database.group(add_all)

    async def attempt(value: int) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_after_turns, scope, random_turns.randrange(12))
                if value % 2:
                    await group.submit(value)
                else:
                    await database.write(adding(value))
                returned.append(value)
                return
        cancelled.append(value)

    for start in range(0, 200, 8):
        async with trio.open_nursery() as nursery:
            for value in range(start, start + 8):
                nursery.start_soon(attempt, value)
    assert await database.read(numbers) == sorted(set(range(200)) - set(cancelled))
    assert sorted(returned + cancelled) == list(range(200))


async def cancel_after_turns(scope: trio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_the_queue_is_bounded(place: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.database_thread, "MAX_WAITING", 5)
    batches: list[int] = []

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[Exception | None]:
        batches.append(len(items))
        return [None] * len(items)

    async with open_database(place, METADATA, create=True) as database:
        group = database.group(apply)
        gate = Gate()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(database.write, gate.work)
            await gate.wait_entered()
            for item in range(12):
                nursery.start_soon(group.submit, item)
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
    assert max(batches) <= 5
    assert sum(batches) == 12


async def test_cancelled_calls_do_not_use_up_the_queue(place: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.database_thread, "MAX_WAITING", 2)
    async with open_database(place, METADATA, create=True) as database:
        group = database.group(add_all)
        for _ in range(3):
            gate = Gate()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(database.write, gate.work)
                await gate.wait_entered()
                async with trio.open_nursery() as waiting:
                    waiting.start_soon(group.submit, 1)
                    waiting.start_soon(group.submit, 2)
                    await trio.testing.wait_all_tasks_blocked()
                    waiting.cancel_scope.cancel()
                gate.open()
        assert await group.submit(3) == 3
        assert await database.read(numbers) == [3]


# Failure.


async def breaking(connection: AsyncConnection) -> None:
    """Make the disk full, or break the connection."""
    if connection.dialect.name == "sqlite":
        await connection.execute(text("PRAGMA max_page_count = 1"))
        for value in range(1000, 2000):
            await connection.execute(insert(NUMBERS).values(value=value, note="x" * 4000))
    else:
        await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_after_an_error_of_the_disk_or_connection_the_database_has_failed(database: Database) -> None:
    with pytest.raises(DatabaseFailed, match="uncertain until it is opened again"):
        await database.write(breaking)
    with pytest.raises(DatabaseFailed):
        await database.write(adding(1))
    with pytest.raises(DatabaseFailed):
        await database.read(numbers)
    with pytest.raises(DatabaseFailed):
        await database.wait_failed()


async def test_everybody_who_waits_is_told_of_the_failure_each_with_its_cause(database: Database) -> None:
    failures: list[DatabaseFailed] = []

    async def apply(connection: AsyncConnection, items: Sequence[int]) -> list[int | Exception]:
        await breaking(connection)
        return list(items)

    async def failing(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except DatabaseFailed as error:
            failures.append(error)

    group = database.group(apply)
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        for item in range(5):
            nursery.start_soon(failing, partial(group.submit, item))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(failing, lambda: database.write(adding(1)))
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert len({id(failure) for failure in failures}) == 6
    assert all(isinstance(failure.__cause__, DBAPIError) for failure in failures)


async def test_whoever_waits_for_room_is_told_of_the_failure(
    place: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.database_thread, "MAX_WAITING", 1)
    failures: list[int] = []

    async def failing(number: int, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        try:
            await bounded.write(work)
        except DatabaseFailed:
            failures.append(number)

    async with open_database(place, METADATA, create=True) as bounded, trio.open_nursery() as nursery:
        for number, work in enumerate([breaking, adding(1), adding(2)]):
            nursery.start_soon(failing, number, work)
            await trio.lowlevel.checkpoint()
    assert sorted(failures) == [0, 1, 2]


async def lose_connection(connection: AsyncConnection) -> None:
    raise ConnectionResetError


async def test_readers_too_notice_that_the_connection_is_lost(database: Database) -> None:
    with pytest.raises(DatabaseFailed):
        await database.read(lose_connection)
    with pytest.raises(DatabaseFailed):
        await database.write(adding(1))


async def test_readers_that_wait_are_told_of_the_failure(database: Database) -> None:
    gates = [Gate() for _ in range(READERS)]
    failures: list[DatabaseFailed] = []

    async def look(work: Callable[[AsyncConnection], Awaitable[object]]) -> None:
        try:
            await database.read(work)
        except DatabaseFailed as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for gate in gates:
            nursery.start_soon(database.read, gate.work)
            await gate.wait_entered()
        nursery.start_soon(look, numbers)
        nursery.start_soon(look, lose_connection)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(DatabaseFailed):
            await database.write(breaking)
        for gate in gates:
            gate.open()
    assert len(failures) == 2


async def test_after_a_failure_reopening_finds_what_was_committed(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True) as database:
        await database.write(adding(1))
        with pytest.raises(DatabaseFailed):
            await database.write(breaking)
    async with open_database(place, METADATA) as database:
        assert await database.read(numbers) == [1]
        await database.write(adding(2))


async def test_when_what_follows_the_commit_fails_the_database_has_failed(database: Database) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    group = database.group(add_all, on_commit=fail)
    with pytest.raises(DatabaseFailed) as caught:
        await group.submit(1)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(DatabaseFailed):
        await group.submit(2)


# Opening and closing.


async def test_leaving_finishes_what_was_queued(place: str | Path) -> None:
    async with trio.open_nursery() as nursery, open_database(place, METADATA, create=True) as database:
        gate = Gate()
        nursery.start_soon(database.write, gate.work)
        await gate.wait_entered()
        nursery.start_soon(database.write, adding(1))
        group = database.group(add_all, max_batch=2)
        for value in range(2, 9):
            nursery.start_soon(group.submit, value)
        reading = Gate()
        nursery.start_soon(database.read, reading.work)
        await reading.wait_entered()
        await trio.testing.wait_all_tasks_blocked()
        for waiting in (gate, reading):
            trio.lowlevel.current_trio_token().run_sync_soon(waiting.open)  # when we are already closing
    async with open_database(place, METADATA) as database:
        assert await database.read(numbers) == list(range(1, 9))


async def test_a_closed_database_is_not_usable(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True) as database:
        pass
    with pytest.raises(AssertionError, match="after it was closed"):
        await database.write(adding(1))


async def test_closing_leaves_no_thread(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True) as database:
        await database.read(numbers)
    names = {thread.name for thread in threading.enumerate()}
    assert not any(name.startswith(("database", "asyncio")) for name in names)
    assert not any("connection_worker" in name for name in names)


async def test_what_exists_is_not_made_again(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True) as database:
        await database.write(adding(1))
    with pytest.raises(UsageError, match="holds a test-numbers already"):
        async with open_database(place, METADATA, create=True):
            pass
    async with open_database(place, METADATA) as database:
        assert await database.read(numbers) == [1]


async def test_another_version_is_refused(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True):
        pass
    newer = MetaData(info={"schema": "test-numbers", "version": 2})
    with pytest.raises(UsageError, match="of version 1 and this program needs version 2"):
        async with open_database(place, newer):
            pass


async def test_another_schema_is_refused(place: str | Path) -> None:
    async with open_database(place, METADATA, create=True):
        pass
    other = MetaData(info={"schema": "test-letters", "version": 1})
    with pytest.raises(UsageError, match="holds no test-letters: run `init`"):
        async with open_database(place, other):
            pass


async def test_many_can_read_at_once(database: Database) -> None:
    await database.write(adding(*range(10)))
    counts: list[object] = []

    async def count(connection: AsyncConnection) -> object:
        return (await connection.execute(select(func.count()).select_from(NUMBERS))).scalar()

    async def look() -> None:
        counts.append(await database.read(count))

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(look)
    assert counts == [10] * 40
