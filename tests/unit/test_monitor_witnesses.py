"""Evidence that is brought to witnesses, and tip-offs that come from them; each witness is a function."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from gossip.core import origin_id
from monitor.config import NamedWitness
from monitor.witnesses import MAX_REFUSALS, Bearer, TipOffs
from runtime.client import Failure, FetchError, Response
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog
from tests.unit.test_monitor_node import ID, Bench, bench, fork, grown, opened, settings
from tlog.evidence import Conviction, same_size
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64
from witness.core import judge

WITNESS = NamedWitness("w1", "http://w1/v1/evidence", "http://w1/v1/conflicts", frozenset({origin_id(ORIGIN)}))


class Witness:
    """Answers with one status, or not at all, and lists these conflicts."""

    def __init__(self, status: int | None = 200) -> None:
        self.status = status
        self.taken: list[bytes] = []
        self.asked: list[str] = []
        self.conflicts: list[dict[str, object]] = []
        self.raw: bytes | None = None

    async def fetch(self, method: str, url: str, *, body: bytes = b"", **_: object) -> Response:
        await trio.lowlevel.checkpoint()
        self.asked.append(url)
        if self.status is None:
            raise FetchError(Failure.UNREACHABLE, "nobody is there")
        if method == "POST":
            self.taken.append(body)
            return Response(self.status, {}, b"")
        return Response(self.status, {}, self.raw or json.dumps({"conflicts": self.conflicts, "next": None}).encode())


async def convict(one: Bench, log: FakeLog) -> bytes:
    await one.poll()
    await one.monitor.submit(ID, fork(log, 5, 9).sign(9, ()))
    (kept,) = await one.monitor.store.evidence()
    return kept.bundle


def bearer(one: Bench, witness: Witness, named: NamedWitness = WITNESS) -> Bearer:
    return Bearer(named, one.monitor, witness.fetch, one.clock)


async def test_a_witness_is_brought_evidence_once(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    async with bench(tmp_path, log) as one:
        bundle = await convict(one, log)
        carrier = bearer(one, witness)
        assert (await carrier.round(), await carrier.round(), carrier.left) == (True, True, 0)
        assert witness.taken == [bundle]


@pytest.mark.parametrize("status", [None, 500, 503, 429])
async def test_evidence_that_was_not_taken_is_brought_after_a_restart(tmp_path: Path, status: int | None) -> None:
    log, witness = grown(9), Witness(status)
    async with bench(tmp_path, log) as one:
        bundle = await convict(one, log)
        assert not await bearer(one, witness).round()
    witness.status, witness.taken = 200, []
    async with opened(settings(tmp_path, log), log) as one:
        assert await bearer(one, witness).round()
        assert witness.taken == [bundle]


@pytest.mark.parametrize(("status", "times"), [(400, 1), (422, 1), (404, MAX_REFUSALS)])
async def test_a_refusal_is_not_repeated_for_ever(tmp_path: Path, status: int, times: int) -> None:
    log, witness = grown(9), Witness(status)
    async with bench(tmp_path, log) as one:
        await convict(one, log)
        for _ in range(MAX_REFUSALS + 2):
            await bearer(one, witness).round()
        assert len(witness.taken) == times
        assert ("evidence-refused", True) in await one.alarms()


async def test_a_witness_whose_policy_names_another_log_is_not_bothered(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    async with bench(tmp_path, log) as one:
        await convict(one, log)
        other = NamedWitness("w1", "http://w1", "http://w1", frozenset())
        assert (await bearer(one, witness, other).round(), witness.taken) == (True, [])


def conflict(log: FakeLog, size: int, **more: object) -> dict[str, object]:
    root_hash = encode_base64(log.head(size).root_hash).decode()
    return {"number": 7, "origin": ORIGIN, "size": size, "root_hash": root_hash, "time": 1, "evidence": None, **more}


@pytest.mark.parametrize("size", [7, 9])
async def test_a_split_of_the_quorum_is_brought_as_what_a_witness_without_a_policy_can_judge(
    tmp_path: Path, size: int
) -> None:
    log, witness = grown(9), Witness()
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 5, size).sign(size))
        kept = await one.monitor.store.evidence()
        assert "quorum-split" in [each.type for each in kept]
        assert await bearer(one, witness).round()
        verdicts = [judge(taken, {ORIGIN: (log.key.verifier_key,)}) for taken in witness.taken]
        assert len(verdicts) == sum(each.accused == log.key.verifier_key.format() for each in kept) == 2
        assert [isinstance(verdict, Conviction) for verdict in verdicts] == [True, True]


async def test_of_evidence_that_other_evidence_replaced_no_delivery_is_remembered(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    async with bench(tmp_path, log) as one:
        await convict(one, log)
        (kept,) = await one.monitor.store.evidence()
        assert await bearer(one, witness).round()
        await one.monitor.store.drop_evidence(kept.id)
        await one.monitor.store.delivered(kept.id, "w2", 200, 0)  # which was asked before
        await one.monitor.store.keep_evidence(kept)
        assert await one.monitor.store.undelivered("w1") == await one.monitor.store.undelivered("w2") == [kept]


async def test_a_head_that_a_witness_refused_convicts_the_log(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    twin = fork(log, 5, 9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        witness.conflicts = [conflict(twin, 9, note=twin.sign(9, ()).decode())]
        tips = TipOffs(WITNESS, one.monitor, witness.fetch)
        assert await tips.round()
        assert one.monitor.branch(ID).convicted
        await tips.round()
        assert witness.asked == ["http://w1/v1/conflicts?after=0", "http://w1/v1/conflicts?after=7"]


async def test_a_refused_head_without_its_note_is_an_alarm_once_the_branch_reaches_it(tmp_path: Path) -> None:
    log, witness = grown(5), Witness()
    twin = fork(log, 5, 9)
    witness.conflicts = [conflict(twin, 9), conflict(log, 5)]
    async with bench(tmp_path, log) as one:
        await one.poll()
        tips = TipOffs(WITNESS, one.monitor, witness.fetch)
        await tips.round()
        assert await one.alarms() == []
        log.add(7)
        log.publish()
        await one.poll()
        await tips.round()
        assert await one.alarms() == [("witness-conflict", True)]


@pytest.mark.parametrize("raw", [b"[]", b"{", b'{"conflicts":[{"number":-1}]}', b"\xff"])
async def test_a_list_that_is_none_is_not_believed(tmp_path: Path, raw: bytes) -> None:
    witness = Witness()
    witness.raw = raw
    async with bench(tmp_path, grown(5)) as one:
        assert not await TipOffs(WITNESS, one.monitor, witness.fetch).round()


async def test_a_witness_that_lists_lists_in_lists_does_not_end_the_monitor(tmp_path: Path) -> None:
    witness = Witness()
    witness.raw = b'{"of a later version":' + b"[" * 100_000 + b"]" * 100_000 + b',"conflicts":[]}'
    async with bench(tmp_path, grown(5)) as one:
        assert not await TipOffs(WITNESS, one.monitor, witness.fetch).round()


async def test_evidence_that_comes_while_the_monitor_runs_is_brought_at_once(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    async with bench(tmp_path, log) as one, trio.open_nursery() as tasks:
        tasks.start_soon(bearer(one, witness).run)
        await convict(one, log)
        with trio.fail_after(10):
            while not witness.taken:
                await trio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


async def test_a_witness_that_was_away_is_asked_again_when_there_is_more_evidence(tmp_path: Path) -> None:
    log, witness = grown(9), Witness(None)
    async with bench(tmp_path, log) as one, trio.open_nursery() as tasks:
        bundle = await convict(one, log)
        carrier = bearer(one, witness)
        tasks.start_soon(carrier.run)
        with trio.fail_after(10):
            while not witness.asked:
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked(0.05)
        witness.status = 200
        one.monitor.kept.set()  # as when evidence is kept
        with trio.fail_after(10):
            while not witness.taken:
                await trio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert witness.taken == [bundle]


async def test_a_list_is_read_again_and_again_and_once_in_a_while_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.witnesses.ROUNDS_UNTIL_ANEW", 3)
    log, witness = grown(9), Witness()
    witness.conflicts = [conflict(log, 9, note=log.sign(9).decode())]
    async with bench(tmp_path, log) as one, trio.open_nursery() as tasks:
        tasks.start_soon(TipOffs(WITNESS, one.monitor, witness.fetch).run, 0.0)
        with trio.fail_after(10):
            while len(witness.asked) < 4:
                await trio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert [url.partition("=")[2] for url in witness.asked[:4]] == ["0", "7", "0", "7"]


async def test_a_tag_that_cannot_be_sent_back_is_sent_once(tmp_path: Path) -> None:
    tags: list[str | None] = []

    async def fetch(method: str, url: str, *, headers: Mapping[str, str] | None = None, **_: object) -> Response:
        await trio.lowlevel.checkpoint()
        tags.append(headers["if-none-match"] if headers else None)
        if headers:
            raise FetchError(Failure.UNREACHABLE, "this cannot be sent")
        return Response(200, {"etag": '"\N{EM DASH}"'}, b'{"conflicts":[]}')

    async with bench(tmp_path, grown(5)) as one:
        tips = TipOffs(WITNESS, one.monitor, fetch)
        assert [await tips.round() for _ in range(3)] == [True, False, True]
    assert [tag is None for tag in tags] == [True, False, True]


@pytest.mark.parametrize("status", [None, 404, 500])
async def test_a_witness_that_lists_nothing_is_none_that_answered(tmp_path: Path, status: int | None) -> None:
    async with bench(tmp_path, grown(5)) as one:
        assert not await TipOffs(WITNESS, one.monitor, Witness(status).fetch).round()


async def test_evidence_that_a_witness_lists_is_taken_and_what_is_unreadable_is_left(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    pair = [open_checkpoint(each.sign(9, ()), [log.key.verifier_key]) for each in (log, fork(log, 5, 9))]
    witness.conflicts = [
        {**conflict(log, 9), "origin": "log.example/unknown"},
        {**conflict(log, 8), "root_hash": "no hash"},
        conflict(log, 9, bundle=same_size(*pair).format().decode()),
    ]
    async with bench(tmp_path, log) as one:
        await one.poll()
        assert await TipOffs(WITNESS, one.monitor, witness.fetch).round()
        assert one.monitor.branch(ID).convicted


async def test_a_head_whose_tile_is_missing_is_compared_later(tmp_path: Path) -> None:
    log, witness = grown(2000), Witness()
    witness.conflicts = [conflict(log, 1000)]
    async with bench(tmp_path, log, mirror_bytes=0) as one:
        await one.poll()
        tips = TipOffs(WITNESS, one.monitor, witness.fetch)
        assert await tips.round()
        assert (len(tips._open), await one.alarms()) == (1, [("mirror-full", True)])


async def test_of_logs_that_are_no_longer_followed_no_witness_is_brought_evidence(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    async with bench(tmp_path, log) as one:
        await convict(one, log)
        (kept,) = await one.monitor.store.evidence()
        await one.monitor.store.keep_evidence(replace(kept, id=bytes(32), origin="log.example/gone"))
        await one.monitor.store.keep_evidence(replace(kept, id=b"1" * 32, accused=WITNESSES[0].verifier_key.format()))
        await bearer(one, witness).round()
        assert witness.taken == [kept.bundle]
