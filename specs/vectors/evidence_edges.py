"""Vectors at the edges of specs/evidence.md that convict: limits, roles and repeated lines."""

from collections.abc import Iterator
from hashlib import sha256

from specs.vectors.evidence_parts import (
    CT,
    HIGH,
    LOG,
    LOG_ECDSA,
    LOG_MLDSA,
    LONG_LOG,
    LOW,
    MAIN,
    ORIGIN,
    TIME,
    W1,
    W1_MLDSA,
    W2,
    Maker,
    Vector,
    flipped,
    pair_of,
    with_lines,
)
from tlog.evidence import EvidenceType, Opening, Openings, Prefix
from tlog.hashing import Hash, TreeHead, leaf_hash, node_hash
from tlog.note import MAX_SIGNATURES, SignatureLine
from tlog.proofs import fold, prove_consistency
from tlog.text import MAX_INTEGER


class Edges(Maker):
    """What convicts, though it looks odd."""

    def vectors(self) -> Iterator[Vector]:
        """All of them."""
        yield from self._keys()
        yield from self._numbers()
        yield from self._lines()
        yield from self._splits()

    def _keys(self) -> Iterator[Vector]:
        yield Vector("good/same-size-ecdsa", "a key of type 0x02", self.roots(LOG_ECDSA), ("log-ecdsa",))
        yield Vector("good/same-size-rfc6962", "with times, in milliseconds", self.roots(CT), ("log-rfc6962",))
        yield Vector(
            "good/same-size-origin-of-255-bytes",
            "the longest origin",
            self.roots(LONG_LOG, origin=LONG_LOG.name),
            ("long-log",),
        )
        yield Vector(
            "good/cosigner-same-size-origin-given",
            "a key of type 0x06 that does not bear the origin is a cosigner, also where an origin is given",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, *self.heads(W1_MLDSA)),
            ("w1-mldsa44",),
            origin=ORIGIN,
        )
        yield Vector(
            "good/cosigner-same-size-bears-the-origin",
            "a key of type 0x04 is a cosigner, whatever its name",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, *self.heads(W1, origin=W1.name)),
            (),
            "two-of-three",
        )
        small, large = self.fork(64, LOG, W1), self.main(101, W1, LOG)
        path = tuple(prove_consistency(64, 101, MAIN.read))
        yield Vector(
            "good/cosigner-non-consistent-power-of-two",
            "the log's line, which is trusted too, is not judged",
            pair_of(EvidenceType.COSIGNER_NON_CONSISTENT, small, large, Prefix(MAIN.head(64).root_hash, path)),
            ("log", "w1"),
        )
        first, second = self.main(60, LOG_MLDSA), self.main(50, LOG_MLDSA, time=TIME)
        first = with_lines(first, self.line(first.checkpoint, CT, TIME))
        second = with_lines(second, self.line(second.checkpoint, CT, TIME + 1))
        yield Vector(
            "good/log-rollback-second-key",
            "of two keys that signed both the one is accused whose times rise",
            pair_of(EvidenceType.LOG_ROLLBACK, first, second),
            ("log-mldsa44", "log-rfc6962"),
        )

    def _numbers(self) -> Iterator[Vector]:
        for size in (127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, MAX_INTEGER):
            yield Vector(f"good/same-size-{size}", "an integer in its shortest form", self.roots(size=size))
        yield Vector(
            "good/cosigner-rollback-latest-time",
            "the times 1 and 2^63 - 1, the sizes 2^63 - 1 and 0",
            pair_of(
                EvidenceType.COSIGNER_ROLLBACK,
                self.head(TreeHead(MAX_INTEGER, LOW), W1, time=1),
                self.head(TreeHead(0, HIGH), W1, time=MAX_INTEGER),
            ),
            ("w1",),
        )
        yield Vector("good/non-consistent-64-hashes", "the longest proof", self._longest_proof())
        yield Vector(
            "good/openings-of-one-size",
            "a leaf of two trees of one size",
            pair_of(EvidenceType.OPENINGS, *self.opened(60, 60, 45)),
        )
        left, right = leaf_hash(b"left"), leaf_hash(b"right")
        one, other = self.heads(size=2**62)[0], self.head(TreeHead(MAX_INTEGER, node_hash(left, right)), LOG)
        yield Vector(
            "good/openings-level-62",
            "the highest level; the path of a whole tree is empty",
            pair_of(EvidenceType.OPENINGS, one, other, Openings(62, 0, Opening(LOW, ()), Opening(left, (right,)))),
        )

    def _lines(self) -> Iterator[Vector]:
        one, other = self.heads(LOG)
        broken = flipped(one.note.signatures[0])
        yield Vector(
            "good/same-size-repeated-line",
            "the second line of one key is not read",
            pair_of(EvidenceType.SAME_SIZE, with_lines(one, broken), other),
        )
        lines = [SignatureLine(f"stranger.example/{i}", b"\x00\x00\x00\x00", b"\x00") for i in range(MAX_SIGNATURES)]
        yield Vector(
            "good/same-size-hundred-lines",
            "the most signature lines",
            pair_of(EvidenceType.SAME_SIZE, with_lines(one, *lines[:-1]), other),
        )
        yield Vector(
            "format/hundred-and-one-lines",
            "one signature line too many",
            pair_of(EvidenceType.SAME_SIZE, with_lines(one, *lines), other),
        )
        extensions = (
            "\x7f",
            "NEL \x85, LS \u2028, PS \u2029",
            " ",
            "— witness.example/w1 AAAAAAA=",
            "tlog-evidence@v1",
        )
        heads = self.heads(extensions=tuple(line.encode() for line in extensions))
        yield Vector(
            "good/same-size-other-line-separators",
            "only LF ends a line, only octets below 0x20 are refused",
            pair_of(EvidenceType.SAME_SIZE, *heads),
        )
        named = self.heads(extensions=(b"--",), origin="--")
        yield Vector(
            "good/same-size-origin-like-a-separator",
            "lines before the signatures separate nothing",
            pair_of(EvidenceType.SAME_SIZE, *named),
            origin="--",
        )
        strangers = (
            SignatureLine(LOG.name, b"\xb0\x4f\xa6\x4d", b"\x00"),
            SignatureLine("log", LOG.verifier_key.id, b"\x00"),
        )
        yield Vector(
            "good/same-size-half-known-lines",
            "lines with the name or the key ID of a trusted key, but not both, are ignored",
            pair_of(EvidenceType.SAME_SIZE, with_lines(one, *strangers), other),
        )

    def _splits(self) -> Iterator[Vector]:
        split = EvidenceType.QUORUM_SPLIT
        yield Vector(
            "good/quorum-split-quorum-none",
            "a policy without witnesses: the log alone is named",
            pair_of(split, *self.heads()),
            (),
            "nobody",
        )
        yield Vector(
            "good/quorum-split-log-key-given",
            "the policy names no log",
            pair_of(split, *self.heads(LOG, W1, W2)),
            ("log",),
            "no-log",
        )
        one, other = self.heads(LOG, W1, W2)[0], self.heads(LOG, W1_MLDSA, W2)[1]
        yield Vector(
            "good/quorum-split-two-keys-of-a-party",
            "w1 signed with one key on one side and with another on the other",
            pair_of(split, one, other),
            (),
            "two-keys-of-w1",
        )

    def _longest_proof(self) -> bytes:
        small, large = 2**62 + 1, MAX_INTEGER
        path = tuple(Hash(sha256(b"hash %d" % i).digest()) for i in range(64))
        root, larger = fold(small, large, path[0], path)
        first, second = (self.head(TreeHead(*head), LOG) for head in ((small, LOW), (large, larger)))
        return pair_of(EvidenceType.NON_CONSISTENT, first, second, Prefix(root, path))
