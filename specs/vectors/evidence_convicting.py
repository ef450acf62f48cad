"""Vectors of specs/evidence.md that convict, one for each type and for each way to be accused."""

from collections.abc import Iterator

from specs.vectors.evidence_parts import (
    CT,
    FORK,
    LABELS,
    LOG,
    LOG_2,
    LOG_MLDSA,
    MAIN,
    ORIGIN,
    POLICY,
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
    pair_of,
)
from tests.forks import Tree, leaves
from tlog.evidence import (
    Evidence,
    EvidenceType,
    bad_empty_head,
    cosigner_non_consistent,
    cosigner_rollback,
    cosigner_same_size,
    log_rollback,
    non_consistent,
    quorum_split,
    same_size,
)
from tlog.hashing import TreeHead, leaf_hash
from tlog.policy import Policy


class Convicting(Maker):
    """Bundles against logs, then against cosigners."""

    def vectors(self) -> Iterator[Vector]:
        """All of them."""
        yield from self._against_logs()
        yield from self._against_cosigners()

    def _against_logs(self) -> Iterator[Vector]:
        yield Vector("good/example", "the worked example of the specification", self._example().format())
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

    def _against_cosigners(self) -> Iterator[Vector]:
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

    def _example(self) -> Evidence:
        main, fork = Tree(leaves(5)), Tree(leaves(3, "fork", common=2))
        return non_consistent(self.head(fork.head(3), LOG), self.head(main.head(5), LOG), main.read)
