"""Public copies: what was cosigned last of each log, as monitors fetch it.

Those of checkpoints that were cosigned since the start are in memory. The others are made when somebody asks, from the
stored note, by signing what was persisted once more; so a start takes no longer with ten thousand logs than with ten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle, islice

import trio

from runtime.database import Database
from runtime.database_register import DatabaseRegister
from runtime.register import Persisted
from tlog.advance import Statement
from tlog.errors import SignatureError, TlogError
from tlog.keys import VerifierKey
from tlog.note import Note, open_note, parse_signature_lines
from witness.history import History
from witness.keyring import Keyring
from witness.store import Accepted, read_accepted

CHECKED_AT_ONCE = 64  # stored checkpoints verified at each look at /readyz: some 30 ms, in turn, of all logs
REREADS = 5  # a log advances between two reads of ours, once in a while; five times in a row it does not
REREAD_SECONDS = 0.01  # a commit that is in the database is in the register's memory by then


class DamagedCopy(Exception):  # noqa: N818  # says what is there
    """The stored checkpoint is not the one that was persisted; the message is for the operator."""


class PublicCopies:
    """The latest cosigned checkpoint of each log."""

    def __init__(
        self,
        database: Database,
        register: DatabaseRegister,
        keyring: Keyring,
        history: History,
        logs: Mapping[str, tuple[VerifierKey, ...]],
        stated: Iterable[str],
    ) -> None:
        self._database = database
        self._register = register
        self._keyring = keyring
        self._history = history
        self._logs = logs
        self._copies: dict[str, _Copy] = {}
        self._origins = {_name(origin): origin for origin in stated}
        self._next = 0
        self._damaged: dict[str, str] = {}

    def publish(self, statement: Statement, note: bytes, lines: bytes) -> None:
        """Show what was just signed."""
        # SPEC: W-42 the copy holds our cosignatures and the log's signatures that we verified.
        copy = _Copy(statement.size, statement.time, note + lines)
        name = _name(statement.origin)
        self._origins.setdefault(name, statement.origin)
        # Two answers for one origin can be signed in the other order than they were persisted.
        if name not in self._copies or self._copies[name].precedes(copy):
            self._copies[name] = copy
            self._history.add(statement, lines)

    async def read(self, name: str) -> bytes | None:
        """The copy by the lowercase hex SHA-256 of its origin; None if nothing was ever cosigned.

        Raises:
            DamagedCopy: what is stored is not what was signed.
        """
        if name not in self._copies and name in self._origins:
            await self._make(self._origins[name])
        copy = self._copies.get(name)
        return None if copy is None else copy.note

    async def problems(self) -> list[str]:
        """Verify some stored checkpoints, other ones each time, and say which of those seen so far are damaged."""
        origins = list(self._origins.values())
        turn = islice(cycle(origins), self._next, self._next + min(CHECKED_AT_ONCE, len(origins)))
        for origin in {*turn, *islice(self._damaged, CHECKED_AT_ONCE)}:
            await self._check(origin)
            await trio.lowlevel.checkpoint()
        self._next = (self._next + CHECKED_AT_ONCE) % max(len(origins), 1)
        return list(self._damaged.values())

    async def _make(self, origin: str) -> None:
        persisted, accepted = await self._stored(origin)
        self._verify(persisted.value, accepted)
        self.publish(persisted.value, accepted.note, await self._keyring.sign(persisted))

    async def _check(self, origin: str) -> None:
        try:
            persisted, accepted = await self._stored(origin)
            self._verify(persisted.value, accepted)
            self._damaged.pop(origin, None)
        except DamagedCopy as damage:
            self._damaged[origin] = str(damage)

    async def _stored(self, origin: str) -> tuple[Persisted[Statement], Accepted]:
        """The statement and the note it was made from, which may move on while we read."""
        for _ in range(REREADS):
            persisted = await self._register.latest(origin)
            if persisted is None:
                break
            accepted = await read_accepted(self._database, origin, persisted.value.size)
            if accepted is not None and accepted.time == persisted.value.time:
                return persisted, accepted
            await trio.sleep(REREAD_SECONDS)
        raise _damaged(origin, "the row is missing or of another time")

    def _verify(self, statement: Statement, accepted: Accepted) -> None:
        keys = self._logs.get(statement.origin)
        try:
            note = Note.parse(accepted.note)
            if keys is not None:
                open_note(note, keys)
            if accepted.cosignatures is not None:
                self._verify_cosignatures(Note(note.text, parse_signature_lines(accepted.cosignatures)), accepted.time)
        except TlogError as error:
            raise _damaged(statement.origin, str(error)) from None
        if note.text != statement.checkpoint.format():
            raise _damaged(statement.origin, "it is not the checkpoint that was stated last")

    def _verify_cosignatures(self, note: Note, time: int) -> None:
        verified = open_note(note, self._keyring.verifiers)
        if len(verified) != len(note.signatures) or {signature.timestamp for signature in verified} != {time}:
            raise SignatureError("a cosignature is not ours, or of another time")


@dataclass(frozen=True, slots=True)
class _Copy:
    size: int
    time: int
    note: bytes

    def precedes(self, other: "_Copy") -> bool:
        return (self.size, self.time) <= (other.size, other.time)


def _name(origin: str) -> str:
    # SPEC: W-41 <lowercase hex SHA-256 of the origin>
    return sha256(origin.encode()).hexdigest()


def _damaged(origin: str, reason: str) -> DamagedCopy:
    return DamagedCopy(
        f"the stored checkpoint of {origin} is damaged, {reason}: stop, check the disk and put the newest database back"
    )
