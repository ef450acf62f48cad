"""The register of a witness or an observer: a row per origin in its own database, and many origins in one commit.

Each transaction counts, in the database and then in the ``StateCounter``, and the answers of ``advance`` leave after
both. So a database that was restored, or that another instance has written to, is noticed before anything is signed.
"""

from collections import ChainMap
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

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

from runtime.database import Database, Group
from runtime.errors import UsageError
from runtime.register import Conflict, Fenced, Loss, Persisted, checked, persisted
from runtime.statecounter import StateCounter
from tlog.advance import Advance, Refresh, Statement
from tlog.hashing import Hash

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
        self._loss = Loss()
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
        return cls(database, counter, map(persisted, statements), alongside)

    async def latest(self, origin: str) -> Persisted[Statement] | None:
        return self._latest.get(origin)

    async def advance(
        self, known: Statement | None, decision: Advance | Refresh, record: Record | None = None
    ) -> Persisted[Statement] | Conflict:
        """As ``Register.advance``; the record is for ``alongside``, and written only if the swap is made."""
        swap = _Swap(known, checked(known, decision), record)
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
    current[swap.new.origin] = new = persisted(swap.new)
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
