"""Runs an ASGI application on our server inside a test, and talks to it over a bare socket.

What the server answers is read with h11, an independent reader, so that what it writes is checked by somebody else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.limits import Limits
from runtime.server import open_listener, serve, url_of

SECONDS = 10.0  # for one test: far more than it needs, so that a hang is a failure and not a hang


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as h11 reads it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    interim: tuple[int, ...] = ()


class RawClient:
    """A connection over which a test says exactly what it wants."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._reader = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def ask(self, data: bytes, method: bytes = b"GET") -> Answer:
        await self.send(data)
        return await self.answer(method)

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next response; ``method`` is what was asked, since it decides whether a body follows."""
        if self._reader.our_state is h11.DONE:
            self._reader.start_next_cycle()
        self._reader.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        self._reader.send(h11.EndOfMessage())
        events: list[Any] = []
        while not events or not isinstance(events[-1], h11.EndOfMessage):
            events.append(await self._event())
        interim = tuple(event.status_code for event in events if isinstance(event, h11.InformationalResponse))
        head, *rest = events[len(interim) :]
        headers = {bytes(name): bytes(value) for name, value in head.headers}
        return Answer(head.status_code, headers, b"".join(part.data for part in rest[:-1]), interim)

    async def wait_closed(self) -> bytes:
        """What comes until the server closes the connection."""
        rest = self._reader.trailing_data[0]
        while data := await self.stream.receive_some():
            rest += data
        return rest

    async def _event(self) -> object:
        while (event := self._reader.next_event()) is h11.NEED_DATA:
            self._reader.receive_data(await self.stream.receive_some())
        if isinstance(event, h11.ConnectionClosed):
            raise AssertionError("the server hung up without an answer")
        return event


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    url: str
    address: tuple[str, int]
    drain: trio.Event
    drained: trio.Event

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[RawClient]:
        stream = await trio.open_tcp_stream(*self.address)
        async with stream:
            yield RawClient(stream)

    async def ask(self, data: bytes, method: bytes = b"GET") -> Answer:
        """One request over a connection of its own."""
        async with self.connect() as client:
            return await client.ask(data, method)


@asynccontextmanager
async def serving(app: ASGIApp, **limits: Any) -> AsyncIterator[Served]:
    """Serve an application with some limits changed, for as long as the test is inside."""
    listener = await open_listener("127.0.0.1:0")
    drain, drained = trio.Event(), trio.Event()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        await serve(app, [listener], drain=drain, limits=Limits(**limits), task_status=task_status)
        drained.set()

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(run))
            yield Served(url_of(listener), listener.socket.getsockname()[:2], drain, drained)
            nursery.cancel_scope.cancel()


def answering(status: int = 200, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None) -> ASGIApp:
    """An application that gives one answer in one piece."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers or []})
        await send({"type": "http.response.body", "body": body})

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads the whole body and sends it back, with what it knows of the request."""
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    line = f"{scope['method']} {scope['path']} ".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": line + body})
