"""How every daemon runs: the same start, the same ready line, the same signals, the same exit codes.

Standard output carries one line of JSON, when the daemon serves and not before:

    {"event":"ready","role":"witness","url":"http://127.0.0.1:8081","vkey":"…","operator_url":"http://127.0.0.1:8091"}

Everything else goes to standard error. SIGTERM or SIGINT begins to drain: listeners close, what was asked is answered,
the daemon exits with 0. A second signal, or ``DRAIN_SECONDS``, ends the waiting; nothing durable depends on it, nor on
what is still under way then: a storage that hangs may keep a thread for longer than anybody waits, so ``STOP_SECONDS``
later the process is gone, whatever it was doing, just as if it had been killed.

``run_daemon`` runs anything that can drain. ``serve_node`` is what a node gives to it: one application, one for the
operator, and tasks that run beside them.
"""

import gc
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import structlog
import trio
from starlette.types import ASGIApp

from runtime import errors
from runtime.database_thread import DatabaseFailed
from runtime.errors import HOLDS, OUR_FAULT, exit_code, leaves
from runtime.logs import configure_logs
from runtime.server import open_listener, serve, url_of
from tlog.errors import TlogError

DRAIN_SECONDS = 30.0  # what supervisors commonly wait between SIGTERM and SIGKILL, or less; requests end well before
STOP_SECONDS = 8.0  # to end what runs beside the servers and to close the state; both together are what systemd gives
SWITCH_SECONDS = 0.0005  # the database's threads hand over ten times as often as by default: twice the throughput
MANY_FILES = 65_536  # a monitor has a few files open for each log, and a connection


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line says."""

    url: str
    vkey: str
    operator_url: str | None = None


class Daemon(Protocol):
    """Serves until told to drain; says that it serves through ``task_status``; returns when drained."""

    async def __call__(self, drain: trio.Event, *, task_status: trio.TaskStatus[Ready]) -> None: ...


def run_daemon(role: str, daemon: Daemon) -> int:
    """Run a daemon until it has drained or failed, and return the exit code of the process."""
    configure_logs(role)
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_files()
    try:
        return trio.run(_run, role, daemon)
    except BaseException as error:
        return _report(error)


@dataclass(frozen=True, slots=True)
class Node:
    """What a node consists of once its state is open."""

    vkey: str
    app: ASGIApp
    operator_app: ASGIApp
    tasks: Sequence[Callable[[], Awaitable[object]]] = field(default=())
    """Run beside the applications and are cancelled when those have drained. If one raises, the daemon fails."""


async def serve_node(
    node: AbstractAsyncContextManager[Node],
    listen: str,
    operator_listen: str | None,
    drain: trio.Event,
    *,
    task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Open the listeners, then the node's state, and serve until drained.

    Raises:
        UsageError: an address is in use, or the state is missing or locked.
    """
    async with AsyncExitStack() as stack:
        public = await stack.enter_async_context(await open_listener(listen))
        operator = None
        if operator_listen is not None:
            operator = await stack.enter_async_context(await open_listener(operator_listen))
        opened = await stack.enter_async_context(node)
        async with trio.open_nursery() as tasks:
            for task in opened.tasks:
                tasks.start_soon(task)
            async with trio.open_nursery() as servers:
                await servers.start(partial(serve, opened.app, [public], drain=drain))
                if operator is not None:
                    await servers.start(partial(serve, opened.operator_app, [operator], drain=drain))
                operator_url = None if operator is None else url_of(operator)
                task_status.started(Ready(url_of(public), opened.vkey, operator_url))
            _end_within(STOP_SECONDS)
            tasks.cancel_scope.cancel()


def _allow_many_files() -> None:
    """Take as many descriptors as the system allows: many still get 1,024 unless they ask, and no more are needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _run(role: str, daemon: Daemon) -> int:
    _owns_process.set(True)
    drain, serving = trio.Event(), trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watchers:
            watchers.start_soon(_drain_on_signal, signals, drain, serving, watchers.cancel_scope)
            async with trio.open_nursery() as nursery:
                ready: Ready = await nursery.start(daemon, drain)
                serving.set()
                # What lives now lives as long as we do: no full collection, which stops everything, shall walk it.
                gc.collect()
                gc.freeze()
                _announce(role, ready)
            if not drain.is_set():
                raise AssertionError("the daemon ended although nobody told it to")
            watchers.cancel_scope.cancel()
    return HOLDS


async def _drain_on_signal(
    signals: AsyncIterator[int], drain: trio.Event, serving: trio.Event, everything: trio.CancelScope
) -> None:
    await anext(signals)
    drain.set()
    if serving.is_set():
        _log.info("draining")
        with trio.move_on_after(DRAIN_SECONDS):
            await anext(signals)
        _log.warning("stopped before everything had drained")
    _end_within(STOP_SECONDS)
    everything.cancel()


def _end_within(seconds: float) -> None:
    """See to it that the process ends, also if a thread of it never comes back: no program can take one away.

    A node that is one of several in a program, as in a demonstration or a test, ends no more than itself.
    """
    if not _owns_process.get():
        return
    timer = threading.Timer(seconds, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    _log.warning("stopped although something did not answer: nothing that was promised depends on it")
    sys.stderr.flush()
    os._exit(HOLDS)


def _announce(role: str, ready: Ready) -> None:
    line = {"event": "ready", "role": role, "url": ready.url, "vkey": ready.vkey}
    if ready.operator_url is not None:
        line["operator_url"] = ready.operator_url
    sys.stdout.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _report(error: BaseException) -> int:
    failures = list(leaves(error))
    # A stranger's bytes are answered where they arrive; if their error comes as far as here, that is our fault.
    code = OUR_FAULT if any(isinstance(failure, TlogError) for failure in failures) else exit_code(error)
    match code:
        case errors.USAGE | errors.CANNOT_TELL:
            for sentence in dict.fromkeys(map(str, failures)):
                sys.stderr.write(f"sameview: {sentence}\n")
        case errors.OUR_FAULT if all(isinstance(failure, DatabaseFailed) for failure in failures):
            _log.critical("stopped: start it again when the disk is well", reason=str(failures[0]))
        case errors.OUR_FAULT:
            _log.critical("stopped by a fault of ours", exc_info=error)
    return code


_owns_process: ContextVar[bool] = ContextVar("owns_process", default=False)
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
