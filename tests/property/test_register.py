"""What a key has signed never contradicts itself, whatever crashes, is restored, or runs twice around its register.

A run is a sequence of things that happen to one witness. The log is as malicious as can be: each tree it shows extends
what this instance of the witness knows, and contradicts every other tree. Refusing to start is always right. What is
signed must lie on one chain.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData

from runtime.database import DatabaseFailed, open_database
from runtime.database_register import DatabaseRegister, add_register_tables
from runtime.errors import UsageError
from runtime.register import Persisted
from runtime.statecounter import SLOT_BYTES, StateCounter
from tlog.advance import Advance, Statement
from tlog.hashing import Hash

ORIGIN = "log.example/one"
METADATA = MetaData(info={"schema": "test-register", "version": 1})
add_register_tables(METADATA)


class Event(StrEnum):
    ADVANCE = "advance"
    CRASH_AFTER_COMMIT = "crash after the commit, before the second place is written"
    CRASH_IN_SECOND_PLACE = "crash while the second place is written"
    CRASH_AFTER_SECOND_PLACE = "crash after the second place is written, before the signature leaves"
    RESTART = "restart"
    SECOND_INSTANCE = "start a second instance beside the first"
    BACK_UP = "back the place up"
    RESTORE = "restore the place"


class ContradictionError(Exception):
    """Two statements were signed of which neither is the other's past."""


class Witness:
    """One witness, and what it has signed."""

    def __init__(self, path: Path, backed_up: str) -> None:
        self._database = path / "db"
        self._register = path / "register"
        self._backed_up = path / backed_up
        self._backup = path / "backup"
        self._instances: list[tuple[AsyncExitStack, DatabaseRegister]] = []
        self._past: dict[Hash, Hash | None] = {}
        self._signed: Statement | None = None

    async def run(self, events: Sequence[Event]) -> None:
        async with open_database(self._database, METADATA, create=True) as database:
            await DatabaseRegister.create(database, StateCounter.create(self._register))
        try:
            for event in events:
                await self._meet(event)
        finally:
            await self._stop()

    async def _meet(self, event: Event) -> None:
        match event:
            case Event.ADVANCE:
                await self._advance_all()
            case Event.CRASH_AFTER_COMMIT:
                await self._crash(lambda counter, value: None)
            case Event.CRASH_IN_SECOND_PLACE:
                await self._crash(_tear)
            case Event.CRASH_AFTER_SECOND_PLACE:
                await self._crash(_WRITE)
            case Event.RESTART:
                await self._stop()
                await self._start()
            case Event.SECOND_INSTANCE:
                await self._start()
            case Event.BACK_UP:
                await self._stop()
                shutil.copy(self._backed_up, self._backup)
            case Event.RESTORE:
                await self._stop()
                if self._backup.exists():
                    shutil.copy(self._backup, self._backed_up)

    async def _start(self) -> None:
        stack = AsyncExitStack()
        try:
            database = await stack.enter_async_context(open_database(self._database, METADATA))
            register = await DatabaseRegister.open(database, StateCounter.open(self._register))
        except UsageError:  # refused, as it may be
            await stack.aclose()
        else:
            self._instances.append((stack, register))

    async def _stop(self) -> None:
        while self._instances:
            stack, _ = self._instances.pop()
            await stack.aclose()

    async def _advance_all(self) -> None:
        if not self._instances:
            await self._start()
        for _, register in self._instances:
            try:
                answer = await self._advance(register)
            except UsageError:  # fenced
                continue
            if isinstance(answer, Persisted):
                self._sign(answer.value)

    async def _advance(self, register: DatabaseRegister) -> object:
        latest = await register.latest(ORIGIN)
        known = None if latest is None else latest.value
        size = 1 if known is None else known.size + 1
        new = Statement(ORIGIN, size, Hash(len(self._past).to_bytes(32, "big")), 1000 + size)
        self._past[new.root_hash] = None if known is None else known.root_hash
        return await register.advance(known, Advance(new))

    async def _crash(self, write: "Write") -> None:
        """Advance, but die where the second place is written, having done ``write`` to it."""
        if not self._instances:
            await self._start()
        for _, register in self._instances:

            def die(counter: StateCounter, value: int) -> None:
                write(counter, value)
                raise OSError(5, "Input/output error")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(StateCounter, "write", die)
                try:
                    await self._advance(register)
                except (DatabaseFailed, UsageError):
                    continue
                raise AssertionError("a signature could leave although the process died")
        await self._stop()

    def _sign(self, statement: Statement) -> None:
        before: Hash | None = statement.root_hash
        while before is not None and self._signed is not None and before != self._signed.root_hash:
            before = self._past[before]
        if before is None:
            raise ContradictionError
        self._signed = statement


Write = Callable[[StateCounter, int], None]
_WRITE: Write = StateCounter.write


def _tear(counter: StateCounter, value: int) -> None:
    """Write half of a slot."""
    whole = counter.path.read_bytes()
    _WRITE(counter, value)
    start = value % 2 * SLOT_BYTES
    torn = bytearray(counter.path.read_bytes())
    torn[start + 30 : start + SLOT_BYTES] = whole[start + 30 : start + SLOT_BYTES]
    counter.path.write_bytes(torn)


def run(backed_up: str, events: Sequence[Event]) -> None:
    with TemporaryDirectory() as directory:
        trio.run(Witness(Path(directory), backed_up).run, events)


RESTORED = (Event.ADVANCE, Event.BACK_UP, Event.ADVANCE, Event.RESTORE, Event.ADVANCE)


# One of the two places is never backed up: a backup of both at one moment is what operators are told not to make.
@settings(max_examples=40)
@given(st.sampled_from(["db", "register"]), st.lists(st.sampled_from(Event), max_size=12))
@example("db", RESTORED)
@example("register", RESTORED)
@example("db", [Event.BACK_UP, Event.CRASH_IN_SECOND_PLACE, Event.RESTORE, Event.ADVANCE])
@example("db", [Event.ADVANCE, Event.BACK_UP, Event.CRASH_AFTER_SECOND_PLACE, Event.RESTORE, Event.ADVANCE])
@example("register", [Event.BACK_UP, Event.CRASH_AFTER_COMMIT, Event.ADVANCE, Event.RESTORE, Event.ADVANCE])
@example("db", [Event.ADVANCE, Event.SECOND_INSTANCE, Event.ADVANCE, Event.SECOND_INSTANCE, Event.ADVANCE])
def test_what_was_signed_lies_on_one_chain(backed_up: str, events: Sequence[Event]) -> None:
    run(backed_up, events)


def test_without_the_second_place_a_restored_witness_contradicts_itself() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateCounter, "check", lambda counter, id, value: None)
        patch.setattr(StateCounter, "_check_unmoved", lambda counter, descriptor: None)
        with pytest.raises(ContradictionError):
            run("db", RESTORED)
