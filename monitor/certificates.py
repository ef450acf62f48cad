"""What the monitor publishes of its completeness marks: a JSON document for each log, and the certificate in it.

GET /v1/completeness/<sha256(origin) hex>               the mark, what it rests on, and the certificate
GET /v1/completeness/<sha256(origin) hex>/certificate   the certificate alone, to be saved as .tlog-completeness
"""

import re
from dataclasses import asdict
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.marks import Mark
from monitor.node import Monitor
from runtime.http import bare, refusal, revalidated
from tlog.completeness import policy_hash
from tlog.policy import printable
from tlog.text import encode_base64

Document = dict[str, object]

_ID = re.compile(r"[0-9a-f]{64}")
_TEXT = "text/plain; charset=utf-8"


def completeness_routes(monitor: Monitor) -> list[Route]:
    """The two endpoints."""
    return [
        Route("/v1/completeness/{id}", partial(_completeness, monitor), methods=["GET"]),
        Route("/v1/completeness/{id}/certificate", partial(_certificate, monitor), methods=["GET"]),
    ]


def claim(mark: Mark) -> Document | None:
    """What a mark claims, in few words; None where it claims nothing."""
    return None if mark.time is None else {"time": mark.time, "liars": mark.liars}


async def _completeness(monitor: Monitor, request: Request) -> Response:
    origin = _log(monitor, request)
    if origin is None:
        return _unknown()
    certificate = await monitor.marks.certificate(origin)
    site, branch = monitor.sites[origin], monitor.branch(origin)
    mark = monitor.marks.current(origin)
    document = {
        **asdict(mark),
        "witnesses": [{**asdict(one), "name": printable(one.name)} for one in mark.witnesses],
        "id": origin.hex(),
        "root_hash": None if branch.signed is None else encode_base64(branch.signed.root_hash).decode(),
        "convicted": bool(branch.convicted),
        "policy": encode_base64(policy_hash(site.log.policy)).decode(),
        "certificate": None if certificate is None else certificate.decode(),
    }
    return revalidated(request, JSONResponse(document))


async def _certificate(monitor: Monitor, request: Request) -> Response:
    origin = _log(monitor, request)
    if origin is None:
        return _unknown()
    certificate = await monitor.marks.certificate(origin)
    if certificate is None:
        return refusal(404, "nothing can be claimed of this log yet: /v1/completeness/<id> says who was heard")
    return revalidated(request, bare(200, certificate, _TEXT))


def _log(monitor: Monitor, request: Request) -> bytes | None:
    id_hex = str(request.path_params["id"])
    origin = bytes.fromhex(id_hex) if _ID.fullmatch(id_hex) else b""
    return origin if origin in monitor.sites else None


def _unknown() -> Response:
    return refusal(404, "no log of this id is followed: GET /v1/logs lists them")
