"""How a monitor is put together: ``init`` makes its state once, ``serve`` runs it."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import structlog
import trio

from gossip.core import Rules
from gossip.envelope import peer_id
from gossip.messages import GetHeads
from gossip.shell import Gossip, Post
from monitor.alarms.book import Alarms
from monitor.alarms.core import Key
from monitor.alarms.kinds import NOT_BEGUN, WRONG_TILE
from monitor.allowance import Allowance
from monitor.app import monitor_app, reading_routes
from monitor.archive import Archive
from monitor.arithmetic import explain
from monitor.audit import Audit
from monitor.bootstrap import Beginning, vouchers_of
from monitor.company import Company
from monitor.config import MonitorSettings, WatchedLog, observers_of, read_settings
from monitor.courier import Courier, CourierStore, addressees
from monitor.follow import Follower
from monitor.lookout import Lookout
from monitor.marks import Marks
from monitor.matching import Log as MatchedLog
from monitor.matching import Matching, MatchStore
from monitor.metrics import MonitorMetrics, watch_sentry
from monitor.mirror import Mirror
from monitor.node import Monitor
from monitor.operator import operator_app
from monitor.page.web import READERS
from monitor.polls import Poller, pollers, watch_marks
from monitor.progress import report
from monitor.records import Records
from monitor.restore import names_of, open_mirror, restored
from monitor.room import Room
from monitor.scores import Scores
from monitor.sentry import Sentry
from monitor.shown import Shown
from monitor.sights import SightStore
from monitor.site import Site
from monitor.sources.kinds import source_of
from monitor.sources.source import Fetch, Source
from monitor.stage import Outage, Stage
from monitor.store import MonitorStore, write_branches
from monitor.tables import METADATA
from monitor.tasks import post, tell_outage, watch
from monitor.testify import Testifier
from monitor.views import Views
from monitor.witnesses import Bearer, TipOffs
from runtime.client import Client
from runtime.clock import Clock, SystemClock
from runtime.daemon import Node, Ready, run_daemon, serve_node
from runtime.database import Database, open_database
from runtime.database_register import DatabaseRegister
from runtime.datadir import DataDirectory
from runtime.local import SCHEME, LocalFiles
from runtime.metrics import Metrics
from runtime.signers import FileSigner
from runtime.statecounter import StateCounter
from runtime.visitors import Visitors, watch_visitors
from runtime.wording import public

DATABASE_NAME = "monitor.sqlite"
EVIDENCE_NAME = "evidence"


def init(config: Path) -> list[str]:
    """Create the monitor's state: its data directory, database and register. Say what its policies are worth."""
    settings = read_settings(config)
    trio.run(_init, settings)
    return _policies(settings)


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
    for sentence in _policies(settings):
        _log.info("policy", says=sentence)
    node = open_node(settings, drain)
    await serve_node(node, settings.listen, settings.operator_listen, drain, task_status=task_status)


def _policies(settings: MonitorSettings) -> list[str]:
    return list(explain(((watched.log.origin, watched.log.policy) for watched in settings.logs), settings.liars))


async def _init(settings: MonitorSettings) -> None:
    directory = DataDirectory.create(settings.data)
    (directory.path / EVIDENCE_NAME).mkdir(mode=0o700)
    counter = StateCounter.create(settings.register)
    async with open_database(directory.path / DATABASE_NAME, METADATA, create=True) as database:
        await DatabaseRegister.create(database, counter)


@asynccontextmanager
async def open_node(settings: MonitorSettings, drain: trio.Event) -> AsyncIterator[Node]:
    """Open the monitor's state, begin its work, and keep both going through outages of its disk."""
    proxies = {watched.vantage.proxy for watched in settings.logs if watched.vantage and watched.vantage.proxy}
    async with AsyncExitStack() as clients:
        client = await clients.enter_async_context(Client())
        through = {proxy: (await clients.enter_async_context(Client(proxy=proxy))).fetch for proxy in sorted(proxies)}
        world = World(SystemClock(), client.fetch, partial(post, client), through)
        stage = Stage(partial(_opened, settings, world, drain))
        async with trio.open_nursery() as nursery:
            vkey: str = await nursery.start(stage.run)
            yield Node(vkey, stage.public, stage.operator)
            stage.ended.set()


@asynccontextmanager
async def _opened(
    settings: MonitorSettings, world: "World", drain: trio.Event, outage: Outage | None
) -> AsyncIterator[Node]:
    async with open_parts(settings, world) as parts:
        yield _node(settings, parts, drain, outage)


@dataclass(frozen=True, slots=True)
class World:
    """What the monitor has of the world: the time, and ways to ask logs and peers."""

    clock: Clock
    fetch: Fetch
    post: Post
    through: Mapping[str, Fetch] = field(default_factory=dict)
    """Ways to ask through a proxy, by its URL."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a monitor is made of."""

    world: World
    monitor: Monitor
    gossip: Gossip
    metrics: Metrics
    watchers: tuple[Callable[[], Awaitable[NoReturn]], ...]
    sentry: Sentry
    matching: Matching
    courier: Courier
    bearers: tuple[Bearer, ...] = ()
    tip_offs: tuple[TipOffs, ...] = ()
    pollers: tuple[Poller, ...] = ()


@asynccontextmanager
async def open_parts(settings: MonitorSettings, world: World) -> AsyncIterator[Parts]:
    """Open what is on disk, and bring the monitor back to where that says it was."""
    directory = DataDirectory.open(settings.data, init="sameview monitor init")
    with directory.lock(), ExitStack() as mirrors:
        counter = StateCounter.open(settings.register)
        async with open_database(directory.path / DATABASE_NAME, METADATA) as database:
            register = await DatabaseRegister.open(database, counter, write_branches)
            yield await _assembled(settings, world, directory.path, database, register, mirrors)


async def _assembled(
    settings: MonitorSettings,
    world: World,
    data: Path,
    database: Database,
    register: DatabaseRegister,
    mirrors: ExitStack,
) -> Parts:
    metrics = Metrics()
    counted = MonitorMetrics(metrics, [watched.log.origin for watched in settings.logs])
    store = MonitorStore(database)
    alarms = Alarms(database, world.clock)
    await alarms.load()
    scores, archive = Scores(database), Archive(database, settings.archive)
    await archive.load()
    await scores.load(world.clock.now_ms())
    names = {named.peer.id: named.name for named in settings.peers}
    shown = Shown(archive, world.clock, trio.current_time, names)
    shown.stated = lambda name, time: scores.stated(name, time, world.clock.now_ms())
    observer = FileSigner(settings.observer_key)
    testifier = Testifier(settings.peer_key, settings.vantage)
    folder = data / EVIDENCE_NAME
    marks = Marks(SightStore(database), settings.liars)
    monitor = Monitor(store, alarms, shown, marks, register, observer, world.clock, folder, counted.ignored, testifier)
    branches = {stored.origin: stored for stored in await store.branches()}
    rules, evidence = _rules(settings), await store.evidence()
    state = restored(
        rules,
        max(world.clock.now_ms(), 1),
        int(trio.current_time() * 1000),
        list(branches.values()),
        evidence,
        await store.testimony(),
    )
    monitor.accused_before = names_of(one for one in evidence if one.id not in state.evidence)
    peers = [replace(one.peer, operator=one.operator, anchor=one.anchor) for one in settings.peers]
    gossip = Gossip(state, settings.peer_key, peers, monitor, world.post, world.clock, settings.links)
    room, matching = Room(), Matching(settings.watches, MatchStore(database), world.clock, alarms)
    for watched in settings.logs:
        stored = branches.get(watched.log.origin)
        mirror = open_mirror(data, watched.log, stored, settings.mirror_bytes, watched.start)
        mirrors.callback(mirror.close)
        fetch = LocalFiles().fetch if watched.url.startswith(SCHEME) else world.fetch
        allowance = Allowance(fetch, world.clock, watched.parallel, watched.requests_per_second)
        source = source_of(watched.kind, watched.url, allowance.fetch)
        begin = _beginning(settings, watched, mirror, source, monitor)
        matcher = matching.follow(_matched(watched, source, mirror, allowance, monitor), room)
        told = None if matcher is None else matcher.memory.keep
        follower = Follower(watched.log.id, mirror, source, gossip.dispatch, allowance, room, told, begin=begin)
        monitor.sites[watched.log.id] = Site(watched.log, mirror, source, follower, watched.kind)
    bearers = tuple(Bearer(one, monitor, world.fetch, world.clock) for one in settings.witnesses)
    await marks.load(monitor)
    polls = pollers(settings, marks, monitor, world.fetch, world.clock)
    company = Company(monitor, names, trio.current_time())
    gossip.overheard = lambda peer, messages: company.overhear(peer, messages, trio.current_time())
    lookouts = _lookouts(settings, world, monitor)
    sentry = Sentry(settings, monitor, archive, scores, company, lookouts, world.clock)
    courier = _courier(settings, world, database, matching, monitor)
    await courier.begin()  # before there is anything to tell
    matching.measure(metrics)
    courier.measure(metrics)
    counted.watch(monitor, bearers)
    watch_marks(metrics, monitor, polls)
    watch_sentry(metrics, sentry)
    return Parts(
        world,
        monitor,
        gossip,
        metrics,
        (database.wait_failed, register.wait_lost),
        sentry,
        matching,
        courier,
        bearers,
        tuple(TipOffs(one, monitor, world.fetch) for one in settings.witnesses),
        polls,
    )


def _beginning(
    settings: MonitorSettings, watched: WatchedLog, mirror: Mirror, source: Source, monitor: Monitor
) -> Beginning:
    """Prepare to begin where ``start`` says."""
    operators = {peer.observer: peer.operator for peer in settings.peers if peer.observer is not None}
    stated = vouchers_of(monitor.ledger.cosigned, watched.log.origin, operators, monitor.accused)
    asked = -math.inf

    async def waits(why: str) -> None:
        nonlocal asked
        if not why:
            await monitor.clear(NOT_BEGUN, watched.log.id)
            return
        await monitor.alarm(NOT_BEGUN, watched.log.id, "its start", why)
        if trio.current_time() - asked >= settings.gossip_interval:
            # Who knows that we hold a head does not send it by itself, and its observer's line with it.
            asked = trio.current_time()
            for one in settings.peers:
                monitor.gossip.send(one.peer.id, GetHeads((watched.log.id,)))

    return Beginning(watched.start, mirror, source, stated, settings.liars + 1, waits)


def _audit(monitor: Monitor, origin: bytes, interval: float) -> Callable[[], Awaitable[None]]:
    """Look at the hash tiles of a log, and raise alarms about them."""

    async def tell(path: str, wrong: bool) -> None:
        if wrong:
            await monitor.alarm(WRONG_TILE, origin, path)
        else:
            await monitor.alarms.end(Key(WRONG_TILE, site.log.origin, path))

    site = monitor.sites[origin]
    audit = Audit(site.mirror, site.source, tell)

    async def run() -> None:
        open_ = monitor.alarms.about(site.log.origin)
        await audit.run(interval, [alarm.subject for alarm in open_ if alarm.kind == WRONG_TILE])

    return run


def _matched(watched: WatchedLog, source: Source, mirror: Mirror, allowance: Allowance, monitor: Monitor) -> MatchedLog:
    """What a matcher needs of a log."""
    return MatchedLog(watched.log.origin, source, mirror, allowance, lambda: monitor.branch(watched.log.id).signed)


def _courier(
    settings: MonitorSettings, world: World, database: Database, matching: Matching, monitor: Monitor
) -> Courier:
    """What brings notices to people, and says once a day whether everything keeps up."""

    def sizes() -> dict[str, int]:
        return {site.log.origin: monitor.branch(origin).size for origin, site in monitor.sites.items()}

    channels = addressees(settings.recipients, world.fetch, world.clock)
    return Courier(channels, CourierStore(database), world.clock, settings.name, matching.lags, sizes)


def _lookouts(settings: MonitorSettings, world: World, monitor: Monitor) -> tuple[Lookout, ...]:
    """Make the second ways to those logs that have one. Proofs of what is seen there are looked for there, too."""
    found: list[Lookout] = []
    for watched in settings.logs:
        if watched.vantage is not None:
            fetch = world.through[watched.vantage.proxy] if watched.vantage.proxy else world.fetch
            source = source_of(watched.kind, watched.vantage.url, fetch)
            monitor.sites[watched.log.id].elsewhere = source
            found.append(Lookout(watched.log.origin, source, monitor, world.clock))
    return tuple(found)


def _rules(settings: MonitorSettings) -> Rules:
    peers = [named.peer for named in settings.peers]
    return Rules(
        logs={watched.log.id: watched.log for watched in settings.logs},
        peers=tuple(peer.id for peer in peers),
        dialled=tuple(peer.id for peer in peers if peer.url is not None),
        observers=observers_of(settings.peers),
        own_observer=settings.observer_key.verifier_key,
        testifiers={peer_id(key): key for key in (*(peer.key for peer in peers), settings.peer_key.verifier_key)},
        interval_ms=int(settings.gossip_interval * 1000),
        unserved_ms=int(settings.unserved_seconds * 1000),
    )


def _node(settings: MonitorSettings, parts: Parts, drain: trio.Event, outage: Outage | None) -> Node:
    monitor, gossip = parts.monitor, parts.gossip
    views = Views(monitor, settings.peers, {watched.log.id: public(watched.url) for watched in settings.logs})

    records = Records(settings, parts.sentry.archive, parts.sentry.scores, parts.world.clock)

    async def problems() -> Sequence[str]:
        return monitor.problems()

    visitors, readers = Visitors(), Visitors(*READERS)
    watch_visitors(parts.metrics, {"questions": visitors, "readers": readers})

    async def release_when_draining() -> None:
        try:
            await drain.wait()
        finally:
            gossip.release()  # when the state fails, too: who waits for news waits for nothing

    return Node(
        vkey=monitor.observer.vkey.format(),
        app=monitor_app(settings.name, monitor, views, parts.world.clock, visitors, records, readers),
        operator_app=operator_app(
            parts.metrics,
            problems,
            parts.matching.store,
            parts.courier,
            reading_routes(settings.name, monitor, views, parts.world.clock, readers, records, parts.matching),
        ),
        tasks=(
            partial(
                watch,
                monitor,
                gossip,
                settings.poll_interval,
                *(bearer.run for bearer in parts.bearers),
                *(partial(tips.run, settings.poll_interval) for tips in parts.tip_offs),
                monitor.marks.run,
                parts.sentry.run,
                partial(parts.matching.run, settings.poll_interval),
                parts.courier.run,
                *(partial(lookout.run, settings.poll_interval) for lookout in parts.sentry.lookouts),
                *(partial(poller.run, settings.witness_interval) for poller in parts.pollers),
                partial(report, monitor.sites.values()),
                *(_audit(monitor, origin, settings.audit_interval) for origin in monitor.sites),
                reachable=settings.reachable,
            ),
            release_when_draining,
            partial(tell_outage, monitor.alarms, outage),
            *parts.watchers,
        ),
    )


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
