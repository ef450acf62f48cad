"""What is particular to each register: crashes between its steps, restored copies, and what an operator reads then."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.database import Database, DatabaseFailed, open_database
from runtime.database_register import DatabaseRegister, Record, add_register_tables
from runtime.errors import UsageError
from runtime.file_register import FileRegister
from runtime.register import Persisted, RegisterFailed
from runtime.statecounter import StateCounter
from tlog.advance import Advance, Refresh, Statement
from tlog.hashing import Hash

ORIGIN = "log.example/one"
METADATA = MetaData(info={"schema": "test-register", "version": 1})
HISTORY = Table(
    "history", METADATA, Column("origin", String, primary_key=True), Column("size", Integer, primary_key=True)
)
add_register_tables(METADATA)


def statement(size: int, origin: str = ORIGIN) -> Statement:
    return Statement(origin, size, Hash(bytes([size]) * 32), 1000 + size)


async def remember(connection: AsyncConnection, records: Sequence[Record]) -> None:
    await connection.execute(insert(HISTORY), list(records))


async def history(connection: AsyncConnection) -> list[tuple[str, int]]:
    rows = await connection.execute(select(HISTORY.c.origin, HISTORY.c.size).order_by(HISTORY.c.origin, HISTORY.c.size))
    return [(row.origin, row.size) for row in rows]


class Node:
    """The places a witness keeps its state in."""

    def __init__(self, path: Path) -> None:
        self.database = path / "db"
        self.register = path / "register"

    async def init(self) -> None:
        async with open_database(self.database, METADATA, create=True) as database:
            await DatabaseRegister.create(database, StateCounter.create(self.register))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Database, DatabaseRegister]]:
        async with open_database(self.database, METADATA) as database:
            yield database, await DatabaseRegister.open(database, StateCounter.open(self.register), remember)

    async def advance(self, known: Statement | None, new: Statement) -> None:
        async with self.open() as (_, register):
            assert isinstance(await register.advance(known, Advance(new)), Persisted)

    async def latest(self) -> Statement | None:
        async with self.open() as (_, register):
            latest = await register.latest(ORIGIN)
        return None if latest is None else latest.value


@pytest.fixture
async def node(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    await node.init()
    return node


# DatabaseRegister.


async def test_many_origins_share_commits_and_each_gets_its_answer(node: Node) -> None:
    answers: dict[str, object] = {}
    async with node.open() as (_, register):

        async def advance(origin: str) -> None:
            answers[origin] = await register.advance(None, Advance(statement(1, origin)))

        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(advance, f"log.example/{number}")
        counted = StateCounter.open(node.register).value
    assert all(isinstance(answer, Persisted) and answer.value.origin == origin for origin, answer in answers.items())
    assert len(answers) == 200
    assert counted < 20


async def test_in_one_batch_a_swap_can_build_on_the_one_before(node: Node) -> None:
    async with node.open() as (_, register):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(register.advance, None, Advance(statement(1, "log.example/other")))
            for size in range(1, 6):
                known = statement(size - 1) if size > 1 else None
                nursery.start_soon(register.advance, known, Advance(statement(size)))
                await trio.lowlevel.checkpoint()
        latest = await register.latest(ORIGIN)
        assert latest is not None
        assert latest.value.size in range(1, 6)
    assert await node.latest() == latest.value


async def test_records_are_written_with_the_swaps_that_were_made_and_no_others(node: Node) -> None:
    async with node.open() as (database, register):
        await register.advance(None, Advance(statement(1)), {"origin": ORIGIN, "size": 1})
        await register.advance(None, Advance(statement(2)), {"origin": ORIGIN, "size": 2})
        await register.advance(statement(1), Refresh(replace(statement(1), time=2000)))
        assert await database.read(history) == [(ORIGIN, 1)]


async def test_records_that_cannot_be_written_undo_their_swap(node: Node) -> None:
    async with node.open() as (_, register):
        await register.advance(None, Advance(statement(1)), {"origin": ORIGIN, "size": 1})
        with pytest.raises(Exception, match="UNIQUE"):
            await register.advance(statement(1), Advance(statement(2)), {"origin": ORIGIN, "size": 1})
        latest = await register.latest(ORIGIN)
        assert latest is not None
        assert latest.value == statement(1)
        assert isinstance(await register.advance(statement(1), Advance(statement(3))), Persisted)


async def test_a_crash_between_commit_and_counter_leaves_something_that_opens(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.advance(None, statement(1))

    def crash(self: StateCounter, value: int) -> None:
        raise OSError(5, "Input/output error")

    async with node.open() as (_, register):
        with monkeypatch.context() as patch:
            patch.setattr(StateCounter, "write", crash)
            with pytest.raises(DatabaseFailed):
                await register.advance(statement(1), Advance(statement(2)))
    assert await node.latest() == statement(2)


async def test_crashes_while_opening_leave_something_that_opens(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.advance(None, statement(1))
    write = StateCounter.write
    for crash_at in (0, 1, 0, 0, 1, 1):
        calls = 0

        def crash(self: StateCounter, value: int, crash_at: int = crash_at) -> None:
            nonlocal calls
            calls += 1
            if calls > crash_at:
                raise OSError(5, "Input/output error")
            write(self, value)

        with monkeypatch.context() as patch:
            patch.setattr(StateCounter, "write", crash)
            with pytest.raises((OSError, DatabaseFailed)):
                await node.latest()
    assert await node.latest() == statement(1)


async def test_a_restored_database_is_refused(node: Node) -> None:
    await node.advance(None, statement(1))
    shutil.copy(node.database, node.database.with_suffix(".backup"))
    await node.advance(statement(1), statement(2))
    shutil.copy(node.database.with_suffix(".backup"), node.database)
    with pytest.raises(UsageError, match="the database is older than its register"):
        await node.latest()


async def test_a_restored_register_is_refused(node: Node) -> None:
    shutil.copy(node.register, node.register.with_suffix(".backup"))
    await node.advance(None, statement(1))
    shutil.copy(node.register.with_suffix(".backup"), node.register)
    with pytest.raises(UsageError, match="is older than the database"):
        await node.latest()


async def test_a_lost_register_is_not_made_anew(node: Node) -> None:
    node.register.unlink()
    with pytest.raises(UsageError, match="is missing"):
        await node.latest()
    assert not node.register.exists()


async def test_the_register_of_another_node_is_refused(node: Node, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Node(tmp_path / "other")
    await other.init()
    shutil.copy(other.register, node.register)
    with pytest.raises(UsageError, match="belongs to another database"):
        await node.latest()


async def test_a_refused_register_is_left_as_it_was(node: Node) -> None:
    shutil.copy(node.register, node.register.with_suffix(".backup"))
    newest = node.register.with_suffix(".newest")
    await node.advance(None, statement(1))
    shutil.copy(node.register, newest)
    shutil.copy(node.register.with_suffix(".backup"), node.register)
    for _ in range(2):
        with pytest.raises(UsageError):
            await node.latest()
    shutil.copy(newest, node.register)
    assert await node.latest() == statement(1)


async def test_a_database_that_was_never_tied_to_a_counter_is_refused(tmp_path: Path) -> None:
    counter = StateCounter.create(tmp_path / "register")
    async with open_database(tmp_path / "db", METADATA, create=True) as database:
        with pytest.raises(UsageError, match="not tied to a register"):
            await DatabaseRegister.open(database, counter)


# FileRegister.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    FileRegister.create(tmp_path / "register", ORIGIN)
    return tmp_path / "register"


def test_a_missing_register_of_a_log_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="is missing: run `init` once"),
        FileRegister.open(tmp_path / "register", ORIGIN),
    ):
        pass
    assert not (tmp_path / "register").exists()


def test_a_register_without_its_file_is_refused(path: Path) -> None:
    (path / "statement.json").unlink()
    with pytest.raises(UsageError, match="is missing"), FileRegister.open(path, ORIGIN):
        pass


def test_a_register_that_cannot_be_read_says_why(path: Path) -> None:
    (path / "statement.json").unlink()
    (path / "statement.json").mkdir()
    with (
        pytest.raises(UsageError, match=r"cannot read the register .*: Is a directory"),
        FileRegister.open(path, ORIGIN),
    ):
        pass


def test_the_register_of_another_log_is_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="belongs to another origin"), FileRegister.open(path, "log.example/two"):
        pass


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b'{"version": 1,"origin":"log.example/one","epoch":1,"stated":null}\n', id="another-spelling"),
        pytest.param(b'{"version":2,"origin":"log.example/one","epoch":1,"stated":null}', id="another-version"),
        pytest.param(b'{"version":1,"origin":"log.example/one","epoch":1,"more":1}', id="unknown-field"),
        pytest.param(
            b'{"version":1,"origin":"log.example/one","epoch":1,'
            b'"stated":{"size":1,"root_hash":"AAAA","time":1,"extensions":[]}}',
            id="short-hash",
        ),
        pytest.param(
            b'{"version":1,"origin":"log.example/one","epoch":1,'
            b'"stated":{"size":-1,"root_hash":"' + b"A" * 43 + b'=","time":1,"extensions":[]}}',
            id="negative-size",
        ),
    ],
)
def test_a_damaged_register_of_a_log_is_refused(path: Path, content: bytes) -> None:
    (path / "statement.json").write_bytes(content)
    with pytest.raises(UsageError, match="is damaged"), FileRegister.open(path, ORIGIN):
        pass
    assert (path / "statement.json").read_bytes() == content


def test_a_register_is_used_by_one_process_at_a_time(path: Path) -> None:
    with (
        FileRegister.open(path, ORIGIN),
        pytest.raises(UsageError, match=r"is in use by process \d+: stop it first"),
        FileRegister.open(path, ORIGIN),
    ):
        pass


async def test_what_could_not_be_written_is_not_known_and_not_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with FileRegister.open(path, ORIGIN) as register:
        with monkeypatch.context() as patch:
            patch.setattr("runtime.file_register.replace_file", fail)
            with pytest.raises(RegisterFailed, match="stop and restart"):
                await register.advance(None, Advance(statement(1)))
        with pytest.raises(RegisterFailed):
            await register.advance(None, Advance(statement(1)))
        with pytest.raises(RegisterFailed):
            await register.wait_lost()


async def test_a_register_whose_file_is_gone_has_failed(path: Path) -> None:
    with FileRegister.open(path, ORIGIN) as register:
        (path / "statement.json").unlink()
        with pytest.raises(RegisterFailed):
            await register.advance(None, Advance(statement(1)))
    assert not (path / "statement.json").exists()


async def test_the_register_of_a_log_answers_for_no_other(path: Path) -> None:
    with FileRegister.open(path, ORIGIN) as register:
        with pytest.raises(AssertionError):
            await register.latest("log.example/two")
        with pytest.raises(AssertionError):
            await register.advance(None, Advance(statement(1, "log.example/two")))


async def test_a_register_leaves_no_drafts(path: Path) -> None:
    with FileRegister.open(path, ORIGIN) as register:
        for size in range(1, 5):
            await register.advance(statement(size - 1) if size > 1 else None, Advance(statement(size)))
    entries = await trio.Path(path).iterdir()
    assert {entry.name for entry in entries} == {"lock", "statement.json"}
