"""What the archive answers over HTTP: what somebody was shown at a time, and how reliable the witnesses have been."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.archive import Archive, Sighting
from monitor.config import MonitorSettings
from monitor.doors import OPEN
from monitor.samples import MINUTE_MS
from monitor.scores import Scores
from monitor.testify import sign_document
from runtime.clock import Clock
from runtime.http import bare, refusal
from tlog.scorecard import SCORECARDS_TYPE
from tlog.text import MAX_INTEGER, encode_base64

MAX_PAGE = 100  # sightings; with ML-DSA-44 notes some megabytes
AT_ONCE = 4  # questions about the past; whoever comes later is told so
MAX_WHO = 512  # bytes of a name
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(slots=True)
class Records:
    """The archive and the scores, for whoever asks: a few at a time, since each answer reads much of the disk."""

    settings: MonitorSettings
    archive: Archive
    scores: Scores
    clock: Clock
    _asking: int = 0
    _signed: tuple[int, bytes] | None = None
    _signing: trio.Lock = field(default_factory=trio.Lock)

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
        if self._asking >= AT_ONCE:
            return refusal(429, "too much at once: ask again later", {"retry-after": "1"})
        self._asking += 1
        try:
            found = await self.archive.history(origin, at_ms, who, numbers["before"], limit)
        finally:
            self._asking -= 1
        more = who is not None and len(found) == limit
        document = {"origin": origin, "at_ms": at_ms, "sightings": [_sighting(seen) for seen in found]}
        return JSONResponse({**document, "next": found[-1].first_ms if more else None}, headers=OPEN)

    async def scorecards(self, _request: Request) -> Response:
        """The witnesses' scorecards, signed by the peer key."""
        return bare(200, await self.signed_scorecards(), "application/json", OPEN)

    async def signed_scorecards(self) -> bytes:
        """Write the scorecards and sign them, once a minute at most."""
        async with self._signing:
            now_ms = self.clock.now_ms()
            if self._signed is None or self._signed[0] != now_ms // MINUTE_MS:
                document = await self.scores.document(self.settings.name, _vkeys(self.settings), now_ms)
                self._signed = now_ms // MINUTE_MS, sign_document(SCORECARDS_TYPE, document, self.settings.peer_key)
            return self._signed[1]


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
