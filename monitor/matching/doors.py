"""What watches found, over HTTP: for the operator alone, because a watch-list says what somebody is afraid of."""

import re
from base64 import b64encode
from functools import partial
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.matching.store import MatchStore, StoredMatch
from runtime.http import bare, refusal

MAX_LISTED = 1000
USUALLY_LISTED = 100

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_FRESH = {"cache-control": "no-store"}
_PROOF_TYPE = "text/plain; charset=utf-8"
_ENTRY_TYPE = "application/octet-stream"
_KEPT_NO_MORE = "there is no match of this number, or it is not kept any more: GET /v1/matches lists those that are"


def matching_routes(store: MatchStore) -> list[Route]:
    """``/v1/matches``, page by page, and the proof and the entry of each."""
    return [
        Route("/v1/matches", partial(_list, store), methods=["GET"]),
        Route("/v1/matches/{number}/proof", partial(_proof, store), methods=["GET"]),
        Route("/v1/matches/{number}/entry", partial(_entry, store), methods=["GET"]),
    ]


async def _list(store: MatchStore, request: Request) -> Response:
    asked = request.query_params
    before, limit = _number(asked.get("before")), _number(asked.get("limit", str(USUALLY_LISTED)))
    if limit is None or not 1 <= limit <= MAX_LISTED or (before is None and "before" in asked):
        return refusal(400, f"`limit` is between 1 and {MAX_LISTED}, and `before` the number of a match")
    found = await store.matches(before, limit + 1, watch=asked.get("watch"), origin=asked.get("origin"))
    shown = found[:limit]
    document = {
        "matches": [_document(match) for match in shown],
        "next": shown[-1].number if len(found) > limit else None,
    }
    return JSONResponse(document, headers=_FRESH)


async def _proof(store: MatchStore, request: Request) -> Response:
    match = await _asked(store, request)
    if match is None:
        return refusal(404, _KEPT_NO_MORE)
    return bare(200, match.proof, _PROOF_TYPE, _named(f"{match.number}.tlog-proof"))


async def _entry(store: MatchStore, request: Request) -> Response:
    match = await _asked(store, request)
    if match is None:
        return refusal(404, _KEPT_NO_MORE)
    # Somebody else wrote it: no browser is to take it for a page of ours.
    return bare(200, match.entry, _ENTRY_TYPE, {**_named(f"{match.number}.entry"), "x-content-type-options": "nosniff"})


async def _asked(store: MatchStore, request: Request) -> StoredMatch | None:
    number = _number(str(request.path_params["number"]))
    return None if number is None else await store.match(number)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _named(file: str) -> dict[str, str]:
    return {**_FRESH, "content-disposition": f'attachment; filename="{file}"'}


def _document(match: StoredMatch) -> dict[str, object]:
    return {
        "number": match.number,
        "watch": match.watch,
        "origin": match.origin,
        "index": match.index,
        "found": list(match.found),
        "leaf_hash": b64encode(match.leaf_hash).decode(),
        "entry_sha256": sha256(match.entry).hexdigest(),
        "entry_size": len(match.entry),
        "tree_size": match.tree_size,
        "found_ms": match.at_ms,
        "proof": f"/v1/matches/{match.number}/proof",
        "entry": f"/v1/matches/{match.number}/entry",
    }
