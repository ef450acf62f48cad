"""Looking at what witnesses show: what each answer means, what is done with their heads, and how often it is."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from gossip.core import Log
from monitor.config import NamedWitness, WatchedLog
from monitor.marks import Outcome
from monitor.polls import Poller, Target, distributor_url, monitoring_url, pollers, watch_marks
from runtime.client import Failure, FetchError, Response
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy
from tests.nodes import make_witness, open_witness
from tests.served import served
from tests.unit.test_monitor_marks import START, W1, W2, settled, sight, watching
from tests.unit.test_monitor_node import ID, Bench, grown, settings
from tlog.add_checkpoint import AddCheckpoint
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.policy import PolicyWitness
from witness.app import witness_app

ONE = PolicyWitness("w1", W1.verifier_key)
TARGET = Target("http://w1/checkpoint", ID, (ONE,))


class Witness:
    """Shows one note, with or without an ETag, or does not."""

    def __init__(self, note: bytes = b"") -> None:
        self.note = note
        self.status = 200
        self.tag: str | None = None
        self.failure: Failure | None = None
        self.asked: list[Mapping[str, str]] = []
        self.urls: list[str] = []

    async def fetch(
        self, method: str, url: str, *, cap: int, headers: Mapping[str, str] | None = None, **_: object
    ) -> Response:
        await trio.lowlevel.checkpoint()
        if (method, cap) != ("GET", MAX_NOTE_BYTES):
            raise AssertionError("it is asked for more than a note")
        self.asked.append(headers or {})
        self.urls.append(url)
        if self.failure is not None:
            raise FetchError(self.failure, "no answer")
        if self.tag is not None and (headers or {}).get("if-none-match") == self.tag:
            return Response(304, {}, b"")
        return Response(self.status, {"etag": self.tag} if self.tag else {}, self.note if self.status == 200 else b"")


def poller(one: Bench, witness: Witness, *targets: Target, is_witness: bool = True) -> Poller:
    return Poller(
        "w1", targets or (TARGET,), one.monitor.marks, one.monitor, witness.fetch, one.clock, is_witness=is_witness
    )


def shown(size: int = 5, time: int = START - 50) -> FakeLog:
    log = grown(size)
    log.publish(time=START - 100)
    return log


async def test_a_witness_is_heard_by_what_it_shows(tmp_path: Path) -> None:
    log = shown()
    async with watching(tmp_path, log) as one:
        await one.poll()
        for line, key in zip(policy().witnesses[:2], (W1, W2), strict=True):
            target = Target(f"http://{line.name}", ID, (line,))
            await poller(one, Witness(log.sign(5, [key], time=START - 50)), target).round()
        mark = await settled(one)
        assert mark.time == START - 50
        found = sight(mark, "w1")
        assert (found.time, found.on_branch, found.polled, found.seen_ms) == (START - 50, True, True, START * 1000)
        assert dict(found.outcomes) == {Outcome.HEARD: 1}
        assert not sight(mark, "w3").polled


async def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    log = shown()
    async with watching(tmp_path, log) as one:
        await one.poll()
        witness = Witness(log.sign(5, [W1], time=START - 50))
        look = poller(one, witness)
        assert await look.look(TARGET) is Outcome.HEARD
        assert await look.look(TARGET) is Outcome.UNCHANGED  # the same bytes, from a server that knows no tags
        witness.tag = '"1"'
        assert await look.look(TARGET) is Outcome.UNCHANGED
        assert await look.look(TARGET) is Outcome.UNCHANGED
        assert witness.asked == [{}, {}, {}, {"if-none-match": '"1"'}]
        witness.note, witness.tag = log.sign(5, [W1], time=START - 40), '"2"'
        assert await look.look(TARGET) is Outcome.HEARD
        witness.note, witness.tag = log.sign(5, [W1], time=START - 60), None
        assert await look.look(TARGET) is Outcome.UNCHANGED  # an old copy says nothing new
        assert sight(await settled(one), "w1").time == START - 40


@pytest.mark.parametrize("tag", ['"\N{LATIN SMALL LETTER E WITH ACUTE}"', "1", '"' + "x" * 256 + '"'])
async def test_a_tag_that_cannot_be_sent_back_is_forgotten(tmp_path: Path, tag: str) -> None:
    log = shown()
    async with watching(tmp_path, log) as one:
        witness = Witness(log.sign(5, [W1], time=START - 50))
        witness.tag = tag
        look = poller(one, witness)
        for _ in range(3):
            assert await look.look(TARGET) in (Outcome.HEARD, Outcome.UNCHANGED)
        assert witness.asked == [{}, {}, {}]


@pytest.mark.parametrize(
    ("status", "failure", "outcome"),
    [
        (404, None, Outcome.ABSENT),
        (410, None, Outcome.ABSENT),
        (500, None, Outcome.REFUSED),
        (304, None, Outcome.REFUSED),  # of what, if nothing was ever there
        (301, None, Outcome.REFUSED),
        (200, Failure.UNREACHABLE, Outcome.UNREACHABLE),
        (200, Failure.TIMEOUT, Outcome.UNREACHABLE),
        (200, Failure.TOO_LARGE, Outcome.MALFORMED),
        (200, Failure.PROTOCOL, Outcome.MALFORMED),
    ],
)
async def test_every_answer_has_a_name(tmp_path: Path, status: int, failure: Failure | None, outcome: Outcome) -> None:
    async with watching(tmp_path, shown()) as one:
        witness = Witness()
        witness.status, witness.failure = status, failure
        look = poller(one, witness)
        await look.round()
        assert look.outcomes == {outcome: 1}
        found = sight(one.monitor.marks.current(ID), "w1")
        assert (dict(found.outcomes), found.seen_ms) == ({outcome: 1}, None)


async def test_what_is_no_head_that_the_witness_cosigned_is_malformed(tmp_path: Path) -> None:
    log = shown()
    good = log.sign(5, [W1], time=START - 50)
    elsewhere = FakeLog(log.entries, origin="log.example/two").sign(5, [W1], time=START)
    forged = Note(Note.parse(good).text, Note.parse(log.sign(3, [W1])).signatures).format()
    broken_log = Note.parse(good)
    stranger = FakeLog(log.entries).sign(3, ())
    half = Note(broken_log.text, (Note.parse(stranger).signatures[0], broken_log.signatures[1])).format()
    async with watching(tmp_path, log) as one:
        await one.poll()
        for note in (b"", b"none", good[:-1], log.sign(5, ()), log.sign(5, [W2]), elsewhere, forged, half):
            assert await poller(one, Witness(note)).look(TARGET) is Outcome.MALFORMED
        assert await poller(one, Witness(good)).look(TARGET) is Outcome.HEARD


async def test_a_head_of_another_history_convicts_the_log(tmp_path: Path) -> None:
    log = shown(9)
    twin = log.fork(5)
    twin.add(4, "other")
    async with watching(tmp_path, log) as one:
        await one.poll()
        assert await poller(one, Witness(twin.sign(8, [W1], time=START - 50))).look(TARGET) is Outcome.HEARD
        assert one.monitor.branch(ID).convicted
        found = sight(await settled(one), "w1")
        assert (found.on_branch, found.counts) == (False, False)


async def test_a_witness_that_shows_what_the_log_did_not_sign_is_an_alarm(tmp_path: Path) -> None:
    log = shown()
    async with watching(tmp_path, log) as one:
        await one.poll()
        note = Note.parse(log.sign(5, [W1], time=START - 50))
        witness = Witness(Note(note.text, note.signatures[1:]).format())
        look = poller(one, witness)
        await look.round()
        assert await one.alarms() == [("witness-conflict", True)]
        assert sight(await settled(one), "w1").time == START - 50  # it is a statement of the witness all the same
        witness.note = log.sign(5, [W1], time=START - 40)
        await look.round()
        assert await one.alarms() == [("witness-conflict", False)]


async def test_a_distributor_brings_statements_and_speaks_for_nobody(tmp_path: Path) -> None:
    log = shown()
    async with watching(tmp_path, log) as one:
        await one.poll()
        note = Note.parse(log.sign(5, [W1], time=START - 50))
        look = poller(one, Witness(Note(note.text, note.signatures[1:]).format()), is_witness=False)
        await look.round()
        found = sight(await settled(one), "w1")
        assert (found.time, found.polled, found.seen_ms, dict(found.outcomes)) == (START - 50, False, None, {})
        assert (await one.alarms(), look.outcomes) == ([], {Outcome.HEARD: 1})


async def test_our_own_witness_is_heard_over_http_and_spares_us_what_did_not_change(tmp_path: Path) -> None:
    log = shown()
    logs, clock = {ORIGIN: [log.key.verifier_key]}, FakeClock(START)
    (tmp_path / "witness").mkdir()
    await make_witness(tmp_path / "witness")
    async with (
        watching(tmp_path, log) as one,
        open_witness(tmp_path / "witness", logs, [W1], clock) as cosigner,
        served(witness_app(cosigner, Metrics())) as asked,
    ):
        await one.poll()
        target = Target(monitoring_url(asked.url, ORIGIN), ID, (ONE,))
        look = Poller("w1", (target,), one.monitor.marks, one.monitor, asked.client.fetch, one.clock)
        assert await look.look(target) is Outcome.ABSENT
        request = AddCheckpoint(0, (), log.sign(5, ())).format()
        assert (await asked.post("/add-checkpoint", request)).status == 200
        assert await look.look(target) is Outcome.HEARD
        found = sight(await settled(one), "w1")
        assert (found.time, found.size, found.on_branch) == (START, 5, True)
        tag = look._last[target.url].tag
        again = await asked.client.fetch("GET", target.url, headers={"if-none-match": str(tag)}, cap=100, seconds=20.0)
        assert (again.status, await look.look(target)) == (304, Outcome.UNCHANGED)


# How often, and whom.


async def test_one_slow_witness_delays_nobody(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    log = shown()
    async with watching(tmp_path, log) as one, trio.open_nursery() as tasks:
        slow, quick = Witness(), Witness()

        async def hang(*args: object, **more: object) -> Response:
            slow.asked.append({})
            await trio.sleep_forever()
            raise AssertionError

        stuck = Poller("slow", (TARGET,), one.monitor.marks, one.monitor, hang, one.clock)
        tasks.start_soon(stuck.run, 60.0)
        tasks.start_soon(poller(one, quick).run, 60.0)
        await trio.sleep(600)
        assert (len(slow.asked), 9 <= len(quick.asked) <= 12) == (1, True)
        tasks.cancel_scope.cancel()


async def test_requests_are_spread_over_the_interval(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with watching(tmp_path, shown()) as one, trio.open_nursery() as tasks:
        times: list[float] = []

        async def note_time(*args: object, **more: object) -> Response:
            times.append(trio.current_time() - began)
            await trio.lowlevel.checkpoint()
            return Response(404, {}, b"")

        began = trio.current_time()
        targets = [Target(f"http://w1/{number}", ID, (ONE,)) for number in range(10)]
        busy = Poller("busy", targets, one.monitor.marks, one.monitor, note_time, one.clock)
        tasks.start_soon(busy.run, 60.0)
        await trio.sleep(130)
        tasks.cancel_scope.cancel()
    gaps = [after - before for before, after in itertools.pairwise(times[10:20])]
    assert (times[9] - times[0] < 1, min(gaps) > 4) == (True, True)


def test_a_witness_and_a_distributor_name_a_log_differently() -> None:
    own, other = sha256(ORIGIN.encode()).hexdigest(), sha256(b"o:" + ORIGIN.encode()).hexdigest()
    assert monitoring_url("http://w1", ORIGIN) == f"http://w1/{own}/checkpoint"
    assert distributor_url("http://d", ORIGIN, "witness.example/w1") == (
        f"http://d/distributor/v0/logs/{other}/byWitness/witness.example%2Fw1/checkpoint"
    )


async def test_everybody_who_has_a_url_is_asked(tmp_path: Path) -> None:
    log = shown()
    rules = policy(log.key)
    w1, w2, w3 = rules.witnesses
    rules = replace(rules, witnesses=(w1, replace(w2, url="http://w2/"), w3))
    async with watching(tmp_path, log, rules=rules) as one:
        named = NamedWitness("w1", "", "", frozenset({ID}), "http://w1")
        watched = WatchedLog(Log(ORIGIN, (log.key.verifier_key,), rules), "http://log", distributor="http://d")
        chosen = replace(settings(tmp_path, log), logs=(watched,), witnesses=(named,))
        witness = Witness()
        witness.status = 404
        made = pollers(chosen, one.monitor.marks, one.monitor, witness.fetch, one.clock)
        assert [look.name for look in made] == ["http://w1", "http://w2", "http://d"]
        for look in made:
            await look.round()
        assert sorted(witness.urls) == sorted(
            [monitoring_url("http://w1", ORIGIN), monitoring_url("http://w2", ORIGIN)]
            + [distributor_url("http://d", ORIGIN, key.name) for key in rules.witness_keys]
        )
        metrics = Metrics()
        watch_marks(metrics, one.monitor, made)
        text = metrics.exposition().decode()
        assert 'monitor_watermark_seconds{origin="log.example/one"} 0.0' in text
        assert 'monitor_witness_polls_total{outcome="absent",server="http://d"} 3.0' in text


async def test_two_keys_of_one_witness_are_one_request(tmp_path: Path) -> None:
    log = shown()
    async with watching(tmp_path, log) as one:
        await one.poll()
        target = Target("http://w", ID, policy().witnesses[:2])
        look = poller(one, Witness(log.sign(5, WITNESSES[:2], time=START - 50)), target)
        await look.round()
        assert [sight(await settled(one), name).time for name in ("w1", "w2")] == [START - 50] * 2
