"""``sameview monitor``."""

from pathlib import Path

import click

CONFIG = click.option("--config", required=True, type=click.Path(path_type=Path), help="The monitor's TOML file.")


@click.group()
def monitor() -> None:
    """Run a monitor, or show what one sees."""


@monitor.command()
@CONFIG
def init(config: Path) -> None:
    """Create the monitor's state, once."""
    from monitor.__main__ import init as create

    for sentence in create(config):
        click.echo(sentence, err=True)
    click.echo(f"created; now run: sameview monitor serve --config {config}", err=True)


@monitor.command()
@CONFIG
def serve(config: Path) -> int:
    """Serve until told to stop."""
    from monitor.__main__ import serve as run

    return run(config)


@monitor.command()
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(url: str, as_json: bool) -> int:
    """Show what the monitor at URL sees: heads, peers, alarms, evidence. Exit 1 when it convicted somebody."""
    from sameview.status import show_status

    return show_status(url, as_json)
