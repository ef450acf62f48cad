"""Reads folders as if a web server served them: for copies of logs that an auditor has on a disk.

``LocalFiles.fetch`` is like ``Client.fetch``, for URLs that begin with ``file:///``. What is not there is a 404, as
from a server. Files are read in threads, a few at a time: a disk that is slow, or a network file system that does not
answer, keeps nobody waiting but whoever wants something of this folder, and not beyond the time they give it.
"""

import os
import stat
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import trio

from runtime.client import Failure, FetchError, Response

SCHEME = "file://"
AT_ONCE = 4  # threads of one folder: reading what is in memory, which is most of it, two keep a processor busy


class LocalFiles:
    """The files of one folder, or of several that are equally slow."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(AT_ONCE)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        """Read a file of at most ``cap`` bytes. Only GET makes sense; the other arguments are those of a fetch.

        Raises:
            FetchError: it cannot be read, or not within so many seconds.
        """
        if method != "GET" or not url.startswith(SCHEME):
            raise FetchError(Failure.UNREACHABLE, "a folder can only be read")
        path = unquote_to_bytes(url.removeprefix(SCHEME))
        try:
            with trio.fail_after(seconds):
                # A thread that hangs keeps its place: so many of them are all that a folder can hold up.
                data = await trio.to_thread.run_sync(_read, path, cap, abandon_on_cancel=True, limiter=self._threads)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return Response(404, {}, b"")
        except trio.TooSlowError:
            raise FetchError(Failure.TIMEOUT, "the file could not be read in time") from None
        except OSError as error:
            raise FetchError(Failure.UNREACHABLE, f"the file cannot be read: {error.strerror}") from None
        return Response(200, {}, data)


def _read(path: bytes, cap: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError
        if found.st_size > cap:
            raise FetchError(Failure.TOO_LARGE, f"the file is larger than {cap} bytes")
        return _all_of(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def _all_of(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data
