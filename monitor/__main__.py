"""How a monitor is put together: ``init`` makes its state once, ``serve`` runs it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from starlette.applications import Starlette

from gossip.core import Rules
from gossip.shell import Gossip
from monitor.app import monitor_app
from monitor.config import MonitorSettings, observers_of, read_settings
from monitor.follow import Follower
from monitor.metrics import MonitorMetrics
from monitor.node import Monitor, Site
from monitor.restore import open_mirror, restored
from monitor.source import TilesSource
from monitor.store import METADATA, MonitorStore, write_branches
from monitor.tasks import post, watch
from monitor.views import Views
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.daemon import Node, Ready, run_daemon, serve_node
from runtime.database import Database, open_database
from runtime.datadir import DataDirectory
from runtime.http import operator_routes
from runtime.metrics import Metrics
from runtime.register import DatabaseRegister, StateCounter
from runtime.signers import FileSigner
from runtime.version import version_document

DATABASE_NAME = "monitor.sqlite"
EVIDENCE_NAME = "evidence"


def init(config: Path) -> None:
    """Create the monitor's state: its data directory, database and register."""
    trio.run(_init, read_settings(config))


def serve(config: Path) -> int:
    """Run the monitor until it is told to stop; its exit code."""
    return run_daemon("monitor", partial(run, read_settings(config)))


async def run(
    settings: MonitorSettings,
    drain: trio.Event,
    *,
    task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until drained."""
    node = open_node(settings, drain)
    await serve_node(node, settings.listen, settings.operator_listen, drain, task_status=task_status)


async def _init(settings: MonitorSettings) -> None:
    directory = DataDirectory.create(settings.data)
    (directory.path / EVIDENCE_NAME).mkdir(mode=0o700)
    counter = StateCounter.create(settings.register)
    async with open_database(directory.path / DATABASE_NAME, METADATA, create=True) as database:
        await DatabaseRegister.create(database, counter)


@asynccontextmanager
async def open_node(settings: MonitorSettings, drain: trio.Event) -> AsyncIterator[Node]:
    """Open the monitor's state. Its tasks do nothing until somebody runs them."""
    directory = DataDirectory.open(settings.data, init="sameview monitor init")
    with directory.lock():
        counter = StateCounter.open(settings.register)
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database, Client() as client:
            register = await DatabaseRegister.open(database, counter, write_branches)
            with ExitStack() as mirrors:
                yield await _assembled(settings, directory.path, database, register, client, drain, mirrors)


async def _assembled(
    settings: MonitorSettings,
    data: Path,
    database: Database,
    register: DatabaseRegister,
    client: Client,
    drain: trio.Event,
    mirrors: ExitStack,
) -> Node:
    clock, metrics = SystemClock(), Metrics()
    monitor_metrics = MonitorMetrics(metrics, [watched.log.origin for watched in settings.logs])
    store = MonitorStore(database)
    observer = FileSigner(settings.observer_key)
    monitor = Monitor(store, register, observer, clock, data / EVIDENCE_NAME, monitor_metrics.ignored)
    branches = {stored.origin: stored for stored in await store.branches()}
    peers = [named.peer for named in settings.peers]
    rules = Rules(
        logs={watched.log.id: watched.log for watched in settings.logs},
        peers=tuple(peer.id for peer in peers),
        dialled=tuple(peer.id for peer in peers if peer.url is not None),
        observers=observers_of(settings.peers),
        interval_ms=int(settings.gossip_interval * 1000),
    )
    state = restored(rules, clock.now_ms(), 0, list(branches.values()), await store.evidence())
    gossip = Gossip(state, settings.peer_key, peers, monitor, partial(post, client), clock)
    for watched in settings.logs:
        stored = branches.get(watched.log.origin)
        mirror = open_mirror(data, watched.log, stored, settings.mirror_bytes)
        mirrors.callback(mirror.close)
        source = TilesSource(watched.url, client.fetch)
        follower = Follower(watched.log.id, mirror, source, gossip.dispatch)
        monitor.sites[watched.log.id] = Site(watched.log, mirror, source, follower)
    views = Views(monitor, settings.peers, {watched.log.id: watched.url for watched in settings.logs})
    monitor_metrics.watch(monitor)

    async def problems() -> Sequence[str]:
        return monitor.problems()

    async def release_when_draining() -> None:
        await drain.wait()
        gossip.release()

    return Node(
        vkey=observer.vkey.format(),
        app=monitor_app(settings.name, monitor, views, clock),
        operator_app=Starlette(routes=operator_routes(metrics, problems, version_document())),
        tasks=(
            partial(watch, monitor, gossip, settings.poll_interval, reachable=settings.reachable),
            release_when_draining,
            database.wait_failed,
            register.wait_lost,
        ),
    )
