"""Convictions that strangers bring to a monitor over HTTP: kept, sent on, told everybody, and never without bound."""

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

import gossip.testimony as hearsay
from gossip.core.state import MAX_EVIDENCE, MAX_JUDGED
from gossip.messages import EvidenceBundle
from gossip.messages import TestimonyNote as Heard
from monitor.app import monitor_app
from monitor.doors import MAX_UNREAD_BYTES
from monitor.tables import EVIDENCE, HEAD
from monitor.testify import sign_testimony
from runtime.client import Response
from runtime.visitors import Visitors
from tests.evidence_cases import note, record
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog
from tests.served import served
from tests.unit.test_monitor_doors import FREE, door, opening, said
from tests.unit.test_monitor_node import ID, PEER_KEY, Bench, fork, grown, opened, settings, views
from tlog.evidence import (
    MAX_EVIDENCE_BYTES,
    Evidence,
    EvidenceType,
    cosigner_same_size,
    rotation,
    same_size,
    verify_evidence,
)
from tlog.proofs import prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import encode_base64
from tlog.tlog_proof import TlogProof

W1 = WITNESSES[0]


def head(log: FakeLog, size: int, **how: bytes) -> SignedCheckpoint:
    extensions = tuple(how.values())
    return open_checkpoint(log.sign(size, (), extensions=extensions), [log.key.verifier_key])


def bundle(log: FakeLog, size: int = 9, what: str = "twin", **how: bytes) -> bytes:
    """Evidence of a fork of this size; ``what`` names the other history."""
    twin = log.fork(5)
    twin.add(size - 5, what)
    pair = head(log, size, **how), head(twin, size, **how)
    return same_size(*pair).format()


async def rows(one: Bench) -> dict[str, int]:
    async def work(connection: AsyncConnection) -> dict[str, int]:
        counts = {table.name: select(func.count()).select_from(table) for table in (EVIDENCE, HEAD)}
        return {name: (await connection.execute(count)).scalar_one() for name, count in counts.items()}

    return await one.monitor.store._database.read(work)


# Evidence.


async def test_evidence_that_holds_convicts_and_is_listed_and_told_to_peers(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        await one.receive()  # now the peer is a link
        await one.sent()
        brought = bundle(log)
        answer = await web.post("/v1/evidence", brought)
        conviction = verify_evidence(Evidence.parse(brought), [log.key.verifier_key])
        id_ = conviction.id.hex()
        assert (answer.status, said(answer)) == (
            200,
            {
                "verdict": "convicted",
                "id": id_,
                "type": "same-size",
                "origin": ORIGIN,
                "accused": log.key.verifier_key.format(),
                "kept": True,
            },
        )
        (listed,) = said(await web.get("/v1/evidence"))["evidence"]
        assert (listed["id"], listed["type"], listed["origin"]) == (id_, "same-size", ORIGIN)
        assert (await web.get(listed["bundle"])).body == brought
        assert said(await web.get("/v1/heads"))["heads"][0]["convicted"] is True
        assert [one.bundle for one in await one.sent() if isinstance(one, EvidenceBundle)] == [brought]


def two_rotations(log: FakeLog) -> bytes:
    """Evidence of two rotation records of one number."""
    one, other = (note(record(new), log.key) for new in ("one", "other"))
    return rotation(one, other, log.key.verifier_key).format()


@pytest.mark.parametrize("make", [bundle, two_rotations], ids=["of two trees", "of two rotations"])
async def test_evidence_is_there_after_a_restart(tmp_path: Path, make: Callable[[FakeLog], bytes]) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (_, web):
        tag = (await web.get("/v1/distrust")).headers["etag"]
        assert said(await web.post("/v1/evidence", make(log)))["kept"]
        listed, distrusted = await web.get("/v1/evidence"), await web.get("/v1/distrust")
    chosen = settings(tmp_path, log)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(opened(chosen, log))
        web = await stack.enter_async_context(served(monitor_app("m1", one.monitor, views(one, chosen), one.clock)))
        assert [(await web.get(f"/v1/{path}")).body for path in ("evidence", "distrust")] == [
            listed.body,
            distrusted.body,
        ]
        # Who polled before the restart is not sent the same again.
        assert (await web.get("/v1/distrust")).headers["etag"] == distrusted.headers["etag"] != tag


async def test_evidence_that_is_brought_again_changes_nothing(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        await one.receive()  # now the peer is a link
        first = said(await web.post("/v1/evidence", bundle(log)))
        tag = (await web.get("/v1/evidence")).headers["etag"]
        await one.sent()
        again = said(await web.post("/v1/evidence", bundle(log)))
        assert (again, (await web.get("/v1/evidence")).headers["etag"], await one.sent()) == (first, tag, [])


async def test_of_one_statement_in_many_spellings_one_is_kept(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        for number in range(MAX_JUDGED + 9):
            answer = said(await web.post("/v1/evidence", bundle(log, line=b"spelling %d" % number)))
            assert (answer["verdict"], answer["kept"]) == ("convicted", True)
        assert await rows(one) == {"evidence": 1, "head": 1}
        assert len(one.monitor.gossip.state.judged) <= MAX_JUDGED
        assert len(list((tmp_path / "data" / "evidence").iterdir())) == 1


async def test_of_many_forks_a_few_are_kept_and_the_others_are_told_so(tmp_path: Path) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):
        answers = [
            said(await web.post("/v1/evidence", bundle(log, what=f"twin {number}"))) for number in range(MAX_JUDGED + 9)
        ]
        assert [answer["kept"] for answer in answers] == [True] * MAX_EVIDENCE + [False] * (MAX_JUDGED + 5)
        assert {answer["verdict"] for answer in answers} == {"convicted"}
        assert await rows(one) == {"evidence": MAX_EVIDENCE, "head": 1}
        assert len(one.monitor.gossip.state.judged) <= MAX_JUDGED
        assert len(list((tmp_path / "data" / "evidence").iterdir())) == MAX_EVIDENCE
        kept = {one["id"] for one in said(await web.get("/v1/evidence"))["evidence"]}
        assert kept == {answer["id"] for answer in answers if answer["kept"]}


async def test_evidence_in_many_pieces_counts_and_half_of_it_keeps_nobody_waiting(tmp_path: Path) -> None:
    log = grown(9)
    brought = bundle(log)
    start = b"POST /v1/evidence HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % len(brought)
    async with door(tmp_path, log) as (one, web):
        port = int(web.url.rpartition(":")[2])
        slow, lost = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        async with slow, lost:
            await slow.send_all(start + brought[:100])
            await lost.send_all(start + brought[:-1])
            assert said(await web.post("/v1/ask", log.sign(9)))["verdict"] == "same"
            await lost.aclose()
            assert await rows(one) == {"evidence": 0, "head": 1}
            for piece in (brought[100:300], brought[300:]):
                await slow.send_all(piece)
            with trio.fail_after(20):
                assert (await slow.receive_some()).startswith(b"HTTP/1.1 200")
        assert await rows(one) == {"evidence": 1, "head": 1}


async def test_large_bodies_that_never_end_leave_room_for_small_ones(tmp_path: Path) -> None:
    log = grown(9)
    start = b"POST /v1/evidence HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % MAX_EVIDENCE_BYTES
    refused, told = trio.open_memory_channel[bytes](1)

    async def begin(port: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(start)
            await refused.send(await stream.receive_some())

    visitors = Visitors(FREE, FREE)
    async with door(tmp_path, log, visitors) as (_, web), trio.open_nursery() as nursery:
        for _ in range(MAX_UNREAD_BYTES // MAX_EVIDENCE_BYTES + 1):
            nursery.start_soon(begin, int(web.url.rpartition(":")[2]))
        with trio.fail_after(20):
            answer = await told.receive()
        assert answer.startswith(b"HTTP/1.1 429")
        assert b"retry-after: 2\r\n" in answer
        assert visitors.refused["room"] == 1
        assert said(await web.post("/v1/evidence", bundle(log)))["kept"] is True
        nursery.cancel_scope.cancel()


async def test_a_body_in_chunks_is_cut_off_when_it_is_too_large(tmp_path: Path) -> None:
    async with door(tmp_path, grown(3)) as (one, web):
        stream = await trio.open_tcp_stream("127.0.0.1", int(web.url.rpartition(":")[2]))
        async with stream:
            await stream.send_all(b"POST /v1/evidence HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n")
            piece = bytes(1 << 14)
            for _ in range(MAX_EVIDENCE_BYTES // len(piece) + 1):
                await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
            with trio.fail_after(20):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 413")
        assert await rows(one) == {"evidence": 0, "head": 1}


# Openings.


@pytest.mark.parametrize("at", [7, 270])
async def test_an_opening_of_a_private_fork_larger_than_the_branch_convicts_at_once(tmp_path: Path, at: int) -> None:
    log = grown(600)
    twin = log.fork(at)
    twin.add(900 - at, "twin")
    async with door(tmp_path, log) as (one, web):
        answer = said(await web.post("/v1/submit", opening(twin, at, twin.sign(900, ()))))
        (held,) = one.monitor.gossip.state.evidence.values()
        assert held.conviction.type is EvidenceType.OPENINGS
        assert (answer["verdict"], answer["evidence"]) == ("fork", [held.conviction.id.hex()])
        (listed,) = said(await web.get("/v1/evidence"))["evidence"]
        assert listed["type"] == "openings"
        fetched = (await web.get(listed["bundle"])).body
        assert verify_evidence(Evidence.parse(fetched), [log.key.verifier_key]).id == held.conviction.id


async def test_an_opening_of_a_larger_tree_that_shows_the_same_entries_convicts_nobody(tmp_path: Path) -> None:
    log = grown(600)
    later = log.fork(600)
    later.add(300)
    async with door(tmp_path, log) as (one, web):
        answer = said(await web.post("/v1/submit", opening(later, 7, later.sign(900, ()))))
        assert (answer["verdict"], answer["evidence"]) == ("ahead", [])
        assert await rows(one) == {"evidence": 0, "head": 2}


async def test_an_opening_beyond_the_branch_decides_nothing_yet(tmp_path: Path) -> None:
    log = grown(600)
    twin = log.fork(520)
    twin.add(380, "twin")
    async with door(tmp_path, log) as (one, web):
        answer = said(await web.post("/v1/submit", opening(twin, 700, twin.sign(900, ()))))
        assert (answer["verdict"], await rows(one)) == ("ahead", {"evidence": 0, "head": 2})


async def test_a_proof_whose_checkpoint_forks_convicts(tmp_path: Path) -> None:
    log = grown(30)
    twin = fork(log, 8, 20)
    async with door(tmp_path, log) as (_, web):
        proof = TlogProof(12, tuple(prove_inclusion(12, 20, twin.node)), twin.sign(20, ())).format()
        answer = said(await web.post("/v1/submit", proof))
        (listed,) = said(await web.get("/v1/evidence"))["evidence"]
        assert (answer["verdict"], answer["evidence"]) == ("fork", [listed["id"]])


# What relying parties poll.


@pytest.mark.parametrize("path", ["/v1/evidence", "/v1/distrust"])
async def test_only_a_conviction_changes_what_is_polled(tmp_path: Path, path: str) -> None:
    log = grown(9)
    async with door(tmp_path, log) as (one, web):

        async def polled(tag: str) -> Response:
            headers = {"if-none-match": tag}
            return await web.client.fetch("GET", f"{web.url}{path}", cap=99_999, seconds=20.0, headers=headers)

        tag = (await web.get(path)).headers["etag"]
        log.add(3)
        log.publish()
        await one.poll()
        assert (await polled(tag)).status == 304
        await web.post("/v1/evidence", bundle(log))
        news = await polled(tag)
        assert (news.status, news.headers["etag"] != tag) == (200, True)
        assert (await polled(news.headers["etag"])).status == 304


def evidence_files(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.rglob("*.tlog-evidence"))


async def test_filling_all_places_with_large_trees_does_not_keep_smaller_ones_trusted(tmp_path: Path) -> None:
    log = grown(30)
    async with door(tmp_path, log) as (one, web):
        ids = {size: said(await web.post("/v1/evidence", bundle(log, size)))["id"] for size in (30, 29, 28, 27, 10)}
        (distrusted,) = said(await web.get("/v1/distrust"))["logs"]
        assert distrusted == {"origin": ORIGIN, "since_size": 10, "evidence": sorted(ids[n] for n in (29, 28, 27, 10))}
        assert (await web.get(f"/v1/evidence/{ids[30]}")).status == 404
        kept = evidence_files(tmp_path)
        assert kept == distrusted["evidence"]
        assert sorted(one.monitor.branch(ID).convicted) == [bytes.fromhex(id_) for id_ in kept]


async def test_distrust_begins_at_the_smallest_size_and_names_cosigners_apart(tmp_path: Path) -> None:
    log = grown(9)
    twin = fork(log, 5, 9)
    one, other = (open_checkpoint(each.sign(9, (W1,)), [W1.verifier_key]) for each in (log, twin))
    of_witness = cosigner_same_size(one, other, W1.verifier_key).format()
    async with door(tmp_path, log) as (_, web):
        ids = [said(await web.post("/v1/evidence", one))["id"] for one in (bundle(log, 9), bundle(log, 7), of_witness)]
        assert said(await web.get("/v1/distrust")) == {
            "logs": [{"origin": ORIGIN, "since_size": 7, "evidence": sorted(ids[:2])}],
            "cosigners": [{"vkey": W1.verifier_key.format(), "origin": ORIGIN, "since_size": 9, "evidence": ids[2:]}],
        }


async def test_a_peer_s_testimony_is_shown_as_it_was_signed_and_convicts_nobody(tmp_path: Path) -> None:
    log = grown(9)
    later = log.fork(9)
    later.add(5)
    first, last = 1_700_000_000, 1_700_000_900
    unserved = hearsay.Testimony(ORIGIN, hearsay.UNSERVED, 14, later.head().root_hash, first, last, 31, "eu")
    note = sign_testimony(unserved, PEER_KEY)
    async with door(tmp_path, log) as (one, web):
        await one.monitor.submit(ID, later.sign(14, ()))
        assert await one.receive(Heard(note)) == []
        assert said(await web.get("/v1/testimony"))["testimony"] == [
            {
                "origin": ORIGIN,
                "kind": "unserved",
                "size": 14,
                "root_hash": encode_base64(later.head().root_hash).decode(),
                "first_seen": first,
                "last_tried": last,
                "tries": 31,
                "vantage": "eu",
                "peer": "m2",
                "note": note.decode(),
            }
        ]
        assert json.loads((await web.get("/v1/distrust")).body) == {"logs": [], "cosigners": []}
