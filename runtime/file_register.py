"""The register of a log that one machine serves: a file in a directory of its own.

It belongs in no backup and on another disk than the log. Each open counts the epoch up, and the lock file keeps other
processes of this machine out while one has it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import trio

from runtime.datadir import DataDirectory
from runtime.errors import UsageError
from runtime.files import create_file, replace_file
from runtime.held import MAX_HELD_BYTES, Held
from runtime.register import (
    Conflict,
    Fenced,
    Loss,
    Persisted,
    RegisterFailed,
    checked,
    persisted,
    persisted_or_none,
)
from tlog.advance import Advance, Refresh, Statement
from tlog.errors import FormatError

_FILE_NAME = "statement.json"


class FileRegister:
    """The register of a log: one file in a directory of its own, which belongs in no backup and on another disk."""

    def __init__(self, path: Path, held: Held) -> None:
        self._path = path
        self._held = held
        self._turn = trio.Lock()
        self._loss = Loss()

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
        return persisted_or_none(self._held.statement)

    async def advance(self, known: Statement | None, decision: Advance | Refresh) -> Persisted[Statement] | Conflict:
        new = checked(known, decision)
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
            return Conflict(persisted_or_none(self._held.statement))
        held = Held.of(new, self._held.epoch)
        try:
            replace_file(self._path / _FILE_NAME, held.format())
        except OSError as error:
            raise RegisterFailed from error
        self._held = held
        return persisted(new)

    def _stored(self) -> Held:
        try:
            return _read_held(self._path)
        except UsageError as error:
            raise RegisterFailed from error

    def _check_origin(self, origin: str) -> None:
        if origin != self._held.origin:
            raise AssertionError("the register of a log was asked about another origin")


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


def _missing(path: Path) -> str:
    return (
        f"the register {path} is missing: run `init` once to make it. If it was there before, put it back: without it "
        "nobody knows what the key stated last, and it must not sign again"
    )
