"""A forward HTTP proxy on loopback, which leads wherever the test says: another network, for all a client knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio
from trio import SocketStream

MAX_HEAD = 65_536


@dataclass(slots=True)
class Proxy:
    """Takes requests for whole URLs, and asks the server at ``leads_to`` (host and port) for them."""

    url: str
    leads_to: tuple[str, int]
    asked: list[str] = field(default_factory=list)

    async def serve(self, stream: SocketStream) -> None:
        """Answer one request, then hang up."""
        async with stream:
            head = bytearray()
            while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
                piece = bytes(await stream.receive_some(4096))
                if not piece:
                    return
                head.extend(piece)
            method, url, _ = bytes(head).split(b"\r\n", 1)[0].decode().split(" ")
            self.asked.append(url)
            path = "/" + url.removeprefix("http://").partition("/")[2]
            async with await trio.open_tcp_stream(*self.leads_to) as server:
                request = f"{method} {path} HTTP/1.1\r\nhost: {self.leads_to[0]}\r\nconnection: close\r\n\r\n"
                await server.send_all(request.encode())
                async for answer in server:
                    await stream.send_all(answer)


@asynccontextmanager
async def proxy(leads_to: str) -> AsyncIterator[Proxy]:
    """Run a proxy that leads to the server at this URL."""
    host, _, port = leads_to.removeprefix("http://").partition(":")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port_here = listener.socket.getsockname()[1]
    found = Proxy(f"http://127.0.0.1:{port_here}", (host, int(port)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, found.serve, [listener]))
        yield found
        nursery.cancel_scope.cancel()
