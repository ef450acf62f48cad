"""The register: what a key has stated of each origin, moved only forward, and durable before anything is signed.

    decide ──▶ Advance | Refresh ──register──▶ Persisted[Statement] ──▶ signers

``advance`` is a compare-and-swap on the whole statement that the decision was made from: when another decision came
first the answer is ``Conflict``, with what is known now, and the caller decides again. ``Persisted`` values exist only
as answers of a register, and signers take nothing else; so "persist, then sign" is not a habit but a type.

A register must not travel back in time. One that is restored from a backup would let its key contradict itself, so each
kind notices, or stands where no backup reaches:

``FileRegister``      of a log: a directory of its own that holds the statement and an *epoch*, counted up at each open.
``SharedRegister``    the same in a place that several processes reach, of which one at a time signs.
``DatabaseRegister``  of witnesses and observers: a row per origin in their own database. A random id and a counter in
                      the same transaction, and again in a second place, the ``StateCounter``, show a restored database.

Two instances of one signer are as dangerous as a restored one. Whoever opens a register last has it: every earlier
instance gets ``Fenced`` when it next tries to advance, and has to stop.
"""

from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Final, Generic, NoReturn, Protocol, TypeVar, final

import trio
from sqlalchemy import (
    BigInteger,
    Column,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    bindparam,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.cells import Cell
from runtime.database import Database, DatabaseFailed, Group
from runtime.datadir import DataDirectory
from runtime.errors import CannotTell, UsageError
from runtime.files import create_file, replace_file
from runtime.held import MAX_HELD_BYTES, Held
from runtime.objects import Overtaken
from runtime.statecounter import StateCounter as StateCounter  # part of this module's interface
from tlog.advance import Advance, Refresh, Statement
from tlog.errors import FormatError
from tlog.hashing import Hash

_TAKEOVERS = 5  # each lost race means that somebody else won it

T_co = TypeVar("T_co", covariant=True)

_TOKEN: Final = object()


@final
@dataclass(frozen=True, slots=True)
class Persisted(Generic[T_co]):
    """A value that a register has made durable. Nobody else can make one; signing the same one again is right."""

    value: T_co
    token: InitVar[object] = field(kw_only=True)

    def __post_init__(self, token: object) -> None:
        if token is not _TOKEN:
            raise AssertionError("only a register makes Persisted values")


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something else was persisted since the decision was made: decide again from this."""

    known: Persisted[Statement] | None


class Fenced(UsageError):  # noqa: N818  # says what happened, as DatabaseFailed does
    """Another instance has opened the register since: this one must stop, and must not try again."""

    def __init__(self) -> None:
        super().__init__("another instance of this signer took over its register and this one stopped: run only one")


class RegisterFailed(Exception):  # noqa: N818  # as above
    """The register could not be written, and nobody knows what it holds."""

    def __init__(self) -> None:
        super().__init__("the register could not be written and what it holds is uncertain: stop and restart")


class Register(Protocol):
    """What a key has stated, per origin."""

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        """What was stated last of this origin."""
        ...

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        """Replace what is known by what was decided, if it still is what the decision was made from.

        Raises:
            Fenced: another instance took over.
            DatabaseFailed, RegisterFailed: nobody knows whether it was written; a restart finds out.
        """
        ...

    async def wait_lost(self) -> NoReturn:
        """Wait until this instance may not advance any more, and raise why. A daemon runs this beside its tasks."""
        ...


class FileRegister:
    """The register of a log: one file in a directory of its own, which belongs in no backup and on another disk."""

    def __init__(self, path: Path, held: Held) -> None:
        self._path = path
        self._held = held
        self._turn = trio.Lock()
        self._loss = _Loss()

    @staticmethod
    def create(path: Path, origin: str) -> None:
        """Make a new register, of an origin of which nothing was stated. ``init`` does this once.

        One that was made and never opened is as good as new, and left as it is.

        Raises:
            UsageError: the directory exists and holds something else, or cannot be made.
        """
        new = Held(origin=origin, epoch=0).format()
        if _holds_only(path, new):
            return
        DataDirectory.create(path)
        create_file(path / _FILE_NAME, new)

    @classmethod
    @contextmanager
    def open(cls, path: Path, origin: str) -> "Iterator[FileRegister]":
        """Take the register over from any earlier instance, and keep other processes of this machine out meanwhile.

        Raises:
            UsageError: it is missing, damaged, of another origin, or in use; says what to do.
        """
        if not path.is_dir():
            raise UsageError(_missing(path))
        with DataDirectory(path).lock():
            held = _read_held(path)
            if held.origin != origin:
                raise UsageError(f"the register {path} belongs to another origin: correct `register` or `origin`")
            held = held.next_epoch()
            replace_file(path / _FILE_NAME, held.format())
            yield cls(path, held)

    @property
    def epoch(self) -> int:
        """How often the register has been opened: a number that no other instance of this log has."""
        return self._held.epoch

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        self._check_origin(origin)
        return _persisted_or_none(self._held.statement)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        new = _checked(known, decision)
        self._check_origin(new.origin)
        async with self._turn:
            with self._loss.noticed():
                # Not abandoned when cancelled: once begun, the caller learns how it ended.
                return await trio.to_thread.run_sync(self._swap, known, new)

    async def wait_lost(self) -> NoReturn:
        await self._loss.wait()

    def _swap(self, known: Statement | None, new: Statement) -> Persisted[Statement] | Conflict:
        # The lock file keeps other processes away, but not those that look at another inode of that name.
        if self._stored() != self._held:
            raise Fenced
        if self._held.statement != known:
            return Conflict(_persisted_or_none(self._held.statement))
        held = Held.of(new, self._held.epoch)
        try:
            replace_file(self._path / _FILE_NAME, held.format())
        except OSError as error:
            raise RegisterFailed from error
        self._held = held
        return _persisted(new)

    def _stored(self) -> Held:
        try:
            return _read_held(self._path)
        except UsageError as error:
            raise RegisterFailed from error

    def _check_origin(self, origin: str) -> None:
        if origin != self._held.origin:
            raise AssertionError("the register of a log was asked about another origin")


class SharedRegister:
    """The register of a log that several processes serve: whoever opened it last signs."""

    def __init__(self, cell: Cell, held: Held) -> None:
        self._cell = cell
        self._held = held
        self._turn = trio.Lock()
        self._loss = _Loss()

    @staticmethod
    async def create(cell: Cell, origin: str) -> None:
        """Make a new register, of an origin of which nothing was stated. ``init`` does this once.

        One that was made and never opened is as good as new, and left as it is.

        Raises:
            UsageError: there is another one already, or the place cannot be had.
        """
        new = Held(origin=origin, epoch=0).format()
        try:
            try:
                await cell.create(new)
            except UsageError:
                if await cell.read() != new:
                    raise
        except OSError as error:
            raise UsageError(f"cannot make the register: {error.strerror}") from None

    @classmethod
    async def open(cls, cell: Cell, origin: str) -> "SharedRegister":
        """Take the register over from any earlier instance.

        Raises:
            UsageError: it is missing, damaged, or of another origin; says what to do.
            CannotTell: it cannot be reached, or others keep taking it over.
        """
        for _ in range(_TAKEOVERS):
            try:
                raw = await cell.read()
                held = _parse_held(raw, origin).next_epoch()
                await cell.swap(raw, held.format())
            except Overtaken:
                continue
            except OSError as error:
                raise CannotTell(f"the register cannot be had: {error.strerror}") from None
            except DatabaseFailed as error:
                raise CannotTell(f"the register cannot be had: {error}") from None
            return cls(cell, held)
        raise CannotTell("others keep taking the register over: are too many instances starting at once?")

    @property
    def epoch(self) -> int:
        """How often the register has been opened: a number that no other instance of this log has."""
        return self._held.epoch

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        return _persisted_or_none(self._held.statement)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        new = _checked(known, decision)
        if new.origin != self._held.origin:
            raise AssertionError("the register of a log was asked about another origin")
        async with self._turn:
            with self._loss.noticed():
                if self._held.statement != known:
                    return Conflict(_persisted_or_none(self._held.statement))
                return await self._swap(Held.of(new, self._held.epoch), new)

    async def wait_lost(self) -> NoReturn:
        await self._loss.wait()

    async def _swap(self, held: Held, new: Statement) -> Persisted[Statement]:
        try:
            await self._cell.swap(self._held.format(), held.format())
        except Overtaken:
            raise Fenced from None
        except (OSError, DatabaseFailed) as error:
            raise RegisterFailed from error
        self._held = held
        return _persisted(new)


Record = Mapping[str, object]
Alongside = Callable[[AsyncConnection, Sequence[Record]], Awaitable[None]]


def add_register_tables(metadata: MetaData) -> None:
    """Add the tables of ``DatabaseRegister`` to those of a node."""
    for table in _tables.sorted_tables:
        table.to_metadata(metadata)


class DatabaseRegister:
    """The register of a witness or an observer, in its own database. Many origins share one commit."""

    def __init__(
        self,
        database: Database,
        counter: StateCounter,
        statements: Iterable[Persisted[Statement]],
        alongside: Alongside | None,
    ) -> None:
        self._counter = counter
        self._latest = {statement.value.origin: statement for statement in statements}
        self._swapped: dict[str, Persisted[Statement]] = {}  # by the transaction under way
        self._alongside = alongside
        self._loss = _Loss()
        self._group: Group[_Swap, Persisted[Statement] | Conflict] = database.group(
            self._swap, on_commit=self._on_commit
        )

    @staticmethod
    async def create(database: Database, counter: StateCounter) -> None:
        """Tie a new database to a new counter. ``init`` does this once."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(_state).values(id=counter.id, counter=counter.value))

        await database.write(work)

    @classmethod
    async def open(
        cls, database: Database, counter: StateCounter, alongside: Alongside | None = None
    ) -> "DatabaseRegister":
        """Take the register over from any earlier instance.

        ``alongside`` writes the records that were given to ``advance``, in the transaction of their statements.

        Raises:
            UsageError: the database or the counter is an old copy or belongs elsewhere; says what to do.
        """

        async def take_over(connection: AsyncConnection) -> list[Statement]:
            state = (await connection.execute(select(_state).with_for_update())).one_or_none()
            if state is None:
                raise UsageError("the database was not tied to a register: run `init` in new directories")
            counter.check(state.id, state.counter)
            # Before the next count: if we crashed after it otherwise, the counter would be two behind.
            counter.write(state.counter)
            await connection.execute(update(_state).values(counter=state.counter + 1))
            return [_from_row(row) for row in await connection.execute(select(_statements))]

        statements = await database.write(take_over)
        counter.write(counter.value + 1)
        return cls(database, counter, map(_persisted, statements), alongside)

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        return self._latest.get(origin)

    async def advance(
        self, known: Statement | None, decision: Advance | Refresh, record: Record | None = None
    ) -> Persisted[Statement] | Conflict:
        """As ``Register.advance``; the record is for ``alongside``, and written only if the swap is made."""
        swap = _Swap(known, _checked(known, decision), record)
        with self._loss.noticed():
            return await self._group.submit(swap)

    async def wait_lost(self) -> NoReturn:
        """Wait for another instance to take over; that the database fails, ``Database.wait_failed`` tells."""
        await self._loss.wait()

    # What runs in the database's thread.

    async def _swap(
        self, connection: AsyncConnection, swaps: Sequence["_Swap"]
    ) -> list[Persisted[Statement] | Conflict]:
        # Nobody has written since we did, or counting would have failed: what is in memory is what is stored.
        await self._count(connection)
        self._swapped = {}
        current = ChainMap(self._swapped, self._latest)
        answers = [_swap_one(current, swap) for swap in swaps]
        if self._swapped:
            await connection.execute(_STORE, [_to_row(statement.value) for statement in self._swapped.values()])
        made = zip(swaps, answers, strict=True)
        records = [swap.record for swap, answer in made if swap.record is not None and isinstance(answer, Persisted)]
        if records and self._alongside is not None:
            await self._alongside(connection, records)
        return answers

    async def _count(self, connection: AsyncConnection) -> None:
        """Count this transaction; if somebody else counted one since ours, they hold the register now."""
        mine = {"id_": self._counter.id, "counter_": self._counter.value}
        counted = await connection.execute(_COUNT, mine)
        if counted.rowcount != 1:
            raise Fenced

    def _on_commit(self) -> None:
        self._counter.write(self._counter.value + 1)
        self._latest.update(self._swapped)


@dataclass(frozen=True, slots=True)
class _Swap:
    known: Statement | None
    new: Statement
    record: Record | None


def _swap_one(current: MutableMapping[str, Persisted[Statement]], swap: _Swap) -> Persisted[Statement] | Conflict:
    """Compare and swap in memory; the answer leaves only after the transaction has made it true."""
    known = current.get(swap.new.origin)
    if (None if known is None else known.value) != swap.known:
        return Conflict(known)
    current[swap.new.origin] = new = _persisted(swap.new)
    return new


_tables = MetaData()
_statements = Table(
    "register_statement",
    _tables,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("extensions", LargeBinary, nullable=False),  # each line with its line feed
)
_state = Table(
    "register_state",
    _tables,
    Column("id", String, primary_key=True),
    Column("counter", BigInteger, nullable=False),
)

# Made once: to put a statement together takes SQLAlchemy longer than SQLite to run it.
_COUNT = (
    update(_state)
    .where(_state.c.id == bindparam("id_"), _state.c.counter == bindparam("counter_"))
    .values(counter=_state.c.counter + 1)
)
# SQLite and PostgreSQL spell it alike; SQLAlchemy has a construct for each.
_STORE = text(
    "INSERT INTO register_statement (origin, size, root_hash, time, extensions)"
    " VALUES (:origin, :size, :root_hash, :time, :extensions) ON CONFLICT (origin) DO UPDATE"
    " SET size = excluded.size, root_hash = excluded.root_hash, time = excluded.time, extensions = excluded.extensions"
)


def _to_row(statement: Statement) -> dict[str, object]:
    return {
        "origin": statement.origin,
        "size": statement.size,
        "root_hash": statement.root_hash,
        "time": statement.time,
        "extensions": b"".join(line + b"\n" for line in statement.extensions),
    }


def _from_row(row: Row[*tuple[str, int, bytes, int, bytes]]) -> Statement:
    extensions = tuple(row.extensions.split(b"\n")[:-1])
    return Statement(row.origin, row.size, Hash(row.root_hash), row.time, extensions)


_FILE_NAME = "statement.json"


def _holds_only(path: Path, held: bytes) -> bool:
    try:
        return [file.name for file in path.iterdir()] == [_FILE_NAME] and (path / _FILE_NAME).read_bytes() == held
    except OSError:
        return False


def _read_held(path: Path) -> Held:
    try:
        with (path / _FILE_NAME).open("rb") as file:
            data = file.read(MAX_HELD_BYTES)
        return Held.parse(data)
    except FileNotFoundError:
        raise UsageError(_missing(path)) from None
    except OSError as error:
        raise UsageError(f"cannot read the register {path}: {error.strerror}") from None
    except FormatError:
        pass
    raise UsageError(
        f"the register {path} is damaged: put it back as it was. What the key stated last is unknown otherwise, and it "
        "must not sign again"
    )


def _parse_held(raw: bytes, origin: str) -> Held:
    try:
        held = Held.parse(raw)
    except FormatError:
        raise UsageError(
            "the register is damaged: put it back as it was. What the key stated last is unknown otherwise, and it "
            "must not sign again"
        ) from None
    if held.origin != origin:
        raise UsageError("the register belongs to another origin: correct `register` or `origin`")
    return held


def _missing(path: Path) -> str:
    return (
        f"the register {path} is missing: run `init` once to make it. If it was there before, put it back: without it "
        "nobody knows what the key stated last, and it must not sign again"
    )


class _Loss:
    """Why an instance may not advance any more: for whoever waits to hear, and so that nothing is tried again."""

    def __init__(self) -> None:
        self._happened = trio.Event()
        self._error: type[Fenced | RegisterFailed] = Fenced

    @contextmanager
    def noticed(self) -> Iterator[None]:
        if self._happened.is_set():
            raise self._error
        try:
            yield
        except (Fenced, RegisterFailed) as error:
            self._error = type(error)
            self._happened.set()
            raise

    async def wait(self) -> NoReturn:
        await self._happened.wait()
        raise self._error


def _checked(known: Statement | None, decision: Advance | Refresh) -> Statement:
    """The statement of a decision; one that goes back in size or time is a bug, and the last chance to notice it."""
    new = decision.statement
    if known is not None and (
        new.origin != known.origin
        or new.size < known.size
        or new.time < known.time
        or (new.size == known.size and new.root_hash != known.root_hash)
    ):
        raise AssertionError("the decision contradicts the statement that it was made from")
    return new


def _persisted(statement: Statement) -> Persisted[Statement]:
    return Persisted(statement, token=_TOKEN)


def _persisted_or_none(statement: Statement | None) -> Persisted[Statement] | None:
    return None if statement is None else _persisted(statement)
