"""Small disks that a test can fill, make read-only or break: real mounts.

They need root. Without it ``unshare --user --map-root-user --mount make test`` will do, but for the disk that breaks.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

BLOCK = 4096
PATIENCE = 40.0  # a busy mount is let go of between two writes; this long is a hang


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system."""

    path: Path

    async def keep_full(self) -> None:
        """Take whatever room there is, until it cannot be written at all."""
        while self._fill():  # noqa: ASYNC110 # nobody tells
            await trio.sleep(0.005)

    def _fill(self) -> bool:
        try:
            with (self.path / "filling").open("ab", buffering=0) as filling:
                while True:
                    filling.write(bytes(BLOCK))
        except OSError as error:
            return error.errno == errno.ENOSPC

    def fill(self, *, leaving: int) -> None:
        """Take the room there is but for so many bytes, once."""
        self._fill()
        filling = self.path / "filling"
        os.truncate(filling, filling.stat().st_size - leaving)

    def free(self) -> None:
        """Give the room back."""
        (self.path / "filling").unlink()

    async def remount(self, how: str) -> None:
        """Change how it is mounted while it is in use; a write that is under way makes it busy."""
        with trio.fail_after(PATIENCE):
            while _run("mount", "-o", f"remount,{how}", self.path) is not None:  # noqa: ASYNC110 # nobody tells
                await trio.sleep(0.001)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Disk]:
    """A disk in memory."""
    path.mkdir()
    with _mounted(path, "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs"):
        yield Disk(path)


@contextmanager
def breaking_disk(path: Path, image: Path, size: int) -> Iterator[Disk]:
    """A disk with a journal, in a file: ``remount("abort")`` makes it read-only as a failing disk does, files open."""
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    make = shutil.which("mkfs.ext4") or shutil.which("mkfs.ext4", path="/usr/sbin:/sbin")
    if make is None:
        pytest.skip("mkfs.ext4 is not installed: install e2fsprogs")
    subprocess.run([make, "-q", image], check=True)
    with _mounted(path, "-o", "loop", str(image)):
        yield Disk(path)


async def mount_again(disk: Disk, image: Path) -> None:
    """Take a broken disk out, and put it in again when its journal has been read."""
    with trio.fail_after(PATIENCE):
        while _run("umount", disk.path) is not None:  # noqa: ASYNC110 # nobody tells
            await trio.sleep(0.05)
    assert _run("mount", "-o", "loop", image, disk.path) is None


@contextmanager
def _mounted(path: Path, *arguments: str) -> Iterator[None]:
    refused = _run("mount", *arguments, path)
    if refused is not None:
        pytest.skip(f"nothing can be mounted here, run as root or see tests/disks.py: {refused}")
    try:
        yield
    finally:
        with suppress(subprocess.SubprocessError):
            subprocess.run(["umount", "--lazy", path], check=True)


def _run(*command: object) -> str | None:
    """What a command complained of; None if it worked."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else None
