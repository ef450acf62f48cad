"""A monitor as it runs: real HTTP on loopback, real files and database, a log in memory."""

import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE

import msgspec
import pytest
import trio

from gossip.envelope import Envelope, peer_id, seal
from runtime.client import Client
from runtime.clock import SystemClock
from runtime.errors import UsageError
from tests.e2e.monitors import POLL_SECONDS, Asker, create, killed, places, running, serving
from tests.fakes_log import WITNESSES, FakeLog, signer
from tlog.evidence import Evidence, verify_evidence
from tlog.proofs import verify_consistency
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64, parse_hash


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
    # The tile that tells is fetched from the log: before the answer is made, or the client asks again.
    assert alarms[0]["kind"] == "mirror-full"
    assert answer.status == 503 or msgspec.json.decode(answer.body)["verdict"] == "fork"


async def test_serving_needs_state_that_init_has_made(tmp_path: Path) -> None:
    async with serving(FakeLog()) as front:
        (place,) = await places(tmp_path, [front])
        with pytest.RaisesGroup(UsageError, flatten_subgroups=True):
            async with running(place):
                pass


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/gossip/v1/exchange", b"\x93\x01\x02\x03", 400, b"not an envelope of version 1"),
        ("/gossip/v1/exchange", b"\x00" * (1024 * 1024 + 1), 413, b"larger than 1048576 bytes"),
        ("/gossip/v1/exchange?wait=-1", b"", 400, b"wait is not a number"),
        ("/gossip/v1/exchange?wait=1e3", b"", 400, b"wait is not a number"),
        ("/v1/ask", b"nonsense", 400, b"not a checkpoint that the log signed"),
        ("/v1/ask", FakeLog([b"a"], key=signer("another")).sign(1, ()), 400, b"no trusted key signed"),
        ("/v1/ask", FakeLog([b"a"], key=signer("another")).sign(1), 400, b"signature is missing"),
        ("/v1/ask", FakeLog([b"a"]).sign(1) + b"\xe2\x80\x94 x aGVsbG93b3JsZA==\n" * 21, 400, b"more than 24"),
        ("/v1/ask", b"x" * (96 * 1024 + 1), 413, b"larger than 98304 bytes"),
        ("/v1/evidence/" + "0" * 64, None, 404, b"no evidence of this id"),
        ("/v1/evidence/..%2fdatabase", None, 404, b""),
        ("/v1/heads", b"", 405, b""),
        ("/nowhere", None, 404, b""),
    ],
)
async def test_what_nobody_should_send_is_refused_with_a_sentence(
    tmp_path: Path, path: str, body: bytes | None, status: int, says: bytes
) -> None:
    log = FakeLog()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            method = "GET" if body is None else "POST"
            answer = await client.fetch(method, ready.url + path, body=body or b"", cap=10_000, seconds=5)
    assert (answer.status, says in answer.body) == (status, True)


async def test_a_stranger_s_envelope_is_refused(tmp_path: Path) -> None:
    log = FakeLog()
    async with serving(log) as front, Client() as client:
        place, other = await places(tmp_path, [front, front])
        await create(place)
        async with running(place) as ready:
            stranger = signer("stranger")
            now_ms = SystemClock().now_ms()
            me, them = peer_id(stranger.verifier_key), peer_id(place.peer.verifier_key)
            sealed = seal(Envelope(me, them, now_ms, b"n" * 16, None, ()), stranger)
            url = f"{ready.url}/gossip/v1/exchange"
            refused = await client.fetch("POST", url, body=sealed, cap=1000, seconds=5)
            me = peer_id(other.peer.verifier_key)
            sealed = seal(Envelope(me, them, now_ms, b"n" * 16, None, ()), other.peer)
            taken = await client.fetch("POST", url, body=sealed, cap=10_000, seconds=5)
            again = await client.fetch("POST", url, body=sealed, cap=10_000, seconds=5)
            peers = await Asker(client).list(ready.url, "peers")
    assert (refused.status, taken.status, again.status) == (403, 200, 400)
    assert taken.headers["content-type"] == "application/vnd.sameview.gossip"
    assert peers[0]["heard_ms"] >= now_ms


async def test_the_operator_sees_health_and_metrics(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(5)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        async with running(place) as ready:
            await Asker(client).wait_for_size(ready.url, 5)
            answers = {
                path: await client.fetch("GET", f"{ready.operator_url}/{path}", cap=100_000, seconds=5)
                for path in ("healthz", "readyz", "metrics", "version")
            }
    assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    metrics = answers["metrics"].body.decode()
    assert 'sameview_monitor_size{origin="log.example/one"} 5.0' in metrics
    assert "sameview_monitor_dropped_messages 0.0" in metrics


def documented(schema: str) -> set[str]:
    """The required fields of a schema in the monitor's OpenAPI document."""
    text = (Path(__file__).parents[2] / "specs" / "openapi" / "monitor.yaml").read_text()
    whole = re.search(rf"^    {schema}:\n((?:      .*\n)+)", text, re.MULTILINE)
    assert whole is not None
    required = re.search(r"^      required:\s*(\[[^]]*\]|(?:- \w+\s*)+)", whole[1], re.MULTILINE)
    assert required is not None
    return set(re.findall(r"\w+", required[1]))


async def test_every_document_has_the_fields_that_are_documented(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(12)
    log.publish()
    async with serving(log) as front, Client() as client:
        place, _ = await places(tmp_path, [front, front])
        await create(place)
        async with running(place) as ready:
            asker = Asker(client)
            await asker.wait_for_size(ready.url, 12)
            liar = log.fork(8)
            liar.add(4, "other")
            answer = await asker.ask(ready.url, liar.sign(12, ()))
            schemas = {"logs": "Log", "heads": "Head", "alarms": "Alarm", "evidence": "Evidence", "peers": "Peer"}
            shown = {schema: (await asker.list(ready.url, key))[0] for key, schema in schemas.items()}
            shown["Pending"] = shown["Head"]["pending"][0]
    assert {schema: set(document) for schema, document in shown.items()} == {name: documented(name) for name in shown}
    assert set(answer) == {"verdict", "origin", "size", "frontier", "proof", "evidence", "watermark"}


async def test_a_monitor_that_nobody_can_dial_convicts_too(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(12)
    log.publish()
    async with serving(log) as front, Client() as client, AsyncExitStack() as stack:
        seen, hidden = await places(tmp_path, [front, front])
        seen.config.write_text(seen.config.read_text().replace(f'url = "{hidden.url}"\n', ""))
        hidden.config.write_text(
            hidden.config.read_text().replace("gossip_interval", "reachable = false\ngossip_interval")
        )
        asker = Asker(client)
        urls = []
        for place in (seen, hidden):
            await create(place)
            urls.append((await stack.enter_async_context(running(place))).url)
        for url in urls:
            await asker.wait_for_size(url, 12)
        liar = log.fork(8)
        liar.add(4, "other")
        await asker.ask(urls[0], liar.sign(12, ()))
        await asker.wait_until(urls[1], "evidence", bool)


SERVE = "import sys, pathlib; from monitor.__main__ import serve; sys.exit(serve(pathlib.Path(sys.argv[1])))"


async def test_a_monitor_that_is_killed_while_it_works_loses_nothing_and_forges_nothing(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(1000)
    log.publish()
    async with serving(log) as front, Client() as client:
        (place,) = await places(tmp_path, [front])
        await create(place)
        asker = Asker(client)
        command = [sys.executable, "-c", SERVE, str(place.config)]
        process = await trio.lowlevel.open_process(command, stdout=PIPE, stderr=DEVNULL)
        try:
            assert process.stdout is not None
            ready = msgspec.json.decode(await process.stdout.receive_some())
            await asker.wait_for_size(place.url, 1000)
            log.add(10_000)
            log.publish()
            # In the middle of fetching and hashing what came last.
            await trio.sleep(POLL_SECONDS)
        finally:
            process.kill()
            await process.wait()
        async with running(place) as last:
            head = await asker.wait_for_size(last.url, log.size)
    assert (ready["event"], ready["role"], ready["url"]) == ("ready", "monitor", place.url)
    assert (head["size"], head["root_hash"]) == (11_000, encode_base64(log.head().root_hash).decode())
