"""``sameview fsck``."""

import json
from functools import partial
from pathlib import Path

import click

from runtime.errors import DOES_NOT_HOLD, HOLDS
from sameview.commands.inputs import naming, read_file, trust_from
from tlog.errors import ProofError, SignatureError
from tlog.note import MAX_NOTE_BYTES
from tlog.policy import printable
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64
from tlog.trust import Trust, is_log_key

MAX_JOBS = 1024


@click.command()
@click.argument("source", metavar="URL|DIR")
@click.option(
    "--vkey", "vkeys", metavar="VKEY", multiple=True, required=True, help="A key of the log, or of a mirror that signs."
)
@click.option("--origin", metavar="ORIGIN", help="The log's origin, where it is not the name of its key.")
@click.option("--checkpoint", metavar="FILE", type=click.Path(dir_okay=False), help="Check against this older one.")
@click.option("--tiles-only", is_flag=True, help="Check the hash tiles only: the entries are kept elsewhere.")
@click.option(
    "--jobs", metavar="N", type=click.IntRange(1, MAX_JOBS), help="Processes; otherwise one for each processor."
)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep here what is done; the same command goes on from there when it was interrupted.",
)
@click.option("--history", is_flag=True, help="Check every checkpoint that the log keeps of earlier, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def fsck(
    source: str,
    vkeys: tuple[str, ...],
    origin: str | None,
    checkpoint: str | None,
    tiles_only: bool,
    jobs: int | None,
    state: Path | None,
    history: bool,
    as_json: bool,
) -> int:
    """Re-derive every tile, entry bundle and the root of a log, and compare them with what it serves and signed.

    Exit code 0: all of it agrees. 1: a file does not, and is named. 3: a file cannot be fetched.
    """
    from runtime.foreground import run_foreground
    from sameview.fsck import check
    from sameview.progress import progress_bar

    trust = trust_from(vkeys, origin)
    try:
        older = None if checkpoint is None else _open(checkpoint, trust)
        with progress_bar("entries") as progress:
            how = partial(check, source, trust, older, tiles_only=tiles_only, jobs=jobs, state=state, history=history)
            checked = run_foreground(partial(how, progress=progress))
    except (SignatureError, ProofError) as error:
        click.echo(json.dumps({"holds": False, "verdict": str(error)}) if as_json else f"FAILED: {error}")
        return DOES_NOT_HOLD
    head = checked.head
    if as_json:
        signers = [signature.key.name for signature in head.signatures]
        document = {"holds": True, "origin": head.origin, "signed_by": signers, "size": head.size}
        document["entries"] = checked.entries
        root_hash = encode_base64(head.root_hash).decode()
        more = {} if checked.history is None else {"history": checked.history}
        click.echo(json.dumps({**document, "tiles": checked.tiles, "root_hash": root_hash, **more}))
    else:
        what = f"every tile ({checked.tiles})" + ("" if tiles_only else f" and entry ({checked.entries})")
        title = f"OK: {printable(head.origin)} at size {head.size}"
        click.echo(f"{title}: {what} hashes to the root that {_signers(head)}")
        if checked.history is not None:
            click.echo(f"history: {checked.history} earlier and present checkpoints are signed beginnings of it")
    return HOLDS


def _signers(head: SignedCheckpoint) -> str:
    """Say whose word the root is: a mirror's cosignature is not the log's signature."""
    names = ", ".join(dict.fromkeys(printable(signature.key.name) for signature in head.signatures))
    if any(is_log_key(signature.key, head.origin) for signature in head.signatures):
        return f"{names} signed"
    return f"{names} cosigned; give the log's --vkey too to find out whether the log signed it"


def _open(file: str, trust: Trust) -> SignedCheckpoint:
    with naming(file):
        return trust.open(read_file(file, MAX_NOTE_BYTES)).require_any()
