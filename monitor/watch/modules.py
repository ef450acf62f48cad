"""Module paths in the entries of a Go checksum database, by patterns as in GOPRIVATE.

    example.com/team          the module of this path, and every one below it
    *.example.com/secret      a star is any number of characters other than a slash
    example.com/[a-m]?        classes and question marks as in Go's path.Match

A pattern of N elements is compared with the first N elements of a path, as ``go help module-private`` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.watch.regular import MAX_PATTERN, Regular, compiled_bytes

_META = frozenset(b"\\.+*?()|[]{}^$")


@dataclass(frozen=True, slots=True)
class ModulePaths:
    """Entries about modules whose path one of the patterns matches."""

    patterns: tuple[str, ...]
    _matches: tuple[tuple[int, Regular], ...]

    @classmethod
    def compile(cls, patterns: Sequence[str]) -> "ModulePaths":
        """Read patterns.

        Raises:
            ValueError: one of them is empty, too long, or no pattern of path.Match; or there is none.
        """
        if not patterns:
            raise ValueError("there is no pattern in the list")
        return cls(tuple(patterns), tuple(_compiled(one.removesuffix("/").encode()) for one in patterns))

    def find(self, entry: bytes) -> tuple[str, ...]:
        """Look at the path that each line of the entry is about."""
        found: dict[str, None] = {}
        for line in entry.split(b"\n"):
            path, _, rest = line.partition(b" ")
            if any(self._is_below(path, count, regular) for count, regular in self._matches):
                found[(path + b" " + rest.partition(b" ")[0]).decode("utf-8", "replace")] = None
        return tuple(found)

    @staticmethod
    def _is_below(path: bytes, count: int, regular: Regular) -> bool:
        elements = path.split(b"/", count)
        return bool(path) and regular.fullmatch(b"/".join(elements[:count])) is not None


def _compiled(glob: bytes) -> tuple[int, Regular]:
    return glob.count(b"/") + 1, compiled_bytes(b"(?s:" + _regular(glob) + b")")


def _regular(glob: bytes) -> bytes:
    """Turn a pattern of path.Match into a regular expression over the bytes of UTF-8."""
    if not 0 < len(glob) <= MAX_PATTERN:
        raise ValueError(f"a module path's pattern has between 1 and {MAX_PATTERN} bytes")
    parts: list[bytes] = []
    at = 0
    while at < len(glob):
        part, at = _next(glob, at)
        parts.append(part)
    return b"".join(parts)


def _next(glob: bytes, at: int) -> tuple[bytes, int]:
    match glob[at : at + 1]:
        case b"*":
            return b"[^/]*", at + 1
        case b"?":
            return _CHARACTER, at + 1
        case b"[":
            return _class(glob, at + 1)
        case b"\\":
            return _literal(glob, at + 1), at + 2
        case _:
            return _literal(glob, at), at + 1


_CHARACTER = rb"(?:[\x00-\x2e\x30-\x7f]|[\xc0-\xff][\x80-\xbf]*)"  # one of UTF-8, not a slash


def _class(glob: bytes, at: int) -> tuple[bytes, int]:
    end = glob.find(b"]", at + 1)
    body = glob[at:end]
    negated = body.startswith(b"^")
    body = body.removeprefix(b"^")
    # Module paths are ASCII, and a class of anything else would need more than bytes.
    if end < 0 or not body or not body.isascii() or any(one in body for one in b"\\[") or body[:1] == b"-":
        raise ValueError("a class in a module path's pattern is not made of ASCII characters and ranges")
    inside = b"".join(b"-" if one == ord("-") else _escaped(one) for one in body)
    if negated:
        return b"(?:[^" + inside + rb"\x80-\xff]|[\xc0-\xff][\x80-\xbf]*)", end + 1
    return b"[" + inside + b"]", end + 1


def _literal(glob: bytes, at: int) -> bytes:
    if at >= len(glob):
        raise ValueError("a module path's pattern ends with a backslash")
    return _escaped(glob[at])


def _escaped(byte: int) -> bytes:
    return b"\\" + bytes([byte]) if byte in _META else bytes([byte])
