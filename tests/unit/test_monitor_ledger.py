"""Statements over time, as they are kept on disk, and what a crash leaves to be found."""

from dataclasses import replace
from pathlib import Path

from monitor.ledger import Ledger
from tests.fakes_log import WITNESSES, FakeLog
from tests.unit.test_monitor_node import ID, bench, grown, opened, settings
from tlog.evidence import EvidenceType
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

NOW = 1_700_000_000


def stated(log: FakeLog, size: int, time: int) -> SignedCheckpoint:
    raw = log.sign(size, WITNESSES[:1], time=time)
    return open_checkpoint(raw, [log.key.verifier_key, WITNESSES[0].verifier_key])


async def test_a_witness_that_goes_back_is_convicted_by_its_own_statements(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        ledger = Ledger(one.monitor.store, one.monitor.notebook)
        assert await ledger.weigh(stated(log, 9, 100), NOW) == []
        (found,) = await ledger.weigh(stated(log, 5, 200), NOW)
        assert found.type is EvidenceType.COSIGNER_ROLLBACK


async def test_a_contradiction_that_was_written_down_before_a_crash_is_found_at_the_start(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        ledger = Ledger(one.monitor.store, one.monitor.notebook)
        await ledger.weigh(stated(log, 9, 100), NOW)
        await ledger.weigh(stated(log, 5, 200), NOW)
        await one.monitor._flush_now()  # and the process ends before anybody hears of it
    async with opened(settings(tmp_path, log), log) as one:
        anew = Ledger(one.monitor.store, one.monitor.notebook)
        (found,) = await anew.load(log.origin, one.monitor._keys(one.monitor.sites[ID].log))
        assert found.type is EvidenceType.COSIGNER_ROLLBACK


async def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await Ledger(one.monitor.store, one.monitor.notebook).weigh(stated(log, 5, 100), NOW)
        await one.monitor._flush_now()
    async with opened(settings(tmp_path, log), log) as one:
        anew = one.monitor.ledger
        await anew.weigh(stated(log, 9, 200), NOW)
        assert len(anew) == 2


async def test_what_is_stated_before_the_index_was_read_takes_the_place_of_nothing_on_disk(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await Ledger(one.monitor.store, one.monitor.notebook).weigh(stated(log, 5, 100), NOW)
        await one.monitor._flush_now()
    async with opened(settings(tmp_path, log), log) as one:
        anew = Ledger(one.monitor.store, one.monitor.notebook)
        await anew.weigh(stated(log, 7, 200), NOW)
        await one.monitor._flush_now()
        await anew.load(log.origin, one.monitor._keys(one.monitor.sites[ID].log))
        assert (len(anew), await one.monitor.store.last_statement()) == (2, 2)


async def test_reading_the_index_of_another_log_gives_no_number_twice(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        ledger = Ledger(one.monitor.store, one.monitor.notebook)
        await ledger.weigh(stated(log, 5, 100), NOW)
        await ledger.load("another.example", [])
        await ledger.weigh(stated(log, 7, 200), NOW)
        await one.monitor._flush_now()
        assert await one.monitor.store.last_statement() == 2


async def test_of_one_head_stated_many_times_two_statements_are_on_disk(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        for time in (100, 300, 200, 50, 400):
            assert await one.monitor.ledger.weigh(stated(log, 9, time), NOW) == []
            await one.monitor._flush_now()
        kept = await one.monitor.store.statement_index(log.origin)
        assert sorted(row.time for row in kept) == [50, 400]


async def test_what_a_damaged_database_says_convicts_nobody(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        ledger = one.monitor.ledger
        await ledger.weigh(stated(log, 9, 100), NOW)
        (number,) = one.monitor.notebook._page.statements
        statement = one.monitor.notebook._page.statements[number]
        one.monitor.notebook._page.statements[number] = replace(statement, note=b"rotten")
        await one.monitor._flush_now()
        assert await ledger.weigh(stated(log, 5, 200), NOW) == []
