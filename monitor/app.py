"""The monitor over HTTP: gossip with peers, questions of clients, and what it has found, as JSON and as a page.

Anybody may ask. A checkpoint that somebody shows is only looked at if the log signed it; then it counts like one that
the log itself showed, so asking is also how a client hands in a head that it alone was shown.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from gossip.core import Log, MissingTile, origin_id
from gossip.envelope import MAX_ENVELOPE_BYTES
from gossip.shell import ENVELOPE_TYPE, EXCHANGE_PATH, Busy
from monitor.core import Verdict, View, judge
from monitor.node import Monitor
from monitor.page import status_page
from monitor.views import Document, Views
from runtime.clock import Clock
from runtime.http import bare, read_body, refusal
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, SignatureError
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import encode_base64

_WAIT = re.compile(r"[0-9]{1,2}")
_EVIDENCE_ID = re.compile(r"[0-9a-f]{64}")
_FRESH = {"cache-control": "no-store"}
_OPEN = {**_FRESH, "access-control-allow-origin": "*"}  # an auditor in a browser may read all of it
_EVIDENCE = {"cache-control": "public, max-age=31536000, immutable", "access-control-allow-origin": "*"}
_PAGE = {
    **_FRESH,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_TEXT = "text/plain; charset=utf-8"


def monitor_app(name: str, monitor: Monitor, views: Views, clock: Clock) -> Starlette:
    """The public interface."""
    lists: dict[str, Callable[[], Awaitable[list[Document]]]] = {
        "logs": views.logs,
        "heads": views.heads,
        "alarms": views.alarms,
        "evidence": views.evidence,
        "peers": views.peer_list,
    }
    app = Starlette(
        routes=[
            Route(EXCHANGE_PATH, partial(_exchange, monitor), methods=["POST"]),
            Route("/v1/ask", partial(_ask, monitor, clock), methods=["POST"]),
            *(Route(f"/v1/{key}", partial(_list, key, show), methods=["GET"]) for key, show in lists.items()),
            Route("/v1/evidence/{id}", partial(_bundle, views), methods=["GET"]),
            Route("/", partial(_page, name, views), methods=["GET"]),
        ]
    )
    app.router.redirect_slashes = False  # a redirect would go to whatever host the request named
    return app


async def _exchange(monitor: Monitor, request: Request) -> Response:
    wait = request.query_params.get("wait", "0")
    if not _WAIT.fullmatch(wait):
        return refusal(400, "wait is not a number of seconds below 100")
    gossip = monitor.gossip
    try:
        async with gossip.reading(_announced(request)):
            envelope = gossip.open(await read_body(request, MAX_ENVELOPE_BYTES))
        answer = await gossip.reply(envelope, float(wait))
    except Busy as busy:
        return refusal(429, "too much at once: ask again later", {"retry-after": str(busy.seconds)})
    except FormatError as error:
        return refusal(400, str(error))
    except SignatureError as error:
        return refusal(403, str(error))
    return bare(200, answer, ENVELOPE_TYPE, _FRESH)


def _announced(request: Request) -> int:
    """How long the body will be at most: what it says, or the most that is read."""
    return int(request.headers.get("content-length", MAX_ENVELOPE_BYTES))


async def _ask(monitor: Monitor, clock: Clock, request: Request) -> Response:
    raw = await read_body(request, MAX_NOTE_BYTES)
    try:
        note = Note.parse(raw)
        origin = origin_id(Checkpoint.parse(note.text).origin)
        if origin not in monitor.sites:
            return _answer({"verdict": Verdict.UNKNOWN_ORIGIN})
        signed = _opened(monitor.sites[origin].log, note)
    except (FormatError, SignatureError) as error:
        return refusal(400, f"this is not a checkpoint that the log signed: {error}")
    refusals = await monitor.submit(origin, raw)
    if refusals:
        return refusal(400, refusals[0])
    return await _judged(monitor, clock, origin, signed)


async def _judged(monitor: Monitor, clock: Clock, origin: bytes, signed: SignedCheckpoint) -> Response:
    branch = monitor.branch(origin)
    try:
        root = await monitor.root_at(origin, signed.size)
        view = View(monitor.sites[origin].confirmed, clock.now())
        verdict = judge(branch, signed.head, None if root is None else Hash(root), view)
        path = await monitor.prove(origin, signed.size, branch.size) if verdict is Verdict.PREFIX else ()
    except MissingTile:
        # The question itself has made the monitor fetch the tile.
        return refusal(503, "the hashes of this old tree are being fetched: ask again", {"retry-after": "2"})
    frontier = monitor.frontier(origin)
    return _answer(
        {
            "verdict": verdict,
            "origin": signed.origin,
            "size": branch.size,
            "frontier": None if frontier is None else frontier.decode(),
            "proof": [encode_base64(value).decode() for value in path],
            "evidence": [id_.hex() for id_ in branch.convicted],
        }
    )


def _opened(log: Log, note: Note) -> SignedCheckpoint:
    signed = open_checkpoint(note, (*log.keys, *log.policy.witness_keys))
    if not any(signed.signed_by(key) for key in log.keys):
        raise SignatureError("the log's signature is missing")
    return signed


async def _list(key: str, show: Callable[[], Awaitable[list[Document]]], _request: Request) -> Response:
    return _answer({key: await show()})


async def _bundle(views: Views, request: Request) -> Response:
    id_hex = str(request.path_params["id"])
    found = await views.bundle(id_hex) if _EVIDENCE_ID.fullmatch(id_hex) else None
    if found is None:
        return refusal(404, "there is no evidence of this id: GET /v1/evidence lists what there is")
    return bare(200, found, _TEXT, _EVIDENCE)


async def _page(name: str, views: Views, _request: Request) -> Response:
    return HTMLResponse(await status_page(name, views), headers=_PAGE)


def _answer(document: Document) -> Response:
    return JSONResponse(document, headers=_OPEN)
