"""How a witness is put together: ``init`` makes its state once, ``serve`` runs it.

A disk that fails, is full or can only be read ends no process. The witness lets go of its state, shows what it has in
memory, refuses to sign, says why, and opens the state again as soon as that is possible, as at a start: what is then on
the disk counts, and nothing of what was in memory. An operator frees space, or unmounts, repairs and mounts.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from runtime.client import Client, Response
from runtime.clock import Clock, SystemClock
from runtime.daemon import Node, run_daemon, serve_node
from runtime.database import Database, DatabaseFailed, open_database
from runtime.database_register import DatabaseRegister
from runtime.datadir import DataDirectory, locked
from runtime.errors import UsageError, leaves
from runtime.metrics import Metrics
from runtime.signers import FileSigner
from runtime.statecounter import StateCounter
from tlog.note import MAX_NOTE_BYTES
from witness.app import operator_app, witness_app
from witness.budget import Budgets
from witness.config import WitnessSettings, read_settings
from witness.conflicts import Conflicts
from witness.copies import PublicCopies
from witness.cosigner import Cosigner
from witness.feeds import Feeds
from witness.history import History
from witness.keyring import Keyring
from witness.lists import Puller, PullMetrics
from witness.logs import LogBook
from witness.place import changes, identify
from witness.reconcile import ANSWER_SECONDS, Fetch, Inquiry, Newcomers, reconcile
from witness.store import (
    DATABASE_NAME,
    METADATA,
    read_own_keys,
    read_place,
    read_stated_origins,
    write_accepted,
    write_own_keys,
    write_place,
)

REOPEN_SECONDS = 2.0  # between tries: soon after the disk is well, and without a busy loop while it is not


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
    logs: LogBook
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
    StateCounter.open(settings.register)  # a missing one is told before a lock is put beside where it should be
    with directory.lock(), locked(settings.register.with_name(f"{settings.register.name}.lock")):
        counter = StateCounter.open(settings.register)
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database:
            register = await DatabaseRegister.open(database, counter, write_accepted)
            keyring = await _keyring(settings, database, clock)
            history = History(database, clock, settings.history_days)
            logs = LogBook(settings, database)
            await logs.load()
            stated = await read_stated_origins(database)
            copies = PublicCopies(database, register, keyring, history, logs.known, stated)
            conflicts = Conflicts(database, clock, logs.known)
            await conflicts.load()
            newcomers = Newcomers(Inquiry(settings.peers, settings.url, (), keyring.verifiers), register)
            budgets = Budgets(logs.qpd)
            cosigner = Cosigner(logs.active, register, keyring, copies, conflicts, clock, budgets, newcomers)
            witness = Witness(settings, database, register, history, logs, cosigner)
            await _hold_after_a_move(witness)
            yield witness
            await history.save()


async def reconciled(witness: Witness, fetch: Fetch) -> None:
    """If the witness has moved, ask others what it signed last, and sign only when nobody knows more than it does.

    Raises:
        UsageError: somebody does; says what to do.
    """
    if witness.cosigner.hold is None:
        return
    settings, own = witness.settings, witness.cosigner.keyring.verifiers
    asked, unasked = set[str](), {*witness.logs.known, *await read_stated_origins(witness.database)}
    while unasked:  # and those that a list or a command adds meanwhile: the original may have signed for them too
        await reconcile(Inquiry(settings.peers, settings.url, unasked, own), witness.register, fetch)
        asked |= unasked
        unasked = set(witness.logs.known) - asked
    await write_place(witness.database, _place(settings))
    witness.cosigner.newcomers.settle(asked)
    witness.cosigner.hold = None


async def admitting(witness: Witness, fetch: Fetch) -> None:
    """Ask others about logs that are new here; when somebody knows more than the witness does, nothing is signed again.

    Raises:
        UsageError: somebody does; says what to do. In an exception group.
    """
    try:
        await witness.cosigner.newcomers.ask_for_ever(fetch)
    except* UsageError:
        witness.cosigner.hold = "this witness's state is a copy or was restored: it signs nothing any more"
        with suppress(DatabaseFailed):
            await write_place(witness.database, "")  # so that every start from now on asks again, about every log
        raise


async def _hold_after_a_move(witness: Witness) -> None:
    moved = changes(await read_place(witness.database), _place(witness.settings))
    if not moved:
        return
    if witness.settings.peers or witness.settings.url is not None:
        witness.cosigner.hold = (
            f"this witness finds itself in another place ({', '.join(moved)}) and signs nothing until its peers have "
            "told what it signed last: try again later"
        )
    else:
        await write_place(witness.database, _place(witness.settings))


def _place(settings: WitnessSettings) -> str:
    return identify(settings.data, settings.data / DATABASE_NAME, settings.register)


async def _fetch(client: Client, url: str) -> Response:
    return await client.fetch("GET", url, cap=MAX_NOTE_BYTES, seconds=ANSWER_SECONDS)


async def _keyring(settings: WitnessSettings, database: Database, clock: Clock) -> Keyring:
    signers = [FileSigner(key) for key in settings.keys]
    keyring = Keyring.of(signers, await read_own_keys(database))
    await write_own_keys(database, clock.now(), keyring.recorded)
    return keyring


@asynccontextmanager
async def _node(settings: WitnessSettings) -> AsyncIterator[Node]:
    async with Client() as client, trio.open_nursery() as nursery:
        stage = _Stage(settings, client)
        vkey: str = await nursery.start(stage.run)
        yield Node(vkey, stage.public, stage.operator)
        stage.ended.set()


class _Stage:
    """What is served: the witness whose state is open, or the one before, on hold, as long as it cannot be opened."""

    def __init__(self, settings: WitnessSettings, client: Client) -> None:
        self.ended = trio.Event()
        self._settings = settings
        self._client = client
        self._clock = SystemClock()
        self._shown: _Shown | None = None
        self._is_open = False

    async def run(self, *, task_status: trio.TaskStatus[str]) -> None:
        """Keep the state open until the end, when there is a disk to have it open on.

        Raises:
            UsageError: at the start it is missing, in use or an old copy; or later, another instance took over.
        """
        while not self.ended.is_set():
            try:
                async with opened(self._settings, self._clock) as witness:
                    self._is_open, first = True, self._shown is None
                    await self._show(witness)
                    if first:
                        task_status.started(witness.cosigner.keyring.keys[0].vkey.format())
                    else:
                        _log.info("the state is open again and the witness goes on")
                    await self._work(witness)
            except Exception as error:
                if self._shown is None or not all(map(self._may_pass, leaves(error))):
                    raise
                self._hold(self._shown.witness, error)
                with trio.move_on_after(REOPEN_SECONDS):
                    await self.ended.wait()

    async def public(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application for everybody."""
        await self._on_stage.public(scope, receive, send)

    async def operator(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The operator's application."""
        await self._on_stage.operator(scope, receive, send)

    @property
    def _on_stage(self) -> "_Shown":
        if self._shown is None:
            raise AssertionError("nothing is served before the state is open")
        return self._shown

    async def _show(self, witness: Witness) -> None:
        cosigner, metrics = witness.cosigner, Metrics()
        cosigner.tally.stated(await cosigner.heads())
        cosigner.tally.measure(metrics)
        public = witness_app(cosigner, metrics, self._settings.url)
        self._shown = _Shown(witness, metrics, public, operator_app(cosigner, metrics))

    async def _work(self, witness: Witness) -> None:
        settings, client, metrics = self._settings, self._client, self._on_stage.metrics
        puller = Puller(settings, witness.database, client, self._clock, PullMetrics.of(settings, metrics))
        async with trio.open_nursery() as tasks:
            for task in (
                witness.database.wait_failed,
                witness.register.wait_lost,
                partial(reconciled, witness, partial(_fetch, client)),
                partial(admitting, witness, partial(_fetch, client)),
                witness.history.save_for_ever,
                witness.logs.refresh_for_ever,
                puller.pull_for_ever,
                Feeds(settings, witness.cosigner, client.fetch, metrics).run,
                partial(witness.history.prune_for_ever, witness.cosigner.conflicts.load),
            ):
                tasks.start_soon(task)
            await self.ended.wait()
            tasks.cancel_scope.cancel()

    def _may_pass(self, error: BaseException) -> bool:
        # What cannot be opened after a failure may be a disk that is not mounted yet. Before one, it is a mistake.
        return isinstance(error, DatabaseFailed) or (not self._is_open and isinstance(error, UsageError))

    def _hold(self, witness: Witness, error: Exception) -> None:
        reason = "; ".join(dict.fromkeys(map(str, leaves(error))))
        if reason != witness.cosigner.failure:
            _log.error("the state cannot be written or opened, and nothing is signed until it can", reason=reason)
        witness.cosigner.hold = "the disk or the database of this witness fails: nothing is signed until it is well"
        witness.cosigner.failure = reason
        self._is_open = False


@dataclass(frozen=True, slots=True)
class _Shown:
    witness: Witness
    metrics: Metrics
    public: ASGIApp
    operator: ASGIApp


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
