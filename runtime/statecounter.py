"""The second place of ``DatabaseRegister``: an id and a counter that no backup of the database holds.

A database that is put back from a backup looks perfect, and a key that signs from it contradicts itself. So every
transaction that moves the register counts, in the database and then, before any signature leaves, in this file too:

    transaction commits counter n+1 ──▶ the file says n+1 ──▶ signatures leave

When the program starts, the two must agree. After a crash between the first two steps the file is exactly one behind.
That is allowed: no signature rests on the last transaction, and every transaction on which one rests is in a database
that has counted at least as far as the file. Everything else is refused. A database behind the file is an old copy. A
file two or more behind is an old copy itself and shows nothing. Another id means two things that never were together.

What this cannot see is a copy of both places made at one moment, such as a snapshot of a whole virtual machine.
"""

import secrets
from pathlib import Path

from runtime.errors import UsageError
from runtime.files import create_file, replace_file

MAX_COUNTER_FILE_BYTES = 256  # one line of under 80 bytes

_NEW_KEY = "or make a new key and run `init` with new directories"


class StateCounter:
    """The id and the counter. The file is one line: ``sameview-register v1 <id> <counter>``."""

    def __init__(self, path: Path, id: str, value: int) -> None:
        self.path = path
        self.id = id
        self.value = value

    @classmethod
    def create(cls, path: Path) -> "StateCounter":
        """Make a new one with a random id, at zero.

        Raises:
            UsageError: there is one already.
        """
        counter = cls(path, secrets.token_hex(16), 0)
        try:
            create_file(path, counter._format())
        except FileExistsError:
            raise UsageError(
                f"the register {path} exists: `init` makes new state only, it never replaces any"
            ) from None
        except OSError as error:
            raise UsageError(f"cannot make the register {path}: {error.strerror}") from None
        return counter

    @classmethod
    def open(cls, path: Path) -> "StateCounter":
        """Read an existing one.

        Raises:
            UsageError: it is missing or damaged. It is never made anew: without it nothing tells a restored database.
        """
        try:
            with path.open("rb") as file:
                data = file.read(MAX_COUNTER_FILE_BYTES)
        except FileNotFoundError:
            raise UsageError(
                f"the register {path} is missing: run `init` once to make it. If it was there before, mount or put it "
                f"back: without it nothing shows that the database is not an old copy. Put it back, {_NEW_KEY}"
            ) from None
        except OSError as error:
            raise UsageError(f"cannot read the register {path}: {error.strerror}") from None
        counter = cls._parse(path, data)
        if counter is None or counter._format() != data:
            raise UsageError(f"the register {path} is damaged. Put it back as it was, {_NEW_KEY}")
        return counter

    def check(self, id: str, value: int) -> None:
        """Compare with the id and the counter that the database holds.

        Raises:
            UsageError: one of the two is an old copy or belongs elsewhere; says what to do.
        """
        if id != self.id:
            raise UsageError(
                f"the register {self.path} belongs to another database: correct `register` or `data` in the "
                "configuration"
            )
        if value < self.value:
            raise UsageError(
                f"the database is older than its register {self.path} (state {value} of {self.value}): it is a copy or "
                "was restored, and signing from it could contradict what was signed since. "
                f"Put the newest database back, {_NEW_KEY}"
            )
        if value > self.value + 1:
            raise UsageError(
                f"the register {self.path} is older than the database (state {self.value} of {value}): it is a copy or "
                "was restored, and does not show any more that the database is the newest. "
                f"Put the newest register back, {_NEW_KEY}"
            )

    def write(self, value: int) -> None:
        """Make this the counter. It is on disk when this returns."""
        self.value = value
        replace_file(self.path, self._format())

    def _format(self) -> bytes:
        return f"sameview-register v1 {self.id} {self.value}\n".encode("ascii")

    @classmethod
    def _parse(cls, path: Path, data: bytes) -> "StateCounter | None":
        match data.decode("ascii", "replace").split():
            case ["sameview-register", "v1", id, value] if value.isdecimal():
                return cls(path, id, int(value))
            case _:
                return None
