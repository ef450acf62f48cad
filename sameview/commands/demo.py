"""``sameview demo``."""

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

import click
from typing_extensions import override

from runtime.errors import UsageError


class _Demo(click.Command):
    """A command whose help lists the scenarios."""

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from sameview.lab.scenarios import SCENARIOS

        with formatter.section("Scenarios"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in SCENARIOS.items()])


@click.command(cls=_Demo)
@click.option("--dir", "directory", type=click.Path(path_type=Path, file_okay=False), help="Where to put everything.")
@click.option("--scenario", default="all", show_default=True, help="One of those below, or all.")
@click.option("--keep", is_flag=True, help="Leave the files behind: keys, configurations, logs, evidence.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; the story goes to standard error.")
def demo(directory: Path | None, scenario: str, keep: bool, as_json: bool) -> int:
    """Run a federation on this machine, let logs and others lie, and verify the evidence.

    Exit 0 only if every claim made on the way held.
    """
    from runtime.foreground import run_foreground
    from sameview.lab.demo import run_all
    from sameview.lab.narrator import Narrator
    from sameview.lab.scenarios import SCENARIOS

    names = list(SCENARIOS) if scenario == "all" else [scenario]
    if not set(names) <= set(SCENARIOS):
        raise UsageError(f"there is no such scenario: choose one of {', '.join(SCENARIOS)}, or all")
    place = _make_directory(directory)
    narrator = Narrator(quiet=as_json)
    try:
        reports = run_foreground(partial(run_all, names, place, narrator))
    finally:
        if keep:
            click.echo(f"kept in {place}", err=True)
        else:
            shutil.rmtree(place, ignore_errors=True)
    narrator.verdict(reports)
    if as_json:
        click.echo(
            json.dumps({"held": all(report.held for report in reports), "scenarios": [r.document() for r in reports]})
        )
    return 0 if all(report.held for report in reports) else 1


def _make_directory(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="sameview-demo-"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty: name a new directory")
    except OSError as error:
        raise UsageError(f"cannot make {directory}: {error.strerror}") from None
    return directory.resolve()
