"""Logs over real sockets, honest or hostile, and a follower of one that adopts what it has verified."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from gossip.core import Event, Rehashed, WrongEntries
from monitor.allowance import Allowance
from monitor.follow import Follower
from monitor.growth import OnEntries
from monitor.mirror import Mirror
from monitor.room import Room
from monitor.sources.tiles import TilesSource
from runtime.client import Client
from runtime.clock import SystemClock
from tests.fakes_log import FakeLog
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

Answer = Callable[[str, trio.SocketStream], Awaitable[None]]
"""Answers a request for a path, in whatever bytes it likes. The connection is closed after it."""

PLENTY = 10**9
BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


def whole(status: int, body: bytes = b"", fields: str = "") -> bytes:
    """A proper answer."""
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{fields}\r\n".encode() + body


def honest(log: FakeLog) -> Answer:
    """Serve a log as it is."""

    async def answer(path: str, stream: trio.SocketStream) -> None:
        found = log.serve(path)
        await stream.send_all(whole(404) if found is None else whole(200, found))

    return answer


@dataclass(slots=True)
class Log:
    """A log behind a port. ``answer`` can be exchanged; ``asked`` is every path, in order."""

    url: str
    answer: Answer
    asked: list[str] = field(default_factory=list)

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, one answer."""
        head = b""
        try:
            async with stream:
                while b"\r\n\r\n" not in head:
                    head += await stream.receive_some() or b"\r\n\r\n"
                path = head.split(b" ")[1].decode().removeprefix("/")
                self.asked.append(path)
                await self.answer(path, stream)
        except (*BROKEN, IndexError):
            pass  # the client went away


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[Log]:
    """Listen on a port until the end."""
    async with trio.open_nursery() as nursery:
        log = Log("", answer)
        listeners = await nursery.start(partial(trio.serve_tcp, log.serve, 0, host="127.0.0.1"))
        log.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield log
        nursery.cancel_scope.cancel()


@dataclass(slots=True)
class Following:
    """A follower with what it reported."""

    follower: Follower
    mirror: Mirror
    allowance: Allowance
    room: Room
    wrong: list[str] = field(default_factory=list)
    adopted: list[int] = field(default_factory=list)

    async def heard(self, event: Event) -> list[str]:
        """Adopt what was verified, as a monitor does."""
        if isinstance(event, Rehashed):
            await trio.to_thread.run_sync(self.mirror.sync)
            self.mirror.adopt()
            self.adopted.append(self.mirror.size)
        elif isinstance(event, WrongEntries):
            self.wrong.append(event.where)
        return []


@contextmanager
def opened(folder: Path, size: int = 0, max_bytes: int = PLENTY) -> Iterator[Mirror]:
    """A mirror that is closed at the end."""
    mirror = Mirror.open(folder, size, size, max_bytes=max_bytes)
    try:
        yield mirror
    finally:
        mirror.close()


@asynccontextmanager
async def following(
    folder: Path,
    url: str,
    *,
    size: int = 0,
    room: Room | None = None,
    parallel: int = 8,
    max_bytes: int = PLENTY,
    on_entries: OnEntries | None = None,
) -> AsyncIterator[Following]:
    """Follow a log with a real client. Nothing runs by itself."""
    async with Client() as client:
        with opened(folder, size, max_bytes) as mirror:
            allowance, room = Allowance(client.fetch, SystemClock(), parallel), room or Room()
            source = TilesSource(url, allowance.fetch)

            async def heard(event: Event) -> list[str]:
                return await found.heard(event)

            follower = Follower(b"", mirror, source, heard, allowance, room, on_entries)
            found = Following(follower, mirror, allowance, room)
            yield found


def head_of(log: FakeLog, size: int | None = None) -> SignedCheckpoint:
    """A head that the log signed."""
    return open_checkpoint(log.sign(size), [log.key.verifier_key])
