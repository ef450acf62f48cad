"""What waits to be sent to a peer, with room for so much: evidence first, its names, then the rest, oldest first.

A peer that is away for long costs no more memory than its outbox may hold. What is dropped then is what anti-entropy
repeats, and never evidence for the sake of anything else. Last come heads that nobody has verified: a log may sign as
many as it likes, each as long as a note may be, and must not keep a link from anything else with them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import trio

from gossip.canonical import Value, pack
from gossip.core.state import MAX_PENDING
from gossip.envelope import MAX_ENVELOPE_BYTES
from gossip.messages import (
    PENDING,
    VERIFIED,
    EvidenceBundle,
    GetEvidence,
    GetTile,
    HaveEvidence,
    Head,
    Known,
    Summary,
    format_message,
)

MAX_WAITING_MESSAGES = 512  # per peer; older ones are dropped first, and anti-entropy repeats what matters
MAX_WAITING_EVIDENCE = 64  # per peer, and as many of its names, apart from the rest: no flood may displace a conviction
MAX_BATCH_BYTES = MAX_ENVELOPE_BYTES - 256 * 1024  # of messages; one that is alone has 330 kB at most
MAX_PENDING_BYTES = (
    128 * 1024
)  # of pending heads in one envelope: their share, and no more than two seconds of a peer's budget
MAX_BATCH = 1024  # messages in one envelope


class Turn(IntEnum):
    """In which order what waits is sent."""

    EVIDENCE = 0
    NAMES = 1
    OTHERS = 2
    PENDING = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits to be sent; of those with one ``topic`` only the newest is worth sending."""

    value: Value
    size: int
    topic: tuple[object, ...] | None
    turn: Turn
    about: bytes
    """The log of a pending head, of which only so many wait; empty for anything else."""


class Outbox:
    """What waits for one peer: evidence first, then the rest, oldest first."""

    def __init__(self) -> None:
        rooms = {Turn.EVIDENCE: MAX_WAITING_EVIDENCE, Turn.NAMES: MAX_WAITING_EVIDENCE}
        self._queues = tuple(_Queue(rooms.get(turn, MAX_WAITING_MESSAGES)) for turn in Turn)
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
        waiting = Waiting(value, len(pack(value)), _topic(message), _turn(message), _about(message))
        self._filled.set()
        return self._queue_of(waiting).put(waiting)

    def put_back(self, batch: Sequence[Waiting]) -> None:
        """Return what could not be sent to its place, unless something newer has taken it or there is no room."""
        for waiting in reversed(batch):
            self._queue_of(waiting).put_back(waiting)
        if any(queue.items for queue in self._queues):
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

    def take(self) -> list[Waiting]:
        """Take as much as one envelope holds."""
        batch: list[Waiting] = []
        size = 0
        for turn, queue in zip(Turn, self._queues, strict=True):
            room = _room(turn, size)
            while queue.items and len(batch) < MAX_BATCH and (not batch or size + queue.items[0].size <= room):
                batch.append(queue.items.popleft())
                size += batch[-1].size
        if self._filled.is_set() and not any(queue.items for queue in self._queues):
            self._filled = trio.Event()
        return batch

    def _queue_of(self, waiting: Waiting) -> "_Queue":
        return self._queues[waiting.turn]


class _Queue:
    """Messages in order, with room for so many."""

    def __init__(self, room: int) -> None:
        self.items: deque[Waiting] = deque()
        self._room = room

    def put(self, waiting: Waiting) -> int:
        for older in self._of_topic(waiting):
            self.items.remove(older)
        self.items.append(waiting)
        alike = [one for one in self.items if waiting.about and one.about == waiting.about]
        if len(alike) > MAX_PENDING:
            self.items.remove(alike[0])
        elif len(self.items) > self._room:
            self.items.popleft()
        else:
            return 0
        return 1

    def put_back(self, waiting: Waiting) -> None:
        if len(self.items) < self._room and not self._of_topic(waiting):
            self.items.appendleft(waiting)

    def _of_topic(self, waiting: Waiting) -> list[Waiting]:
        return [one for one in self.items if waiting.topic is not None and one.topic == waiting.topic]


def _room(turn: Turn, taken: int) -> int:
    """How large an envelope may get with messages of this turn.

    What waits last has its share of each, or logs that together sign long heads all the time would keep it back.
    """
    match turn:
        case Turn.OTHERS:
            return MAX_BATCH_BYTES - MAX_PENDING_BYTES
        case Turn.PENDING:
            return min(taken + MAX_PENDING_BYTES, MAX_BATCH_BYTES)
        case _:
            return MAX_BATCH_BYTES


def _turn(message: Known) -> Turn:
    """Tell when a message is sent: large evidence is known by its name alone until it is asked for."""
    match message:
        case EvidenceBundle():
            return Turn.EVIDENCE
        case HaveEvidence() | GetEvidence():
            return Turn.NAMES
        case Head(status=status) if status == PENDING:
            return Turn.PENDING
        case _:
            return Turn.OTHERS


def _about(message: Known) -> bytes:
    return message.origin if isinstance(message, Head) and message.status == PENDING else b""


def _topic(message: Known) -> tuple[object, ...] | None:
    """Tell which earlier messages this one makes pointless."""
    match message:
        case Summary():
            return ("summary",)
        case Head(origin, _, status) if status == VERIFIED:
            return ("head", origin)
        case GetTile(origin, level, index, _):
            return ("tile", origin, level, index)
        case _:
            return None
