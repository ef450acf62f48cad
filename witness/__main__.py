"""How a witness is put together: ``init`` makes its state once, ``serve`` runs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from runtime.clock import Clock, SystemClock
from runtime.daemon import Node, run_daemon, serve_node
from runtime.database import Database, open_database
from runtime.datadir import DataDirectory
from runtime.metrics import Metrics
from runtime.register import DatabaseRegister, StateCounter
from runtime.signers import FileSigner
from witness.app import operator_app, witness_app
from witness.config import WitnessSettings, read_settings
from witness.conflicts import Conflicts
from witness.copies import PublicCopies
from witness.cosigner import Cosigner
from witness.history import History
from witness.keyring import Keyring
from witness.store import METADATA, read_own_keys, read_stated_origins, write_accepted, write_own_keys

DATABASE_NAME = "witness.sqlite"


def init(config: Path) -> None:
    """Create the witness's state: its data directory, database and register."""
    trio.run(create, read_settings(config))


def serve(config: Path) -> int:
    """Run the witness until it is told to stop; its exit code."""
    settings = read_settings(config)
    return run_daemon("witness", partial(serve_node, _node(settings), settings.listen, settings.operator_listen))


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness whose state is open."""

    settings: WitnessSettings
    database: Database
    register: DatabaseRegister
    history: History
    cosigner: Cosigner


async def create(settings: WitnessSettings) -> None:
    """Make new state.

    Raises:
        UsageError: there is some already.
    """
    directory = DataDirectory.create(settings.data)
    counter = StateCounter.create(settings.register)
    async with open_database(directory.path / DATABASE_NAME, METADATA, create=True) as database:
        await DatabaseRegister.create(database, counter)


@asynccontextmanager
async def opened(settings: WitnessSettings, clock: Clock) -> AsyncIterator[Witness]:
    """Open existing state.

    Raises:
        UsageError: it is missing, in use, or an old copy; says what to do.
    """
    directory = DataDirectory.open(settings.data, init="sameview witness init")
    with directory.lock():
        counter = StateCounter.open(settings.register)
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database:
            register = await DatabaseRegister.open(database, counter, write_accepted)
            keyring = await _keyring(settings, database, clock)
            history = History(database, clock, settings.history_days)
            stated = await read_stated_origins(database)
            copies = PublicCopies(database, register, keyring, history, settings.logs, stated)
            conflicts = Conflicts(database, clock, settings.logs)
            await conflicts.load()
            cosigner = Cosigner(settings.logs, register, keyring, copies, conflicts, clock)
            yield Witness(settings, database, register, history, cosigner)
            await history.save()


async def _keyring(settings: WitnessSettings, database: Database, clock: Clock) -> Keyring:
    signers = [FileSigner(key) for key in settings.keys]
    keyring = Keyring.of(signers, await read_own_keys(database))
    await write_own_keys(database, clock.now(), {key.vkey.format(): key.retires for key in keyring.keys})
    return Keyring.of(signers, await read_own_keys(database))


@asynccontextmanager
async def _node(settings: WitnessSettings) -> AsyncIterator[Node]:
    async with opened(settings, SystemClock()) as witness:
        cosigner, metrics = witness.cosigner, Metrics()
        yield Node(
            vkey=cosigner.keyring.keys[0].vkey.format(),
            app=witness_app(cosigner, metrics),
            operator_app=operator_app(cosigner, metrics),
            tasks=(
                witness.database.wait_failed,
                witness.register.wait_lost,
                witness.history.save_for_ever,
                partial(witness.history.prune_for_ever, cosigner.conflicts.load),
            ),
        )
