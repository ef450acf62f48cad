"""Carries envelopes between monitors: each link has a delay of its own, and faults are drawn for every envelope.

An envelope that gets lost is lost: nothing is sent again, which is harsher than TCP. Loss, duplication and cuts are
looked at when it is sent, cuts once more when it arrives. Where links are narrow, whatever one participant sends leaves
one after the other. Across a half-open connection requests arrive and their answers do not. What an envelope carries
goes through its bytes, and those are what is counted: what was sent, whether or not it arrived.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from bench.simulation.engine import SECOND, Engine, Streams
from gossip.canonical import pack, unpack
from gossip.envelope import MAX_CLOCK_DISTANCE_MS
from gossip.messages import Known, Message, format_message, parse_message

MAX_REMEMBERED = 100_000
CARRIED_BYTES = 400  # of an envelope and its HTTP header, beside the messages


Separates = Callable[[bytes, bytes], bool]
"""Tells whether a cut lies on the way from one to another."""


class Participant(Protocol):
    """Whoever has an address: a monitor, or somebody who only looks like one."""

    id: bytes
    clock_step: int

    def receive(self, sender: bytes, messages: tuple[Message, ...], *, answer: bool) -> None:
        """Take an envelope; what has to be said in answer to it is given to ``Network.send`` before this returns."""
        ...


@dataclass(frozen=True, slots=True)
class Links:
    """What the links are like: milliseconds one way, and shares of all envelopes."""

    shortest_ms: float = 20.0
    longest_ms: float = 150.0
    loss: float = 0.0
    duplicated: float = 0.0
    bytes_per_second: int = 0  # that one participant can send to all others together; 0 stands for any number


@dataclass(slots=True)
class Traffic:
    """What one monitor sent. ``eager`` are the bytes that nobody asked for: heads and evidence that are pushed."""

    envelopes: int = 0
    answers: int = 0
    eager: int = 0
    bytes: Counter[str] = field(default_factory=Counter)

    @property
    def message_bytes(self) -> int:
        """The bytes of all messages."""
        return sum(self.bytes.values())


@dataclass(frozen=True, slots=True)
class _Wire:
    raw: bytes
    parsed: Message


class Network:
    """The links between all participants."""

    def __init__(self, engine: Engine, streams: Streams, seed: int, links: Links) -> None:
        self.engine = engine
        self.links = links
        self.lost = 0
        self.traffic: dict[bytes, Traffic] = {}
        self._participants: dict[bytes, Participant] = {}
        self._seed = seed
        self._loss = streams["loss"]
        self._delays: dict[tuple[bytes, bytes], int] = {}
        self._cuts: list[Separates] = []
        self._half_open: list[Separates] = []
        self._free: dict[bytes, int] = {}
        self._wires: dict[Known, _Wire] = {}

    def join(self, participant: Participant) -> None:
        """Give somebody an address."""
        self._participants[participant.id] = participant
        self.traffic[participant.id] = Traffic()

    def cut(self, separates: Separates) -> None:
        """Let nothing through from one to another where this says so."""
        self._cuts.append(separates)

    def heal(self, separates: Separates) -> None:
        """Undo a cut."""
        self._cuts.remove(separates)

    def half_open(self, separates: Separates) -> None:
        """Let no answer through from one to another where this says so, though the request has come."""
        self._half_open.append(separates)

    def close(self, separates: Separates) -> None:
        """Undo ``half_open``: both sides have noticed."""
        self._half_open.remove(separates)

    def delay(self, one: bytes, other: bytes) -> int:
        """Tell how long the link between two takes, one way."""
        pair = (one, other) if one < other else (other, one)
        if pair not in self._delays:
            drawn = sha256(b"%d delay " % self._seed + pair[0] + pair[1]).digest()
            share = int.from_bytes(drawn[:8], "big") / 2**64
            milliseconds = self.links.shortest_ms + share * (self.links.longest_ms - self.links.shortest_ms)
            self._delays[pair] = int(milliseconds * SECOND / 1000)
        return self._delays[pair]

    def size(self, message: Known) -> int:
        """Count the bytes of a message."""
        return len(self._wire(message).raw)

    def send(self, sender: bytes, recipient: bytes, messages: Sequence[Known], *, answer: bool = False) -> None:
        """Send an envelope."""
        traffic = self.traffic[sender]
        traffic.envelopes += 1
        traffic.answers += answer
        wires = [self._wire(message) for message in messages]
        for message, wire in zip(messages, wires, strict=True):
            traffic.bytes[type(message).__name__] += len(wire.raw)
        raw = b"".join([wire.raw for wire in wires])
        delay = self.delay(sender, recipient) + self._queued(sender, len(raw) + CARRIED_BYTES)
        if self._fails(sender, recipient, answer=answer):
            self.lost += 1
            return
        parsed = tuple([wire.parsed for wire in wires])
        self.engine.after(delay, self._arrive, sender, recipient, raw, parsed, answer)
        if self.links.duplicated and self._loss.random() < self.links.duplicated:
            self.engine.after(2 * delay, self._arrive, sender, recipient, raw, parsed, answer)

    def _queued(self, sender: bytes, size: int) -> int:
        """How long until the last byte has left."""
        if not self.links.bytes_per_second:
            return 0
        begins = max(self.engine.now, self._free.get(sender, 0))
        self._free[sender] = begins + size * SECOND // self.links.bytes_per_second
        return self._free[sender] - self.engine.now

    def _fails(self, sender: bytes, recipient: bytes, *, answer: bool) -> bool:
        lost = self.links.loss > 0 and self._loss.random() < self.links.loss
        if lost or not (self._cuts or self._half_open):
            return lost
        cuts = (*self._cuts, *(self._half_open if answer else ()))
        return any(separates(sender, recipient) for separates in cuts)

    def _arrive(self, sender: bytes, recipient: bytes, raw: bytes, messages: tuple[Message, ...], answer: bool) -> None:
        one, other = self._participants[sender], self._participants[recipient]
        if self._cuts and any(separates(sender, recipient) for separates in self._cuts):
            self.lost += 1
            return
        if abs(one.clock_step - other.clock_step) > MAX_CLOCK_DISTANCE_MS // 1000:
            return  # the envelope is refused for its time
        self.engine.record(sender, recipient, b"answer" if answer else b"request", raw)
        other.receive(sender, messages, answer=answer)

    def _wire(self, message: Known) -> _Wire:
        """Write a message and read it again, once for all who get it."""
        wire = self._wires.get(message)
        if wire is None:
            if len(self._wires) >= MAX_REMEMBERED:
                self._wires.clear()
            raw = pack(format_message(message))
            wire = self._wires[message] = _Wire(raw, parse_message(unpack(raw)))
        return wire
