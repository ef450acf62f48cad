#!/usr/bin/env python3
"""The HTTP request parser: however the bytes are portioned it says the same, and a second reader agrees with it.

RequestParser may raise RequestError and nothing else. What it accepts is given to h11, an independent reader written
from the same RFC: both must see the same requests, or a proxy in front could see others than we do.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import h11

from fuzz.harness import main
from runtime.limits import Limits
from runtime.request_parser import BodyPart, RequestError, RequestHead, RequestParser

SMALL = Limits(target_bytes=40, head_bytes=200, body_bytes=40, chunk_framing_bytes=40)
LARGE = Limits()
MAX_BYTEWISE = 4096  # a longer input, byte by byte, costs much and shows nothing new


def target(data: bytes) -> None:
    """Read the input in several portionings and with another reader."""
    for limits in (SMALL, LARGE):
        whole = read([data], limits)
        if whole != read([data[: len(data) // 2], data[len(data) // 2 :]], limits):
            raise AssertionError("two halves are read otherwise than the whole")
        if len(data) <= MAX_BYTEWISE and whole != read([data[i : i + 1] for i in range(len(data))], limits):
            raise AssertionError("single bytes are read otherwise than the whole")
    _compare_with_h11(data, read([data], LARGE).requests)


@dataclass(slots=True)
class Request:
    """One request as far as it was read."""

    head: RequestHead
    body: bytes = b""
    complete: bool = False


@dataclass(slots=True)
class Reading:
    """What a connection's bytes say."""

    requests: list[Request]
    refusal: tuple[int, str] | None = None


def read(portions: Iterable[bytes], limits: Limits) -> Reading:
    """Everything the parser says of these bytes."""
    parser = RequestParser(limits)
    reading = Reading([])
    try:
        for portion in portions:
            parser.feed(portion)
            _take_events(parser, reading.requests)
    except RequestError as error:
        reading.refusal = error.status, str(error)
    return reading


def _take_events(parser: RequestParser, requests: list[Request]) -> None:
    while (event := parser.next_event()) is not None:
        if isinstance(event, RequestHead):
            requests.append(Request(event, complete=not event.has_body))
        elif isinstance(event, BodyPart):
            requests[-1].body += event.data
        else:
            requests[-1].complete = True


def _compare_with_h11(data: bytes, requests: list[Request]) -> None:
    for ours in requests:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data) + 1)
        connection.receive_data(data.removeprefix(b"\r\n"))  # the empty line that servers should ignore
        head = connection.next_event()
        if not isinstance(head, h11.Request) or _essence(ours.head) != _essence_of_h11(head):
            raise AssertionError("h11 reads another head")
        if ours.complete and _body_with_h11(connection) != ours.body:
            raise AssertionError("h11 reads another body")
        data = connection.trailing_data[0]


def _body_with_h11(connection: h11.Connection) -> bytes:
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    if not isinstance(event, h11.EndOfMessage):
        raise AssertionError("h11 waits for more of a body that has ended")
    return body


Essence = tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]]]


def _essence(head: RequestHead) -> Essence:
    return head.method.encode(), head.target, head.version.encode(), _kept(head.headers)


def _essence_of_h11(head: h11.Request) -> Essence:
    return head.method, head.target, head.http_version, _kept(head.headers)


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    # An offer to upgrade is cut out where llhttp would take it up, and h11 writes the coding in lower case.
    return [
        (bytes(name), bytes(value).lower() if name == b"transfer-encoding" else bytes(value))
        for name, value in headers
        if name != b"upgrade"
    ]


_GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
_POST = b"POST /add-checkpoint HTTP/1.1\r\nHost: a.example:80\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"

SEEDS = [
    _GET + b"\r\n",
    _GET + b"\r\n" + _GET + b"Connection: close\r\n\r\n",
    b"GET /a%20b/../c?x=1&y=%00 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"\r\nHEAD /tile/0/x001/067.p/8 HTTP/1.1\r\nhost:[::1]:1\r\nX-Empty:\r\nX-Text: a \tb\xff \t\r\n\r\n",
    _POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nabcde" + _GET + b"\r\n",
    _CHUNKED + b"1\r\na\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n" + _GET + b"\r\n",
    _CHUNKED + b"0\r\n\r\n",
    _GET + b"Connection: upgrade, keep-alive\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    # What has to be refused.
    _GET + b"Host: b\r\n\r\n",
    _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    _POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
    _POST + b"Content-Length : 5\r\n\r\nabcde",
    _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    _CHUNKED + b"0\r\nTrailer: 1\r\n\r\n",
    _CHUNKED + b"+1\r\na\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    _GET + b"X: a\r\n b\r\n\r\n",
]

if __name__ == "__main__":
    main(target, SEEDS)
