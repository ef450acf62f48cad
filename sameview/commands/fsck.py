"""``sameview fsck``."""

import json
from pathlib import Path

import click

from runtime.errors import UsageError
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES
from tlog.text import encode_base64
from tlog.trust import Trust


@click.command()
@click.argument("source", metavar="URL|DIR")
@click.option("--vkey", "vkeys", multiple=True, required=True, help="The log's key; several for several keys.")
@click.option("--origin", help="The log's origin, where it is not the name of its key.")
@click.option(
    "--checkpoint", type=click.Path(path_type=Path, dir_okay=False), help="Check against this one, not the newest."
)
@click.option("--tiles-only", is_flag=True, help="Check the hash tiles only: the entries are kept elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def fsck(
    source: str, vkeys: tuple[str, ...], origin: str | None, checkpoint: Path | None, tiles_only: bool, as_json: bool
) -> int:
    """Re-derive every tile, entry bundle and the root of a log, and compare them with what it serves and signed."""
    import trio

    from sameview.fsck import check

    try:
        keys = tuple(VerifierKey.parse(vkey) for vkey in vkeys)
    except FormatError as error:
        raise UsageError(f"--vkey: {error}") from None
    try:
        checked = trio.run(lambda: check(source, Trust(keys, origin), _read(checkpoint), tiles_only=tiles_only))
    except (SignatureError, ProofError) as error:
        click.echo(json.dumps({"holds": False, "verdict": str(error)}) if as_json else f"FAILED: {error}")
        return 1
    head = checked.head
    if as_json:
        document = {
            "holds": True,
            "origin": head.origin,
            "size": head.size,
            "entries": checked.entries,
            "tiles": checked.tiles,
        }
        click.echo(json.dumps({**document, "root_hash": encode_base64(head.root_hash).decode()}))
    else:
        what = f"{checked.tiles} tiles" + ("" if tiles_only else f" and {checked.entries} entries")
        click.echo(f"OK: {head.origin} at size {head.size}: {what} hash to the signed root")
    return 0


def _read(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_NOTE_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
