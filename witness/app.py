"""The witness over HTTP: one ``match`` turns each answer into its status.

Public are the witness protocol, the logs and keys, and what was refused: which heads, and what they prove. The heads
themselves, with the log's signatures, and the evidence are for the operator's listener: a head that only one victim was
shown tells who that is.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import assert_never, get_args

import msgspec
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from runtime.database import DatabaseFailed
from runtime.http import bare, operator_routes, read_body, refusal, revalidated, shortcut
from runtime.metrics import By, Metrics
from runtime.version import version_document
from tlog.add_checkpoint import MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE, format_size
from tlog.advance import ClockBehind, Inconsistent, Malformed, Stale
from tlog.errors import FormatError
from tlog.evidence import MAX_EVIDENCE_BYTES
from tlog.text import encode_base64, parse_decimal
from witness.copies import DamagedCopy
from witness.core import BadRequest, NotProven, NotSigned, UnknownLog
from witness.cosigner import Answer, ConvictedLog, Cosigned, Cosigner, NoKey, OnHold, OverBudget, outcome_of
from witness.page import about, page, status, turn
from witness.store import Conflicting, Convicted

NOTE_MEDIA_TYPE = "text/plain; charset=utf-8"
RETRY = {"retry-after": "60"}  # what we wait for then is an operator, a peer or a clock
# A browser-based auditor may read public copies; nobody may keep an old one.
PUBLIC_HEADERS = {"cache-control": "no-store", "access-control-allow-origin": "*"}
PAGE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
MAX_PAGE = 100  # conflicts in one answer: with notes and evidence a few megabytes at most


def witness_app(cosigner: Cosigner, metrics: Metrics, url: str | None = None) -> ASGIApp:
    """The public interface: tlog-witness, logs, keys, refused heads, the page; ``url`` is where others find it."""
    answers = metrics.counters(
        "witness_answers",
        "Answers to add-checkpoint requests, by outcome",
        "outcome",
        map(outcome_of, get_args(Answer)),
    )
    add_checkpoint = partial(_add_checkpoint, cosigner, answers)
    # SPEC: W-1 Submission and monitoring prefix MAY be the same; here they are.
    app = Starlette(
        routes=[
            # SPEC: W-4 add-checkpoint is a POST.
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            # SPEC: W-40 a recent checkpoint of each cosigned log; W-44 it does not lag.
            Route("/{origin_hash}/checkpoint", partial(_checkpoint, cosigner), methods=["GET"]),
            Route("/v1/logs", partial(_logs, cosigner), methods=["GET"]),
            Route("/v1/keys", partial(_keys, cosigner), methods=["GET"]),
            Route("/v1/conflicts", partial(_conflicts, cosigner, _conflict), methods=["GET"]),
            Route("/v1/evidence", partial(_evidence, cosigner), methods=["POST"]),
            Route("/", partial(_page, cosigner), methods=["GET"]),
            Route("/status", partial(_status, cosigner), methods=["GET"]),
            Route("/witness.v0.json", partial(_about, cosigner, url, version_document()["version"]), methods=["GET"]),
        ],
        exception_handlers=_HANDLERS,
    )
    app.router.redirect_slashes = False  # a redirect would go to whatever host the request named
    return shortcut(app, "/add-checkpoint", add_checkpoint)


def operator_app(cosigner: Cosigner, metrics: Metrics) -> Starlette:
    """The operator's interface: health, metrics, and conflicts with their notes and evidence."""
    convicted = metrics.gauge("witness_convicted_logs", "Logs that get no cosignature since evidence convicted them")
    convicted.set_function(lambda: len(cosigner.conflicts.convicted))
    return Starlette(
        routes=[
            *operator_routes(metrics, cosigner.problems, version_document()),
            Route("/v1/conflicts", partial(_conflicts, cosigner, _conflict_in_detail), methods=["GET"]),
        ],
        exception_handlers=_HANDLERS,
    )


async def _unwell(_request: Request, failure: Exception) -> Response:
    return refusal(503, str(failure), RETRY)


_HANDLERS = {DatabaseFailed: _unwell}


async def _add_checkpoint(cosigner: Cosigner, answers: By[Counter], request: Request) -> Response:
    answer = await cosigner.add_checkpoint(await read_body(request, MAX_REQUEST_BYTES))
    answers[outcome_of(type(answer))].inc()
    return _response(answer)


def _response(answer: Answer) -> Response:
    match answer:
        case Cosigned(lines):
            return bare(200, lines, NOTE_MEDIA_TYPE)
        case BadRequest(reason) | Malformed(reason):
            return refusal(400, reason)
        case UnknownLog():
            return refusal(404, "this witness does not know the log: ask its operator to add the log's vkey")
        case NotSigned(reason, _):
            return refusal(403, reason)
        case ConvictedLog():
            return refusal(403, "evidence shows that this log contradicted itself: it gets no cosignature any more")
        case OverBudget(seconds):
            later = {"retry-after": str(seconds)}
            return refusal(429, "this log has used up its requests for now: Retry-After says when to ask again", later)
        case NoKey():
            return refusal(400, "no key of this witness signs this checkpoint: leave its extension lines out")
        case OnHold(reason):
            return refusal(503, reason, RETRY)
        case Stale(size):
            # SPEC: W-14 the size and a line feed, and the media type without any parameter.
            return bare(409, format_size(size), SIZE_MEDIA_TYPE)
        case Inconsistent(reason):
            return refusal(422, reason)
        case ClockBehind():
            return refusal(503, "this witness's clock is behind what it signed last: try again later", RETRY)
        case _:
            assert_never(answer)


async def _checkpoint(cosigner: Cosigner, request: Request) -> Response:
    # SPEC: W-41 <lowercase hex SHA-256 of the origin>/checkpoint
    try:
        note = await cosigner.public_copy(request.path_params["origin_hash"])
    except DamagedCopy:
        return refusal(503, "the stored copy is damaged: /readyz tells the operator which", RETRY)
    if note is None:
        # SPEC: W-43 nothing was ever cosigned for that log.
        return refusal(404, "nothing was cosigned under this name: it is the lowercase hex SHA-256 of a log's origin")
    # Monitors look each minute at every log, most of which have not moved: the tag saves them the note.
    return revalidated(request, bare(200, note, NOTE_MEDIA_TYPE), PUBLIC_HEADERS)


async def _logs(cosigner: Cosigner, request: Request) -> Response:
    # Ten thousand logs in one answer are 3 MB, and a thousand clients that read them slowly all our memory.
    shown, following = turn(cosigner, request.query_params.get("after", ""))
    logs = []
    for origin in shown:
        head = await cosigner.head(origin)
        convicted = cosigner.conflicts.convicted.get(origin)
        logs.append(
            {
                "origin": origin,
                "vkeys": [key.format() for key in cosigner.logs[origin]],
                "checkpoint": f"/{sha256(origin.encode()).hexdigest()}/checkpoint",
                "size": head.size if head else None,
                "root_hash": encode_base64(head.root_hash).decode() if head else None,
                "time": head.time if head else None,
                "convicted": convicted.evidence_id.hex() if convicted else None,
            }
        )
    return JSONResponse({"logs": logs, "next": following})


async def _page(cosigner: Cosigner, request: Request) -> Response:
    shown = await status(cosigner, request.query_params.get("after", ""))
    return bare(200, page(shown).encode(), "text/html; charset=utf-8", PAGE_HEADERS)


async def _status(cosigner: Cosigner, request: Request) -> Response:
    shown = await status(cosigner, request.query_params.get("after", ""))
    return bare(200, msgspec.json.encode(shown), "application/json", PUBLIC_HEADERS)


async def _about(cosigner: Cosigner, url: str | None, version: str, _request: Request) -> Response:
    if url is None:
        return refusal(404, "this witness does not say where others reach it: its operator sets `url`")
    return JSONResponse(about(cosigner, url, version), headers=PUBLIC_HEADERS)


async def _keys(cosigner: Cosigner, _request: Request) -> Response:
    recorded = cosigner.keyring.recorded
    return JSONResponse({"keys": [{"vkey": vkey, "retires": key.retires} for vkey, key in recorded.items()]})


async def _conflicts(cosigner: Cosigner, describe: Callable[[Conflicting], object], request: Request) -> Response:
    try:
        after = parse_decimal(request.query_params.get("after", "0").encode(), "`after`")
    except FormatError as error:
        return refusal(400, str(error))
    page = await cosigner.conflicts.page(after, MAX_PAGE)
    following = page[-1].number if len(page) == MAX_PAGE else None
    return JSONResponse({"conflicts": [describe(conflict) for conflict in page], "next": following})


def _conflict(conflict: Conflicting) -> dict[str, object]:
    return {
        "number": conflict.number,
        "origin": conflict.origin,
        "size": conflict.size,
        "root_hash": encode_base64(conflict.root_hash).decode(),
        "time": conflict.time,
        "evidence": conflict.evidence_id.hex() if conflict.evidence_id else None,
    }


def _conflict_in_detail(conflict: Conflicting) -> dict[str, object]:
    bundle = conflict.bundle.decode() if conflict.bundle else None
    return {**_conflict(conflict), "note": conflict.note.decode(), "bundle": bundle}


async def _evidence(cosigner: Cosigner, request: Request) -> Response:
    # Whoever holds a proof needs no other authority: the bundle authorises itself.
    verdict = await cosigner.conflicts.convict(await read_body(request, MAX_EVIDENCE_BYTES))
    match verdict:
        case Convicted():
            return JSONResponse(
                {
                    "origin": verdict.origin,
                    "evidence": verdict.evidence_id.hex(),
                    "type": verdict.type,
                    "accused": verdict.accused,
                }
            )
        case BadRequest(reason):
            return refusal(400, reason)
        case UnknownLog():
            return refusal(404, "this witness does not know the log that the evidence is about")
        case NotProven(reason):
            return refusal(422, f"this convicts no key of the log that this witness knows: {reason}")
        case _:
            assert_never(verdict)
