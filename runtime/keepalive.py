"""Asks over connections that are kept: the short way for plain GET requests, of which a monitor makes many a second.

llhttp reads the answers. One connection carries one request at a time. Whoever is cancelled, or meets a fault, closes
its connection; only after a whole answer, with nothing behind it, is it kept for the next request.
"""

import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httptools
import trio

MAX_CONNECTIONS = 512  # at once, to all servers together: some for each log
MAX_IDLE = 64  # kept for the next request, the newest
MAX_HEAD_BYTES = 64 * 1024  # of an answer, with the interim ones before it
CHUNK_BYTES = 64 * 1024

_PLAIN_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?(/[!\"$-~]*)?")


class HungUp(Exception):  # noqa: N818  # says what happened
    """The server closed the connection before its answer was whole; ``silent`` says that none of it had come."""

    def __init__(self, *, silent: bool) -> None:
        super().__init__()
        self.silent = silent


class NotHttp(Exception):  # noqa: N818  # as above
    """What came is not a proper answer."""


class Sink(Protocol):
    """Takes a body in pieces, or raises."""

    def take(self, piece: bytes) -> None: ...

    def whole(self) -> bytes: ...


SinkFor = Callable[[Mapping[str, str]], Sink]
"""What takes the body of an answer with these fields; may raise."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask, and for what."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Target | None":
        """Take a plain URL apart; None for one that takes more to understand."""
        found = _PLAIN_URL.fullmatch(url)
        if found is None:
            return None
        scheme, host, port, path = found.groups()
        number = int(port) if port else {"http": 80, "https": 443}[scheme]
        return cls(scheme, host, number, path or "/") if 0 < number < 65_536 else None

    @property
    def server(self) -> tuple[str, str, int]:
        """Whom to ask."""
        return self.scheme, self.host, self.port

    @property
    def named(self) -> str:
        """The host, as the request names it."""
        usual = self.port == {"http": 80, "https": 443}[self.scheme]
        return self.host if usual else f"{self.host}:{self.port}"


@dataclass(slots=True)
class Answer:
    """What came of a request, filled by the callbacks of llhttp."""

    sink_for: SinkFor
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    sink: Sink | None = None
    fault: Exception | None = None
    is_whole: bool = False
    has_more: bool = False
    may_be_kept: bool = False
    parser: httptools.HttpResponseParser | None = None

    def on_message_begin(self) -> None:
        self.has_more = self.is_whole

    def on_header(self, name: bytes, value: bytes) -> None:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.fields[key] = f"{self.fields[key]}, {text}" if key in self.fields else text

    def on_headers_complete(self) -> None:
        if self.parser is None:
            raise AssertionError("a parser calls back that nobody made")
        self.status = self.parser.get_status_code()
        if self.status >= 200 and not self.is_whole:
            try:
                self.sink = self.sink_for(self.fields)
            except Exception as error:  # llhttp would wrap it
                self.fault = error

    def on_body(self, data: bytes) -> None:
        if self.sink is not None and self.fault is None and not self.is_whole:
            try:
                self.sink.take(data)
            except Exception as error:  # as above
                self.fault = error

    def on_message_complete(self) -> None:
        if self.status < 200:  # an interim answer: the real one follows
            self.fields.clear()
        else:
            self.is_whole = True
            self.may_be_kept = self.parser is not None and self.parser.should_keep_alive()


class Connections:
    """Those that are kept, by server."""

    def __init__(self, idle_seconds: float, make_context: Callable[[], ssl.SSLContext]) -> None:
        self._idle_seconds = idle_seconds
        self._make_context = make_context
        self._context: ssl.SSLContext | None = None
        self._room = trio.CapacityLimiter(MAX_CONNECTIONS)
        self._idle: deque[tuple[tuple[str, str, int], float, trio.abc.Stream]] = deque()

    async def get(
        self, target: Target, fields: Mapping[str, str], sink_for: SinkFor
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask once, over a connection that is kept or a new one.

        Raises:
            HungUp: the answer broke off.
            NotHttp: it is none.
            OSError: nobody is there. Also whatever ``sink_for`` and its sinks raise.
        """
        said = {"host": target.named, "connection": "keep-alive", **fields}
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        request = f"GET {target.path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")
        async with self._room:
            stream = await self._kept(target)
            if stream is not None:
                try:
                    return await self._ask(target, stream, request, sink_for)
                except HungUp as error:
                    if not error.silent:
                        raise
                    # The server gave the connection up while nobody used it; it has not seen this request.
            return await self._ask(target, await self._connect(target), request, sink_for)

    async def aclose(self) -> None:
        """Close what is kept."""
        while self._idle:
            await trio.aclose_forcefully(self._idle.pop()[2])

    async def _kept(self, target: Target) -> trio.abc.Stream | None:
        """Take the connection to a server that was used last, if it is not too old."""
        for kept in reversed(self._idle):
            server, since, stream = kept
            if server == target.server:
                self._idle.remove(kept)
                if trio.current_time() - since < self._idle_seconds:
                    return stream
                await trio.aclose_forcefully(stream)
                return None
        return None

    async def _keep(self, target: Target, stream: trio.abc.Stream) -> None:
        self._idle.append((target.server, trio.current_time(), stream))
        if len(self._idle) > MAX_IDLE:
            await trio.aclose_forcefully(self._idle.popleft()[2])

    async def _connect(self, target: Target) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(target.host, target.port)
        if target.scheme == "http":
            return stream
        self._context = self._context or self._make_context()
        return trio.SSLStream(stream, self._context, server_hostname=target.host, https_compatible=True)

    async def _ask(
        self, target: Target, stream: trio.abc.Stream, request: bytes, sink_for: SinkFor
    ) -> tuple[int, dict[str, str], bytes]:
        answer = Answer(sink_for)
        parser = answer.parser = httptools.HttpResponseParser(answer)
        try:
            await _exchange(stream, request, answer, parser)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        finally:
            answer.parser = None  # each holds the other
        if answer.has_more or not answer.may_be_kept:
            await trio.aclose_forcefully(stream)
        else:
            await self._keep(target, stream)
        if answer.sink is None:
            raise AssertionError("an answer without a status is whole")
        return answer.status, answer.fields, answer.sink.whole()


async def _exchange(
    stream: trio.abc.Stream, request: bytes, answer: Answer, parser: httptools.HttpResponseParser
) -> None:
    """Send a request, and read until its answer is whole."""
    taken = 0
    try:
        await stream.send_all(request)
        while not answer.is_whole:
            data = await stream.receive_some(CHUNK_BYTES)
            if not data:
                _end(answer, silent=not taken)
                break
            taken += len(data)
            parser.feed_data(data)
            if answer.fault is not None:
                raise answer.fault
            if answer.sink is None and taken > MAX_HEAD_BYTES:
                raise NotHttp
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise HungUp(silent=not taken) from None
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        if not answer.is_whole:
            raise NotHttp from None
        answer.has_more = True  # which nobody asked for


def _end(answer: Answer, *, silent: bool) -> None:
    """The server closed the connection. That ends an answer which announced no other end."""
    unbounded = "content-length" not in answer.fields and "transfer-encoding" not in answer.fields
    if answer.sink is None or not unbounded:
        raise HungUp(silent=silent)
    answer.is_whole = answer.has_more = True
