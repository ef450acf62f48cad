"""Alarms with timers around a whole monitor: a log, its witnesses and a second vantage in memory, on clocks we turn."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import msgspec
import trio
from sqlalchemy.ext.asyncio import AsyncConnection
from trio.testing import MockClock
from typing_extensions import override

from gossip.messages import PENDING, VERIFIED, Digest, DigestEntry, Head, Summary
from monitor.__main__ import Parts, World, _init, open_parts
from monitor.alarms.core import Key
from monitor.archive import LOG, VANTAGE, peer_who, witness_who
from monitor.config import MonitorSettings, NamedWitness, Vantage
from monitor.look import look
from monitor.outbox import Topic, after
from monitor.records import Records
from monitor.samples import DAY_MS, HOUR_MS, MINUTE_MS, Sample
from runtime.client import Failure, FetchError, Response
from tests.fakes import FakeClock
from tests.fakes_log import WITNESSES, FakeLog
from tests.unit.test_monitor_node import ID, PEER, Internet, fork, grown, settings
from tlog.evidence import EvidenceType
from tlog.keys import SignerKey
from tlog.scorecard import verify_scorecards

ORIGIN = "log.example/one"
PATH = f"{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"


@dataclass(slots=True)
class Outside(Internet):
    """Also serves what witnesses show, and the log as another vantage sees it."""

    shows: dict[str, bytes] = field(default_factory=dict)
    elsewhere: FakeLog | None = None

    @override
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
        host, _, path = url.removeprefix("http://").partition("/")
        if host.startswith("w"):
            await trio.lowlevel.checkpoint()
            found = self.shows.get(host) if path == PATH else None
            return Response(404, {}, b"") if found is None else Response(200, {}, found)
        if host == "elsewhere":
            await trio.lowlevel.checkpoint()
            seen = self.elsewhere.serve(path) if self.elsewhere is not None else None
            if self.elsewhere is None:
                raise FetchError(Failure.UNREACHABLE, "nobody is there")
            return Response(404, {}, b"") if seen is None else Response(200, {}, seen)
        return await Internet.fetch(self, method, url, cap=cap, seconds=seconds, body=body, headers=headers)


@dataclass(slots=True)
class Post:
    """A monitor on watch."""

    parts: Parts
    outside: Outside
    clock: FakeClock
    steady: MockClock

    @property
    def log(self) -> FakeLog:
        return self.outside.log

    def pass_(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.clock.advance(seconds)
        self.steady.jump(seconds)

    async def poll(self) -> None:
        """Look at the log, follow it, and look at the witnesses and at the vantage."""
        monitor = self.parts.monitor
        await look(monitor, ID)
        await monitor.sites[ID].follower.attempt()
        for poller in self.parts.pollers:
            await poller.round()
        await monitor.marks.settle()
        for lookout in self.parts.sentry.lookouts:
            await lookout.look()

    async def watch(self, seconds: float, every: float = 30) -> list[str]:
        """Poll and look for so long; return the kinds of alarm that are open in the end."""
        while seconds > 0:
            self.pass_(min(every, seconds))
            seconds -= every
            await self.poll()
            await self.parts.sentry.look()
        return self.open()

    def open(self) -> list[str]:
        return sorted(key.kind for key in self.parts.monitor.alarms.open())

    def cosign(self, *keys: SignerKey, ahead: int = 0) -> None:
        """Let witnesses show the log's present head, signed now, or by a clock that is so many seconds ahead."""
        for key in keys:
            number = WITNESSES.index(key) + 1
            self.outside.shows[f"w{number}"] = self.log.sign(None, [key], time=self.clock.now() + ahead)


def configured(
    folder: Path,
    log: FakeLog,
    *,
    cadence: float = 0.0,
    growth: float = 0.0,
    vantage: Vantage | None = None,
    peers: bool = False,
) -> MonitorSettings:
    chosen = settings(folder, log)
    (watched,) = chosen.logs
    watched = replace(watched, cadence=cadence, growth=growth, vantage=vantage)
    named = tuple(NamedWitness(f"w{number}", "", "", frozenset({ID}), f"http://w{number}") for number in (1, 2, 3))
    company = chosen.peers if peers else ()
    return replace(chosen, logs=(watched,), witnesses=named, peers=company, gossip_interval=10.0)


@asynccontextmanager
async def watching(
    chosen: MonitorSettings, log: FakeLog, steady: MockClock, clock: FakeClock | None = None, *, new: bool = True
) -> AsyncIterator[Post]:
    outside, clock = Outside(log), clock or FakeClock()
    if new:
        await _init(chosen)
        log.publish(time=clock.now())
    async with open_parts(chosen, World(clock, outside.fetch, outside.post)) as parts, trio.open_nursery() as nursery:
        parts.monitor.connect(parts.gossip, nursery)
        await parts.monitor.resume()
        await parts.sentry.begin()
        await parts.sentry.look()
        yield Post(parts, outside, clock, steady)
        await parts.sentry.archive.close(clock.now_ms())
        nursery.cancel_scope.cancel()


async def told(post: Post) -> list[tuple[str, str]]:
    """What people were told: event and kind, in order."""

    async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
        found = [one.notice.body for one in await after(connection, 0, [Topic.ALARM], 1000)]
        return [(body["event"], body["kind"]) for body in map(msgspec.json.decode, found)]

    return await post.parts.sentry.scores.database.read(work)


# The log.


async def test_a_log_that_misses_three_of_its_cadences_is_stale_until_it_signs_anew(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, cadence=60), log, mock_clock) as post:
        post.cosign(*WITNESSES)
        await post.poll()
        assert await post.watch(180) == []
        assert await post.watch(5, every=5) == ["log-stale"]
        log.publish(time=post.clock.now())  # the same tree, signed again
        assert await post.watch(120) == []
        assert await told(post) == [("raised", "log-stale"), ("cleared", "log-stale")]


async def test_a_log_that_shows_old_heads_in_turn_is_stale_all_the_same(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, cadence=60), log, mock_clock) as post:
        await post.poll()
        for size in (4, 5) * 4:
            log.publish(size)
            await post.watch(30)
        assert ("log-stale", "no new checkpoint") in {
            (key.kind, key.subject) for key in post.parts.monitor.alarms.open()
        }


async def test_a_restart_in_the_middle_of_an_alarm_tells_nobody_again_and_forgets_nothing(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log, clock = grown(5), FakeClock()
    chosen = configured(tmp_path, log, cadence=60)
    async with watching(chosen, log, mock_clock, clock) as post:
        post.cosign(*WITNESSES)
        await post.poll()
        assert "log-stale" in await post.watch(240)
        before = await told(post)
    clock.advance(600)
    mock_clock.jump(600)
    async with watching(chosen, log, mock_clock, clock, new=False) as post:
        assert post.open() == ["log-stale"]
        await post.watch(60)
        assert "log-stale" in post.open()
        (alarm,) = [one for one in post.parts.monitor.alarms.open().values() if one.kind == "log-stale"]
        assert (await told(post), alarm.raised_ms) == (before, (clock.now() - 720) * 1000 + 30_000)
        log.publish(time=clock.now())
        assert await post.watch(120) in ([], ["witness-lag"])
        assert (await told(post))[-1] == ("cleared", "log-stale")


async def test_a_log_that_stood_still_while_nobody_looked_is_stale_at_once(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log, clock = grown(5), FakeClock()
    chosen = configured(tmp_path, log, cadence=60)
    async with watching(chosen, log, mock_clock, clock) as post:
        await post.poll()
        await post.watch(60)
    clock.advance(3600)
    mock_clock.jump(3600)
    async with watching(chosen, log, mock_clock, clock, new=False) as post:
        assert post.open() == []
        assert "log-stale" in await post.watch(5)


async def test_a_log_that_was_signed_anew_while_nobody_looked_is_not_stale(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log, clock = grown(5), FakeClock()
    chosen = configured(tmp_path, log, cadence=60)
    async with watching(chosen, log, mock_clock, clock) as post:
        await post.poll()
    clock.advance(3600)
    mock_clock.jump(3600)
    log.publish(time=clock.now() - 30)
    async with watching(chosen, log, mock_clock, clock, new=False) as post:
        assert "log-stale" not in await post.watch(60)


async def test_a_log_that_grows_much_more_than_ever_is_an_alarm(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(2000)
    async with watching(configured(tmp_path, log, growth=240), log, mock_clock) as post:
        await post.poll()
        await post.watch(30)
        assert "size-jump" not in post.open()
        log.add(900)
        log.publish(time=post.clock.now())
        assert "size-jump" not in await post.watch(30)
        log.add(1001)
        log.publish(time=post.clock.now())
        assert "size-jump" in await post.watch(30)
        assert "size-jump" in await post.watch(3500, every=500)
        assert "size-jump" not in await post.watch(1000, every=500)


async def test_what_is_usual_is_learned_where_nobody_says_it(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(2000)
    clock = FakeClock()
    chosen = configured(tmp_path, log)
    async with watching(chosen, log, mock_clock, clock) as post:
        archive = post.parts.sentry.archive
        clock.advance(120)
        start_ms = clock.now_ms() - clock.now_ms() % MINUTE_MS - DAY_MS
        for hour in range(25):
            at_ms = start_ms + hour * HOUR_MS
            await archive.samples.note([Sample(ORIGIN, at_ms, 1760 + 10 * hour, 0, None, None, at_ms, 0, 0)])
        await post.poll()
    async with watching(chosen, log, mock_clock, clock, new=False) as post:
        assert post.parts.sentry._a_day == {ORIGIN: 240.0}
        await post.poll()
        log.add(5000)
        log.publish()
        assert "size-jump" in await post.watch(30)


# Witnesses.


async def test_a_witness_that_goes_silent_is_named_and_the_watermark_is_not_touched(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log), log, mock_clock) as post:
        await post.poll()
        post.cosign(*WITNESSES)
        await post.watch(30)
        for _ in range(25):
            post.cosign(*WITNESSES[:2])
            await post.watch(30)
        assert post.open() == ["witness-lag"]
        (alarm,) = post.parts.monitor.alarms.open().values()
        assert (alarm.origin, alarm.subject) == ("", "the witness witness.example/w3")
        assert alarm.detail.endswith(" min on 1 of 1 logs (log.example/one)")
        for _ in range(5):
            post.cosign(*WITNESSES)
            await post.watch(30)
        assert post.open() == []


async def test_when_two_of_three_witnesses_go_silent_the_watermark_is_stale(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log), log, mock_clock) as post:
        post.cosign(*WITNESSES)
        await post.poll()
        for _ in range(34):
            post.cosign(WITNESSES[0])
            await post.watch(30)
        assert "watermark-stale" in post.open()


async def test_a_witness_an_hour_ahead_is_named_and_moves_nothing_else(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log), log, mock_clock) as post:
        await post.poll()
        for _ in range(30):
            post.cosign(*WITNESSES[:2])
            post.cosign(WITNESSES[2], ahead=3600)
            await post.watch(30)
            mark = post.parts.monitor.marks.current(ID)
            assert mark.time is None or mark.time <= post.clock.now()
        assert post.open() == ["clock-ahead"]
        (alarm,) = post.parts.monitor.alarms.open().values()
        assert "witness.example/w3" in alarm.subject
        records = Records(post.parts.sentry.settings, post.parts.sentry.archive, post.parts.sentry.scores, post.clock)
        signed = await records.signed_scorecards()
        key = post.parts.sentry.settings.peer_key.verifier_key
        cards = {card["name"]: card for card in msgspec.json.decode(verify_scorecards(signed, key))["witnesses"]}
        clocks = {name[-2:]: card["windows"][0]["clock"]["ahead_most"] for name, card in cards.items()}
        assert clocks == {"w1": -30, "w2": -30, "w3": 3570}  # what was signed is seen half a minute later
        assert {card["windows"][0]["uptime"] for card in cards.values()} == {1.0}
        assert cards["witness.example/w3"]["windows"][2]["lag"]["p99"] == 0


# Clocks.


async def test_a_clock_that_is_moved_an_hour_is_the_only_alarm(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, cadence=60), log, mock_clock) as post:
        for step in (0, 3600, 0, -3600, 0):
            post.clock.advance(step)
            log.publish(time=post.clock.now())
            post.cosign(*WITNESSES)
            for _ in range(3):
                log.publish(time=post.clock.now())
                post.cosign(*WITNESSES)
                await post.watch(20)
        assert set(post.open()) <= {"clock-stepped", "clock-behind", "clock-ahead"}
        assert ("raised", "clock-stepped") in await told(post)
        assert not {kind for _, kind in await told(post)} & {"watermark-stale", "log-stale", "witness-lag", "size-jump"}


# The second vantage.


async def test_a_tree_that_only_another_vantage_sees_is_an_alarm_after_a_while(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = grown(9)
    chosen = configured(tmp_path, log, vantage=Vantage("http://elsewhere"))
    async with watching(chosen, log, mock_clock) as post:
        post.outside.elsewhere = fork(log, 9, 15)  # the same history, and more of it; without a quorum nobody follows
        post.outside.elsewhere.published = post.outside.elsewhere.sign(15, ())
        post.cosign(*WITNESSES)
        await post.poll()
        assert "vantage-split" not in await post.watch(600, every=60)
        assert "vantage-split" in await post.watch(30)
        (seen,) = await post.parts.sentry.archive.history(ORIGIN, post.clock.now_ms(), VANTAGE)
        assert seen.checkpoint.size == 15
        log.entries, log.leaves = post.outside.elsewhere.entries, post.outside.elsewhere.leaves
        log.publish()
        assert "vantage-split" not in await post.watch(120)


async def test_a_restart_does_not_begin_to_wait_for_an_explanation_anew(tmp_path: Path, mock_clock: MockClock) -> None:
    log, clock = grown(9), FakeClock()
    chosen = configured(tmp_path, log, vantage=Vantage("http://elsewhere"))
    more = fork(log, 9, 15)
    more.published = more.sign(15, ())
    for start in range(3):
        async with watching(chosen, log, mock_clock, clock, new=not start) as post:
            post.outside.elsewhere = more
            await post.poll()
            await post.watch(250, every=50)
            assert ("vantage-split" in post.open()) == (start == 2)


async def test_a_fork_shown_elsewhere_convicts_by_the_tiles_that_are_served_there(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = grown(300)
    chosen = configured(tmp_path, log, vantage=Vantage("http://elsewhere"))
    async with watching(chosen, log, mock_clock) as post:
        await post.poll()
        post.outside.elsewhere = fork(log, 100, 700)
        post.outside.elsewhere.published = post.outside.elsewhere.sign(700, ())
        await post.poll()
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = [one.conviction.type for one in post.parts.monitor.gossip.state.evidence.values()]
        assert held == [EvidenceType.NON_CONSISTENT]
        assert "vantage-split" not in await post.watch(900, every=60)
        assert "convicted" in post.open()


async def test_a_conviction_is_an_explanation(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(300)
    chosen = configured(tmp_path, log, vantage=Vantage("http://elsewhere"))
    async with watching(chosen, log, mock_clock) as post:
        await post.poll()
        twin = fork(log, 100, 700)
        post.outside.elsewhere = fork(log, 100, 100)  # it shows the checkpoint, and hides the tiles of its tree
        post.outside.elsewhere.published = twin.sign(700, ())
        assert "vantage-split" in await post.watch(700, every=70)
        log.add(400)
        log.publish(time=post.clock.now())
        assert "vantage-split" not in await post.watch(180, every=60)
        assert "convicted" in post.open()


async def test_a_vantage_that_does_not_answer_is_an_alarm_of_its_own(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(9)
    chosen = configured(tmp_path, log, vantage=Vantage("http://elsewhere"))
    async with watching(chosen, log, mock_clock) as post:
        await post.poll()
        assert "vantage-unreachable" not in await post.watch(590, every=59)
        assert "vantage-unreachable" in await post.watch(30)
        post.outside.elsewhere = fork(log, 9, 9)
        post.outside.elsewhere.published = b"no checkpoint"
        assert "vantage-unreachable" in await post.watch(30)
        post.outside.elsewhere.publish()
        assert "vantage-unreachable" not in await post.watch(30)


# Peers.


def entry(size: int, flags: int = VERIFIED) -> DigestEntry:
    return DigestEntry(ID, size, b"r" * 32, flags)


async def test_a_peer_that_holds_less_than_it_should_by_now_lags(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, peers=True), log, mock_clock) as post:
        company = post.parts.sentry.company
        await post.poll()
        await post.watch(10)
        post.pass_(25)
        company.overhear(PEER, [Digest(None, 1, (entry(3),), more=False)], trio.current_time())
        await post.parts.sentry.look()
        assert post.open() == []  # it may be about to catch up
        post.pass_(10)
        company.overhear(PEER, [Digest(None, 1, (entry(3), entry(9, PENDING)), more=False)], trio.current_time())
        await post.parts.sentry.look()
        (alarm,) = post.parts.monitor.alarms.open().values()
        assert (alarm.kind, alarm.subject, alarm.detail) == (
            "peer-lag",
            "the peer m2",
            "holds heads that are 35 s old on 1 logs (log.example/one)",
        )
        company.overhear(PEER, [Digest(None, 2, (entry(5),), more=False)], trio.current_time())
        assert "peer-lag" not in await post.watch(65, every=5)


async def test_a_peer_with_the_same_frontier_lags_in_nothing(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, peers=True), log, mock_clock) as post:
        company, gossip = post.parts.sentry.company, post.parts.gossip
        await post.poll()
        await post.watch(60, every=20)
        company.overhear(PEER, [Digest(None, 1, (entry(3),), more=False)], trio.current_time())
        assert company.facts(trio.current_time())[0].behind > 30
        other = Summary(1, 1, b"x" * 32, b"y" * 32, 0, 0, 0)
        company.overhear(PEER, [other], trio.current_time())
        assert company.facts(trio.current_time())[0].behind > 30
        gossip._machine.state = replace(gossip.state, summed=other)
        company.overhear(PEER, [other], trio.current_time())
        assert company.facts(trio.current_time())[0].behind == 0


async def test_a_peer_that_was_never_heard_lags(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, peers=True), log, mock_clock) as post:
        assert "peer-lag" not in await post.watch(100, every=50)
        assert "peer-lag" in await post.watch(5)


async def test_what_a_peer_showed_is_in_the_archive(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log, peers=True), log, mock_clock) as post:
        await post.poll()
        company = post.parts.sentry.company
        heads = [
            Head(ID, log.sign(5), VERIFIED, None, ()),
            Head(ID, log.sign(3), VERIFIED, None, ()),  # nobody looked whether this one was signed
            Head(ID, b"no note", VERIFIED, None, ()),
            Head(b"o" * 32, log.sign(5), VERIFIED, None, ()),
        ]
        company.overhear(PEER, heads, trio.current_time())
        company.overhear(b"stranger", heads, trio.current_time())
        found = await post.parts.sentry.archive.history(ORIGIN, post.clock.now_ms())
        assert [(seen.who, seen.checkpoint.size) for seen in found] == [(LOG, 5), (peer_who("m2"), 5)]


# What is written down.


async def test_each_minute_is_sampled_and_every_witness_has_its_history(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with watching(configured(tmp_path, log), log, mock_clock) as post:
        for _ in range(10):
            post.cosign(*WITNESSES)
            await post.watch(30)
        archive = post.parts.sentry.archive
        samples = await archive.samples.since(ORIGIN, 0, 10**9)
        assert [one.at_ms % MINUTE_MS for one in samples] == [0] * len(samples)
        assert [(one.size, one.shown, one.margin) for one in samples][1:] == [(5, 5, 1)] * (len(samples) - 1)
        assert 5 <= len(samples) <= 6
        found = await archive.history(ORIGIN, post.clock.now_ms(), witness_who("witness.example/w1"))
        assert [(seen.checkpoint.size, seen.last_ms - seen.first_ms >= 240_000) for seen in found] == [(5, True)]


async def test_alarms_about_what_is_not_configured_any_more_end(tmp_path: Path, mock_clock: MockClock) -> None:
    log, clock = grown(5), FakeClock()
    chosen = configured(tmp_path, log, cadence=60)
    gone = [
        Key("log-stale", ORIGIN, "no new checkpoint"),
        Key("witness-lag", "", "the witness of old"),
        Key("bad-checkpoint", "another log", "its checkpoint"),
    ]
    stay = [
        Key("log-stale", ORIGIN, "the log shows less than the 9 entries it showed before"),
        Key("convicted", "another log", "ab"),
        Key("witness-lag", "", "the witness witness.example/w1"),
    ]
    async with watching(chosen, log, mock_clock, clock) as post:
        for key in (*gone, *stay):
            await post.parts.monitor.alarms.hold(key)
    async with watching(configured(tmp_path, log), log, mock_clock, clock, new=False) as post:
        assert set(post.parts.monitor.alarms.open()) == set(stay)


async def test_a_monitor_that_is_told_to_stop_writes_down_what_it_saw(tmp_path: Path, mock_clock: MockClock) -> None:
    log, clock = grown(5), FakeClock()
    chosen = configured(tmp_path, log)
    await _init(chosen)
    outside = Outside(log)
    async with open_parts(chosen, World(clock, outside.fetch, outside.post)) as parts, trio.open_nursery() as nursery:
        parts.monitor.connect(parts.gossip, nursery)
        await parts.monitor.resume()
        nursery.start_soon(parts.sentry.run)
        await look(parts.monitor, ID)
        clock.advance(45)
        await look(parts.monitor, ID)
        nursery.cancel_scope.cancel()
    async with watching(chosen, log, mock_clock, clock, new=False) as post:
        (seen,) = await post.parts.sentry.archive.history(ORIGIN, clock.now_ms())
        assert seen.last_ms - seen.first_ms == 45_000
