#!/usr/bin/env python3
"""Makes the vectors of scorecards: ``python specs/vectors/make_scorecards.py``. The same bytes each time.

``vectors.json`` says of every file what becomes of it under the vkey there: ``holds``, ``fails`` (well-formed, and not
what this key signed) or ``malformed``.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.keys import NOW, log_key, witness_key  # noqa: E402
from tlog.dsse import DocumentSignature, SignedDocument, signed_bytes  # noqa: E402
from tlog.keys import SignerKey  # noqa: E402
from tlog.scorecard import SCORECARDS_TYPE  # noqa: E402

FOLDER = Path(__file__).parent / "scorecards"
PEER, OTHER = log_key("monitor.example/m1"), log_key("monitor.example/m2")
OUTCOMES = {"heard": 1430, "unchanged": 8, "absent": 0, "unreachable": 2, "refused": 0, "malformed": 0}
LAG = {"samples": 1440, "unheard": 0, "p50": 0, "p90": 4, "p99": 60, "p100": 1408}
WINDOW = {
    "since": NOW - 86_400,
    "looks": 1440,
    "answered": 1438,
    "uptime": 0.998611,
    "outcomes": OUTCOMES,
    "lag": LAG,
    "clock": {"statements": 1430, "ahead_least": -1, "ahead_most": 3599},
}
DOCUMENT = json.dumps(
    {
        "monitor": "monitor.example/m1",
        "time": NOW,
        "witnesses": [
            {
                "name": "witness.example/one",
                "vkeys": [witness_key().verifier_key.format()],
                "windows": [{"days": days, **WINDOW} for days in (1, 7, 30)],
            }
        ],
    },
    separators=(",", ":"),
).encode()

Case = tuple[str, bytes, str]


def signature(key: SignerKey, document: bytes = DOCUMENT, type_: str = SCORECARDS_TYPE) -> DocumentSignature:
    """A key's signature over a document."""
    return DocumentSignature(key.verifier_key.id.hex(), key.sign(signed_bytes(type_, document)))


def envelope(*signatures: DocumentSignature, document: bytes = DOCUMENT, type_: str = SCORECARDS_TYPE) -> bytes:
    """An envelope, whoever signed it."""
    return SignedDocument(type_, document, signatures).format()


def cases() -> Iterator[Case]:
    """One good envelope of each kind, and one for each mistake."""
    good = envelope(signature(PEER))
    yield "good", good, "holds"
    yield "two-signatures", envelope(signature(OTHER), signature(PEER)), "holds"
    yield "spread-out", json.dumps(json.loads(good), indent=2).encode(), "holds"
    yield "other-key", envelope(signature(OTHER)), "fails"
    yield "changed", envelope(signature(PEER), document=DOCUMENT.replace(b"1438", b"1440")), "fails"
    bare = DocumentSignature(PEER.verifier_key.id.hex(), PEER.sign(DOCUMENT))
    yield "signed-without-type", envelope(bare), "fails"
    yield "one-of-two-fails", envelope(signature(PEER), signature(PEER, b"{}")), "fails"
    yield "other-type", envelope(signature(PEER, type_="application/json"), type_="application/json"), "malformed"
    yield "more-fields", good[:-1] + b',"more":1}', "malformed"
    yield "name-twice", good[:-1] + b',"payload":""}', "malformed"
    yield "no-signature", envelope(), "malformed"
    yield "seventeen-signatures", envelope(*[signature(PEER)] * 17), "malformed"
    yield "not-canonical-base64", good.replace(b'"sig":"', b'"sig":"A'), "malformed"


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    listed = []
    for name, data, expected in cases():
        (FOLDER / f"{name}.json").write_bytes(data)
        listed.append({"file": f"{name}.json", "expected": expected})
    document = {"vkey": PEER.verifier_key.format(), "document": DOCUMENT.decode(), "cases": listed}
    (FOLDER / "vectors.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
