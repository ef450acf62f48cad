"""Vectors of specs/evidence.md that convict nobody: what is judged is not signed, or is no contradiction."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from specs.vectors.evidence_parts import (
    CT,
    FORK,
    LOG,
    LOG_2,
    LOG_MLDSA,
    MAIN,
    ORIGIN,
    SECOND_LOG,
    STRANGER,
    TIME,
    W1,
    W1_MLDSA,
    W2,
    W3,
    Maker,
    Vector,
    ascending,
    opening_of,
    pair_of,
    replaced,
)
from tlog.evidence import (
    Evidence,
    EvidenceType,
    Opening,
    Openings,
    Prefix,
    cosigner_rollback,
    cosigner_same_size,
    same_size,
)
from tlog.hashing import EMPTY_ROOT, TreeHead, leaf_hash
from tlog.note import SignatureLine
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint


class Refused(Maker):
    """What nobody signed, then what accuses nobody."""

    def vectors(self) -> Iterator[Vector]:
        """All of them."""
        yield from self._not_signed()
        yield from self._not_a_quorum_split()
        yield from self._no_contradiction()
        yield from self._no_contradiction_by_proof()
        yield from self._no_contradiction_by_openings()

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

    def _no_contradiction_by_openings(self) -> Iterator[Vector]:
        good = self.openings()
        proof = good.proof
        if not isinstance(proof, Openings):
            raise AssertionError("openings without openings")
        path = proof.first.path
        same = Openings(0, 7, opening_of(FORK, 7, 70), opening_of(MAIN, 7, 101))
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
