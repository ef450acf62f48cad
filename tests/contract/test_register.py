"""What every register promises, whatever it writes to; the fake of the other tests included."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import trio
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.cells import METADATA as CELLS
from runtime.cells import open_cell
from runtime.database import DatabaseFailed, open_database
from runtime.database_register import DatabaseRegister, add_register_tables
from runtime.errors import CannotTell, UsageError
from runtime.file_register import FileRegister
from runtime.register import Conflict, Fenced, Persisted, Register, RegisterFailed
from runtime.shared_register import SharedRegister
from runtime.statecounter import StateCounter
from tests.fakes import MemoryRegister, Stated
from tests.objects import S3Server
from tests.postgresql import empty_database, new_database, server_url
from tlog.advance import Advance, Refresh, Statement
from tlog.hashing import EMPTY_ROOT, Hash

ORIGIN = "log.example/one"
METADATA = MetaData(info={"schema": "test-register", "version": 1})
add_register_tables(METADATA)

Opening = Callable[[], AbstractAsyncContextManager[Register]]


def statement(size: int, time: int = 1000, fill: int = 7) -> Statement:
    root = Hash(bytes([fill]) * 32) if size else EMPTY_ROOT
    return Statement(ORIGIN, size, root, time)


@pytest.fixture(params=["memory", "file", "sqlite", "postgresql", "cell in postgresql", "cell in s3"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which register; a PostgreSQL one by the URL of its server."""
    kind: str = request.param
    return server_url() if kind == "postgresql" else kind


@pytest.fixture
async def opening(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Opening]:
    """Opens the same register anew at each call."""
    match kind:
        case "memory":
            yield memory_register()
        case "file":
            FileRegister.create(tmp_path / "register", ORIGIN)
            yield lambda: file_register(tmp_path / "register")
        case "cell in postgresql":
            with new_database(server_url()) as url:
                yield await new_cell(url)
        case "cell in s3":
            server: S3Server = request.getfixturevalue("s3")
            yield await new_cell(f"s3://{server.new_bucket()}/register")
        case "sqlite":
            yield await new_register(tmp_path / "db", tmp_path / "register")
        case _:
            with new_database(kind) as url:
                yield await new_register(url, tmp_path / "register")


async def new_register(place: str | Path, second_place: Path) -> Opening:
    async with open_database(place, METADATA, create=True) as database:
        await DatabaseRegister.create(database, StateCounter.create(second_place))
    return lambda: database_register(place, second_place)


async def new_cell(url: str) -> Opening:
    async with open_cell(url, ORIGIN, create=True) as cell:
        await SharedRegister.create(cell, ORIGIN)
    return lambda: shared_register(url)


@asynccontextmanager
async def shared_register(url: str) -> AsyncIterator[Register]:
    async with open_cell(url, ORIGIN) as cell:
        yield await SharedRegister.open(cell, ORIGIN)


def memory_register() -> Opening:
    stated = Stated()

    @asynccontextmanager
    async def open_register() -> AsyncIterator[Register]:
        yield MemoryRegister(stated)

    return open_register


@asynccontextmanager
async def file_register(path: Path) -> AsyncIterator[Register]:
    with FileRegister.open(path, ORIGIN) as register:
        (path / "lock").unlink()  # so that a second instance gets as far as the epoch
        yield register


@asynccontextmanager
async def database_register(place: str | Path, second_place: Path) -> AsyncIterator[Register]:
    async with open_database(place, METADATA) as database:
        yield await DatabaseRegister.open(database, StateCounter.open(second_place))


async def advanced(register: Register, known: Statement | None, new: Statement) -> Persisted[Statement]:
    answer = await register.advance(known, Advance(new))
    assert isinstance(answer, Persisted)
    return answer


async def test_a_new_register_knows_nothing(opening: Opening) -> None:
    async with opening() as register:
        assert await register.latest(ORIGIN) is None


async def test_what_was_advanced_is_the_latest(opening: Opening) -> None:
    async with opening() as register:
        persisted = await advanced(register, None, statement(3))
        assert await register.latest(ORIGIN) == persisted


async def test_the_latest_survives_a_restart(opening: Opening) -> None:
    new = replace(statement(3), extensions=(b"one", b"two words"))
    async with opening() as register:
        await advanced(register, None, new)
    async with opening() as register:
        latest = await register.latest(ORIGIN)
    assert latest is not None
    assert latest.value == new


async def test_an_empty_tree_is_a_statement_and_not_nothing(opening: Opening) -> None:
    async with opening() as register:
        await advanced(register, None, statement(0))
    async with opening() as register:
        latest = await register.latest(ORIGIN)
    assert latest is not None
    assert latest.value == statement(0)


async def test_a_decision_made_from_something_older_conflicts(opening: Opening) -> None:
    async with opening() as register:
        first = await advanced(register, None, statement(3))
        assert await register.advance(None, Advance(statement(4))) == Conflict(first)
        assert await register.latest(ORIGIN) == first


async def test_the_time_is_part_of_what_is_compared(opening: Opening) -> None:
    async with opening() as register:
        first = await advanced(register, None, statement(3, time=1000))
        answer = await register.advance(statement(3, time=999), Advance(statement(4, time=1001)))
        assert answer == Conflict(first)


async def test_the_root_hash_is_part_of_what_is_compared(opening: Opening) -> None:
    async with opening() as register:
        first = await advanced(register, None, statement(3, fill=1))
        assert await register.advance(statement(3, fill=2), Advance(statement(4))) == Conflict(first)


async def test_a_refresh_moves_the_time(opening: Opening) -> None:
    async with opening() as register:
        first = await advanced(register, None, statement(3, time=1000))
        await register.advance(first.value, Refresh(statement(3, time=2000)))
    async with opening() as register:
        latest = await register.latest(ORIGIN)
    assert latest is not None
    assert latest.value.time == 2000


async def test_of_decisions_made_from_the_same_statement_one_wins(opening: Opening) -> None:
    answers: list[Persisted[Statement] | Conflict] = []
    async with opening() as register:
        first = await advanced(register, None, statement(3))

        async def compete(size: int) -> None:
            answers.append(await register.advance(first.value, Advance(statement(size))))

        async with trio.open_nursery() as nursery:
            for size in range(4, 20):
                nursery.start_soon(compete, size)
        winners = [answer for answer in answers if isinstance(answer, Persisted)]
        assert len(answers) == 16
        assert winners == [await register.latest(ORIGIN)]


@pytest.mark.parametrize(
    "backwards",
    [
        pytest.param(statement(2), id="smaller"),
        pytest.param(statement(3, time=999), id="earlier"),
        pytest.param(statement(3, fill=9), id="another-tree-of-the-same-size"),
        pytest.param(replace(statement(4), origin="log.example/two"), id="another-origin"),
    ],
)
async def test_a_decision_that_goes_back_is_a_bug(opening: Opening, backwards: Statement) -> None:
    async with opening() as register:
        first = await advanced(register, None, statement(3))
        with pytest.raises(AssertionError):
            await register.advance(first.value, Advance(backwards))
        assert await register.latest(ORIGIN) == first


async def test_an_older_instance_is_fenced(opening: Opening) -> None:
    async with opening() as older, opening() as newer:
        with pytest.raises(Fenced, match="run only one"):
            await older.advance(None, Advance(statement(3)))
        assert await newer.latest(ORIGIN) is None


async def test_a_fenced_instance_stays_fenced_and_the_newer_goes_on(opening: Opening) -> None:
    async with opening() as older, opening() as newer:
        for _ in range(2):
            with pytest.raises(Fenced):
                await older.advance(None, Advance(statement(3)))
        await advanced(newer, None, statement(4))
        with pytest.raises(Fenced):
            await older.advance(None, Advance(statement(3)))


async def test_being_fenced_wakes_whoever_waits_to_hear(opening: Opening) -> None:
    async with opening() as older, opening():
        with pytest.raises(Fenced):
            await older.advance(None, Advance(statement(3)))
        with pytest.raises(Fenced):
            await older.wait_lost()


async def test_a_cancelled_advance_happened_or_did_not_and_says_which(opening: Opening) -> None:
    async with opening() as register:
        known: Statement | None = None
        for size in range(1, 60):
            answer: Persisted[Statement] | Conflict | None = None
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_after_turns, scope, size % 6)
                    answer = await register.advance(known, Advance(statement(size)))
            latest = await register.latest(ORIGIN)
            assert answer == (latest if latest is not None and latest.value.size == size else None)
            known = None if latest is None else latest.value


async def cancel_after_turns(scope: trio.CancelScope, turns: int) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    scope.cancel()


def test_nobody_else_makes_persisted_values() -> None:
    with pytest.raises(AssertionError, match="only a register"):
        Persisted(statement(3), token=object())


async def test_a_persisted_value_cannot_be_exchanged(opening: Opening) -> None:
    async with opening() as register:
        persisted = await advanced(register, None, statement(3))
    with pytest.raises((ValueError, TypeError), match="token"):  # ValueError before Python 3.13
        replace(persisted, value=statement(4))  # type: ignore[call-arg]  # the call is what must fail
    with pytest.raises(FrozenInstanceError):
        persisted.value = statement(4)  # type: ignore[misc]  # the assignment is what must fail


async def test_init_does_not_replace_a_register(tmp_path: Path) -> None:
    FileRegister.create(tmp_path / "file", ORIGIN)
    with pytest.raises(UsageError, match="not empty"):
        FileRegister.create(tmp_path / "file", "log.example/another")
    FileRegister.create(tmp_path / "file", ORIGIN)  # as good as new, until somebody opens it
    with FileRegister.open(tmp_path / "file", ORIGIN):
        pass
    (tmp_path / "file" / "lock").unlink()
    with pytest.raises(UsageError, match="not empty"):
        FileRegister.create(tmp_path / "file", ORIGIN)
    StateCounter.create(tmp_path / "counter")
    with pytest.raises(UsageError, match="exists"):
        StateCounter.create(tmp_path / "counter")


@pytest.mark.parametrize("where", ["postgresql", "s3"])
async def test_init_does_not_replace_a_register_that_several_reach(where: str, request: pytest.FixtureRequest) -> None:
    if where == "s3":
        url = f"s3://{request.getfixturevalue('s3').new_bucket()}/register"
    else:
        url = request.getfixturevalue("one_database")
        empty_database(url)
    for _ in range(2):  # as good as new, until somebody opens it
        async with open_cell(url, ORIGIN, create=True) as cell:
            await SharedRegister.create(cell, ORIGIN)
    async with open_cell(url, ORIGIN) as cell:
        await SharedRegister.open(cell, ORIGIN)
    async with open_cell(url, ORIGIN, create=True) as cell:
        with pytest.raises(UsageError, match="holds something already"):
            await SharedRegister.create(cell, ORIGIN)


@pytest.mark.parametrize("error", [DatabaseFailed(), OSError(None, "no answer")])
async def test_a_register_that_is_lost_while_it_is_opened_can_be_had_later(error: Exception) -> None:
    class Away:
        async def create(self, new: bytes) -> None:
            raise error

        async def read(self) -> bytes:
            raise error

        async def swap(self, known: bytes, new: bytes) -> None:
            raise error

    with pytest.raises(CannotTell, match="the register cannot be had"):
        await SharedRegister.open(Away(), ORIGIN)


async def test_a_register_whose_server_refuses_the_statement_is_uncertain() -> None:
    async def rename(connection: AsyncConnection) -> None:
        await connection.execute(text("ALTER TABLE cell RENAME TO elsewhere"))

    with new_database(server_url()) as url:
        opening = await new_cell(url)
        async with opening() as register, open_database(url, CELLS) as database:
            await database.write(rename)
            with pytest.raises(RegisterFailed):
                await register.advance(None, Advance(statement(1)))
