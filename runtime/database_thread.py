"""The thread that the database lives in, and how calls get into it and their outcomes out.

``runtime.database`` states what callers may rely on; this is how it comes about. A task puts a call into a queue and
sleeps. The thread claims the call, runs it and hands the outcome back through ``run_sync_soon``. A task that is
cancelled may wake up early only if it claims its call first; a claimed call is left to its end. Claiming is the one
moment that decides between "never ran" and "ran", and a lock guards it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic, NoReturn, Protocol, TypeVar, TypeVarTuple, Unpack

import outcome
import trio
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from runtime.engines import READERS, Place, connect, is_fatal

MAX_WAITING = 8192  # calls in the queue; further ones wait for room, as tasks of a few kilobytes that can be cancelled

T = TypeVar("T")
Q = TypeVar("Q")
R = TypeVar("R")
Q_contra = TypeVar("Q_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")

Work = Callable[[AsyncConnection], Awaitable[T]]


class DatabaseFailed(Exception):  # noqa: N818  # says what happened, as trio.Cancelled does
    """The disk or the connection failed, and nobody knows what was written last."""

    def __init__(self, cause: BaseException | None = None) -> None:
        reason = "" if cause is None else f" ({_in_words(cause)})"
        super().__init__(
            f"the database or its disk failed{reason}: what was written last is uncertain until it is opened again"
        )
        self.__cause__ = cause


class Apply(Protocol[Q_contra, R_co]):
    """How a group turns items into rows: in one transaction, and with one result for each.

    An exception as an item's result refuses that item alone: its submitter gets it raised. What ``apply`` wrote for
    that item stays written, so it decides first. An exception that is raised undoes and refuses the whole batch.
    """

    async def __call__(self, connection: AsyncConnection, items: Sequence[Q_contra], /) -> Sequence[R_co | Exception]:
        """Apply the items, in order."""
        ...


class Call(Generic[Q, R]):
    """A submission and who waits for it. Claimed once: by the thread to run it, or by trio to cancel it."""

    __slots__ = ("claimed", "item", "task")

    def __init__(self, item: Q, task: trio.lowlevel.Task) -> None:
        self.item = item
        self.task = task
        self.claimed = False


class Batches(Generic[Q, R]):
    """What a group is to the writer: items that wait, and how to apply as many of them as fit in one transaction."""

    def __init__(self, apply: Apply[Q, R], on_commit: Callable[[], None] | None, max_batch: int) -> None:
        self.apply = apply
        self.on_commit = on_commit
        self.max_batch = max_batch
        self.pending: deque[Call[Q, R]] = deque()


class DatabaseThread:
    """The thread, its loop and its queue. Methods with a leading underscore run in the thread unless they say not."""

    def __init__(
        self, place: Place, prepare: Callable[[AsyncConnection, MetaData], Awaitable[None]], metadata: MetaData
    ) -> None:
        self._place = place
        self._prepare = prepare
        self._metadata = metadata
        self._thread = threading.Thread(target=self._main, name="database", daemon=True)
        self._token = trio.lowlevel.current_trio_token()
        self._room = trio.Semaphore(MAX_WAITING)
        self._opened: outcome.Outcome[None] | None = None
        self._started = trio.Event()
        self._failure: BaseException | None = None
        self.failed = trio.Event()
        self._lock = threading.Lock()  # guards the queues, the next three, and every call's `claimed`
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self._reads = 0  # that were queued and have not ended
        self._closing = False
        self._asleep = False
        self._engines: list[AsyncEngine] = []
        self._read_tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps only weak references

    # What trio calls.

    async def start(self) -> None:
        """Start the thread and wait until the database is open."""
        self._thread.start()
        with trio.CancelScope(shield=True):  # opening ends by itself, and nobody could close a half-open engine
            await self._started.wait()
        if self._opened is None:
            raise AssertionError("the thread started without saying how")
        if isinstance(self._opened, outcome.Error):
            self._thread.join()  # there is nothing left that it could wait for
        self._opened.unwrap()

    async def close(self) -> None:
        """Finish what was queued, close every connection and end the thread."""
        with self._lock:
            self._closing = True
        self._wake_up()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    async def wait(self, queue: Callable[[Call[Q, R]], None], item: Q) -> R:
        """Queue a call and wait for its outcome, as the module promises about cancellation."""
        self._check_usable()
        await self._room.acquire()  # given back when the thread takes the call out of the queue, cancelled or not
        try:
            self._check_usable()
        except BaseException:
            self._room.release()
            raise
        call: Call[Q, R] = Call(item, trio.lowlevel.current_task())
        queue(call)
        # No checkpoint between queueing and this: a call without a waiter would be the third case of cancellation.
        result: R = await trio.lowlevel.wait_task_rescheduled(partial(self._abort, call))
        return result

    def queue_write(self, call: Call[Work[R], R]) -> None:
        """Queue a transaction."""
        self._queue(partial(self._write, call))

    def queue_read(self, call: Call[Work[R], R]) -> None:
        """Start to read, beside the writer."""
        with self._lock:
            self._reads += 1
        self._loop.call_soon_threadsafe(self._start_read, call)

    def queue_item(self, batches: Batches[Q, R], call: Call[Q, R]) -> None:
        """Add an item to what its group has pending; the first one queues the group's next transaction."""
        with self._lock:
            batches.pending.append(call)
            first = len(batches.pending) == 1
        if first:
            self._queue(partial(self._write_batch, batches))

    def failure(self) -> DatabaseFailed:
        """What a caller gets: a new exception each, because one raised in many tasks collects all their tracebacks."""
        return DatabaseFailed(self._failure)

    def _check_usable(self) -> None:  # called by trio
        if self._failure is not None:
            raise self.failure()
        if self._closing:
            raise AssertionError("the database was used after it was closed")

    def _abort(self, call: Call[Q, R], _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:  # called by trio
        return trio.lowlevel.Abort.SUCCEEDED if self._claim(call) else trio.lowlevel.Abort.FAILED

    def _deliver(self, results: Sequence[tuple[Call[Q, R], "outcome.Outcome[R] | None"]]) -> None:  # called by trio
        for call, result in results:
            self._room.release()
            if result is not None:
                trio.lowlevel.reschedule(call.task, result)

    # What either side calls.

    def _claim(self, call: Call[Q, R]) -> bool:
        """Decide the race between running a call and cancelling it: true for whoever comes first."""
        with self._lock:
            first, call.claimed = not call.claimed, True
        return first

    def _queue(self, job: Callable[[], Awaitable[None]]) -> None:
        with self._lock:
            self._jobs.append(job)
        self._wake_up()

    def _wake_up(self) -> None:
        with self._lock:
            asleep, self._asleep = self._asleep, False
        if asleep:  # and otherwise the writer looks by itself: this call is the expensive part of a submission
            self._loop.call_soon_threadsafe(self._wake.set)

    # What runs in the thread.

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._reading = asyncio.Semaphore(READERS)
        self._opened = await outcome.acapture(self._open)
        self._in_trio(self._started.set)
        if isinstance(self._opened, outcome.Value):
            while (job := await self._next_job()) is not None:
                await job()
            with suppress(Exception):  # what failed has been reported; what was committed is on disk
                await self._writer.close()
        for engine in self._engines:
            with suppress(Exception):
                await engine.dispose()

    async def _open(self) -> None:
        writer, self._reader = self._place.writer(), self._place.reader()
        self._engines += writer, self._reader
        self._writer = await connect(writer)
        try:
            async with self._writer.begin():
                await self._prepare(self._writer, self._metadata)
        except BaseException:
            await self._writer.close()
            raise

    async def _next_job(self) -> Callable[[], Awaitable[None]] | None:
        """Wait for something to write; None when all is done and no more can come."""
        while True:
            with self._lock:
                if self._jobs:
                    return self._jobs.popleft()
                if self._closing and not self._reads:
                    return None
                self._asleep = True
                self._wake.clear()
            await self._wake.wait()

    async def _write(self, call: Call[Work[R], R]) -> None:
        result = await outcome.acapture(self._transact, call.item, None) if self._claim(call) else None
        self._in_trio(self._deliver, [(call, result)])

    async def _write_batch(self, batches: Batches[Q, R]) -> None:
        taken = self._take(batches)
        results: dict[Call[Q, R], outcome.Outcome[R] | None] = dict.fromkeys(taken)
        calls = [call for call in taken if self._claim(call)]
        if calls:
            results.update(zip(calls, await self._apply(batches, [call.item for call in calls]), strict=True))
        self._in_trio(self._deliver, list(results.items()))

    def _take(self, batches: Batches[Q, R]) -> list[Call[Q, R]]:
        """Take the group's next batch; what is left over comes after the other writers that wait by now."""
        with self._lock:
            number = min(len(batches.pending), batches.max_batch)
            taken = [batches.pending.popleft() for _ in range(number)]
            more = bool(batches.pending)
        if more:
            self._queue(partial(self._write_batch, batches))
        return taken

    async def _apply(self, batches: Batches[Q, R], items: list[Q]) -> "list[outcome.Outcome[R]]":
        async def work(connection: AsyncConnection) -> Sequence[R | Exception]:
            results = await batches.apply(connection, items)
            if len(results) != len(items):
                raise AssertionError("apply must return one result for each item")
            return results

        batch = await outcome.acapture(self._transact, work, batches.on_commit)
        if isinstance(batch, outcome.Error):
            return [outcome.Error(self._for_each(batch.error)) for _ in items]
        return [outcome.Error(r) if isinstance(r, Exception) else outcome.Value(r) for r in batch.unwrap()]

    async def _transact(self, work: Work[R], on_commit: Callable[[], None] | None) -> R:
        if self._failure is not None:
            raise self.failure()
        try:
            transaction = await self._writer.begin()
            try:
                result = await work(self._writer)
            except BaseException as error:
                if not is_fatal(error):
                    with self._certain():
                        await transaction.rollback()
                raise
        except Exception as error:
            if is_fatal(error):
                raise self._fail(error) from error
            raise
        with self._certain():
            await transaction.commit()
            if on_commit is not None:
                on_commit()
        return result

    @contextmanager
    def _certain(self) -> Iterator[None]:
        """Take a step after whose failure it would be unknown what is on disk."""
        try:
            yield
        except BaseException as error:
            raise self._fail(error) from error

    def _start_read(self, call: Call[Work[R], R]) -> None:
        task = self._loop.create_task(self._read(call))
        self._read_tasks.add(task)
        task.add_done_callback(self._read_tasks.discard)

    async def _read(self, call: Call[Work[R], R]) -> None:
        async with self._reading:
            result = await outcome.acapture(self._look, call.item) if self._claim(call) else None
        self._in_trio(self._deliver, [(call, result)])
        with self._lock:
            self._reads -= 1
        if self._closing:
            self._wake.set()

    async def _look(self, work: Work[R]) -> R:
        if self._failure is not None:
            raise self.failure()
        try:
            async with self._reader.connect() as connection, connection.begin() as transaction:
                result = await work(connection)
                await transaction.rollback()
                return result
        except Exception as error:
            if is_fatal(error):
                raise self._fail(error) from error
            raise

    def _fail(self, error: BaseException) -> DatabaseFailed:
        if self._failure is None:
            self._failure = error
            self._in_trio(self.failed.set)
        return self.failure()

    def _for_each(self, error: BaseException) -> BaseException:
        return self.failure() if isinstance(error, DatabaseFailed) else error

    def _in_trio(self, function: Callable[[Unpack[Ts]], object], *arguments: *Ts) -> None:
        with suppress(trio.RunFinishedError):  # nobody is left to tell
            self._token.run_sync_soon(function, *arguments)


def _in_words(cause: BaseException) -> str:
    """What the driver or the system says: neither statements nor values."""
    cause = getattr(cause, "orig", None) or cause
    return getattr(cause, "strerror", None) or str(cause)
