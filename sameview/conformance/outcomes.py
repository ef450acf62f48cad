"""How a case ends: it passed, failed, differs as an older text allows, or could not be run here.

A case is an ordinary function that returns when the witness did all that was asked, and ends early by raising
``CaseEnded`` through ``fail`` or ``skip``. Nothing of what a witness sent is repeated in an outcome but its status and
short, harmless facts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn


class Text(StrEnum):
    """Which text of tlog-witness is followed."""

    MAIN = "main"
    V1 = "v1.0.0"


@dataclass(frozen=True, slots=True)
class Passed:
    """The witness did all that the case asks."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The witness did something else than a requirement asks."""

    requirement: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Differs:
    """The witness did what the older text said or left open, and the newer one does not."""

    requirement: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """The case cannot be run against this witness, or not now."""

    reason: str


Outcome = Passed | Failed | Differs | Skipped


class CaseEnded(Exception):  # noqa: N818  # a case that ends early is no error of anybody's
    """The case has an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


def fail(requirement: str, expected: str, got: str) -> NoReturn:
    """End the case: the witness does not do what the requirement asks."""
    raise CaseEnded(Failed(requirement, expected, got))


def skip(reason: str) -> NoReturn:
    """End the case: it says nothing about this witness."""
    raise CaseEnded(Skipped(reason))
