"""How a log is put together: ``init`` makes its state once, ``serve`` runs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from starlette.applications import Starlette

from logserver.app import LogApp
from logserver.config import LogSettings, read_settings
from logserver.cosign import Witnesses
from logserver.files import PublicFiles
from logserver.history import History, Publication
from logserver.integrate import resume
from logserver.metrics import LogMetrics
from logserver.replay import Replayed
from logserver.replay import replay as replayed
from logserver.store import METADATA, Sequencer, load_tree
from logserver.tasks import Publisher, Publishing, Sweeper, read_published
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.daemon import Node, run_daemon, serve_node
from runtime.database import open_database
from runtime.datadir import DataDirectory
from runtime.http import operator_routes
from runtime.metrics import Metrics
from runtime.register import FileRegister
from runtime.signers import FileSigner
from runtime.version import version_document

DATABASE_NAME = "log.sqlite"


def init(config: Path) -> None:
    """Create the log's state: its data directory, database, public folder and register."""
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
    async with open_database(settings.data / DATABASE_NAME, METADATA) as database:
        return await replayed(database, settings.origin)


async def _init(settings: LogSettings) -> None:
    directory = DataDirectory.create(settings.data)
    FileRegister.create(settings.register, settings.origin)
    PublicFiles(settings.public).create()
    async with open_database(directory.path / DATABASE_NAME, METADATA, create=True):
        pass


@asynccontextmanager
async def _node(settings: LogSettings) -> AsyncIterator[Node]:
    directory = DataDirectory.open(settings.data, init="sameview log init")
    files = PublicFiles(settings.public)
    signers = [FileSigner(key) for key in settings.keys]
    metrics = Metrics()
    log_metrics = LogMetrics(metrics)
    with directory.lock(), FileRegister.open(settings.register, settings.origin) as register:
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database, Client() as client:
            sequencer = Sequencer(database, await load_tree(database), settings.dedup)
            published = read_published(files, signers, settings.policy)
            known = await register.latest(settings.origin)
            # Before anything is admitted: an entry must not get an index in a tree that cannot be signed.
            by = Publication(register.epoch, version_document()["version"])
            history = await History.open(database, settings.history_days, by)
            integrator = await resume(sequencer, database, files, known.value if known else None, published)
            publisher = Publisher(
                _publishing(settings),
                sequencer,
                integrator,
                files,
                history,
                register,
                signers,
                Witnesses(settings.policy, client, log_metrics) if settings.policy else None,
                SystemClock(),
                log_metrics,
                published,
            )
            sweeper = Sweeper(files, lambda: publisher.published)
            yield Node(
                vkey=signers[0].vkey.format(),
                app=LogApp(
                    sequencer, files, lambda: publisher.published, history, log_metrics, covered=publisher.covered
                ).app(),
                operator_app=Starlette(routes=operator_routes(metrics, publisher.problems, version_document())),
                tasks=(publisher.run, sweeper.run, database.wait_failed, register.wait_lost),
            )


def _publishing(settings: LogSettings) -> Publishing:
    return Publishing(
        origin=settings.origin,
        policy=settings.policy,
        hold_without_quorum=settings.on_missing_quorum == "hold",
        interval=settings.publish_interval,
        refresh=settings.refresh_interval,
    )
