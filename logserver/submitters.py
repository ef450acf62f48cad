"""How much each submitter may add: by the token it shows, or by its address.

Tokens are compared by their SHA-256, which is all that the configuration knows of them. An address is told by as little
as ``runtime.visitors`` remembers of it. Neither is logged.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import trio
from starlette.requests import Request
from starlette.responses import Response

from runtime.http import refusal
from runtime.visitors import Bucket, Rate, Visitors

BURST_SECONDS = 2  # of its rate a submitter may add at once; a batch that is larger waits until all of that is there

_UNLIMITED = Rate(1e12, 10**12)


@dataclass(frozen=True, slots=True)
class Submitter:
    """Somebody who has a token."""

    name: str
    token_sha256: bytes
    adds_per_second: float
    """Entries; 0 for no limit."""


class Submitters:
    """The budgets of all submitters."""

    def __init__(self, known: Sequence[Submitter], adds_per_second: float, *, known_only: bool) -> None:
        self._known = known
        self._buckets: dict[str, Bucket] = {}
        self._known_only = known_only
        self._strangers = _by_address(adds_per_second)

    def admit(self, request: Request, entries: int) -> Response | None:
        """Charge for entries that somebody wants to add; the refusal if they may not, or not now."""
        token = request.headers.get("authorization")
        if token is None:
            if self._known_only:
                return _unauthorised("adding needs a token: send it as Authorization: Bearer")
            if self._strangers is None:
                return None
            return _later(self._strangers.admit(_host(request), entries))
        submitter = self._find(token)
        if submitter is None:
            return _unauthorised("this token is none that may add here: ask the log's operator for one")
        if not submitter.adds_per_second:
            return None
        return _later(self._bucket(submitter).charge(trio.current_time(), entries))

    def _find(self, authorization: str) -> Submitter | None:
        scheme, _, token = authorization.partition(" ")
        digest = sha256(token.encode("latin-1")).digest()
        found = None
        for submitter in self._known:  # all of them, so that time tells nothing
            if hmac.compare_digest(submitter.token_sha256, digest):
                found = submitter
        return found if scheme.lower() == "bearer" else None

    def _bucket(self, submitter: Submitter) -> Bucket:
        if submitter.name not in self._buckets:
            self._buckets[submitter.name] = Bucket(_rate(submitter.adds_per_second), trio.current_time())
        return self._buckets[submitter.name]


def _by_address(adds_per_second: float) -> Visitors | None:
    return Visitors(_UNLIMITED, _rate(adds_per_second)) if adds_per_second else None


def _rate(per_second: float) -> Rate:
    return Rate(per_second, max(1, int(per_second * BURST_SECONDS)))


def _host(request: Request) -> str | None:
    return request.client.host if request.client else None


def _later(wait: int | None) -> Response | None:
    if wait is None:
        return None
    return refusal(429, "this is more than you may add in this time: try again later", {"retry-after": str(wait)})


def _unauthorised(sentence: str) -> Response:
    return refusal(401, sentence, {"www-authenticate": "Bearer"})
