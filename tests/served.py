"""Serves an application of a test over real HTTP on loopback."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from starlette.types import ASGIApp

from runtime.client import Client, Response
from runtime.server import open_listener, serve, url_of

SECONDS = 20.0  # for one request; a hang is a failure, not a wait


@dataclass(frozen=True, slots=True)
class Served:
    """An application that is being served, and a client to ask it with."""

    url: str
    client: Client

    async def get(self, path: str) -> Response:
        return await self.client.fetch("GET", f"{self.url}{path}", cap=1 << 24, seconds=SECONDS)

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
        url = f"{self.url}{path}"
        return await self.client.fetch("POST", url, body=body, headers=headers, cap=1 << 24, seconds=SECONDS)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[Served]:
    """Serve an application on a free port."""
    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(app, [listener], drain=drain, task_status=task_status))
        async with Client() as client:
            yield Served(url_of(listener), client)
        drain.set()
