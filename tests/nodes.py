"""Nodes inside the test's own process, served over real HTTP on loopback."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from starlette.types import ASGIApp

from runtime.client import Client, Response
from runtime.database import open_database
from runtime.metrics import Metrics
from runtime.register import DatabaseRegister, StateCounter
from runtime.server import open_listener, serve, url_of
from runtime.signers import FileSigner
from tests.fakes import FakeClock
from tlog.keys import SignerKey, VerifierKey
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
