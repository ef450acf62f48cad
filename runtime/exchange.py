"""One request and its response, as an ASGI application sees them: ``receive`` and ``send``.

When a request has to be refused while the application waits for its body (too late, too large, badly framed), the
application is told that the client left, and the refusal is sent in place of whatever it would have answered.
"""

from collections.abc import Callable

import trio
from starlette.types import Message

from runtime.channel import Channel, ClientGoneError
from runtime.limits import Limits
from runtime.request_parser import BodyPart, RequestError, RequestHead, RequestParser
from runtime.response_head import DateField, GivenFields, refusal, status_line


class Exchange:
    """Answers one request over a channel."""

    def __init__(
        self,
        head: RequestHead,
        parser: RequestParser,
        channel: Channel,
        limits: Limits,
        date: DateField,
        may_continue: Callable[[], bool],
    ) -> None:
        self._head = head
        self._parser = parser
        self._channel = channel
        self._limits = limits
        self._date = date
        self._may_continue = may_continue
        # Of the request
        self._body_read = not head.has_body
        self._body_told = False
        self._body_due = trio.current_time() + limits.body_seconds if head.has_body else 0.0
        self._owes_continue = head.expects_continue and head.has_body
        self._fault: RequestError | None = None
        self._gone = False
        self._watch: trio.CancelScope | None = None
        # Of the response
        self._status = 0
        self._fields = _NO_FIELDS
        self._head_sent = False
        self._mute = False  # a response whose body stays unsaid
        self._chunked = False
        self._left: int | None = None  # bytes that Content-Length still promises
        self._complete = False
        self._keeps = False

    @property
    def failed(self) -> bool:
        """Whether the client's side failed: then what the application makes of it is no fault of ours."""
        return self._gone or self._fault is not None

    async def receive(self) -> Message:
        """The next part of the body; after its last part, wait until the client has left or has its answer."""
        if not self._body_told and not self.failed:
            try:
                return await self._receive_body()
            except RequestError as fault:
                self._fault = fault
            except ClientGoneError:
                self._gone = True
        await self._wait_for_departure()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take the response's start, then its body.

        Raises:
            ClientGoneError: nobody is there to read it.
        """
        if self.failed:
            raise ClientGoneError("the request is over")
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            await self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError("an application sends http.response.start, then http.response.body")

    async def finish(self) -> bool:
        """Say what the application left unsaid. Whether the connection can serve another request."""
        if self._gone:
            return False
        if self._complete:
            if not self._keeps:
                await self._channel.hang_up()
            return self._keeps
        if self._head_sent:
            self._channel.break_off()
            return False
        fault = self._fault or _NO_ANSWER
        await self._channel.write(refusal(fault, self._date, mute=self._head.method == "HEAD"))
        await self._channel.hang_up()
        return False

    # The request

    async def _receive_body(self) -> Message:
        parts: list[bytes] = []
        while not self._body_read:
            event = self._parser.next_event()
            if isinstance(event, BodyPart):
                parts.append(event.data)
            elif event is not None:
                self._body_read = True
            elif parts:
                return {"type": "http.request", "body": b"".join(parts), "more_body": True}
            else:
                await self._read_more()
        self._body_told = True
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}

    async def _read_more(self) -> None:
        if self._owes_continue:
            self._owes_continue = False
            await self._channel.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        with trio.move_on_at(self._body_due):
            data = await self._channel.read()
            if not data:
                raise ClientGoneError("the client hung up")
            self._parser.feed(data)
            return
        raise RequestError(408, "the body took too long")

    async def _wait_for_departure(self) -> None:
        if self._complete or self.failed:
            return
        with trio.CancelScope() as self._watch:
            while self._parser.buffered < self._limits.buffered_bytes:
                data = await self._channel.read()
                if not data:
                    self._gone = True
                    return
                self._parser.feed(data)
            await trio.sleep_forever()

    # The response

    def _start(self, message: Message) -> None:
        if self._status or not 200 <= message["status"] <= 599:
            raise RuntimeError("a response starts once, with a final status")
        self._fields = GivenFields.of(message.get("headers", ()))
        self._left = self._fields.length
        self._status = message["status"]
        self._mute = self._head.method == "HEAD" or self._status in _WITHOUT_BODY

    async def _send_body(self, body: bytes, more: bool) -> None:
        if not self._status or self._complete:
            raise RuntimeError("a response has a start, then a body that ends once")
        before = b"" if self._head_sent else self._head_bytes(len(body), more)
        data = before + self._framed(body, more)
        self._head_sent = True
        self._complete = not more
        if self._watch is not None and not more:
            self._watch.cancel()
        if data:
            await self._write(data)

    def _head_bytes(self, size: int, more: bool) -> bytes:
        framing = b"" if self._fields.length is not None else self._framing(size, more)
        self._keeps = (
            self._body_read
            and self._head.keep_alive
            and not self._fields.closes
            and (self._mute or self._chunked or self._left is not None)
            and self._may_continue()
        )
        return b"".join(
            (
                status_line(self._status),
                self._fields.block,
                b"" if self._fields.dated else self._date.field(),
                framing,
                self._connection_field(),
                b"\r\n",
            )
        )

    def _framing(self, size: int, more: bool) -> bytes:
        if not more:
            self._left = size
            return b"" if self._status in _WITHOUT_BODY else b"content-length: %d\r\n" % size
        if self._mute or self._head.version == "1.0":
            return b""  # nothing to frame, or the end of the connection ends it
        self._chunked = True
        return b"transfer-encoding: chunked\r\n"

    def _connection_field(self) -> bytes:
        if not self._keeps:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self._head.version == "1.0" else b""

    def _framed(self, body: bytes, more: bool) -> bytes:
        if self._mute:
            return b""
        if self._chunked:
            return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the body is not as long as its Content-Length says")
        return body

    async def _write(self, data: bytes) -> None:
        try:
            await self._channel.write(data)
        except ClientGoneError:
            self._gone = True
            raise


_NO_FIELDS = GivenFields(b"")
_NO_ANSWER = RequestError(500, "the request could not be answered: this is our fault")
_WITHOUT_BODY = frozenset({204, 304})
