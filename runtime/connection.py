"""Serves one connection: its requests one after the other, each answered by the ASGI application, within the limits.

One task serves a connection, and the application runs in it. Requests sent ahead wait in the socket or, up to a limit,
in the parser, and are answered in order.
"""

import socket
from collections.abc import Callable
from enum import Enum, auto

import structlog
import trio
from starlette.types import ASGIApp, Scope

from runtime.channel import Channel, ClientGoneError
from runtime.database_thread import DatabaseFailed
from runtime.errors import leaves
from runtime.exchange import Exchange
from runtime.limits import Limits
from runtime.request_parser import RequestError, RequestHead, RequestParser
from runtime.response_head import DateField, refusal


class Connection:
    """One client's connection."""

    def __init__(self, sock: socket.socket, app: ASGIApp, limits: Limits, date: DateField) -> None:
        self._app = app
        self._limits = limits
        self._date = date
        self._channel = Channel(sock, limits)
        self._parser = RequestParser(limits)
        self._client = _address(sock.getpeername)
        self._server = _address(sock.getsockname)
        self._waiting = trio.CancelScope()
        self._waits_for = _WaitsFor.REQUEST
        self._last = False

    async def run(self) -> None:
        """Answer requests until one of the two sides is done with the connection, then close it."""
        try:
            with self._waiting:
                await self._serve()
            if self._waits_for is _WaitsFor.HEAD:
                await self._refuse(RequestError(408, "the head of the request took too long"))
        except ClientGoneError:
            pass
        finally:
            self._channel.close()

    async def turn_away(self) -> None:
        """Say that the server is full, and close."""
        try:
            await self._refuse(RequestError(503, "too many connections: try again later"))
        except ClientGoneError:
            pass
        finally:
            self._channel.close()

    def finish(self) -> None:
        """Serve no request beyond the one at hand."""
        self._last = True
        if self._waits_for is _WaitsFor.REQUEST:
            self._waiting.cancel()

    @property
    def idle_until(self) -> float | None:
        """When it will be closed for want of a request; None while there is one."""
        return self._waiting.deadline if self._waits_for is _WaitsFor.REQUEST else None

    async def _serve(self) -> None:
        served = 0
        try:
            while (head := await self._next_request()) is not None:
                served += 1
                self._last |= served == self._limits.requests_per_connection
                if not await self._answer(head):
                    return
        except RequestError as fault:
            self._wait_for(_WaitsFor.APPLICATION, float("inf"))
            await self._refuse(fault)

    async def _next_request(self) -> RequestHead | None:
        event = self._parser.next_event()
        if event is None:
            self._wait_for(_WaitsFor.REQUEST, self._limits.idle_seconds)
            while event is None:
                if not (data := await self._channel.read()):
                    self._waits_for = _WaitsFor.REQUEST  # hung up in the middle of a head: there is nobody to tell
                    return None
                if self._waiting.cancel_called:
                    return None  # it came in the instant of being too late; the application would be cancelled
                self._parser.feed(data)
                event = self._parser.next_event()
                if event is None and self._waits_for is _WaitsFor.REQUEST:
                    self._wait_for(_WaitsFor.HEAD, self._limits.head_seconds)
        else:
            await trio.lowlevel.checkpoint()  # a client that sends requests ahead takes its turn like others
        self._wait_for(_WaitsFor.APPLICATION, float("inf"))
        if not isinstance(event, RequestHead):
            raise AssertionError("a request begins with its head")
        return event

    def _wait_for(self, what: "_WaitsFor", seconds: float) -> None:
        self._waits_for = what
        self._waiting.deadline = trio.current_time() + seconds

    async def _answer(self, head: RequestHead) -> bool:
        exchange = Exchange(head, self._parser, self._channel, self._limits, self._date, lambda: not self._last)
        try:
            await self._app(self._asgi_scope(head), exchange.receive, exchange.send)
        except Exception as error:
            if not exchange.failed:
                _report(head.method, error)
        return await exchange.finish()

    def _asgi_scope(self, head: RequestHead) -> Scope:
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "client": self._client,
            "server": self._server,
        }

    async def _refuse(self, fault: RequestError) -> None:
        await self._channel.write(refusal(fault, self._date))
        await self._channel.hang_up()


class _WaitsFor(Enum):
    REQUEST = auto()
    HEAD = auto()
    APPLICATION = auto()


def _address(name: Callable[[], object]) -> tuple[str, int] | None:
    """The host and port of one end, if it has them: a Unix socket has none, a client that left neither."""
    try:
        match name():
            case (str(host), int(port), *_):
                return host, port
    except OSError:
        pass
    return None


def _report(method: str, error: Exception) -> None:
    failures = list(leaves(error))
    if all(isinstance(failure, DatabaseFailed) for failure in failures):
        # It failed below us: where we called it from helps nobody, and the daemon ends with its last sentence.
        _log.error("request_failed", method=method, reason=str(failures[0]))
    else:
        _log.exception("request_failed", method=method, exc_info=error)


_ASGI = {"version": "3.0", "spec_version": "2.4"}
_log = structlog.get_logger()
