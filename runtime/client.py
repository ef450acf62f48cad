"""Fetches from servers that nobody here trusts: one deadline, one byte cap, no redirects, no surprises.

The only module that imports httpx, which does what takes more than a plain GET. An answer is whatever the server said,
with any status; ``FetchError`` means that there was none. What a server sent is never repeated in an error.
"""

import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx
import trio

from runtime.keepalive import Connections, HungUp, NotHttp, Sink, Target

MAX_CONNECTIONS = 128  # at once, to all servers together: some per peer and log
MAX_IDLE_CONNECTIONS = 32  # kept for the next round, which comes within seconds or not at all
USER_AGENT = "sameview"  # an operator may want to know what it is that keeps asking
INFLATED_BYTES = 256 * 1024  # decompressed at a time
IDLE_SECONDS = 20.0  # below the 60 or 75 seconds after which servers hang up, so that they rarely do it in our face


class Failure(StrEnum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TOO_LARGE = "too large"
    PROTOCOL = "protocol"


class FetchError(Exception):
    """There is no answer; ``failure`` says why."""

    def __init__(self, failure: Failure, sentence: str) -> None:
        super().__init__(sentence)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Keeps connections between fetches; use it with ``async with``, from any number of tasks."""

    def __init__(self, user_agent: str = USER_AGENT, proxy: str | None = None) -> None:
        self._httpx = httpx.AsyncClient(
            proxy=proxy,
            trust_env=False,  # a proxy or a .netrc of the environment is not ours to use
            follow_redirects=False,  # the configured server answers, or nobody does
            cookies=CookieJar(
                DefaultCookiePolicy(allowed_domains=())
            ),  # a server could fill the jar, and know us by it
            timeout=None,  # noqa: S113 # httpx counts per operation, which drips outlast: fetch has one deadline
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_IDLE_CONNECTIONS,
                keepalive_expiry=IDLE_SECONDS,
            ),
        )
        self._common = {"user-agent": user_agent, "accept": "*/*"}
        self._httpx.headers = httpx.Headers(self._common)
        self._connections = Connections(IDLE_SECONDS, partial(httpx.create_ssl_context, trust_env=False))
        self._is_direct = proxy is None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            await self._connections.aclose()
            await self._httpx.aclose()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        """Ask once, and take at most ``cap`` bytes (also after decompression) within ``seconds`` altogether.

        ``gunzip`` says that compressed answers are welcome. A body marked as gzip is decompressed either way, because
        some servers compress without being asked.

        Raises:
            FetchError: no complete answer came.
        """
        asked = {"accept-encoding": "gzip, identity" if gunzip else "identity", **(headers or {})}
        try:
            with trio.fail_after(seconds):
                target = Target.of(url) if method == "GET" and not body and self._is_direct else None
                if target is not None:
                    fields = {**self._common, **asked}
                    return Response(*await self._connections.get(target, fields, lambda found: _sink_for(found, cap)))
                return await self._fetch(method, url, body, asked, cap)
        except trio.TooSlowError:
            raise FetchError(Failure.TIMEOUT, f"no complete answer within {seconds:g} seconds") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):  # the last of host names like "a..b"
            raise FetchError(Failure.UNREACHABLE, "this is no URL that begins with http:// or https://") from None
        except HungUp as error:
            if error.silent:
                raise FetchError(Failure.UNREACHABLE, "the server hung up instead of answering") from None
            raise FetchError(Failure.PROTOCOL, "the server does not speak proper HTTP") from None
        except NotHttp:
            raise FetchError(Failure.PROTOCOL, "the server does not speak proper HTTP") from None
        except httpx.RemoteProtocolError as error:
            if str(error).startswith(_HUNG_UP):
                raise FetchError(Failure.UNREACHABLE, "the server hung up instead of answering") from None
            raise FetchError(Failure.PROTOCOL, "the server does not speak proper HTTP") from None
        except (httpx.TransportError, OSError):
            raise FetchError(Failure.UNREACHABLE, "the server cannot be reached") from None

    async def _fetch(self, method: str, url: str, body: bytes, headers: Mapping[str, str], cap: int) -> Response:
        request = self._httpx.build_request(method, url, content=body or None, headers=headers)
        request.stream = _Body(body)
        answer = await self._httpx.send(request, stream=True)
        try:
            fields = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status_code, fields, await _read(answer, _sink_for(fields, cap)))
        finally:
            await answer.aclose()


class _Body(httpx.AsyncByteStream):
    """A request's body. That of httpx is a generator, which a server that hangs up would leave unfinished."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:  # type: ignore[explicit-override]  # typing has no override before 3.12
        return _Once(self._body)


class _Once:
    """One piece, then the end."""

    def __init__(self, piece: bytes) -> None:
        self._rest = [piece] if piece else []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        return self._rest.pop()


async def _read(answer: httpx.Response, sink: Sink) -> bytes:
    fault: FetchError | None = None
    # httpx has generators within generators: one that is left before its end complains when it is collected. Cancelled,
    # the innermost fails, and with it all of them.
    with trio.CancelScope() as abandoned:
        async for piece in answer.aiter_raw():
            if fault is None:
                try:
                    sink.take(piece)
                except FetchError as error:
                    fault = error
                    abandoned.cancel()
    if fault is not None:
        raise fault
    return sink.whole()


def _sink_for(fields: Mapping[str, str], cap: int) -> Sink:
    announced = fields.get("content-length", "")
    if announced.isdecimal() and int(announced) > _wire_cap(cap):
        raise _too_large(cap)
    match fields.get("content-encoding", "identity").lower():
        case "identity" | "":
            return _Plain(cap)
        case "gzip" | "x-gzip":
            return _Gzip(cap)
        case _:
            raise FetchError(Failure.PROTOCOL, "the answer has a Content-Encoding that was not asked for")


class _Plain:
    """Keeps the pieces as they come: one buffer that grows would be copied, and its places in memory be left behind."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._pieces: list[bytes] = []
        self._size = 0

    def take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._cap:
            raise _too_large(self._cap)
        self._pieces.append(piece)

    def whole(self) -> bytes:
        return b"".join(self._pieces)


class _Gzip:
    """Decompresses at most one byte beyond the cap: 194 KB of gzip can hold 200 MB."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._plain = _Plain(cap)
        self._wire = 0
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def take(self, piece: bytes) -> None:
        self._wire += len(piece)
        # Compressed bytes can also decompress to nothing, for ever.
        if self._wire > _wire_cap(self._cap):
            raise _too_large(self._cap)
        more = True
        while more:
            try:
                inflated = self._inflate.decompress(piece, INFLATED_BYTES)
            except zlib.error:
                raise _not_gzip() from None
            self._plain.take(inflated)
            piece = self._inflate.unconsumed_tail
            more = bool(piece) or len(inflated) == INFLATED_BYTES  # a full portion may not be all that was inside

    def whole(self) -> bytes:
        if not self._inflate.eof or self._inflate.unused_data:
            raise _not_gzip()
        return self._plain.whole()


def _wire_cap(cap: int) -> int:
    """What a body of ``cap`` bytes may take on the wire: gzip adds a little to what it cannot compress."""
    return cap + cap // 500 + 1024


def _not_gzip() -> FetchError:
    return FetchError(Failure.PROTOCOL, "the answer is not the gzip it claims to be")


def _too_large(cap: int) -> FetchError:
    return FetchError(Failure.TOO_LARGE, f"the answer is larger than {cap} bytes")


_HUNG_UP = "Server disconnected"  # how httpcore tells a closed connection, which is no offence, from bad HTTP
