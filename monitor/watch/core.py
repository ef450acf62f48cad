"""A watch, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_EXCERPTS = 3  # shown of one entry; the entry itself is kept
MAX_EXCERPT = 200  # characters
AROUND = 40  # bytes shown before and after what was found


class Rule(Protocol):
    """What is looked for."""

    def find(self, entry: bytes) -> Sequence[str]:
        """Return what was found, in words that people may be shown; nothing if the entry is none that is meant."""
        ...


@dataclass(frozen=True, slots=True)
class Watch:
    """A rule with its name. ``since`` is the first entry that it looks at, None the first one to come."""

    name: str
    rule: Rule
    since: int | None = None
    keep: int = 10_000


def matched(watch: Watch, entry: bytes) -> tuple[str, ...] | None:
    """Return what a watch found in an entry; None if nothing."""
    found = watch.rule.find(entry)
    return tuple(shown(one) for one in found[:MAX_EXCERPTS]) if found else None


def excerpt(entry: bytes, start: int, end: int) -> str:
    """Cut out what was found, with what stands around it, and show on which side there is more."""
    first, last = max(start - AROUND, 0), min(end, start + MAX_EXCERPT) + AROUND
    text = entry[first:last].decode("utf-8", "replace")
    return f"{'…' if first else ''}{text}{'…' if last < len(entry) else ''}"


def shown(text: str) -> str:
    """Make text safe to print: one line, no control characters, and short."""
    cut = text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in cut)
