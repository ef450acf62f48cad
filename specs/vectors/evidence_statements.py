"""Vectors of specs/evidence.md about what is no checkpoint: parts of a tree, and records of key rotation."""

from collections.abc import Iterator

from specs.vectors.evidence_parts import (
    HIGH,
    LOG,
    LOG_2,
    LOG_ECDSA,
    LOG_MLDSA,
    LOW,
    ORIGIN,
    SECOND_LOG,
    TIME,
    W1,
    W1_MLDSA,
    W2_MLDSA,
    AnyKey,
    EcdsaKey,
    Maker,
    Vector,
    replaced,
)
from tests.forks import CertificateLogKey
from tlog.cosignature import subtree_message
from tlog.evidence import Evidence, EvidenceType, rotation, subtree
from tlog.hashing import Hash, TreeHead
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, SignatureLine, message_to_sign, signature_line
from tlog.rotation import Rotation
from tlog.subtree import Subtree

NEW, OTHER = str(SECOND_LOG.verifier_key), str(LOG_2.verifier_key)


class Statements(Maker):
    """Bundles about subtrees, then about rotations; of each those that convict first."""

    def vectors(self) -> Iterator[Vector]:
        """All of them."""
        yield from self._subtrees()
        yield from self._no_subtrees()
        yield from self._rotations()
        yield from self._no_rotations()

    def _subtrees(self) -> Iterator[Vector]:
        cosigner = ("w1-mldsa44",)
        one, other = self._parts(16, 32)
        yield Vector("good/subtree", "two hashes of 16 entries", self._subtree(one, other), cosigner)
        one, other = self._parts(0, 60)
        yield Vector("good/subtree-from-zero", "the whole of a tree, without time", self._subtree(one, other), cosigner)
        one, other = self._parts(16, 32, W1, LOG, W1_MLDSA)
        yield Vector(
            "good/subtree-lines-of-others",
            "lines of keys that sign no subtrees, which are ignored though they are trusted",
            _pair(EvidenceType.SUBTREE, one, other),
            ("w1-mldsa44", "w1", "log"),
        )

    def _no_subtrees(self) -> Iterator[Vector]:
        cosigner = ("w1-mldsa44",)
        one, other = self._parts(16, 32)
        bundle = self._subtree(one, other)
        yield Vector("signature/subtree-nobody-trusted", "the cosigner is not trusted", bundle, ("w1",))
        yield Vector(
            "signature/subtree-by-a-log",
            "the key of a log answers for trees, not for their parts",
            _pair(EvidenceType.SUBTREE, *self._parts(16, 32, LOG_MLDSA)),
            ("log-mldsa44",),
        )
        yield Vector(
            "signature/subtree-ed25519",
            "keys of type 0x04 sign no subtrees",
            _pair(EvidenceType.SUBTREE, *self._parts(16, 32, W1)),
            ("w1",),
        )
        yield Vector(
            "signature/subtree-by-two-keys",
            "each part is signed by another cosigner",
            _pair(EvidenceType.SUBTREE, one, self._parts(16, 32, W2_MLDSA)[1]),
            ("w1-mldsa44", "w2-mldsa44"),
        )
        timed = self._timed(one)
        yield Vector("signature/subtree-time", "a time", _pair(EvidenceType.SUBTREE, timed, other), cosigner)
        moved = replaced(bundle, b"\n16 32\n", b"\n17 32\n")
        yield Vector("signature/subtree-changed-start", "a start that nobody signed", moved, cosigner)
        swapped = _pair(EvidenceType.SUBTREE, other, one)
        yield Vector("proof/subtree-order", "the larger text first", swapped, cosigner)
        yield Vector("proof/subtree-twice", "one hash", _pair(EvidenceType.SUBTREE, one, one), cosigner)
        for name, about, start, end, origin in (
            ("start", "parts that start elsewhere", 15, 32, ORIGIN),
            ("end", "parts that end elsewhere", 16, 33, ORIGIN),
            ("origin", "parts of two logs", 16, 32, "log.example/two"),
        ):
            elsewhere = self._note(Subtree(origin, start, end, HIGH), W1_MLDSA)
            ordered = sorted((one, elsewhere), key=lambda note: note.text)
            yield Vector(f"proof/subtree-{name}", about, _pair(EvidenceType.SUBTREE, *ordered), cosigner)
        for name, about, place in (
            ("empty", "a part that ends where it starts", b"\n32 32\n"),
            ("backwards", "a part that ends before it starts", b"\n33 32\n"),
            ("leading-zero", "a leading zero", b"\n016 32\n"),
            ("one-number", "a checkpoint", b"\n32\n"),
            ("three-numbers", "three numbers", b"\n16 32 48\n"),
            ("two-spaces", "two spaces", b"\n16  32\n"),
            ("too-large", "an end of 2^63", b"\n16 9223372036854775808\n"),
            ("extension", "another line", b"\n16 32\nx\n"),
        ):
            yield Vector(f"format/subtree-{name}", about, replaced(bundle, b"\n16 32\n", place), cosigner)
        as_checkpoints = replaced(bundle, b"type subtree", b"type cosigner-same-size")
        yield Vector("format/subtree-as-checkpoint", "another type", as_checkpoints, cosigner)

    def _rotations(self) -> Iterator[Vector]:
        one, other = self._records(LOG)
        yield Vector("good/rotation", "two keys follow one", rotation(one, other, LOG.verifier_key).format())
        one, other = self._records(LOG_ECDSA)
        made = rotation(one, other, LOG_ECDSA.verifier_key).format()
        yield Vector("good/rotation-ecdsa", "two keys follow one of type 0x02", made, ("log-ecdsa",))
        for name, about, second in (
            ("size", "two last trees of one root", Rotation(ORIGIN, 1, NEW, TreeHead(61, LOW))),
            ("root", "two last trees of one size", Rotation(ORIGIN, 1, NEW, TreeHead(60, HIGH))),
            ("not-a-vkey", "what follows is no key at all", Rotation(ORIGIN, 1, "— ", TreeHead(60, LOW))),
        ):
            one, other = (self._note(record, LOG) for record in (Rotation(ORIGIN, 1, NEW, TreeHead(60, LOW)), second))
            yield Vector(f"good/rotation-{name}", about, rotation(one, other, LOG.verifier_key).format())
        one, other = self._records(LOG_2, LOG, W1)
        yield Vector(
            "good/rotation-of-two-keys",
            "two keys of the log signed both; the first one is accused, and a cosigner's line is ignored",
            _pair(EvidenceType.ROTATION, one, other),
            ("log", "log-second-key", "w1"),
        )
        one, other = self._records(SECOND_LOG)
        yield Vector(
            "good/rotation-key-name-is-not-the-origin",
            "the caller says of which origin the key is",
            _pair(EvidenceType.ROTATION, one, other),
            ("second-log",),
            origin=ORIGIN,
        )

    def _no_rotations(self) -> Iterator[Vector]:
        one, other = self._records(LOG)
        bundle = _pair(EvidenceType.ROTATION, one, other)
        yield Vector("signature/rotation-another-key", "another key is trusted", bundle, ("log-second-key",))
        yield Vector(
            "signature/rotation-of-two-logs",
            "the key has another name than the origin, which nobody asked about",
            _pair(EvidenceType.ROTATION, *self._records(SECOND_LOG)),
            ("second-log",),
        )
        yield Vector(
            "signature/rotation-by-a-cosigner",
            "a cosigner does not say which keys a log has",
            _pair(EvidenceType.ROTATION, *self._records(W1)),
            ("w1",),
        )
        yield Vector(
            "signature/rotation-by-two-keys",
            "each record is of another key",
            _pair(EvidenceType.ROTATION, one, self._records(LOG_2)[1]),
            ("log", "log-second-key"),
        )
        yield Vector("proof/rotation-order", "the larger text first", _pair(EvidenceType.ROTATION, other, one))
        yield Vector("proof/rotation-twice", "one record", _pair(EvidenceType.ROTATION, one, one))
        for name, about, record in (
            ("number", "two numbers", Rotation(ORIGIN, 2, OTHER, TreeHead(60, LOW))),
            ("origin", "two logs", Rotation("log.example/two", 1, OTHER, TreeHead(60, LOW))),
        ):
            ordered = sorted((one, self._note(record, LOG)), key=lambda note: note.text)
            yield Vector(f"proof/rotation-{name}", about, _pair(EvidenceType.ROTATION, *ordered))
        for name, about, old, new in (
            ("zero", "number 0", b"\nrotate 1\n", b"\nrotate 0\n"),
            ("no-number", "no number", b"\nrotate 1\n", b"\nrotate\n"),
            ("leading-zero", "a leading zero", b"\nrotate 1\n", b"\nrotate 01\n"),
            ("no-new-key", "no new key", f"\nnew {NEW}\n".encode(), b"\nnew \n"),
            ("no-root", "a last tree without a root", b"\ncutoff 60 ", b"\ncutoff 60"),
            ("no-cutoff", "another word", b"\ncutoff 60 ", b"\nuntil 60 "),
            ("extension", "another line", b"\nrotate 1\n", b"\nrotate 1\nx\n"),
        ):
            yield Vector(f"format/rotation-{name}", about, replaced(bundle, old, new))

    def _parts(self, start: int, end: int, *keys: AnyKey) -> tuple[Note, Note]:
        hashes: tuple[Hash, Hash] = (LOW, HIGH)
        one, other = sorted(Subtree(ORIGIN, start, end, hash).format() for hash in hashes)
        return self._signed(one, *(keys or (W1_MLDSA,))), self._signed(other, *(keys or (W1_MLDSA,)))

    def _subtree(self, one: Note, other: Note) -> bytes:
        return subtree(one, other, W1_MLDSA.verifier_key).format()

    def _records(self, *keys: AnyKey) -> tuple[Note, Note]:
        records = (Rotation(ORIGIN, 1, new, TreeHead(60, LOW)).format() for new in (NEW, OTHER))
        one, other = (self._signed(text, *keys) for text in sorted(records))
        return one, other

    def _note(self, statement: Subtree | Rotation, *keys: AnyKey) -> Note:
        return self._signed(statement.format(), *keys)

    def _signed(self, text: bytes, *keys: AnyKey) -> Note:
        return Note(text, tuple(self._line_under(text, key) for key in keys))

    def _line_under(self, text: bytes, key: AnyKey) -> SignatureLine:
        if isinstance(key, EcdsaKey):
            return key.line_under(text)
        if isinstance(key, CertificateLogKey):
            raise AssertionError("such a key signs tree heads only")
        time = TIME if key.type is KeyType.COSIGNATURE_ED25519 else 0
        message = message_to_sign(key.verifier_key, text, time)
        sign = self._signatures.sign if key.type is KeyType.COSIGNATURE_MLDSA44 else SignerKey.sign
        return signature_line(key.verifier_key, time, sign(key, message))

    def _timed(self, note: Note) -> Note:
        """The same with a time, which the signature covers too."""
        part = Subtree.parse(note.text)
        key = W1_MLDSA.verifier_key
        timed = subtree_message(key.name, 0, part.origin, part.start, part.end, part.hash)
        stamp = TIME.to_bytes(8)
        message = timed.replace(bytes(8), stamp, 1)
        return Note(note.text, (signature_line(key, TIME, self._signatures.sign(W1_MLDSA, message)),))


def _pair(type_: EvidenceType, first: Note, second: Note) -> bytes:
    """A bundle, true or not."""
    return Evidence(type_, (first, second)).format()
