"""Vectors at the edges of specs/evidence.md that are refused: limits, roles, repeated lines, refusals of each type."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha512

from specs.vectors.evidence_parts import (
    CT,
    CT_NAMESAKE,
    HIGH,
    LOG,
    LOG_MLDSA,
    LOW,
    MAIN,
    ORIGIN,
    SECOND_LOG,
    STRANGER,
    TIME,
    W1,
    W1_AS_LOG,
    W1_MLDSA,
    W2,
    W3,
    Maker,
    Vector,
    flipped,
    pair_of,
    replaced,
    sloppy,
    with_lines,
)
from tlog.checkpoint import Checkpoint
from tlog.evidence import Evidence, EvidenceType, Prefix
from tlog.hashing import TreeHead
from tlog.keys import SignerKey
from tlog.note import Note, SignatureLine
from tlog.proofs import prove_consistency
from tlog.text import encode_base64

_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


class RefusedEdges(Maker):
    """What is malformed, then what is not signed or no contradiction."""

    def vectors(self) -> Iterator[Vector]:
        """All of them."""
        yield from self._malformed_headers()
        yield from self._malformed_notes()
        yield from self._lines_that_do_not_verify()
        yield from self._roles()
        yield from self._no_quorum_splits()
        yield from self._no_contradictions()

    def _malformed_headers(self) -> Iterator[Vector]:
        same, opened = self.roots(), pair_of(EvidenceType.OPENINGS, *self.opened(60, 60, 45))
        empty = pair_of(EvidenceType.COSIGNER_NON_CONSISTENT, *self.heads(W1), Prefix(LOW, (HIGH,)))
        path = b"hash " + encode_base64(LOW) + b"\n"
        for name, about, bundle in (
            ("space-after-the-version", "a longer first line", replaced(same, b"@v1", b"@v1 ", 1)),
            ("space-after-the-type", "a longer type", replaced(same, b"size\n", b"size \n", 1)),
            (
                "hash-for-same-size",
                "a field that the type does not have",
                replaced(same, b"size\n", b"size\n" + path, 1),
            ),
            (
                "level-for-same-size",
                "a field that the type does not have",
                replaced(same, b"size\n", b"size\nlevel 0\n", 1),
            ),
            (
                "cosigner-without-root",
                "a proof without its root",
                replaced(empty, b"root " + encode_base64(LOW) + b"\n", b"", 1),
            ),
            (
                "openings-one-node",
                "an opening too few",
                replaced(opened, opened[opened.rindex(b"node ") : opened.index(b"\n\n") + 1], b"", 1),
            ),
            (
                "openings-with-root",
                "a field that the type does not have",
                replaced(opened, b"level", b"root " + encode_base64(LOW) + b"\nlevel", 1),
            ),
            (
                "openings-too-many-hashes",
                "65 hashes under one node",
                replaced(opened, b"hash ", path * 65 + b"hash ", 1),
            ),
            (
                "openings-index-too-large",
                "a decimal above 2^63 - 1",
                replaced(opened, b"index 45\n", b"index %d\n" % 2**63, 1),
            ),
            ("openings-negative-level", "a decimal has no sign", replaced(opened, b"level 0\n", b"level -0\n", 1)),
            ("openings-level-without-a-value", "an empty decimal", replaced(opened, b"level 0\n", b"level \n", 1)),
            (
                "openings-full-width-digit",
                "digits are ASCII",
                replaced(opened, b"level 0\n", "level \uff10\n".encode(), 1),
            ),
        ):
            yield Vector(f"format/{name}", about, bundle)

    def _malformed_notes(self) -> Iterator[Vector]:
        same = self.roots()
        line = "\n— log.example/one ".encode()
        blob = same[same.index(line) + len(line) :].split(b"\n", 1)[0]
        low = encode_base64(LOW)
        long = ORIGIN + "x" * (256 - len(ORIGIN))
        for name, about, bundle in (
            ("checkpoint-size-too-large", "a size above 2^63 - 1", replaced(same, b"\n60\n", b"\n%d\n" % 2**63)),
            ("checkpoint-root-of-31-bytes", "a short root", replaced(same, low, encode_base64(LOW[:31]))),
            (
                "checkpoint-root-not-canonical",
                "last bits that are not zero",
                replaced(same, low, sloppy(low)),
            ),
            (
                "checkpoint-without-origin",
                "no text before the empty line",
                replaced(same, b"\n\nlog.example/one\n", b"\n\n\n", 1),
            ),
            (
                "checkpoint-origin-of-256-bytes",
                "one byte too long",
                replaced(same, b"\n" + ORIGIN.encode() + b"\n", b"\n" + long.encode() + b"\n"),
            ),
            (
                "key-name-with-plus",
                "a key name ends at a plus sign in vkeys",
                replaced(same, line, "\n— log+two ".encode(), 1),
            ),
            (
                "key-name-with-unicode-space",
                "U+3000 is White_Space",
                replaced(same, line, "\n— log\u3000two ".encode(), 1),
            ),
            ("key-name-with-next-line", "U+0085 is White_Space", replaced(same, line, "\n— log\x85two ".encode(), 1)),
            ("empty-key-name", "two spaces", replaced(same, line, "\n—  ".encode(), 1)),
            (
                "hyphen-for-a-dash",
                "a signature line begins with an em dash",
                replaced(same, line, b"\n- log.example/one ", 1),
            ),
            ("signature-not-canonical", "base64 that another one spells too", replaced(same, blob, blob + b"====", 1)),
            (
                "signature-without-padding",
                "base64 without its padding",
                replaced(same, line, line[:1] + "— x AAAAAAA".encode() + line, 1),
            ),
            ("empty-line-between-signatures", "the note ends there", replaced(same, b"\n--\n", b"\n\n--\n", 1)),
            ("surrogate", "UTF-8 has no surrogates", replaced(same, b"\n60\n", b"\n60\n\xed\xa0\x80\n")),
            ("overlong", "one spelling of a character", replaced(same, b"\n60\n", b"\n60\n\xc0\xaf\n")),
        ):
            yield Vector(f"format/{name}", about, bundle)

    def _lines_that_do_not_verify(self) -> Iterator[Vector]:
        one, other = self.heads(LOG)
        yield Vector(
            "signature/repeated-line",
            "of two lines of one key the first one counts, and does not verify",
            pair_of(EvidenceType.SAME_SIZE, with_lines(one, flipped(one.note.signatures[0]), first=True), other),
        )
        weak = replace(one.note, signatures=(_low_order_line(one.checkpoint, LOG),))
        yield Vector(
            "signature/ed25519-low-order",
            "R is the neutral element; who signs so gives the private key away",
            Evidence(EvidenceType.SAME_SIZE, (weak, other.note)).format(),
        )
        late = one.checkpoint.format()
        time = 2**63
        body = time.to_bytes(8, "big") + W1.sign(b"cosignature/v1\ntime %d\n%s" % (time, late))
        line = SignatureLine(W1.name, W1.verifier_key.id, body)
        late_note = Note(late, (line,))
        yield Vector(
            "signature/time-too-large",
            "a time above 2^63 - 1",
            Evidence(EvidenceType.COSIGNER_SAME_SIZE, (late_note, self.heads(W1)[1].note)).format(),
            ("w1",),
        )
        short = replace(one.note, signatures=(SignatureLine(W1.name, W1.verifier_key.id, body[:7]),))
        yield Vector(
            "signature/no-room-for-a-time",
            "a cosignature of seven bytes",
            Evidence(EvidenceType.COSIGNER_SAME_SIZE, (short, self.heads(W1)[1].note)).format(),
            ("w1",),
        )
        extended = [replace(head.note, text=head.note.text + b"an extension line\n") for head in self.heads(CT)]
        yield Vector(
            "signature/rfc6962-and-an-extension-line",
            "a type that does not sign extension lines",
            Evidence(EvidenceType.SAME_SIZE, tuple(extended)).format(),
            ("log-rfc6962",),
        )
        renamed = [
            replace(head.note, text=head.note.text.replace(b"log.example/two", ORIGIN.encode()))
            for head in self.heads(CT_NAMESAKE, origin="log.example/two")
        ]
        yield Vector(
            "signature/rfc6962-for-another-origin",
            "a type that does not sign the origin: only the key's name binds it",
            Evidence(EvidenceType.SAME_SIZE, tuple(renamed)).format(),
            ("second-log-rfc6962",),
            origin=ORIGIN,
        )

    def _roles(self) -> Iterator[Vector]:
        two = self.roots(LOG, origin=SECOND_LOG.name)
        yield Vector(
            "signature/a-policy-s-log-speaks-for-its-name",
            "also where another origin is given",
            two,
            ("w3",),
            "two-of-three",
            SECOND_LOG.name,
        )
        yield Vector(
            "signature/mldsa44-log-accused-as-cosigner",
            "a key of type 0x06 that bears the origin is the log's",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, *self.heads(LOG_MLDSA)),
            ("log-mldsa44",),
        )
        yield Vector(
            "signature/mldsa44-cosigner-accused-as-log",
            "a key of type 0x06 that does not bear the origin is a cosigner's, also where an origin is given",
            self.roots(W1_MLDSA),
            ("w1-mldsa44",),
            origin=ORIGIN,
        )
        yield Vector(
            "signature/a-policy-s-witness-of-type-6-bears-the-origin",
            "it is neither a cosigner nor a log key",
            pair_of(EvidenceType.COSIGNER_SAME_SIZE, *self.heads(W1_MLDSA, origin=W1_MLDSA.name)),
            (),
            "two-keys-of-w1",
        )
        one, other = self.heads(LOG, STRANGER)
        unsigned = replace(other.note, signatures=other.note.signatures[1:])
        yield Vector(
            "signature/second-note-by-a-stranger",
            "each of the two notes needs a line that is trusted",
            Evidence(EvidenceType.SAME_SIZE, (one.note, unsigned)).format(),
        )

    def _no_quorum_splits(self) -> Iterator[Vector]:
        split, name = EvidenceType.QUORUM_SPLIT, "two-of-three"
        one, other = self.heads(LOG, W1, W2)
        yield Vector(
            "signature/quorum-split-repeated-line",
            "at most one line of each key",
            pair_of(split, with_lines(one, one.note.signatures[1]), other),
            (),
            name,
        )
        yield Vector(
            "signature/quorum-split-a-log-does-not-witness-itself",
            "w1 bears the origin as its name",
            pair_of(split, *self.heads(W1_AS_LOG, W1, W2, origin=W1_AS_LOG.name)),
            (),
            "a-witness-is-the-log",
        )
        timeless = [with_lines(head, self.line(head.checkpoint, W1_MLDSA, 0)) for head in self.heads(LOG, W2)]
        yield Vector(
            "signature/quorum-split-time-zero",
            "a cosignature without time does not count",
            pair_of(split, timeless[0], timeless[1]),
            (),
            "two-keys-of-w1",
        )
        yield Vector(
            "signature/quorum-split-second-log-alone",
            "another log that is trusted is not this one's",
            pair_of(split, *self.heads(SECOND_LOG, W1, W2)),
            ("second-log",),
            name,
        )
        yield Vector("proof/quorum-split-wrong-order", "the larger root first", pair_of(split, other, one), (), name)
        path = tuple(prove_consistency(64, 101, MAIN.read))
        prefix = Prefix(MAIN.head(64).root_hash, path)
        honest = pair_of(split, self.main(64, LOG, W1, W2), self.main(101, LOG, W2, W3), prefix)
        yield Vector("proof/quorum-split-consistent", "one history", honest, (), name)
        proven = pair_of(split, one, other, Prefix(LOW, path))
        yield Vector("proof/quorum-split-proof-for-one-size", "two roots need none", proven, (), name)

    def _no_contradictions(self) -> Iterator[Vector]:
        log, cosigner = EvidenceType.LOG_ROLLBACK, EvidenceType.COSIGNER_NON_CONSISTENT
        for name, about, first, second in (
            ("growth", "a larger tree a second later", self.main(50, CT), self.main(60, CT, time=TIME + 1)),
            ("same-time", "equal milliseconds prove nothing", self.main(60, CT), self.main(50, CT)),
            ("time-zero", "time 0 makes no claim", self.main(60, CT, time=0), self.main(50, CT)),
            ("earlier", "the later one first", self.main(60, CT, time=TIME + 1), self.main(50, CT)),
        ):
            yield Vector(f"proof/log-rollback-{name}", about, pair_of(log, first, second), ("log-rfc6962",))
        path = tuple(prove_consistency(64, 101, MAIN.read))
        prefix = Prefix(MAIN.head(64).root_hash, path)
        consistent = pair_of(cosigner, self.main(64, W1), self.main(101, W1), prefix)
        yield Vector("proof/cosigner-non-consistent-consistent", "one history", consistent, ("w1",))
        low, high = self.heads(W1)
        same = pair_of(EvidenceType.COSIGNER_SAME_SIZE, high, low)
        yield Vector("proof/cosigner-same-size-wrong-order", "the larger root first", same, ("w1",))
        sizes = pair_of(EvidenceType.COSIGNER_SAME_SIZE, self.main(59, W1), self.fork(60, W1))
        yield Vector("proof/cosigner-not-the-same-size", "two sizes", sizes, ("w1",))
        one, other, opened = self.opened(60, 60, 45)
        swapped = replace(opened, first=opened.second, second=opened.first)
        for name, about, changed in (
            ("one-size-wrong-order", "the larger root first", pair_of(EvidenceType.OPENINGS, other, one, swapped)),
            (
                "level-63",
                "a level that no tree has",
                pair_of(EvidenceType.OPENINGS, one, other, replace(opened, level=63)),
            ),
            ("level-64", "a shift by all bits", pair_of(EvidenceType.OPENINGS, one, other, replace(opened, level=64))),
            (
                "place-that-overflows",
                "(index + 1) * 2^level is 2^64",
                pair_of(EvidenceType.OPENINGS, one, other, replace(opened, level=2, index=2**62 - 1)),
            ),
            (
                "of-the-empty-tree",
                "a tree without leaves",
                pair_of(EvidenceType.OPENINGS, self.head(TreeHead(0, LOW), LOG), other, replace(opened, index=0)),
            ),
        ):
            yield Vector(f"proof/openings-{name}", about, changed)


def _low_order_line(checkpoint: Checkpoint, key: SignerKey) -> SignatureLine:
    """An Ed25519 signature with the nonce 0: R is the neutral element, and S is the private scalar times a hash."""
    scalar = int.from_bytes(sha512(key.seed).digest()[:32], "little") & (2**254 - 8) | 2**254
    neutral = (1).to_bytes(32, "little")
    public = key.verifier_key.public_key
    challenge = int.from_bytes(sha512(neutral + public + checkpoint.format()).digest(), "little")
    s = challenge * scalar % _GROUP_ORDER
    return SignatureLine(key.name, key.verifier_key.id, neutral + s.to_bytes(32, "little"))
