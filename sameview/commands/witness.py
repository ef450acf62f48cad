"""``sameview witness``."""

from pathlib import Path

import click

CONFIG = click.option("--config", required=True, type=click.Path(path_type=Path), help="The witness's TOML file.")


@click.group()
def witness() -> None:
    """Run a witness: cosign checkpoints, and never two that disagree."""


@witness.command()
@CONFIG
def init(config: Path) -> None:
    """Create the witness's state, once."""
    from witness.__main__ import init as create

    create(config)
    click.echo(f"created; now run: sameview witness serve --config {config}", err=True)


@witness.command()
@CONFIG
def serve(config: Path) -> int:
    """Serve until told to stop."""
    from witness.__main__ import serve as run

    return run(config)
