"""The page over HTTP, for as many readers as come.

Whoever reads costs next to nothing: a page is made once a second at most, whoever asks meanwhile waits for the same
one, and a plot is drawn once a minute. Readers have a budget of their own, as those who ask questions have.
"""

import re
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.page.overview import Overviews, Watching
from monitor.page.plots import POINTS, Plot, draw
from monitor.page.render import PAGES, render, render_log
from monitor.samples import DAY_MS, MINUTE_MS, Sample
from monitor.views import Views
from runtime.clock import Clock
from runtime.http import refusal
from runtime.pages import Rendered, answer
from runtime.visitors import Rate, Visitors

READERS = Rate(200, 1000), Rate(20, 400)  # everybody, one address: a page of a hundred logs has three hundred plots
FRESH_SECONDS = 1.0
PLOT_SECONDS = 30.0
MAX_KEPT = 512  # pages and plots that are kept for the next reader, some 10 MB

_PAGE_NUMBER = re.compile(r"[1-9][0-9]{0,3}")
_LOG_ID = re.compile(r"[0-9a-f]{64}")
_REVALIDATED = {"cache-control": "no-cache"}
_JSON = {**_REVALIDATED, "access-control-allow-origin": "*", "access-control-expose-headers": "etag"}
_PICTURE = {
    "cache-control": f"public, max-age={PLOT_SECONDS:.0f}",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
}


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Kept(Generic[T]):
    """What was made last, and until when it is shown."""

    values: list[T] = field(default_factory=list)
    until: float = float("-inf")
    making: trio.Lock = field(default_factory=trio.Lock)


class Fresh(Generic[K, T]):
    """Makes things for many readers: each at most once in so many seconds, and never twice at a time."""

    def __init__(self, seconds: float, make: Callable[[K], Awaitable[T]], most: int = MAX_KEPT) -> None:
        self._seconds = seconds
        self._make = make
        self._most = most
        self._kept: dict[K, _Kept[T]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def find(self, key: K) -> T:
        """What was made a moment ago, or what is made now."""
        kept = self._kept.setdefault(key, _Kept())
        async with kept.making:
            if trio.current_time() >= kept.until:
                kept.values = [await self._make(key)]
                kept.until = trio.current_time() + self._seconds
                while len(self._kept) > self._most:
                    del self._kept[next(iter(self._kept))]
        return kept.values[0]


class Reading:
    """The endpoints for readers."""

    def __init__(
        self, name: str, views: Views, clock: Clock, visitors: Visitors, watching: Watching | None = None
    ) -> None:
        self._overviews = overviews = Overviews(name, views, watching)
        self._views = views
        self._clock = clock
        self._visitors = visitors
        self._seen = Fresh(FRESH_SECONDS, overviews.overview)
        self._pages = Fresh(FRESH_SECONDS, self._make_page)
        self._log_pages = Fresh(FRESH_SECONDS, self._make_log_page)
        self._documents = Fresh(FRESH_SECONDS, self._make_document)
        self._samples = Fresh(PLOT_SECONDS, self._find_samples)
        self._plots = Fresh(PLOT_SECONDS, self._make_plot)

    def routes(self) -> list[Route]:
        """Where they are."""
        endpoints = {
            "/": self._page,
            "/logs/{id}": self._log,
            "/v1/overview": self._overview,
            "/v1/plots/{id}/{plot}.svg": self._plot,
            "/v1/samples/{id}": self._numbers,
            "/v1/policies/{id}": self._policy,
        }
        found = [Route(path, self._visitors.within(one), methods=["GET"]) for path, one in endpoints.items()]
        return [*found, *PAGES.routes()]

    async def _page(self, request: Request) -> Response:
        found = await self._numbered(request, self._pages)
        if isinstance(found, Response):
            return found
        return answer(request, found, "text/html; charset=utf-8", {**PAGES.headers, **_REVALIDATED})

    async def _log(self, request: Request) -> Response:
        origin = self._origin(request)
        if origin is None:
            return _no_such_log()
        found = await self._log_pages.find(origin)
        return answer(request, found, "text/html; charset=utf-8", {**PAGES.headers, **_REVALIDATED})

    async def _overview(self, request: Request) -> Response:
        found = await self._numbered(request, self._documents)
        return found if isinstance(found, Response) else answer(request, found, "application/json", _JSON)

    async def _numbered(self, request: Request, pages: "Fresh[int, Rendered | None]") -> Rendered | Response:
        number = request.query_params.get("page", "1")
        if not _PAGE_NUMBER.fullmatch(number):
            return refusal(400, "page is not a number from 1 on")
        found = await pages.find(int(number))
        return refusal(404, "there are not so many pages: begin with the first one") if found is None else found

    async def _plot(self, request: Request) -> Response:
        origin, plot = self._origin(request), str(request.path_params["plot"])
        if origin is None or plot not in {*Plot}:
            return _no_such_log()
        return answer(request, await self._plots.find((origin, Plot(plot))), "image/svg+xml", _PICTURE)

    async def _numbers(self, request: Request) -> Response:
        origin = self._origin(request)
        if origin is None:
            return _no_such_log()
        samples = await self._samples.find(origin)
        return answer(request, _json({"samples": samples}), "application/json", _JSON)

    async def _policy(self, request: Request) -> Response:
        origin = self._origin(request)
        if origin is None:
            return _no_such_log()
        policy = Rendered(self._views.monitor.sites[origin].log.policy.format())
        return answer(request, policy, "text/plain; charset=utf-8", _JSON)

    def _origin(self, request: Request) -> bytes | None:
        id_hex = str(request.path_params["id"])
        origin = bytes.fromhex(id_hex) if _LOG_ID.fullmatch(id_hex) else b""
        return origin if origin in self._views.monitor.sites else None

    async def _make_page(self, number: int) -> Rendered | None:
        overview = await self._seen.find(number)
        distrusted = {key: len(listed) for key, listed in self._views.distrust().items()}
        if overview is None:
            return None
        return await trio.to_thread.run_sync(render, overview, distrusted, self._clock.now_ms())

    async def _make_log_page(self, origin: bytes) -> Rendered:
        overview, log = await self._seen.find(1), await self._overviews.one(origin)
        if overview is None:
            raise AssertionError("there is always a first page")
        return await trio.to_thread.run_sync(render_log, overview, log, self._clock.now_ms())

    async def _make_document(self, number: int) -> Rendered | None:
        overview = await self._seen.find(number)
        return None if overview is None else _json(overview)

    async def _find_samples(self, origin: bytes) -> list[Sample]:
        name = self._views.monitor.sites[origin].log.origin
        since_ms = (self._clock.now_ms() - DAY_MS) // MINUTE_MS * MINUTE_MS
        return await self._views.monitor.shown.archive.samples.since(name, since_ms, POINTS)

    async def _make_plot(self, which: tuple[bytes, Plot]) -> Rendered:
        origin, plot = which
        samples = await self._samples.find(origin)
        return Rendered(await trio.to_thread.run_sync(draw, plot, samples))


def _json(value: object) -> Rendered:
    return Rendered(msgspec.json.encode(value))


def _no_such_log() -> Response:
    return refusal(404, "no such log is followed: GET /v1/logs lists them, with their ids")
