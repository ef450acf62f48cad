"""Logs inside the test's own process, served over real HTTP on loopback."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from logserver.app import LogApp
from logserver.config import Dedup
from logserver.cosign import Patience, Witnesses
from logserver.files import PublicFiles, StaticFiles
from logserver.history import History, Publication
from logserver.integrate import resume
from logserver.metrics import LogMetrics
from logserver.shown import Shown
from logserver.store import METADATA, Sequencer, load_tree
from logserver.tasks import Publisher, Publishing, read_published
from runtime.client import Client
from runtime.database import open_database
from runtime.file_register import FileRegister
from runtime.metrics import Metrics
from runtime.register import Register
from runtime.signers import FileSigner, Signer
from tests.fakes import FakeClock
from tests.served import Served, served
from tlog.keys import SignerKey
from tlog.policy import Policy


@dataclass(frozen=True, slots=True)
class OpenLog:
    """A log whose state is open. Nothing runs by itself: a test calls ``publisher.publish`` when it wants a round."""

    publisher: Publisher
    sequencer: Sequencer
    files: StaticFiles
    metrics: Metrics
    history: History
    app: LogApp

    async def add(self, *entries: bytes) -> tuple[int, ...]:
        return await self.sequencer.add(entries)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the state of a log stands: its database, and what is public."""

    database: Path | str
    files: Callable[[], StaticFiles]


ELSEWHERE: dict[Path, Place] = {}
"""By the directory of a test that is told to keep its log's state elsewhere."""


def place_of(directory: Path) -> Place:
    """Where the log of this directory stands; in the directory, unless it is told otherwise."""
    return ELSEWHERE.get(directory) or Place(directory / "log.sqlite", lambda: PublicFiles(directory / "public"))


async def make_log(directory: Path, origin: str) -> None:
    """What ``log init`` does."""
    place = place_of(directory)
    FileRegister.create(directory / "register", origin)
    place.files().create()
    async with open_database(place.database, METADATA, create=True):
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
    resign_after: float = math.inf,
    history_days: int | None = None,
    files: StaticFiles | None = None,
    wrap_register: Callable[[Register], Register] = lambda register: register,
    wrap_signer: Callable[[Signer], Signer] = lambda signer: signer,
) -> AsyncIterator[OpenLog]:
    """What ``log serve`` opens; its state outlives it in the directory."""
    origin = keys[0].name
    place = place_of(directory)
    files = files or place.files()
    signers = [wrap_signer(FileSigner(key)) for key in keys]
    metrics = Metrics()
    log_metrics = LogMetrics(metrics)
    with FileRegister.open(directory / "register", origin) as register:
        async with open_database(place.database, METADATA) as database, Client() as client:
            sequencer = Sequencer(database, await load_tree(database), dedup)
            published = read_published(files, signers, policy)
            known = await register.latest(origin)
            history, shown = await History.open(database, history_days), Shown(published)
            integrator = await resume(sequencer, database, files, known.value if known else None, published)
            publisher = Publisher(
                Publishing(origin, policy, hold, interval, refresh=60.0, resign_after=resign_after),
                sequencer,
                integrator,
                files,
                history,
                wrap_register(register),
                signers,
                Witnesses(policy, client, log_metrics, patience) if policy else None,
                clock or FakeClock(),
                log_metrics,
                Publication(register.epoch, "test"),
                shown,
            )
            app = LogApp(sequencer, files, lambda: publisher.published, history, log_metrics, covered=shown.covered)
            yield OpenLog(publisher, sequencer, files, metrics, history, app)


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
