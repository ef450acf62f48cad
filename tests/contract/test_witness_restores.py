"""Copies, clones and restores of a witness: none contradicts what was signed, and each says what to do.

Each test that bears a number, R1 to R16, is one way in which state is copied, cloned or put back.
"""

import json
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from runtime.client import Client, Failure, FetchError, Response
from runtime.database import DatabaseFailed, open_database
from runtime.errors import UsageError, leaves
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.keys import cosign, log_key, witness_key
from tests.nodes import witness_settings
from tests.served import served
from tests.witness_logs import KEYS, LOG, LOGS, NAME, ORIGIN, PUBLIC, VERIFIERS, signed, submission
from tlog.advance import ClockBehind, Stale
from tlog.log_list import ListedLog
from tlog.signed_checkpoint import open_checkpoint
from witness import place
from witness.__main__ import Witness, _node, admitting, create, opened, reconciled
from witness.app import witness_app
from witness.config import WitnessSettings
from witness.cosigner import Answer, Cosigned, OnHold
from witness.logs import add_log
from witness.store import DATABASE_NAME, METADATA

PEER = "https://peer.example/w1"
OURS = "https://witness.example"
SECONDS = 30.0  # until what is waited for does not come any more
OTHER = log_key("log.example/other")
Fetch = Callable[[str], Awaitable[Response]]


def settings(directory: Path, *peers: str, url: str | None = None) -> WitnessSettings:
    return replace(witness_settings(directory, LOGS, KEYS), peers=peers, url=url)


def copied(source: Path, target: Path, *names: str) -> None:
    """Copy parts of a witness's state, as a backup or a clone of the machine does."""
    target.mkdir(exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            if (target / name).exists():
                shutil.rmtree(target / name)  # and the file system may give the copies the numbers of what they replace
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy(source / name, target / name)


async def cosigned(directory: Path, *sizes: int, clock: FakeClock | None = None) -> list[Answer]:
    """Start a witness without peers, cosign sizes one after the other, and stop it."""
    async with opened(settings(directory), clock or FakeClock()) as ours:
        return [await ours.cosigner.add_checkpoint(submission(old, new)) for old, new in pairwise(sizes)]


def keeping(*notes: bytes) -> Fetch:
    """A peer that keeps the newest note of ours, and has never heard of any other log."""

    async def fetch(url: str) -> Response:
        await trio.lowlevel.checkpoint()
        found = notes[-1] if notes and url.endswith(PUBLIC) else None
        return Response(404 if found is None else 200, {}, found or b"")

    return fetch


async def copy_of(directory: Path) -> bytes:
    """What a peer fetched of us when it last asked."""
    async with opened(settings(directory), FakeClock()) as ours:
        note = await ours.cosigner.public_copy(PUBLIC[1:65])
        assert note is not None
        return note


async def answer(ours: Witness, old: int, new: int) -> Answer:
    return await ours.cosigner.add_checkpoint(submission(old, new))


async def test_r1_r10_a_restored_database_is_refused_while_its_register_knows_more(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    copied(tmp_path, tmp_path / "backup", "data")
    await cosigned(tmp_path, 5, 9)
    copied(tmp_path / "backup", tmp_path, "data")
    with pytest.raises(UsageError, match=r"older than its register.*Put the newest database back, or make a new key"):
        await cosigned(tmp_path, 5, 8)


async def test_r16_a_restored_register_is_refused_while_its_database_knows_more(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    copied(tmp_path, tmp_path / "backup", "register")
    await cosigned(tmp_path, 0, 5)
    copied(tmp_path / "backup", tmp_path, "register")
    with pytest.raises(UsageError, match=r"is older than the database.*Put the newest register back"):
        await cosigned(tmp_path, 5, 8)


async def test_r11_a_cosignature_that_a_log_hid_is_not_contradicted_by_a_restored_witness(tmp_path: Path) -> None:
    """The log kept a cosignature of size 9 to itself, and shows the restored witness another tree."""
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    copied(tmp_path, tmp_path / "backup", "data", "register")
    [hidden] = await cosigned(tmp_path, 5, 9)
    assert isinstance(hidden, Cosigned)
    copied(tmp_path / "backup", tmp_path, "data", "register")
    # Both places are old and agree. Somebody who was shown the hidden cosignature tells.
    async with opened(settings(tmp_path, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 5, 8), OnHold)
        with pytest.raises(UsageError, match=r"has a cosignature of ours .* that this database does not know.*retire"):
            await reconciled(ours, keeping(signed(9).raw + hidden.lines))
        assert isinstance(await answer(ours, 5, 8), OnHold)
    # Nothing was settled: it asks again at every start.
    async with opened(settings(tmp_path, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 5, 8), OnHold)


async def test_a_backup_that_is_written_over_the_files_in_place_is_noticed(tmp_path: Path) -> None:
    """As ``cp`` does: every file keeps its name, its number, and when it was born."""
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    copied(tmp_path, tmp_path / "backup", "data", "register")
    await cosigned(tmp_path, 5, 9)
    for name in ("register", "data/witness.sqlite", "data/place"):
        (tmp_path / name).write_bytes((tmp_path / "backup" / name).read_bytes())
    async with opened(settings(tmp_path, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 5, 8), OnHold)


async def test_a_restart_in_its_place_asks_nobody(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    async with opened(settings(tmp_path, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 5, 9), Cosigned)


async def test_r4_a_copy_started_beside_its_original_learns_of_it_through_the_public_url(tmp_path: Path) -> None:
    original, clone = tmp_path / "original", tmp_path / "clone"
    original.mkdir()
    await create(settings(original))
    await cosigned(original, 0, 5)
    async with opened(settings(original), FakeClock()) as first:
        copied(original, clone, "data", "register")
        assert isinstance(await answer(first, 5, 9), Cosigned)
        async with opened(settings(clone, url=OURS), FakeClock()) as second:
            assert isinstance(await answer(second, 5, 8), OnHold)
            newest = await first.cosigner.public_copy(PUBLIC[1:65])
            assert newest is not None
            with pytest.raises(UsageError, match="If the original is still running, leave this copy off"):
                await reconciled(second, keeping(newest))


async def test_r4_two_instances_on_one_state_exclude_each_other(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    async with opened(settings(tmp_path), FakeClock()):
        with pytest.raises(UsageError, match="is in use by process"):
            await cosigned(tmp_path, 0, 5)


async def test_r5_a_standby_with_the_register_of_a_sleeping_original_is_refused(tmp_path: Path) -> None:
    original, standby = tmp_path / "original", tmp_path / "standby"
    original.mkdir()
    await create(settings(original))
    async with opened(settings(original), FakeClock()):
        copied(original, standby, "data")
        shared = replace(settings(standby), register=original / "register")
        with pytest.raises(UsageError, match="is in use by process"):
            async with opened(shared, FakeClock()):
                pass


async def test_r5_an_original_that_wakes_up_after_a_takeover_signs_nothing(tmp_path: Path) -> None:
    """The lock does not reach every machine; what is counted in the register does."""
    original, standby = tmp_path / "original", tmp_path / "standby"
    original.mkdir()
    await create(settings(original))
    await cosigned(original, 0, 5)
    shared = replace(settings(standby), register=original / "register")
    async with opened(settings(original), FakeClock()) as first:
        (original / "register.lock").unlink()  # as on two machines
        copied(original, standby, "data")
        async with opened(shared, FakeClock()) as second:
            assert isinstance(await answer(second, 5, 9), Cosigned)
            assert isinstance(await answer(first, 5, 8), OnHold)
        with pytest.raises(DatabaseFailed):
            await first.database.wait_failed()
    with pytest.raises(UsageError, match="older than its register"):
        await cosigned(original, 5, 8)


async def test_r12_a_clock_an_hour_back_signs_nothing_until_it_has_caught_up(tmp_path: Path) -> None:
    clock = FakeClock()
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5, clock=clock)
    clock.advance(-3600)
    async with opened(settings(tmp_path), clock) as ours:
        assert await answer(ours, 5, 9) == ClockBehind(3600)
        assert any("clock is 3600 seconds behind" in problem for problem in await ours.cosigner.problems())
        clock.advance(3540)
        assert isinstance(await answer(ours, 5, 9), Cosigned)


@pytest.mark.parametrize("known", [None, "same"])
async def test_a_move_is_settled_when_nobody_knows_more(known: str | None, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    await create(settings(old))
    await cosigned(old, 0, 5)
    notes = [] if known is None else [await copy_of(old)]
    shutil.move(old, new)
    async with opened(settings(new, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 5, 9), OnHold)
        assert any("in another place (directory, database, register)" in one for one in await ours.cosigner.problems())
        await reconciled(ours, keeping(*notes))
        assert await ours.cosigner.problems() == []
        assert isinstance(await answer(ours, 5, 9), Cosigned)
    async with opened(settings(new, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 9, 10), Cosigned)


@pytest.mark.parametrize("what", ["_MACHINE_ID", "_BOOT_ID"])
async def test_another_host_or_boot_is_a_move(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    (tmp_path / "id").write_text("another")
    monkeypatch.setattr(place, what, tmp_path / "id")
    async with opened(settings(tmp_path, PEER), FakeClock()) as ours:
        assert isinstance(await answer(ours, 5, 9), OnHold)


async def test_keys_that_signed_in_a_lost_state_are_not_used_with_a_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    await create(settings(old))
    await cosigned(old, 0, 5)
    await create(settings(new))
    async with opened(settings(new, PEER), FakeClock()) as ours:
        with pytest.raises(UsageError, match="does not know"):
            await reconciled(ours, keeping(await copy_of(old)))


async def test_a_log_that_is_added_while_peers_are_asked_is_asked_about_too(tmp_path: Path) -> None:
    """A list that is pulled again brings back what the copy does not know, and the original has cosigned."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    await create(settings(old))
    await cosigned(old, 0, 5)
    await create(settings(new))
    known_to_peers = keeping(await copy_of(old))
    restored = replace(settings(new, PEER), logs={"log.example/other": tuple(LOGS[ORIGIN])})
    async with opened(restored, FakeClock()) as ours:

        async def fetch(url: str) -> Response:
            if not url.endswith(PUBLIC):
                ours.logs.known[ORIGIN] = ours.logs.active[ORIGIN] = tuple(LOGS[ORIGIN])
            return await known_to_peers(url)

        with pytest.raises(UsageError, match="does not know"):
            await reconciled(ours, fetch)
        assert isinstance(await answer(ours, 0, 3), OnHold)


def added(ours: Witness) -> None:
    """A list or a command adds the log."""
    ours.logs.known[ORIGIN] = ours.logs.active[ORIGIN] = tuple(LOGS[ORIGIN])


async def answer_of_other(ours: Witness, old: int, new: int) -> Answer:
    return await ours.cosigner.add_checkpoint(submission(old, new, origin=OTHER.name, key=OTHER))


async def restored_from_before(directory: Path) -> tuple[WitnessSettings, Fetch]:
    """A witness that has forgotten a log, with the one that it knows, and a peer that has not."""
    (directory / "old").mkdir()
    (directory / "new").mkdir()
    await create(settings(directory / "old"))
    await cosigned(directory / "old", 0, 5)
    await create(settings(directory / "new"))
    restored = replace(settings(directory / "new", PEER), logs={OTHER.name: (OTHER.verifier_key,)})
    return restored, keeping(await copy_of(directory / "old"))


async def asked_for_it(ours: Witness, fetch: Fetch) -> None:
    """Somebody submits the log while the witness asks about whatever is new."""
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admitting, ours, fetch)
            nursery.start_soon(answer, ours, 0, 3)


async def test_a_log_that_is_added_after_the_move_was_settled_is_asked_about_before_it_is_cosigned(
    tmp_path: Path,
) -> None:
    restored, fetch = await restored_from_before(tmp_path)
    async with opened(restored, FakeClock()) as ours:
        await reconciled(ours, fetch)
        added(ours)
        with pytest.raises(ExceptionGroup) as stopped:
            await asked_for_it(ours, fetch)
        [reason] = leaves(stopped.value)
        assert isinstance(reason, UsageError)
        assert re.search(r"has a cosignature of ours .* that this database does not know.*retire", str(reason))
        # This state is an old one, whatever else it knows.
        assert isinstance(await answer(ours, 0, 3), OnHold)
        assert isinstance(await answer_of_other(ours, 0, 3), OnHold)
        assert await ours.cosigner.public_copy(PUBLIC[1:65]) is None
    # A supervisor that starts it again changes nothing.
    async with opened(restored, FakeClock()) as ours:
        assert isinstance(await answer_of_other(ours, 0, 3), OnHold)
        added(ours)
        with pytest.raises(UsageError, match="does not know"):
            await reconciled(ours, fetch)


async def test_a_log_that_is_added_after_another_start_in_place_is_asked_about_too(tmp_path: Path) -> None:
    restored, fetch = await restored_from_before(tmp_path)
    async with opened(restored, FakeClock()) as ours:
        await reconciled(ours, fetch)
    async with opened(restored, FakeClock()) as ours:
        assert isinstance(await answer_of_other(ours, 1, 3), Stale)  # nothing is held
        added(ours)
        with pytest.raises(ExceptionGroup):
            await asked_for_it(ours, fetch)
        assert isinstance(await answer(ours, 0, 3), OnHold)


async def test_a_new_log_is_cosigned_at_its_first_request_when_peers_answer(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    async with opened(replace(settings(tmp_path, PEER), logs={}), FakeClock()) as ours, trio.open_nursery() as nursery:
        await reconciled(ours, keeping())
        nursery.start_soon(admitting, ours, keeping())
        added(ours)
        assert isinstance(await answer(ours, 0, 5), Cosigned)
        nursery.cancel_scope.cancel()


async def test_a_new_log_waits_for_a_silent_peer_and_the_others_go_on(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # the database's thread needs real time
    await create(settings(tmp_path))
    silent, asked = True, 0

    async def fetch(_: str) -> Response:
        nonlocal asked
        asked += 1
        return Response(503 if silent else 404, {}, b"")

    known = replace(settings(tmp_path, PEER), logs={OTHER.name: (OTHER.verifier_key,)})
    async with opened(known, FakeClock()) as ours, trio.open_nursery() as nursery:
        await reconciled(ours, keeping())
        nursery.start_soon(admitting, ours, fetch)
        added(ours)
        for size in range(3):
            assert isinstance(await answer(ours, 0, 5), OnHold)
            assert isinstance(await answer_of_other(ours, size, size + 1), Cosigned)
        assert await ours.cosigner.problems() == []
        silent = False
        await trio.sleep(20)
        assert isinstance(await answer(ours, 0, 5), Cosigned)
        nursery.cancel_scope.cancel()
    # However many requests there were, the peer was asked once in ten seconds.
    assert asked <= 4


async def submitted_until_it_stops(theirs: WitnessSettings, statuses: list[int]) -> None:
    """Serve a witness, add the log by a command and submit it again and again."""
    with trio.fail_after(SECONDS):
        async with _node(theirs) as node, served(node.app) as public:
            while not json.loads((await public.get("/status")).body)["signing"]:
                pass
            async with open_database(theirs.data / DATABASE_NAME, METADATA) as command:
                await add_log(theirs, command, ListedLog(LOG.verifier_key, ORIGIN))
            while True:
                statuses.append((await public.post("/add-checkpoint", submission(0, 3))).status)


async def test_a_served_witness_asks_about_a_log_that_a_command_adds(tmp_path: Path) -> None:
    """The original still runs, and is the peer that knows."""
    original, clone = tmp_path / "original", tmp_path / "clone"
    original.mkdir()
    clone.mkdir()
    await create(settings(original))
    await create(settings(clone))
    async with opened(settings(original), FakeClock()) as first, served(witness_app(first.cosigner, Metrics())) as peer:
        assert isinstance(await answer(first, 0, 5), Cosigned)
        statuses: list[int] = []
        with pytest.raises(ExceptionGroup) as stopped:
            await submitted_until_it_stops(replace(settings(clone, peer.url), logs={}), statuses)
    assert any(isinstance(reason, UsageError) for reason in leaves(stopped.value))
    assert set(statuses) <= {404, 503}


async def test_a_silent_peer_is_waited_for_and_our_own_url_is_not(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # the database's thread needs real time
    await create(settings(tmp_path))
    asked: list[str] = []

    async def fetch(url: str) -> Response:
        asked.append(url)
        if url.startswith(OURS):
            raise FetchError(Failure.UNREACHABLE, "the server cannot be reached")
        return Response(503 if len(asked) < 12 else 404, {}, b"")

    async with opened(settings(tmp_path, PEER, url=OURS), FakeClock()) as ours:
        await reconciled(ours, fetch)
        assert isinstance(await answer(ours, 0, 5), Cosigned)
    assert len([url for url in asked if url.startswith(OURS)]) == 3
    assert len(asked) == 12


async def test_what_peers_say_that_is_not_our_later_cosignature_settles_nothing_against_us(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    theirs = witness_key(NAME, seed=9)
    for note in (b"nonsense", signed(9).raw, cosign(signed(9).raw, theirs)):
        async with opened(settings(tmp_path / ".." / tmp_path.name, PEER), FakeClock()) as ours:
            ours.cosigner.hold = "as after a move"
            await reconciled(ours, keeping(note))
            assert ours.cosigner.hold is None


async def test_two_witnesses_that_ask_each_other_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async with Client() as client:

        async def fetch(url: str) -> Response:
            return await client.fetch("GET", url, cap=1 << 20, seconds=10)

        one, other = tmp_path / "one", tmp_path / "other"
        one.mkdir()
        other.mkdir()
        await create(settings(one))
        await create(settings(other))
        async with (
            opened(settings(one, PEER), FakeClock()) as first,
            opened(settings(other, PEER), FakeClock()) as second,
            served(witness_app(first.cosigner, Metrics())) as first_url,
            served(witness_app(second.cosigner, Metrics())) as second_url,
        ):
            for ours, theirs in ((first, second_url.url), (second, first_url.url)):
                moved = replace(ours, settings=replace(ours.settings, peers=(theirs,)))
                await reconciled(moved, fetch)
            assert (first.cosigner.hold, second.cosigner.hold) == (None, None)


# The stored copies.


async def corrupt(directory: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(directory / "data" / "witness.sqlite") as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


CORRUPTIONS: Sequence[tuple[str, str]] = [
    (
        "UPDATE accepted SET note = CAST(replace(note, 'log.example/one', 'log.example/two') AS BLOB)",
        "is damaged",
    ),
    ("UPDATE accepted SET note = CAST(substr(note, 1, 40) AS BLOB)", "is damaged"),
    ("UPDATE accepted SET cosignatures = CAST(substr(cosignatures, 1, 100) || char(10) AS BLOB)", "is damaged"),
    (
        "UPDATE accepted SET cosignatures = CAST(replace(cosignatures, 'example/one', 'example/two') AS BLOB)",
        "is damaged",
    ),
    ("UPDATE accepted SET time = time - 1", "missing or of another time"),
    ("UPDATE register_statement SET root_hash = zeroblob(32)", "not the checkpoint that was stated last"),
    ("DELETE FROM accepted", "missing or of another time"),
]


@pytest.mark.parametrize(("statement", "reason"), CORRUPTIONS)
async def test_a_damaged_row_is_named_and_not_shown(statement: str, reason: str, tmp_path: Path) -> None:
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    await corrupt(tmp_path, statement)
    async with opened(settings(tmp_path), FakeClock()) as ours:
        for _ in range(2):
            [problem] = await ours.cosigner.problems()
            assert problem.startswith(f"the stored checkpoint of {ORIGIN} is damaged")
            assert re.search(reason, problem)
        async with served(witness_app(ours.cosigner, Metrics())) as public:
            if "cosignatures" not in statement:
                assert (await public.get(PUBLIC)).status == 503


async def test_stored_cosignatures_are_of_the_time_they_stand_beside(tmp_path: Path) -> None:
    clock = FakeClock()
    await create(settings(tmp_path))
    [first] = await cosigned(tmp_path, 0, 5, clock=clock)
    assert isinstance(first, Cosigned)
    clock.advance(10)
    await cosigned(tmp_path, 5, 5, clock=clock)
    await corrupt(tmp_path, "UPDATE accepted SET cosignatures = ?", first.lines)
    async with opened(settings(tmp_path), clock) as ours:
        [problem] = await ours.cosigner.problems()
        assert "not ours, or of another time" in problem


async def test_a_log_that_left_the_configuration_keeps_its_copy(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    await cosigned(tmp_path, 0, 5)
    async with opened(replace(settings(tmp_path), logs={}), FakeClock()) as ours:
        assert await ours.cosigner.problems() == []
        copy = await ours.cosigner.public_copy(PUBLIC[1:65])
        assert copy is not None
        assert [one.key for one in open_checkpoint(copy, VERIFIERS).signatures] == VERIFIERS


async def test_a_row_that_is_being_replaced_is_read_again(tmp_path: Path) -> None:
    await create(settings(tmp_path))
    async with opened(settings(tmp_path), FakeClock()) as ours, trio.open_nursery() as nursery:
        await answer(ours, 0, 5)

        async def refresh() -> None:
            for size in range(5, 30):
                assert not isinstance(await answer(ours, size, size + 1), Stale)

        nursery.start_soon(refresh)
        for _ in range(25):
            assert await ours.cosigner.problems() == []
