"""How times, ages and numbers are told to people, on pages and in the terminal alike."""

from datetime import UTC, datetime

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def utc(milliseconds: int) -> str:
    """A moment."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: int) -> str:
    """How long something lasts: ``119 s``, ``2 min``, ``47 h``, ``2 d``."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def age(milliseconds: int, now_ms: int) -> str:
    """How long ago a moment was; clocks that are ahead of ours count as now."""
    return span((now_ms - milliseconds) // 1000)


def grouped(number: int) -> str:
    """A number with its thousands set apart."""
    return f"{number:,}"


def counted(number: int, what: str) -> str:
    """So many of something: ``1 log``, ``2 logs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
