"""Who showed which head: opened once, archived, and remembered for as long as the same bytes are shown again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gossip.core import Log
from monitor.archive import LOG, Archive, peer_who
from monitor.site import reopened
from runtime.clock import Clock
from tlog.keys import KeyType
from tlog.signed_checkpoint import SignedCheckpoint


@dataclass(slots=True)
class _Last:
    """What somebody showed last of a log, and since when on the clock that never jumps."""

    note: bytes
    signed: SignedCheckpoint | None
    since: float
    best: tuple[int, int] = (0, 0)
    """The largest size and the newest time, in milliseconds, of all that was shown."""


class Shown:
    """What everybody shows now. ``steady`` is a clock that never jumps, in seconds."""

    def __init__(
        self, archive: Archive, clock: Clock, steady: Callable[[], float], names: Mapping[bytes, str] | None = None
    ) -> None:
        self.archive = archive
        self.stated: Callable[[str, int], None] = _nobody_counts
        """Told of each statement that has just arrived: the name of the key, and the time it states in seconds."""
        self._names = names or {}
        self._newest: dict[tuple[str, str], int] = {}
        self._clock = clock
        self._steady = steady
        self._last: dict[tuple[str, str], _Last] = {}

    def note(self, log: Log, raw: bytes, who: str) -> SignedCheckpoint | None:
        """Take down that somebody showed a note; return it opened, None if no key of the log signed it."""
        place = log.origin, who
        last = self._last.get(place)
        if last is None or last.note != raw:
            last = self._last[place] = self._look(log, raw, who, last)
            if last.signed is not None:
                self._note_times(last.signed)
        if last.signed is not None:
            self.archive.saw(who, last.signed, self._clock.now_ms())
        return last.signed

    def again(self, log: Log, who: str) -> None:
        """Take down that somebody showed the same as last time."""
        if (log.origin, who) in self._last:
            self.archive.again(who, log.origin, self._clock.now_ms())

    def head(self, signed: SignedCheckpoint, peer: bytes) -> None:
        """Take down that a peer showed a head that is open already."""
        self.archive.saw(peer_who(self._names.get(peer, peer.hex())), signed, self._clock.now_ms())

    def quiet_seconds(self, origin: str, who: str = LOG) -> int | None:
        """For how long somebody has shown neither a new head nor new signatures; None if nothing since the start."""
        last = self._last.get((origin, who))
        return None if last is None else int(self._steady() - last.since)

    def shown(self, origin: str, who: str) -> SignedCheckpoint | None:
        """The head that somebody showed last."""
        last = self._last.get((origin, who))
        return None if last is None else last.signed

    def _note_times(self, signed: SignedCheckpoint) -> None:
        """Tell of newer times. Of a key's first one nobody knows how long ago it was stated."""
        for one in signed.signatures:
            place, time = (signed.origin, one.key.name), one.timestamp or 0
            known = self._newest.get(place)
            if one.key.type is not KeyType.RFC6962 and time > (known or 0):
                self._newest[place] = time
                if known is not None:
                    self.stated(one.key.name, time)

    def _look(self, log: Log, raw: bytes, who: str, last: _Last | None) -> _Last:
        signed = reopened(log, raw)
        best = (0, 0) if last is None else last.best
        size, stated_ms = (0, 0) if signed is None else (signed.size, _stated_ms(signed))
        since = self._steady()
        if last is None and signed is not None:
            since -= self._age_ms(signed, who) / 1000
        elif last is not None and size <= best[0] and stated_ms <= best[1]:
            since = last.since  # what the log did not sign is no news of it, nor is what it showed before
        return _Last(raw, signed, since, (max(size, best[0]), max(stated_ms, best[1])))

    def _age_ms(self, signed: SignedCheckpoint, who: str) -> int:
        """How old a head is that is there when the program starts: it, or its signatures, may be shown since long."""
        changed_ms = self.archive.changed_ms(who, signed.origin)
        if changed_ms is None or not self.archive.is_last(who, signed):
            return 0
        return max(self._clock.now_ms() - max(changed_ms, _stated_ms(signed)), 0)


def _nobody_counts(_name: str, _time: int) -> None:
    return


def _stated_ms(signed: SignedCheckpoint) -> int:
    """The newest time that anybody stated of a head, 0 if nobody did."""
    times = ((one.key.type, one.timestamp or 0) for one in signed.signatures)
    return max((time if type_ is KeyType.RFC6962 else time * 1000 for type_, time in times), default=0)
