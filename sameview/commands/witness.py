"""``sameview witness``."""

from datetime import UTC, datetime
from pathlib import Path

import click

from sameview.commands.witness_logs import add_log, disable_log, list_logs, pull_logs
from tlog.keys import KeyType

ALGORITHMS = {"ed25519": KeyType.COSIGNATURE_ED25519, "mldsa44": KeyType.COSIGNATURE_MLDSA44}

CONFIG = click.option("--config", required=True, type=click.Path(path_type=Path), help="The witness's TOML file.")


@click.group()
def witness() -> None:
    """Run a witness: cosign checkpoints, and never two that disagree."""


for command in (add_log, disable_log, list_logs, pull_logs):
    witness.add_command(command)


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


@witness.command("rotate-key")
@CONFIG
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new key file; never overwritten.")
@click.option(
    "--retire-on",
    required=True,
    type=click.DateTime(["%Y-%m-%d"]),
    help="The day (UTC) from which on the old key signs nothing.",
)
@click.option("--algorithm", default="ed25519", show_default=True, type=click.Choice(sorted(ALGORITHMS)))
def rotate_key(config: Path, out: Path, retire_on: datetime, algorithm: str) -> None:
    """Make a key that replaces the one of the same algorithm by a date; until then both sign."""
    from runtime.clock import SystemClock
    from witness.config import read_settings
    from witness.rotation import rotate

    settings = read_settings(config)
    retires = int(retire_on.replace(tzinfo=UTC).timestamp())
    rotation = rotate(settings, ALGORITHMS[algorithm], out, retires, SystemClock())
    click.echo(rotation.new.verifier_key.format())
    click.echo(
        f"Recorded: the old key signs until {retire_on:%Y-%m-%d} 00:00 UTC.\n"
        f"1. Add {out} to `keys` in {config} and restart the witness: then both keys sign.\n"
        "2. Publish the vkey above; /v1/keys lists it with the old one and its date.\n"
        "3. After the date, take the old key file out of `keys`.",
        err=True,
    )


@witness.command()
@CONFIG
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new directory for keys and records.")
def retire(config: Path, out: Path) -> None:
    """Replace every key at once, because what they signed last may be lost, and say so in signed records.

    For a witness whose database or register was lost, restored or copied. It starts over with new keys.
    """
    from runtime.clock import SystemClock
    from witness.config import read_settings
    from witness.rotation import RETIRED_SUFFIX, retire

    for one in retire(read_settings(config), out, SystemClock()):
        click.echo(f"{one.old.verifier_key.format()} is followed by {one.new.verifier_key.format()}")
    click.echo(
        f"The old key files are put aside, with {RETIRED_SUFFIX} after their names: they sign nothing any more.\n"
        f"1. Publish the records {out}/*.retirement and the new vkeys; whoever trusts the old ones replaces them.\n"
        f"2. In {config} let `keys` name the new files, and `data` and `register` new places.\n"
        f"3. sameview witness init --config {config}; sameview witness serve --config {config}",
        err=True,
    )
