"""Counts what HTTP adds to an exchange of envelopes: our client and our server, over the loopback interface."""

from functools import partial

import trio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gossip.shell import ENVELOPE_TYPE, EXCHANGE_PATH
from monitor.tasks import post
from runtime.client import Client
from runtime.http import bare
from runtime.server import open_listener, serve, url_of

BODY = 600  # bytes each way: three digits of length, as most envelopes have
EXCHANGES = 4  # over one connection, which stays open as between two monitors
SECONDS = 10.0


def header_bytes() -> tuple[int, int]:
    """Measure the bytes of a request's and of an answer's header."""
    return trio.run(_measure)


async def _measure() -> tuple[int, int]:
    seen = [0, 0]
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as tasks:
            behind = await open_listener("127.0.0.1:0")
            await tasks.start(partial(serve, _answer, [behind], drain=trio.Event()))
            front = await open_listener("127.0.0.1:0")
            tasks.start_soon(trio.serve_listeners, partial(_relay, behind.socket.getsockname(), seen), [front])
            url = url_of(front)
            async with Client() as client:
                for _ in range(EXCHANGES):
                    await post(client, url + EXCHANGE_PATH, bytes(BODY), SECONDS)
            tasks.cancel_scope.cancel()
    return seen[0] // EXCHANGES - BODY, seen[1] // EXCHANGES - BODY


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as a monitor does."""
    if scope["type"] == "http":
        await Request(scope, receive).body()
        await bare(200, bytes(BODY), ENVELOPE_TYPE, {"cache-control": "no-store"})(scope, receive, send)


async def _relay(address: tuple[str, int], seen: list[int], stream: trio.SocketStream) -> None:
    other = await trio.open_tcp_stream(*address[:2])
    async with other, trio.open_nursery() as both:
        both.start_soon(_pass_on, stream, other, seen, 0)
        both.start_soon(_pass_on, other, stream, seen, 1)


async def _pass_on(one: trio.SocketStream, other: trio.SocketStream, seen: list[int], way: int) -> None:
    async for data in one:
        seen[way] += len(data)
        await other.send_all(data)
