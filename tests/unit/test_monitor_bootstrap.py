"""A monitor that begins to follow a log elsewhere than at its first entry."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gossip.core import WRONG_ENTRIES
from gossip.messages import VERIFIED, Head
from gossip.shell import Peer
from monitor.__main__ import _init
from monitor.bootstrap import vouchers_of
from monitor.config import MonitorSettings, NamedPeer
from monitor.look import look
from runtime.errors import UsageError
from tests.fakes_log import FakeLog, sign_line, signer
from tests.unit.test_monitor_node import ID, PEER_KEY, Bench, grown, opened, settings
from tlog.hashing import TreeHead
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note
from tlog.proofs import prove_inclusion, root_at
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import EntryBundle

OBSERVERS = [signer(f"{name}.example/observer", KeyType.COSIGNATURE_ED25519) for name in "xyz"]
WAITS = ("not-begun", True)


def starting(folder: Path, log: FakeLog, start: int | None, *operators: str, liars: int = 0) -> MonitorSettings:
    """A monitor that begins somewhere, and peers of these operators; the first is the peer that it talks to."""
    found = settings(folder, log)
    peers = tuple(
        NamedPeer(name, Peer(key, None), observer.verifier_key, operator, anchor=False)
        for (name, key, observer, operator) in zip(
            "abc",
            [PEER_KEY.verifier_key, *(signer(f"peer-{n}").verifier_key for n in "bc")],
            OBSERVERS,
            operators,
            strict=False,
        )
    )
    return replace(found, logs=(replace(found.logs[0], start=start),), peers=peers or found.peers, liars=liars)


@asynccontextmanager
async def begun(chosen: MonitorSettings, log: FakeLog) -> AsyncIterator[Bench]:
    if not chosen.data.exists():
        await _init(chosen)
    async with opened(chosen, log) as found:
        yield found


def seen(log: FakeLog, size: int, *observers: int, head: TreeHead | None = None) -> Head:
    """The message of a peer that holds a head, with the lines of these observers."""
    note = Note.parse(log.sign(size))
    lines = tuple(sign_line(OBSERVERS[number], note.text) for number in observers)
    return Head(ID, Note(note.text, (*note.signatures, *lines)).format(), VERIFIED, None, ())


def read_bundles(one: Bench) -> list[int]:
    paths = [path for path in one.internet.asked if path.startswith("tile/entries/")]
    return sorted({EntryBundle.parse(path).index for path in paths})


async def test_a_log_is_followed_from_a_size_without_reading_what_comes_before(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, 1500), log) as one:
        await one.poll()
        assert (one.size, one.site.mirror.start, await one.alarms()) == (2048, 1280, [])
        assert read_bundles(one) == [5, 6, 7]
        assert root_at(1700, one.site.mirror.read) == log.head(1700).root_hash
        assert prove_inclusion(1900, 2048, one.site.mirror.read) == prove_inclusion(1900, 2048, log.node)


async def test_following_goes_on_after_a_restart(tmp_path: Path) -> None:
    log = grown(2048)
    chosen = starting(tmp_path, log, 1500)
    async with begun(chosen, log) as one:
        await one.poll()
    log.add(768)
    log.publish()
    async with begun(chosen, log) as one:
        await one.poll()
        assert (one.size, one.site.mirror.start, read_bundles(one)) == (2816, 1280, [8, 9, 10])


async def test_a_start_in_the_first_bundle_is_the_first_entry(tmp_path: Path) -> None:
    log = grown(512)
    async with begun(starting(tmp_path, log, 256), log) as one:
        await one.poll()
        assert (one.size, one.site.mirror.start, read_bundles(one)) == (512, 0, [0, 1])


async def test_a_log_that_is_too_small_is_waited_for(tmp_path: Path) -> None:
    log = grown(300)
    async with begun(starting(tmp_path, log, 1000), log) as one:
        await one.poll()
        assert (one.size, await one.alarms()) == (0, [WAITS])
        log.add(900)
        log.publish()
        await one.poll()
        assert (one.size, one.site.mirror.start, await one.alarms()) == (1200, 768, [("not-begun", False)])


async def test_whoever_gives_up_waiting_and_begins_with_the_first_entry_has_begun(tmp_path: Path) -> None:
    log = grown(300)
    async with begun(starting(tmp_path, log, 1000), log) as one:
        await one.poll()
        assert await one.alarms() == [WAITS]
    async with begun(starting(tmp_path, log, 0), log) as one:
        await one.poll()
        assert (one.size, await one.alarms()) == (300, [("not-begun", False)])


async def test_tiles_that_do_not_lead_to_the_signed_root_begin_nothing(tmp_path: Path) -> None:
    log = grown(2048)
    leaf, log.leaves[3] = log.leaves[3], log.leaves[4]
    async with begun(starting(tmp_path, log, 1500), log) as one:
        await one.poll()
        assert (one.size, one.site.mirror.draft_size, await one.alarms()) == (0, 0, [(WRONG_ENTRIES, True)])
        log.leaves[3] = leaf
        await one.poll()
        assert (one.size, await one.alarms()) == (2048, [(WRONG_ENTRIES, False)])


async def test_without_a_log_that_serves_nothing_is_begun(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, 1500), log) as one:
        await look(one.monitor, ID)
        one.internet.down = True
        await one.follow()
        assert (one.size, one.site.mirror.start) == (0, 0)


async def test_earlier_entries_than_the_mirror_holds_are_refused_with_what_to_do(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, 1500), log) as one:
        await one.poll()
    with pytest.raises(UsageError, match="begins with entry 1280, and `start` asks for earlier"):
        async with begun(starting(tmp_path, log, 0), log):
            pass


async def test_another_start_counts_until_something_was_adopted(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, 1500), log) as one:
        one.site.mirror.begin(256, {1: [log.node(8, 0)]})
    async with begun(starting(tmp_path, log, 0), log) as one:
        await one.poll()
        assert (one.size, one.site.mirror.start) == (2048, 0)


# Observers that vouch.


async def test_nothing_is_believed_before_enough_operators_vouch_for_it(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, None, "A", "B", liars=1), log) as one:
        await one.poll()
        assert (one.size, await one.alarms()) == (0, [WAITS])
        await one.receive(seen(log, 2048, 0))
        await one.monitor.flush()
        await one.poll()
        assert (one.size, await one.alarms()) == (0, [WAITS])
        await one.receive(seen(log, 2048, 1))
        await one.monitor.flush()
        await one.poll()
        assert (one.size, one.site.mirror.start, await one.alarms()) == (2048, 1792, [("not-begun", False)])
        assert read_bundles(one) == [7]


async def test_observers_may_have_seen_different_sizes_of_the_same_tree(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, None, "A", "B", liars=1), log) as one:
        await one.receive(seen(log, 900, 0))
        await one.receive(seen(log, 1200, 1))
        await one.monitor.flush()
        await one.poll()
        assert (one.size, one.site.mirror.start) == (2048, 768)


async def test_two_observers_of_one_operator_are_one(tmp_path: Path) -> None:
    log = grown(2048)
    async with begun(starting(tmp_path, log, None, "A", "A", "B", liars=1), log) as one:
        await one.receive(seen(log, 2048, 0, 1))
        await one.monitor.flush()
        await one.poll()
        assert (one.size, await one.alarms()) == (0, [WAITS])


async def test_an_observer_that_was_convicted_of_anything_vouches_for_nothing() -> None:
    log, operators = grown(2048), {one.verifier_key: name for one, name in zip(OBSERVERS, "ABC", strict=True)}
    signed = [
        open_checkpoint(Note(note.text, (sign_line(one, note.text),)), (one.verifier_key,))
        for note in [Note.parse(log.sign(2048))]
        for one in OBSERVERS
    ]

    async def cosigned(_origin: str, keys: Sequence[VerifierKey], _up_to: int) -> Sequence[SignedCheckpoint]:
        return [head for head in signed if any(head.signed_by(key) for key in keys)]

    stated = vouchers_of(cosigned, "log.example/one", operators, lambda: {OBSERVERS[1].verifier_key.name})
    assert [one.operator for one in await stated(2048)] == ["A", "C"]


async def test_observers_of_another_tree_vouch_for_nothing(tmp_path: Path) -> None:
    log = grown(2048)
    twin = log.fork(900)
    twin.add(600, "twin")
    async with begun(starting(tmp_path, log, None, "A"), log) as one:
        await one.receive(seen(twin, 1500, 0))
        await one.monitor.flush()
        await one.poll()
        assert one.size == 0
        assert WAITS in await one.alarms()
