"""A monitor as it runs: real HTTP on loopback, real files and database, a log in memory."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from runtime.client import Client
from runtime.errors import UsageError
from tests.e2e.monitors import Asker, create, killed, places, running, serving
from tests.fakes_log import WITNESSES, FakeLog, signer
from tlog.evidence import Evidence, verify_evidence
from tlog.hashing import TreeHead
from tlog.proofs import verify_consistency
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import parse_hash


async def test_a_monitor_re_hashes_a_growing_log_and_signs_what_it_saw(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(300)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            await asker.wait_for_size(ready.url, 300)
            log.add(700)
            log.publish()
            head = await asker.wait_for_size(ready.url, 1000)
    note = open_checkpoint(str(head["note"]).encode(), [log.key.verifier_key, place.observer.verifier_key])
    assert (note.head, len(note.signatures), head["convicted"]) == (log.head(), 2, False)


async def test_a_monitor_tells_a_client_how_its_checkpoint_relates_to_what_everybody_sees(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(20)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            await asker.wait_for_size(ready.url, 20)
            same, prefix = await asker.ask(ready.url, log.sign(20, ())), await asker.ask(ready.url, log.sign(13, ()))
            stranger = FakeLog([b"x"], origin="log.example/other")
            unknown = await asker.ask(ready.url, stranger.sign())
            later = log.fork(20)
            later.add(5)
            ahead = await asker.ask(ready.url, later.sign(25, ()))
            liar = log.fork(10)
            liar.add(5, "other")
            fork = await asker.ask(ready.url, liar.sign(15, ()))
    answers = (same, prefix, unknown, ahead, fork)
    assert [one["verdict"] for one in answers] == ["same", "prefix", "unknown-origin", "ahead", "fork"]
    verify_consistency(log.head(13), log.head(20), [parse_hash(one.encode()) for one in prefix["proof"]])
    assert fork["evidence"]


async def test_a_forked_log_is_convicted_by_every_monitor_with_evidence_for_strangers(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(12)
    log.publish()
    async with serving(log) as front, serving(log) as victim_front, Client() as client, AsyncExitStack() as stack:
        fronts = [front, front, victim_front]
        found = await places(tmp_path, fronts)
        asker = Asker(client)
        urls = []
        for place in found:
            await create(place)
            urls.append((await stack.enter_async_context(running(place))).url)
        for url in urls:
            await asker.wait_for_size(url, 12)
        twin = log.fork(8)
        twin.add(3, "twin")
        twin.publish(witnesses=())
        victim_front.log = twin
        verdicts = [await asker.wait_until(url, "evidence", bool) for url in urls]
        heads = [(await asker.list(url, "heads"))[0] for url in urls]
        alarms = [await asker.list(url, "alarms") for url in urls]
        bundle = await client.fetch("GET", urls[0] + verdicts[0][0]["bundle"], cap=1_000_000, seconds=5)
        page = await client.fetch("GET", urls[0], cap=1_000_000, seconds=5)
    assert all(head["convicted"] for head in heads)
    assert len({verdict[0]["id"] for verdict in verdicts}) == 1
    assert all(one[0]["convicted_ms"] >= one[0]["first_seen_ms"] for one in alarms)
    conviction = verify_evidence(Evidence.parse(bundle.body), [log.key.verifier_key])
    assert conviction.id.hex() == verdicts[0][0]["id"]
    assert (found[0].folder / "data" / "evidence" / f"{conviction.id.hex()}.tlog-evidence").read_bytes() == bundle.body
    assert b"1 of 1 logs signed two histories" in page.body


async def test_a_monitor_that_was_killed_goes_on_where_its_disk_says(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(600)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        asker = Asker(client)
        async with killed(place) as ready:
            await asker.wait_for_size(ready.url, 600)
        # As after a crash in the middle of hashing: bytes behind the committed end.
        (mirror,) = [path for path in (place.folder / "data").iterdir() if len(path.name) == 64]
        with (mirror / "level-0").open("ab") as file:
            file.write(b"torn")
        log.asked.clear()
        log.add(100)
        log.publish()
        async with running(place) as ready:
            await asker.wait_for_size(ready.url, 700)
    assert {path for path in log.asked if "entries" in path} == {"tile/entries/002.p/188"}


async def test_a_head_without_quorum_is_not_the_view_of_a_monitor(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(10)
    log.publish(witnesses=WITNESSES[:1])
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            heads = await asker.wait_until(ready.url, "heads", lambda found: found[0]["pending"])
            assert (heads[0]["size"], heads[0]["note"], heads[0]["pending"][0]["size"]) == (0, None, 10)
            log.publish()
            await asker.wait_for_size(ready.url, 10)


async def test_entries_that_are_not_what_was_signed_raise_an_alarm_and_are_never_adopted(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(10)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            await asker.wait_for_size(ready.url, 10)
            log.add(5)
            log.publish()
            right = log.entries[12]
            log.entries[12] = b"another"
            alarms = await asker.wait_until(ready.url, "alarms", bool)
            assert (alarms[0]["kind"], (await asker.list(ready.url, "heads"))[0]["size"]) == ("wrong-entries", 10)
            log.entries[12] = right
            await asker.wait_for_size(ready.url, 15)
            await asker.wait_until(ready.url, "alarms", lambda found: found[0]["cleared_ms"] is not None)


async def test_a_monitor_keeps_the_upper_levels_when_level_0_is_full(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(1000)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front], extra="mirror_bytes = 9000\n")
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            await asker.wait_for_size(ready.url, 1000)
            for size in (1100, 1500):
                log.add(size - log.size)
                log.publish()
                await asker.wait_for_size(ready.url, size)
            alarms = await asker.list(ready.url, "alarms")
        (mirror,) = [path for path in (place.folder / "data").iterdir() if len(path.name) == 64]
        assert (mirror / "level-0").stat().st_size == 256 * 32
        async with running(place) as ready:
            liar = log.fork(1010)
            liar.add(10, "other")
            note = liar.sign(1020, ())
            answer = await client.fetch("POST", f"{ready.url}/v1/ask", body=note, cap=1000, seconds=5)
            await asker.wait_until(ready.url, "evidence", bool)
    assert (alarms[0]["kind"], answer.status) == ("mirror-full", 503)


async def test_serving_needs_state_that_init_has_made(tmp_path: Path) -> None:
    async with serving(FakeLog()) as front:
        (place,) = await places(tmp_path, [front])
        with pytest.RaisesGroup(UsageError, flatten_subgroups=True):
            async with running(place):
                pass


async def test_a_wrong_envelope_is_refused_with_a_sentence(tmp_path: Path) -> None:
    log = FakeLog()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            url = f"{ready.url}/gossip/v1/exchange"
            answer = await client.fetch("POST", url, body=b"\x93\x01\x02\x03", cap=1000, seconds=5)
            large = await client.fetch("POST", url, body=b"\x00" * (1024 * 1024 + 1), cap=1000, seconds=5)
    assert (answer.status, answer.body) == (400, b"not an envelope of version 1: an array of eight fields\n")
    assert large.status == 413


def test_the_fakes_are_what_they_say() -> None:
    log = FakeLog([b"a", b"b", b"c"])
    assert log.head(0) == TreeHead(0, FakeLog().head().root_hash)
    assert signer("x").verifier_key != signer("y").verifier_key
