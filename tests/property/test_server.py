"""Whatever an application answers, an independent reader gets it, and the connection carries the next answer too."""

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from tests.serving import serving

METHODS = st.sampled_from([b"GET", b"HEAD", b"POST"])
VERSIONS = st.sampled_from([b"HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.0\r\nConnection: keep-alive\r\n"])
PARTS = st.lists(st.binary(max_size=300), max_size=4)
STATUSES = st.sampled_from([200, 204, 304, 404, 503])


@given(METHODS, VERSIONS, PARTS, STATUSES, st.booleans(), st.booleans())
@settings(max_examples=60)
async def test_an_answer_in_any_pieces_is_read_as_it_was_meant(
    method: bytes, version: bytes, parts: list[bytes], status: int, announced: bool, ends_apart: bool
) -> None:
    body = b"".join(parts)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(body))] if announced and status not in (204, 304) else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        last = len(parts) - 1
        for i, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": ends_apart or i < last})
        if ends_apart or not parts:
            await send({"type": "http.response.body"})

    expected = b"" if method == b"HEAD" or status in (204, 304) else body
    async with serving(app) as served, served.connect() as client:
        answer = await client.ask(b"%b / %b\r\n" % (method, version), method)
        assert (answer.status, answer.body) == (status, expected)
        if answer.headers.get(b"connection") != b"close":
            assert (await client.ask(b"%b / %b\r\n" % (method, version), method)).body == expected
