"""Where a witness runs: the machine, its boot, the directories and files of its state.

A witness whose state was copied, cloned or put back from a backup finds itself in another place than it remembers.
That says nothing about who is the original, so it forbids nothing; it is a reason to ask others before signing.
Machine and boot ids are recorded as hashes, because they are meant to stay on their machine.

A file that was put in the place of another may have its name and, where that one was deleted before, its inode number.
So a file is known by when it was born, too, where the file system says. What was written over in place, as ``cp`` does,
has all of that; therefore a file in the directory, the *mark*, is made once and never touched again. The time of its
last change is kept by the kernel and can be set by nobody: whatever brings a directory back changes it.
"""

import ctypes
import os
import secrets
import struct
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from runtime.errors import UsageError
from runtime.files import create_file

MARK_NAME = "place"  # in the data directory

_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identify(data: Path, database: Path, register: Path) -> str:
    """Describe this place: a line for each thing that can change, with a hash of it. Makes the mark if there is none.

    Raises:
        UsageError: a file is missing, or the mark cannot be made.
    """
    _make_mark(data / MARK_NAME)
    found = {
        "host": _read(_MACHINE_ID),
        "boot": _read(_BOOT_ID),
        "directory": f"{data} {_file(data)} {_mark(data / MARK_NAME)}",
        "database": f"{database} {_file(database)}",
        "register": f"{register} {_file(register)}",
    }
    return "".join(f"{name} {sha256(value.encode()).hexdigest()}\n" for name, value in found.items())


def changes(before: str | None, now: str) -> list[str]:
    """Name what is not as it was; everything for a witness that never ran."""
    known = set() if before is None else set(_lines(before))
    return [line.partition(" ")[0] for line in _lines(now) if line not in known]


def _lines(identity: str) -> Iterator[str]:
    return (line for line in identity.split("\n") if line)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""  # a container or another system may have none: then the files have to tell


def _make_mark(path: Path) -> None:
    try:
        if not path.exists():
            create_file(path, f"{secrets.token_hex(16)}\n".encode())
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror}") from None


def _mark(path: Path) -> str:
    return f"{_file(path)} {_status(path).st_ctime_ns} {_read(path)}"


def _file(path: Path) -> str:
    """What tells a file from every other one, also from one that takes its place."""
    status = _status(path)
    return f"{status.st_dev} {status.st_ino} {_born(path)}"


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UsageError(f"cannot look at {path}: {error.strerror}") from None


def _born(path: Path) -> str:
    """When a file was made, in a form of the kernel's; nothing where the system or the file system does not say.

    Never by a descriptor: to close one of the database gives up the locks that SQLite has on it.
    """
    found = ctypes.create_string_buffer(_STATX_SIZE)
    with suppress(AttributeError):  # a C library older than statx
        if ctypes.CDLL(None).statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, found) == 0:
            (answered,) = struct.unpack_from("=I", found)
            seconds, nanoseconds = struct.unpack_from("=qI", found, _STATX_BTIME_AT)
            return f"{seconds}.{nanoseconds:09}" if answered & _STATX_BTIME else ""
    return ""


# From linux/stat.h and linux/fcntl.h, the same on every architecture.
_AT_FDCWD = -100
_STATX_BTIME = 0x800
_STATX_SIZE = 256
_STATX_BTIME_AT = 80
