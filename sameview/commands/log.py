"""``sameview log``."""

import json
from pathlib import Path

import click

from runtime.errors import DOES_NOT_HOLD, HOLDS, UsageError
from tlog.errors import ProofError
from tlog.text import encode_base64

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
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def replay(config: Path, as_json: bool) -> int:
    """Derive every recorded checkpoint again from the entries alone; also while the log serves.

    Prints a canonical hash of all of them, which every copy of the same log has. Exit code 1 names a checkpoint that is
    not one of the entries.
    """
    from functools import partial

    from logserver.__main__ import replay as run
    from runtime.foreground import run_foreground

    try:
        replayed = run_foreground(partial(run, config))
    except ProofError as error:
        click.echo(json.dumps({"holds": False, "verdict": str(error)}) if as_json else f"FAILED: {error}")
        return DOES_NOT_HOLD
    root_hash = encode_base64(replayed.head.root_hash).decode()
    if as_json:
        document = {"size": replayed.head.size, "root_hash": root_hash, "checkpoints": replayed.checkpoints}
        click.echo(json.dumps({"holds": True, **document, "hash": replayed.hash.hex()}))
    else:
        click.echo(f"OK: {replayed.checkpoints} checkpoints are those of the {replayed.head.size} entries")
        click.echo(f"root {root_hash}")
        click.echo(f"hash {replayed.hash.hex()}")
    return HOLDS


@log.command()
@click.argument("url")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--batch", is_flag=True, help="Send up to 256 entries in one request; files of a directory always are.")
@click.option("--proofs", is_flag=True, help="Write FILE.tlog-proof beside each file.")
@click.option(
    "--proof-out", type=click.Path(path_type=Path, file_okay=False), help="Write INDEX.tlog-proof for each entry here."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def add(url: str, files: tuple[Path, ...], batch: bool, proofs: bool, proof_out: Path | None, as_json: bool) -> int:
    """Add FILES to the log at URL, each as one entry; of a directory every file in it; else standard input.

    Prints each entry's index, however the command ends. With --proofs or --proof-out waits for the checkpoint that
    covers it and writes its proof. A file that ends in .tlog-proof is left out where its directory is named.
    """
    from sameview.submit import Plan, add_files

    if proofs and proof_out is not None:
        raise UsageError("write proofs beside the files by --proofs, or into a folder by --proof-out")
    return add_files(url, files, Plan(batch, proofs, proof_out), as_json=as_json)
