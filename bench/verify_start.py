"""How long ``sameview verify proof`` takes from a cold start to its verdict, beside the least it cannot do without.

Both are new processes, started in turns: the command as a person runs it, and a Python that imports the library for
signatures and the one for command lines and ends. The ratio says what our own modules cost on top.
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
from tlog.proofs import prove_inclusion
from tlog.tlog_proof import TlogProof

TARGET_SECONDS = 0.2
ENTRIES = 1000
INDEX = 700
BARE = (sys.executable, "-c", "import nacl.bindings, click")


def write_inputs(folder: Path) -> list[str]:
    """A proof under a log key and a quorum of two of three witnesses; returns the command that verifies it."""
    log = FakeLog(b"entry %d" % number for number in range(ENTRIES))
    proof = TlogProof(INDEX, tuple(prove_inclusion(INDEX, ENTRIES, log.node)), log.sign(witnesses=WITNESSES))
    (folder / "proof").write_bytes(proof.format())
    (folder / "entry").write_bytes(log.entries[INDEX])
    (folder / "policy").write_bytes(policy().format())
    files = {name: str(folder / name) for name in ("proof", "entry", "policy")}
    verify = ("verify", "proof", files["proof"], "--entry", files["entry"], "--policy", files["policy"])
    return [sys.executable, "-m", "sameview", *verify]


def seconds(command: Sequence[str]) -> float:
    started = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - started


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a quick look instead of a measurement")
    turns = 3 if parser.parse_args(arguments).short else 31
    with tempfile.TemporaryDirectory() as folder:
        verify = write_inputs(Path(folder))
        seconds(verify)  # writes the compiled modules, as the first run of an installation does
        pairs = [(seconds(verify), seconds(BARE)) for _ in range(turns)]
    figures = {
        "seconds_median": round(statistics.median(ours for ours, _ in pairs), 4),
        "bare_python_seconds": round(statistics.median(bare for _, bare in pairs), 4),
        "starts": turns,
    }
    ratio = round(statistics.median(ours / bare for ours, bare in pairs), 3)
    document = {"bench": "verify_start", "figures": figures, "ratio": ratio, "target_seconds": TARGET_SECONDS}
    print(json.dumps(document))


if __name__ == "__main__":
    main(sys.argv[1:])
