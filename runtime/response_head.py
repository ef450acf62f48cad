"""Writes the head of an HTTP response: the fields exactly as the application gave them, and the few it left to us.

The server adds Date, the framing (Content-Length or chunked) and what becomes of the connection; it names no product.
"""

import re
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from runtime.clock import Clock
from runtime.request_parser import Header, RequestError


@dataclass(slots=True)
class GivenFields:
    """The application's fields, and which of the fields that concern the server are among them."""

    block: bytes
    length: int | None = None
    closes: bool = False
    dated: bool = False

    @classmethod
    def of(cls, headers: list[Header]) -> "GivenFields":
        """Read the fields of a ``http.response.start`` message.

        Raises:
            ValueError: a field that would break the head apart, or a length that is no number.
        """
        given = cls(b"")
        lines: list[bytes] = []
        for name, value in headers:
            if name == b"content-length":
                given.length = int(value)
            elif name == b"connection":
                given.closes |= value.lower() == b"close"
                continue
            elif name == b"transfer-encoding":
                continue  # ASGI: framing is the server's
            elif name == b"date":
                given.dated = True
            lines.append(b"%b: %b\r\n" % (name, value))
        block = b"".join(lines)
        # A value with line ends in it would add fields of a stranger's choice: then there are more lines than fields.
        if _FIELDS.fullmatch(block) is None or block.count(b"\n") != len(lines):
            raise ValueError("a response field has a name or a value that HTTP does not allow")
        given.block = block
        return given


class DateField:
    """The Date field of now, written once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._field = b""

    def field(self) -> bytes:
        second = self._clock.now()
        if second != self._second:
            self._second = second
            self._field = b"date: " + formatdate(second, usegmt=True).encode("ascii") + b"\r\n"
        return self._field


@lru_cache(maxsize=1024)
def status_line(status: int) -> bytes:
    """The first line of a response; the reason is for people."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode("ascii")


def refusal(fault: RequestError, date: DateField, *, mute: bool = False) -> bytes:
    """A whole response that says why a request is not served; ``mute`` leaves the body out, as HEAD wants it."""
    body = str(fault).encode("utf-8") + b"\n"
    fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
    retry = b"retry-after: 1\r\n" if fault.status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return status_line(fault.status) + date.field() + fields + retry + b"\r\n" + (b"" if mute else body)


_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++: [\t\x20-\x7e\x80-\xff]*+\r\n)*+")
