"""Evidence that is brought to witnesses, and tip-offs that come from them; each witness is a function."""

import json
from pathlib import Path

import pytest
import trio

from gossip.core import origin_id
from monitor.config import NamedWitness
from monitor.witnesses import MAX_REFUSALS, Bearer, TipOffs
from runtime.client import Failure, FetchError, Response
from tests.fakes_log import ORIGIN, FakeLog
from tests.unit.test_monitor_node import ID, Bench, bench, fork, grown, opened, settings
from tlog.text import encode_base64

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
