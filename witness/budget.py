"""How many requests a day are answered for one log: its ``qpd``, as log lists state it.

A bucket for each log that has a limit fills evenly over the day and holds an hour's worth, or ten requests where that
is less: a log that submits in turn needs two requests when it has lost count of our size, and may retry. Only requests
that the log's key signed are counted, so that nobody empties a bucket with forgeries. Buckets exist for configured logs
only, however many origins strangers name.
"""

from collections.abc import Callable

DAY_MS = 86_400_000
MIN_BURST = 10


class Budgets:
    """What is left for each log."""

    def __init__(self, qpd: Callable[[str], int | None]) -> None:
        self._qpd = qpd
        self._buckets: dict[str, _Bucket] = {}

    def charge(self, origin: str, now_ms: int) -> int | None:
        """Count a request for a known log; None if it may go on, else the seconds after which to ask again."""
        qpd = self._qpd(origin)
        if qpd is None:
            self._buckets.pop(origin, None)
            return None
        bucket = self._buckets.get(origin)
        if bucket is None or bucket.qpd != qpd:
            self._buckets[origin] = bucket = _Bucket(qpd, now_ms)
        return bucket.charge(now_ms)

    def __len__(self) -> int:
        return len(self._buckets)


class _Bucket:
    """What is left, in units of which a request takes ``DAY_MS``: whole numbers, so that nothing is rounded away."""

    __slots__ = ("_filled", "_since", "qpd")

    def __init__(self, qpd: int, now_ms: int) -> None:
        self.qpd = qpd
        self._filled = self._capacity
        self._since = now_ms

    @property
    def _capacity(self) -> int:
        return min(self.qpd, max(MIN_BURST, self.qpd // 24)) * DAY_MS

    def charge(self, now_ms: int) -> int | None:
        # In a millisecond qpd units flow in, a request takes DAY_MS of them. A clock that is set back adds nothing.
        self._filled = min(self._capacity, self._filled + max(0, now_ms - self._since) * self.qpd)
        self._since = now_ms
        if self._filled >= DAY_MS:
            self._filled -= DAY_MS
            return None
        missing_ms = -(-(DAY_MS - self._filled) // self.qpd)
        return -(-missing_ms // 1000)
