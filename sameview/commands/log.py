"""``sameview log``."""

from pathlib import Path

import click

CONFIG = click.option("--config", required=True, type=click.Path(path_type=Path), help="The log's TOML file.")


@click.group()
def log() -> None:
    """Run a log, or add entries to one."""


@log.command()
@CONFIG
def init(config: Path) -> None:
    """Create the log's state, once."""
    from logserver.__main__ import init as create

    create(config)
    click.echo(f"created; now run: sameview log serve --config {config}", err=True)


@log.command()
@CONFIG
def serve(config: Path) -> int:
    """Serve until told to stop."""
    from logserver.__main__ import serve as run

    return run(config)


@log.command()
@click.argument("url")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--batch", is_flag=True, help="Send up to 256 entries in one request.")
@click.option(
    "--proof-out", type=click.Path(path_type=Path, file_okay=False), help="Write a .tlog-proof for each entry here."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def add(url: str, files: tuple[Path, ...], batch: bool, proof_out: Path | None, as_json: bool) -> int:
    """Add FILES to the log at URL, each as one entry; without FILES, one entry from standard input.

    Prints each entry's index. With --proof-out waits for the checkpoint that covers it and writes INDEX.tlog-proof.
    """
    from sameview.submit import add_files

    return add_files(url, files, batch=batch, proof_out=proof_out, as_json=as_json)
