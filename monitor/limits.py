"""When something is worth an alarm, and how long things are kept: the tables ``[alarms]`` and ``[archive]``."""

import msgspec


class AlarmLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[alarms]``. Times are seconds unless something else is said."""

    log_stale: float = 3.0
    """Cadences that a log declares."""
    watermark_stale: float = 900.0
    witness_lag: float = 600.0
    peer_lag: float = 3.0
    """Gossip intervals."""
    size_jump: float = 100.0
    """Times the growth that is expected."""
    size_jump_least: int = 1000
    """Entries: what a small log grows by in a burst is no jump."""
    policy_degraded: float = 120.0
    vantage_split: float = 600.0
    keep_days: int = 400
    """After an alarm ended: a little more than a year, to compare with."""
    keep: int = 10_000
    """Alarms that ended."""

    def fault(self) -> str | None:
        """Name the key that cannot be meant, if there is one."""
        numbers = (name for name in self.__struct_fields__ if not 0 < getattr(self, name) <= _MOST)
        return next(numbers, None)


class ArchiveLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[archive]``. Of heads 0 days stands for ever."""

    heads_days: int = 0
    heads_a_day: int = 20_000
    """Sightings of each log: beyond what ten witnesses and a log show in a day, it is a log that floods."""
    minutes_days: int = 30
    """Then one sample an hour is kept, for ever."""

    def fault(self) -> str | None:
        """Name the key that cannot be meant, if there is one."""
        least = {"heads_days": 0, "heads_a_day": 1, "minutes_days": 1}
        return next((name for name, most in least.items() if not most <= getattr(self, name) <= _MOST), None)


_MOST = 10**9
