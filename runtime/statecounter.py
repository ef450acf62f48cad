"""The second place of ``DatabaseRegister``: an id and a counter that no backup of the database holds.

A database that is put back from a backup looks perfect, and a key that signs from it contradicts itself. So every
transaction that moves the register counts, in the database and then, before any signature leaves, in this file too:

    transaction commits counter n+1 ──▶ the file says n+1 ──▶ signatures leave

When the program starts, the two must agree. After a crash between the first two steps the file is exactly one behind.
That is allowed: no signature rests on the last transaction, and every transaction on which one rests is in a database
that has counted at least as far as the file. Everything else is refused. A database behind the file is an old copy. A
file two or more behind is an old copy itself and shows nothing. Another id means two things that never were together.

The file has two slots that are written in turn, in place: that takes one ``fdatasync`` of one page, a quarter of the
time of a new file under the old name, and every signature waits for it. A crash can tear only the slot that was being
written, with n+1, while the other one says n and the database n+1. A torn slot beside any other database is damage.

What this cannot see is a copy of both places made at one moment, such as a snapshot of a whole virtual machine.
"""

import errno
import os
import secrets
from hashlib import sha256
from pathlib import Path

from runtime.errors import UsageError
from runtime.files import create_file

SLOT_BYTES = 4096  # a page, and no smaller than a disk's sector: tearing one slot leaves the other alone

_NEW_KEY = "or make a new key and run `init` with new directories"


class StateCounter:
    """The id and the counter. Each slot is a line, ``sameview-register v1 <id> <counter> <checksum>``, and padding."""

    def __init__(self, path: Path, id: str, value: int, *, torn: bool = False) -> None:
        self.path = path
        self.id = id
        self.value = value
        self._torn = torn

    @classmethod
    def create(cls, path: Path) -> "StateCounter":
        """Make a new one with a random id, at zero.

        Raises:
            UsageError: there is one already.
        """
        id = secrets.token_hex(16)
        try:
            create_file(path, _format_slot(id, 0) * 2)
        except FileExistsError:
            raise UsageError(
                f"the register {path} exists: `init` makes new state only, it never replaces any"
            ) from None
        except OSError as error:
            raise UsageError(f"cannot make the register {path}: {error.strerror}") from None
        return cls(path, id, 0)

    @classmethod
    def open(cls, path: Path) -> "StateCounter":
        """Read an existing one.

        Raises:
            UsageError: it is missing or damaged. It is never made anew: without it nothing tells a restored database.
        """
        slots = [slot for slot in map(_parse_slot, _read_slots(path)) if slot is not None]
        ids = {id for id, _ in slots}
        values = [value for _, value in slots]
        if len(ids) != 1 or max(values) - min(values) > 1:
            raise UsageError(f"the register {path} is damaged. Put it back as it was, {_NEW_KEY}")
        return cls(path, ids.pop(), max(values), torn=len(slots) == 1)

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
        if value < self.value or (value == self.value and self._torn):
            raise UsageError(
                f"the database is older than its register {self.path} (state {value} of {self.value + self._torn}): it "
                "is a copy or was restored, and signing from it could contradict what was signed since. "
                f"Put the newest database back, {_NEW_KEY}"
            )
        if value > self.value + 1:
            raise UsageError(
                f"the register {self.path} is older than the database (state {self.value} of {value}): it is a copy or "
                "was restored, and does not show any more that the database is the newest. "
                f"Put the newest register back, {_NEW_KEY}"
            )

    def write(self, value: int) -> None:
        """Make this the counter. It is on disk when this returns.

        Raises:
            OSError: somebody else has counted in this file since: a copy of the database with the same second place.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._check_unmoved(descriptor)
            os.pwrite(descriptor, _format_slot(self.id, value), value % 2 * SLOT_BYTES)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self.value = value
        self._torn = False

    def _check_unmoved(self, descriptor: int) -> None:
        slots = (os.pread(descriptor, SLOT_BYTES, place * SLOT_BYTES) for place in range(2))
        if max(filter(None, map(_parse_slot, slots)), default=None, key=lambda slot: slot[1]) != (self.id, self.value):
            raise OSError(errno.EBUSY, "another instance counts in this register")


def _read_slots(path: Path) -> tuple[bytes, bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(2 * SLOT_BYTES)
    except FileNotFoundError:
        raise UsageError(
            f"the register {path} is missing: run `init` once to make it. If it was there before, nothing else shows "
            f"that the database is not an old copy. Mount or put it back, {_NEW_KEY}"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read the register {path}: {error.strerror}") from None
    return data[:SLOT_BYTES], data[SLOT_BYTES:]


def _format_slot(id: str, value: int) -> bytes:
    line = f"sameview-register v1 {id} {value}"
    checksum = sha256(line.encode()).hexdigest()[:16]
    return f"{line} {checksum}\n".encode().ljust(SLOT_BYTES, b"\n")


def _parse_slot(slot: bytes) -> tuple[str, int] | None:
    """The id and the counter; None for a slot that was torn."""
    match slot.decode("ascii", "replace").split():
        case [_, _, id, value, _] if value.isdecimal() and _format_slot(id, int(value)) == slot:
            return id, int(value)
        case _:
            return None
