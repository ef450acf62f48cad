"""One step under way: the state as it is by now, and the effects so far. Lives no longer than one call of ``step``.

What a step changes of branches and contacts it copies once, however often it changes them: the state that the step
began with stays what it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from gossip.core.budget import Kind, spend
from gossip.core.effects import Count, Effect, Send
from gossip.core.links import links
from gossip.core.state import MAX_CONTACTS, Branch, Contact, Ignored, State
from gossip.messages import Known
from tlog.hashing import TreeHead


class Chance(Protocol):
    """Where chance comes from: a ``random.Random`` with a seed of its own."""

    def uniform(self, a: float, b: float) -> float:
        """A number between the two."""
        ...

    def choice(self, seq: Sequence[bytes]) -> bytes:
        """One of these."""
        ...

    def sample(self, population: Sequence[bytes], k: int) -> list[bytes]:
        """Some of these, each at most once."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """A number of so many bits."""
        ...


class Turn:
    """What the parts of ``step`` work on."""

    def __init__(self, state: State, now_ms: int, rng: Chance) -> None:
        self.state = state
        self.now_ms = now_ms
        self.rng = rng
        self.effects: list[Effect] = []
        self._branches: dict[bytes, Branch] | None = None
        self._contacts: dict[bytes, Contact] | None = None

    def emit(self, effect: Effect) -> None:
        """Want something done, after everything that was wanted before."""
        self.effects.append(effect)

    def send(self, peers: Iterable[bytes], message: Known) -> None:
        """Send one message to several peers."""
        self.effects.extend(Send(peer, message) for peer in peers)

    def links(self, *, but: Iterable[bytes | None] = ()) -> Iterable[bytes]:
        """Name the linked peers, except for these."""
        left_out = frozenset(but)
        return (peer for peer in links(self.state, self.now_ms) if peer not in left_out)

    def put(self, origin: bytes, branch: Branch) -> None:
        """Replace a branch, and note when what others can hear of it has changed."""
        before = self.state.branch(origin)
        if self._branches is None:
            self._branches = dict(self.state.branches)
            self.state = replace(self.state, branches=self._branches)
        self._branches[origin] = branch
        if _heads(before) != _heads(branch):
            cursor = self.state.cursor + 1
            changes = {other: changed for other, changed in self.state.changes.items() if other != origin}
            self.state = replace(self.state, cursor=cursor, changes={**changes, origin: cursor}, summed=None)

    def contact(self, peer: bytes) -> Contact:
        """Return what is remembered of a peer."""
        return self.state.contacts.get(peer, _STRANGER)

    def know(self, peer: bytes, contact: Contact) -> None:
        """Remember this of a peer."""
        contacts = self._own_contacts()
        contacts[peer] = contact
        if len(contacts) > MAX_CONTACTS:
            del contacts[next((one for one in contacts if one != peer and one not in self.state.outbound), peer)]

    def heard(self, peer: bytes) -> None:
        """Note that a peer contacts us: it goes behind all others, so that it is the last one to be forgotten."""
        contact = self._own_contacts().pop(peer, _STRANGER)
        self.know(peer, replace(contact, heard_ms=self.now_ms))

    def afford(self, peer: bytes | None, kind: Kind, amount: int = 1) -> bool:
        """Charge a peer for some work, and count the message as dropped if it cannot pay."""
        if peer is None or not amount:
            return True
        contact = self.contact(peer)
        left = spend(contact.budget, kind, amount, self.now_ms, len(self.state.rules.logs))
        if left is None:
            self.emit(Count(Ignored.PEER_OVER_BUDGET))
            return False
        self.know(peer, replace(contact, budget=left))
        return True

    def _own_contacts(self) -> dict[bytes, Contact]:
        if self._contacts is None:
            self._contacts = dict(self.state.contacts)
            self.state = replace(self.state, contacts=self._contacts)
        return self._contacts


_STRANGER = Contact()


def _heads(branch: Branch) -> tuple[TreeHead | None, list[TreeHead], bool]:
    """What a digest lists of a branch."""
    verified = None if branch.signed is None else branch.signed.head
    return verified, [pending.signed.head for pending in branch.pending], bool(branch.convicted)
