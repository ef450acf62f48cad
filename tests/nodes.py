"""Nodes inside the test's own process, served over real HTTP on loopback."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from starlette.types import ASGIApp

from logserver import store as log_store
from logserver.app import LogApp
from logserver.config import Dedup
from logserver.cosign import Patience, Witnesses
from logserver.files import PublicFiles
from logserver.integrate import resume
from logserver.metrics import LogMetrics
from logserver.tasks import Publisher, Publishing, read_published
from runtime.client import Client, Response
from runtime.database import open_database
from runtime.metrics import Metrics
from runtime.register import DatabaseRegister, FileRegister, Register, StateCounter
from runtime.server import open_listener, serve, url_of
from runtime.signers import FileSigner, Signer
from tests.fakes import FakeClock
from tlog.keys import SignerKey, VerifierKey
from tlog.policy import Policy
from witness.app import witness_app
from witness.cosigner import Cosigner
from witness.store import METADATA, load_accepted, write_accepted

SECONDS = 20.0  # for one request; a hang is a failure, not a wait


@dataclass(frozen=True, slots=True)
class Served:
    """An application that is being served, and a client to ask it with."""

    url: str
    client: Client

    async def get(self, path: str) -> Response:
        return await self.client.fetch("GET", f"{self.url}{path}", cap=1 << 24, seconds=SECONDS)

    async def post(self, path: str, body: bytes) -> Response:
        return await self.client.fetch("POST", f"{self.url}{path}", body=body, cap=1 << 24, seconds=SECONDS)


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[Served]:
    """Serve an application on a free port."""
    listener = await open_listener("127.0.0.1:0")
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(app, [listener], drain=drain, task_status=task_status))
        async with Client() as client:
            yield Served(url_of(listener), client)
        drain.set()


async def make_witness(directory: Path) -> None:
    """What ``witness init`` does."""
    counter = StateCounter.create(directory / "register")
    async with open_database(directory / "witness.sqlite", METADATA, create=True) as database:
        await DatabaseRegister.create(database, counter)


@asynccontextmanager
async def open_witness(
    directory: Path, logs: Mapping[str, Sequence[VerifierKey]], keys: Sequence[SignerKey], clock: FakeClock
) -> AsyncIterator[Cosigner]:
    """What ``witness serve`` opens; its state outlives it in the directory."""
    counter = StateCounter.open(directory / "register")
    async with open_database(directory / "witness.sqlite", METADATA) as database:
        register = await DatabaseRegister.open(database, counter, write_accepted)
        trusted = {origin: tuple(of_log) for origin, of_log in logs.items()}
        cosigner = Cosigner(trusted, register, [FileSigner(key) for key in keys], clock)
        await cosigner.restore(await load_accepted(database))
        yield cosigner


@asynccontextmanager
async def witness(
    directory: Path,
    logs: Mapping[str, Sequence[VerifierKey]],
    keys: Sequence[SignerKey],
    clock: FakeClock | None = None,
) -> AsyncIterator[Served]:
    """A new witness, served."""
    await make_witness(directory)
    async with (
        open_witness(directory, logs, keys, clock or FakeClock()) as cosigner,
        served(witness_app(cosigner, Metrics())) as answering,
    ):
        yield answering


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log whose state is open. Nothing runs by itself: a test calls ``publisher.publish`` when it wants a round."""

    publisher: Publisher
    sequencer: log_store.Sequencer
    files: PublicFiles
    metrics: Metrics
    app: LogApp

    async def add(self, *entries: bytes) -> tuple[int, ...]:
        return await self.sequencer.add(entries)


async def make_log(directory: Path, origin: str) -> None:
    """What ``log init`` does."""
    FileRegister.create(directory / "register", origin)
    PublicFiles(directory / "public").create()
    async with open_database(directory / "log.sqlite", log_store.METADATA, create=True):
        pass


@asynccontextmanager
async def open_log(
    directory: Path,
    keys: Sequence[SignerKey],
    *,
    clock: FakeClock | None = None,
    policy: Policy | None = None,
    hold: bool = True,
    dedup: Dedup = "all",
    patience: Patience | None = None,
    interval: float = 1.0,
    files: PublicFiles | None = None,
    wrap_register: Callable[[Register], Register] = lambda register: register,
    wrap_signer: Callable[[Signer], Signer] = lambda signer: signer,
) -> AsyncIterator[OpenLog]:
    """What ``log serve`` opens; its state outlives it in the directory."""
    origin = keys[0].name
    files = files or PublicFiles(directory / "public")
    signers = [wrap_signer(FileSigner(key)) for key in keys]
    metrics = Metrics()
    log_metrics = LogMetrics(metrics)
    with FileRegister.open(directory / "register", origin) as register:
        async with open_database(directory / "log.sqlite", log_store.METADATA) as database, Client() as client:
            sequencer = log_store.Sequencer(database, await log_store.load_tree(database), dedup)
            published = read_published(files, signers, policy)
            known = await register.latest(origin)
            integrator = await resume(sequencer, database, files, known.value if known else None, published)
            publisher = Publisher(
                Publishing(origin, policy, hold, interval, refresh=60.0),
                sequencer,
                integrator,
                files,
                wrap_register(register),
                signers,
                Witnesses(policy, client, log_metrics, patience) if policy else None,
                clock or FakeClock(),
                log_metrics,
                published,
            )
            app = LogApp(sequencer, files, lambda: publisher.published, log_metrics)
            yield OpenLog(publisher, sequencer, files, metrics, app)


@asynccontextmanager
async def log(
    directory: Path,
    keys: Sequence[SignerKey],
    *,
    clock: FakeClock | None = None,
    policy: Policy | None = None,
    hold: bool = True,
    dedup: Dedup = "all",
) -> AsyncIterator[tuple[OpenLog, Served]]:
    """A new log, served."""
    await make_log(directory, keys[0].name)
    async with (
        open_log(directory, keys, clock=clock, policy=policy, hold=hold, dedup=dedup) as opened,
        served(opened.app.app()) as answering,
    ):
        yield opened, answering
