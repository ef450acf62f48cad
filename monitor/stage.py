"""What a monitor serves while its state comes and goes.

A disk or a database that fails, is full or can only be read ends no process. The monitor lets go of its state, adopts
and states nothing, answers everybody that it cannot say anything now, tells its operator why, and opens the state again
as soon as that is possible, as at a start: what is then on the disk counts, and nothing of what was in memory. So
nothing is lost that had been written down, and no alarm that had been is raised a second time.
"""

import errno
import gc
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gossip.machine import GossipFailed
from runtime.daemon import Node
from runtime.database import DatabaseFailed
from runtime.errors import UsageError, leaves
from runtime.http import operator_routes, refusal
from runtime.metrics import Metrics
from runtime.register import Fenced
from runtime.version import version_document

FIRST_PAUSE = 1.0  # seconds until the state is opened again; doubles, as long as it fails soon
LONGEST_PAUSE = 15.0
LONG = 60.0  # seconds: state that was open for so long had been well

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


@dataclass(frozen=True, slots=True)
class Outage:
    """Why the state could not be written or opened, and since when, on the clock that never jumps."""

    reason: str
    since: float


Open = Callable[[Outage | None], AbstractAsyncContextManager[Node]]
"""Opens the state; it is told of the outage that is over with it."""


class Stage:
    """What is served: the node whose state is open or, as long as there is none, that there is none."""

    def __init__(self, open_: Open) -> None:
        self.ended = trio.Event()
        self._open = open_
        self._is_open = False
        self._outage: Outage | None = None
        self._public: ASGIApp = _unwell
        self._operator: ASGIApp = _unwell

    async def run(self, *, task_status: trio.TaskStatus[str]) -> None:
        """Keep the state open until the end, when there is a disk to have it open on; tell the first node's vkey.

        Raises:
            UsageError: at the start it is missing, in use or an old copy; or later, another instance took over.
        """
        pause, first = FIRST_PAUSE, True
        while not self.ended.is_set():
            opened = trio.current_time()
            try:
                async with self._open(self._outage) as node:
                    self._show(node)
                    if first:
                        task_status.started(node.vkey)
                    first = False
                    await self._work(node)
            except Exception as error:
                # That the gossip machine could not go on follows from something else, and alone is a fault of ours.
                causes = [one for one in leaves(error) if not isinstance(one, GossipFailed)]
                if first or not causes or not all(map(self._may_pass, causes)):
                    raise
                self._hold("; ".join(dict.fromkeys(map(_said, causes))))
                pause = FIRST_PAUSE if trio.current_time() - opened > LONG else min(pause * 2, LONGEST_PAUSE)
                with trio.move_on_after(pause):
                    await self.ended.wait()

    async def public(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application for everybody."""
        await self._public(scope, receive, send)

    async def operator(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The operator's application."""
        await self._operator(scope, receive, send)

    def _show(self, node: Node) -> None:
        if self._outage is not None:
            _log.info("the state is open again and the monitor goes on")
        self._public, self._operator = node.app, node.operator_app
        self._is_open, self._outage = True, None

    async def _work(self, node: Node) -> None:
        async with trio.open_nursery() as tasks:
            for task in node.tasks:
                tasks.start_soon(task)
            await self.ended.wait()
            tasks.cancel_scope.cancel()

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, DatabaseFailed):
            return True
        if isinstance(error, OSError):
            return error.errno in _DISK_ERRORS
        # What cannot be opened after a failure may be a disk that is not mounted yet. Before one, it is a mistake.
        return not self._is_open and isinstance(error, UsageError) and not isinstance(error, Fenced)

    def _hold(self, reason: str) -> None:
        if self._outage is None or self._outage.reason != reason:
            _log.error(
                "the state cannot be written or opened: nothing is adopted or stated until it can", reason=reason
            )
        since = trio.current_time() if self._outage is None else self._outage.since
        self._is_open, self._outage = False, Outage(reason, since)
        self._public, self._operator = _unwell, _bare_operator(reason)
        gc.unfreeze()  # what was open is garbage now, and there will be as much again


async def _refuse(_request: Request, _error: Exception) -> Response:
    return _refusal()


UNWELL = {DatabaseFailed: _refuse}
"""What applications do about a question that meets a database that fails just then."""


async def _unwell(scope: Scope, receive: Receive, send: Send) -> None:
    await _refusal()(scope, receive, send)


def _refusal() -> Response:
    why = "the disk or the database of this monitor fails: it sees and says nothing until it is well, ask again later"
    return refusal(503, why, {"retry-after": "10"})


def _bare_operator(reason: str) -> ASGIApp:
    async def problems() -> list[str]:
        return [f"the state cannot be written or opened, and nothing is adopted until it can: {reason}"]

    return Starlette(routes=operator_routes(Metrics(), problems, version_document()))


def _said(error: BaseException) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
