"""Every entry of the branch is looked at, in order, and what is found is kept once, whatever happens in between."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from starlette.applications import Starlette
from trio.testing import MockClock

from monitor.alarms.book import Alarms
from monitor.alarms.core import Key
from monitor.alarms.kinds import WATCH_STUCK
from monitor.allowance import Allowance
from monitor.core import WrongBundle
from monitor.matching import Matcher, Matching, MatchStore, matching_routes
from monitor.matching.matcher import BUNDLES_UNTIL_WRITTEN, Log
from monitor.matching.memory import MAX_REMEMBERED, Memory
from monitor.mirror import MAX_LENT_TILES, Mirror
from monitor.outbox import Topic, after
from monitor.room import Room
from monitor.sources.source import NotServed
from monitor.sources.tiles import TilesSource
from monitor.tables import METADATA
from monitor.watch import Substring, Watch
from monitor.watchlist import ListedWatch
from runtime.client import Failure, FetchError, Response
from runtime.database import Database, open_database
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.fakes_log import FakeLog, policy
from tests.served import served
from tlog.hashing import leaf_hash
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import TILE_WIDTH
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ORIGIN = "log.example/one"


@dataclass(slots=True)
class Bench:
    """A log, the mirror of its branch, and what is found in it."""

    log: FakeLog
    mirror: Mirror
    database: Database
    store: MatchStore
    branch: SignedCheckpoint | None = None
    asked: list[str] = field(default_factory=list)
    complaints: list[str | None] = field(default_factory=list)
    lies: dict[str, bytes] = field(default_factory=dict)
    down: bool = False

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
        await trio.lowlevel.checkpoint()
        path = url.removeprefix("http://log/")
        self.asked.append(path)
        found = self.lies.get(path, self.log.serve(path))
        if self.down:
            return Response(503, {}, b"")
        if found is not None and len(found) > cap:
            raise FetchError(Failure.TOO_LARGE, "the answer is too large")
        return Response(404, {}, b"") if found is None else Response(200, {}, found)

    def adopt(self, size: int | None = None) -> None:
        """Make a head of the log the branch."""
        size = self.log.size if size is None else size
        self.mirror.extend(self.log.leaves[self.mirror.size : size])
        self.mirror.sync()
        self.mirror.adopt()
        keys = (self.log.key.verifier_key, *policy().witness_keys)
        self.branch = open_checkpoint(self.log.sign(size), keys)

    def watched(self, origin: str = ORIGIN) -> Log:
        allowance = Allowance(self.fetch, FakeClock(), 8)
        return Log(origin, TilesSource("http://log", allowance.fetch), self.mirror, allowance, lambda: self.branch)

    def matcher(self, *watches: Watch) -> Matcher:
        return Matcher(self.watched(), watches, self.store, FakeClock(), Room(), trio.CapacityLimiter(1), self.complain)

    async def complain(self, reason: str | None) -> None:
        self.complaints.append(reason)

    async def looked(self, *watches: Watch) -> Matcher:
        """Begin, as after a restart, and look through everything."""
        matcher = self.matcher(*watches)
        await matcher.begin()
        await matcher.catch_up()
        return matcher

    async def found(self) -> list[tuple[str, int]]:
        return [(one.watch, one.index) for one in reversed(await self.store.matches(None, 10_000))]


@asynccontextmanager
async def bench(tmp_path: Path, size: int = 0, mirror_bytes: int = 10**9) -> AsyncIterator[Bench]:
    log = FakeLog()
    log.add(size)
    mirror = Mirror.open(tmp_path / "mirror", max_bytes=mirror_bytes)
    async with open_database(tmp_path / "monitor.sqlite", METADATA, create=True) as database:
        one = Bench(log, mirror, database, MatchStore(database))
        if size:
            one.adopt()
        yield one
    mirror.close()


def watch(wanted: str, name: str = "w", since: int | None = 0, keep: int = 10_000) -> Watch:
    return Watch(name, Substring(wanted.encode()), since, keep)


SEVENS = [index for index in range(1000) if "7" in str(index)]


@pytest.mark.parametrize("size", [1, 8, 255, 256, 257, 600])
async def test_every_entry_is_looked_at_once_and_in_order(tmp_path: Path, size: int) -> None:
    async with bench(tmp_path, size) as one:
        await one.looked(watch("7"), watch("entry", "all"))
        await one.looked(watch("7"), watch("entry", "all"))
        found = await one.found()
        assert [index for name, index in found if name == "w"] == [index for index in SEVENS if index < size]
        assert [index for name, index in found if name == "all"] == list(range(size))


async def test_the_newest_matches_of_each_watch_are_counted_and_listed(tmp_path: Path) -> None:
    async with bench(tmp_path, 100) as one:
        await one.looked(watch("7"), watch("nothing", "none"))
        some, none, unknown = await one.store.findings(["w", "none", "new"], 2)
        assert [(found.watch, found.matches, len(found.newest)) for found in (some, none, unknown)] == [
            ("w", 19, 2),
            ("none", 0, 0),
            ("new", 0, 0),
        ]
        assert [(match.index, match.entry_size) for match in some.newest] == [(97, 8), (87, 8)]


async def test_a_match_is_kept_with_a_proof_that_verifies_offline(tmp_path: Path) -> None:
    async with bench(tmp_path, 600) as one:
        await one.looked(watch("entry 300"), watch("entry 599", "edge"))
        trust = Trust((one.log.key.verifier_key,), ORIGIN, policy())
        for match in await one.store.matches(None, 10):
            checkpoint = TlogProof.parse(match.proof).verify(leaf_hash(match.entry), trust)
            assert (checkpoint.size, match.entry) == (600, f"entry {match.index}".encode())


async def test_a_match_and_its_notice_are_written_together_and_once(tmp_path: Path) -> None:
    async with bench(tmp_path, 300) as one:
        await one.looked(watch("entry 29"))
        notices = await one.database.read(partial(after, number=0, topics=tuple(Topic), limit=100))
        assert [notice.notice.key for notice in notices] == [
            f"match:w:{ORIGIN}:{index}" for index in (29, *range(290, 300))
        ]
        body = msgspec.json.decode(notices[0].notice.body)
        assert (body["watch"], body["index"], body["found"]) == ("w", 29, ["entry 29"])
        assert TlogProof.parse(body["proof"].encode()).index == 29


async def test_a_large_entry_is_not_brought_along(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.log.entries.append(b"x" * 60_000)
        one.log.leaves.append(leaf_hash(b"x" * 60_000))
        one.adopt()
        await one.looked(watch("x"))
        [notice] = await one.database.read(partial(after, number=0, topics=tuple(Topic), limit=100))
        assert "entry" not in msgspec.json.decode(notice.notice.body)


async def test_a_watch_from_now_on_begins_behind_the_branch(tmp_path: Path) -> None:
    async with bench(tmp_path, 300) as one:
        await one.looked(watch("entry", since=None))
        assert await one.found() == []
        one.log.add(2)
        one.adopt()
        await one.looked(watch("entry", since=None))
        assert await one.found() == [("w", 300), ("w", 301)]


async def test_a_watch_from_now_on_begins_with_the_first_branch(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        matcher = await one.looked(watch("entry", since=None))
        assert [lag.position for lag in matcher.lags()] == [0]
        one.log.add(10)
        one.adopt()
        await one.looked(watch("entry", since=None))
        one.log.add(1)
        one.adopt()
        await one.looked(watch("entry", since=None))
        assert await one.found() == [("w", 10)]


async def test_watches_at_different_places_share_the_way(tmp_path: Path) -> None:
    async with bench(tmp_path, 600) as one:
        await one.looked(watch("entry 5", "early"))
        await one.looked(watch("entry 5", "early"), watch("entry 59", "late", since=595))
        assert [index for name, index in await one.found() if name == "late"] == [595, 596, 597, 598, 599]
        assert [index for name, index in await one.found() if name == "early"] == [
            5,
            *range(50, 60),
            *range(500, 600),
        ]


async def test_entries_in_memory_are_not_fetched_again(tmp_path: Path) -> None:
    async with bench(tmp_path, 300) as one:
        matcher = await one.looked(watch("entry"))
        one.asked.clear()
        one.log.add(5)
        one.adopt()
        matcher.memory.keep(290, one.log.entries[290:303])
        matcher.memory.keep(303, one.log.entries[303:])
        await matcher.catch_up(fetch=False)
        assert (one.asked, [lag.position for lag in matcher.lags()]) == ([], [305])


async def test_what_is_not_in_memory_waits_for_the_next_look(tmp_path: Path) -> None:
    async with bench(tmp_path, 300) as one:
        matcher = one.matcher(watch("entry 299"))
        await matcher.begin()
        await matcher.catch_up(fetch=False)
        assert [lag.position for lag in matcher.lags()] == [0]


async def test_memory_is_not_believed(tmp_path: Path) -> None:
    async with bench(tmp_path, 300) as one:
        matcher = one.matcher(watch("forged"), watch("entry 29", "real"))
        await matcher.begin()
        matcher.memory.keep(0, [b"forged"] * 300)
        await matcher.catch_up()
        assert {name for name, _ in await one.found()} == {"real"}


async def test_no_entry_is_looked_at_that_the_branch_does_not_hold(tmp_path: Path) -> None:
    async with bench(tmp_path, 600) as one:
        one.lies["tile/entries/001"] = (one.log.fork(256)).serve("tile/entries/000") or b""
        matcher = one.matcher(watch("entry"))
        await matcher.begin()
        with pytest.raises(WrongBundle):
            await matcher.catch_up()
        assert [index for _, index in await one.found()] == list(range(256))


async def test_a_wrong_entry_in_the_partial_bundle_is_named(tmp_path: Path) -> None:
    async with bench(tmp_path, 10) as one:
        other = FakeLog([*one.log.entries[:9], b"other 9"])
        one.lies["tile/entries/000.p/10"] = other.serve("tile/entries/000.p/10") or b""
        matcher = one.matcher(watch("e"))
        await matcher.begin()
        with pytest.raises(WrongBundle, match="entry 9"):
            await matcher.catch_up()


async def test_a_log_that_fails_halfway_is_taken_up_where_it_failed(tmp_path: Path) -> None:
    async with bench(tmp_path, 600) as one:
        one.lies["tile/entries/001"] = b"nonsense"
        matcher = one.matcher(watch("entry"))
        await matcher.begin()
        with pytest.raises(WrongBundle):
            await matcher.catch_up()
        one.lies.clear()
        await one.looked(watch("entry"))
        assert [index for _, index in await one.found()] == list(range(600))


async def test_where_leaf_hashes_were_dropped_tiles_are_compared_whole(tmp_path: Path) -> None:
    async with bench(tmp_path, 1000, mirror_bytes=0) as one:
        await one.looked(watch("entry 999"), watch("entry 300", "middle"))
        trust = Trust((one.log.key.verifier_key,), ORIGIN, policy())
        for match in await one.store.matches(None, 10):
            TlogProof.parse(match.proof).verify(leaf_hash(match.entry), trust)
        assert sorted(await one.found()) == [("middle", 300), ("w", 999)]


async def test_memory_that_cannot_be_checked_is_fetched(tmp_path: Path) -> None:
    async with bench(tmp_path, 1000, mirror_bytes=0) as one:
        matcher = one.matcher(watch("entry 10"))
        await matcher.begin()
        matcher.memory.keep(0, one.log.entries[:20])
        await matcher.catch_up()
        assert await one.found() == [("w", 10), *(("w", index) for index in range(100, 110))]


async def test_places_are_written_now_and_then_without_a_match(tmp_path: Path) -> None:
    async with bench(tmp_path, (BUNDLES_UNTIL_WRITTEN + 1) * 256) as one:
        matcher = one.matcher(watch("nothing"))
        await matcher.begin()
        one.lies[f"tile/entries/{BUNDLES_UNTIL_WRITTEN:03}"] = b""
        with pytest.raises(WrongBundle):
            await matcher.catch_up()
        assert await one.store.cursors(ORIGIN) == {"w": BUNDLES_UNTIL_WRITTEN * 256}


async def test_only_the_newest_matches_are_kept(tmp_path: Path) -> None:
    async with bench(tmp_path, 600) as one:
        await one.looked(watch("entry", keep=10), watch("entry 1", "other"))
        found = await one.found()
        assert [index for name, index in found if name == "w"] == list(range(590, 600))
        assert len([name for name, _ in found if name == "other"]) == 111


async def test_a_watch_whose_name_is_known_goes_on_where_it_was(tmp_path: Path) -> None:
    async with bench(tmp_path, 10) as one:
        await one.looked(watch("nothing"))
        one.log.add(10)
        one.adopt()
        await one.looked(watch("entry"))
        assert [index for _, index in await one.found()] == list(range(10, 20))


# The task.


async def until(one: Bench, count: int) -> None:
    with trio.fail_after(20):
        while len(await one.found()) < count:  # noqa: ASYNC110  # the database tells nobody
            await trio.sleep(0.01)


async def test_the_task_follows_the_branch(tmp_path: Path) -> None:
    async with bench(tmp_path, 5) as one, trio.open_nursery() as tasks:
        matcher = one.matcher(watch("entry"))
        tasks.start_soon(matcher.run, 0.05)
        await until(one, 5)
        one.log.add(1)
        one.adopt()
        matcher.memory.keep(5, one.log.entries[5:])
        await until(one, 6)
        one.log.add(1)
        one.adopt()
        await until(one, 7)  # that nobody handed over
        tasks.cancel_scope.cancel()


async def test_who_cannot_go_on_says_so_and_says_when_it_can(tmp_path: Path, mock_clock: MockClock) -> None:
    async with bench(tmp_path, 5) as one:
        one.down = True
        matcher = one.matcher(watch("entry"))
        await matcher.begin()
        for seconds in (0, 61, 1):
            mock_clock.jump(seconds)
            await matcher.attempt()
        lag = matcher.lags()[0]
        assert (lag.position, lag.size, lag.stuck_seconds >= 60, bool(lag.reason)) == (0, 5, True, True)
        one.down = False
        mock_clock.jump(120)
        await matcher.attempt()
        assert (len(one.complaints), one.complaints[-1]) == (3, None)


async def test_a_mirror_that_has_dropped_what_is_needed_is_a_reason_to_wait(tmp_path: Path) -> None:
    async with bench(tmp_path, 1000, mirror_bytes=0) as one:
        matcher = one.matcher(watch("entry 999"))
        await matcher.begin()
        known = one.branch
        for _ in range(MAX_LENT_TILES + 1):
            one.log.add(TILE_WIDTH)
            one.adopt()  # the mirror is ahead of what the machine calls the branch
        newer, one.branch = one.branch, known
        assert not await matcher.attempt()
        assert "dropped" in matcher.lags()[0].reason
        one.branch = newer
        assert await matcher.attempt()
        assert await one.found() == [("w", 999)]


async def test_bundles_that_are_larger_than_usual_are_asked_for_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.log.entries += [b"x" * 60_000] * 6
        one.log.leaves += [leaf_hash(b"x" * 60_000)] * 6
        one.adopt()
        await one.looked(watch("x"))
        assert len(await one.found()) == 6


async def test_each_log_is_looked_through_by_itself_if_anything_is_watched_in_it(tmp_path: Path) -> None:
    async with bench(tmp_path, 5) as one, trio.open_nursery() as tasks:
        alarms = Alarms(one.database, FakeClock())
        await alarms.load()
        matching = Matching([ListedWatch(watch("entry"), frozenset([ORIGIN]))], one.store, FakeClock(), alarms)
        assert matching.follow(one.watched("log.example/other"), Room()) is None
        matcher, metrics = matching.follow(one.watched(), Room()), Metrics()
        assert matcher is not None
        matching.measure(metrics)
        await matcher.begin()
        assert b'monitor_watch_behind{origin="log.example/one",watch="w"} 5.0' in metrics.exposition()
        tasks.start_soon(matching.run, 0.05)
        await until(one, 5)
        assert [(lag.origin, lag.position) for lag in matching.lags()] == [(ORIGIN, 5)]
        tasks.cancel_scope.cancel()


async def test_who_cannot_go_on_is_an_alarm_until_it_can(tmp_path: Path, mock_clock: MockClock) -> None:
    async with bench(tmp_path, 5) as one:
        alarms = Alarms(one.database, FakeClock())
        await alarms.load()
        matching = Matching([ListedWatch(watch("entry"), frozenset([ORIGIN]))], one.store, FakeClock(), alarms)
        matcher = matching.follow(one.watched(), Room())
        assert matcher is not None
        await matcher.begin()
        one.down = True
        await matcher.attempt()
        mock_clock.jump(61)
        await matcher.attempt()
        assert [alarm.kind for alarm in alarms.about(ORIGIN)] == [WATCH_STUCK]
        one.down = False
        mock_clock.jump(120)
        await matcher.attempt()
        assert list(alarms.about(ORIGIN)) == []


async def test_an_alarm_that_an_earlier_run_left_ends_when_the_watches_go_on(tmp_path: Path) -> None:
    async with bench(tmp_path, 5) as one:
        alarms = Alarms(one.database, FakeClock())
        await alarms.hold(Key(WATCH_STUCK, ORIGIN, "the watch-lists"), "the log did not answer")
        matching = Matching([ListedWatch(watch("entry"), frozenset([ORIGIN]))], one.store, FakeClock(), alarms)
        matcher = matching.follow(one.watched(), Room())
        assert matcher is not None
        await matcher.begin()
        assert await matcher.attempt()
        assert list(alarms.about(ORIGIN)) == []


def test_memory_forgets_the_oldest() -> None:
    memory = Memory()
    memory.keep(0, [b"x" * MAX_REMEMBERED])
    memory.keep(1, [b"y"])
    assert (memory.take(0, 2), memory.take(1, 2)) == (None, (1, [b"y"]))


async def test_without_a_branch_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await one.looked(watch("entry"))
        assert one.asked == []


# What the operator is shown.


async def test_matches_are_listed_page_by_page(tmp_path: Path) -> None:
    async with bench(tmp_path, 30) as one:
        await one.looked(watch("entry"))
        async with served(Starlette(routes=matching_routes(one.store))) as site:
            seen: list[int] = []
            before = ""
            while True:
                page = msgspec.json.decode((await site.get(f"/v1/matches?limit=7{before}")).body)
                seen += [match["index"] for match in page["matches"]]
                if page["next"] is None:
                    break
                before = f"&before={page['next']}"
            assert seen == list(reversed(range(30)))


async def test_matches_are_listed_by_watch_and_by_log(tmp_path: Path) -> None:
    async with bench(tmp_path, 30) as one:
        await one.looked(watch("entry"), watch("entry 2", "two"))
        async with served(Starlette(routes=matching_routes(one.store))) as site:
            two = msgspec.json.decode((await site.get(f"/v1/matches?watch=two&origin={ORIGIN}")).body)
            none = msgspec.json.decode((await site.get("/v1/matches?origin=other")).body)
            assert (len(two["matches"]), none["matches"]) == (11, [])


async def test_the_proof_and_the_entry_of_a_match_can_be_downloaded(tmp_path: Path) -> None:
    async with bench(tmp_path, 3) as one:
        await one.looked(watch("entry 2"))
        async with served(Starlette(routes=matching_routes(one.store))) as site:
            [match] = msgspec.json.decode((await site.get("/v1/matches")).body)["matches"]
            proof = TlogProof.parse((await site.get(match["proof"])).body)
            entry = (await site.get(match["entry"])).body
            assert (proof.index, entry) == (2, b"entry 2")


@pytest.mark.parametrize(
    "path", ["/v1/matches/9/proof", "/v1/matches/9/entry", "/v1/matches/x/entry", "/v1/matches/01/proof"]
)
async def test_a_match_that_there_is_not_is_not_found(tmp_path: Path, path: str) -> None:
    async with bench(tmp_path, 3) as one, served(Starlette(routes=matching_routes(one.store))) as site:
        assert (await site.get(path)).status == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "before=-1"])
async def test_a_question_that_is_none_is_refused(tmp_path: Path, query: str) -> None:
    async with bench(tmp_path, 3) as one, served(Starlette(routes=matching_routes(one.store))) as site:
        assert (await site.get(f"/v1/matches?{query}")).status == 400


async def test_the_log_may_refuse_and_is_not_passed_over(tmp_path: Path) -> None:
    async with bench(tmp_path, 3) as one:
        one.down = True
        with pytest.raises(NotServed):
            await one.looked(watch("entry"))
