"""How times, ages and numbers are told to people, on pages and in the terminal alike."""

import shlex
from collections.abc import Iterable
from datetime import UTC, datetime

_LAST_MS = 253_402_300_799_000  # the last second of the year 9999
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def utc(milliseconds: int) -> str:
    """A moment; one beyond the calendar, which anybody may state, is the last one in it."""
    return datetime.fromtimestamp(dated(milliseconds) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def dated(milliseconds: int) -> int:
    """The nearest moment that has a date."""
    return min(max(milliseconds, 0), _LAST_MS)


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


def counted(number: int, one: str, more: str | None = None) -> str:
    """So many of something: ``1 log``, ``2 logs``, ``2 entries``."""
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def public(url: str) -> str:
    """A URL as anybody may see it: without a user and a password, which are for the server that it leads to."""
    scheme, found, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{found}{host.rpartition('@')[2]}{slash}{path}"


def shell(words: Iterable[str]) -> str:
    """A command to be pasted into a shell, whoever chose its words."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # What cannot be seen cannot be checked either. Bash and zsh read this; nothing in it is special to them.
    return "$'" + "".join(one if one.isascii() and one.isalnum() else _escaped(one) for one in word) + "'"


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
