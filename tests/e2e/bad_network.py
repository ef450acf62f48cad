"""A bad network on loopback: a TCP proxy on every directed link, with delays, resets, and cuts that are healed again.

Every piece of a connection arrives after a delay of its own, in order; a new connection waits for a round trip first,
as a handshake would. A share of the pieces resets the connection instead. Across a cut nothing arrives: connections
hang, old and new ones, and what was sent meanwhile arrives after the cut has healed; an abrupt cut resets them.

    python -m tests.e2e.bad_network < PLAN

takes the plan as one line of JSON, ``{"links": [["m1", "m2"], …], "delay": [0.02, 0.15], "seconds": 600}``, prints a
ready line with one port per link, in order, and a control port that takes commands, a line of JSON each: there it has
to be told the port of each node. It ends when its standard input does, or after that many seconds.
"""

import json
import random
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from subprocess import PIPE
from typing import Any

import trio

PIECE_BYTES = 65536
UNDERWAY = 64  # pieces of one direction of a connection that are delayed at once; then the sender has to wait
NO_DELAY = (0.0, 0.0)
LONG_WAY = (0.020, 0.150)  # seconds from one end to the other, as between continents


@dataclass(frozen=True, slots=True)
class Link:
    """From one node to another."""

    source: str
    target: str


@dataclass(slots=True)
class _Bodies:
    """Counts the bodies in one direction of an HTTP/1.1 connection, each of which has a Content-Length."""

    count: int = 0
    size: int = 0
    _head: bytes = b""
    _left: int = 0

    def take(self, data: bytes) -> None:
        while data:
            if self._left:
                part, data = data[: self._left], data[self._left :]
                self._left -= len(part)
                self.size += len(part)
                continue
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = b"" if end else head
            length = _LENGTH.search(head) if end else None
            self._left = int(length[1]) if length else 0
            self.count += bool(self._left)


_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


@dataclass(slots=True)
class Counts:
    """What one node sent and received, in bytes of its TCP connections, and in bodies of HTTP messages."""

    sent: int = 0
    received: int = 0
    bodies_sent: int = 0
    body_bytes_sent: int = 0
    body_bytes_received: int = 0


@dataclass(eq=False, slots=True)
class _Connection:
    link: Link
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class BadNetwork:
    """The links between some nodes. Everything can be changed while they are in use."""

    def __init__(self, delay: tuple[float, float] = NO_DELAY, resets: float = 0.0, seed: int = 0) -> None:
        self.delay = delay
        self.resets = resets
        self.counts: dict[str, Counts] = {}
        self.connections = 0
        self.broken = 0
        self._chance = random.Random(seed)
        self._ports: dict[str, int] = {}
        self._sides: dict[str, int] = {}
        self._abrupt = False
        self._healed = trio.Event()
        self._open: set[_Connection] = set()

    async def listen(self, link: Link, nursery: trio.Nursery) -> int:
        """Open a link; the port on which it begins."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        for name in (link.source, link.target):
            self.counts.setdefault(name, Counts())
        nursery.start_soon(partial(trio.serve_listeners, partial(self._serve, link), [listener]))
        port: int = listener.socket.getsockname()[1]
        return port

    def attach(self, name: str, port: int) -> None:
        """Take the port of a node; until then connections to it are reset."""
        self._ports[name] = port

    def cut(self, *sides: Collection[str], abrupt: bool = False) -> None:
        """Let nothing pass from one of the sides to another."""
        self._sides = {name: number for number, side in enumerate(sides) for name in side}
        self._abrupt = abrupt
        if abrupt:
            for connection in self._open:
                if self._is_cut(connection.link):
                    connection.scope.cancel()

    def heal(self) -> None:
        """Let everything pass again."""
        self._sides = {}
        self._healed.set()
        self._healed = trio.Event()

    def totals(self) -> Counter[str]:
        """What all nodes sent together."""
        sums = Counter[str]()
        for counts in self.counts.values():
            sums.update(bytes=counts.sent, bodies=counts.bodies_sent, body_bytes=counts.body_bytes_sent)
        return sums

    def obey(self, command: dict[str, Any]) -> object:
        """Do what came over the control port; what is answered there."""
        match command:
            case {"do": "attach", "name": str(name), "port": int(port)}:
                self.attach(name, port)
            case {"do": "cut", "sides": [*sides], "abrupt": bool(abrupt)}:
                self.cut(*sides, abrupt=abrupt)
            case {"do": "heal"}:
                self.heal()
            case {"do": "resets", "share": float(share)}:
                self.resets = share
            case {"do": "count"}:
                return {"connections": self.connections, "broken": self.broken, **self.totals()}
            case _:
                return {"error": "no such command"}
        return {}

    async def _serve(self, link: Link, client: trio.SocketStream) -> None:
        connection = _Connection(link)
        self._open.add(connection)
        self.connections += 1
        try:
            with connection.scope:
                await self._carry(link, client)
            if connection.scope.cancelled_caught:
                _reset(client)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            _reset(client)
        finally:
            self._open.discard(connection)

    async def _carry(self, link: Link, client: trio.SocketStream) -> None:
        await trio.sleep(self._moment() + self._moment())
        await self._wait_open(link)
        if link.target not in self._ports:
            raise trio.BrokenResourceError
        async with await trio.open_tcp_stream("127.0.0.1", self._ports[link.target]) as server:
            try:
                async with trio.open_nursery() as directions:
                    ends = (link.source, link.target)
                    directions.start_soon(self._carry_one_way, link, ends, client, server)
                    directions.start_soon(self._carry_one_way, link, ends[::-1], server, client)
            except BaseException:
                _reset(server)
                raise

    async def _carry_one_way(
        self, link: Link, ends: tuple[str, str], source: trio.SocketStream, sink: trio.SocketStream
    ) -> None:
        pieces, delayed = trio.open_memory_channel[tuple[float, bytes]](UNDERWAY)
        sender, receiver = self.counts[ends[0]], self.counts[ends[1]]
        bodies = _Bodies()

        async def read() -> None:
            due = 0.0
            async with pieces:
                async for data in source:
                    if self._chance.random() < self.resets:
                        self.broken += 1
                        raise trio.BrokenResourceError
                    due = max(due, trio.current_time() + self._moment())
                    await pieces.send((due, bytes(data)))

        async with trio.open_nursery() as reading:
            reading.start_soon(read)
            async for due, data in delayed:
                await trio.sleep_until(due)
                await self._wait_open(link)
                await sink.send_all(data)
                before = bodies.count, bodies.size
                bodies.take(data)
                sender.sent += len(data)
                receiver.received += len(data)
                sender.bodies_sent += bodies.count - before[0]
                sender.body_bytes_sent += bodies.size - before[1]
                receiver.body_bytes_received += bodies.size - before[1]
        await sink.send_eof()

    async def _wait_open(self, link: Link) -> None:
        while self._is_cut(link):
            if self._abrupt:
                raise trio.BrokenResourceError
            await self._healed.wait()

    def _is_cut(self, link: Link) -> bool:
        sides = self._sides.get(link.source), self._sides.get(link.target)
        return None not in sides and sides[0] != sides[1]

    def _moment(self) -> float:
        return self._chance.uniform(*self.delay)


def _reset(stream: trio.SocketStream) -> None:
    """Close so that the other end is told of an error, not of an end."""
    if stream.socket.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


# As a process.


async def _run(plan: dict[str, Any]) -> None:
    network = BadNetwork((plan["delay"][0], plan["delay"][1]))
    with trio.move_on_after(float(plan["seconds"])):
        async with trio.open_nursery() as nursery:
            ports = [await network.listen(Link(*link), nursery) for link in plan["links"]]
            (control,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(partial(trio.serve_listeners, partial(_control, network), [control]))
            sys.stdout.write(json.dumps({"event": "ready", "control": control.socket.getsockname()[1], "ports": ports}))
            sys.stdout.write("\n")
            sys.stdout.flush()
            await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


async def _control(network: BadNetwork, stream: trio.SocketStream) -> None:
    while line := await _line(stream):
        await stream.send_all(json.dumps(network.obey(json.loads(line))).encode() + b"\n")


async def _line(stream: trio.abc.ReceiveStream) -> bytes:
    """The next line; nobody sends two at once."""
    received = b""
    while not received.endswith(b"\n"):
        data = await stream.receive_some()
        if not data:
            return b""
        received += data
    return received


class Remote:
    """A bad network in another process."""

    def __init__(self, ports: Sequence[int], stream: trio.SocketStream) -> None:
        self.ports = ports
        self._stream = stream

    async def tell(self, **command: object) -> dict[str, Any]:
        """Give a command and wait until it is obeyed."""
        await self._stream.send_all(json.dumps(command).encode() + b"\n")
        found: dict[str, Any] = json.loads(await _line(self._stream))
        return found


@asynccontextmanager
async def remote(links: Sequence[Link], delay: tuple[float, float], seconds: float) -> AsyncIterator[Remote]:
    """Run the links in a process of their own."""
    listed = [[link.source, link.target] for link in links]
    plan = json.dumps({"links": listed, "delay": delay, "seconds": seconds}).encode() + b"\n"
    command = [sys.executable, "-m", "tests.e2e.bad_network"]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, check=False)
        )
        try:
            if process.stdin is None or process.stdout is None:
                raise AssertionError("the process has pipes")
            await process.stdin.send_all(plan)
            ready = json.loads(await _line(process.stdout))
            async with await trio.open_tcp_stream("127.0.0.1", ready["control"]) as stream:
                yield Remote(ready["ports"], stream)
        finally:
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_run, json.loads(sys.stdin.readline()))
