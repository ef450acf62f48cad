"""One step under way: the state as it is by now, and the effects so far. Lives no longer than one call of ``step``."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from gossip.core.effects import (
    Effect,
    Send,
)
from gossip.core.state import (
    Branch,
    State,
)
from gossip.messages import Known


class Chance(Protocol):
    """Where chance comes from: a ``random.Random`` with a seed of its own."""

    def uniform(self, a: float, b: float) -> float:
        """A number between the two."""
        ...

    def choice(self, seq: Sequence[bytes]) -> bytes:
        """One of these."""
        ...


class Turn:
    """What the parts of ``step`` work on."""

    def __init__(self, state: State, now_ms: int, rng: Chance) -> None:
        self.state = state
        self.now_ms = now_ms
        self.rng = rng
        self.effects: list[Effect] = []

    def emit(self, effect: Effect) -> None:
        """Want something done, after everything that was wanted before."""
        self.effects.append(effect)

    def send(self, peers: Iterable[bytes], message: Known) -> None:
        """Send one message to several peers."""
        self.effects.extend(Send(peer, message) for peer in peers)

    def put(self, origin: bytes, branch: Branch) -> None:
        """Replace a branch."""
        self.state = replace(self.state, branches={**self.state.branches, origin: branch})

    def others(self, peer: bytes | None) -> Iterable[bytes]:
        """Name every peer but this one."""
        return (other for other in self.state.rules.peers if other != peer)
