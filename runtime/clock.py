"""The time, as an argument. Whoever needs it takes a ``Clock``; only shells make a ``SystemClock``.

Times are Unix times, as signed notes carry them. Measuring how long something takes is another matter: that is
``trio.current_time()``, which does not jump when somebody sets the clock.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> int:
        """Unix time in seconds."""
        ...

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000_000

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000
