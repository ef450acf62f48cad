"""What the logs show to each monitor: one server, at whose paths every monitor has a log of its own.

    GET /<log>/<monitor>/checkpoint, and the tiles of that log

A log is honest to a monitor until ``lie``; when a monitor is first given a checkpoint after that is remembered. A log
that runs as a process is passed on as it answers.
"""

import time
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.client import Client, FetchError
from tests.fakes_log import FakeLog
from tlog.tiles import MAX_BUNDLE_BYTES

FETCH_SECONDS = 10.0


@dataclass(slots=True)
class Shown:
    """A log as one monitor sees it: of a process at a URL, or in memory."""

    log: FakeLog
    url: str | None = None
    lies: bool = False
    seen_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Fronts:
    """All logs as all monitors see them."""

    client: Client
    shown: dict[tuple[str, str], Shown] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{log}/{monitor}/{path:path}", self._answer)])

    def show(self, log: str, monitor: str, tree: FakeLog, url: str | None = None) -> None:
        """Show a monitor this log."""
        self.shown[log, monitor] = Shown(tree, url)

    def lie(self, log: str, monitor: str, twin: FakeLog) -> None:
        """Show a monitor another history from now on."""
        self.shown[log, monitor] = Shown(twin, lies=True)

    def seen_ms(self, log: str) -> int | None:
        """When the first monitor was given a checkpoint that is a lie, in Unix milliseconds."""
        return min((one.seen_ms for (name, _), one in self.shown.items() if name == log and one.seen_ms), default=None)

    async def _answer(self, request: Request) -> Response:
        place = request.path_params["log"], request.path_params["monitor"]
        path = request.path_params["path"]
        shown = self.shown[place]
        if shown.url is not None:
            return await self._passed_on(f"{shown.url}/{path}")
        found = shown.log.serve(path)
        if shown.lies and path == "checkpoint" and shown.seen_ms is None:
            shown.seen_ms = time.time_ns() // 1_000_000
        return Response(status_code=404) if found is None else Response(found)

    async def _passed_on(self, url: str) -> Response:
        try:
            answer = await self.client.fetch("GET", url, cap=MAX_BUNDLE_BYTES, seconds=FETCH_SECONDS)
        except FetchError:
            return Response(status_code=502)
        return Response(answer.body, answer.status)
