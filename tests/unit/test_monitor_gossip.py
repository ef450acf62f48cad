"""What the real monitor does for the gossip machine: statements over time, testimony, openings, and what is on disk."""

import secrets
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from trio.testing import MockClock

from gossip import core, envelope, messages, testimony
from gossip.core import Ignored, Member, OpeningShown, Remember, Rules, Settle, Weigh, begin, choose_links
from gossip.core.state import MAX_TESTIMONY_OF_ONE
from gossip.envelope import Envelope, peer_id, seal
from gossip.messages import VERIFIED, GetHeads, Head
from gossip.shell import Gossip, Peer
from monitor.__main__ import World, _init, open_parts
from monitor.app import monitor_app
from monitor.store import MAX_KEPT_TESTIMONY, MAX_SETTLED
from monitor.tables import HEAD, StoredHead, StoredTestimony
from monitor.testify import sign_testimony
from monitor.witnesses import Bearer, TipOffs
from runtime.client import Response
from runtime.clock import SystemClock
from tests.fakes import FakeClock
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, signer
from tests.keys import mldsa_key
from tests.served import served
from tests.unit.test_gossip_shell import Network, RecordingHost, TrioClock
from tests.unit.test_monitor_node import (
    ID,
    OBSERVER,
    PEER,
    PEER_KEY,
    Bench,
    Internet,
    bench,
    fork,
    grown,
    opened,
    settings,
    views,
)
from tests.unit.test_monitor_witnesses import WITNESS, Witness, conflict, convict
from tlog.evidence import EvidenceType
from tlog.opening import TruncatedProof
from tlog.proofs import prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tlog_proof import TlogProof

ME = signer("monitor.example/m1")
R = b"r" * 32
ROOT = Path(__file__).parents[2]


def found(one: Bench) -> list[str]:
    """The classes of all evidence that is held."""
    return sorted(held.conviction.type.value for held in one.monitor.gossip.state.evidence.values())


def read(log: FakeLog, raw: bytes) -> SignedCheckpoint:
    return open_checkpoint(raw, [log.key.verifier_key, *(one.verifier_key for one in WITNESSES)])


# What cosigners and logs said before.


async def test_whoever_cosigned_two_heads_of_one_size_is_convicted_with_the_log_and_so_is_the_quorum(
    tmp_path: Path,
) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 5, 9).sign(9, WITNESSES[:2], time=1))
        same = EvidenceType.COSIGNER_SAME_SIZE.value
        assert found(one) == sorted([EvidenceType.SAME_SIZE.value, same, same, EvidenceType.QUORUM_SPLIT.value])


async def test_whoever_cosigned_a_smaller_head_of_another_history_is_convicted_with_the_log(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 5, 7).sign(7, WITNESSES[:1], time=1))
        assert found(one) == sorted(
            [EvidenceType.NON_CONSISTENT.value, EvidenceType.COSIGNER_NON_CONSISTENT.value],
        )


async def test_a_witness_that_cosigned_a_smaller_tree_later_is_convicted_and_the_log_is_not(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, log.sign(5, WITNESSES[:1], time=100))
        assert found(one) == [EvidenceType.COSIGNER_ROLLBACK.value]
        assert one.monitor.branch(ID).convicted == ()


async def test_a_log_that_signed_a_smaller_tree_later_is_convicted_of_its_own_times(tmp_path: Path) -> None:
    log = FakeLog(key=mldsa_key(ORIGIN))
    log.add(9)
    log.publish(time=100)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, log.sign(5, (), time=200))
        assert found(one) == [EvidenceType.LOG_ROLLBACK.value]
        assert one.monitor.branch(ID).convicted


async def test_a_contradiction_is_found_at_the_start_if_the_end_came_before_anybody_heard_of_it(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        # All that this brings is lost, as when the process is killed right here.
        assert await one.monitor.perform(Weigh(ID, read(log, log.sign(5, WITNESSES[:1], time=100))))
        one.monitor.turn_over()
        await one.monitor.flush()
        assert found(one) == []
    async with opened(settings(tmp_path, log), log) as one:
        assert found(one) == [EvidenceType.COSIGNER_ROLLBACK.value]


async def test_a_key_that_signs_the_future_is_an_alarm_until_it_signs_the_present(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        now = one.clock.now()
        await one.monitor.submit(ID, log.sign(4, WITNESSES[:1], time=now + 3600))
        assert await one.alarms() == [("clock-ahead", True)]
        # What is shown again from long ago says nothing about that clock now.
        await one.monitor.submit(ID, log.sign(2, WITNESSES[:1], time=now - 7200))
        assert await one.alarms() == [("clock-ahead", True)]
        one.clock.advance(3600)
        await one.monitor.submit(ID, log.sign(5, WITNESSES[:1], time=now + 3601))
        assert await one.alarms() == [("clock-ahead", False)]


# What the observer says.


async def test_peers_get_heads_with_the_observer_s_line_and_the_newest_one(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.receive(GetHeads(()))
        await one.poll()
        one.clock.advance(60)
        await one.poll()
        await one.receive(GetHeads((ID,)))
        heads = [message for message in await one.sent() if isinstance(message, Head) and message.status == VERIFIED]
    signed = open_checkpoint(heads[-1].note, [log.key.verifier_key, OBSERVER.verifier_key])
    line = signed.signed_by(OBSERVER.verifier_key)
    assert line is not None
    assert line.timestamp == one.clock.now()


# Testimony.


async def test_the_monitor_testifies_in_the_name_of_its_peer_key_and_by_the_wall_clock(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        waited_ms = int(trio.current_time() * 1000) - 60_000
        (event,) = await one.monitor.perform(core.Testify(ID, log.head(9), waited_ms, 3))
        assert isinstance(event, core.Testified)
        said, _ = testimony.open_testimony(event.note, [ME.verifier_key])
        assert (said.origin, said.size, said.root_hash, said.tries) == (ORIGIN, 9, log.head(9).root_hash, 3)
        assert 60 <= said.last_tried - said.first_seen <= 62
        (kept,) = await one.monitor.store.testimony()
        assert (kept.note, kept.peer) == (event.note, peer_id(ME.verifier_key))


async def test_on_disk_too_one_peer_leaves_room_for_the_testimony_of_others(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(9)) as one:
        await one.monitor.store.keep_testimony(StoredTestimony(ORIGIN, 12, R, b"other", b"note", 1))
        for number in range(2 * MAX_KEPT_TESTIMONY):
            await one.monitor.store.keep_testimony(
                StoredTestimony(ORIGIN, 20 + number, R, b"busy", b"note", 2 + number)
            )
        kept = [(stored.peer, stored.size) for stored in await one.monitor.store.testimony()]
        newest = 20 + 2 * MAX_KEPT_TESTIMONY
        assert kept == [(b"other", 12), *((b"busy", size) for size in range(newest - MAX_TESTIMONY_OF_ONE, newest))]


async def test_what_peers_testify_is_still_known_after_a_restart_unless_it_was_served(tmp_path: Path) -> None:
    log = grown(9)
    notes = [
        sign_testimony(testimony.Testimony(ORIGIN, "unserved", size, log.head(9).root_hash, 1, 2, 3), PEER_KEY)
        for size in (12, 20)
    ]
    async with bench(tmp_path, log) as one:
        await one.receive(*(messages.TestimonyNote(note) for note in notes))
        assert [held.note for held in one.monitor.gossip.state.testimony[ID]] == notes
    async with opened(settings(tmp_path, log), log) as one:
        assert sorted(held.note for held in one.monitor.gossip.state.testimony[ID]) == sorted(notes)
        log.add(4)
        log.publish()
        await one.poll()
        assert [held.testimony.size for held in one.monitor.gossip.state.testimony[ID]] == [20]
    async with opened(settings(tmp_path, log), log) as one:
        assert [held.testimony.size for held in one.monitor.gossip.state.testimony[ID]] == [20]
    chosen = replace(settings(tmp_path, log), peers=())
    async with open_parts(chosen, World(FakeClock(), Internet(log).fetch, Internet(log).post)) as parts:
        assert parts.gossip.state.testimony == {}


# Openings.


async def test_an_opening_of_a_larger_tree_convicts_where_it_differs_from_the_branch(tmp_path: Path) -> None:
    log = grown(600)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.internet.down = True
        twin = fork(log, 100, 700)
        proof = TlogProof(7, tuple(prove_inclusion(7, 700, twin.node)), twin.sign(700, ()))
        opening = TruncatedProof.of(proof, twin.leaves[7])
        assert await one.monitor.gossip.dispatch(OpeningShown(ID, proof.checkpoint_note, opening)) == []
        assert found(one) == [EvidenceType.OPENINGS.value]


# What the log sees of it.


async def test_the_log_is_asked_nothing_about_what_the_branch_decides(tmp_path: Path) -> None:
    log = grown(600)
    twin = fork(log, 300, 700)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.internet.asked.clear()
        await one.monitor.submit(ID, log.sign(500, ()))
        await one.receive(Head(ID, log.sign(400, ()), 2, None, ()))
        await one.receive(Head(ID, twin.sign(550, ()), 2, None, ()))
        await one.sent()
        assert (found(one), one.internet.asked) == ([EvidenceType.NON_CONSISTENT.value], [])


async def test_about_a_larger_head_the_log_is_asked_for_tiles_and_not_for_a_proof(tmp_path: Path) -> None:
    log = grown(600)
    shown = FakeLog(log.entries)
    shown.add(100)
    async with bench(tmp_path, log) as one:
        await one.poll()
        one.internet.asked.clear()
        await one.monitor.submit(ID, shown.sign(700, ()))
        await one.sent()
        # Tiles of that tree, which are the same whatever root was signed and whatever it is compared with.
        assert {path.split("/")[0] for path in one.internet.asked} == {"tile"}
        assert not any(path.startswith("tile/entries/") for path in one.internet.asked)


# Links.


async def test_other_peers_are_dialled_on_another_day(autojump_clock: MockClock) -> None:
    peers = [Peer(signer(f"p{number}.example").verifier_key, f"http://p{number}") for number in range(40)]
    ids = tuple(peer.id for peer in peers)
    state = replace(begin(Rules({}, ids, ids), 1, 0), exchange_ms=10**12)  # nothing is said meanwhile
    gossip = Gossip(state, ME, peers, RecordingHost(), Network().post, TrioClock(), links=5)
    members = [Member(id_, "") for id_ in ids]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gossip.run)
        found = []
        for day in range(3):
            await trio.sleep_until(day * 86_400 + 60)
            found.append(gossip.state.outbound)
        nursery.cancel_scope.cancel()
    me = peer_id(ME.verifier_key)
    assert found == [choose_links(me, members, day, 5) for day in range(3)]
    assert len(set(found)) == 3


async def test_of_many_peers_a_few_are_dialled_and_chosen_when_the_monitor_runs() -> None:
    peers = [Peer(signer(f"p{number}.example").verifier_key, f"http://p{number}") for number in range(40)]
    ids = tuple(peer.id for peer in peers)
    state = begin(Rules({}, ids, ids), 1, 0)
    gossip = Gossip(state, ME, peers, RecordingHost(), Network().post, TrioClock(), links=5)
    assert gossip.state.outbound == ()
    await gossip.relink()
    chosen = gossip.state.outbound
    await gossip.relink()
    assert (len(chosen), gossip.state.outbound) == (5, chosen)


# The disk.


def head_of(log: FakeLog, size: int) -> SignedCheckpoint:
    return read(log, log.sign(size, ()))


async def test_what_a_turn_remembered_is_on_disk_after_the_flush_and_not_before(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.monitor.perform(Remember(ID, head_of(log, 5), PEER))
        await one.monitor.flush()  # for another turn, which was over before
        assert await one.monitor.store.unsettled(ORIGIN) == []
        one.monitor.turn_over()
        await one.monitor.flush()
        assert [head.size for head in await one.monitor.store.unsettled(ORIGIN)] == [5]


async def test_heads_that_stay_undecided_keep_no_larger_one_from_being_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.store.REVIEW_BATCH", 2)
    monkeypatch.setattr("monitor.judge.REVIEW_BATCH", 2)
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        for size in (3, 4, 5):
            await one.monitor.perform(Remember(ID, head_of(log, size), PEER))
        one.monitor.turn_over()
        await one.monitor.flush()
        reviews = [await one.monitor.perform(core.Review(ID)) for _ in range(3)]
        judged = [[event.signed.size for event in events if isinstance(event, core.Adjudicated)] for events in reviews]
        assert judged == [[3, 4], [5], [3, 4]]


async def test_a_head_that_turns_out_to_lie_on_the_branch_is_not_written_at_all(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        for size in range(1, 9):
            await one.monitor.submit(ID, log.sign(size, ()))
        assert await one.monitor.store.head_sizes(ORIGIN) == [9]


async def test_a_head_that_was_on_disk_is_settled_there(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        for turn in (Remember(ID, head_of(log, 5), PEER), Settle(ID, log.head(5))):
            await one.monitor.perform(turn)
            one.monitor.turn_over()
            await one.monitor.flush()
        (kept,) = await one.monitor.store.heads_of(ORIGIN, [5])
        assert kept.settled


async def test_what_leaves_for_the_disk_can_be_found_all_the_time(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        book = one.monitor.notebook
        await one.monitor.perform(Remember(ID, head_of(log, 5), PEER))
        one.monitor.turn_over()
        seen: list[int] = []

        async def look() -> None:
            for _ in range(20):
                seen.extend(head.size for head in await book.heads_of(ORIGIN, [5]))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as tasks:
            tasks.start_soon(look)
            tasks.start_soon(book.flush)
        assert seen == [5] * 20


async def test_of_heads_on_the_branch_the_newest_are_kept_and_those_that_evidence_names(tmp_path: Path) -> None:
    log = FakeLog()
    heads = [StoredHead(ORIGIN, size, bytes(32), b"note", None, 0, settled=True) for size in range(MAX_SETTLED + 10)]
    rows = [{name: getattr(head, name) for name in StoredHead.__slots__} for head in heads]

    async def fill(connection: AsyncConnection) -> None:
        await connection.execute(insert(HEAD), rows)

    async with bench(tmp_path, log) as one:
        await one.monitor.store._database.write(fill)
        await one.monitor.notebook.prune(ORIGIN, {3})
        sizes = await one.monitor.store.head_sizes(ORIGIN)
        assert sizes == [3, *range(10, MAX_SETTLED + 10)]


async def test_the_last_heads_that_there_is_room_for_are_counted_one_by_one(tmp_path: Path) -> None:
    counted: list[Ignored] = []
    log = FakeLog()
    full = [StoredHead(ORIGIN, size, bytes(32), b"note", None, 0, settled=False) for size in range(100, 100 + 4095)]
    rows = [{name: getattr(head, name) for name in StoredHead.__slots__} for head in full]

    async def fill(connection: AsyncConnection) -> None:
        await connection.execute(insert(HEAD), rows)

    async with bench(tmp_path, log) as one:
        await one.monitor.store._database.write(fill)
        one.monitor._count = counted.append
        for size in (100, 6000, 6001, 6002):
            one.monitor.notebook.remember(replace(full[0], size=size, note=b"more"))
        one.monitor.turn_over()
        await one.monitor.flush()
        assert counted == [Ignored.HEAD_WITHOUT_ROOM] * 2
        assert [head.size for head in await one.monitor.store.heads_of(ORIGIN, [100, 6000, 6001])] == [100, 6000]


# Witnesses.


async def test_the_alarm_about_a_refusal_ends_when_the_witness_takes_evidence(tmp_path: Path) -> None:
    log, witness = grown(9), Witness(422)
    async with bench(tmp_path, log) as one:
        await convict(one, log)
        carrier = Bearer(WITNESS, one.monitor, witness.fetch, one.clock)
        await carrier.round()
        assert ("evidence-refused", True) in await one.alarms()
        witness.status = 200
        (kept,) = await one.monitor.store.evidence()
        await one.monitor.store.keep_evidence(replace(kept, id=bytes(32)))
        assert await carrier.round()
        assert ("evidence-refused", False) in await one.alarms()


async def test_the_alarm_about_a_head_that_a_witness_refused_ends_with_the_evidence(tmp_path: Path) -> None:
    log, witness = grown(9), Witness()
    twin = fork(log, 5, 9)
    witness.conflicts = [conflict(twin, 9)]
    async with bench(tmp_path, log) as one:
        await one.poll()
        await TipOffs(WITNESS, one.monitor, witness.fetch).round()
        assert await one.alarms() == [("witness-conflict", True)]
        await one.monitor.submit(ID, twin.sign(9, ()))
        assert ("witness-conflict", False) in await one.alarms()


async def test_a_list_that_has_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    asked: list[str | None] = []

    async def fetch(method: str, url: str, **more: object) -> Response:
        await trio.lowlevel.checkpoint()
        headers = more["headers"]
        tag = headers["if-none-match"] if isinstance(headers, dict) else None
        asked.append(tag)
        return Response(304, {}, b"") if tag else Response(200, {"etag": '"7"'}, b'{"conflicts": [], "next": null}')

    async with bench(tmp_path, grown(5)) as one:
        tips = TipOffs(WITNESS, one.monitor, fetch)
        assert [await tips.round() for _ in range(3)] == [True] * 3
    assert asked == [None, '"7"', '"7"']


# Over HTTP.


def padded(number: int) -> bytes:
    ids = peer_id(PEER_KEY.verifier_key), peer_id(ME.verifier_key)
    padding = tuple((99, bytes(150_000)) for _ in range(6))
    nonce = b"%08d" % number + secrets.token_bytes(8)
    return seal(Envelope(*ids, SystemClock().now_ms(), nonce, None, padding), PEER_KEY)


def empty(now_ms: int | None = None) -> bytes:
    ids = peer_id(PEER_KEY.verifier_key), peer_id(ME.verifier_key)
    return seal(Envelope(*ids, now_ms or SystemClock().now_ms(), secrets.token_bytes(16), None, ()), PEER_KEY)


async def test_a_peer_that_sends_too_much_is_told_so_over_http_and_counted(tmp_path: Path) -> None:
    log = grown(3)
    chosen = settings(tmp_path, log)
    await _init(chosen)
    clock = FakeClock(SystemClock().now())
    async with opened(chosen, log, clock) as one:
        app = monitor_app("m1", one.monitor, views(one, chosen), clock)
        async with served(app) as web:
            answers = [await web.post("/gossip/v1/exchange", padded(number)) for number in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[2].headers["retry-after"]) > 0
        assert one.monitor.gossip.busy == {"bytes": 1, "envelopes": 0, "requests": 0, "room": 0}


async def test_a_peer_that_sends_too_often_is_told_so_over_http_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "MAX_NONCES_PER_SENDER", 2)
    log = grown(3)
    chosen = settings(tmp_path, log)
    await _init(chosen)
    clock = FakeClock(SystemClock().now())
    async with opened(chosen, log, clock) as one:
        app = monitor_app("m1", one.monitor, views(one, chosen), clock)
        async with served(app) as web:
            answers = [await web.post("/gossip/v1/exchange", empty()) for _ in range(3)]
            # 240 seconds, in which nothing fresh may be forgotten.
            assert [answer.status for answer in answers] == [200, 200, 429]
            assert answers[2].headers["retry-after"] == "241"
            clock.advance(241)
            assert (await web.post("/gossip/v1/exchange", empty(clock.now_ms()))).status == 200
        assert one.monitor.gossip.busy == {"bytes": 0, "envelopes": 1, "requests": 0, "room": 0}


# A process that is killed.


KILLED = """
import os, sys, trio
from pathlib import Path
from gossip.core import Contradicted, Weigh
from monitor.node import Monitor
from tests.fakes_log import WITNESSES, FakeLog
from tests.unit.test_monitor_gossip import read
from tests.unit.test_monitor_node import ID, bench

class Killed(Monitor):
    async def perform(self, effect):
        events = await super().perform(effect)
        if any(isinstance(event, Contradicted) for event in events):
            self.turn_over()
            await self.flush()
            os._exit(9)
        return events

async def main(folder):
    log = FakeLog()
    log.add(9)
    log.publish()
    async with bench(folder, log) as one:
        await one.poll()
        one.monitor.__class__ = Killed
        await one.monitor.submit(ID, log.sign(5, WITNESSES[:1], time=100))

trio.run(main, Path(sys.argv[1]))
"""


async def test_a_process_that_is_killed_between_writing_and_telling_convicts_when_it_is_back(tmp_path: Path) -> None:
    process = await trio.run_process([sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=ROOT)
    assert process.returncode == 9
    log = grown(9)
    async with opened(settings(tmp_path, log), log) as one:
        assert found(one) == [EvidenceType.COSIGNER_ROLLBACK.value]
