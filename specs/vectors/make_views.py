#!/usr/bin/env python3
"""Makes the vectors of openings and views: ``python specs/vectors/make_views.py``. The same bytes each time.

``vectors.json`` says of every file what becomes of it under the policy there: ``holds``, ``fails`` (well-formed, and it
does not hold) or ``malformed``.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.forks import ORIGIN, Tree, leaves, signed  # noqa: E402
from tests.keys import NOW, log_key, mldsa_key, witness_key  # noqa: E402
from tlog.hashing import Hash  # noqa: E402
from tlog.keys import SignerKey  # noqa: E402
from tlog.note import Note  # noqa: E402
from tlog.opening import TruncatedProof  # noqa: E402
from tlog.proofs import prove_consistency, prove_inclusion  # noqa: E402
from tlog.tlog_proof import TlogProof  # noqa: E402
from tlog.view import Answer, View  # noqa: E402

FOLDER = Path(__file__).parent / "views"
LOG, OTHER = log_key(), log_key("log.example/two")
OBSERVERS = (*(witness_key(f"monitor.example/m{n}") for n in (1, 2)), mldsa_key("monitor.example/m3"))
LEAVES = leaves(600)
MAIN, TWIN = Tree(LEAVES), Tree(leaves(600, "twin", common=9))
ASKED = signed(MAIN.head(20), LOG)
POLICY = (
    f"log {LOG.verifier_key}\n"
    + "".join(f"witness m{n} {key.verifier_key}\n" for n, key in enumerate(OBSERVERS, 1))
    + "group g 2 m1 m2 m3\nquorum g\n"
)

Case = tuple[str, bytes, str]


def opening(index: int, size: int = 600, level: int = 8) -> TruncatedProof:
    """An opening of the main tree."""
    proof = TlogProof(index, tuple(prove_inclusion(index, size, MAIN.read)), signed(MAIN.head(size), LOG).raw)
    return TruncatedProof.of(proof, LEAVES[index], level)


def openings() -> Iterator[Case]:
    """One good opening of each kind, and one for each mistake."""
    good = opening(300).format()
    yield "opening-tile", good, "holds"
    yield "opening-edge", opening(599).format(), "holds"
    yield "opening-leaf", opening(300, level=0).format(), "holds"
    yield "opening-only-leaf", opening(0, 1).format(), "holds"
    yield "opening-other-index", good.replace(b"index 1", b"index 0"), "fails"
    yield "opening-other-level", good.replace(b"level 8", b"level 7"), "fails"
    yield "opening-incomplete-subtree", good.replace(b"index 1", b"index 2"), "fails"
    found = opening(300)
    other = TruncatedProof(8, 1, Hash(bytes(32)), found.path, found.note)
    yield "opening-other-node", other.format(), "fails"
    yield "opening-short-path", TruncatedProof(8, 1, found.node, found.path[1:], found.note).format(), "fails"
    stranger = TruncatedProof(8, 1, found.node, found.path, signed(MAIN.head(600), OTHER).note)
    yield "opening-of-a-stranger", stranger.format(), "fails"
    yield "opening-version", good.replace(b"@v1", b"@v2"), "malformed"
    yield "opening-level-63", good.replace(b"level 8", b"level 63"), "malformed"
    yield "opening-leading-zero", good.replace(b"level 8", b"level 08"), "malformed"
    yield "opening-no-node", good.replace(b"node ", b"hash "), "malformed"
    yield "opening-crlf", good.replace(b"\n", b"\r\n"), "malformed"
    yield "opening-no-checkpoint", good.partition(b"\n\n")[0] + b"\n\n", "malformed"


def answer(size: int, *observers: SignerKey, time: int = NOW, tree: Tree = MAIN) -> Answer:
    """What a monitor answers that has a tree of this size."""
    path = prove_consistency(min(20, size), max(20, size), tree.read)
    return Answer(signed(tree.head(size), LOG, *observers, time=time).note, tuple(path))


def view(*answers: Answer) -> bytes:
    """A view of the checkpoint that is asked about."""
    return View(ASKED.note, answers).format()


def views() -> Iterator[Case]:
    """One good view of each kind, and one for each mistake."""
    one, two, three = OBSERVERS
    good = view(answer(20, one), answer(33, two))
    yield "view-same-and-prefix", good, "holds"
    yield "view-ml-dsa", view(answer(20, one), answer(600, three)), "holds"
    yield "view-two-observers-in-one", view(answer(33, one, two)), "holds"
    yield "view-one-too-few", view(answer(20, one)), "fails"
    yield "view-nobody", view(), "fails"
    yield "view-one-observer-twice", view(answer(20, one), answer(33, one)), "fails"
    yield "view-behind", view(answer(20, one), answer(9, two)), "fails"
    yield "view-without-its-proof", view(answer(20, one), Answer(answer(33, two).frontier)), "fails"
    yield "view-time-zero", view(answer(20, one), answer(33, three, time=0)), "fails"
    yield "view-fork-of-one-size", view(answer(20, one, two), answer(20, three, tree=TWIN)), "fails"
    yield "view-fork-of-two-sizes", view(answer(20, one, two), answer(33, three, tree=TWIN)), "fails"
    unsigned = signed(MAIN.head(20), two).note
    yield "view-frontier-not-of-the-log", view(answer(20, one), Answer(unsigned)), "fails"
    yield "view-checkpoint-of-a-stranger", View(signed(MAIN.head(20), OTHER).note, ()).format(), "fails"
    forged = Note(answer(20, two).frontier.text, answer(33, two).frontier.signatures)
    yield "view-forged-frontier", view(answer(20, one), Answer(forged)), "fails"
    yield "view-version", good.replace(b"@v1", b"@v2"), "malformed"
    yield "view-no-frontier-line", good.replace(b"frontier\n", b"", 1), "malformed"
    yield "view-unknown-field", good.replace(b"frontier\n", b"frontier\nsize 20\n", 1), "malformed"
    yield "view-cut-off", good[:-1], "malformed"
    yield "view-separator-at-the-end", good + b"--\n", "malformed"
    yield (
        "view-65-answers",
        good + b"--\n" + b"--\n".join([view(answer(20, one)).partition(b"--\n")[2]] * 63),
        "malformed",
    )


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    cases = [(name, data, verdict, "tlog-opening") for name, data, verdict in openings()]
    cases += [(name, data, verdict, "tlog-view") for name, data, verdict in views()]
    for name, data, _, kind in cases:
        (FOLDER / f"{name}.{kind}").write_bytes(data)
    files = {f"{name}.{kind}": verdict for name, _, verdict, kind in cases}
    document = {"origin": ORIGIN, "log": str(LOG.verifier_key), "policy": POLICY, "files": files}
    (FOLDER / "vectors.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
