"""Reads HTTP/1.0 and HTTP/1.1 requests from bytes, and refuses whatever two readers could understand differently.

llhttp reads. In front of it stands a guard that knows only the grammar of RFC 9112: it cuts the stream into heads and
chunks and passes on nothing but well-formed ones, because llhttp alone is lenient in places where a proxy may not be.
Guard and llhttp must agree on where a request ends. The parser does no I/O: ``feed`` it bytes in any portions and take
``next_event`` until that is None. The events do not depend on the portions, except that a body may come in more parts.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote_to_bytes

import httptools

from runtime.limits import Limits
from tlog.errors import FormatError

Header = tuple[bytes, bytes]  # the name in lower case, the value without the whitespace around it


class RequestError(FormatError):
    """A request to refuse with this status. Nothing more can be read from its connection."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What stands before the body. ``target``, ``raw_path`` and ``query`` are as sent, ``path`` is decoded.

    ``has_body`` says whether parts of a body and a ``RequestEnd`` follow; otherwise the head is the whole request.
    """

    method: str
    target: bytes
    path: str
    raw_path: bytes
    query: bytes
    version: str
    headers: list[Header]
    has_body: bool
    keep_alive: bool
    expects_continue: bool


@dataclass(frozen=True, slots=True)
class BodyPart:
    """Some bytes of the body, never none."""

    data: bytes


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """The request is complete; what follows is another one."""


Event = RequestHead | BodyPart | RequestEnd


class RequestParser:
    """The requests of one connection, in order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._readings = _Readings()
        self._llhttp = httptools.HttpRequestParser(self._readings)
        self._data = b""
        self._at = 0  # what stands before it was passed to llhttp
        self._line = 0  # where the first line starts that was not judged yet
        self._may_skip_line = True
        self._state = _State.HEAD
        self._owed = 0  # bytes still to pass on: of the body, or of a chunk and its line end
        self._body_size = 0
        self._framing_size = 0
        self._fault: RequestError | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes from the connection."""
        if self._at == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._at :] + data
        self._line -= self._at
        self._at = 0

    @property
    def buffered(self) -> int:
        """How many bytes wait to be understood."""
        return len(self._data) - self._at

    def next_event(self) -> Event | None:
        """What the bytes say next, or None when more of them are needed.

        Raises:
            RequestError: the client is to be refused; every later call says so again.
        """
        if self._fault is not None:
            raise self._fault
        try:
            return self._next_head() if self._state is _State.HEAD else self._next_of_body()
        except RequestError as fault:
            self._fault = fault
            # What was read before the fault is told first: portions must make no difference.
            if part := self._readings.take_body():
                return BodyPart(part)
            raise

    # Heads

    def _next_head(self) -> RequestHead | None:
        if not self.buffered or (self._may_skip_line and not self._skip_empty_line()):
            return None
        start = self._at
        end = self._data.find(b"\r\n\r\n", max(start, self._line - 2)) + 4
        if end >= 4 and end - start <= self._limits.head_bytes:
            raw = self._data[start:end]
            grammar = _HEAD.fullmatch(raw)
            if grammar is not None and self._fits(grammar):
                self._at = self._line = end
                return self._read_head(raw, grammar)
        self._judge_lines()
        return None

    def _skip_empty_line(self) -> bool:
        """Whether the head can be looked at: at most one empty line stands before it.

        RFC 9112, 2.2: a server SHOULD ignore at least one empty line received prior to the request-line.
        """
        if self._data.startswith(b"\r", self._at):
            if self.buffered < 2:
                return False
            if self._data.startswith(b"\r\n", self._at):
                self._at = self._line = self._at + 2
                self._may_skip_line = False
        else:
            self._may_skip_line = False
        return True

    def _fits(self, grammar: re.Match[bytes]) -> bool:
        return (
            grammar.end(2) - grammar.start(2) <= self._limits.target_bytes
            and grammar.end(3) + 2 <= self._limits.target_bytes + _AROUND_TARGET
        )

    def _judge_lines(self) -> None:
        """Refuse a head for its first faulty line, once that line is there or is too long; otherwise wait."""
        while True:
            end = self._data.find(b"\n", self._line) + 1
            self._judge_sizes(end or len(self._data))
            if not end:
                return
            line = self._data[self._line : end]
            if self._line == self._at:
                self._judge_request_line(line)
            elif _FIELD.fullmatch(line) is None:
                raise RequestError(400, "a header field is not as RFC 9112 has it: one line, no space before the colon")
            self._line = end

    def _judge_sizes(self, end: int) -> None:
        if self._line == self._at and end - self._at > self._limits.target_bytes + _AROUND_TARGET:
            raise RequestError(414, "the request target is too long")
        if end - self._at > self._limits.head_bytes:
            raise RequestError(431, "the request's header fields are too large")

    def _judge_request_line(self, line: bytes) -> None:
        if _OTHER_VERSION.fullmatch(line):
            raise RequestError(505, "speak HTTP/1.1")
        if (grammar := _REQUEST_LINE.fullmatch(line)) is None:
            raise RequestError(400, "the request line is not as RFC 9112 has it: method, path from the root, HTTP/1.1")
        if grammar.end(2) - grammar.start(2) > self._limits.target_bytes:
            raise RequestError(414, "the request target is too long")

    def _read_head(self, raw: bytes, grammar: re.Match[bytes]) -> RequestHead:
        method, target, minor = grammar.groups()
        version = "1.1" if minor == b"1" else "1.0"
        headers = self._read_fields(raw, version)
        meaning = _Meaning.of(headers, version)
        self._expect_body(meaning)
        raw_path, _, query = target.partition(b"?")
        return RequestHead(
            method.decode("ascii"),
            target,
            _decoded(raw_path),
            raw_path,
            query,
            version,
            headers,
            self._state is not _State.HEAD,
            meaning.keep_alive,
            meaning.expects_continue,
        )

    def _read_fields(self, raw: bytes, version: str) -> list[Header]:
        self._readings.headers = []
        try:
            self._llhttp.feed_data(raw)
        except httptools.HttpParserUpgrade:
            self._read_without_upgrade(raw)
        except httptools.HttpParserInvalidMethodError:
            raise RequestError(501, "this method is not known here") from None
        except httptools.HttpParserError:
            # Name the reason where the guard knows it; llhttp's own words may quote what was sent.
            _Meaning.of([(name.lower(), value) for name, value in _FIELDS.findall(raw)], version)
            raise RequestError(400, "the head of the request is not valid HTTP/1.1") from None
        return self._readings.headers

    def _read_without_upgrade(self, raw: bytes) -> None:
        """Read a head whose Upgrade field llhttp would obey: we stay with HTTP/1.1, as RFC 9110, 7.8 allows."""
        self._readings = _Readings()
        self._llhttp = httptools.HttpRequestParser(self._readings)
        try:
            self._llhttp.feed_data(_UPGRADE.sub(b"", raw))
        except httptools.HttpParserUpgrade:
            raise RequestError(501, "this method is not known here") from None  # CONNECT
        except httptools.HttpParserError:
            raise RequestError(400, "the head of the request is not valid HTTP/1.1") from None

    def _expect_body(self, meaning: "_Meaning") -> None:
        if meaning.length is not None and meaning.length > self._limits.body_bytes:
            raise _too_large()
        self._body_size = self._framing_size = 0
        if meaning.chunked:
            self._state = _State.CHUNK_LINE
        elif meaning.length:
            self._state, self._owed = _State.BODY, meaning.length
        if self._readings.complete != (self._state is _State.HEAD):
            raise _disagreement()
        if self._state is _State.HEAD:
            self._begin_again()

    # Bodies

    def _next_of_body(self) -> Event | None:
        while True:
            if self._state is _State.END:
                self._begin_again()
                return _END
            if self._state is _State.CHUNK_LINE:
                if not self._read_chunk_line():
                    return None
            elif self._state is _State.LAST_LINE:
                if not self._read_last_line():
                    return None
            elif not self.buffered:
                return None
            else:
                self._pass_on(self._owed)
            if part := self._readings.take_body():
                return BodyPart(part)

    def _begin_again(self) -> None:
        self._state = _State.HEAD
        self._line = self._at
        self._may_skip_line = True
        self._readings.complete = False

    def _read_chunk_line(self) -> bool:
        end = self._data.find(b"\n", self._at) + 1
        if (end or len(self._data)) - self._at > MAX_CHUNK_LINE:
            raise RequestError(400, "the size line of a chunk is too long")
        if not end:
            return False
        grammar = _CHUNK_LINE.fullmatch(self._data, self._at, end)
        if grammar is None:
            raise RequestError(400, "the size line of a chunk is not as RFC 9112 has it")
        self._account(int(grammar[1], 16), end - self._at)
        self._pass_on(end - self._at)
        return True

    def _account(self, size: int, framing: int) -> None:
        self._body_size += size
        self._framing_size += framing
        if self._body_size > self._limits.body_bytes:
            raise _too_large()
        if self._framing_size > self._limits.chunk_framing_bytes:
            raise RequestError(400, "the body comes in too many small chunks: send it with Content-Length")
        self._owed = framing + size + 2
        self._state = _State.CHUNK if size else _State.LAST_LINE

    def _read_last_line(self) -> bool:
        """Trailer fields are refused: nobody here reads them, and readers differ in where they put them."""
        seen = self._data[self._at : self._at + 2]
        if not b"\r\n".startswith(seen):
            raise RequestError(400, "trailer fields are not read here: leave them out")
        if len(seen) < 2:
            return False
        self._pass_on(2)
        return True

    def _pass_on(self, wanted: int) -> None:
        piece = self._data[self._at : self._at + wanted]
        self._at += len(piece)
        self._owed -= len(piece)
        try:
            self._llhttp.feed_data(piece)
        except httptools.HttpParserError:
            raise RequestError(400, "the body is not framed as RFC 9112 has it") from None
        if not self._owed:
            self._state = _State.CHUNK_LINE if self._state is _State.CHUNK else _State.END
        if self._readings.complete != (self._state is _State.END):
            raise _disagreement()


MAX_CHUNK_LINE: Final = 256  # sixteen hexadecimal digits and an extension nobody uses

_AROUND_TARGET: Final = 64  # the method, two spaces, the version and the line end around a target

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_PATH = rb"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]++|%[0-9A-Fa-f]{2})*+"
_QUERY = rb"(?:\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]++|%[0-9A-Fa-f]{2})*+)?+"
_LINE = rb"(" + _TOKEN + rb") (" + _PATH + _QUERY + rb") HTTP/1\.([01])\r\n"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"

_HEAD = re.compile(_LINE + rb"(?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*+\r\n")
_REQUEST_LINE = re.compile(_LINE)
_OTHER_VERSION = re.compile(rb"[^ \r\n]++ [^ \r\n]++ HTTP/(?!1\.[01]\r)[0-9]\.[0-9]\r\n")
_FIELD = re.compile(rb"(?:" + _TOKEN + rb":" + _VALUE + rb")\r\n")
_FIELDS = re.compile(rb"\r\n(" + _TOKEN + rb"):[\t ]*+(" + _VALUE + rb")")
_UPGRADE = re.compile(rb"(?:\r\nupgrade:" + _VALUE + rb")++(?=\r\n)", re.IGNORECASE)
_HOST = re.compile(
    rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})++(?::[0-9]{0,5})?|\[[0-9A-Fa-f:.]++\](?::[0-9]{0,5})?"
)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_END: Final = RequestEnd()


class _State(Enum):
    HEAD = auto()
    BODY = auto()
    CHUNK_LINE = auto()
    CHUNK = auto()
    LAST_LINE = auto()
    END = auto()


class _Readings:
    """What llhttp calls with what it read."""

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.complete = True

    def take_body(self) -> bytes:
        if not self.body:
            return b""
        taken, self.body = b"".join(self.body), []
        return taken


@dataclass(slots=True)
class _Meaning:
    """What the fields say about the connection and the body, refused where they can be understood in two ways."""

    length: int | None = None
    chunked: bool = False
    keep_alive: bool = True
    expects_continue: bool = False

    @classmethod
    def of(cls, headers: list[Header], version: str) -> "_Meaning":
        meaning = cls(keep_alive=version == "1.1")
        hosts = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
                _judge_host(value, hosts)
            elif name == b"content-length":
                meaning._set_length(value)
            elif name == b"transfer-encoding":
                meaning._set_coding(value, version)
            elif name == b"connection":
                meaning._set_connection(value, version)
            elif name == b"expect":
                meaning._set_expectation(value, version)
        if not hosts and version == "1.1":
            raise RequestError(400, "the Host field is missing")
        if meaning.chunked and meaning.length is not None:
            raise RequestError(400, "a request has Content-Length or Transfer-Encoding, never both")
        return meaning

    def _set_length(self, value: bytes) -> None:
        if self.length is not None:
            raise RequestError(400, "a request has at most one Content-Length")
        if _LENGTH.fullmatch(value) is None:
            raise RequestError(400, "the Content-Length is not a decimal number")
        self.length = int(value)

    def _set_coding(self, value: bytes, version: str) -> None:
        if version == "1.0":
            raise RequestError(400, "HTTP/1.0 has no Transfer-Encoding")
        if self.chunked:
            raise RequestError(400, "a request has at most one Transfer-Encoding")
        if value.lower() != b"chunked":
            raise RequestError(501, "the only Transfer-Encoding known here is chunked")
        self.chunked = True

    def _set_connection(self, value: bytes, version: str) -> None:
        options = [option.strip(b" \t") for option in value.lower().split(b",")]
        if b"close" in options:
            self.keep_alive = False
        elif b"keep-alive" in options and version == "1.0":
            self.keep_alive = True

    def _set_expectation(self, value: bytes, version: str) -> None:
        if value.lower() != b"100-continue":
            raise RequestError(417, "the only expectation known here is 100-continue")
        # RFC 9110, 10.1.1: a server that receives 100-continue in an HTTP/1.0 request MUST ignore it.
        self.expects_continue = version == "1.1"


def _too_large() -> RequestError:
    return RequestError(413, "the body is too large")


def _disagreement() -> RequestError:
    return RequestError(400, "where this request ends can be understood in two ways")


def _judge_host(value: bytes, count: int) -> None:
    if count > 1:
        raise RequestError(400, "a request has one Host field")
    if _HOST.fullmatch(value) is None:
        raise RequestError(400, "the Host field does not name a host")


def _decoded(raw_path: bytes) -> str:
    if b"%" not in raw_path:
        return raw_path.decode("ascii")
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestError(400, "the path is not percent-encoded UTF-8") from None
    if _CONTROL.search(path):
        raise RequestError(400, "the path has control characters")
    return path
