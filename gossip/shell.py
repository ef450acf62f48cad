"""Runs the gossip machine: one event at a time, effects in order, messages carried by HTTP.

``Gossip`` owns the machine's state. Whatever happens is given to ``dispatch``, which steps the machine and lets the
``Host`` do everything but sending; what that brings is fed back before anything else. Messages wait in an outbox for
each peer until they leave in one of three ways: in the answer to the peer's own request, in a request to its URL, or,
for a peer that cannot be dialled, in the answer to the request that it keeps open (``?wait=``).

Nothing gets into an outbox before the host has made durable what was wanted before it, and ``dispatch`` does not return
before that either. Meanwhile other events are taken into account: all that wait at the same time share one wait for
the disk.

Two kinds of time are used. Envelopes carry the wall clock. The machine gets the time since some start, which never goes
back, since all it does with it is to wait.
"""

import random
import secrets
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import trio

from gossip.budget import Busy as Busy  # part of this module's interface
from gossip.budget import ByteBudget, Room
from gossip.canonical import Value, pack
from gossip.core import Effect, Event, Received, Refuse, Relink, Send, State, Tick, step, wake_ms
from gossip.core.links import LINKS, Member, choose_links
from gossip.envelope import MAX_ENVELOPE_BYTES, NONCE_BYTES, Envelope, SeenNonces, open_envelope, peer_id, seal
from gossip.messages import EvidenceBundle, GetTile, Head, Known, Message, Summary, format_message, parse_message
from runtime.clock import Clock
from tlog.errors import FormatError, TlogError
from tlog.keys import SignerKey, VerifierKey

EXCHANGE_PATH = "/gossip/v1/exchange"
ENVELOPE_TYPE = "application/vnd.sameview.gossip"
MAX_WAIT_SECONDS = 25.0  # a request held open for longer meets the time-outs of common proxies

MAX_WAITING_MESSAGES = 512  # per peer; older ones are dropped first, and anti-entropy repeats what matters
MAX_WAITING_EVIDENCE = 64  # per peer and apart from the rest: no flood of heads may displace a conviction
MAX_BATCH_BYTES = MAX_ENVELOPE_BYTES - 256 * 1024  # one message is at most 200 kB, so this leaves room for the last one
MAX_BATCH = 1024  # messages in one envelope

EXCHANGE_SECONDS = 15.0  # for one request to a peer
FIRST_RETRY_SECONDS = 0.25  # after a failure, doubled each time
LAST_RETRY_SECONDS = 10.0  # one anti-entropy period: a peer that returns is noticed by the next one
LONGEST_BUSY_SECONDS = 60.0  # however long a busy peer wants us to wait, news waits no longer

DAY_SECONDS = 86_400
LONGEST_DAYLIGHT_SECONDS = 3600  # without a look at whether another day has begun

MAX_OUTSTANDING = 4  # requests of one peer at once: one to deliver, one held open, and as many of a second run
MAX_UNREAD_BYTES = 16 * 1024 * 1024  # of envelopes that nobody has authenticated yet; joining their pieces doubles it
UNREAD_PATIENCE_SECONDS = 5.0  # for room among these
BUSY_REASONS = ("bytes", "requests", "room")  # of one peer, of one peer, and of bodies of everybody
SMALL_BYTES = 16 * 1024  # needs no room: a thousand connections hold 16 MB of it, and most of what peers say is smaller


class Host(Protocol):
    """Does what the machine wants done, except sending."""

    async def perform(self, effect: Effect) -> Sequence[Event]:
        """Do it, and tell what came of it. What has to be durable may wait for ``flush``."""
        ...

    def turn_over(self) -> None:
        """All that follows from an event has been performed."""
        ...

    async def flush(self) -> None:
        """Make durable what was performed in turns that are over. What they wanted sent has not left yet."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """What a peer answered to a POST."""

    status: int
    body: bytes
    retry_after: float | None = None


class Unreachable(Exception):  # noqa: N818  # says what happened
    """The peer gave no answer."""


class GossipFailed(Exception):  # noqa: N818  # as above
    """Something that the machine wanted could not be done, and its state says more than the disk."""

    def __init__(self) -> None:
        super().__init__("gossip could not do what it had decided: stop and restart")


Post = Callable[[str, bytes, float], Awaitable[Reply]]
"""Posts a body to a URL within some seconds. Raises ``Unreachable``."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another monitor, as the configuration names it. Without a URL it has to come to us."""

    key: VerifierKey
    url: str | None = None
    operator: str = ""
    anchor: bool = False

    @property
    def id(self) -> bytes:
        """The name that envelopes use."""
        return peer_id(self.key)


class Gossip:
    """The machine with its peers."""

    def __init__(
        self,
        state: State,
        key: SignerKey,
        peers: Sequence[Peer],
        host: Host,
        post: Post,
        clock: Clock,
        links: int = LINKS,
    ) -> None:
        self.state = state
        self.dropped = 0
        self.busy = dict.fromkeys(BUSY_REASONS, 0)
        self.overheard: Callable[[bytes, Sequence[Message]], None] = _nobody_listens
        """Told what a peer said, once that was taken in."""
        self._key = key
        self._id = peer_id(key.verifier_key)
        self._peers: Mapping[bytes, Peer] = {peer.id: peer for peer in peers}
        self._keys = {peer.id: peer.key for peer in peers}
        self._outboxes = {peer.id: _Outbox() for peer in peers}
        self._queues = {peer.id: trio.Lock() for peer in peers}
        self._heard: dict[bytes, int] = {}
        self._returned = {peer.id: trio.Event() for peer in peers}
        self._host = host
        self._post = post
        self._clock = clock
        self._members = [Member(peer.id, peer.operator, peer.anchor, peer.url is not None) for peer in peers]
        self._links = links
        self._seen = SeenNonces()
        self._budgets = {peer.id: ByteBudget(_now_ms()) for peer in peers}
        self._outstanding = Counter[bytes]()
        self._unread = Room(MAX_UNREAD_BYTES, UNREAD_PATIENCE_SECONDS)
        self._chance = random.Random(secrets.token_bytes(32))  # noqa: S311 # it picks peers and spreads load, no more
        self._turn = trio.Lock()
        self._turns = 0
        self._durable = 0  # as many turns are on disk
        self._flushing = trio.Lock()
        self._wanted: list[Send] = []  # in this turn
        self._staged: list[Send] = []  # in earlier ones: waits for the disk
        self._changed = trio.Event()
        self._released = False
        self._failed = trio.Event()

    async def dispatch(self, event: Event) -> list[str]:
        """Take an event into account, with all that follows; return the reasons for refusing what it brought.

        Once begun it is not cancelled: the state must not say what was never written down. If it fails, ``run`` fails
        too, wherever the event came from: only a restart brings the state back to what the disk says.
        """
        async with self._turn:
            turn, refusals = await self._have_turn(event)
        await self._end(turn)
        return refusals

    def send(self, peer: bytes, message: Known) -> None:
        """Put a message into a peer's outbox."""
        self.dropped += self._outboxes[peer].put(message)

    def heard_ms(self, peer: bytes) -> int | None:
        """Tell when a peer was heard of last, by the wall clock; None if not since the start."""
        return self._heard.get(peer)

    def reading(self, size: int) -> AbstractAsyncContextManager[None]:
        """Hold a place for a body of at most so many bytes while it is read and opened. Raises ``Busy``.

        A small one needs none: strangers who never finish theirs may take all places, and news must still get in.
        """
        if size <= SMALL_BYTES:
            return nullcontext()
        return self._room(min(size, MAX_ENVELOPE_BYTES))

    def open(self, raw: bytes) -> Envelope:
        """Open a peer's envelope; ``reply`` acts on it.

        Raises:
            FormatError, SignatureError: it is refused.
            Busy: the peer has sent too much lately.
        """
        return open_envelope(raw, self._keys, self._id, self._clock.now_ms(), self._seen, charge=self._charge)

    async def reply(self, envelope: Envelope, wait: float = 0.0) -> bytes:
        """Answer a peer's envelope with ours; hold the answer back for a while as long as there is nothing to say.

        Raises:
            FormatError: a message in it is refused.
            Busy: the peer has too many requests open.
        """
        with self._counted(envelope.sender):
            return await self._reply(envelope, wait)

    async def answer(self, raw: bytes, wait: float = 0.0) -> bytes:
        """``open``, then ``reply``."""
        return await self.reply(self.open(raw), wait)

    def release(self) -> None:
        """Answer every request that is held open, now and from now on: the program is about to end."""
        self._released = True
        for outbox in self._outboxes.values():
            outbox.release()

    async def run(self, *, hold_open: bool = False) -> None:
        """Keep the machine's time and deliver its messages, for ever.

        With ``hold_open`` a request is kept open at every peer that can be dialled, since none of them can dial us.
        """
        async with trio.open_nursery() as tasks:
            await self.relink()
            tasks.start_soon(self._relink_daily)
            tasks.start_soon(self._keep_time)
            tasks.start_soon(self._stop_when_failed)
            for peer in self._peers.values():
                if peer.url is not None:
                    tasks.start_soon(self._deliver, peer.id, peer.url + EXCHANGE_PATH)
                    if hold_open:
                        tasks.start_soon(
                            self._hold_open, peer.id, f"{peer.url}{EXCHANGE_PATH}?wait={MAX_WAIT_SECONDS:g}"
                        )

    def _charge(self, sender: bytes, size: int) -> None:
        with self._counted_busy("bytes"):
            self._budgets[sender].charge(size, _now_ms())

    @contextmanager
    def _counted_busy(self, reason: str) -> Iterator[None]:
        try:
            yield
        except Busy:
            self.busy[reason] += 1
            raise

    @asynccontextmanager
    async def _room(self, size: int) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            with self._counted_busy("room"):
                await held.enter_async_context(self._unread.hold(size))
            yield

    @contextmanager
    def _counted(self, sender: bytes) -> Iterator[None]:
        with self._counted_busy("requests"):
            if self._outstanding[sender] >= MAX_OUTSTANDING:
                raise Busy(1)
        self._outstanding[sender] += 1
        try:
            yield
        finally:
            self._outstanding[sender] -= 1

    async def _reply(self, envelope: Envelope, wait: float) -> bytes:
        outbox = self._outboxes[envelope.sender]
        with outbox.held_back():
            refusals = await self._receive(envelope, answer=False)
            if refusals:
                raise FormatError(refusals[0])
            if not self._released:
                with trio.move_on_after(min(max(wait, 0.0), MAX_WAIT_SECONDS)):
                    await outbox.wait()
            return self._sealed(envelope.sender, outbox.take(), envelope.nonce)[0]

    async def _have_turn(self, event: Event) -> tuple[int, list[str]]:
        """Take an event into account. Whoever calls this ends the turn, and does nothing before that."""
        with self._uncancelled():
            refusals = await self._follow_up(event)
            self._host.turn_over()
            self._staged += self._wanted
            self._wanted = []
            self._turns += 1
            return self._turns, refusals

    async def _end(self, turn: int) -> None:
        """Wait for the disk, while others have their turns."""
        with self._uncancelled():
            await self._make_durable(turn)
        self._changed.set()
        self._changed = trio.Event()

    @contextmanager
    def _uncancelled(self) -> Iterator[None]:
        with trio.CancelScope(shield=True):
            try:
                yield
            except BaseException:
                self._failed.set()
                raise

    async def _make_durable(self, turn: int) -> None:
        """Flush, then let out what waited for it; once for all turns that ended meanwhile."""
        async with self._flushing:
            if self._durable >= turn:
                return
            if self._failed.is_set():
                raise GossipFailed
            turns, staged = self._turns, self._staged
            self._staged = []
            await self._host.flush()
            self._durable = turns
            for message in staged:
                self.send(message.peer, message.message)

    async def _follow_up(self, event: Event) -> list[str]:
        refusals: list[str] = []
        events = deque([event])
        while events:
            self.state, effects = step(self.state, events.popleft(), _now_ms(), self._chance)
            for effect in effects:
                match effect:
                    case Send():
                        self._wanted.append(effect)
                    case Refuse(reason):
                        refusals.append(reason)
                    case _:
                        events.extendleft(reversed(await self._host.perform(effect)))
        return refusals

    async def relink(self) -> None:
        """Choose whom to dial today."""
        outbound = choose_links(self._id, self._members, self._clock.now() // DAY_SECONDS, self._links)
        if outbound != self.state.outbound:
            await self.dispatch(Relink(outbound))

    async def _relink_daily(self) -> None:
        """Look at the clock often enough to notice that it was set."""
        while True:
            left = DAY_SECONDS - self._clock.now() % DAY_SECONDS
            await trio.sleep(min(left, LONGEST_DAYLIGHT_SECONDS))
            await self.relink()

    async def _stop_when_failed(self) -> None:
        await self._failed.wait()
        raise GossipFailed

    async def _keep_time(self) -> None:
        while True:
            changed = self._changed
            with trio.move_on_after(max(wake_ms(self.state) - _now_ms(), 0) / 1000):
                await changed.wait()
            if _now_ms() >= wake_ms(self.state):
                await self.dispatch(Tick())

    async def _deliver(self, peer: bytes, url: str) -> None:
        """Send what waits for a peer, as one envelope at a time."""
        outbox = self._outboxes[peer]
        pace = _Pace(self._chance)
        while True:
            await outbox.wait_for_delivery()
            batch = outbox.take()
            try:
                await self._exchange(peer, url, batch, EXCHANGE_SECONDS)
                pace.succeeded()
            except Unreachable:
                outbox.put_back(batch)
                pace.found_nobody()
            except Busy as busy:
                outbox.put_back(batch)
                pace.asked_to_wait(busy.seconds)
            except TlogError:
                # It refused our messages, or its answer is none: the same ones again would fare no better.
                pace.was_refused()
            await self._pause(peer, pace)

    async def _hold_open(self, peer: bytes, url: str) -> None:
        """Always have a request at the peer, for it to answer when it has something to say."""
        pace = _Pace(self._chance)
        while True:
            while peer not in self.state.outbound:
                await self._changed.wait()
            try:
                await self._exchange(peer, url, (), MAX_WAIT_SECONDS + EXCHANGE_SECONDS)
                pace.succeeded()
            except Unreachable:
                pace.found_nobody()
            except Busy as busy:
                pace.asked_to_wait(busy.seconds)
            except TlogError:
                pace.was_refused()
            await self._pause(peer, pace)

    async def _exchange(self, peer: bytes, url: str, batch: "Sequence[_Waiting]", seconds: float) -> None:
        """Post one envelope and take its answer into account."""
        body, nonce = self._sealed(peer, batch, None)
        reply = await self._post(url, body, seconds)
        if reply.status in _BUSY:
            raise Busy(int(min(max(reply.retry_after or 1, 1), LONGEST_BUSY_SECONDS)))
        if reply.status != 200:
            raise FormatError("the peer refused our envelope")
        keys = {peer: self._keys[peer]}
        now_ms = self._clock.now_ms()
        envelope = open_envelope(reply.body, keys, self._id, now_ms, self._seen, in_reply_to=nonce)
        self._budgets[peer].spend(len(reply.body), _now_ms())
        refusals = await self._receive(envelope, answer=True)
        if refusals:
            raise FormatError(refusals[0])

    async def _receive(self, envelope: Envelope, *, answer: bool) -> list[str]:
        messages = tuple(parse_message(value) for value in envelope.messages)
        self._heard[envelope.sender] = self._clock.now_ms()
        self._returned[envelope.sender].set()
        self._returned[envelope.sender] = trio.Event()
        # However many envelopes one peer sends, whoever else wants the machine waits for one of them at most.
        async with self._queues[envelope.sender], self._turn:
            turn, refusals = await self._have_turn(Received(envelope.sender, messages, answer))
        await self._end(turn)
        if not refusals:
            self.overheard(envelope.sender, messages)
        return refusals

    def _sealed(self, peer: bytes, batch: "Sequence[_Waiting]", in_reply_to: bytes | None) -> tuple[bytes, bytes]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        values = tuple(waiting.value for waiting in batch)
        envelope = Envelope(self._id, peer, self._clock.now_ms(), nonce, in_reply_to, values)
        return seal(envelope, self._key), nonce

    async def _pause(self, peer: bytes, pace: "_Pace") -> None:
        """Leave a peer alone: for as long as its pace says, and while its budget is in debt.

        Whoever could not be reached and is heard from meanwhile is back: what waits for it waits no longer.
        """
        await trio.sleep(max(pace.shortest, self._budgets[peer].owed(_now_ms())))
        if pace.seconds > pace.shortest:
            with trio.move_on_after(pace.seconds - pace.shortest):
                await self._returned[peer].wait()


@dataclass(slots=True)
class _Pace:
    """How long to leave a peer alone after a request: longer after each failure, or for as long as it asked for.

    Nothing ends the pause before ``shortest``, which is less than ``seconds`` only if the peer could not be reached.
    """

    _chance: random.Random
    _failures: int = 0
    seconds: float = 0.0
    shortest: float = 0.0

    def succeeded(self) -> None:
        self._failures, self.seconds, self.shortest = 0, 0.0, 0.0

    def asked_to_wait(self, seconds: float) -> None:
        self.seconds = self.shortest = max(seconds, self._longer())

    def was_refused(self) -> None:
        self._failures += 1
        self.seconds = self.shortest = self._longer()

    def found_nobody(self) -> None:
        self._failures += 1
        self.seconds = self._longer()
        self.shortest = min(self.seconds, FIRST_RETRY_SECONDS)

    def _longer(self) -> float:
        if not self._failures:
            return 0.0
        longest: float = min(FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 16), LAST_RETRY_SECONDS)
        return longest * self._chance.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message that waits to be sent; of those with one ``topic`` only the newest is worth sending."""

    value: Value
    size: int
    topic: tuple[object, ...] | None
    is_evidence: bool


class _Outbox:
    """What waits for one peer: evidence first, then the rest, oldest first."""

    def __init__(self) -> None:
        self._evidence = _Queue(MAX_WAITING_EVIDENCE)
        self._others = _Queue(MAX_WAITING_MESSAGES)
        self._filled = trio.Event()
        self._free = trio.Event()
        self._free.set()
        self._holders = 0

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Keep what comes now for an answer that is being made.

        Sent in a request of its own instead, a SUMMARY would be answered by one that may go the same way, without end.
        """
        self._holders += 1
        if self._free.is_set():
            self._free = trio.Event()
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._free.set()

    def put(self, message: Known) -> int:
        """Add a message; return how many others had to go for it."""
        value = format_message(message)
        waiting = _Waiting(value, len(pack(value)), _topic(message), isinstance(message, EvidenceBundle))
        self._filled.set()
        return self._queue_of(waiting).put(waiting)

    def put_back(self, batch: Sequence[_Waiting]) -> None:
        """Return what could not be sent to its place, unless something newer has taken it or there is no room."""
        for waiting in reversed(batch):
            self._queue_of(waiting).put_back(waiting)
        if self._evidence.items or self._others.items:
            self._filled.set()

    async def wait(self) -> None:
        """Wait until there is something."""
        await self._filled.wait()

    async def wait_for_delivery(self) -> None:
        """Wait until there is something that no answer will carry."""
        while not self._filled.is_set() or not self._free.is_set():
            await self._free.wait()
            await self._filled.wait()

    def release(self) -> None:
        """Let whoever waits go on."""
        self._filled.set()

    def take(self) -> list[_Waiting]:
        """Take as much as one envelope holds."""
        batch: list[_Waiting] = []
        size = 0
        for queue in (self._evidence, self._others):
            while queue.items and len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
                batch.append(queue.items.popleft())
                size += batch[-1].size
        if self._filled.is_set() and not (self._evidence.items or self._others.items):
            self._filled = trio.Event()
        return batch

    def _queue_of(self, waiting: _Waiting) -> "_Queue":
        return self._evidence if waiting.is_evidence else self._others


class _Queue:
    """Messages in order, with room for so many."""

    def __init__(self, room: int) -> None:
        self.items: deque[_Waiting] = deque()
        self._room = room

    def put(self, waiting: _Waiting) -> int:
        for older in self._of_topic(waiting):
            self.items.remove(older)
        self.items.append(waiting)
        if len(self.items) <= self._room:
            return 0
        self.items.popleft()
        return 1

    def put_back(self, waiting: _Waiting) -> None:
        if len(self.items) < self._room and not self._of_topic(waiting):
            self.items.appendleft(waiting)

    def _of_topic(self, waiting: _Waiting) -> list[_Waiting]:
        return [one for one in self.items if waiting.topic is not None and one.topic == waiting.topic]


def _topic(message: Known) -> tuple[object, ...] | None:
    """Tell which earlier messages this one makes pointless."""
    match message:
        case Summary():
            return ("summary",)
        case Head(origin, _, status) if status == 1:
            return ("head", origin)
        case GetTile(origin, level, index, _):
            return ("tile", origin, level, index)
        case _:
            return None


_BUSY = (429, 503)


def _nobody_listens(_peer: bytes, _messages: Sequence[Message]) -> None:
    return


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
