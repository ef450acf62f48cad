"""A node's data directory: made once by ``init``, and used by one process at a time.

The lock is the kernel's (``flock``): it ends with the process, however that ends, so there is no stale lock to remove.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UsageError
from runtime.files import sync_directory

LOCK_NAME = "lock"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """A data directory that exists."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "DataDirectory":
        """Make the directory, readable by its owner only. Its parent must exist.

        Raises:
            UsageError: it exists and is not empty, or cannot be made.
        """
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(
                    f"{path} exists and is not empty: `init` makes new state only, it never replaces any; "
                    "to go on with what is there run `serve`"
                )
            sync_directory(path.parent)
        except OSError as error:
            raise UsageError(f"cannot make the directory {path}: {error.strerror}") from None
        return cls(path)

    @classmethod
    def open(cls, path: Path, *, init: str) -> "DataDirectory":
        """Find an existing directory; ``init`` is the command that would have made it.

        Raises:
            UsageError: there is none. Missing state is never made anew here: it may be lost state.
        """
        if not path.is_dir():
            raise UsageError(
                f"there is no data directory {path}: run `{init}` once to make it; "
                "if it was there before, find out first where it went"
            )
        return cls(path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process from using the directory.

        Raises:
            UsageError: another process has it; names that process if it can.
        """
        with locked(self.path / LOCK_NAME):
            yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this name, with our process id in the file for whoever comes second."""
    descriptor = take_lock(path)
    try:
        yield
    finally:
        os.close(descriptor)


def take_lock(path: Path) -> int:
    """Take the lock and return the descriptor that holds it; closing the descriptor releases it."""
    descriptor = None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        reason = f"cannot lock {path}: {error.strerror}"
        if descriptor is not None:
            if isinstance(error, BlockingIOError):
                reason = f"{path.parent} is in use by {_holder(descriptor)}: stop it first, or use another directory"
            os.close(descriptor)
        raise UsageError(reason) from None
    return descriptor


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 20, 0).strip()
    return f"process {int(text)}" if text.isdigit() else "another process"
