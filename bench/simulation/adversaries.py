"""Who lies, and how: peers that only look like monitors, and logs and witnesses that sign what they should not.

The peers here never run the core: they have an address, and say what suits them. What logs and witnesses do is a
``Lie``: what everybody is shown, and when, whose keys are guilty then, and what has to come of it.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from bench.simulation import world
from bench.simulation.engine import SECOND, Engine
from bench.simulation.network import Network
from gossip.core import origin_id
from gossip.messages import (
    VERIFIED,
    Buckets,
    Consistency,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetConsistency,
    GetEvidence,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    HeldEvidence,
    Known,
    Message,
    Part,
    Summary,
    TileData,
    Unknown,
)
from tests.fakes_log import sign_line
from tlog.note import Note

_MEMORY = 256  # messages that a replayer keeps
_REPLAYED = 4  # of them, in one envelope
_FLOOD = 10  # messages in one envelope


class Trick(Protocol):
    """What a hostile peer says. ``every`` microseconds it says something unasked; 0 stands for never."""

    every: int

    def answer(self, sender: bytes, messages: Sequence[Message]) -> Sequence[Known] | None:
        """Answer an envelope; None stands for no answer at all."""

    def unasked(self, victim: bytes) -> Sequence[Known]:
        """Say something to somebody."""


class Impostor:
    """A hostile peer: an address, and a trick."""

    def __init__(
        self,
        number: int,
        trick: Trick,
        victims: Sequence[bytes],
        engine: Engine,
        network: Network,
        chance: random.Random,
    ) -> None:
        self.id = world.peer(number)
        self.clock_step = 0
        self._trick = trick
        self._victims = victims
        self._engine = engine
        self._network = network
        self._chance = chance

    def start(self) -> None:
        """Begin to say things unasked."""
        if self._trick.every:
            self._engine.after(self._trick.every, self._say)

    def receive(self, sender: bytes, messages: tuple[Message, ...], *, answer: bool) -> None:
        """Take an envelope."""
        said = self._trick.answer(sender, messages)
        if said is not None and not answer:
            self._network.send(self.id, sender, said, answer=True)

    def _say(self) -> None:
        victim = self._chance.choice(self._victims)
        self._network.send(self.id, victim, self._trick.unasked(victim))
        self._engine.after(self._trick.every, self._say)


class Silence:
    """Takes everything and says nothing."""

    every = 0

    def answer(self, sender: bytes, messages: Sequence[Message]) -> Sequence[Known] | None:
        return None

    def unasked(self, victim: bytes) -> Sequence[Known]:
        return ()


class Replay:
    """Says again what it once heard, to whomever."""

    every = SECOND // 2

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._heard: deque[Known] = deque(maxlen=_MEMORY)

    def answer(self, sender: bytes, messages: Sequence[Message]) -> Sequence[Known] | None:
        self._heard += [message for message in messages if not isinstance(message, Unknown)]
        return self.unasked(sender)

    def unasked(self, victim: bytes) -> Sequence[Known]:
        return self._chance.sample(list(self._heard), min(_REPLAYED, len(self._heard)))


class Flood:
    """Says whatever costs others something: unknown logs, forged signatures, broken evidence, endless wishes."""

    every = SECOND

    def __init__(self, chance: random.Random, origin: bytes, note: bytes) -> None:
        self._chance = chance
        self._origin = origin
        self.note = note

    def answer(self, sender: bytes, messages: Sequence[Message]) -> Sequence[Known] | None:
        return self.unasked(sender)

    def unasked(self, victim: bytes) -> Sequence[Known]:
        return [self._garbage() for _ in range(_FLOOD)]

    def _garbage(self) -> Known:
        unknown, junk = self._chance.randbytes(32), self._chance.randbytes(32)
        size = self._chance.randrange(1, 2**40)
        return self._chance.choice(_GARBAGE)(self, self._origin, unknown, junk, size)

    def forged(self) -> bytes:
        """A note whose last signature does not verify."""
        at = self._chance.randrange(len(self.note) - 40, len(self.note) - 10)
        other = b"A" if self.note[at : at + 1] != b"A" else b"B"
        return self.note[:at] + other + self.note[at + 1 :]


_Garbage = Callable[[Flood, bytes, bytes, bytes, int], Known]

# Of a known origin, an unknown one, junk and a size.
_GARBAGE: Sequence[_Garbage] = (
    lambda flood, known, unknown, junk, size: Head(unknown, flood.note, VERIFIED, None, ()),
    lambda flood, known, unknown, junk, size: Head(known, flood.forged(), VERIFIED, None, ()),
    lambda flood, known, unknown, junk, size: Head(known, flood.note, VERIFIED, size, (junk,) * 3),
    lambda flood, known, unknown, junk, size: Digest(None, size, (DigestEntry(known, size, junk, VERIFIED),), False),
    lambda flood, known, unknown, junk, size: Digest(None, size, (DigestEntry(unknown, size, junk, VERIFIED),), False),
    lambda flood, known, unknown, junk, size: Summary(size, 1, junk, unknown, 3, size, size),
    lambda flood, known, unknown, junk, size: Buckets(size, junk[:8], junk),
    lambda flood, known, unknown, junk, size: Part(size, junk[:4], (DigestEntry(known, size, junk, VERIFIED),), False),
    lambda flood, known, unknown, junk, size: GetHeads((known, unknown)),
    lambda flood, known, unknown, junk, size: GetConsistency(known, 1, size),
    lambda flood, known, unknown, junk, size: Consistency(known, 1, size, junk, unknown, (junk,) * 8),
    lambda flood, known, unknown, junk, size: GetTile(known, 0, size % 64, 256),
    lambda flood, known, unknown, junk, size: TileData(known, 0, 0, junk * 256),
    lambda flood, known, unknown, junk, size: HaveEvidence((HeldEvidence(4, known, unknown, junk),)),
    lambda flood, known, unknown, junk, size: GetEvidence((junk,)),
    lambda flood, known, unknown, junk, size: EvidenceBundle(
        4, b"tlog-evidence@v1\ntype non-consistent\n" + junk.hex().encode()
    ),
)


class TwoFaces:
    """Shows one head to every second peer and another one to the rest, each under its own observer's key."""

    every = SECOND

    def __init__(self, victims: Sequence[bytes], heads: Sequence[Head]) -> None:
        self._head = {victim: heads[place % len(heads)] for place, victim in enumerate(victims)}

    def answer(self, sender: bytes, messages: Sequence[Message]) -> Sequence[Known] | None:
        asked = any(isinstance(message, Summary | GetHeads) for message in messages)
        return self.unasked(sender) if asked else ()

    def unasked(self, victim: bytes) -> Sequence[Known]:
        return (self._head[victim],) if victim in self._head else ()


def observed(log: world.SimLog, raw: bytes, number: int, time: int) -> Head:
    """A head with a line of some observer."""
    note = Note.parse(raw)
    line = sign_line(world.observer(number), note.text, time)
    return Head(origin_id(log.origin), Note(note.text, (*note.signatures, line)).format(), VERIFIED, None, ())
