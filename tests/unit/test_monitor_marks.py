"""The watermark of a running monitor: what it rests on, what moves it, and that only a conviction moves it back."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette

from gossip.core import EvidenceShown, Log
from monitor.__main__ import _init
from monitor.certificates import claim, completeness_routes
from monitor.config import WatchedLog
from monitor.marks import Mark, WitnessSight
from tests.commands import Sameview
from tests.fakes import FakeClock
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, signer
from tests.served import served
from tests.unit.test_monitor_node import ID, Bench, grown, opened, settings
from tlog.completeness import Completeness, judge
from tlog.evidence import cosigner_same_size
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy
from tlog.signed_checkpoint import open_checkpoint

W1, W2, W3 = WITNESSES
START = 1_700_000_000
KEYS = (signer(ORIGIN).verifier_key, *(witness.verifier_key for witness in WITNESSES))


@asynccontextmanager
async def watching(folder: Path, log: FakeLog, liars: int = 0, rules: Policy | None = None) -> AsyncIterator[Bench]:
    """A monitor at the branch that the log shows, with nothing else done; it starts where an earlier one ended."""
    chosen = replace(settings(folder, log), liars=liars)
    if rules is not None:
        chosen = replace(chosen, logs=(WatchedLog(Log(log.origin, (log.key.verifier_key,), rules), "http://log"),))
    if not chosen.data.exists():
        await _init(chosen)
    async with opened(chosen, log, FakeClock(START)) as one:
        yield one


async def hear(one: Bench, log: FakeLog, witness: SignerKey, time: int, size: int | None = None) -> Mark:
    """Let the monitor see that a witness stated a tree."""
    await one.monitor.submit(ID, log.sign(size, [witness], time=time))
    return await settled(one)


async def settled(one: Bench) -> Mark:
    await one.monitor.marks.settle()
    return one.monitor.marks.current(ID)


def sight(mark: Mark, name: str) -> WitnessSight:
    return next(one for one in mark.witnesses if one.name == name)


# What moves it.


async def test_the_watermark_moves_with_the_witnesses_and_stops_when_two_of_three_fall_silent(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        assert one.monitor.marks.current(ID).time is None
        await one.poll()
        assert (await settled(one)).time == START - 100
        assert (await hear(one, log, W1, START - 50)).time == START - 100
        assert (await hear(one, log, W2, START - 60)).time == START - 60
        for time in (START - 40, START - 30, START):
            assert (await hear(one, log, W1, time)).time == START - 60
        mark = await hear(one, log, W3, START - 10)
        assert (mark.time, mark.size, mark.margin) == (START - 10, 5, 1)
        assert [one.counts for one in mark.witnesses] == [True, False, True]


async def test_more_liars_take_more_witnesses(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log, liars=1) as one:
        await one.poll()
        await hear(one, log, W1, START - 10)
        assert (await hear(one, log, W2, START - 10)).time == START - 100
        assert (await hear(one, log, W3, START - 20)).time == START - 20


async def test_what_is_ahead_of_the_branch_counts_once_the_branch_is_there(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        log.add(4)
        await hear(one, log, W1, START - 20, 9)
        mark = await hear(one, log, W2, START - 20, 9)
        assert (mark.time, sight(mark, "w1").on_branch, sight(mark, "w1").stated) == (START - 100, None, START - 20)
        log.publish(time=START - 30)
        await one.poll()
        mark = await settled(one)
        assert (mark.time, mark.size, sight(mark, "w1").on_branch) == (START - 20, 9, True)


async def test_a_log_that_is_always_ahead_is_caught_up_with(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        log.add(9)
        for size, time in ((8, START - 50), (10, START - 40), (14, START - 30)):
            await hear(one, log, W1, time, size)
            await hear(one, log, W2, time, size)
        log.publish(9, time=START - 45)
        await one.poll()
        mark = await settled(one)
        assert (mark.size, mark.time) == (9, START - 45)
        assert (sight(mark, "w1").size, sight(mark, "w1").on_branch) == (9, None)


async def test_a_witness_on_another_branch_is_convicted_and_not_heard(tmp_path: Path) -> None:
    log = grown(9)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        assert (await settled(one)).margin == 1
        twin = log.fork(5)
        twin.add(4, "other")
        mark = await hear(one, twin, W1, START - 10, 9)
        assert one.monitor.branch(ID).convicted
        assert (sight(mark, "w1").on_branch, sight(mark, "w1").convicted) == (False, True)
        assert (sight(mark, "w1").counts, mark.margin, mark.time) == (False, 0, START - 100)


async def test_only_a_conviction_moves_it_back(tmp_path: Path) -> None:
    log = grown(9)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        await hear(one, log, W1, START - 10)
        assert (await hear(one, log, W2, START - 20)).time == START - 20
        other = replace(log.head(7), root_hash=log.head(3).root_hash)
        notes = [log.sign(7, [W1], time=START - 90), log.sign(head=other, witnesses=[W1], time=START - 80)]
        first, second = (open_checkpoint(note, KEYS) for note in notes)
        evidence = cosigner_same_size(first, second, W1.verifier_key)
        await one.monitor.gossip.dispatch(EvidenceShown(evidence.format()))
        mark = one.monitor.marks.current(ID)
        assert (mark.time, mark.margin, sight(mark, "w1").convicted) == (START - 100, 0, True)
    # It gets a new key, and the old one leaves the policy: with it nobody could verify the evidence any more.
    renewed = SignerKey(W1.name, KeyType.COSIGNATURE_ED25519, b"\x07" * 32)
    async with watching(tmp_path, log, rules=policy(log.key, (renewed, W2, W3))) as one:
        mark = await hear(one, log, renewed, START - 5)
        assert (sight(mark, "w1").convicted, sight(mark, "w1").counts) == (True, False)


# Clocks.


async def test_a_clock_an_hour_ahead_counts_from_when_it_was_heard_and_is_an_alarm(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        await hear(one, log, W2, START - 10)
        mark = await hear(one, log, W1, START + 3600)
        assert (sight(mark, "w1").time, sight(mark, "w1").stated, mark.time) == (START, START + 3600, START - 10)
        assert ("clock-ahead", True) in await one.alarms()
        one.clock.advance(60)
        note = log.sign(None, [W1], time=START + 3600)
        assert not one.monitor.marks.take(ID, open_checkpoint(note, KEYS), one.clock.now())
        await hear(one, log, W2, START + 30)
        assert (await settled(one)).time == START  # shown again, it is as old as it was
        mark = await hear(one, log, W1, START + 50)  # the clock was set: by what it signed, this was stated before
        assert (sight(mark, "w1").time, mark.time) == (START, START)
        one.clock.advance(3600)
        mark = await hear(one, log, W1, START + 3650)  # now it says more than it said
        assert (sight(mark, "w1").time, mark.time) == (START + 3650, START + 30)


async def test_what_was_signed_in_the_future_and_is_shown_in_turn_makes_nobody_heard(tmp_path: Path) -> None:
    """Somebody holds cosignatures of a witness that is silent, and shows one after the other again and again."""
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        await hear(one, log, W1, START + 3600)
        one.clock.advance(5)
        await hear(one, log, W1, START + 3601)
        await hear(one, log, W2, START)
        before = await settled(one)
        assert (sight(before, "w1").time, before.time) == (START + 5, START)
        for stated in (3600, 3601) * 3:
            one.clock.advance(60)
            await hear(one, log, W2, one.clock.now())
            mark = await hear(one, log, W1, START + stated)
            assert (sight(mark, "w1").time, mark.time) == (START + 5, START + 5)


async def test_a_tree_that_is_reached_late_counts_from_when_what_was_signed_after_it_arrived(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        log.add(4)
        for stated, size in ((3600, 9), (3500, 7)):  # the branch gets to the second one first
            note = log.sign(size, [W1], time=START + stated)
            assert one.monitor.marks.take(ID, open_checkpoint(note, KEYS), one.clock.now()) is (size == 9)
            one.clock.advance(60)
        log.publish(8, [W2, W3], time=START)
        await one.poll()
        mark = await settled(one)
        assert (sight(mark, "w1").size, sight(mark, "w1").time) == (7, START)


@pytest.mark.parametrize("seed", range(4))
async def test_a_statement_counts_from_its_signed_time_or_from_the_first_proof_that_it_was_made(
    tmp_path: Path, seed: int
) -> None:
    """Against the definition, with statements of the past and the future in any order, each shown several times."""
    chance = random.Random(seed)
    log = grown(5)
    log.publish(time=START - 1000)
    arrived: dict[int, int] = {START - 1000: START}
    async with watching(tmp_path, log) as one:
        await one.poll()
        await settled(one)
        for _ in range(60):
            one.clock.advance(chance.randint(0, 20))
            stated = chance.choice((*arrived, one.clock.now() + chance.randint(-300, 300)))
            arrived.setdefault(stated, one.clock.now())
            mark = await hear(one, log, W1, stated)
            counts = [min(time, *(when for other, when in arrived.items() if other >= time)) for time in arrived]
            assert sight(mark, "w1").time == max(counts) <= one.clock.now()


async def test_a_monitor_whose_clock_is_set_back_claims_no_less(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        await hear(one, log, W1, START + 100)
        before = await hear(one, log, W2, START + 100)
        one.clock.advance(-50)
        await hear(one, log, W1, START + 110)
        mark = await hear(one, log, W2, START + 110)
        assert (before.time, mark.time, sight(mark, "w1").stated) == (START, START, START + 110)


async def test_a_cosignature_without_a_time_states_nothing(tmp_path: Path) -> None:
    mldsa = signer("witness.example/w1", KeyType.COSIGNATURE_MLDSA44)
    log = grown(5)
    log.publish(time=START - 100, witnesses=())
    rules = policy(log.key, (mldsa,), 1)
    async with watching(tmp_path, log, rules=rules) as one:
        await one.poll()
        await one.monitor.submit(ID, log.sign(None, [mldsa], time=0))
        assert sight(await settled(one), "w1").stated is None


# Restarts.


async def test_the_watermark_survives_restarts(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        await hear(one, log, W1, START + 3600)
        before = await hear(one, log, W2, START - 10)
        certificate = await one.monitor.marks.certificate(ID)
    async with watching(tmp_path, log) as one:
        mark = one.monitor.marks.current(ID)
        assert (mark.time, mark.margin) == (before.time, before.margin) == (START - 10, 1)
        assert [(s.name, s.time, s.size) for s in mark.witnesses] == [
            (s.name, s.time, s.size) for s in before.witnesses
        ]
        assert await one.monitor.marks.certificate(ID) is not None
        assert certificate is not None


async def test_what_was_not_written_down_is_not_published(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    async with watching(tmp_path, log) as one:
        await one.poll()
        assert one.monitor.marks.current(ID).time is None
        await settled(one)
    async with watching(tmp_path, log) as one:
        assert one.monitor.marks.current(ID).time == START - 100


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_heard_in_whatever_order_it_never_moves_back(tmp_path: Path, seed: int) -> None:
    """Witnesses whose statements come late, twice or ahead of the branch, one of them an hour ahead; and restarts."""
    chance = random.Random(seed)
    log = grown(5)
    log.publish(time=START - 100)
    stated: list[tuple[SignerKey, int, int]] = []
    last, now = START - 100, START
    for life in range(3):
        async with watching(tmp_path, log) as one:
            assert life == 0 or one.monitor.marks.current(ID).time == last
            one.clock.advance(now - START)
            await one.poll()
            for _ in range(25):
                one.clock.advance(chance.randint(0, 3))
                if chance.random() < 0.3:
                    log.add(chance.randint(1, 3))
                witness = chance.choice(WITNESSES)
                ahead = 3600 if witness is W3 else 0
                stated.append((witness, log.size, one.clock.now() + ahead))
                for key, size, time in chance.sample(stated, min(2, len(stated))):
                    one.monitor.marks.take(ID, open_checkpoint(log.sign(size, [key], time=time), KEYS), one.clock.now())
                if chance.random() < 0.2:
                    log.publish(witnesses=[W1, W2], time=one.clock.now())
                    stated += [(W1, log.size, one.clock.now()), (W2, log.size, one.clock.now())]
                    await one.poll()
                found = (await settled(one)).time or last
                assert last <= found <= one.clock.now()
                last = found
            now = one.clock.now()
    assert last > START


# The certificate, and where it is published.


async def test_anybody_can_verify_the_certificate(tmp_path: Path, sameview: Sameview) -> None:
    log = grown(3)
    log.publish(time=START - 100)
    async with watching(tmp_path, log, liars=1) as one:
        assert await one.monitor.marks.certificate(ID) is None
        await one.poll()
        await hear(one, log, W1, START - 50)
        log.add(6)
        log.publish(witnesses=[W2, W3], time=START - 30)
        await one.poll()
        await settled(one)
        made = await one.monitor.marks.certificate(ID)
        assert made is not None
        assert await one.monitor.marks.certificate(ID) is made
        judged = judge(Completeness.parse(made), policy(log.key))
        assert (judged.require().head, judged.certificate.time, judged.liars) == (log.head(9), START - 50, 1)
        assert (judged.heard, [tree.size for tree in judged.trees]) == (("w1", "w2", "w3"), [9, 3])
        await hear(one, log, W1, START - 10)
        newer = await one.monitor.marks.certificate(ID)
        assert newer is not None
        assert Completeness.parse(newer).time == START - 30
    (tmp_path / "certificate").write_bytes(made)
    (tmp_path / "policy").write_bytes(policy(log.key).format())
    ran = await trio.to_thread.run_sync(
        lambda: sameview("verify", "completeness", tmp_path / "certificate", "--policy", tmp_path / "policy")
    )
    assert ran.code == 0


async def test_the_mark_and_its_certificate_are_published(tmp_path: Path) -> None:
    log = grown(5)
    log.publish(time=START - 100)
    path = f"/v1/completeness/{sha256(ORIGIN.encode()).hexdigest()}"
    async with watching(tmp_path, log) as one, served(Starlette(routes=completeness_routes(one.monitor))) as asked:
        assert json.loads((await asked.get(path)).body)["time"] is None
        assert (await asked.get(f"{path}/certificate")).status == 404
        await one.poll()
        mark = await settled(one)
        assert claim(mark) == {"time": START - 100, "liars": 0}
        answer = await asked.get(path)
        document = json.loads(answer.body)
        assert (document["time"], document["liars"], document["size"]) == (START - 100, 0, 5)
        assert [sight["name"] for sight in document["witnesses"]] == ["w1", "w2", "w3"]
        tag = {"if-none-match": answer.headers["etag"]}
        again = await asked.client.fetch("GET", f"{asked.url}{path}", headers=tag, cap=100, seconds=20.0)
        assert again.status == 304
        certificate = await asked.get(f"{path}/certificate")
        assert (certificate.body.decode(), certificate.headers["content-type"]) == (
            document["certificate"],
            "text/plain; charset=utf-8",
        )
        for unknown in ("0" * 64, "x", "x/certificate"):
            assert (await asked.get(f"/v1/completeness/{unknown}")).status == 404
