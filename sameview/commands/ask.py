"""``sameview ask``."""

from pathlib import Path

import click

from runtime.errors import UsageError
from sameview.commands.inputs import naming, observers_from, read_file
from tlog.hashing import leaf_hash
from tlog.note import MAX_NOTE_BYTES
from tlog.opening import LEVEL, TruncatedProof
from tlog.tlog_proof import MAX_PROOF_BYTES, TlogProof

MAX_ENTRY_BYTES = 16 * 1024 * 1024  # an entry of a certificate log; ours are at most 65535 bytes


@click.command()
@click.argument("checkpoint", required=False, type=click.Path(dir_okay=False))
@click.option(
    "--policy",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False),
    help="The log, the monitors' observer keys as witness lines with their URLs, and how many have to agree.",
)
@click.option("--monitors", metavar="URL", multiple=True, help="Ask this monitor instead of those the policy names.")
@click.option(
    "--max-age",
    metavar="SECONDS",
    default=3600,
    show_default=True,
    type=click.IntRange(min=0),
    help="Only views this recent count.",
)
@click.option("--proof", metavar="FILE", type=click.Path(dir_okay=False), help="Hand in this .tlog-proof, truncated.")
@click.option("--entry", metavar="FILE", type=click.Path(dir_okay=False), help="The entry that the proof is about.")
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write a .tlog-view.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ask(
    checkpoint: str | None,
    policy: str,
    monitors: tuple[str, ...],
    max_age: int,
    proof: str | None,
    entry: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Ask monitors whether they see CHECKPOINT too, and verify what they answer.

    With --proof and --entry instead of CHECKPOINT the monitors are also shown the part of the tree that the entry is
    in, as one of 256 entries where the tree goes on that far: a history that the log shows you alone is convicted at
    once.

    Exit code 0: the quorum of the policy sees it too. 1: the log signed two histories, or not this checkpoint. 3: too
    few answers count.
    """
    from sameview.ask import ask_monitors, monitors_of, question_about, question_with
    from sameview.urls import checked_url

    observers = observers_from(policy)
    if (checkpoint is None) == (proof is None) or (proof is None) != (entry is None):
        raise UsageError("name a checkpoint, or a proof by --proof and its entry by --entry")
    urls = monitors or monitors_of(observers)
    asked = tuple(dict.fromkeys(checked_url(url, "what to ask") for url in urls))
    if checkpoint is not None:
        with naming(checkpoint):
            question = question_about(read_file(checkpoint, MAX_NOTE_BYTES), observers)
    else:
        opening = _opening(str(proof), str(entry))
        if opening.level < LEVEL:
            click.echo(_told_apart(opening.hidden_among), err=True)
        question = question_with(opening, observers)
    return ask_monitors(question, asked, max_age, out=out, as_json=as_json)


def _told_apart(entries: int) -> str:
    among = f"as one of only {entries} entries" if entries > 1 else "itself"
    return f"the tree of the proof ends near the entry, so the monitors are shown it {among}; a later proof shows less"


def _opening(proof: str, entry: str) -> TruncatedProof:
    with naming(proof):
        parsed = TlogProof.parse(read_file(proof, MAX_PROOF_BYTES))
        return TruncatedProof.of(parsed, leaf_hash(read_file(entry, MAX_ENTRY_BYTES)))
