"""What was seen when, in a real database; time is what the test says it is."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from monitor.archive import CLIENT, LOG, MAX_KNOWN, VANTAGE, Archive, peer_who, witness_who
from monitor.limits import ArchiveLimits
from monitor.samples import DAY_MS, HOUR_MS, MINUTE_MS, Sample
from monitor.tables import METADATA
from runtime.database import open_database
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog
from tlog.checkpoint import Checkpoint
from tlog.keys import SignerKey
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

T = 1_700_000_000_000
WITNESS = witness_who("w1")


@asynccontextmanager
async def archive(folder: Path, limits: ArchiveLimits | None = None, *, create: bool = True) -> AsyncIterator[Archive]:
    async with open_database(folder / "archive.sqlite", METADATA, create=create) as database:
        found = Archive(database, limits or ArchiveLimits())
        await found.load()
        yield found


@pytest.fixture(scope="module")
def log() -> FakeLog:
    log = FakeLog()
    log.add(40)
    return log


def head(
    log: FakeLog, size: int, time: int = T // 1000, witnesses: Sequence[SignerKey] = WITNESSES, rest: bytes = b""
) -> SignedCheckpoint:
    raw = log.sign(size, witnesses, time=time, extensions=(rest,) if rest else ())
    return open_checkpoint(raw, [key.verifier_key for key in (log.key, *WITNESSES)])


async def sizes(one: Archive, at_ms: int, who: str | None = None, **more: int) -> list[tuple[str, int]]:
    return [(seen.who, seen.checkpoint.size) for seen in await one.history(ORIGIN, at_ms, who, **more)]


# Sightings.


async def test_what_was_shown_at_a_time_is_the_newest_sighting_that_had_begun(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        for minute, size in ((0, 5), (10, 7), (20, 9)):
            one.saw(LOG, head(log, size), T + minute * MINUTE_MS)
        assert await sizes(one, T - 1) == []
        assert await sizes(one, T) == [(LOG, 5)]
        assert await sizes(one, T + 19 * MINUTE_MS) == [(LOG, 7)]
        assert await sizes(one, T + DAY_MS) == [(LOG, 9)]


async def test_who_shows_an_old_head_again_is_found_to_have_done_so(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        for minute, size in ((0, 5), (1, 7), (2, 5), (3, 7)):
            one.saw(WITNESS, head(log, size), T + minute * MINUTE_MS)
        assert [(await sizes(one, T + at * MINUTE_MS))[0][1] for at in range(4)] == [5, 7, 5, 7]


async def test_everybodys_view_at_one_time_is_one_answer(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 9), T)
        one.saw(WITNESS, head(log, 7), T + 1)
        one.saw(peer_who("m2"), head(log, 5), T + 2)
        one.saw(VANTAGE, head(log, 8), T + 3)
        found = [("log", 9), ("peer m2", 5), ("vantage", 8), ("witness w1", 7)]
        assert await sizes(one, T + 5) == found
        assert await sizes(one, T + 1) == [("log", 9), ("witness w1", 7)]


async def test_one_viewers_history_is_read_page_by_page(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        for minute in range(10):
            one.saw(LOG, head(log, minute + 1), T + minute * MINUTE_MS)
        one.saw(WITNESS, head(log, 40), T)
        read: list[int] = []
        before = None
        while page := await one.history(ORIGIN, T + DAY_MS, LOG, before, 3):
            read += [seen.checkpoint.size for seen in page]
            before = page[-1].first_ms
        assert read == list(range(10, 0, -1))


async def test_a_sighting_lasts_as_long_as_it_was_seen_to(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 5), T)
        assert (await one.history(ORIGIN, T))[0].last_ms == T
        one.again(LOG, ORIGIN, T + 30_000)
        assert (await one.history(ORIGIN, T))[0].last_ms == T  # written each minute
        one.again(LOG, ORIGIN, T + MINUTE_MS)
        assert (await one.history(ORIGIN, T))[0].last_ms == T + MINUTE_MS
        one.again(LOG, ORIGIN, T + MINUTE_MS + 5)
        one.saw(LOG, head(log, 6), T + 2 * MINUTE_MS)
        (seen,) = await one.history(ORIGIN, T + MINUTE_MS)
        assert (seen.first_ms, seen.last_ms) == (T, T + MINUTE_MS + 5)
        one.again("nobody", ORIGIN, T)


async def test_a_restart_goes_on_with_the_sightings_that_lasted(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 5), T)
        one.saw(LOG, head(log, 6), T + 1)
        one.saw(WITNESS, head(log, 5), T)
        await one.close(T + 1)
    async with archive(tmp_path, create=False) as one:
        assert (one.changed_ms(LOG, ORIGIN), one.changed_ms("peer m2", ORIGIN)) == (T + 1, None)
        one.saw(LOG, head(log, 6), T + HOUR_MS)
        one.saw(WITNESS, head(log, 7), T + HOUR_MS)
        assert await sizes(one, T + DAY_MS, LOG) == [(LOG, 6), (LOG, 5)]
        assert await sizes(one, T + DAY_MS, WITNESS) == [(WITNESS, 7), (WITNESS, 5)]
        assert (await one.history(ORIGIN, T + DAY_MS, LOG))[0].last_ms == T + HOUR_MS


async def test_a_clock_that_is_set_back_leaves_the_order_as_it_was(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 5), T)
        one.saw(LOG, head(log, 6), T - HOUR_MS)
        one.saw(LOG, head(log, 7), T - HOUR_MS + 5)
        assert [size for _, size in await sizes(one, T + DAY_MS, LOG)] == [7, 6, 5]


# Notes.


async def test_a_head_is_kept_with_every_line_byte_for_byte(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        shown = head(log, 5, rest=b"extra line")
        one.saw(LOG, shown, T)
        (seen,) = await one.history(ORIGIN, T)
        assert (seen.note, seen.checkpoint) == (shown.raw, shown.checkpoint)
        assert open_checkpoint(seen.note, [log.key.verifier_key]).checkpoint == shown.checkpoint


async def test_checkpoints_that_differ_in_extension_lines_are_different_heads(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 5, rest=b"a"), T)
        one.saw(LOG, head(log, 5, rest=b"b"), T + 1)
        found = await one.history(ORIGIN, T + 1, LOG)
        assert [seen.checkpoint.extensions for seen in found] == [(b"b",), (b"a",)]


async def test_signatures_seen_later_are_not_shown_of_an_earlier_time(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 5, witnesses=()), T)
        one.saw(WITNESS, head(log, 5, witnesses=WITNESSES[:1]), T + 10)
        counts = [len(Note.parse((await one.history(ORIGIN, at, LOG))[0].note).signatures) for at in (T, T + 10)]
        assert counts == [1, 2]


async def test_of_many_signatures_of_one_head_the_first_and_the_last_of_each_hour_are_kept(
    tmp_path: Path, log: FakeLog
) -> None:
    start = T - T % HOUR_MS
    async with archive(tmp_path) as one:
        for minute in range(0, 180, 5):
            at = start + minute * MINUTE_MS
            one.saw(WITNESS, head(log, 5, time=at // 1000, witnesses=WITNESSES[:1]), at)
            if minute % 20 == 0:
                await one.flush()
        times = set()
        for minute in range(0, 180, 5):
            (seen,) = await one.history(ORIGIN, start + minute * MINUTE_MS)
            (mine,) = open_checkpoint(seen.note, [WITNESSES[0].verifier_key]).signatures
            times.add(((mine.timestamp or 0) - start // 1000) // 60)
        assert times == {0, 55, 115, 175}


async def test_what_is_known_already_is_written_once(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        for who in (LOG, WITNESS, VANTAGE):
            one.saw(who, head(log, 5), T)
            await one.flush()
        one._known.clear()
        one.saw(CLIENT, head(log, 5), T)
        notes = {seen.note for seen in await one.history(ORIGIN, T)}
        assert notes == {head(log, 5).raw}


# Bounds.


async def test_strangers_fill_no_more_than_a_days_room(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path, ArchiveLimits(heads_a_day=3)) as one:
        for size in range(1, 10):
            one.saw((CLIENT, peer_who("m2"))[size % 2], head(log, size), T + size)
        assert one.dropped == 6
        one.saw(LOG, head(log, 20), T + 20)
        one.saw(CLIENT, head(log, 21), T + DAY_MS)
        assert one.dropped == 6
        assert (LOG, 20) in await sizes(one, T + DAY_MS)
        assert (CLIENT, 21) in await sizes(one, T + DAY_MS)


async def test_what_waits_for_the_disk_is_bounded(
    tmp_path: Path, log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.archive.MAX_NOTED", 2)
    async with archive(tmp_path) as one:
        for size in (1, 2, 3):
            one.saw(LOG, head(log, size), T + size)
        assert (one.dropped, await sizes(one, T + 9, LOG)) == (1, [(LOG, 2), (LOG, 1)])


async def test_the_memory_of_known_heads_is_bounded(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        bare = head(log, 1, witnesses=())
        for size in range(MAX_KNOWN + 10):
            other = SignedCheckpoint(Checkpoint(ORIGIN, size, bare.root_hash), bare.note, bare.signatures)
            one.saw(VANTAGE, other, T + size)
        assert len(one._known) == MAX_KNOWN


async def test_heads_without_end_are_kept_unless_days_are_set(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path) as one:
        one.saw(LOG, head(log, 5), T)
        one.saw(LOG, head(log, 6), T + 1)
        await one.flush()
        await one.prune(T + 10_000 * DAY_MS)
        assert await sizes(one, T + DAY_MS, LOG) == [(LOG, 6), (LOG, 5)]


async def test_heads_beyond_their_days_are_forgotten_but_for_what_was_shown_last(tmp_path: Path, log: FakeLog) -> None:
    async with archive(tmp_path, ArchiveLimits(heads_days=10)) as one:
        for day, size in ((0, 5), (1, 6), (15, 7)):
            one.saw(LOG, head(log, size), T + day * DAY_MS)
        one.saw(WITNESS, head(log, 5), T)
        await one.flush()
        await one.prune(T + 20 * DAY_MS)
        assert await sizes(one, T + 30 * DAY_MS, LOG) == [(LOG, 7)]
        assert await sizes(one, T + 30 * DAY_MS, WITNESS) == [(WITNESS, 5)]
        one.saw(LOG, head(log, 6), T + 21 * DAY_MS)  # forgotten, and seen anew
        (seen,) = await one.history(ORIGIN, T + 21 * DAY_MS, LOG, limit=1)
        assert seen.note == head(log, 6).raw


async def test_a_log_nobody_showed_has_no_history(tmp_path: Path) -> None:
    async with archive(tmp_path) as one:
        assert await one.history("another", T) == []


# Samples.


def sample(minute: int, size: int = 1, confirmed_ms: int | None = None) -> Sample:
    at_ms = T - T % HOUR_MS + minute * MINUTE_MS
    return Sample(ORIGIN, at_ms, size, size, None, None, confirmed_ms, 0, 0)


async def test_samples_are_spread_evenly(tmp_path: Path) -> None:
    async with archive(tmp_path) as one:
        await one.samples.note([sample(minute, minute) for minute in range(600)])
        found = await one.samples.since(ORIGIN, sample(0).at_ms, 10)
        assert [one.size for one in found] == list(range(59, 600, 60))
        assert len(await one.samples.since(ORIGIN, sample(590).at_ms, 100)) == 10
        assert await one.samples.since(ORIGIN, sample(600).at_ms, 100) == []


async def test_a_minute_is_written_once(tmp_path: Path) -> None:
    async with archive(tmp_path) as one:
        await one.samples.note([sample(0, 1)])
        await one.samples.note([sample(0, 2)])
        assert [found.size for found in await one.samples.since(ORIGIN, 0, 5)] == [1]


async def test_of_old_samples_one_an_hour_is_kept(tmp_path: Path) -> None:
    async with archive(tmp_path, ArchiveLimits(minutes_days=1)) as one:
        await one.samples.note([sample(minute) for minute in range(5, 300)])
        await one.prune(sample(180).at_ms + DAY_MS)
        kept = [found.at_ms for found in await one.samples.since(ORIGIN, 0, 100_000_000)]
        assert kept == [sample(minute).at_ms for minute in (5, 60, 120, *range(180, 300))]


def test_a_sample_tells_how_old_the_view_was() -> None:
    assert sample(1, confirmed_ms=sample(0).at_ms).lag_ms == MINUTE_MS
    assert sample(1, confirmed_ms=sample(2).at_ms).lag_ms == 0
    assert sample(1).lag_ms is None
