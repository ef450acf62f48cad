"""The register of a log that several processes serve, of which one at a time signs: in a ``Cell`` that all reach.

Each open counts the epoch up, and every swap is from what this instance wrote last: so whoever opened it last signs,
and any other is ``Fenced`` when it next tries to.
"""

from typing import NoReturn

import trio

from runtime.cells import Cell
from runtime.database import DatabaseFailed
from runtime.errors import CannotTell, UsageError
from runtime.held import Held
from runtime.objects import Overtaken
from runtime.register import Conflict, Fenced, Loss, Persisted, RegisterFailed, checked, persisted, persisted_or_none
from tlog.advance import Advance, Refresh, Statement
from tlog.errors import FormatError

_TAKEOVERS = 5  # each lost race means that somebody else won it


class SharedRegister:
    """The register of a log that several processes serve: whoever opened it last signs."""

    def __init__(self, cell: Cell, held: Held) -> None:
        self._cell = cell
        self._held = held
        self._turn = trio.Lock()
        self._loss = Loss()

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
        return persisted_or_none(self._held.statement)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        new = checked(known, decision)
        if new.origin != self._held.origin:
            raise AssertionError("the register of a log was asked about another origin")
        async with self._turn:
            with self._loss.noticed():
                if self._held.statement != known:
                    return Conflict(persisted_or_none(self._held.statement))
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
        return persisted(new)


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
