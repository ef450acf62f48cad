"""HTTP: methods, sizes, and connections that are kept."""

import ssl
from urllib.parse import urlsplit

import httptools
import trio

from runtime.client import FetchError
from sameview.conformance.cases.accepted import large_signatures
from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import fail
from sameview.conformance.session import SECONDS, Session, status
from tlog.add_checkpoint import MAX_PATH
from tlog.hashing import leaf_hash

TOO_LARGE = 20 * 1024 * 1024  # what no log ever sends
PIECE = 64 * 1024


async def keep_alive(session: Session) -> None:
    """Two requests over one connection: over a bare socket, because HTTP clients hide what they do."""
    parts = urlsplit(session.subject.url)
    if parts.hostname is None:
        raise AssertionError("the command takes URLs with a host")
    request = f"GET {parts.path}/add-checkpoint HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode("ascii", "replace")
    try:
        with trio.fail_after(SECONDS):
            async with await _connect(parts.scheme, parts.hostname, parts.port) as stream:
                for turn in ("first", "second"):
                    if not await _answered(stream, request):
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
    try:
        answer = await session.fetch("POST", f"{session.subject.url}/add-checkpoint", bytes(TOO_LARGE))
    except FetchError:
        pass  # hanging up on it is an answer too
    else:
        if not 400 <= answer.status <= 499:
            fail("W-28", "413 or 400", status(answer))
    await session.grow()


async def _connect(scheme: str, host: str, port: int | None) -> trio.abc.Stream:
    if scheme == "https":
        return await trio.open_ssl_over_tcp_stream(host, port or 443, ssl_context=ssl.create_default_context())
    return await trio.open_tcp_stream(host, port or 80)


class _Reader:
    """What httptools calls while it reads an answer."""

    def __init__(self) -> None:
        self.complete = False

    def on_message_complete(self) -> None:
        self.complete = True


async def _answered(stream: trio.abc.Stream, request: bytes) -> bool:
    """Whether a whole answer comes."""
    reader = _Reader()
    parser = httptools.HttpResponseParser(reader)
    await stream.send_all(request)
    while not reader.complete:
        piece = await stream.receive_some(PIECE)
        if not piece:
            return False
        parser.feed_data(bytes(piece))
    return True


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
