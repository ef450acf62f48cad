"""Fetches from servers that nobody here trusts: one deadline, one byte cap, no redirects, no surprises.

The only module that imports httpx. An answer is whatever the server said, with any status; ``FetchError`` means that
there was none. What a server sent is never repeated in an error.
"""

import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

import httpx
import trio

MAX_CONNECTIONS = 128  # at once, to all servers together: some per peer and log
MAX_IDLE_CONNECTIONS = 32  # kept for the next round, which comes within seconds or not at all
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

    def __init__(self) -> None:
        self._httpx = httpx.AsyncClient(
            trust_env=False,  # a proxy or a .netrc of the environment is not ours to use
            follow_redirects=False,  # the configured server answers, or nobody does
            timeout=None,  # noqa: S113 # httpx counts per operation, which drips outlast: fetch has one deadline
            limits=httpx.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_IDLE_CONNECTIONS,
                keepalive_expiry=IDLE_SECONDS,
            ),
        )
        self._httpx.headers.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
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
                return await self._fetch(method, url, body, asked, cap)
        except trio.TooSlowError:
            raise FetchError(Failure.TIMEOUT, f"no complete answer within {seconds:g} seconds") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise FetchError(Failure.UNREACHABLE, "the URL is not one that can be fetched") from None
        except (httpx.ProtocolError, httpx.DecodingError):
            raise FetchError(Failure.PROTOCOL, "the server does not speak proper HTTP") from None
        except httpx.TransportError:
            raise FetchError(Failure.UNREACHABLE, "the server cannot be reached") from None

    async def _fetch(self, method: str, url: str, body: bytes, headers: Mapping[str, str], cap: int) -> Response:
        async with self._httpx.stream(method, url, content=body or None, headers=headers) as answer:
            fields = {name.lower(): value for name, value in answer.headers.items()}
            return Response(answer.status_code, fields, await _read(answer, fields, cap))


async def _read(answer: httpx.Response, fields: Mapping[str, str], cap: int) -> bytes:
    match fields.get("content-encoding", "identity").lower():
        case "identity" | "":
            return await _read_capped(answer.aiter_raw(), cap)
        case "gzip" | "x-gzip":
            return await _read_gzip(answer.aiter_raw(), cap)
        case _:
            raise FetchError(Failure.PROTOCOL, "the answer has a Content-Encoding that was not asked for")


async def _read_capped(pieces: AsyncIterator[bytes], cap: int) -> bytes:
    taken = bytearray()
    async for piece in pieces:
        taken += piece
        if len(taken) > cap:
            raise _too_large(cap)
    return bytes(taken)


async def _read_gzip(pieces: AsyncIterator[bytes], cap: int) -> bytes:
    """Decompress never more than one byte beyond the cap: 194 KB of gzip can hold 200 MB."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    taken = bytearray()
    try:
        async for piece in pieces:
            taken += inflate.decompress(piece, cap + 1 - len(taken))
            if len(taken) > cap:
                raise _too_large(cap)
    except zlib.error:
        raise FetchError(Failure.PROTOCOL, "the answer is not the gzip it claims to be") from None
    if not inflate.eof or inflate.unused_data:
        raise FetchError(Failure.PROTOCOL, "the answer is not the gzip it claims to be")
    return bytes(taken)


def _too_large(cap: int) -> FetchError:
    return FetchError(Failure.TOO_LARGE, f"the answer is larger than {cap} bytes")
