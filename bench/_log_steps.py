"""The command ``sameview``, with a clock at each step that an added entry goes through.

``python -m bench._log_steps log serve …`` serves as ``sameview log serve`` does. On SIGUSR1 it writes down the
processor time that each step has taken until then, in seconds, as JSON into the file that ``STEPS_FILE`` names. Time is
that of the thread which takes the step, so waiting is none; a step within another one counts for itself alone.

``http``       the connections: trio, sockets, limits, what makes a request of bytes and a route of that
``parse``      the bytes of requests, taken apart and judged
``answer``     the answers, until the kernel has them
``hand_over``  getting an entry into the database's thread and its index back
``hash``       leaf hashes, and the tree over them
``dedup``      asking for known leaf hashes, and noting new ones
``commit``     the batch's row, and the transaction around all of this
``integrate``  tiles and bundles, read from the database and written to disk
``sign``       register, signature, history and checkpoint
"""

import json
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from functools import wraps
from pathlib import Path
from types import FrameType, coroutine
from typing import Any

import logserver.app
import logserver.integrate
import logserver.store
import logserver.tasks
import runtime.database_thread
import runtime.exchange
import runtime.files
import runtime.request_parser
from bench._log import STEPS_FILE
from sameview.__main__ import main

Function = Callable[..., Any]

_spent: defaultdict[tuple[str, str], float] = defaultdict(float)  # seconds, by thread and step
_own = threading.local()


class _Clock:
    """The steps that a thread is in, the innermost last."""

    def __init__(self) -> None:
        name = threading.current_thread().name
        self.thread = name if name in ("MainThread", "database") else "others"
        self.steps: list[str] = []
        self.since = 0.0

    def enter(self, step: str) -> None:
        self._count()
        self.steps.append(step)

    def leave(self) -> None:
        self._count()
        self.steps.pop()

    def _count(self) -> None:
        now = time.thread_time()
        if self.steps:
            _spent[self.thread, self.steps[-1]] += now - self.since
        self.since = now


def _clock() -> _Clock:
    if not hasattr(_own, "clock"):
        _own.clock = _Clock()
    clock: _Clock = _own.clock
    return clock


def _timed(step: str, function: Function) -> Function:
    @wraps(function)
    def timed(*arguments: Any, **more: Any) -> Any:
        clock = _clock()
        clock.enter(step)
        try:
            return function(*arguments, **more)
        finally:
            clock.leave()

    return timed


def _timed_async(step: str, function: Function) -> Function:
    """As ``_timed``, for a coroutine: only while it runs, not while it waits."""

    @coroutine
    def timed(*arguments: Any, **more: Any) -> Generator[Any, Any, Any]:
        running = function(*arguments, **more)
        clock = _clock()
        value: Any = None
        error: BaseException | None = None
        while True:
            clock.enter(step)
            try:
                waits_for = running.send(value) if error is None else running.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                clock.leave()
            value = error = None
            try:
                value = yield waits_for
            except BaseException as raised:
                error = raised

    return timed


def _install() -> None:
    calls: list[tuple[object, str, str]] = [
        (runtime.request_parser.RequestParser, "next_event", "parse"),
        (logserver.app, "bare", "answer"),
        (runtime.database_thread.DatabaseThread, "_deliver", "hand_over"),
        (logserver.store, "leaf_hashes", "hash"),
        (logserver.store, "sequence", "hash"),
        (logserver.integrate.Integrator, "_append", "integrate"),
        (runtime.files, "_write_draft", "integrate"),
    ]
    coroutines: list[tuple[object, str, str]] = [
        (runtime.exchange.Exchange, "send", "answer"),
        (runtime.database_thread.DatabaseThread, "wait", "hand_over"),
        (runtime.database_thread.DatabaseThread, "_transact", "commit"),
        (logserver.store._Known, "find", "dedup"),
        (logserver.store._Known, "note", "dedup"),
        (logserver.integrate.Integrator, "integrate", "integrate"),
        (logserver.tasks.Publisher, "publish", "sign"),
    ]
    for owner, name, step in calls:
        setattr(owner, name, _timed(step, getattr(owner, name)))
    for owner, name, step in coroutines:
        setattr(owner, name, _timed_async(step, getattr(owner, name)))


def _write_down(_signal: int, _frame: FrameType | None) -> None:
    # What a thread does outside of any step is named after what it is there for.
    totals = {thread.name: _seconds_of(thread) for thread in threading.enumerate()}
    steps: defaultdict[str, float] = defaultdict(float)
    for (_, step), seconds in _spent.items():
        steps[step] += seconds
    steps["http"] = totals["MainThread"] - _of("MainThread")
    steps["hand_over"] += totals["database"] - _of("database")
    steps["all"] = time.process_time()
    path = Path(os.environ[STEPS_FILE])
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(steps))
    draft.rename(path)


def _of(thread: str) -> float:
    return sum(seconds for (name, _), seconds in _spent.items() if name == thread)


def _seconds_of(thread: threading.Thread) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident)) if thread.ident else 0.0


if __name__ == "__main__":
    _install()
    signal.signal(signal.SIGUSR1, _write_down)
    main()
