"""Regular expressions over bytes, by RE2: in time that grows with the text and not faster.

RE2 keeps that promise for every expression it accepts; it knows no backreferences and no look-around. Bytes are looked
at, not characters, so that no byte that is not UTF-8 hides what stands around it.
"""

from typing import Protocol

import re2

MAX_PATTERN = 1024  # characters
MAX_PROGRAM_BYTES = 1024 * 1024  # of a compiled expression and its cache


class Place(Protocol):
    """Where an expression matched."""

    def start(self) -> int:
        """The first byte."""
        ...

    def end(self) -> int:
        """The byte behind the last one."""
        ...


class Regular(Protocol):
    """A compiled expression."""

    def search(self, text: bytes) -> Place | None:
        """Find the first place in the text."""
        ...

    def fullmatch(self, text: bytes) -> Place | None:
        """Tell whether it matches the whole text."""
        ...


def compiled(expression: str) -> Regular:
    """Compile an expression; a letter beyond ASCII stands for its bytes in UTF-8.

    Raises:
        ValueError: it is empty or long, or RE2 does not accept it; the message says why.
    """
    if not 0 < len(expression) <= MAX_PATTERN:
        raise ValueError(f"a regular expression has between 1 and {MAX_PATTERN} characters")
    return compiled_bytes(expression.encode())


def compiled_bytes(expression: bytes) -> Regular:
    """Compile an expression over bytes.

    Raises:
        ValueError: RE2 does not accept it.
    """
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    try:
        found: Regular = re2.compile(expression, options)
    except re2.error as error:
        raise ValueError(f"RE2 does not accept this: {_reason(error.args[0])}") from None
    return found


def _reason(said: object) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
