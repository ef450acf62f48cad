"""Runs the command line within the test's own process: quick, and every line of it counts for coverage."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from sameview.cli import run


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that it is."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True, slots=True)
class Sameview:
    """The command ``sameview``: what the fixture of that name gives to a test."""

    _capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Ran:
        self._capture.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = self._capture.readouterr()
        return Ran(code, printed.out, printed.err)
