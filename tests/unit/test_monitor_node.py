"""The monitor with a real disk and database, and a log, peers and a clock in memory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
import trio
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gossip.canonical import Value
from gossip.core import (
    Compare,
    Compared,
    Follow,
    Ignored,
    Lend,
    Log,
    Prove,
    Received,
    SeekTile,
    Send,
    SendTile,
    origin_id,
)
from gossip.envelope import peer_id
from gossip.messages import Consistency, GetConsistency, GetTile, Message, TileData, parse_message
from gossip.shell import Peer, Reply
from monitor.__main__ import World, _init, open_parts
from monitor.app import monitor_app
from monitor.config import MonitorSettings, NamedPeer, WatchedLog
from monitor.errands import MAX_ERRANDS, MAX_ERRANDS_FOR_PEERS
from monitor.look import look
from monitor.node import Monitor
from monitor.site import Site, reopened
from monitor.store import MAX_UNSETTLED
from monitor.tables import HEAD, StoredHead, Writes
from monitor.views import Views
from runtime.client import Failure, FetchError, Response
from runtime.errors import UsageError
from tests.fakes import FakeClock
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, signer
from tests.served import served
from tlog.evidence import Evidence, verify_evidence
from tlog.hashing import Hash, TreeHead
from tlog.keys import KeyType
from tlog.note import MAX_NOTE_BYTES
from tlog.proofs import verify_consistency
from tlog.signed_checkpoint import open_checkpoint

ID = origin_id(ORIGIN)
OBSERVER = signer("monitor.example/m1-observer", KeyType.COSIGNATURE_ED25519)
PEER_KEY = signer("monitor.example/m2")
PEER = peer_id(PEER_KEY.verifier_key)


@dataclass(slots=True)
class Internet:
    """The only log there is, at its URL."""

    log: FakeLog
    down: bool = False
    status: int | None = None
    asked: list[str] = field(default_factory=list)

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        await trio.lowlevel.checkpoint()
        path = url.removeprefix("http://log/")
        self.asked.append(path)
        if self.down:
            raise FetchError(Failure.UNREACHABLE, "the server cannot be reached")
        found = self.log.serve(path)
        if self.status is not None or found is None:
            return Response(self.status or 404, {}, b"")
        return Response(200, {}, found)

    async def post(self, url: str, body: bytes, seconds: float) -> Reply:
        raise AssertionError("no peer is dialled here")


@dataclass(slots=True)
class Bench:
    """A monitor on the bench."""

    monitor: Monitor
    internet: Internet
    clock: FakeClock

    @property
    def site(self) -> Site:
        return self.monitor.sites[ID]

    @property
    def size(self) -> int:
        return self.monitor.branch(ID).size

    async def poll(self) -> None:
        """Look at the log, and follow at once where that is wanted."""
        await look(self.monitor, ID)
        await self.follow()

    async def follow(self) -> None:
        await self.site.follower.attempt()

    async def receive(self, *messages: Message) -> list[str]:
        return await self.monitor.gossip.dispatch(Received(PEER, messages))

    async def sent(self) -> list[Message]:
        """What waits for the peer, once all errands are done."""
        await trio.testing.wait_all_tasks_blocked(0.05)
        batch = self.monitor.gossip._outboxes[PEER].take()
        return [parse_message(_tuple(waiting.value)) for waiting in batch]

    async def alarms(self) -> list[tuple[str, bool]]:
        """Kinds of alarm, and whether they are open."""
        return [(alarm.kind, alarm.cleared_ms is None) for alarm in await self.monitor.alarms.all()]

    def frontier_time(self) -> int | None:
        """When the observer signed the frontier."""
        note = self.monitor.frontier(ID)
        if note is None:
            return None
        signed = open_checkpoint(note, [self.site.log.keys[0], OBSERVER.verifier_key])
        signature = signed.signed_by(OBSERVER.verifier_key)
        return None if signature is None else signature.timestamp


def _tuple(value: Value) -> Value:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value


def settings(folder: Path, log: FakeLog, mirror_bytes: int = 10**9) -> MonitorSettings:
    return MonitorSettings(
        name="monitor.example/m1",
        listen="",
        operator_listen=None,
        data=folder / "data",
        register=folder / "register",
        peer_key=signer("monitor.example/m1"),
        observer_key=OBSERVER,
        mirror_bytes=mirror_bytes,
        poll_interval=1.0,
        gossip_interval=1.0,
        reachable=True,
        logs=(WatchedLog(Log(log.origin, (log.key.verifier_key,), policy(log.key)), "http://log"),),
        peers=(NamedPeer("m2", Peer(PEER_KEY.verifier_key), None, "", anchor=False),),
    )


@asynccontextmanager
async def opened(chosen: MonitorSettings, log: FakeLog, clock: FakeClock | None = None) -> AsyncIterator[Bench]:
    internet = Internet(log)
    clock = clock or FakeClock()
    world = World(clock, internet.fetch, internet.post)
    async with open_parts(chosen, world) as parts, trio.open_nursery() as nursery:
        parts.monitor.connect(parts.gossip, nursery)
        await parts.monitor.resume()
        yield Bench(parts.monitor, internet, clock)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def bench(folder: Path, log: FakeLog, mirror_bytes: int = 10**9) -> AsyncIterator[Bench]:
    chosen = settings(folder, log, mirror_bytes)
    await _init(chosen)
    async with opened(chosen, log) as found:
        yield found


def grown(size: int) -> FakeLog:
    log = FakeLog()
    log.add(size)
    log.publish()
    return log


# Looking at the log.


async def test_a_log_that_does_not_answer_for_a_minute_is_an_alarm(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(3)) as one:
        assert one.monitor.problems() == ["the log log.example/one has not been reached for a minute"]
        one.internet.down = True
        await one.poll()
        one.clock.advance(59)
        await one.poll()
        assert await one.alarms() == []
        one.clock.advance(1)
        await one.poll()
        assert await one.alarms() == [("log-unreachable", True)]
        one.internet.down = False
        await one.poll()
        assert await one.alarms() == [("log-unreachable", False)]
        assert one.monitor.problems() == []
        one.clock.advance(60)
        assert len(one.monitor.problems()) == 1


@pytest.mark.parametrize("status", [500, 301, 404])
async def test_an_answer_that_is_none_is_no_answer(tmp_path: Path, status: int) -> None:
    async with bench(tmp_path, grown(3)) as one:
        one.internet.status = status
        await one.poll()
        one.clock.advance(60)
        await one.poll()
        assert await one.alarms() == [("log-unreachable", True)]


async def test_a_checkpoint_that_the_log_did_not_sign_is_an_alarm(tmp_path: Path) -> None:
    log = grown(3)
    async with bench(tmp_path, log) as one:
        log.published = log.published.replace(b"\n3\n", b"\n4\n")
        await one.poll()
        assert await one.alarms() == [("bad-checkpoint", True)]
        log.publish()
        await one.poll()
        assert await one.alarms() == [("bad-checkpoint", False)]


async def test_what_a_convicted_log_shows_does_not_matter_whatever_it_is(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 5, 9).sign(9, ()))
        log.published = b"no checkpoint at all"
        await one.poll()
        assert await one.alarms() == [("convicted", True)]


@pytest.mark.parametrize("size", [5, 9])
async def test_a_head_under_an_unknown_key_says_nothing_about_the_log(tmp_path: Path, size: int) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        confirmed = one.site.confirmed
        log.published = FakeLog(log.entries, key=signer("another")).sign(size, ())
        one.clock.advance(50)
        await one.poll()
        assert (one.site.confirmed, await one.alarms()) == (confirmed, [])


async def test_a_log_that_shows_less_than_before_is_an_alarm(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        for size in (5, 6, 4):
            log.publish(size)
            await one.poll()
        assert (one.size, await one.alarms()) == (9, [("log-stale", True)])
        log.add(3)
        await one.monitor.submit(ID, log.sign(12))  # by others, while the log goes on like this
        await one.site.follower.attempt()
        await one.poll()
        assert (one.size, await one.alarms()) == (12, [("log-stale", True)])
        log.publish(12)
        await one.poll()
        assert await one.alarms() == [("log-stale", False)]


async def test_a_partial_bundle_that_is_gone_is_taken_out_of_the_full_one(tmp_path: Path) -> None:
    log = grown(300)
    async with bench(tmp_path, log) as one:
        whole = FakeLog(log.entries)
        whole.add(212)
        log.publish(300)
        one.internet.log = whole
        whole.published = log.published
        serve = whole.serve
        whole.serve = lambda path: None if ".p/" in path else serve(path)  # type: ignore[method-assign]
        await one.poll()
        assert one.size == 300


async def test_a_draft_is_continued_after_the_log_failed_halfway(tmp_path: Path) -> None:
    log = grown(3000)
    async with bench(tmp_path, log) as one:
        serve = log.serve
        log.serve = lambda path: None if path == "tile/entries/009" else serve(path)  # type: ignore[method-assign]
        await one.poll()
        assert (one.size, one.site.mirror.draft_size) == (0, 9 * 256)
        log.serve = serve  # type: ignore[method-assign]
        one.internet.asked.clear()
        await one.poll()
        assert one.size == 3000
        assert "tile/entries/008" not in one.internet.asked


async def test_a_smaller_target_than_the_draft_begins_anew(tmp_path: Path) -> None:
    log = grown(3000)
    async with bench(tmp_path, log) as one:
        serve = log.serve
        log.serve = lambda path: None if path == "tile/entries/009" else serve(path)  # type: ignore[method-assign]
        await one.poll()
        log.publish(1000)
        await one.poll()
        assert one.size == 1000


async def test_a_malformed_bundle_is_an_alarm_and_what_comes_before_it_is_kept(tmp_path: Path) -> None:
    log = grown(300)
    async with bench(tmp_path, log) as one:
        serve = log.serve
        log.serve = lambda path: b"\x00" if path.endswith(".p/44") else serve(path)  # type: ignore[method-assign]
        await one.poll()
        assert (one.size, one.site.mirror.draft_size, await one.alarms()) == (0, 256, [("wrong-entries", True)])
        log.serve = serve  # type: ignore[method-assign]
        await one.poll()
        assert (one.size, await one.alarms()) == (300, [("wrong-entries", False)])


async def test_following_to_where_we_are_asks_nothing(tmp_path: Path) -> None:
    log = grown(5)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.internet.asked.clear()
        signed = one.monitor.branch(ID).signed
        assert signed is not None
        await one.monitor.perform(Follow(ID, signed))
        await one.follow()
        assert one.internet.asked == []


# The observer.


async def test_the_observer_signs_what_was_re_hashed_and_renews_it(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(5)) as one:
        await one.poll()
        first = one.frontier_time()
        one.clock.advance(9)
        await one.poll()
        assert one.frontier_time() == first == one.clock.now() - 9
        one.clock.advance(1)
        await one.poll()
        assert one.frontier_time() == one.clock.now()


async def test_a_note_without_room_for_the_observers_line_is_the_frontier_as_it_is(tmp_path: Path) -> None:
    log = grown(5)
    room = MAX_NOTE_BYTES - len(log.sign(extensions=(b"x",)))
    log.published = log.sign(extensions=(b"x" * (room + 1),))
    async with bench(tmp_path, log) as one:
        await one.poll()
        assert one.monitor.branch(ID).line
        assert one.monitor.frontier(ID) == log.published


async def test_the_observer_signs_nothing_while_the_clock_is_far_behind(tmp_path: Path) -> None:
    log = grown(5)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.clock.advance(-3600)
        log.add(5)
        log.publish()
        await one.poll()
        assert (one.size, one.frontier_time(), await one.alarms()) == (10, None, [("clock-behind", True)])
        one.clock.advance(60)
        await one.poll()  # by fewer seconds, which is the same alarm
        assert await one.alarms() == [("clock-behind", True)]
        one.clock.advance(3700)
        await one.poll()
        assert (one.frontier_time(), await one.alarms()) == (one.clock.now(), [("clock-behind", False)])


async def test_the_observer_catches_up_when_a_tile_that_it_needs_is_back(tmp_path: Path) -> None:
    log = grown(300)
    async with bench(tmp_path, log, mirror_bytes=0) as one:
        await one.poll()
        one.clock.advance(-3600)
        for size in (600, 900):
            log.add(size - log.size)
            log.publish()
            await one.poll()
        assert one.frontier_time() is None
    async with opened(settings(tmp_path, log, 0), log) as one:
        assert (one.size, one.frontier_time()) == (900, None)
        await one.sent()
        await one.poll()
        assert one.frontier_time() == one.clock.now()


async def test_the_observer_stops_signing_a_convicted_log(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        before = one.frontier_time()
        await one.monitor.submit(ID, fork(log, 5, 9).sign(9, ()))
        one.clock.advance(100)
        await one.poll()
        await one.monitor.refresh(ID)
        assert one.frontier_time() == before


def fork(log: FakeLog, at: int, size: int) -> FakeLog:
    twin = log.fork(at)
    twin.add(size - at, "twin")
    return twin


async def test_a_path_that_there_is_not_is_missing_and_leads_nowhere_else(tmp_path: Path) -> None:
    log = grown(3)
    async with bench(tmp_path, log) as one:
        app = monitor_app("m1", one.monitor, views(one, settings(tmp_path, log)), one.clock)
        async with served(app) as web:
            assert (await web.get("/v1/heads")).status == 200
            # A redirect would lead to the host that the request named, whosever that is.
            assert (await web.get("/v1/heads/")).status == 404


def views(one: Bench, chosen: MonitorSettings) -> Views:
    return Views(one.monitor, chosen.peers, {ID: "http://log"})


# Restarting.


async def test_everything_comes_back_after_a_restart(tmp_path: Path) -> None:
    log = grown(700)
    twin = fork(log, 300, 800)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.internet.down = True
        await one.monitor.submit(ID, twin.sign(800, ()))
        assert len(one.monitor.branch(ID).pending) == 1
    async with opened(settings(tmp_path, log), log) as one:
        assert (one.size, [pending.signed.size for pending in one.monitor.branch(ID).pending]) == (700, [800])
        assert one.frontier_time() is not None
        log.add(100)
        log.publish()
        await one.poll()
        verdict = one.monitor.branch(ID).convicted
        assert len(verdict) == 1
    async with opened(settings(tmp_path, log), log) as one:
        assert (one.monitor.branch(ID).convicted, one.frontier_time()) == (verdict, None)
        (kept,) = await one.monitor.store.evidence()
        assert kept.first_seen_ms <= kept.convicted_ms
        assert verify_evidence(Evidence.parse(kept.bundle), [log.key.verifier_key]).id == verdict[0]


async def test_alarms_that_were_open_can_be_cleared_after_a_restart(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        log.publish(5)
        await one.poll()
    async with opened(settings(tmp_path, log), log) as one:
        log.publish(9)
        await one.poll()
        assert await one.alarms() == [("log-stale", False)]


async def test_a_log_that_is_no_longer_followed_is_left_alone(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 5, 9).sign(9, ()))
    other = FakeLog([b"x"], origin="log.example/other")
    async with opened(settings(tmp_path, other), other) as one:
        assert list(one.monitor.sites) == [origin_id("log.example/other")]
        assert one.monitor.gossip.state.evidence == {}


async def test_a_branch_under_a_key_that_is_gone_stops_the_start(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
    chosen = settings(tmp_path, log)
    (watched,) = chosen.logs
    renewed = replace(watched, log=replace(watched.log, keys=(signer("new").verifier_key,)))
    with pytest.raises(UsageError, match="key that is not configured"):
        async with opened(replace(chosen, logs=(renewed,)), log):
            pass


async def test_evidence_that_the_keys_no_longer_verify_is_left_out(tmp_path: Path) -> None:
    log = FakeLog()
    async with bench(tmp_path, log) as one:
        twins = [FakeLog([entry]) for entry in (b"a", b"b")]
        for twin in twins:
            await one.monitor.submit(ID, twin.sign(1, ()))
        assert one.monitor.branch(ID).convicted
    chosen = settings(tmp_path, log)
    (watched,) = chosen.logs
    renewed = replace(watched, log=replace(watched.log, keys=(signer("new").verifier_key,), policy=policy(signer("x"))))
    async with opened(replace(chosen, logs=(renewed,)), log) as one:
        assert one.monitor.gossip.state.evidence == {}


async def test_a_damaged_mirror_stops_the_start(tmp_path: Path) -> None:
    log = grown(600)
    async with bench(tmp_path, log) as one:
        await one.poll()
    path = tmp_path / "data" / ID.hex() / "level-8"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="disk is damaged"):
        async with opened(settings(tmp_path, log), log):
            pass


async def test_a_mirror_that_rots_while_we_run_convicts_nobody(tmp_path: Path) -> None:
    log = grown(600)
    async with bench(tmp_path, log) as one:
        await one.poll()
        path = tmp_path / "data" / ID.hex() / "level-0"
        data = bytearray(path.read_bytes())
        data[260 * 32] ^= 1
        path.write_bytes(data)
        await one.monitor.submit(ID, log.sign(300, ()))
        assert (one.monitor.branch(ID).convicted, await one.alarms()) == ((), [("mirror-damaged", True)])


# What peers ask for.


async def test_a_proof_between_two_sizes_of_the_branch_is_sent(tmp_path: Path) -> None:
    log = grown(600)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.sent()
        await one.receive(GetConsistency(ID, 256, 600), GetConsistency(ID, 256, 700))
        (answer,) = await one.sent()
        assert isinstance(answer, Consistency)
        old, new = TreeHead(256, Hash(answer.old_root)), TreeHead(600, Hash(answer.new_root))
        verify_consistency(old, new, [Hash(value) for value in answer.proof])
        assert (old, new) == (log.head(256), log.head(600))


async def test_the_presenter_of_a_fork_proves_it_from_the_fork_s_own_tiles(tmp_path: Path) -> None:
    log = grown(600)
    twin = fork(log, 600, 900)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.internet.log = twin
        twin.publish(900, witnesses=())
        await one.poll()
        await one.sent()
        await one.receive(GetConsistency(ID, 300, 900))
        (answer,) = await one.sent()
        assert isinstance(answer, Consistency)
        assert (answer.old_root, answer.new_root) == (twin.head(300).root_hash, twin.head(900).root_hash)


async def test_tiles_of_the_branch_are_sent(tmp_path: Path) -> None:
    log = grown(600)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.sent()
        beyond = (GetTile(ID, 0, 2, 89), GetTile(ID, 9, 0, 1), GetTile(b"?" * 32, 0, 0, 1))
        await one.receive(GetTile(ID, 0, 2, 88), GetTile(ID, 1, 0, 2), *beyond)
        answers = [answer.data for answer in await one.sent() if isinstance(answer, TileData)]
        assert answers == [log.serve("tile/0/002.p/88"), log.serve("tile/1/000.p/2")]


async def test_a_tile_that_was_dropped_comes_back_from_a_peer(tmp_path: Path) -> None:
    log = grown(2000)
    async with bench(tmp_path, log, mirror_bytes=0) as one:
        await one.poll()
        await one.receive()  # whoever has contacted us lately is asked
        one.internet.down = True
        await one.monitor.submit(ID, fork(log, 900, 1000).sign(1000, ()))
        assert not one.monitor.branch(ID).convicted
        wanted = [message for message in await one.sent() if isinstance(message, GetTile)]
        assert wanted == [GetTile(ID, 0, 3, 256)]
        await one.receive(GetTile(ID, 0, 3, 256))
        assert await one.sent() == []
        await one.receive(TileData(ID, 0, 3, log.serve("tile/0/002") or b""), TileData(ID, 0, 4, b""))
        assert not one.monitor.branch(ID).convicted
        await one.receive(TileData(ID, 0, 3, log.serve("tile/0/003") or b""))
        assert one.monitor.branch(ID).convicted


async def test_a_tile_that_was_dropped_comes_back_from_the_log(tmp_path: Path) -> None:
    log = grown(2000)
    async with bench(tmp_path, log, mirror_bytes=0) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 900, 1000).sign(1000, ()))
        await one.sent()
        assert one.monitor.branch(ID).convicted


async def test_a_smaller_head_in_a_digest_is_compared_even_where_a_tile_is_missing(tmp_path: Path) -> None:
    log = grown(2000)
    async with bench(tmp_path, log, mirror_bytes=0) as one:
        await one.poll()
        one.internet.down = True
        asked = [Compare(PEER, ID, log.head(size)) for size in (1000, 1792, 1900)]
        answers = [await one.monitor.perform(effect) for effect in asked]
        assert answers == [[Compared(PEER, ID, agrees)] for agrees in (False, True, True)]


# Limits.


async def test_only_so_many_errands_run_at_once(tmp_path: Path) -> None:
    counted: list[Ignored] = []
    async with bench(tmp_path, grown(5)) as one:
        one.monitor._count = one.monitor.errands._count = counted.append
        for tile in range(MAX_ERRANDS + 2):
            await one.monitor.perform(SeekTile(ID, tile))
        await one.monitor.perform(SeekTile(ID, 0))
        await one.monitor.perform(Prove(PEER, b"?" * 32, 1, 2))
        assert counted == [Ignored.ERRAND_WITHOUT_ROOM] * 4
        await one.sent()
        await one.monitor.perform(SeekTile(ID, 0))
        assert counted == [Ignored.ERRAND_WITHOUT_ROOM] * 4


async def test_proofs_for_peers_leave_room_for_errands_of_our_own(tmp_path: Path) -> None:
    counted: list[Ignored] = []
    async with bench(tmp_path, grown(50)) as one:
        one.monitor._count = one.monitor.errands._count = counted.append
        for size in range(2, 2 + MAX_ERRANDS):
            await one.monitor.perform(Prove(PEER, ID, 1, size))
        assert counted == [Ignored.ERRAND_WITHOUT_ROOM] * (MAX_ERRANDS - MAX_ERRANDS_FOR_PEERS)
        await one.monitor.perform(SeekTile(ID, 0))
        assert len(counted) == MAX_ERRANDS - MAX_ERRANDS_FOR_PEERS


async def test_heads_that_nothing_explains_are_remembered_up_to_a_limit(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(3)
    first = StoredHead(ORIGIN, 10, bytes(32), b"note", None, 0, settled=False)
    heads = [replace(first, size=10 + number) for number in range(MAX_UNSETTLED)]

    async def fill(connection: AsyncConnection) -> None:
        await connection.execute(insert(HEAD), [asdict(head) for head in heads])

    async with bench(tmp_path, log) as one:
        await one.monitor.store._database.write(fill)
        counted: list[Ignored] = []
        one.monitor._count = one.monitor.errands._count = counted.append
        await one.monitor.submit(ID, log.sign(3, ()))
        assert counted == [Ignored.HEAD_WITHOUT_ROOM]
        assert await one.monitor.store.write_down(Writes((replace(first, note=b"more"),))) == 0


async def test_a_peer_s_offers_for_unknown_logs_are_ignored(tmp_path: Path) -> None:
    counted: list[Ignored] = []
    async with bench(tmp_path, FakeLog()) as one:
        one.monitor._count = one.monitor.errands._count = counted.append
        assert await one.monitor.perform(Lend(b"?" * 32, 0, b"")) == []
        assert await one.monitor.perform(SendTile(PEER, b"?" * 32, 0, 0, 1)) == ()
        assert counted == [Ignored.UNWANTED_TILE, Ignored.UNKNOWN_TILE]


async def test_what_the_shell_does_is_not_asked_of_the_monitor(tmp_path: Path) -> None:
    async with bench(tmp_path, FakeLog()) as one:
        with pytest.raises(AssertionError):
            await one.monitor.perform(Send(PEER, GetTile(ID, 0, 0, 1)))


def test_a_note_that_only_witnesses_signed_is_not_opened_again() -> None:
    log = FakeLog([b"a"])
    chosen = Log(ORIGIN, (log.key.verifier_key,), policy())
    foreign = FakeLog([b"a"], key=signer("another"))
    assert reopened(chosen, foreign.sign(1, WITNESSES)) is None
    assert reopened(chosen, b"nonsense") is None
