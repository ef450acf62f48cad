"""What the endpoints of every role share: capped bodies, refusals, exact headers, the operator's endpoints."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runtime.metrics import CONTENT_TYPE, Metrics

Problems = Callable[[], Awaitable[Sequence[str]]]

_REVALIDATED = {
    "cache-control": "no-cache",
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "etag",
}


async def read_body(request: Request, cap: int) -> bytes:
    """The whole body, which has at most ``cap`` bytes.

    Raises:
        HTTPException: 413, as soon as the body is known to be larger; 415 for a compressed one, whose size nobody knows
            before it is unpacked. Starlette and ``shortcut`` answer these.
    """
    for name, value in request.scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise HTTPException(415, "send the body without Content-Encoding")
        if name == b"content-length" and int(value) > cap:
            raise _too_large(cap)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > cap:
            raise _too_large(cap)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def shortcut(app: ASGIApp, path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """Let each POST of one path go to its endpoint directly, and all else to the app, which has that route as well.

    An app's routes and middleware cost as much as a whole refusal of an endpoint that is asked thousands of times a
    second. An exception that is no HTTPException is left to the server, which answers 500.
    """

    async def shortened(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != path:
            await app(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive, send))
        except HTTPException as error:
            response = bare(error.status_code, error.detail.encode("utf-8"), _PLAIN, error.headers)
        await response(scope, receive, send)

    return shortened


def refusal(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer for people: one sentence that says what was wrong and what to do next, never what was sent."""
    return bare(status, sentence.encode("utf-8") + b"\n", "text/plain; charset=utf-8", headers)


def revalidated(request: Request, response: Response, headers: Mapping[str, str] | None = None) -> Response:
    """Give an answer that anybody may read an ETag, or answer 304 where the client has it already."""
    tag = f'"{sha256(response.body).hexdigest()[:32]}"'
    asked = request.headers.get("if-none-match", "")
    fields = {**(_REVALIDATED if headers is None else headers), "etag": tag}
    if asked.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in asked.split(",")):
        return Response(status_code=304, headers=fields)
    response.headers.update(fields)
    return response


def bare(
    status: int, body: bytes = b"", content_type: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with exactly these headers and Content-Length.

    Starlette's ``media_type=`` appends a charset to text types, which breaks clients that compare the field.
    """
    # SPEC: W-14 the 409 body is the size with Content-Type `text/x.tlog.size`, and clients compare the whole field.
    fields = dict(headers or {})
    if content_type is not None:
        fields["content-type"] = content_type
    return Response(body, status, fields)


def operator_routes(metrics: Metrics, problems: Problems, version: Mapping[str, str]) -> list[Route]:
    """``/healthz`` (the process answers), ``/readyz`` (it can do its work, or why not), ``/metrics``, ``/version``."""

    async def healthz(request: Request) -> Response:
        return bare(200, b"ok\n", _PLAIN, _FRESH)

    async def readyz(request: Request) -> Response:
        found = await problems()
        lines = "".join(f"{problem}\n" for problem in found) or "ready\n"
        return bare(503 if found else 200, lines.encode("utf-8"), _PLAIN, _FRESH)

    async def scrape(request: Request) -> Response:
        return bare(200, metrics.exposition(), CONTENT_TYPE, _FRESH)

    async def tell_version(request: Request) -> Response:
        return JSONResponse(dict(version), headers=_FRESH)

    endpoints = {"/healthz": healthz, "/readyz": readyz, "/metrics": scrape, "/version": tell_version}
    return [Route(path, endpoint) for path, endpoint in endpoints.items()]


def _too_large(cap: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {cap} bytes")


_PLAIN = "text/plain; charset=utf-8"
_FRESH = {"cache-control": "no-store"}
