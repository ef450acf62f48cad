"""Text in entries: a substring, or a regular expression in the syntax of RE2.

Both look at bytes. An expression with (?i) looks for letters of either case, one with (?s) lets a dot be a line feed.
"""

from dataclasses import dataclass

from monitor.watch.core import excerpt
from monitor.watch.regular import Regular, compiled


@dataclass(frozen=True, slots=True)
class Substring:
    """Entries that contain these bytes."""

    wanted: bytes

    def find(self, entry: bytes) -> tuple[str, ...]:
        """Look for the first place."""
        at = entry.find(self.wanted)
        return () if at < 0 else (excerpt(entry, at, at + len(self.wanted)),)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Entries in which a regular expression matches."""

    expression: str
    _regular: Regular

    @classmethod
    def compile(cls, expression: str) -> "Pattern":
        """Read an expression.

        Raises:
            ValueError: RE2 does not accept it; the message says why.
        """
        return cls(expression, compiled(expression))

    def find(self, entry: bytes) -> tuple[str, ...]:
        """Look for the first place."""
        found = self._regular.search(entry)
        return () if found is None else (excerpt(entry, found.start(), found.end()),)
