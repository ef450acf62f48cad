"""How far a long command is: a bar on the terminal, and nothing where standard error is none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import override

Tell = Callable[[int, int], None]
"""Takes how many of how many are done."""


@contextmanager
def progress_bar(what: str, console: Console | None = None, *, asides: bool = False) -> Iterator[Tell]:
    """Show what is told, until the end of the block; ``asides`` to standard error then stand above the bar."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield tell_nobody
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        _Speed(),
        TimeRemainingColumn(),
    )
    # What a program prints is for whoever reads standard output, not for the screen.
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=asides) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, size: bar.update(task, completed=done, total=size)


def tell_nobody(done: int, size: int) -> None:
    """Keep progress to oneself."""


class _Speed(TextColumn):
    """How many a second, lately."""

    def __init__(self) -> None:
        super().__init__("")

    @override
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")
