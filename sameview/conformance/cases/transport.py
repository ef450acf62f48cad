"""HTTP: methods, sizes, and connections that are kept."""

import ssl
from contextlib import suppress
from urllib.parse import urlsplit

import httptools
import trio

from sameview.conformance.cases.accepted import large_signatures
from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import fail
from sameview.conformance.session import SECONDS, Session, status
from tlog.add_checkpoint import MAX_PATH
from tlog.hashing import leaf_hash

TOO_LARGE = 20 * 1024 * 1024  # what no log ever sends
PIECE = 64 * 1024


async def keep_alive(session: Session) -> None:
    try:
        with trio.fail_after(SECONDS):
            async with await _connect(session.subject.url) as stream:
                for turn in ("first", "second"):
                    await stream.send_all(_head("GET", session.subject.url))
                    if await _status(stream) is None:
                        fail("W-3", "two answers over one connection", f"the connection was closed at the {turn}")
    except (OSError, trio.BrokenResourceError, trio.TooSlowError, httptools.HttpParserError):
        fail("W-3", "two answers over one connection", "the connection broke")


async def wrong_method(session: Session) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await session.fetch(method, f"{session.subject.url}/add-checkpoint")
        if answer.status != 405:
            fail("W-4", f"405 to {method}", status(answer))


async def largest_legal_body(session: Session) -> None:
    size = await session.stand()
    path = [leaf_hash(b"%d" % number) for number in range(MAX_PATH)]
    draft = session.draft(size, size + 1, path=path)
    for line in large_signatures():
        draft = draft.also_signed(line)
    await session.refused(draft.body(), 422, by="W-7")


async def oversized_body(session: Session) -> None:
    found = await _upload(session.subject.url)
    if found is not None and not 400 <= found <= 499:
        fail("W-28", "413 or 400", str(found))
    await session.grow()


async def _upload(url: str) -> int | None:
    """The status that a body much too large is answered with; None when the witness hangs up on it, as it may."""
    with trio.move_on_after(SECONDS), suppress(OSError, trio.BrokenResourceError, httptools.HttpParserError):
        async with await _connect(url) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send_much, stream, _head("POST", url, TOO_LARGE))
            found = await _status(stream)
            nursery.cancel_scope.cancel()
            return found
    return None


async def _send_much(stream: trio.abc.Stream, head: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(head)
        for _ in range(TOO_LARGE // PIECE):
            await stream.send_all(bytes(PIECE))


# A bare connection: HTTP clients hide which one they use, and what becomes of it.


async def _connect(url: str) -> trio.abc.Stream:
    parts = urlsplit(url)
    if parts.hostname is None:
        raise AssertionError("the command takes URLs with a host")
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return await trio.open_ssl_over_tcp_stream(parts.hostname, parts.port or 443, ssl_context=context)
    return await trio.open_tcp_stream(parts.hostname, parts.port or 80)


def _head(method: str, url: str, length: int = 0) -> bytes:
    parts = urlsplit(url)
    lines = (f"{method} {parts.path}/add-checkpoint HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {length}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii", "replace")


class _Reader:
    """What httptools tells while it reads an answer."""

    complete = False

    def on_message_complete(self) -> None:
        self.complete = True


async def _status(stream: trio.abc.Stream) -> int | None:
    """The status of the next answer, read to its end; None when the connection is closed before that."""
    reader = _Reader()
    parser = httptools.HttpResponseParser(reader)
    while not reader.complete:
        piece = await stream.receive_some(PIECE)
        if not piece:
            return None
        parser.feed_data(bytes(piece))
    status: int = parser.get_status_code()
    return status


CASES = (
    Case(
        "keep-alive",
        ("W-3",),
        "A connection serves more than one request.",
        keep_alive,
    ),
    Case(
        "wrong-method",
        ("W-4",),
        "add-checkpoint is a POST: another method is answered 405.",
        wrong_method,
    ),
    Case(
        "largest-legal-body",
        ("W-7", "W-8", "SN-5"),
        "The largest legal request, 63 proof lines and 16 large signatures, is read: its proof fails, 422.",
        largest_legal_body,
    ),
    Case(
        "oversized-body",
        ("W-28",),
        "A body of 20 MiB is refused, and the witness goes on.",
        oversized_body,
    ),
)
