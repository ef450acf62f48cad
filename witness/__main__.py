"""How a witness is put together: ``init`` makes its state once, ``serve`` runs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from starlette.applications import Starlette

from runtime.clock import SystemClock
from runtime.daemon import Node, run_daemon, serve_node
from runtime.database import open_database
from runtime.datadir import DataDirectory
from runtime.http import operator_routes
from runtime.metrics import Metrics
from runtime.register import DatabaseRegister, StateCounter
from runtime.signers import FileSigner
from runtime.version import version_document
from witness.app import witness_app
from witness.config import WitnessSettings, read_settings
from witness.cosigner import Cosigner
from witness.store import METADATA, load_accepted, write_accepted

DATABASE_NAME = "witness.sqlite"


def init(config: Path) -> None:
    """Create the witness's state: its data directory, database and register."""
    trio.run(_init, read_settings(config))


def serve(config: Path) -> int:
    """Run the witness until it is told to stop; its exit code."""
    settings = read_settings(config)
    return run_daemon("witness", partial(serve_node, _node(settings), settings.listen, settings.operator_listen))


async def _init(settings: WitnessSettings) -> None:
    directory = DataDirectory.create(settings.data)
    counter = StateCounter.create(settings.register)
    async with open_database(directory.path / DATABASE_NAME, METADATA, create=True) as database:
        await DatabaseRegister.create(database, counter)


@asynccontextmanager
async def _node(settings: WitnessSettings) -> AsyncIterator[Node]:
    directory = DataDirectory.open(settings.data, init="sameview witness init")
    with directory.lock():
        counter = StateCounter.open(settings.register)
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database:
            register = await DatabaseRegister.open(database, counter, write_accepted)
            signers = [FileSigner(key) for key in settings.keys]
            cosigner = Cosigner(settings.logs, register, signers, SystemClock())
            await cosigner.restore(await load_accepted(database))
            metrics = Metrics()
            yield Node(
                vkey=signers[0].vkey.format(),
                app=witness_app(cosigner, metrics),
                operator_app=Starlette(routes=operator_routes(metrics, cosigner.problems, version_document())),
                tasks=(database.wait_failed, register.wait_lost),
            )
