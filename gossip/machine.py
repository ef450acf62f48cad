"""Keeps the gossip machine running: one event at a time, effects in order, and nothing sent before it is durable.

``Machine`` owns the state. Whatever happens is given to ``dispatch``, which steps the machine and lets the ``Host`` do
everything but sending; what that brings is fed back before anything else.

Nothing is sent before the host has made durable what was wanted before it, and ``dispatch`` does not return before that
either. Meanwhile other events are taken into account: all that wait at the same time share one wait for the disk.

The machine gets the time since some start, which never goes back, since all it does with it is to wait.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio

from gossip.core import Effect, Event, Received, Refuse, Send, State, Tick, step, wake_ms
from gossip.messages import Known


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


class GossipFailed(Exception):  # noqa: N818  # says what happened
    """Something that the machine wanted could not be done, and its state says more than the disk."""

    def __init__(self) -> None:
        super().__init__("gossip could not do what it had decided: stop and restart")


class Machine:
    """The state, and whose turn it is to change it."""

    def __init__(self, state: State, host: Host, send: Callable[[bytes, Known], None], chance: random.Random) -> None:
        self.state = state
        self._host = host
        self._send = send
        self._chance = chance
        self._turn = trio.Lock()
        self._queues = defaultdict[bytes, trio.Lock](trio.Lock)  # of each peer
        self._turns = 0
        self._durable = 0  # as many turns are on disk
        self._flushing = trio.Lock()
        self._wanted: list[Send] = []  # in this turn
        self._staged: list[Send] = []  # in earlier ones: waits for the disk
        self._changed = trio.Event()
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

    async def hear(self, event: Received) -> list[str]:
        """The same for what a peer said.

        However many envelopes one peer sends, whoever else wants the machine waits for one of them at most.
        """
        async with self._queues[event.peer], self._turn:
            turn, refusals = await self._have_turn(event)
        await self._end(turn)
        return refusals

    async def run(self) -> None:
        """Keep the machine's time, until it fails."""
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._keep_time)
            tasks.start_soon(self._stop_when_failed)

    async def wait_changed(self) -> None:
        """Wait until another turn is on disk."""
        await self._changed.wait()

    async def _have_turn(self, event: Event) -> tuple[int, list[str]]:
        """Take an event into account. Whoever calls this ends the turn, and does nothing before that."""
        with self._uncancelled():
            refusals = await self._follow_up(event)
            self._host.turn_over()
            self._staged += self._wanted
            self._wanted = []
            self._turns += 1
            return self._turns, refusals

    async def _follow_up(self, event: Event) -> list[str]:
        refusals: list[str] = []
        events = deque([event])
        while events:
            self.state, effects = step(self.state, events.popleft(), elapsed_ms(), self._chance)
            for effect in effects:
                match effect:
                    case Send():
                        self._wanted.append(effect)
                    case Refuse(reason):
                        refusals.append(reason)
                    case _:
                        events.extendleft(reversed(await self._host.perform(effect)))
        return refusals

    async def _end(self, turn: int) -> None:
        """Wait for the disk, while others have their turns."""
        with self._uncancelled():
            await self._make_durable(turn)
        self._changed.set()
        self._changed = trio.Event()

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
                self._send(message.peer, message.message)

    @contextmanager
    def _uncancelled(self) -> Iterator[None]:
        with trio.CancelScope(shield=True):
            try:
                yield
            except BaseException:
                self._failed.set()
                raise

    async def _keep_time(self) -> None:
        while True:
            changed = self._changed
            with trio.move_on_after(max(wake_ms(self.state) - elapsed_ms(), 0) / 1000):
                await changed.wait()
            if elapsed_ms() >= wake_ms(self.state):
                await self.dispatch(Tick())

    async def _stop_when_failed(self) -> None:
        await self._failed.wait()
        raise GossipFailed


def elapsed_ms() -> int:
    """The time since some start, which never goes back."""
    return int(trio.current_time() * 1000)
