"""Reads a folder as if a web server served it: for copies of logs that an auditor has on a disk.

``fetch`` is like ``Client.fetch``, for URLs that begin with ``file:///``. What is not there is a 404, as from a server.
"""

import os
import stat
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

import trio

from runtime.client import Failure, FetchError, Response

SCHEME = "file://"


async def fetch_file(
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
        FetchError: it cannot be read.
    """
    if method != "GET" or not url.startswith(SCHEME):
        raise FetchError(Failure.UNREACHABLE, "a folder can only be read")
    # Other tasks get their turn, as they would while an answer is on its way.
    await trio.lowlevel.checkpoint()
    try:
        return Response(200, {}, _read(unquote_to_bytes(url.removeprefix(SCHEME)), cap))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Response(404, {}, b"")
    except OSError as error:
        raise FetchError(Failure.UNREACHABLE, f"the file cannot be read: {error.strerror}") from None


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
