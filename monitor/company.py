"""What the peers let us know of what they hold: whether each of them keeps up, and which heads it showed.

Nothing of it is believed: it decides about an alarm, and what the archive says that a peer showed.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gossip.messages import VERIFIED, Digest, DigestEntry, Head, Message, Part, Summary
from monitor.alarms.core import PeerFacts
from monitor.node import Monitor
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.note import Note

MAX_STEPS = 256  # of each log: how it grew since, which with a head a minute is four hours


@dataclass(slots=True)
class _Peer:
    id: bytes
    name: str
    heard: float
    behind: dict[bytes, int] = field(default_factory=dict)


class Company:
    """All peers. Times are seconds on the clock that never jumps."""

    def __init__(self, monitor: Monitor, names: Mapping[bytes, str], now: float) -> None:
        self._monitor = monitor
        self._peers = {id_: _Peer(id_, name, now) for id_, name in names.items()}
        self._steps: dict[bytes, deque[tuple[float, int]]] = {}

    def overhear(self, peer: bytes, messages: Sequence[Message], now: float) -> None:
        """Take in what a peer said, after the machine has."""
        known = self._peers.get(peer)
        if known is None:
            return
        known.heard = now
        for message in messages:
            match message:
                case Summary():
                    summed = self._monitor.gossip.state.summed
                    if summed is not None and summed.frontier_hash == message.frontier_hash:
                        known.behind.clear()
                case Digest() | Part():
                    for entry in message.entries:
                        self._compare(known, entry, now)
                case Head():
                    self._show(known, message, now)
                case _:
                    pass

    def grow(self, now: float) -> None:
        """Note how far the branches have grown."""
        for origin in self._monitor.sites:
            steps = self._steps.setdefault(origin, deque(maxlen=MAX_STEPS))
            size = self._monitor.branch(origin).size
            if not steps or steps[-1][1] != size:
                steps.append((now, size))

    def facts(self, now: float) -> list[PeerFacts]:
        """How every peer keeps up that is dialled, or was heard."""
        return [self._facts(known, now) for known in self._peers.values()]

    def _facts(self, known: _Peer, now: float) -> PeerFacts:
        names = {origin: site.log.origin for origin, site in self._monitor.sites.items()}
        late = tuple(names[origin] for origin in known.behind)
        return PeerFacts(known.name, int(now - known.heard), max(known.behind.values(), default=0), late)

    def _compare(self, known: _Peer, entry: DigestEntry, now: float) -> None:
        """Note for how long a peer's verified head has been smaller than ours."""
        if entry.flags & VERIFIED and entry.origin in self._monitor.sites:
            passed = next((at for at, size in self._steps.get(entry.origin, ()) if size > entry.size), now)
            known.behind[entry.origin] = int(now - passed)
            if known.behind[entry.origin] == 0:
                del known.behind[entry.origin]

    def _show(self, known: _Peer, head: Head, now: float) -> None:
        """Archive a peer's head where its signatures were verified: it is the branch's, or pending."""
        site = self._monitor.sites.get(head.origin)
        if site is None:
            return
        try:
            checkpoint = Checkpoint.parse(Note.parse(head.note).text)
        except FormatError:
            return
        if head.status == VERIFIED:
            entry = DigestEntry(head.origin, checkpoint.size, checkpoint.root_hash, VERIFIED)
            self._compare(known, entry, now)
        branch = self._monitor.branch(head.origin)
        pending = branch.find(checkpoint.head)
        signed = pending.signed if pending is not None else branch.signed
        if signed is not None and signed.checkpoint == checkpoint:
            self._monitor.shown.head(signed, known.id)
