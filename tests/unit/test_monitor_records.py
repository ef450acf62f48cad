"""What the archive and the scores answer over HTTP, and what hour after hour is counted of witnesses."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from starlette.applications import Starlette
from trio.testing import MockClock

from monitor.alarms.kinds import KINDS
from monitor.archive import CLIENT
from monitor.marks import Outcome
from monitor.records import AT_ONCE, Records
from monitor.samples import DAY_MS, HOUR_MS
from monitor.scores import Scores
from monitor.tables import METADATA
from runtime.database import open_database
from tests.fakes_log import WITNESSES, FakeLog
from tests.served import Served, served
from tests.unit.test_monitor_node import ID, fork, grown
from tests.unit.test_monitor_sentry import ORIGIN, Post, configured, watching
from tlog.scorecard import verify_scorecards
from tlog.signed_checkpoint import open_checkpoint

ROOT = Path(__file__).parents[2]
T = 1_700_000_000_000 - 1_700_000_000_000 % HOUR_MS


@asynccontextmanager
async def asked(folder: Path, log: FakeLog, steady: MockClock) -> AsyncIterator[tuple[Post, Served]]:
    async with watching(configured(folder, log), log, steady) as post:
        sentry = post.parts.sentry
        records = Records(sentry.settings, sentry.archive, sentry.scores, post.clock)
        async with served(Starlette(routes=records.routes())) as server:
            yield post, server


# History.


async def test_what_somebody_saw_at_a_time_is_asked_over_http(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with asked(tmp_path, log, mock_clock) as (post, server):
        await post.poll()
        then = post.clock.now_ms()
        post.pass_(100)
        log.add(4)
        log.publish(time=post.clock.now())
        await post.poll()
        late = msgspec.json.decode((await server.get(f"/v1/history?origin={ORIGIN}")).body)
        early = msgspec.json.decode((await server.get(f"/v1/history?origin={ORIGIN}&at={then + 1}")).body)
        assert [(seen["who"], seen["size"]) for seen in late["sightings"]] == [("log", 9)]
        (seen,) = early["sightings"]
        assert (seen["who"], seen["size"], seen["first_ms"], early["next"]) == ("log", 5, then, None)
        assert open_checkpoint(seen["note"].encode(), [log.key.verifier_key]).size == 5


async def test_one_viewers_past_is_read_in_pages(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(1)
    async with asked(tmp_path, log, mock_clock) as (post, server):
        for _ in range(7):
            post.pass_(10)
            log.add(1)
            log.publish(time=post.clock.now())
            await post.poll()
        sizes: list[int] = []
        path = f"/v1/history?origin={ORIGIN}&who=log&limit=3"
        while path:
            page = msgspec.json.decode((await server.get(path)).body)
            sizes += [seen["size"] for seen in page["sightings"]]
            path = f"/v1/history?origin={ORIGIN}&who=log&limit=3&before={page['next']}" if page["next"] else ""
        assert sizes == list(range(8, 1, -1))


@pytest.mark.parametrize(
    "query",
    [
        "",
        "origin=",
        "who=log",
        "origin=a&at=x",
        "origin=a&before=-1",
        "origin=a&limit=1e3",
        "origin=a&who=" + "w" * 999,
    ],
)
async def test_a_question_that_is_none_is_refused(tmp_path: Path, mock_clock: MockClock, query: str) -> None:
    async with asked(tmp_path, grown(1), mock_clock) as (_, server):
        answer = await server.get(f"/v1/history?{query}")
        assert answer.status == (200 if query == "origin=" else 400)


async def test_who_asks_while_many_ask_is_told_to_come_later(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(1)
    async with watching(configured(tmp_path, log), log, mock_clock) as post:
        sentry = post.parts.sentry
        records = Records(sentry.settings, sentry.archive, sentry.scores, post.clock)
        async with served(Starlette(routes=records.routes())) as server:
            await post.poll()
            records._asking = AT_ONCE
            busy = await server.get(f"/v1/history?origin={ORIGIN}")
            assert (busy.status, busy.headers["retry-after"]) == (429, "1")
            records._asking -= 1
            assert [(await server.get(f"/v1/history?origin={ORIGIN}")).status for _ in range(3)] == [200] * 3


async def test_a_log_that_nobody_showed_has_an_empty_history(tmp_path: Path, mock_clock: MockClock) -> None:
    async with asked(tmp_path, grown(1), mock_clock) as (_, server):
        answer = msgspec.json.decode((await server.get("/v1/history?origin=another&at=9999999999999999999")).body)
        assert (answer["sightings"], answer["at_ms"]) == ([], 2**63 - 1)


async def test_what_a_client_shows_is_archived_only_where_it_is_not_on_the_tree(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    log = grown(9)
    async with asked(tmp_path, log, mock_clock) as (post, _):
        await post.poll()
        await post.parts.monitor.submit(ID, fork(log, 9, 12).sign(12, ()), CLIENT)
        await post.parts.monitor.submit(ID, b"no note", CLIENT)
        found = await post.parts.sentry.archive.history(ORIGIN, post.clock.now_ms(), CLIENT)
        assert [seen.checkpoint.size for seen in found] == [12]


# Scorecards.


@asynccontextmanager
async def scores(folder: Path, *, create: bool = True, now_ms: int = T) -> AsyncIterator[Scores]:
    async with open_database(folder / "scores.sqlite", METADATA, create=create) as database:
        found = Scores(database)
        await found.load(now_ms)
        yield found


async def windows(one: Scores, now_ms: int) -> list[dict[str, object]]:
    document = msgspec.json.decode(await one.document("m1", {"w": ["w+1"]}, now_ms))
    (card,) = document["witnesses"]
    assert (document["monitor"], document["time"], card["name"], card["vkeys"]) == ("m1", now_ms // 1000, "w", ["w+1"])
    found: list[dict[str, object]] = card["windows"]
    return found


async def test_scorecards_are_served_signed(tmp_path: Path, mock_clock: MockClock) -> None:
    log = grown(5)
    async with asked(tmp_path, log, mock_clock) as (post, server):
        for _ in range(4):
            post.cosign(*WITNESSES)
            await post.watch(30)
        signed = (await server.get("/v1/scorecards")).body
        document = msgspec.json.decode(verify_scorecards(signed, post.parts.sentry.settings.peer_key.verifier_key))
        assert document["monitor"] == "monitor.example/m1"
        assert [card["name"][-2:] for card in document["witnesses"]] == ["w1", "w2", "w3"]
        assert {card["windows"][0]["uptime"] for card in document["witnesses"]} == {1.0}


async def test_what_was_counted_falls_out_of_the_windows_one_after_the_other(tmp_path: Path) -> None:
    async with scores(tmp_path) as one:
        one.behind("w", 40, T)
        await one.flush(T)
        samples = [
            [window["lag"]["samples"] for window in await windows(one, T + days * DAY_MS)]  # type: ignore[index]
            for days in (0, 2, 8, 31, 32)
        ]
        assert samples == [[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


async def test_a_restart_goes_on_counting_the_hour_and_looks_only_count_once(tmp_path: Path) -> None:
    async with scores(tmp_path) as one:
        one.looked("w", "log", {Outcome.HEARD: 3, Outcome.UNREACHABLE: 1}, T)
        one.looked("w", "log", {Outcome.HEARD: 4, Outcome.UNREACHABLE: 1}, T + 60_000)
        one.looked("w", "other log", {Outcome.UNCHANGED: 2}, T + 60_000)
        await one.flush(T + 60_000)
    async with scores(tmp_path, create=False, now_ms=T + 120_000) as one:
        one.looked("w", "log", {Outcome.HEARD: 1}, T + 120_000)
        (window, *_) = await windows(one, T + 180_000)
        assert (window["looks"], window["answered"], window["uptime"]) == (8, 7, 0.875)
        assert window["outcomes"] == {
            "heard": 5,
            "unchanged": 2,
            "absent": 0,
            "unreachable": 1,
            "refused": 0,
            "malformed": 0,
        }


async def test_lag_and_clock_are_told_as_they_were(tmp_path: Path) -> None:
    async with scores(tmp_path) as one:
        for seconds in range(100):
            one.behind("w", seconds, T)
        one.behind("w", None, T)
        for hour, ahead in ((0, -3), (0, 2), (1, 7)):
            one.stated("w", T // 1000 + hour * 3600 + ahead, T + hour * HOUR_MS)
        (window, *_) = await windows(one, T + HOUR_MS)
        assert window["lag"] == {"samples": 100, "unheard": 1, "p50": 48, "p90": 88, "p99": 96, "p100": 96}
        assert window["clock"] == {"statements": 3, "ahead_least": 2, "ahead_most": 7}


async def test_of_a_witness_nobody_counted_nothing_is_said(tmp_path: Path) -> None:
    async with scores(tmp_path) as one:
        (window, *_) = await windows(one, T)
        assert (window["since"], window["uptime"], window["lag"]["p50"], window["clock"]["ahead_most"]) == (  # type: ignore[index]
            *(None, None, None, None),
        )


async def test_hours_beyond_the_longest_window_are_forgotten(tmp_path: Path) -> None:
    async with scores(tmp_path) as one:
        one.behind("w", 1, T)
        await one.flush(T)
        await one.flush(T + 32 * DAY_MS)
        assert await one._since(0) == []


# Documents.


def test_the_documents_name_every_kind_of_alarm() -> None:
    schema = (ROOT / "specs/openapi/monitor.yaml").read_text().partition("\n    Alarm:")[2].partition("origin:")[0]
    assert set(re.findall(r"^ {12}- (\S+)$", schema, re.MULTILINE)) == set(KINDS)
    manual = (ROOT / "docs/monitor.md").read_text()
    assert [kind for kind in KINDS if f"| `{kind}` |" not in manual] == []
