"""How long ``sameview verify`` takes from a cold start to its verdict, beside the least it cannot do without.

All are new processes, started in turns: the command as a person runs it, for a proof, a view and a completeness
certificate, and a Python that imports the library for signatures and the one for command lines and ends. The ratio,
that of the proof, says what our own modules cost on top.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from tests.fakes_log import WITNESSES, FakeLog, policy
from tlog.completeness import certify
from tlog.note import Note
from tlog.proofs import prove_inclusion
from tlog.signed_checkpoint import open_checkpoint
from tlog.tlog_proof import TlogProof
from tlog.view import Answer, View

TARGET_SECONDS = 0.2
ENTRIES = 1000
INDEX = 700
MONITORS = 3
BARE = (sys.executable, "-c", "import nacl.bindings, click")


def write_inputs(folder: Path) -> dict[str, list[str]]:
    """A proof under a log key and a quorum of two of three witnesses, a view of a smaller tree that three monitors
    agree with, and a certificate that rests on trees of three sizes; returns the commands that verify them.
    """
    log = FakeLog(b"entry %d" % number for number in range(ENTRIES))
    head = log.sign(witnesses=WITNESSES)
    proof = TlogProof(INDEX, tuple(prove_inclusion(INDEX, ENTRIES, log.node)), head)
    answers = (Answer(Note.parse(head), log.proof(INDEX, ENTRIES)),) * MONITORS
    stated = [
        open_checkpoint(log.sign(size, (one,)), (one.verifier_key,)).verified_only()
        for size, one in zip((INDEX, INDEX + 1, ENTRIES), WITNESSES, strict=True)
    ]
    frontier = open_checkpoint(log.sign(witnesses=()), (log.key.verifier_key,))
    certificate = certify(policy(), stated[0].signatures[0].timestamp or 0, 1, frontier, stated, log.proof)
    inputs = {
        "proof": proof.format(),
        "entry": log.entries[INDEX],
        "view": View(Note.parse(log.sign(INDEX, ())), answers).format(),
        "completeness": certificate.format(),
        "policy": policy().format(),
    }
    for name, content in inputs.items():
        (folder / name).write_bytes(content)
    files = {name: str(folder / name) for name in inputs}
    command = [sys.executable, "-m", "sameview", "verify"]
    return {
        "proof": [*command, "proof", files["proof"], "--entry", files["entry"], "--policy", files["policy"]],
        "view": [*command, "view", files["view"], "--policy", files["policy"]],
        "completeness": [*command, "completeness", files["completeness"], "--policy", files["policy"]],
    }


def seconds(command: Sequence[str]) -> float:
    started = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quick look instead of a measurement")
    turns = 3 if parser.parse_args(arguments).short else 31
    with tempfile.TemporaryDirectory() as folder:
        commands = write_inputs(Path(folder))
        for command in commands.values():
            seconds(command)  # writes the compiled modules, as the first run of an installation does
        rounds = [(seconds(BARE), {name: seconds(command) for name, command in commands.items()}) for _ in range(turns)]
    figures = {
        "seconds_median": round(statistics.median(ours["proof"] for _, ours in rounds), 4),
        "view_seconds_median": round(statistics.median(ours["view"] for _, ours in rounds), 4),
        "completeness_seconds_median": round(statistics.median(ours["completeness"] for _, ours in rounds), 4),
        "bare_python_seconds": round(statistics.median(bare for bare, _ in rounds), 4),
        "starts": turns,
    }
    ratio = round(statistics.median(ours["proof"] / bare for bare, ours in rounds), 3)
    document = {"bench": "verify_start", "figures": figures, "ratio": ratio, "target_seconds": TARGET_SECONDS}
    print(json.dumps(document))


if __name__ == "__main__":
    main(sys.argv[1:])
