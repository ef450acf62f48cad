"""How a log is put together: ``init`` makes its state once, ``serve`` runs it."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from starlette.applications import Starlette

from logserver.app import LogApp
from logserver.config import DATABASE_NAME, PUBLIC_NAME, LogSettings, read_settings
from logserver.cosign import Witnesses
from logserver.files import PublicFiles, PublicObjects, StaticFiles
from logserver.history import History, Publication
from logserver.integrate import resume
from logserver.lead import RESIGN_SECONDS, Follower, Leader
from logserver.lease import Lease
from logserver.metrics import LogMetrics
from logserver.replay import Replayed
from logserver.replay import replay as replayed
from logserver.shown import Shown
from logserver.store import METADATA, Sequencer, load_tree
from logserver.submitters import Submitters
from logserver.tasks import Publisher, Publishing, Sweeper, read_published
from logserver.trim import Trimmer
from runtime.cells import open_cell
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.daemon import Node, run_daemon, serve_node
from runtime.database import Database, open_database
from runtime.datadir import DataDirectory
from runtime.errors import CannotTell, UsageError
from runtime.file_register import FileRegister
from runtime.http import operator_routes
from runtime.metrics import Metrics
from runtime.objects import open_objects
from runtime.shared_register import SharedRegister
from runtime.signers import FileSigner
from runtime.version import version_document

_DATABASE_FILES = frozenset(f"{DATABASE_NAME}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))


def init(config: Path) -> None:
    """Create the log's state: its data directory, database, public folder and register.

    Raises:
        UsageError: it is there already, or some of it cannot be made; run again, it goes on where it was broken off.
    """
    trio.run(_init, read_settings(config))


def serve(config: Path) -> int:
    """Run the log until it is told to stop; its exit code."""
    settings = read_settings(config)
    return run_daemon("log", partial(serve_node, _node(settings), settings.listen, settings.operator_listen))


async def replay(config: Path) -> Replayed:
    """Derive every recorded checkpoint of a log again from its entries.

    Raises:
        UsageError: there is no such log.
        ProofError: a checkpoint is not one of the entries.
    """
    settings = read_settings(config)
    # No lock: it only reads, and a log that serves may go on.
    async with open_database(settings.database, METADATA) as database:
        return await replayed(database, settings.origin, _files(settings))


async def _init(settings: LogSettings) -> None:
    """Make everything. What an `init` that was broken off has made is as good as new until something uses it.

    The database comes last: a log that has one was made, whole.
    """
    await _refuse_if_made(settings)
    if settings.data is not None and not _is_half_made(settings.data):
        DataDirectory.create(settings.data)
    if isinstance(settings.register, Path):
        FileRegister.create(settings.register, settings.origin)
    else:
        async with open_cell(settings.register, settings.origin, create=True) as cell:
            await SharedRegister.create(cell, settings.origin)
    await trio.to_thread.run_sync(_files(settings).create)
    async with open_database(settings.database, METADATA, create=True):
        pass


async def _refuse_if_made(settings: LogSettings) -> None:
    # First, so that no new register comes to stand beside an old database.
    try:
        async with open_database(settings.database, METADATA):
            pass
    except UsageError:
        return
    # A URL may hold a password.
    where = f" {settings.database}" if isinstance(settings.database, Path) else ""
    raise UsageError(
        f"the database{where} holds a log already: `init` makes new state only, it never replaces any; "
        "to go on with it run `serve`"
    )


def _is_half_made(data: Path) -> bool:
    """Whether nothing is here that was not left by an `init` before its end; what it is, the later steps look at."""
    try:
        return {file.name for file in data.iterdir()} <= {PUBLIC_NAME, *_DATABASE_FILES}
    except OSError:
        return False


def _files(settings: LogSettings) -> StaticFiles:
    if isinstance(settings.public, Path):
        return PublicFiles(settings.public)
    return PublicObjects(open_objects(settings.public), gzip_bundles=settings.gzip_bundles)


class _Parts:
    """What every way of serving a log needs."""

    def __init__(
        self,
        settings: LogSettings,
        database: Database,
        client: Client,
        sequencer: Sequencer,
        history: History,
        shown: Shown,
    ) -> None:
        self.settings = settings
        self.database = database
        self.sequencer = sequencer
        self.history = history
        self.shown = shown
        self.metrics = Metrics()
        self.log_metrics = LogMetrics(self.metrics)
        self.signers = [FileSigner(key) for key in settings.keys]
        self.witnesses = Witnesses(settings.policy, client, self.log_metrics) if settings.policy else None

    async def publisher(self, register: "FileRegister | SharedRegister") -> tuple[Publisher, StaticFiles]:
        """Take up publishing where the last one stopped. Nothing may be signed if what is stored does not allow it."""
        files = _files(self.settings)
        published = await trio.to_thread.run_sync(read_published, files, self.signers, self.settings.policy)
        known = await register.latest(self.settings.origin)
        await self.sequencer.look()
        integrator = await resume(self.sequencer, self.database, files, known.value if known else None, published)
        if published is not None:
            self.shown.show(published)
        publisher = Publisher(
            _publishing(self.settings),
            self.sequencer,
            integrator,
            files,
            self.history,
            register,
            self.signers,
            self.witnesses,
            SystemClock(),
            self.log_metrics,
            Publication(register.epoch, version_document()["version"]),
            self.shown,
        )
        return publisher, files

    def cleaners(self, files: StaticFiles) -> list[Callable[[], Awaitable[object]]]:
        """What removes what is not needed any more, beside the publisher."""
        shown = self.shown
        sweeper = Sweeper(files, lambda: shown.checkpoint)
        if not self.settings.trim:
            return [sweeper.run]
        return [sweeper.run, Trimmer(self.database, files, lambda: shown.checkpoint).run]

    def node(self, problems: Callable[[], Awaitable[Sequence[str]]], *tasks: Callable[[], Awaitable[object]]) -> Node:
        """The log, to be served."""
        shown = self.shown
        app = LogApp(
            self.sequencer,
            _files(self.settings),
            lambda: shown.checkpoint,
            self.history,
            self.log_metrics,
            covered=shown.covered,
            submitters=_submitters(self.settings),
        )
        return Node(
            vkey=self.signers[0].vkey.format(),
            app=app.app(),
            operator_app=Starlette(routes=operator_routes(self.metrics, problems, version_document())),
            tasks=(*tasks, self.database.wait_failed),
        )


@asynccontextmanager
async def _node(settings: LogSettings) -> AsyncIterator[Node]:
    with ExitStack() as locks:
        if settings.data is not None:
            locks.enter_context(DataDirectory.open(settings.data, init="sameview log init").lock())
        async with _opened(settings) as parts:
            if isinstance(settings.database, str):
                yield _one_of_several(parts)
                return
            async with _register(settings) as register:
                # Before anything is admitted: an entry must not get an index in a tree that cannot be signed.
                try:
                    publisher, files = await parts.publisher(register)
                except OSError as error:
                    raise CannotTell(f"the public files cannot be read or written: {error.strerror}") from error
                yield parts.node(publisher.problems, publisher.run, *parts.cleaners(files), register.wait_lost)


@asynccontextmanager
async def _opened(settings: LogSettings) -> AsyncIterator[_Parts]:
    async with open_database(settings.database, METADATA) as database, Client() as client:
        sequencer = Sequencer(database, await load_tree(database), settings.dedup)
        history = await History.open(database, settings.history_days)
        yield _Parts(settings, database, client, sequencer, history, Shown(None))


@asynccontextmanager
async def _register(settings: LogSettings) -> AsyncIterator[FileRegister | SharedRegister]:
    if isinstance(settings.register, Path):
        with FileRegister.open(settings.register, settings.origin) as register:
            yield register
        return
    async with open_cell(settings.register, settings.origin) as cell:
        yield await SharedRegister.open(cell, settings.origin)


def _one_of_several(parts: _Parts) -> Node:
    """A process that takes entries, and publishes while it holds the lease."""
    settings = parts.settings

    @asynccontextmanager
    async def open_publisher() -> AsyncIterator[tuple[Publisher, Sequence[Callable[[], Awaitable[object]]]]]:
        async with _register(settings) as register:
            try:
                publisher, files = await parts.publisher(register)
                yield publisher, (*parts.cleaners(files), register.wait_lost)
            finally:
                parts.sequencer.tiled(None)

    leader = Leader(Lease(parts.database), open_publisher)
    follower = Follower(
        parts.sequencer, _files(settings), parts.signers, settings.policy, parts.shown, settings.publish_interval
    )

    async def problems() -> Sequence[str]:
        own = await leader.publisher.problems() if leader.publisher else []
        return own or follower.problems()

    return parts.node(problems, leader.run, follower.run)


def _submitters(settings: LogSettings) -> Submitters | None:
    if not (settings.submitters or settings.adds_per_second or settings.submitters_only):
        return None  # nothing to look at, for each of thousands of requests a second
    return Submitters(settings.submitters, settings.adds_per_second, known_only=settings.submitters_only)


def _publishing(settings: LogSettings) -> Publishing:
    return Publishing(
        origin=settings.origin,
        policy=settings.policy,
        hold_without_quorum=settings.on_missing_quorum == "hold",
        interval=settings.publish_interval,
        refresh=settings.refresh_interval,
        resign_after=RESIGN_SECONDS if isinstance(settings.database, str) else math.inf,
    )
