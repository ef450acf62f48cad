"""The register: what a key has stated of each origin, moved only forward, and durable before anything is signed.

    decide ──▶ Advance | Refresh ──register──▶ Persisted[Statement] ──▶ signers

``advance`` is a compare-and-swap on the whole statement that the decision was made from: when another decision came
first the answer is ``Conflict``, with what is known now, and the caller decides again. ``Persisted`` values exist only
as answers of a register, and signers take nothing else; so "persist, then sign" is not a habit but a type.

A register must not travel back in time. One that is restored from a backup would let its key contradict itself, so each
kind notices, or stands where no backup reaches:

``runtime.file_register``      of a log: a directory of its own that holds the statement and an *epoch*, counted up at
                               each open.
``runtime.shared_register``    the same in a place that several processes reach, of which one at a time signs.
``runtime.database_register``  of witnesses and observers: a row per origin in their own database. A random id and a
                               counter in the same transaction, and again in a second place, the ``StateCounter``, show
                               a restored database.

Two instances of one signer are as dangerous as a restored one. Whoever opens a register last has it: every earlier
instance gets ``Fenced`` when it next tries to advance, and has to stop.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from typing import Final, Generic, NoReturn, Protocol, TypeVar, final

import trio

from runtime.errors import UsageError
from tlog.advance import Advance, Refresh, Statement

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


# For the registers alone.


class Loss:
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


def checked(known: Statement | None, decision: Advance | Refresh) -> Statement:
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


def persisted(statement: Statement) -> Persisted[Statement]:
    """Attest that a register has made this statement durable."""
    return Persisted(statement, token=_TOKEN)


def persisted_or_none(statement: Statement | None) -> Persisted[Statement] | None:
    return None if statement is None else persisted(statement)
