"""Which peers a monitor is linked to: whom it pushes heads to, and floods evidence through.

Up to ``FULL_MESH`` peers everybody dials everybody. In a larger federation each monitor chooses a few: some anchors,
which are monitors of distinct operators that everybody agreed to keep up, and others that a hash of both names and the
day picks. The choice needs no agreement, differs from monitor to monitor and changes daily, so whoever wants to
surround a monitor has to be most of the federation. A link is used both ways: who contacted us lately is one too, and
takes nobody's place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from gossip.core.state import HELD_OPEN_MS, State

FULL_MESH = 32  # peers that are all dialled
LINKS = 8  # dialled in a larger federation: with a third of it hostile, 10,000 monitors stay connected
ANCHORS = 3  # of these, where as many operators keep some
LINK_INTERVALS = 3  # a peer that did not contact us for so many intervals is not a link any more

_DAY_BYTES = 8


@dataclass(frozen=True, slots=True)
class Member:
    """A peer as the federation lists it; only one with a URL can be dialled."""

    id: bytes
    operator: str
    anchor: bool = False
    dialled: bool = True


def choose_links(me: bytes, members: Iterable[Member], day: int, k: int = LINKS) -> tuple[bytes, ...]:
    """Choose whom to dial on this day (days since 1970, UTC); sorted."""
    others = [member for member in members if member.dialled and member.id != me]
    if len(others) <= FULL_MESH:
        return tuple(sorted(member.id for member in others))
    ranked = sorted(others, key=lambda member: _score(me, member.id, day), reverse=True)
    anchors = list(islice(_of_distinct_operators(member for member in ranked if member.anchor), min(ANCHORS, k)))
    others_first = [member for member in ranked if member not in anchors]
    return tuple(sorted(member.id for member in (*anchors, *others_first[: k - len(anchors)])))


def links(state: State, now_ms: int) -> tuple[bytes, ...]:
    """Name the peers that are linked now: those dialled, then those that contacted us lately."""
    since = now_ms - max(LINK_INTERVALS * state.rules.interval_ms, HELD_OPEN_MS)
    outbound = state.outbound
    heard = (
        peer
        for peer, contact in state.contacts.items()
        if contact.heard_ms is not None and contact.heard_ms >= since and peer not in outbound
    )
    return (*outbound, *heard)


def keeps_up(state: State) -> Sequence[bytes]:
    """Name the dialled links to contact in this interval, so that each hears from us in every second one.

    In a full mesh nobody needs it: whom we dial dials us as well.
    """
    if len(state.outbound) == len(state.rules.dialled):
        return ()
    return state.outbound[state.exchanges % 2 :: 2]


def _of_distinct_operators(members: Iterable[Member]) -> Iterable[Member]:
    """The first member of each operator."""
    operators: set[str] = set()
    for member in members:
        if member.operator not in operators:
            operators.add(member.operator)
            yield member


def _score(me: bytes, peer: bytes, day: int) -> bytes:
    """Rendezvous hashing: whoever leaves the federation changes the links of those alone who had chosen it."""
    return sha256(me + peer + day.to_bytes(_DAY_BYTES, "big")).digest()
