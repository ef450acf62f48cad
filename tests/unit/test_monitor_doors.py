"""What strangers bring to a monitor: what they are told, and that nothing of theirs makes it grow."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.app import monitor_app
from runtime.client import Response
from runtime.metrics import Metrics
from runtime.visitors import Rate, Visitors, watch_visitors
from tests.fakes_log import WITNESSES, FakeLog, signer
from tests.served import Served, served
from tests.unit.test_monitor_node import ID, OBSERVER, Bench, bench, fork, grown, settings, views
from tlog.evidence import MAX_EVIDENCE_BYTES, same_size
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES
from tlog.opening import TruncatedProof
from tlog.proofs import prove_inclusion, verify_consistency
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import parse_hash
from tlog.tlog_proof import MAX_PROOF_BYTES, TlogProof

FREE = Rate(1e9, 10**9)


@asynccontextmanager
async def door(folder: Path, log: FakeLog, visitors: Visitors | None = None) -> AsyncIterator[tuple[Bench, Served]]:
    visitors = Visitors(FREE, FREE) if visitors is None else visitors
    async with bench(folder, log) as one:
        await one.poll()
        shown = views(one, settings(folder, log))
        async with served(monitor_app("m1", one.monitor, shown, one.clock, visitors)) as web:
            yield one, web


def said(answer: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def rows(one: Bench) -> int:
    from monitor.tables import HEAD

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(select(func.count()).select_from(HEAD))).scalar_one()

    return await one.monitor.store._database.read(work)


def opening(log: FakeLog, index: int, note: bytes) -> bytes:
    proof = TlogProof(index, tuple(prove_inclusion(index, log.size, log.node)), note)
    return TruncatedProof.of(proof, log.leaves[index]).format()


async def test_whoever_reads_too_much_is_told_to_come_later_and_counted(tmp_path: Path) -> None:
    readers = Visitors(Rate(0.001, 2), FREE)
    async with bench(tmp_path, grown(3)) as one:
        shown = views(one, settings(tmp_path, grown(3)))
        async with served(monitor_app("m1", one.monitor, shown, one.clock, readers=readers)) as web:
            for path in ("evidence", "alarms", "heads", "distrust", "evidence/" + "0" * 64):
                answers = [await web.get(f"/v1/{path}") for _ in range(3)]
                assert answers[-1].status == 429
                assert "retry-after" in answers[-1].headers
    assert readers.refused == {"address": 0, "everybody": 13, "room": 0}
    metrics = Metrics()
    watch_visitors(metrics, {"readers": readers})
    assert b'monitor_refused_visitors_total{group="readers",reason="everybody"} 13.0' in metrics.exposition()


# Asking.


async def test_an_older_head_is_a_prefix_and_the_proof_leads_to_the_frontier(tmp_path: Path) -> None:
    log = grown(30)
    async with door(tmp_path, log) as (_, web):
        answer = said(await web.post("/v1/ask", log.sign(12)))
        assert (answer["verdict"], answer["size"]) == ("prefix", 30)
        frontier = open_checkpoint(answer["frontier"].encode(), [log.key.verifier_key, OBSERVER.verifier_key])
        assert frontier.signed_by(OBSERVER.verifier_key)
        path = [parse_hash(value.encode()) for value in answer["proof"]]
        verify_consistency(log.head(12), frontier.head, path)


async def test_questions_about_the_branch_write_nothing_down(tmp_path: Path) -> None:
    log = grown(30)
    async with door(tmp_path, log) as (one, web):
        before = await rows(one)
        for size in range(31):
            for time in (1, 2):
                assert said(await web.post("/v1/ask", log.sign(size, time=time)))["verdict"] in ("same", "prefix")
        assert await rows(one) == before


async def test_a_stale_monitor_still_proves_what_it_has(tmp_path: Path) -> None:
    log = grown(30)
    async with door(tmp_path, log) as (one, web):
        one.clock.advance(10_000)
        answer = said(await web.post("/v1/ask", log.sign(12)))
        assert (answer["verdict"], answer["proof"] != []) == ("stale", True)


async def test_of_what_is_not_the_log_s_nothing_is_looked_at(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        stranger = FakeLog(log.entries, key=signer("another"))
        for body in (b"", b"EVIL", bytes(MAX_NOTE_BYTES), stranger.sign(5), stranger.sign(5, WITNESSES)):
            answer = await web.post("/v1/ask", body)
            assert (answer.status, b"EVIL" in answer.body) == (400, False)
        assert said(await web.post("/v1/ask", FakeLog([b"a"], origin="log.example/two").sign(1))) == {
            "verdict": "unknown-origin"
        }
        assert await rows(one) == 1


@pytest.mark.parametrize(
    ("path", "cap"),
    [("/v1/ask", MAX_NOTE_BYTES), ("/v1/submit", MAX_PROOF_BYTES), ("/v1/evidence", MAX_EVIDENCE_BYTES)],
)
async def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path, path: str, cap: int) -> None:
    async with door(tmp_path, grown(3)) as (_, web):
        assert (await web.post(path, bytes(cap + 1))).status == 413
        assert (await web.post(path, bytes(cap))).status == 400


async def test_a_flood_is_told_when_to_come_back_and_costs_nothing(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log, Visitors(Rate(0.01, 3), FREE)) as (one, web):
        answers = [await web.post(path, log.sign(5)) for path in ("/v1/ask", "/v1/submit", "/v1/evidence") * 2]
        assert [answer.status for answer in answers] == [200, 400, 400, 429, 429, 429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await web.get("/v1/heads")).status == 200
        assert await rows(one) == 1


# Submitting.


async def test_a_proof_is_a_question_about_its_checkpoint(tmp_path: Path) -> None:
    log = grown(300)
    async with door(tmp_path, log) as (one, web):
        proof = TlogProof(7, tuple(prove_inclusion(7, 300, log.node)), log.sign(300)).format()
        assert said(await web.post("/v1/submit", proof))["verdict"] == "same"
        assert said(await web.post("/v1/submit", opening(log, 7, log.sign(300))))["verdict"] == "same"
        assert await rows(one) == 1


async def test_an_opening_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    log = grown(300)
    async with door(tmp_path, log) as (_, web):
        found = TruncatedProof.parse(opening(log, 7, log.sign(300)))
        wrong = TruncatedProof(found.level, found.index, Hash(bytes(32)), found.path, found.note)
        assert (await web.post("/v1/submit", wrong.format())).status == 422
        for body in (b"", b"tlog-opening@v1\n", b"tlog-opening@v1\nlevel 8\n\n"):
            assert (await web.post("/v1/submit", body)).status == 400


# Evidence.


async def test_evidence_about_a_stranger_is_not_kept(tmp_path: Path) -> None:
    async with door(tmp_path, grown(9)) as (one, web):
        for key, origin in ((signer("log.example/two"), "log.example/two"), (signer("another"), "log.example/one")):
            pair = [FakeLog([entry], origin=origin, key=key).sign(1, ()) for entry in (b"a", b"b")]
            bundle = same_size(*(open_checkpoint(note, [key.verifier_key]) for note in pair)).format()
            answer = await web.post("/v1/evidence", bundle)
            verdict = "unknown-origin" if origin.endswith("two") else "unknown-key"
            assert (answer.status, said(answer)) == (202, {"verdict": verdict})
        assert await one.monitor.store.evidence() == []


async def test_evidence_that_does_not_hold_is_refused(tmp_path: Path) -> None:
    log = grown(9)
    pair = [open_checkpoint(each.sign(9, ()), [log.key.verifier_key]) for each in (log, fork(log, 5, 9))]
    good = same_size(*pair).format()
    header, _, notes = good.partition(b"\n\n")
    first, _, second = notes.partition(b"--\n")
    async with door(tmp_path, log) as (one, web):
        swapped = header + b"\n\n" + second + b"--\n" + first
        forged = good.replace(b"\n9\n", b"\n8\n")
        assert [(await web.post("/v1/evidence", body)).status for body in (swapped, forged, good[:-3], b"")] == [
            422,
            422,
            400,
            400,
        ]
        assert await one.monitor.store.evidence() == []


# What relying parties poll.


@pytest.mark.parametrize("path", ["/v1/evidence", "/v1/distrust"])
async def test_whoever_has_it_already_is_told_so(tmp_path: Path, path: str) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        tag = (await web.get(path)).headers["etag"]

        async def again(tag: str) -> Response:
            headers = {"if-none-match": tag}
            return await web.client.fetch("GET", f"{web.url}{path}", cap=9999, seconds=20.0, headers=headers)

        for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await again(asked)
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
        assert (await again('"other"')).status == 200
        await one.monitor.submit(ID, fork(log, 5, 9).sign(7, ()))
        answer = await again(tag)
        assert (answer.status, answer.headers["etag"] != tag) == (200, True)


async def test_says_from_which_size_on_to_distrust_a_log(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        assert said(await web.get("/v1/distrust")) == {"logs": [], "cosigners": []}
        await one.monitor.submit(ID, fork(log, 5, 9).sign(7, ()))
        ids = [id_.hex() for id_ in one.monitor.branch(ID).convicted]
        logs = said(await web.get("/v1/distrust"))["logs"]
        assert logs == [{"origin": log.origin, "since_size": 7, "evidence": ids}]


async def test_without_testimony_there_is_an_empty_list(tmp_path: Path) -> None:
    async with door(tmp_path, grown(3)) as (_, web):
        assert said(await web.get("/v1/testimony")) == {"testimony": []}
