"""Writes the vectors of specs/evidence.md: bundles that convict, bundles with one mistake each, and what to expect.

    python -m specs.vectors.make_evidence

The same program writes the same bytes. Ed25519 is deterministic, ECDSA is signed as in RFC 6979, and ML-DSA-44, whose
signatures are not reproducible, is signed once: ``mldsa44.json`` keeps its signatures by the hash of their message.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from specs.vectors.evidence_edges import Edges
from specs.vectors.evidence_parts import (
    CT,
    FORK,
    KEYS,
    LABELS,
    LOG,
    LOG_2,
    LOG_MLDSA,
    MAIN,
    ORIGIN,
    POLICIES,
    POLICY,
    SECOND_LOG,
    STRANGER,
    TIME,
    W1,
    W1_MLDSA,
    W2,
    W3,
    Maker,
    Signatures,
    Vector,
    ascending,
    pair_of,
    replaced,
)
from tests.forks import Tree, leaves
from tlog.errors import FormatError, ProofError, SignatureError, TlogError
from tlog.evidence import (
    MAX_HASHES,
    Evidence,
    EvidenceType,
    Opening,
    Openings,
    Prefix,
    bad_empty_head,
    cosigner_non_consistent,
    cosigner_rollback,
    cosigner_same_size,
    log_rollback,
    non_consistent,
    openings,
    quorum_split,
    same_size,
    verify_evidence,
)
from tlog.hashing import EMPTY_ROOT, TreeHead, leaf_hash
from tlog.note import SignatureLine
from tlog.policy import Policy
from tlog.proofs import prove_consistency, prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64

FOLDER = Path(__file__).parent / "evidence"
SUFFIX = ".tlog-evidence"

ABOUT = (
    "Evidence bundles of specs/evidence.md. Leaf i of the main tree is the entry 'main <i>', of the fork 'fork <i>'; "
    "the fork shares the first 40 leaves of the main tree, in the worked example the first 2. 'keys' are the trusted "
    "keys, 'policy' is the trusted policy and 'origin' the origin that is asked about, null where none is given. With "
    "a 'verdict' the bundle convicts: statements are [size, root, time], the id is hexadecimal. With an 'error' it "
    "does not: 'format' the bytes are malformed, 'signature' nobody who is trusted for it signed what is judged, "
    "'proof' what was signed is no contradiction."
)


def files(kept: str = "{}") -> dict[str, bytes]:
    """All files of the vectors by their path in the folder; ``kept`` is the text of the mldsa44.json there."""
    signatures = Signatures(json.loads(kept))
    vectors = [*_Maker(signatures).vectors(), *Edges(signatures).vectors()]
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
    statements = [[size, encode_base64(root).decode(), time] for size, root, time in verdict.statements]
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


def _opening(tree: Tree, index: int, size: int) -> Opening:
    return Opening(tree.rows[0][index], tuple(prove_inclusion(index, size, tree.read)))


class _Maker(Maker):
    """Makes every vector, good ones first."""

    def vectors(self) -> Iterator[Vector]:
        yield from self._good_against_logs()
        yield from self._good_against_cosigners()
        yield from self._malformed()
        yield from self._malformed_notes()
        yield from self._not_signed()
        yield from self._not_a_quorum_split()
        yield from self._no_contradiction()
        yield from self._no_contradiction_by_proof()

    def example(self) -> Evidence:
        main, fork = Tree(leaves(5)), Tree(leaves(3, "fork", common=2))
        return non_consistent(self.head(fork.head(3), LOG), self.head(main.head(5), LOG), main.read)

    def same_size(self) -> bytes:
        return same_size(self.main(60), self.fork(60)).format()

    def non_consistent(self) -> bytes:
        return non_consistent(self.fork(70), self.main(101), MAIN.read).format()

    def openings(self, level: int = 2) -> Evidence:
        one, other = self.main(101), self.fork(70)
        return openings(one, _opening(MAIN, 50, 101), other, _opening(FORK, 50, 70), 50, level)

    def quorum_split(self) -> bytes:
        one, other = self.fork(70, LOG, W1, W2), self.main(101, LOG, W2, W3)
        return quorum_split(one, other, Policy.parse(POLICY.encode()), MAIN.read).format()

    def _good_against_logs(self) -> Iterator[Vector]:
        yield Vector("good/example", "the worked example of the specification", self.example().format())
        bad = bad_empty_head(self.head(TreeHead(0, leaf_hash(b"not empty")), LOG))
        yield Vector("good/bad-empty-head", 'size 0 with another root than H("")', bad.format())
        yield Vector("good/same-size", "two roots for one size", self.same_size())
        yield Vector(
            "good/same-size-two-keys",
            "each root signed by another key of the log; the key of the first note is accused",
            same_size(self.main(60, LOG), self.fork(60, LOG_2)).format(),
            ("log", "log-second-key"),
        )
        low, high = sorted((MAIN.head(60), FORK.head(60)), key=lambda head: head.root_hash)
        yield Vector(
            "good/same-size-one-key-signed-both",
            "the key that signed both notes is accused, though another key's line comes first",
            pair_of(EvidenceType.SAME_SIZE, self.head(low, LOG_2, LOG), self.head(high, LOG)),
            ("log", "log-second-key"),
        )
        one = self.head(MAIN.head(60), LOG, extensions=(b"--", b"hash --"))
        other = self.head(FORK.head(60), LOG, extensions=(b"--",))
        yield Vector(
            "good/same-size-extension-lines",
            "extension lines that look like a separator",
            same_size(one, other).format(),
        )
        one, other = ascending(self.main(60, STRANGER, LOG), self.fork(60, LOG, STRANGER))
        yield Vector(
            "good/same-size-unknown-lines",
            "lines of a key that is not trusted are ignored",
            pair_of(EvidenceType.SAME_SIZE, one, other),
        )
        yield Vector(
            "good/same-size-key-name-is-not-the-origin",
            "the caller says of which origin the key is",
            same_size(self.main(60, SECOND_LOG), self.fork(60, SECOND_LOG)).format(),
            ("second-log",),
            origin=ORIGIN,
        )
        yield Vector(
            "good/same-size-mldsa44",
            "the log's ML-DSA-44 key bears the origin as its name, so it is the log",
            same_size(self.main(60, LOG_MLDSA, time=0), self.fork(60, LOG_MLDSA, time=0)).format(),
            ("log-mldsa44",),
        )
        yield Vector("good/openings", "a subtree of four leaves with two hashes", self.openings().format())
        yield Vector("good/openings-leaf", "two leaves at one index", self.openings(0).format())
        yield Vector("good/non-consistent", "70 leaves of the fork, 101 of the main tree", self.non_consistent())
        yield Vector(
            "good/non-consistent-power-of-two",
            "the smaller size is a power of two, so the root is the first hash of the proof",
            non_consistent(self.fork(64), self.main(101), MAIN.read).format(),
        )
        for name, key in (("rfc6962", CT), ("mldsa44", LOG_MLDSA)):
            yield Vector(
                f"good/log-rollback-{name}",
                "a smaller tree a second later",
                log_rollback(self.main(60, key), self.main(50, key, time=TIME + 1)).format(),
                (f"log-{name}",),
            )
        yield Vector(
            "good/quorum-split",
            "two sizes; w2 is on both sides",
            self.quorum_split(),
            (),
            policy="two-of-three",
        )
        yield Vector(
            "good/quorum-split-same-size",
            "one size; w1 and w2 are on both sides",
            quorum_split(
                self.main(60, LOG, W1, W2), self.fork(60, LOG, W1, W2, W3), Policy.parse(POLICY.encode())
            ).format(),
            (),
            policy="two-of-three",
        )

    def _good_against_cosigners(self) -> Iterator[Vector]:
        for name, key in (("", W1), ("-mldsa44", W1_MLDSA)):
            label = (LABELS[key.verifier_key],)
            rolled = cosigner_rollback(self.main(60, key), self.main(59, key, time=TIME + 1), key.verifier_key)
            yield Vector(f"good/cosigner-rollback{name}", "a smaller tree a second later", rolled.format(), label)
        same = cosigner_same_size(self.main(60, W1), self.fork(60, W1), W1.verifier_key)
        yield Vector("good/cosigner-same-size", "two roots for one size", same.format(), ("w1",))
        same = cosigner_same_size(self.main(60, W1_MLDSA, time=0), self.fork(60, W1_MLDSA), W1_MLDSA.verifier_key)
        yield Vector(
            "good/cosigner-same-size-time-zero",
            "a cosignature without time still says which tree it is",
            same.format(),
            ("w1-mldsa44",),
        )
        split = cosigner_non_consistent(self.fork(70, W1), self.main(101, W1), W1.verifier_key, MAIN.read)
        yield Vector(
            "good/cosigner-non-consistent", "70 leaves of the fork, 101 of the main tree", split.format(), ("w1",)
        )
        yield Vector(
            "good/cosigner-same-size-keys-of-a-policy",
            "the witnesses of a policy are trusted",
            cosigner_same_size(self.main(60, W1), self.fork(60, W1), W1.verifier_key).format(),
            (),
            policy="two-of-three",
        )

    def _malformed(self) -> Iterator[Vector]:
        good, split = self.non_consistent(), self.quorum_split()
        opened = self.openings().format()
        root = b"root " + encode_base64(EMPTY_ROOT)
        path = b"hash " + encode_base64(EMPTY_ROOT)
        header, _, rest = good.partition(b"\n\n")
        first_hash = header.split(b"\n")[3]
        for name, about, bundle in (
            ("empty", "no bytes", b""),
            ("no-empty-line", "the header does not end", header + b"\n"),
            ("another-version", "a version nobody knows yet", replaced(good, b"@v1", b"@v2", 1)),
            ("only-a-version", "no type", b"tlog-evidence@v1\n\n" + rest),
            ("unknown-type", "a reserved type", replaced(good, b"non-consistent", b"rotation", 1)),
            ("type-in-capitals", "types are lower case", replaced(self.same_size(), b"same-size", b"SAME-SIZE", 1)),
            ("carriage-returns", "lines end with LF alone", replaced(good, b"\n", b"\r\n")),
            ("no-root", "a proof without its root", replaced(good, header.split(b"\n")[2] + b"\n", b"")),
            ("no-hash", "a proof without hashes", b"\n".join(header.split(b"\n")[:3]) + b"\n\n" + rest),
            ("hash-before-root", "fields out of order", replaced(good, b"root ", first_hash + b"\nroot ", 1)),
            ("two-roots", "a field twice", replaced(good, b"root ", root + b"\nroot ", 1)),
            (
                "root-for-same-size",
                "a field that the type does not have",
                replaced(self.same_size(), b"size\n", b"size\n" + root + b"\n", 1),
            ),
            (
                "hash-without-root",
                "a quorum split with half a proof",
                replaced(split, split.split(b"\n")[2] + b"\n", b"", 1),
            ),
            ("trailing-space", "a space behind a field", replaced(good, first_hash, first_hash + b" ", 1)),
            ("two-spaces", "two spaces before a value", replaced(good, b"root ", b"root  ", 1)),
            ("short-hash", "a hash of 31 bytes", replaced(good, first_hash, b"hash " + encode_base64(bytes(31)), 1)),
            ("hash-without-padding", "base64 without its padding", replaced(good, first_hash, first_hash[:-1], 1)),
            (
                "non-canonical-base64",
                "last bits that are not zero",
                replaced(good, first_hash, _sloppy(first_hash), 1),
            ),
            ("too-many-hashes", "65 hashes", replaced(good, first_hash, b"\n".join([path] * (MAX_HASHES + 1)), 1)),
            ("openings-without-level", "a field is missing", replaced(opened, b"level 2\n", b"", 1)),
            (
                "openings-leading-zero",
                "a decimal with a leading zero",
                replaced(opened, b"level 2\n", b"level 02\n", 1),
            ),
            (
                "openings-level-too-large",
                "a decimal above 2^63 - 1",
                replaced(opened, b"level 2\n", b"level %d\n" % 2**63, 1),
            ),
            (
                "openings-three-nodes",
                "one opening too many",
                replaced(opened, b"node ", b"node " + path[5:] + b"\nnode ", 1),
            ),
            (
                "openings-index-before-level",
                "fields out of order",
                replaced(opened, b"level 2\nindex 12\n", b"index 12\nlevel 2\n", 1),
            ),
        ):
            yield Vector(f"format/{name}", about, bundle)

    def _malformed_notes(self) -> Iterator[Vector]:
        good = self.non_consistent()
        header, _, notes = good.partition(b"\n\n")
        first, _, second = notes.partition(b"\n--\n")
        one = bad_empty_head(self.head(TreeHead(0, leaf_hash(b"not empty")), LOG)).format()
        line = second.rpartition(b"\n\n")[2]
        for name, about, bundle in (
            ("no-separator", "two notes without a line between them", replaced(good, b"\n--\n", b"\n")),
            ("long-separator", "three hyphens", replaced(good, b"\n--\n", b"\n---\n")),
            (
                "separator-before-signatures",
                "a note without signature lines",
                replaced(good, b"\n\n\xe2", b"\n\n--\n\xe2", 1),
            ),
            ("no-second-note", "nothing behind the separator", header + b"\n\n" + first + b"\n--\n"),
            ("three-notes", "a third note", good + b"--\n" + second),
            (
                "two-notes-for-one",
                "two notes where the type has one",
                replaced(self.same_size(), b"same-size", b"bad-empty-head", 1),
            ),
            ("one-note-for-two", "one note where the type has two", replaced(one, b"bad-empty-head", b"same-size", 1)),
            ("no-last-line-feed", "the last line does not end", good[:-1]),
            ("empty-last-line", "an empty line at the end", good + b"\n"),
            ("size-leading-zero", "the checkpoint's size has a leading zero", replaced(good, b"\n101\n", b"\n0101\n")),
            ("empty-extension-line", "a checkpoint with an empty line", replaced(good, b"\n\n\xe2", b"\n\n\n\xe2", 1)),
            ("checkpoint-of-two-lines", "a note that is no checkpoint", replaced(good, b"\n101\n", b"\n")),
            (
                "malformed-line-of-an-unknown-key",
                "every signature line has to parse",
                good + replaced(line, b" ", b"", 1),
            ),
            ("signature-of-four-bytes", "nothing behind the key ID", good + "— stranger.example AAAAAA==\n".encode()),
            ("not-utf8", "a byte that is no UTF-8", replaced(good, b"\n101\n", b"\n101\n\xff\n")),
            ("control-character", "a tab in an extension line", replaced(good, b"\n101\n", b"\n101\n\t\n")),
        ):
            yield Vector(f"format/{name}", about, bundle)

    def _not_signed(self) -> Iterator[Vector]:
        same, rolled = (
            self.same_size(),
            cosigner_rollback(self.main(60, W1), self.main(59, W1, time=TIME + 1), W1.verifier_key),
        )
        cosigned = cosigner_same_size(self.main(60, W1), self.fork(60, W1), W1.verifier_key)
        yield Vector("signature/no-keys", "nobody is trusted", same, ())
        yield Vector("signature/another-key", "another key of the same name is trusted", same, ("log-second-key",))
        yield Vector("signature/another-origin", "another origin is asked about", same, origin="log.example/two")
        yield Vector("signature/flipped-bit", "one bit of a signature", _flipped_signature(same))
        yield Vector(
            "signature/changed-size",
            "a size that nobody signed",
            replaced(self.non_consistent(), b"\n101\n", b"\n100\n"),
        )
        yield Vector("signature/changed-time", "a time that nobody signed", _later(rolled, 1), ("w1",))
        yield Vector(
            "signature/changed-origin",
            "an origin that nobody signed, in both notes",
            replaced(cosigned.format(), ORIGIN.encode(), b"log.example/two"),
            ("w1",),
        )
        yield Vector(
            "signature/failing-line-of-a-trusted-key",
            "the judged lines verify, but a line of another trusted key does not",
            _with_stray_line(same, self.main(59, LOG_2)),
            ("log", "log-second-key"),
        )
        one, other = ascending(self.main(60, LOG), self.fork(60, W1))
        yield Vector(
            "signature/log-and-witness-disagree",
            "each of the two said one thing",
            pair_of(EvidenceType.SAME_SIZE, one, other),
            ("log", "w1"),
        )
        yield Vector(
            "signature/cosigner-accused-as-log",
            "a key of type 0x04 is never a log's",
            pair_of(EvidenceType.SAME_SIZE, *ascending(self.main(60, W1), self.fork(60, W1))),
            ("w1",),
        )
        yield Vector(
            "signature/log-accused-as-cosigner",
            "a key of type 0x01 is never a cosigner's",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, *ascending(self.main(60), self.fork(60))),
        )
        one, other = ascending(self.main(60, LOG), self.fork(60, SECOND_LOG))
        yield Vector(
            "signature/one-log-frames-another",
            "a key speaks for the origin that is its name",
            pair_of(EvidenceType.SAME_SIZE, one, other),
            ("log", "second-log"),
        )
        yield Vector(
            "signature/key-name-is-not-the-origin",
            "and no origin is given",
            same_size(self.main(60, SECOND_LOG), self.fork(60, SECOND_LOG)).format(),
            ("second-log",),
        )
        one, other = ascending(self.main(60, W1), self.fork(60, W2))
        yield Vector(
            "signature/two-cosigners",
            "cosigners do not answer for each other",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, one, other),
            ("w1", "w2"),
        )
        one, other = ascending(self.main(60, W1), self.fork(60, W1_MLDSA))
        yield Vector(
            "signature/two-keys-of-a-cosigner",
            "nor do two keys of one name",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, one, other),
            ("w1", "w1-mldsa44"),
        )
        pair = pair_of(EvidenceType.LOG_ROLLBACK, self.main(60, LOG_MLDSA), self.main(50, CT, time=TIME + 1))
        yield Vector(
            "signature/rollback-by-two-keys", "two clocks are not compared", pair, ("log-mldsa44", "log-rfc6962")
        )
        plain = self.main(60, LOG_MLDSA)
        extended = replace(plain.note, text=plain.note.text + b"an extension line\n")
        pair = Evidence(EvidenceType.LOG_ROLLBACK, (extended, self.main(50, LOG_MLDSA, time=TIME + 1).note)).format()
        yield Vector(
            "signature/mldsa44-and-an-extension-line",
            "a type that does not sign extension lines",
            pair,
            ("log-mldsa44",),
        )

    def _not_a_quorum_split(self) -> Iterator[Vector]:
        good = Evidence.parse(self.quorum_split())
        yield Vector(
            "signature/quorum-split-without-policy",
            "who makes a quorum was not said",
            good.format(),
            ("log", "w1", "w2", "w3"),
        )
        few = (good.notes[0], replace(good.notes[1], signatures=good.notes[1].signatures[:2]))
        yield Vector(
            "signature/quorum-not-reached",
            "one witness on one side",
            replace(good, notes=few).format(),
            (),
            "two-of-three",
        )
        crowd = self.main(101, LOG, W2, W3, STRANGER).note
        yield Vector(
            "signature/quorum-split-with-an-unknown-line",
            "who is on which side has to be known",
            replace(good, notes=(good.notes[0], crowd)).format(),
            (),
            "two-of-three",
        )
        logless = tuple(replace(note, signatures=note.signatures[1:]) for note in good.notes)
        yield Vector(
            "signature/quorum-split-without-log",
            "no line of the log",
            replace(good, notes=logless).format(),
            (),
            "two-of-three",
        )

    def _no_contradiction(self) -> Iterator[Vector]:
        honest = Evidence(EvidenceType.BAD_EMPTY_HEAD, (self.head(TreeHead(0, EMPTY_ROOT), LOG).note,))
        yield Vector("proof/honest-empty-head", 'the root of the empty tree is H("")', honest.format())
        honest = Evidence(EvidenceType.BAD_EMPTY_HEAD, (self.main(1).note,))
        yield Vector("proof/head-that-is-not-empty", "size 1", honest.format())
        yield Vector(
            "proof/same-root",
            "one head, two times",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, self.main(60, W1), self.main(60, W1, time=TIME + 1)),
            ("w1",),
        )
        other = self.head(MAIN.head(60), LOG, extensions=(b"another text",))
        yield Vector(
            "proof/same-root-other-extension-lines",
            "extension lines are no statement about the tree",
            pair_of(EvidenceType.SAME_SIZE, self.main(60), other),
        )
        yield Vector(
            "proof/not-the-same-size", "two sizes", pair_of(EvidenceType.SAME_SIZE, self.main(59), self.fork(60))
        )
        one, other = ascending(self.main(60), self.fork(60))
        yield Vector(
            "proof/same-size-wrong-order", "the larger root first", pair_of(EvidenceType.SAME_SIZE, other, one)
        )
        one, other = ascending(self.main(60, W1), self.fork(60, W1, origin="log.example/two"))
        yield Vector(
            "proof/two-origins",
            "two logs have two trees",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, one, other),
            ("w1",),
        )
        rollback = EvidenceType.COSIGNER_ROLLBACK
        yield Vector(
            "proof/rollback-at-the-same-time",
            "equal seconds prove nothing",
            pair_of(rollback, self.main(60, W1), self.main(59, W1)),
            ("w1",),
        )
        yield Vector(
            "proof/rollback-wrong-order",
            "the later one first",
            pair_of(rollback, self.main(59, W1, time=TIME + 1), self.main(60, W1)),
            ("w1",),
        )
        yield Vector(
            "proof/rollback-time-zero",
            "time 0 makes no claim",
            pair_of(rollback, self.main(60, W1_MLDSA, time=0), self.main(59, W1_MLDSA)),
            ("w1-mldsa44",),
        )
        yield Vector(
            "proof/growth",
            "a larger tree a second later",
            pair_of(rollback, self.main(59, W1), self.main(60, W1, time=TIME + 1)),
            ("w1",),
        )
        yield Vector(
            "proof/refresh",
            "the same size a second later",
            pair_of(rollback, self.main(60, W1), self.main(60, W1, time=TIME + 1)),
            ("w1",),
        )
        yield Vector(
            "proof/rollback-without-time",
            "a cache can replay a plain signature",
            pair_of(EvidenceType.LOG_ROLLBACK, self.main(60), self.main(59)),
        )
        split = Evidence.parse(self.quorum_split())
        yield Vector(
            "proof/quorum-split-without-proof",
            "two sizes and no proof",
            replace(split, proof=None).format(),
            (),
            "two-of-three",
        )

    def _no_contradiction_by_proof(self) -> Iterator[Vector]:
        type_ = EvidenceType.NON_CONSISTENT
        path = tuple(prove_consistency(70, 101, MAIN.read))
        right, wrong = MAIN.head(70).root_hash, leaf_hash(b"wrong")
        smaller, larger = self.fork(70), self.main(101)
        for name, about, pair in (
            ("consistent", "an honest log and an honest proof", (self.main(70), larger, Prefix(right, path))),
            ("wrong-root", "the proof does not lead to its root", (smaller, larger, Prefix(wrong, path))),
            (
                "wrong-hash",
                "the proof does not lead to the larger root",
                (smaller, larger, Prefix(right, (*path[:-1], wrong))),
            ),
            ("missing-hash", "the proof does not reach the root", (smaller, larger, Prefix(right, path[:-1]))),
            ("extra-hash", "the proof goes beyond the root", (smaller, larger, Prefix(right, (*path, wrong)))),
            ("wrong-order", "the larger tree first", (larger, smaller, Prefix(right, path))),
            (
                "of-one-size",
                "there is no consistency proof between equal sizes",
                (self.main(70), self.fork(70), Prefix(right, path)),
            ),
            (
                "from-the-empty-tree",
                "there is no consistency proof from size 0",
                (self.head(TreeHead(0, EMPTY_ROOT), LOG), larger, Prefix(right, path)),
            ),
        ):
            yield Vector(f"proof/non-consistent-{name}", about, pair_of(type_, *pair))
        power = tuple(prove_consistency(64, 101, MAIN.read))
        honest = pair_of(type_, self.main(64), larger, Prefix(MAIN.head(64).root_hash, power))
        yield Vector("proof/non-consistent-consistent-power-of-two", "an honest log and an honest proof", honest)
        wrong_root = pair_of(type_, self.fork(64), larger, Prefix(wrong, power))
        yield Vector(
            "proof/non-consistent-wrong-root-power-of-two", "the root is the first hash of the proof", wrong_root
        )
        yield from self._no_contradiction_by_openings()

    def _no_contradiction_by_openings(self) -> Iterator[Vector]:
        good = self.openings()
        proof = good.proof
        if not isinstance(proof, Openings):
            raise AssertionError("openings without openings")
        path = proof.first.path
        same = Openings(0, 7, _opening(FORK, 7, 70), _opening(MAIN, 7, 101))
        grown = Evidence(
            EvidenceType.OPENINGS,
            (self.main(3).note, self.main(4).note),
            Openings(2, 0, Opening(MAIN.head(3).root_hash, ()), Opening(MAIN.head(4).root_hash, ())),
        )
        for name, about, evidence in (
            ("same-node", "a leaf that both trees share", replace(good, proof=same)),
            ("incomplete-subtree", "what is above the right edge changes honestly", grown),
            (
                "wrong-order",
                "the larger tree first",
                replace(good, notes=good.notes[::-1], proof=replace(proof, first=proof.second, second=proof.first)),
            ),
            ("other-index", "the paths are for another place", replace(good, proof=replace(proof, index=13))),
            ("other-level", "the paths are for another level", replace(good, proof=replace(proof, level=1))),
            ("index-beyond-the-tree", "no such node", replace(good, proof=replace(proof, index=17))),
            ("level-beyond-the-tree", "no such node", replace(good, proof=replace(proof, level=62))),
            (
                "missing-hash",
                "a path that does not reach the root",
                replace(good, proof=replace(proof, first=replace(proof.first, path=path[:-1]))),
            ),
            (
                "extra-hash",
                "a path that goes beyond the root",
                replace(good, proof=replace(proof, first=replace(proof.first, path=(*path, EMPTY_ROOT)))),
            ),
        ):
            yield Vector(f"proof/openings-{name}", about, evidence.format())


def _sloppy(line: bytes) -> bytes:
    """Set a bit behind the last one that counts: the same hash to lax decoders."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return line[:-2] + bytes([alphabet[alphabet.index(line[-2]) + 1]]) + b"="


def _edited(bundle: bytes, edit: Callable[[SignatureLine], SignatureLine]) -> bytes:
    """Change the first signature line of the first note."""
    evidence = Evidence.parse(bundle)
    first, *others = evidence.notes
    line, *lines = first.signatures
    return replace(evidence, notes=(replace(first, signatures=(edit(line), *lines)), *others)).format()


def _flipped_signature(bundle: bytes) -> bytes:
    return _edited(
        bundle, lambda line: replace(line, body=line.body[:20] + bytes([line.body[20] ^ 4]) + line.body[21:])
    )


def _later(evidence: Evidence, seconds: int) -> bytes:
    """Move the time of the first cosignature, which is the earlier one, back; the signature stays."""

    def edit(line: SignatureLine) -> SignatureLine:
        time = int.from_bytes(line.body[:8], "big") - seconds
        return replace(line, body=time.to_bytes(8, "big") + line.body[8:])

    return _edited(evidence.format(), edit)


def _with_stray_line(bundle: bytes, head: SignedCheckpoint) -> bytes:
    evidence = Evidence.parse(bundle)
    first, second = evidence.notes
    crowded = replace(first, signatures=(*first.signatures, *head.note.signatures))
    return replace(evidence, notes=(crowded, second)).format()


if __name__ == "__main__":
    main()
