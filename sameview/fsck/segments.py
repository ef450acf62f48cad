"""Segments of a log, checked in this process or by as many as the machine has processors.

Hashing in Python keeps one processor busy and no second one, so that a large log is shared out among processes. What a
segment comes to is small: the root of its leaves. Results are taken in order, and so is the first fault.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import islice

import trio

from runtime.errors import CannotTell
from sameview.fsck.derived import SEGMENT, DerivedTree
from sameview.fsck.served import Served
from sameview.fsck.source import open_source
from tlog.compact_range import CompactRange
from tlog.hashing import TreeHead
from tlog.tiles import bundles_for

WINDOW = 16  # bundles between two words about progress; of a URL, as many are fetched at the same time
FEW = 3  # segments that are checked before another process has begun
WAITING = 2  # segments handed out for each process: the next lies ready when one is done
POLL_SECONDS = 0.1

Progress = Callable[[int], None]
"""Is told how many more leaves are done."""


def say_nothing(more: int) -> None:
    """Keep progress to oneself."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment of a log came to."""

    range: CompactRange
    tiles: int


@dataclass(frozen=True, slots=True)
class Task:
    """Everything a process has to know."""

    source: str
    head: TreeHead
    tiles_only: bool

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Served]:
        """The log, ready to be read."""
        async with open_source(self.source) as source:
            yield Served(source, self.head, self.tiles_only)


async def check_segments(
    task: Task, served: Served, start: int, jobs: int | None, progress: Progress
) -> AsyncGenerator[Segment, None]:
    """Check the segments from ``start`` on, and yield them in order."""
    starts = range(start, task.head.size, SEGMENT)
    jobs = min(jobs or processors(), len(starts))
    if jobs > 1 and len(starts) > FEW:
        async with aclosing(_shared_out(task, starts, jobs)) as segments:
            async for segment in segments:
                progress(segment.range.end - segment.range.begin)
                yield segment
    else:
        for begin in starts:
            yield await check_segment(served, begin, progress)


def processors() -> int:
    """How many processors there are for us."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def check_segment(served: Served, start: int, progress: Progress = say_nothing) -> Segment:
    """Check every file of a segment: bundles, the tiles of level 0, and the one of level 1."""
    tree, tiles = DerivedTree(start), 0
    size = served.head.size
    bundles = bundles_for(start, min(start + SEGMENT, size), size)
    for first in range(0, len(bundles), WINDOW):
        before = tree.range.end
        pieces = await served.source.each(served.leaves, bundles[first : first + WINDOW])
        derived = [pair for piece in pieces for pair in tree.append(piece)]
        tiles += len(await served.source.each(served.compare, derived))
        progress(tree.range.end - before)
    if tree.range.end - start < SEGMENT:
        tiles += len(await served.source.each(served.compare, list(tree.edge())))
    return Segment(tree.range, tiles)


# In other processes.


async def _shared_out(task: Task, starts: range, jobs: int) -> AsyncGenerator[Segment, None]:
    # Nothing of this process, which may have threads, is copied.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    others = set(multiprocessing.active_children())
    try:
        rest = iter(starts)
        waiting = deque(pool.submit(_run, task, start) for start in islice(rest, jobs * WAITING))
        while waiting:
            yield await _result(waiting.popleft())
            waiting.extend(pool.submit(_run, task, start) for start in islice(rest, 1))
    except BaseException:
        # Whoever has found a fault, or was told to stop, does not wait for what is under way.
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


async def _result(future: Future[Segment]) -> Segment:
    while not future.done():  # noqa: ASYNC110  # another process is at it
        await trio.sleep(POLL_SECONDS)
    try:
        return future.result()
    except BrokenProcessPool:
        raise CannotTell("a process that checked a part of the log was ended: check with --jobs 1") from None


def _begin() -> None:
    """Leave it to the first process what Ctrl-C means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run(task: Task, start: int) -> Segment:
    return trio.run(_check_alone, task, start)


async def _check_alone(task: Task, start: int) -> Segment:
    async with task.open() as served:
        return await check_segment(served, start)
