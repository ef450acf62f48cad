"""An ASGI HTTP/1.1 server on trio, strict and bounded: see ``Limits`` and specs/decisions/0002-http-server.md.

It serves plain HTTP to applications that speak ASGI 3's ``http`` scope. TLS and HTTP/2 belong to the proxy in front;
WebSockets are not served.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress

import trio
from starlette.types import ASGIApp

from runtime.address import parse_address
from runtime.clock import Clock, SystemClock
from runtime.connection import Connection
from runtime.errors import UsageError
from runtime.limits import Limits as Limits
from runtime.response_head import DateField

DEFAULT_LIMITS = Limits()
BACKLOG = 1024  # connections that the kernel completes before we accept them: a burst of clients after a restart
OUT_OF_DESCRIPTORS_SECONDS = 0.1  # before accepting is tried again: other connections have to end first


async def serve(
    app: ASGIApp,
    listeners: Sequence[trio.SocketListener],
    *,
    drain: trio.Event,
    limits: Limits = DEFAULT_LIMITS,
    clock: Clock | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until ``drain`` is set; then accept no more, finish what was begun, and return.

    Requests that are still running ``limits.drain_seconds`` later are cancelled. The listeners are closed in any case.
    """
    server = _Server(app, limits, DateField(clock or SystemClock()))
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            for listener in listeners:
                accepting.start_soon(server.accept_from, listener, connections)
            task_status.started()
            await drain.wait()
            accepting.cancel_scope.cancel()
        server.finish()
        connections.cancel_scope.deadline = trio.current_time() + limits.drain_seconds


async def open_listener(address: str) -> trio.SocketListener:
    """Listen on ``host:port``, such as ``127.0.0.1:8080``, ``[::1]:8080``, or port 0 for one that is free.

    If a host's name stands for several addresses, the first that this machine has is taken.

    Raises:
        UsageError: the address is not of that form or not one of this machine's, or the port is taken.
    """
    host, port = parse_address(address)
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise UsageError(f"cannot listen on {address}: the host is not known here") from None
    for family, _, _, _, bound in found:
        try:
            return await _listen(family, bound)
        except OSError as error:
            # localhost may stand for ::1 also where IPv6 is switched off.
            if error.errno not in _NOT_OURS:
                raise UsageError(f"cannot listen on {address}: {_in_words(error)}") from None
    raise UsageError(f"cannot listen on {address}: this machine does not have that address")


def url_of(listener: trio.SocketListener) -> str:
    """The URL under which this machine reaches a listener."""
    host, port = listener.socket.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server:
    def __init__(self, app: ASGIApp, limits: Limits, date: DateField) -> None:
        self._app = app
        self._limits = limits
        self._date = date
        self._served: set[Connection] = set()
        self._draining = False
        self._slots = trio.Semaphore(limits.connections + limits.refused_connections)

    async def accept_from(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        async with listener:
            while True:
                await self._slots.acquire()
                sock = await _accept(listener)
                connections.start_soon(self._serve, Connection(sock, self._app, self._limits, self._date))

    def finish(self) -> None:
        self._draining = True
        for connection in self._served:
            connection.finish()

    async def _serve(self, connection: Connection) -> None:
        try:
            if len(self._served) >= self._limits.connections and not self._make_room():
                await connection.turn_away()
                return
            self._served.add(connection)
            if self._draining:
                connection.finish()
            await connection.run()
        finally:
            self._served.discard(connection)
            self._slots.release()

    def _make_room(self) -> bool:
        """Close the connection that has waited longest for a request: idle clients shall not keep others out."""
        waiting = {c: until for c in self._served if (until := c.idle_until) is not None}
        if not waiting:
            return False
        longest = min(waiting, key=waiting.__getitem__)
        longest.finish()
        self._served.discard(longest)
        return True


async def _listen(family: socket.AddressFamily, address: object) -> trio.SocketListener:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return trio.SocketListener(sock)


async def _accept(listener: trio.SocketListener) -> socket.socket:
    while True:
        try:
            accepted, _ = await listener.socket.accept()
        except OSError as error:
            if error.errno in _OUT_OF_DESCRIPTORS:
                await trio.sleep(OUT_OF_DESCRIPTORS_SECONDS)
            elif error.errno not in _LOST_BEFORE_ACCEPT:
                raise
            continue
        sock = socket.socket(fileno=accepted.detach())
        sock.setblocking(False)
        with suppress(OSError):  # a Unix socket has no such option, and a client may be gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def _in_words(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is taken; stop what uses it or choose another"
        case errno.EACCES:
            return "not allowed; ports below 1024 need a privilege"
        case _:
            return str(error.strerror)


_NOT_OURS = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_LOST_BEFORE_ACCEPT = {
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EOPNOTSUPP,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
}
