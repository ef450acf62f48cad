"""Carries gossip: what the machine wants said leaves in envelopes over HTTP, and what peers say goes to the machine.

Messages wait in an outbox for each peer until they leave in one of three ways: in the answer to the peer's own request,
in a request to its URL, or, for a peer that cannot be dialled, in the answer to the request that it keeps open
(``?wait=``). Nothing gets into an outbox before what it follows from is durable.

Envelopes carry the wall clock; everything that is waited for goes by the time that never goes back.
"""

import random
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import trio

from gossip.budget import Busy as Busy  # part of this module's interface
from gossip.core import Event, Received, Relink, State
from gossip.core.links import LINKS, Member, choose_links
from gossip.envelope import NONCE_BYTES, Envelope, SeenNonces, open_envelope, peer_id, seal
from gossip.limits import Limits
from gossip.machine import Host, Machine
from gossip.messages import Known, Message, parse_message
from gossip.outbox import Outbox, Waiting
from gossip.pace import Pace
from runtime.clock import Clock
from tlog.errors import FormatError, TlogError
from tlog.keys import SignerKey, VerifierKey

EXCHANGE_PATH = "/gossip/v1/exchange"
ENVELOPE_TYPE = "application/vnd.sameview.gossip"
MAX_WAIT_SECONDS = 25.0  # a request held open for longer meets the time-outs of common proxies

EXCHANGE_SECONDS = 15.0  # for one request to a peer
LONGEST_BUSY_SECONDS = 60.0  # however long a busy peer wants us to wait, news waits no longer

DAY_SECONDS = 86_400
LONGEST_DAYLIGHT_SECONDS = 3600  # without a look at whether another day has begun


@dataclass(frozen=True, slots=True)
class Reply:
    """What a peer answered to a POST."""

    status: int
    body: bytes
    retry_after: float | None = None


class Unreachable(Exception):  # noqa: N818  # says what happened
    """The peer gave no answer."""


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
        self.dropped = 0
        self.overheard: Callable[[bytes, Sequence[Message]], None] = _nobody_listens
        """Told what a peer said, once that was taken in."""
        self._key = key
        self._id = peer_id(key.verifier_key)
        self._peers: Mapping[bytes, Peer] = {peer.id: peer for peer in peers}
        self._keys = {peer.id: peer.key for peer in peers}
        self._outboxes = {peer.id: Outbox() for peer in peers}
        self._heard: dict[bytes, int] = {}
        self._returned = {peer.id: trio.Event() for peer in peers}
        self._post = post
        self._clock = clock
        self._members = [Member(peer.id, peer.operator, peer.anchor, peer.url is not None) for peer in peers]
        self._links = links
        self._seen = SeenNonces()
        self._limits = Limits(self._keys)
        self.busy = self._limits.busy
        self._chance = random.Random(secrets.token_bytes(32))  # noqa: S311 # it picks peers and spreads load, no more
        self._machine = Machine(state, host, self.send, self._chance)
        self._released = False

    @property
    def state(self) -> State:
        """What the machine knows."""
        return self._machine.state

    async def dispatch(self, event: Event) -> list[str]:
        """Take an event into account, as ``Machine.dispatch`` does; return the reasons for refusing what it brought."""
        return await self._machine.dispatch(event)

    def send(self, peer: bytes, message: Known) -> None:
        """Put a message into a peer's outbox."""
        self.dropped += self._outboxes[peer].put(message)

    def heard_ms(self, peer: bytes) -> int | None:
        """Tell when a peer was heard of last, by the wall clock; None if not since the start."""
        return self._heard.get(peer)

    def reading(self, size: int) -> AbstractAsyncContextManager[None]:
        """Hold a place for a body of at most so many bytes while it is read and opened. Raises ``Busy``."""
        return self._limits.reading(size)

    def open(self, raw: bytes) -> Envelope:
        """Open a peer's envelope; ``reply`` acts on it.

        Raises:
            FormatError, SignatureError: it is refused.
            Busy: the peer has sent too much lately.
        """
        now_ms = self._clock.now_ms()
        with self._limits.opening():
            return open_envelope(raw, self._keys, self._id, now_ms, self._seen, charge=self._limits.charge)

    async def reply(self, envelope: Envelope, wait: float = 0.0) -> bytes:
        """Answer a peer's envelope with ours; hold the answer back for a while as long as there is nothing to say.

        Raises:
            FormatError: a message in it is refused.
            Busy: the peer has too many requests open.
        """
        with self._limits.answering(envelope.sender):
            return await self._reply(envelope, wait)

    async def answer(self, raw: bytes, wait: float = 0.0) -> bytes:
        """``open``, then ``reply``."""
        return await self.reply(self.open(raw), wait)

    def release(self) -> None:
        """Answer every request that is held open, now and from now on: the program is about to end."""
        self._released = True
        for outbox in self._outboxes.values():
            outbox.release()

    async def relink(self) -> None:
        """Choose whom to dial today."""
        outbound = choose_links(self._id, self._members, self._clock.now() // DAY_SECONDS, self._links)
        if outbound != self.state.outbound:
            await self.dispatch(Relink(outbound))

    async def run(self, *, hold_open: bool = False) -> None:
        """Keep the machine's time and deliver its messages, for ever.

        With ``hold_open`` a request is kept open at every peer that can be dialled, since none of them can dial us.
        """
        async with trio.open_nursery() as tasks:
            await self.relink()
            tasks.start_soon(self._relink_daily)
            tasks.start_soon(self._machine.run)
            for peer in self._peers.values():
                if peer.url is not None:
                    tasks.start_soon(self._deliver, peer.id, peer.url + EXCHANGE_PATH)
                    if hold_open:
                        tasks.start_soon(
                            self._hold_open, peer.id, f"{peer.url}{EXCHANGE_PATH}?wait={MAX_WAIT_SECONDS:g}"
                        )

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

    async def _relink_daily(self) -> None:
        """Look at the clock often enough to notice that it was set."""
        while True:
            left = DAY_SECONDS - self._clock.now() % DAY_SECONDS
            await trio.sleep(min(left, LONGEST_DAYLIGHT_SECONDS))
            await self.relink()

    async def _deliver(self, peer: bytes, url: str) -> None:
        """Send what waits for a peer, as one envelope at a time."""
        outbox = self._outboxes[peer]
        pace = Pace(self._chance)
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
        pace = Pace(self._chance)
        while True:
            while peer not in self.state.outbound:
                await self._machine.wait_changed()
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

    async def _exchange(self, peer: bytes, url: str, batch: Sequence[Waiting], seconds: float) -> None:
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
        self._limits.spend(peer, len(reply.body))
        refusals = await self._receive(envelope, answer=True)
        if refusals:
            raise FormatError(refusals[0])

    async def _receive(self, envelope: Envelope, *, answer: bool) -> list[str]:
        messages = tuple(parse_message(value) for value in envelope.messages)
        self._heard[envelope.sender] = self._clock.now_ms()
        self._returned[envelope.sender].set()
        self._returned[envelope.sender] = trio.Event()
        refusals = await self._machine.hear(Received(envelope.sender, messages, answer))
        if not refusals:
            self.overheard(envelope.sender, messages)
        return refusals

    def _sealed(self, peer: bytes, batch: Sequence[Waiting], in_reply_to: bytes | None) -> tuple[bytes, bytes]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        values = tuple(waiting.value for waiting in batch)
        envelope = Envelope(self._id, peer, self._clock.now_ms(), nonce, in_reply_to, values)
        return seal(envelope, self._key), nonce

    async def _pause(self, peer: bytes, pace: Pace) -> None:
        """Leave a peer alone: for as long as its pace says, and while its budget is in debt.

        Whoever could not be reached and is heard from meanwhile is back: what waits for it waits no longer.
        """
        await trio.sleep(max(pace.shortest, self._limits.owed(peer)))
        if pace.seconds > pace.shortest:
            with trio.move_on_after(pace.seconds - pace.shortest):
                await self._returned[peer].wait()


_BUSY = (429, 503)


def _nobody_listens(_peer: bytes, _messages: Sequence[Message]) -> None:
    return
