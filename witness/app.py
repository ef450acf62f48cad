"""The witness over HTTP: one ``match`` turns each answer into its status."""

from functools import partial
from hashlib import sha256
from typing import assert_never, get_args

from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtime.http import bare, read_body, refusal
from runtime.metrics import By, Metrics
from tlog.add_checkpoint import MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE, format_size
from tlog.advance import ClockBehind, Inconsistent, Malformed, Stale
from tlog.text import encode_base64
from witness.core import BadRequest, NotSigned, UnknownLog
from witness.cosigner import Answer, Cosigned, Cosigner

NOTE_MEDIA_TYPE = "text/plain; charset=utf-8"
# A browser-based auditor may read public copies; nobody may keep an old one.
PUBLIC_HEADERS = {"cache-control": "no-store", "access-control-allow-origin": "*"}


def witness_app(cosigner: Cosigner, metrics: Metrics) -> Starlette:
    """The public interface: tlog-witness, and the list of logs."""
    answers = metrics.counters(
        "witness_answers", "Answers to add-checkpoint requests, by outcome", "outcome", map(_outcome, get_args(Answer))
    )
    return Starlette(
        routes=[
            # SPEC: W-4 add-checkpoint is a POST.
            Route("/add-checkpoint", partial(_add_checkpoint, cosigner, answers), methods=["POST"]),
            Route("/{origin_hash}/checkpoint", partial(_checkpoint, cosigner), methods=["GET"]),
            Route("/v1/logs", partial(_logs, cosigner), methods=["GET"]),
        ]
    )


async def _add_checkpoint(cosigner: Cosigner, answers: By[Counter], request: Request) -> Response:
    answer = await cosigner.add_checkpoint(await read_body(request, MAX_REQUEST_BYTES))
    answers[_outcome(type(answer))].inc()
    return _response(answer)


def _outcome(answer: type[Answer]) -> str:
    return answer.__name__.lower()


def _response(answer: Answer) -> Response:
    match answer:
        case Cosigned(lines):
            return bare(200, lines, NOTE_MEDIA_TYPE)
        case BadRequest(reason) | Malformed(reason):
            return refusal(400, reason)
        case UnknownLog():
            return refusal(404, "this witness does not know the log: ask its operator to add the log's vkey")
        case NotSigned(reason):
            return refusal(403, reason)
        case Stale(size):
            # SPEC: W-14 the size and a line feed, and the media type without any parameter.
            return bare(409, format_size(size), SIZE_MEDIA_TYPE)
        case Inconsistent(reason):
            return refusal(422, reason)
        case ClockBehind():
            return refusal(503, "this witness's clock is behind what it signed last: try again later")
        case _:
            assert_never(answer)


async def _checkpoint(cosigner: Cosigner, request: Request) -> Response:
    # SPEC: W-41 <lowercase hex SHA-256 of the origin>/checkpoint
    note = cosigner.public_copy(request.path_params["origin_hash"])
    if note is None:
        # SPEC: W-43 nothing was ever cosigned for that log.
        return refusal(404, "nothing was cosigned under this name: it is the lowercase hex SHA-256 of a log's origin")
    return bare(200, note, NOTE_MEDIA_TYPE, PUBLIC_HEADERS)


async def _logs(cosigner: Cosigner, _request: Request) -> Response:
    heads = {head.origin: head for head in await cosigner.heads()}
    logs = []
    for origin, keys in sorted(cosigner.logs.items()):
        head = heads.get(origin)
        logs.append(
            {
                "origin": origin,
                "vkeys": [key.format() for key in keys],
                "checkpoint": f"/{sha256(origin.encode()).hexdigest()}/checkpoint",
                "size": head.size if head else None,
                "root_hash": encode_base64(head.root_hash).decode() if head else None,
                "time": head.time if head else None,
            }
        )
    return JSONResponse({"logs": logs})
