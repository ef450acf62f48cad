"""Where a witness runs: the machine, its boot, the directories and files of its state.

A witness whose state was copied, cloned or put back from a backup finds itself in another place than it remembers.
That says nothing about who is the original, so it forbids nothing; it is a reason to ask others before signing.
Machine and boot ids are recorded as hashes, because they are meant to stay on their machine.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from runtime.errors import UsageError

_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identify(data: Path, database: Path, register: Path) -> str:
    """Describe this place: a line for each thing that can change, with a hash of it."""
    found = {
        "host": _read(_MACHINE_ID),
        "boot": _read(_BOOT_ID),
        "directory": f"{data} {_inode(data)}",
        "database": f"{database} {_inode(database)}",
        "register": f"{register} {_inode(register)}",
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


def _inode(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"cannot look at {path}: {error.strerror}") from None
    return f"{status.st_dev} {status.st_ino}"
