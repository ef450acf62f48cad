"""Writes the vectors of specs/evidence.md: bundles that convict, bundles with one mistake each, and what to expect.

    python -m specs.vectors.make_evidence

The same program writes the same bytes. Ed25519 is deterministic, ECDSA is signed as in RFC 6979, and ML-DSA-44, whose
signatures are not reproducible, is signed once: ``mldsa44.json`` keeps its signatures by the hash of their message.
"""

import json
from pathlib import Path

from specs.vectors.evidence_convicting import Convicting
from specs.vectors.evidence_edges import Edges
from specs.vectors.evidence_edges_refused import RefusedEdges
from specs.vectors.evidence_malformed import Malformed
from specs.vectors.evidence_parts import KEYS, LABELS, POLICIES, Signatures, Vector
from specs.vectors.evidence_refused import Refused
from specs.vectors.evidence_statements import Statements
from tlog.errors import FormatError, ProofError, SignatureError, TlogError
from tlog.evidence import Evidence, verify_evidence
from tlog.policy import Policy
from tlog.text import encode_base64

FOLDER = Path(__file__).parent / "evidence"
SUFFIX = ".tlog-evidence"

MAKERS = (Convicting, Malformed, Refused, Edges, RefusedEdges, Statements)  # in the order of the index

ABOUT = (
    "Evidence bundles of specs/evidence.md. Leaf i of the main tree is the entry 'main <i>', of the fork 'fork <i>'; "
    "the fork shares the first 40 leaves of the main tree, in the worked example the first 2. 'keys' are the trusted "
    "keys, 'policy' is the trusted policy and 'origin' the origin that is asked about, null where none is given. With "
    "a 'verdict' the bundle convicts: statements are [size, root, time], of a subtree "
    "[start, end, hash], of a rotation [number, new key, size, root]; the id is hexadecimal. With an 'error' it "
    "does not: 'format' the bytes are malformed, 'signature' nobody who is trusted for it signed what is judged, "
    "'proof' what was signed is no contradiction."
)


def files(kept: str = "{}") -> dict[str, bytes]:
    """All files of the vectors by their path in the folder; ``kept`` is the text of the mldsa44.json there."""
    signatures = Signatures(json.loads(kept))
    vectors = [vector for make in MAKERS for vector in make(signatures).vectors()]
    index = {
        "about": ABOUT,
        "keys": {label: str(key.verifier_key) for label, key in KEYS.items()},
        "policies": POLICIES,
        "vectors": [_expectation(vector) for vector in vectors],
    }
    made = {vector.name + SUFFIX: vector.bundle for vector in vectors}
    return {**made, "vectors.json": _json(index), "mldsa44.json": _json(dict(sorted(signatures.used.items())))}


def main() -> None:
    """Write the files, and remove those that are no longer made."""
    signatures = FOLDER / "mldsa44.json"
    made = files(signatures.read_text() if signatures.exists() else "{}")
    for path in FOLDER.rglob(f"*{SUFFIX}"):
        if path.relative_to(FOLDER).as_posix() not in made:
            path.unlink()
    for name, data in made.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_bytes(data)


def _expectation(vector: Vector) -> dict[str, object]:
    """Judge a vector. The folder it was put in says what it was meant for, and has to be right."""
    keys = [KEYS[label].verifier_key for label in vector.keys]
    policy = Policy.parse(POLICIES[vector.policy].encode()) if vector.policy else None
    about: dict[str, object] = {
        "file": vector.name + SUFFIX,
        "about": vector.about,
        "keys": vector.keys,
        "policy": vector.policy,
        "origin": vector.origin,
    }
    try:
        verdict = verify_evidence(Evidence.parse(vector.bundle), keys, policy, vector.origin)
    except TlogError as error:
        _require(vector.name.startswith(f"{_kind(error)}/"), vector)
        return {**about, "error": _kind(error)}
    _require(vector.name.startswith("good/"), vector)
    statements = [[_written(field) for field in statement] for statement in verdict.statements]
    return {
        **about,
        "verdict": {
            "type": verdict.type.value,
            "accused": LABELS[verdict.accused],
            "origin": verdict.origin,
            "statements": statements,
            "cosigners": verdict.cosigners,
            "id": verdict.id.hex(),
        },
    }


def _written(field: int | str | bytes) -> int | str:
    return encode_base64(field).decode() if isinstance(field, bytes) else field


def _require(holds: bool, vector: Vector) -> None:
    if not holds:
        raise AssertionError(f"{vector.name} is in the wrong folder")


def _kind(error: TlogError) -> str:
    match error:
        case FormatError():
            return "format"
        case SignatureError():
            return "signature"
        case ProofError():
            return "proof"
        case _:
            raise AssertionError("an error of no family")


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


if __name__ == "__main__":
    main()
