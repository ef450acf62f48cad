"""How gossip travels: outboxes, answers, retries and requests held open, in virtual time and without a network."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from gossip.budget import BURST_BYTES, BYTES_PER_SECOND, ByteBudget, Room
from gossip.canonical import unpack
from gossip.core import Count, Effect, Event, Ignored, Rules, Tick, begin
from gossip.core.state import MAX_PENDING
from gossip.envelope import MAX_ENVELOPE_BYTES, Envelope, peer_id, seal
from gossip.limits import MAX_OUTSTANDING, MAX_UNREAD_BYTES, SMALL_BYTES
from gossip.machine import GossipFailed
from gossip.messages import (
    MAX_DIGEST,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetConsistency,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    HeldEvidence,
    Known,
    Message,
    Summary,
    Unknown,
    format_message,
)
from gossip.outbox import MAX_WAITING_EVIDENCE, MAX_WAITING_MESSAGES, Outbox
from gossip.shell import EXCHANGE_PATH, MAX_WAIT_SECONDS, Busy, Gossip, Peer, Reply, Unreachable
from tests.fakes_log import signer
from tlog.errors import FormatError, SignatureError, TlogError
from tlog.keys import SignerKey

H = b"h" * 32
KEYS = {name: signer(f"{name}.example") for name in ("a", "b")}


class TrioClock:
    """The wall clock, which in these tests is trio's."""

    def now(self) -> int:
        return int(trio.current_time())

    def now_ms(self) -> int:
        return int(trio.current_time() * 1000)


class RecordingHost:
    """Does nothing but remember what was wanted; ``later`` are the events that the next effect brings."""

    def __init__(self) -> None:
        self.wanted: list[Effect] = []
        self.later: list[Event] = []
        self.fails = False

    async def perform(self, effect: Effect) -> Sequence[Event]:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise OSError("the disk is gone")
        self.wanted.append(effect)
        found, self.later = self.later, []
        return found

    def turn_over(self) -> None:
        pass

    async def flush(self) -> None:
        pass


class Network:
    """Carries envelopes to whoever has the URL, unless the wire is cut."""

    def __init__(self) -> None:
        self.nodes: dict[str, Gossip] = {}
        self.cut = False
        self.status = 200
        self.posts: list[tuple[float, str]] = []
        self.broken_answer: bytes | None = None
        self.retry_after: float | None = None
        self.answered = 0

    async def post(self, url: str, body: bytes, seconds: float) -> Reply:
        self.posts.append((trio.current_time(), url))
        await trio.sleep(0.01)
        if self.cut:
            raise Unreachable
        if self.status != 200:
            return Reply(self.status, b"no", self.retry_after)
        base, _, query = url.partition("?wait=")
        answer = await self.nodes[base.removesuffix(EXCHANGE_PATH)].answer(body, float(query or 0))
        self.answered += len(answer)
        return Reply(200, self.broken_answer or answer)


def node(network: Network, name: str, *, dials: bool = True) -> tuple[Gossip, RecordingHost]:
    """One of two peers; without ``dials`` it knows no URL of the other."""
    (other,) = [one for one in KEYS if one != name]
    peer = Peer(KEYS[other].verifier_key, f"http://{other}" if dials else None)
    rules = Rules({}, (peer.id,), (peer.id,) if dials else ())
    state = replace(begin(rules, 1, 0), exchange_ms=10**12)
    host = RecordingHost()
    gossip = Gossip(state, KEYS[name], [peer], host, network.post, TrioClock())
    network.nodes[f"http://{name}"] = gossip
    return gossip, host


@asynccontextmanager
async def running(*nodes: Gossip, hold_open: bool = False) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for one in nodes:
            nursery.start_soon(partial(one.run, hold_open=hold_open))
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def request(*messages: Message | Known, key: SignerKey = KEYS["a"], nonce: bytes = b"n" * 16) -> bytes:
    values = tuple((one.type,) if isinstance(one, Unknown) else format_message(one) for one in messages)
    now_ms = int(trio.current_time() * 1000)
    recipient = peer_id(KEYS["b"].verifier_key)
    return seal(Envelope(peer_id(key.verifier_key), recipient, now_ms, nonce, None, values), key)


A, B = (peer_id(KEYS[name].verifier_key) for name in "ab")
UNKNOWN_HEAD = Head(H, b"note", 2, None, ())


async def test_a_message_arrives_and_is_acted_on(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    async with running(a, b):
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(1)
    assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)]
    assert (b.heard_ms(A) is not None, a.heard_ms(b"?" * 32)) == (True, None)


async def test_a_peer_that_was_away_gets_everything_in_order(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    network.cut = True
    async with running(a, b):
        for size in (1, 2, 3):
            a.send(B, GetConsistency(H, 0, size))
            await trio.sleep(1)
        network.cut = False
        await trio.sleep(20)
    assert host.wanted == [Count(Ignored.IMPOSSIBLE_PROOF)] * 3


async def test_retries_come_less_and_less_often(autojump_clock: MockClock) -> None:
    network = Network()
    a, _ = node(network, "a")
    network.cut = True
    async with running(a):
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(100)
    times = [when for when, _ in network.posts]
    gaps = [after - before for before, after in pairwise(times)]
    assert 10 < len(gaps) < 25
    assert max(gaps[:2]) < 1 < 5 < min(gaps[-3:])
    assert max(gaps) < 10.1


async def test_a_peer_that_is_heard_from_again_is_not_left_waiting(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    network.cut = True
    async with running(a, b):
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(100)
        network.cut = False
        b.send(A, GetHeads(()))
        await trio.sleep(0.1)
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(0.3)
    assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)] * 2


async def test_a_peer_that_refuses_is_left_alone_although_it_is_heard_from(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), _ = node(network, "a"), node(network, "b")
    network.status = 400
    async with running(a):
        while len(network.posts) < 8:
            a.send(B, UNKNOWN_HEAD)
            await trio.sleep(0.1)
        await a.answer(seal(Envelope(B, A, int(trio.current_time() * 1000), b"n" * 16, None, ()), KEYS["b"]))
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(1)
    assert len(network.posts) == 8


async def test_messages_that_a_peer_refuses_are_not_sent_again(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    network.status = 400
    async with running(a, b):
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(1)
        network.status = 200
        await trio.sleep(60)
    assert (host.wanted, len(network.posts)) == ([], 1)


async def test_an_answer_that_is_none_is_not_believed(autojump_clock: MockClock) -> None:
    network = Network()
    (a, host), (b, _) = node(network, "a"), node(network, "b")
    async with running(a, b):
        network.broken_answer = request(UNKNOWN_HEAD)
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(5)
    assert host.wanted == []


async def test_an_answer_that_has_to_be_refused_slows_the_next_request_down(autojump_clock: MockClock) -> None:
    network = Network()
    (a, host), (b, _) = node(network, "a"), node(network, "b")
    async with running(a, b):
        b.send(A, EvidenceBundle(1, b"nonsense"))
        await trio.sleep(5)
    assert (host.wanted, len(network.posts)) == ([], 1)


async def test_a_peer_that_nobody_can_dial_holds_a_request_open(autojump_clock: MockClock) -> None:
    network = Network()
    (a, host), (b, _) = node(network, "a"), node(network, "b", dials=False)
    async with running(a, b, hold_open=True):
        await trio.sleep(100)
        assert host.wanted == []
        before = len(network.posts)
        b.send(A, UNKNOWN_HEAD)
        await trio.sleep(0.1)
        assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)]
    # One request every 25 seconds, and not one after the other.
    assert before <= 100 / MAX_WAIT_SECONDS + 1


async def test_holding_open_survives_an_unreachable_peer(autojump_clock: MockClock) -> None:
    network = Network()
    (a, host), (b, _) = node(network, "a"), node(network, "b", dials=False)
    network.cut = True
    async with running(a, b, hold_open=True):
        await trio.sleep(30)
        network.cut = False
        b.send(A, UNKNOWN_HEAD)
        await trio.sleep(15)
    assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)]


async def test_requests_held_open_are_answered_when_the_program_ends(autojump_clock: MockClock) -> None:
    network = Network()
    b, _ = node(network, "b", dials=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(b.answer, request(), MAX_WAIT_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        b.release()
    await b.answer(request(nonce=b"m" * 16), MAX_WAIT_SECONDS)
    assert trio.current_time() < 1


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (lambda: b"nonsense", FormatError),
        (lambda: request(key=signer("stranger")), SignatureError),
        (lambda: request(EvidenceBundle(1, b"nonsense")), FormatError),
        (lambda: seal(Envelope(A, B, 0, b"n" * 16, None, ((4, b"x"),)), KEYS["a"]), FormatError),
    ],
    ids=["no envelope", "a stranger", "evidence that is none", "a malformed message"],
)
async def test_what_has_to_be_refused_raises(raw: Callable[[], bytes], error: type[TlogError]) -> None:
    b, _ = node(Network(), "b")
    with pytest.raises(error):
        await b.answer(raw())


async def test_the_machine_gets_its_ticks(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, _) = node(network, "a"), node(network, "b")
    a._machine.state = replace(a.state, exchange_ms=0)
    async with running(a, b):
        await trio.sleep(100)
    # An exchange every 10 seconds, give or take a fifth, and each is one request.
    assert 8 <= len(network.posts) <= 13


async def test_a_tick_comes_earlier_when_an_event_makes_it_due(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, _) = node(network, "a"), node(network, "b")
    async with running(a, b):
        a._machine.state = replace(a.state, exchange_ms=int(trio.current_time() * 1000) + 500)
        await a.dispatch(Tick())
        await trio.sleep(2)
    assert len(network.posts) == 1


async def test_what_an_effect_brings_is_taken_into_account_first() -> None:
    b, host = node(Network(), "b")
    host.later = [Tick()]
    b._machine.state = replace(b.state, exchange_ms=0)
    await b.answer(request(Unknown(99), UNKNOWN_HEAD))
    assert host.wanted == [Count(Ignored.UNKNOWN_MESSAGE), Count(Ignored.HEAD_OF_UNKNOWN_LOG)]
    assert b.state.exchange_ms > 0


async def test_one_peer_s_envelopes_keep_nobody_else_waiting_for_more_than_one(autojump_clock: MockClock) -> None:
    class SlowHost:
        done = 0

        async def perform(self, effect: Effect) -> Sequence[Event]:
            await trio.sleep(1)
            self.done += 1
            return ()

        def turn_over(self) -> None:
            pass

        async def flush(self) -> None:
            pass

    host = SlowHost()
    idle, _ = node(Network(), "b", dials=False)
    slow = Gossip(idle.state, KEYS["b"], [Peer(KEYS["a"].verifier_key)], host, Network().post, TrioClock())
    with trio.fail_after(60):
        async with trio.open_nursery() as tasks:
            for number in range(MAX_OUTSTANDING):
                tasks.start_soon(slow.answer, request(GetTile(H, 0, number, 1), nonce=bytes([number]) * 16))
            await trio.testing.wait_all_tasks_blocked()
            started = trio.current_time()
            await slow.dispatch(Tick())
            waited = trio.current_time() - started
    assert host.done == MAX_OUTSTANDING
    assert waited <= 1


async def test_a_step_once_begun_is_not_cancelled() -> None:
    b, host = node(Network(), "b")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.answer, request(Unknown(98), Unknown(99)))
            await trio.lowlevel.checkpoint()
            scope.cancel()
    assert host.wanted in ([], [Count(Ignored.UNKNOWN_MESSAGE)] * 2)


async def test_a_failing_disk_ends_everything(autojump_clock: MockClock) -> None:
    b, host = node(Network(), "b")
    host.fails = True
    with pytest.RaisesGroup(GossipFailed, flatten_subgroups=True):
        async with running(b):
            with pytest.raises(OSError, match="disk"):
                await b.answer(request(Unknown(99)))
            await trio.sleep(1)


class CarefulHost:
    """Its disk takes until ``disk`` is set, or is broken."""

    def __init__(self) -> None:
        self.disk = trio.Event()
        self.broken = False
        self.flushes = 0

    async def perform(self, effect: Effect) -> Sequence[Event]:
        await trio.lowlevel.checkpoint()
        return ()

    def turn_over(self) -> None:
        pass

    async def flush(self) -> None:
        self.flushes += 1
        await self.disk.wait()
        if self.broken:
            raise OSError("the disk is gone")


def careful() -> tuple[Gossip, CarefulHost]:
    """A monitor that answers each SUMMARY, when its disk has what came before."""
    host = CarefulHost()
    idle, _ = node(Network(), "b", dials=False)
    return Gossip(idle.state, KEYS["b"], [Peer(KEYS["a"].verifier_key)], host, Network().post, TrioClock()), host


SAYS = Summary(7, 1, H, H, 0, 0, 0)


async def test_nothing_leaves_before_the_disk_has_what_it_follows_from(autojump_clock: MockClock) -> None:
    b, host = careful()
    answers: list[bytes] = []

    async def ask() -> None:
        answers.append(await b.answer(request(SAYS), MAX_WAIT_SECONDS))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(10)
        assert (answers, b._outboxes[A].take()) == ([], [])
        host.disk.set()
    assert answered(answers[0])


async def test_nothing_leaves_when_the_disk_fails_and_no_later_event_lets_it_out(autojump_clock: MockClock) -> None:
    b, host = careful()
    host.broken = True
    host.disk.set()
    with pytest.RaisesGroup(GossipFailed, flatten_subgroups=True):
        async with running(b):
            with pytest.raises(OSError, match="disk"):
                await b.answer(request(SAYS))
            host.broken = False
            with pytest.raises(GossipFailed):
                await b.answer(request(SAYS, nonce=b"m" * 16))
            assert b._outboxes[A].take() == []
            await trio.sleep(1)


async def test_all_that_wait_for_the_disk_at_once_wait_together(autojump_clock: MockClock) -> None:
    b, host = careful()
    async with trio.open_nursery() as nursery:
        for number in range(MAX_OUTSTANDING):
            nursery.start_soon(b.answer, request(Unknown(99), nonce=b"%16d" % number))
        await trio.testing.wait_all_tasks_blocked()
        assert host.flushes == 1
        host.disk.set()
    assert host.flushes == 2


async def test_what_waits_for_the_disk_is_not_cancelled(autojump_clock: MockClock) -> None:
    b, host = careful()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.answer, request(SAYS))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            host.disk.set()
    assert (b._machine._durable, b._outboxes[A].take() != []) == (1, True)


async def test_a_quiet_request_does_not_silence_what_comes_later(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    async with running(a, b):
        # Nothing to say, twice and at the same time; whoever waits to deliver has to wake up nevertheless.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.answer, request(nonce=b"1" * 16), 2.0)
            nursery.start_soon(b.answer, request(nonce=b"2" * 16), 1.0)
        b.send(A, UNKNOWN_HEAD)
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(1)
    assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)]
    assert sorted(url for _, url in network.posts) == [f"http://{name}{EXCHANGE_PATH}" for name in "ab"]


# What one peer, and all strangers together, may take.


def bulk(number: int, key: SignerKey = KEYS["a"]) -> bytes:
    """An envelope of 900 kB that asks for nothing."""
    now_ms = int(trio.current_time() * 1000)
    recipient = peer_id(KEYS["b"].verifier_key)
    padding = tuple((99, bytes(150_000)) for _ in range(6))
    return seal(Envelope(peer_id(key.verifier_key), recipient, now_ms, b"%16d" % number, None, padding), key)


async def test_a_peer_that_sends_too_much_is_told_when_to_go_on(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    for number in range(2):
        await b.answer(bulk(number))
    with pytest.raises(Busy) as busy:
        await b.answer(bulk(3))
    # Two of 900 kB are gone of 2 MiB; what is missing comes back at 64 kB a second.
    assert busy.value.seconds == -(-(3 * len(bulk(0)) - BURST_BYTES) // BYTES_PER_SECOND)
    await trio.sleep(busy.value.seconds)
    assert await b.answer(bulk(4))


async def test_an_envelope_that_was_over_budget_may_come_again(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    late = bulk(3)
    for number in range(2):
        await b.answer(bulk(number))
    with pytest.raises(Busy):
        await b.answer(late)
    await trio.sleep(60)
    assert await b.answer(late)


async def test_nobody_else_can_use_up_what_a_peer_may_send(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    envelope = bulk(0)
    await b.answer(envelope)
    forged = envelope[:-1] + bytes([envelope[-1] ^ 1])
    for _ in range(5):
        with pytest.raises(FormatError):
            await b.answer(envelope)
        with pytest.raises(SignatureError):
            await b.answer(forged)
    assert await b.answer(bulk(1))


async def test_answers_that_are_too_large_keep_us_from_asking_again(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, _) = node(network, "a"), node(network, "b", dials=False)
    async with running(a, b, hold_open=True):
        for _ in range(60):
            for number in range(5):
                b.send(A, EvidenceBundle(1, bytes([number]) * 199_000))
            await trio.sleep(1)
    assert BURST_BYTES < network.answered < BURST_BYTES + 60 * BYTES_PER_SECOND + MAX_ENVELOPE_BYTES


async def test_a_peer_has_so_many_requests_open_and_no_more(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    async with trio.open_nursery() as nursery:
        for number in range(MAX_OUTSTANDING):
            nursery.start_soon(b.answer, request(nonce=b"%16d" % number), MAX_WAIT_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Busy):
            await b.answer(request(nonce=b"m" * 16))
        b.release()
    assert await b.answer(request(nonce=b"o" * 16))


@pytest.mark.parametrize(("status", "retry_after", "pause"), [(429, 7.0, 7), (503, None, 1), (429, 1e9, 60)])
async def test_a_busy_peer_is_left_alone_and_loses_nothing(
    autojump_clock: MockClock, status: int, retry_after: float | None, pause: int
) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    network.status, network.retry_after = status, retry_after
    async with running(a, b):
        a.send(B, UNKNOWN_HEAD)
        await trio.sleep(0.5)
        network.status = 200
        await trio.sleep(70)
    (first, _), (second, _) = network.posts
    assert round(second - first) == pause
    assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)]


async def test_a_request_that_is_held_open_waits_for_a_busy_peer(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, _) = node(network, "a"), node(network, "b", dials=False)
    network.status, network.retry_after = 429, 30.0
    async with running(a, b, hold_open=True):
        await trio.sleep(100)
    assert len(network.posts) == 4


async def test_bodies_that_nobody_has_authenticated_are_bounded(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    held = 0

    async def read() -> None:
        nonlocal held
        async with b.reading(10**9):
            held += 1
            await trio.sleep(60)

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(read_until_busy, read)
        await trio.sleep(30)
        assert held == MAX_UNREAD_BYTES // MAX_ENVELOPE_BYTES
        # There is no room for another one until one of them has gone; what is small needs none.
        with pytest.raises(Busy):
            async with b.reading(SMALL_BYTES + 1):
                pass
        async with b.reading(SMALL_BYTES):
            pass
        await trio.sleep(31)
        async with b.reading(10**9):
            pass


async def read_until_busy(read: Callable[[], Awaitable[None]]) -> None:
    with suppress(Busy):
        await read()


async def test_who_waits_for_room_gets_it_in_turn(autojump_clock: MockClock) -> None:
    room = Room(10, 5.0)
    order: list[int] = []

    async def hold(number: int, size: int) -> None:
        async with room.hold(size):
            order.append(number)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for number, size in enumerate((6, 8, 3)):
            nursery.start_soon(hold, number, size)
            await trio.testing.wait_all_tasks_blocked()
    assert order == [0, 1, 2]


async def test_room_comes_back_from_whoever_gave_up_waiting(autojump_clock: MockClock) -> None:
    room = Room(10, 5.0)
    with trio.CancelScope() as scope:
        async with room.hold(10), trio.open_nursery() as nursery:
            nursery.start_soon(read_until_busy, room.hold(4).__aenter__)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    async with room.hold(10):
        pass


def test_a_clock_that_is_set_back_gives_nobody_more() -> None:
    budget = ByteBudget(10_000)
    budget.charge(BURST_BYTES, 10_000)
    with pytest.raises(Busy):
        budget.charge(1, 0)
    budget.spend(BYTES_PER_SECOND, 0)
    assert budget.owed(0) == 1.0


# Outboxes, looked at through the answers they make.


def answered(raw: bytes) -> list[Any]:
    """The messages in an answer."""
    value = unpack(raw)
    if not isinstance(value, tuple) or not isinstance(value[6], tuple):
        raise AssertionError
    return list(value[6])


def asked(number: int) -> GetConsistency:
    return GetConsistency(H, 1, number)


async def test_evidence_leaves_first(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    b.send(A, asked(2))
    b.send(A, EvidenceBundle(1, b"x"))
    assert [one[0] for one in answered(await b.answer(request()))] == [12, 6]


async def test_of_one_log_only_the_newest_verified_head_waits(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    for message in (
        Head(H, b"old", 1, None, ()),
        Head(H, b"pending", 2, None, ()),
        Summary(1, 1, H, H, 0, 0, 0),
        GetTile(H, 0, 1, 256),
        Head(H, b"new", 1, None, ()),
        Summary(2, 1, H, H, 0, 0, 0),
        GetTile(H, 0, 1, 256),
        Head(b"x" * 32, b"other", 1, None, ()),
        GetHeads((H,)),
        GetHeads((H,)),
    ):
        b.send(A, message)
    messages = answered(await b.answer(request()))
    assert [one[0] for one in messages] == [5, 2, 8, 5, 4, 4, 5]
    assert b.dropped == 0


async def test_a_slow_peer_loses_the_oldest_messages_and_no_evidence_to_them(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    b.send(A, EvidenceBundle(1, b"x"))
    for number in range(MAX_WAITING_MESSAGES + 3):
        b.send(A, asked(number))
    messages = answered(await b.answer(request()))
    assert (b.dropped, len(messages), messages[0], messages[1]) == (
        3,
        MAX_WAITING_MESSAGES + 1,
        (12, 1, b"x"),
        (6, H, 1, 3),
    )


async def test_an_envelope_holds_what_fits_and_the_rest_comes_next(autojump_clock: MockClock) -> None:
    b, _ = node(Network(), "b", dials=False)
    for number in range(MAX_WAITING_EVIDENCE):
        b.send(A, EvidenceBundle(1, b"%d" % number * 50_000))
    sizes = []
    for number in range(10):
        answer = await b.answer(request(nonce=b"%16d" % number))
        sizes.append(len(answer))
        if not answered(answer):
            break
    assert max(sizes) <= 1024 * 1024
    assert sum(sizes) > MAX_WAITING_EVIDENCE * 50_000


async def test_what_could_not_be_sent_gives_way_to_what_is_newer(autojump_clock: MockClock) -> None:
    network = Network()
    (a, _), (b, host) = node(network, "a"), node(network, "b")
    network.cut = True
    async with running(a, b):
        a.send(B, Head(H, b"old", 1, None, ()))
        await trio.sleep(0.005)
        a.send(B, Head(H, b"new", 1, None, ()))
        await trio.sleep(1)
        network.cut = False
        await trio.sleep(20)
    assert host.wanted == [Count(Ignored.HEAD_OF_UNKNOWN_LOG)]


def test_whatever_waits_an_envelope_is_not_larger_than_a_peer_reads() -> None:
    outbox = Outbox()
    for number in range(111):
        outbox.put(Head(number.to_bytes(32), bytes(7000), 1, None, ()))
    outbox.put(Digest(0, 1, tuple(DigestEntry(bytes(32), 2**62, bytes(32), 1) for _ in range(MAX_DIGEST)), more=False))
    batches = list(iter(outbox.take, []))
    assert (len(batches), sum(len(batch) for batch in batches)) == (2, 112)
    sealed = [Envelope(H, H, 0, bytes(16), None, tuple(one.value for one in batch)) for batch in batches]
    assert all(len(seal(one, KEYS["a"])) <= MAX_ENVELOPE_BYTES for one in sealed)


def test_no_flood_of_heads_displaces_the_name_of_evidence() -> None:
    outbox = Outbox()
    outbox.put(HaveEvidence((HeldEvidence(2, H, H, H),)))
    for number in range(2 * MAX_WAITING_MESSAGES):
        outbox.put(Head(number.to_bytes(32), b"note", 2, None, ()))
    assert outbox.take()[0].value == format_message(HaveEvidence((HeldEvidence(2, H, H, H),)))


def test_logs_that_sign_long_heads_all_the_time_leave_room_for_a_pending_head_of_another() -> None:
    outbox = Outbox()
    pending = Head(bytes(32), bytes(90_000), 2, None, ())
    outbox.put(pending)
    for number in range(1, 9):
        outbox.put(Head(number.to_bytes(32), bytes(96_000), 1, None, ()))
    batch = outbox.take()
    assert format_message(pending) in [waiting.value for waiting in batch]
    assert len(batch) == 7


def test_pending_heads_of_one_log_wait_behind_everything_else_and_leave_room_for_those_of_another() -> None:
    outbox = Outbox()
    other = Head(bytes(32), b"note", 2, None, ())
    outbox.put(other)
    dropped = sum(outbox.put(Head(H, number.to_bytes(2) * 45_000, 2, None, ())) for number in range(600))
    outbox.put(Head(H, b"verified", 1, None, ()))
    batches = [outbox.take() for _ in range(8)]
    assert dropped == 600 - MAX_PENDING
    assert [waiting.value for waiting in batches[0]] == [
        format_message(message)
        for message in (Head(H, b"verified", 1, None, ()), other, Head(H, (592).to_bytes(2) * 45_000, 2, None, ()))
    ]
    assert [len(batch) for batch in batches] == [3, 1, 1, 1, 1, 1, 1, 1]
    assert not outbox.take()
