"""The monitor over HTTP: gossip with peers, questions of clients, and what it has found, as JSON and as a page.

What relying parties poll carries an ETag: nothing but a new conviction changes it.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gossip.envelope import MAX_ENVELOPE_BYTES
from gossip.shell import ENVELOPE_TYPE, EXCHANGE_PATH, Busy
from monitor.certificates import completeness_routes
from monitor.doors import OPEN, Doors, announced
from monitor.node import Monitor
from monitor.page.overview import Watching
from monitor.page.web import READERS, Reading
from monitor.records import Records
from monitor.stage import UNWELL
from monitor.views import Document, Views
from runtime.clock import Clock
from runtime.http import bare, read_body, refusal, revalidated
from runtime.visitors import Endpoint, Visitors
from tlog.errors import FormatError, SignatureError

_WAIT = re.compile(r"[0-9]{1,2}")
_EVIDENCE_ID = re.compile(r"[0-9a-f]{64}")
_FRESH = {"cache-control": "no-store"}
_EVIDENCE = {"cache-control": "public, max-age=31536000, immutable", "access-control-allow-origin": "*"}
_TEXT = "text/plain; charset=utf-8"


def monitor_app(
    name: str,
    monitor: Monitor,
    views: Views,
    clock: Clock,
    visitors: Visitors | None = None,
    records: Records | None = None,
    readers: Visitors | None = None,
) -> Starlette:
    """The public interface. ``visitors`` may ask and bring something, ``readers`` look at what there is.

    Their budgets are those of a public monitor unless others are given.
    """
    doors = Doors(monitor, clock, Visitors() if visitors is None else visitors)
    readers = Visitors(*READERS) if readers is None else readers
    app = Starlette(
        routes=[
            Route(EXCHANGE_PATH, partial(_exchange, monitor), methods=["POST"]),
            Route("/v1/ask", doors.ask, methods=["POST"]),
            Route("/v1/submit", doors.submit, methods=["POST"]),
            Route("/v1/evidence", doors.evidence, methods=["POST"]),
            *reading_routes(name, monitor, views, clock, readers, records),
        ],
        exception_handlers=UNWELL,
    )
    app.router.redirect_slashes = False  # a redirect would go to whatever host the request named
    return app


def reading_routes(
    name: str,
    monitor: Monitor,
    views: Views,
    clock: Clock,
    readers: Visitors,
    records: Records | None,
    watching: Watching | None = None,
) -> list[Route]:
    """Everything that can be read, as documents and as pages; with what watches found if ``watching`` is given."""

    def reading(path: str, endpoint: Endpoint) -> Route:
        return Route(path, readers.within(endpoint), methods=["GET"])

    lists: dict[str, Callable[[], Awaitable[list[Document]]]] = {
        "logs": views.logs,
        "heads": views.heads,
        "alarms": views.alarms,
        "testimony": views.testimony,
        "peers": views.peer_list,
    }
    return [
        reading("/v1/evidence", partial(_evidence, views)),
        reading("/v1/distrust", partial(_distrust, views)),
        *(reading(f"/v1/{key}", partial(_list, key, show)) for key, show in lists.items()),
        reading("/v1/evidence/{id}", partial(_bundle, views)),
        *(reading(one.path, one.endpoint) for one in completeness_routes(monitor)),
        *(reading(one.path, one.endpoint) for one in (records.routes() if records is not None else ())),
        *Reading(name, views, clock, readers, watching).routes(),
    ]


async def _exchange(monitor: Monitor, request: Request) -> Response:
    wait = request.query_params.get("wait", "0")
    if not _WAIT.fullmatch(wait):
        return refusal(400, "wait is not a number of seconds below 100")
    gossip = monitor.gossip
    try:
        async with gossip.reading(announced(request, MAX_ENVELOPE_BYTES)):
            envelope = gossip.open(await read_body(request, MAX_ENVELOPE_BYTES))
        answer = await gossip.reply(envelope, float(wait))
    except Busy as busy:
        return refusal(429, "too much at once: ask again later", {"retry-after": str(busy.seconds)})
    except FormatError as error:
        return refusal(400, str(error))
    except SignatureError as error:
        return refusal(403, str(error))
    return bare(200, answer, ENVELOPE_TYPE, _FRESH)


async def _list(key: str, show: Callable[[], Awaitable[list[Document]]], _request: Request) -> Response:
    return _answer({key: await show()})


async def _evidence(views: Views, request: Request) -> Response:
    return revalidated(request, JSONResponse({"evidence": await views.evidence()}))


async def _distrust(views: Views, request: Request) -> Response:
    return revalidated(request, JSONResponse(views.distrust()))


async def _bundle(views: Views, request: Request) -> Response:
    id_hex = str(request.path_params["id"])
    found = await views.bundle(id_hex) if _EVIDENCE_ID.fullmatch(id_hex) else None
    if found is None:
        return refusal(404, "there is no evidence of this id: GET /v1/evidence lists what there is")
    return bare(200, found, _TEXT, _EVIDENCE)


def _answer(document: Document) -> Response:
    return JSONResponse(document, headers=OPEN)
