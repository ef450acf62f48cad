"""Tells how far a catch-up has come: lines in the log, and bars where a person watches the terminal.

Only what takes longer than a few seconds is told; most heads are reached before anybody could read about it.
"""

from collections.abc import Iterable
from datetime import timedelta

import structlog
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from monitor.site import Site

LINE_SECONDS = 10.0  # between two lines about one log
BAR_SECONDS = 0.5


async def report(sites: Iterable[Site], console: Console | None = None) -> None:
    """Report for ever."""
    found, console = list(sites), console or Console(stderr=True)
    async with trio.open_nursery() as both:
        both.start_soon(_lines, found)
        if console.is_terminal:
            both.start_soon(_bars, found, console)


async def _lines(sites: list[Site]) -> None:
    while True:
        await trio.sleep(LINE_SECONDS)
        for site in sites:
            found = site.follower.progress
            if found is not None and found.seconds >= LINE_SECONDS:
                left = found.seconds_left
                _log.info(
                    "catching up",
                    origin=site.log.origin,
                    entries=found.done,
                    of=found.target,
                    per_second=round(found.per_second),
                    seconds_left=None if left is None else round(left),
                )


async def _bars(sites: list[Site], console: Console) -> None:
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    shown: dict[bytes, TaskID] = {}
    # What a program prints is for whoever reads standard output, not for the screen.
    with Progress(*columns, console=console, auto_refresh=False, transient=True, redirect_stdout=False) as bars:
        while True:
            await trio.sleep(BAR_SECONDS)
            for site in sites:
                show(site, bars, shown)
            bars.refresh()


def show(site: Site, bars: Progress, shown: dict[bytes, TaskID]) -> None:
    """Bring the bar of one log up to date; there is one only while it catches up."""
    found, bar = site.follower.progress, shown.get(site.log.id)
    if found is None:
        if bar is not None:
            bars.remove_task(shown.pop(site.log.id))
    elif found.seconds >= BAR_SECONDS:
        if bar is None:
            bar = shown[site.log.id] = bars.add_task(site.log.origin, left="")
        left = "" if found.seconds_left is None else f"{timedelta(seconds=round(found.seconds_left))} left"
        bars.update(bar, completed=found.done, total=found.target, left=left)


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
