"""What the archive answers over HTTP: what somebody was shown at a time, and how reliable the witnesses have been."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.archive import Archive, Sighting
from monitor.config import MonitorSettings
from monitor.doors import OPEN
from monitor.scores import Scores
from monitor.testify import sign_document
from runtime.clock import Clock
from runtime.http import bare, refusal
from tlog.scorecard import SCORECARDS_TYPE
from tlog.text import MAX_INTEGER, encode_base64

MAX_PAGE = 100  # sightings; with ML-DSA-44 notes some megabytes
MAX_WHO = 512  # bytes of a name
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Records:
    """The archive and the scores, for whoever asks."""

    settings: MonitorSettings
    archive: Archive
    scores: Scores
    clock: Clock

    def routes(self) -> list[Route]:
        """Where to ask."""
        return [
            Route("/v1/history", self.history, methods=["GET"]),
            Route("/v1/scorecards", self.scorecards, methods=["GET"]),
        ]

    async def history(self, request: Request) -> Response:
        """What was shown of a log at a time: by everybody, or by one, page by page into the past."""
        asked = request.query_params
        origin, who = asked.get("origin"), asked.get("who")
        numbers = {name: _number(asked.get(name)) for name in ("at", "before", "limit")}
        if origin is None or len(origin) > MAX_WHO or (who is not None and len(who) > MAX_WHO):
            return refusal(400, "`origin` is missing, or it or `who` is no name: GET /v1/logs lists the logs")
        if any(number is None and asked.get(name) is not None for name, number in numbers.items()):
            return refusal(400, "`at`, `before` and `limit` are decimal numbers: Unix milliseconds, and how many")
        at_ms = self.clock.now_ms() if numbers["at"] is None else numbers["at"]
        limit = min(max(numbers["limit"] or MAX_PAGE, 1), MAX_PAGE)
        found = await self.archive.history(origin, at_ms, who, numbers["before"], limit)
        more = who is not None and len(found) == limit
        document = {"origin": origin, "at_ms": at_ms, "sightings": [_sighting(seen) for seen in found]}
        return JSONResponse({**document, "next": found[-1].first_ms if more else None}, headers=OPEN)

    async def scorecards(self, _request: Request) -> Response:
        """The witnesses' scorecards, signed by the peer key."""
        return bare(200, await self.signed_scorecards(), "application/json", OPEN)

    async def signed_scorecards(self) -> bytes:
        """Write the scorecards and sign them."""
        document = await self.scores.document(self.settings.name, _vkeys(self.settings), self.clock.now_ms())
        return sign_document(SCORECARDS_TYPE, document, self.settings.peer_key)


def _vkeys(settings: MonitorSettings) -> Mapping[str, Sequence[str]]:
    """The keys of every witness of the policies, by their name."""
    found: dict[str, set[str]] = {}
    for watched in settings.logs:
        for witness in watched.log.policy.witnesses:
            found.setdefault(witness.key.name, set()).add(witness.key.format())
    return {name: sorted(vkeys) for name, vkeys in found.items()}


def _sighting(seen: Sighting) -> dict[str, object]:
    return {
        "who": seen.who,
        "first_ms": seen.first_ms,
        "last_ms": seen.last_ms,
        "size": seen.checkpoint.size,
        "root_hash": encode_base64(seen.checkpoint.root_hash).decode(),
        "note": seen.note.decode(),
    }


def _number(field: str | None) -> int | None:
    if field is None or not _NUMBER.fullmatch(field):
        return None
    return min(int(field), MAX_INTEGER)
