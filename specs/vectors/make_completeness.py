#!/usr/bin/env python3
"""Makes the vectors of completeness certificates: ``python specs/vectors/make_completeness.py``.

The bytes are the same each time, except for ML-DSA-44 signatures: those are made with fresh randomness.

``vectors.json`` says of every file what becomes of it under the policy there: ``holds``, ``fails`` (well-formed, and it
does not hold) or ``malformed``; and of the watermarks which time each of some statements comes to.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.forks import ORIGIN, Tree, leaves, signed  # noqa: E402
from tests.keys import NOW, log_key, mldsa_key, witness_key  # noqa: E402
from tlog.completeness import Completeness, Witnessed, certify, policy_hash, watermark  # noqa: E402
from tlog.hashing import Hash  # noqa: E402
from tlog.keys import SignerKey  # noqa: E402
from tlog.note import Note  # noqa: E402
from tlog.policy import Policy  # noqa: E402
from tlog.proofs import prove_consistency  # noqa: E402
from tlog.signed_checkpoint import SignedCheckpoint  # noqa: E402
from tlog.text import encode_base64  # noqa: E402

FOLDER = Path(__file__).parent / "completeness"
LOG, OTHER = log_key(), log_key("log.example/two")
ONE, TWO, THREE = WITNESSES = (*(witness_key(f"witness.example/w{n}") for n in (1, 2)), mldsa_key("witness.example/w3"))
OBSERVER = witness_key("monitor.example/m1-observer")
MAIN, TWIN = Tree(leaves(600)), Tree(leaves(600, "twin", common=9))
POLICY = Policy.parse(
    f"log {LOG.verifier_key}\n".encode()
    + b"".join(f"witness w{n} {key.verifier_key}\n".encode() for n, key in enumerate(WITNESSES, 1))
    + b"group g 2 w1 w2 w3\nquorum g\n"
)

Case = tuple[str, bytes, str]


def prove(old: int, new: int) -> Sequence[Hash]:
    """A consistency proof of the main tree."""
    return prove_consistency(old, new, MAIN.read)


def stated(witness: SignerKey, size: int, time: int = NOW, tree: Tree = MAIN) -> SignedCheckpoint:
    """What a witness stated."""
    return signed(tree.head(size), witness, time=time)


def certificate(*statements: SignedCheckpoint, top: SignedCheckpoint | None = None, liars: int = 0) -> bytes:
    """A certificate at time NOW, by default with a frontier of 600 that the log and the observer signed."""
    frontier = signed(MAIN.head(600), LOG, OBSERVER) if top is None else top
    return certify(POLICY, NOW, liars, frontier, statements, prove).format()


def broken(tree: Witnessed) -> bytes:
    """A certificate with one witness on the frontier, and a tree as it should not be."""
    top = signed(MAIN.head(600), LOG, ONE).note
    return Completeness(NOW, 0, policy_hash(POLICY), top, (tree,)).format()


def cases() -> Iterator[Case]:
    """One good certificate of each kind, and one for each mistake."""
    good = certificate(stated(ONE, 300), stated(TWO, 20))
    yield "two-heard", good, "holds"
    yield "on-the-frontier", certificate(top=signed(MAIN.head(600), LOG, ONE, TWO)), "holds"
    yield "two-in-one-note", certificate(stated(ONE, 20), stated(TWO, 20, NOW + 7)), "holds"
    yield "survives-one", certificate(stated(ONE, 300), stated(TWO, 20), stated(THREE, 20), liars=1), "holds"
    yield "of-the-empty-tree", certificate(stated(ONE, 0), stated(TWO, 600)), "holds"
    yield "clock-ahead", certificate(stated(ONE, 300), stated(TWO, 20, NOW + 3600)), "holds"
    other = good.replace(b"policy " + encode_base64(policy_hash(POLICY)), b"policy " + encode_base64(bytes(32)))
    yield "made-under-another-policy", other, "holds"
    yield "nobody", certificate(), "fails"
    yield "one-too-few", certificate(stated(ONE, 300)), "fails"
    yield "one-witness-twice", certificate(stated(ONE, 300), stated(ONE, 20)), "fails"
    yield "too-early", certificate(stated(ONE, 300), stated(TWO, 20, NOW - 1)), "fails"
    yield "claims-a-later-time", good.replace(b"time %d" % NOW, b"time %d" % (NOW + 1)), "fails"
    yield "claims-more-liars", good.replace(b"liars 0", b"liars 1"), "fails"
    yield "time-zero", certificate(stated(ONE, 300), stated(THREE, 20, 0)).replace(b"time %d" % NOW, b"time 0"), "fails"
    yield "without-its-proof", broken(Witnessed(stated(TWO, 20).note)), "fails"
    yield "of-another-history", broken(Witnessed(stated(TWO, 20, tree=TWIN).note, tuple(prove(20, 600)))), "fails"
    yield "another-root-of-its-size", broken(Witnessed(stated(TWO, 600, tree=TWIN).note)), "fails"
    yield "of-another-log", broken(Witnessed(signed(MAIN.head(600), TWO, origin="log.example/two").note)), "fails"
    yield "by-a-stranger", broken(Witnessed(signed(MAIN.head(600), OBSERVER).note)), "fails"
    forged = Note(stated(TWO, 20).note.text, stated(TWO, 300).note.signatures)
    yield "forged", broken(Witnessed(forged, tuple(prove(20, 600)))), "fails"
    behind = signed(MAIN.head(300), LOG, ONE).note
    ahead = Witnessed(stated(TWO, 600).note, tuple(prove(300, 600)))
    yield "larger-than-the-frontier", Completeness(NOW, 0, policy_hash(POLICY), behind, (ahead,)).format(), "fails"
    yield "frontier-not-of-the-log", certificate(top=signed(MAIN.head(600), ONE, TWO)), "fails"
    yield "frontier-of-a-stranger", certificate(top=signed(MAIN.head(600), OTHER, ONE, TWO)), "fails"
    yield "version", good.replace(b"@v1", b"@v2"), "malformed"
    yield "no-time", good.replace(b"time %d\n" % NOW, b""), "malformed"
    yield "time-with-a-leading-zero", good.replace(b"time ", b"time 0"), "malformed"
    yield "liars-not-a-number", good.replace(b"liars 0", b"liars none"), "malformed"
    yield "short-policy-hash", good.replace(b"\npolicy ", b"\npolicy AAAA\npolicy "), "malformed"
    yield "no-witnessed-line", good.replace(b"witnessed\n", b"", 1), "malformed"
    yield "unknown-field", good.replace(b"witnessed\n", b"witnessed\nsize 20\n", 1), "malformed"
    yield "cut-off", good[:-1], "malformed"
    yield "separator-at-the-end", good + b"--\n", "malformed"
    yield "crlf", good.replace(b"\n", b"\r\n"), "malformed"
    yield "129-trees", good + (b"--\n" + certificate(stated(ONE, 20)).partition(b"--\n")[2]) * 127, "malformed"


def watermarks() -> Iterator[dict[str, object]]:
    """What statements come to under the policy: the times of witness lines, and the liars to survive."""
    for times in ({}, {"w1": 10}, {"w1": 10, "w2": 12}, {"w1": 10, "w2": 12, "w3": 11}, {"w1": 9, "w2": 9, "w3": 9}):
        for liars in (0, 1):
            yield {"times": times, "liars": liars, "watermark": watermark(POLICY, times, liars)}


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    files: dict[str, str] = {}
    for name, data, verdict in cases():
        files[f"{name}.tlog-completeness"] = verdict
        (FOLDER / f"{name}.tlog-completeness").write_bytes(data)
    document = {"origin": ORIGIN, "policy": POLICY.format().decode(), "watermarks": [*watermarks()], "files": files}
    (FOLDER / "vectors.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
