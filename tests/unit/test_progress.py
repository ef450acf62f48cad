"""Progress is for a person at a terminal, and for nobody else."""

import sys
from io import StringIO

from rich.console import Console

from sameview.progress import progress_bar


def shown(*, terminal: bool) -> str:
    screen = Console(file=StringIO(), force_terminal=terminal, width=120)
    with progress_bar("entries", screen) as tell:
        for done in (256, 1024, 2000):
            tell(done, 2000)
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def test_a_terminal_shows_how_much_of_how_much_is_done() -> None:
    screen = shown(terminal=True)
    assert "2000/2000" in screen
    assert "100%" in screen
    assert "entries" in screen


def test_what_is_said_meanwhile_stands_above_the_bar() -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=120)
    with progress_bar("proofs", screen, asides=True):
        print("waiting", file=sys.stderr)
    assert isinstance(screen.file, StringIO)
    assert "waiting\n" in screen.file.getvalue()


def test_nothing_is_written_where_nobody_looks() -> None:
    assert shown(terminal=False) == ""
