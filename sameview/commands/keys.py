"""``sameview keygen`` and ``sameview vkey``."""

from pathlib import Path

import click

from runtime.errors import UsageError
from runtime.keyfiles import new_signer_key, read_signer_key, write_signer_key
from tlog.errors import FormatError
from tlog.keys import KeyType
from tlog.text import parse_key_name, parse_origin

# A log's Ed25519 key signs plain notes; witnesses and observers sign timestamped cosignatures; peers sign envelopes.
KEY_TYPES = {
    ("log", "ed25519"): KeyType.ED25519,
    ("log", "mldsa44"): KeyType.COSIGNATURE_MLDSA44,
    ("witness", "ed25519"): KeyType.COSIGNATURE_ED25519,
    ("witness", "mldsa44"): KeyType.COSIGNATURE_MLDSA44,
    ("observer", "ed25519"): KeyType.COSIGNATURE_ED25519,
    ("observer", "mldsa44"): KeyType.COSIGNATURE_MLDSA44,
    ("peer", "ed25519"): KeyType.ED25519,
}


@click.command()
@click.option("--name", required=True, help="The key name: a schema-less URL such as log.example/one.")
@click.option(
    "--type",
    "role",
    required=True,
    type=click.Choice(["log", "witness", "observer", "peer"]),
    help="What the key is for.",
)
@click.option("--algorithm", default="ed25519", show_default=True, type=click.Choice(["ed25519", "mldsa44"]))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The key file to write; never overwritten.")
def keygen(name: str, role: str, algorithm: str, out: Path) -> None:
    """Make a key, write it to a file that only its owner can read, and print its vkey."""
    key_type = KEY_TYPES.get((role, algorithm))
    if key_type is None:
        raise UsageError(f"a {role} key is always ed25519: leave --algorithm out")
    _check_name(name)
    key = new_signer_key(name, key_type)
    write_signer_key(out, key)
    click.echo(key.verifier_key.format())


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def vkey(file: Path) -> None:
    """Print the vkey of a key file."""
    click.echo(read_signer_key(file).verifier_key.format())


def _check_name(name: str) -> None:
    """A key's name has to be the origin of a log too, or else could never be one."""
    field = name.encode("utf-8", "surrogateescape")  # which the parsers refuse to read
    try:
        parse_origin(field)
        parse_key_name(field)
    except FormatError:
        raise UsageError(
            "--name must be 1 to 255 bytes of text without spaces, plus signs and control characters"
        ) from None
