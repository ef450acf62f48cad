"""The text bundle that carries evidence: a header with what the proof needs, then the signed notes, verbatim.

    tlog-evidence@v1
    type non-consistent
    root <base64 of the root that should have been signed>
    hash <base64>                          1 to 64 of them
                                           an empty line ends the header
    <note A, verbatim>
    --
    <note B, verbatim>

Which fields a type has, and in which order, is fixed; specs/evidence.md is the whole grammar. The notes stay verbatim
so that any tool for signed notes can check their signatures. They are signed checkpoints, or
statements about a subtree (``tlog.subtree``) or rotation records (``tlog.rotation``), where the type bears that name.
This module knows grammar only: what it parses is a claim, and ``tlog.evidence.verify`` judges it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.rotation import Rotation
from tlog.subtree import Subtree
from tlog.text import cut, encode_base64, format_decimal, parse_decimal, parse_hash, split_lines

MAX_HASHES = 64  # the longest consistency proof between sizes below 2^63
MAX_EVIDENCE_BYTES = 2 * MAX_NOTE_BYTES + 8 * 1024  # two notes; a header of two full paths takes under 7 kB

_MAGIC = b"tlog-evidence@v1"
_SEPARATOR = b"--\n"


class EvidenceType(StrEnum):
    """What a key is proven to have done, by the name that the bundle gives it."""

    BAD_EMPTY_HEAD = "bad-empty-head"
    SAME_SIZE = "same-size"
    OPENINGS = "openings"
    NON_CONSISTENT = "non-consistent"
    LOG_ROLLBACK = "log-rollback"
    COSIGNER_ROLLBACK = "cosigner-rollback"
    COSIGNER_SAME_SIZE = "cosigner-same-size"
    COSIGNER_NON_CONSISTENT = "cosigner-non-consistent"
    SUBTREE = "subtree"
    QUORUM_SPLIT = "quorum-split"
    ROTATION = "rotation"

    @property
    def shows(self) -> str:
        """What the accused did, as the end of a sentence for people."""
        return _SHOWS[self]


AGAINST_COSIGNERS = frozenset(
    {
        EvidenceType.COSIGNER_ROLLBACK,
        EvidenceType.COSIGNER_SAME_SIZE,
        EvidenceType.COSIGNER_NON_CONSISTENT,
        EvidenceType.SUBTREE,
    }
)
NO_CHECKPOINTS = frozenset({EvidenceType.SUBTREE, EvidenceType.ROTATION})  # their notes are statements of other kinds

_SHOWS = {
    EvidenceType.BAD_EMPTY_HEAD: "it signed a root for the empty tree that the empty tree does not have",
    EvidenceType.SAME_SIZE: "it signed two roots for one size",
    EvidenceType.OPENINGS: "it signed two trees that differ in a part that never changes again",
    EvidenceType.NON_CONSISTENT: "it signed two trees of which the smaller is not the beginning of the larger",
    EvidenceType.LOG_ROLLBACK: "it signed a smaller tree at a later time",
    EvidenceType.COSIGNER_ROLLBACK: "it cosigned a smaller tree at a later time",
    EvidenceType.COSIGNER_SAME_SIZE: "it cosigned two roots for one size",
    EvidenceType.COSIGNER_NON_CONSISTENT: (
        "it cosigned two trees of which the smaller is not the beginning of the larger"
    ),
    EvidenceType.SUBTREE: "it cosigned two hashes of one part of a tree",
    EvidenceType.QUORUM_SPLIT: "it signed two histories, and each has the quorum of the policy",
    EvidenceType.ROTATION: "it signed two rotation records of one number",
}


@dataclass(frozen=True, slots=True)
class Prefix:
    """A consistency proof from ``root``, which is the root of the smaller size inside of the larger tree."""

    root: Hash
    path: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """The hash of a node and its inclusion path, under one of the two roots."""

    node: Hash
    path: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class Openings:
    """One complete subtree, opened under both roots."""

    level: int
    index: int
    first: Opening
    second: Opening


Proof = Prefix | Openings | None
Statement = Checkpoint | Subtree | Rotation


@dataclass(frozen=True, slots=True)
class Evidence:
    """A claim that some key signed what contradicts itself. Only ``verify_evidence`` tells whether it is true."""

    type: EvidenceType
    notes: tuple[Note, ...]
    proof: Proof = None

    def __post_init__(self) -> None:
        if len(self.notes) != _note_count(self.type) or not _proof_fits(self.type, self.proof):
            raise ValueError("evidence of this type is made of other parts")

    @property
    def origin(self) -> str:
        """The origin of the log that the first note is about."""
        return read_statement(self.type, self.notes[0].text).origin

    @classmethod
    def parse(cls, raw: bytes) -> "Evidence":
        """Read a bundle. Its notes have well-formed texts then, and nothing about them has been verified."""
        if len(raw) > MAX_EVIDENCE_BYTES:
            raise FormatError("evidence is too large")
        header, notes = cut(raw, b"\n\n", "evidence has no empty line after its header")
        fields = _Fields(header + b"\n")
        if fields.take_line() != _MAGIC:
            raise FormatError("evidence does not begin with the version this program knows")
        type_ = _parse_type(fields.take(b"type"))
        proof = _parse_proof(type_, fields)
        fields.require_end()
        return cls(type_, tuple(_parse_notes(type_, notes)), proof)

    def format(self) -> bytes:
        """Write the bundle."""
        header = [_MAGIC, b"type " + self.type.encode(), *_proof_lines(self.proof)]
        return b"\n".join(header) + b"\n\n" + _SEPARATOR.join(note.format() for note in self.notes)


def read_statement(type_: EvidenceType, text: bytes) -> Statement:
    """Read the text of a note of evidence of this type.

    Raises:
        FormatError: it is none.
    """
    match type_:
        case EvidenceType.SUBTREE:
            return Subtree.parse(text)
        case EvidenceType.ROTATION:
            return Rotation.parse(text)
        case _:
            return Checkpoint.parse(text)


def _parse_type(field: bytes) -> EvidenceType:
    for known in EvidenceType:
        if known.encode() == field:
            return known
    raise FormatError("this program does not know this type of evidence: use a newer one")


def _note_count(type_: EvidenceType) -> int:
    return 1 if type_ is EvidenceType.BAD_EMPTY_HEAD else 2


def _proof_fits(type_: EvidenceType, proof: Proof) -> bool:
    match type_:
        case EvidenceType.NON_CONSISTENT | EvidenceType.COSIGNER_NON_CONSISTENT:
            return isinstance(proof, Prefix)
        case EvidenceType.OPENINGS:
            return isinstance(proof, Openings)
        case EvidenceType.QUORUM_SPLIT:
            return proof is None or isinstance(proof, Prefix)
        case _:
            return proof is None


def _parse_proof(type_: EvidenceType, fields: "_Fields") -> Proof:
    match type_:
        case EvidenceType.NON_CONSISTENT | EvidenceType.COSIGNER_NON_CONSISTENT:
            return _parse_prefix(fields)
        case EvidenceType.OPENINGS:
            return _parse_openings(fields)
        case EvidenceType.QUORUM_SPLIT if fields.next_is(b"root"):
            return _parse_prefix(fields)
        case _:
            return None


def _parse_prefix(fields: "_Fields") -> Prefix:
    root = parse_hash(fields.take(b"root"), "root")
    path = _parse_path(fields)
    if not path:
        raise FormatError("a consistency proof has at least one hash")
    return Prefix(root, path)


def _parse_openings(fields: "_Fields") -> Openings:
    level = parse_decimal(fields.take(b"level"), "level")
    index = parse_decimal(fields.take(b"index"), "index")
    return Openings(level, index, _parse_opening(fields), _parse_opening(fields))


def _parse_opening(fields: "_Fields") -> Opening:
    return Opening(parse_hash(fields.take(b"node"), "node"), _parse_path(fields))


def _parse_path(fields: "_Fields") -> tuple[Hash, ...]:
    path: list[Hash] = []
    while fields.next_is(b"hash"):
        if len(path) == MAX_HASHES:
            raise FormatError(f"evidence has more than {MAX_HASHES} hashes in one path")
        path.append(parse_hash(fields.take(b"hash")))
    return tuple(path)


def _proof_lines(proof: Proof) -> Iterator[bytes]:
    match proof:
        case Prefix(root, path):
            yield b"root " + encode_base64(root)
            yield from _path_lines(path)
        case Openings(level, index, first, second):
            yield b"level " + format_decimal(level)
            yield b"index " + format_decimal(index)
            for opening in (first, second):
                yield b"node " + encode_base64(opening.node)
                yield from _path_lines(opening.path)


def _path_lines(path: tuple[Hash, ...]) -> Iterator[bytes]:
    return (b"hash " + encode_base64(value) for value in path)


def _parse_notes(type_: EvidenceType, raw: bytes) -> Iterator[Note]:
    parts = [raw] if _note_count(type_) == 1 else _split_notes(raw)
    for part in parts:
        note = Note.parse(part)
        read_statement(type_, note.text)
        yield note


def _split_notes(raw: bytes) -> tuple[bytes, bytes]:
    """Split at the first line ``--`` after the first empty line.

    No statement has an empty line, so what follows the first one are signature lines, none of which is ``--``. An
    extension line of a checkpoint can be, which is why the separator is not searched for from the start.
    """
    text, signatures = cut(raw, b"\n\n", "the first note has no empty line after its text")
    first, second = cut(b"\n" + signatures, b"\n" + _SEPARATOR, "no line -- separates the two notes")
    return text + b"\n" + first + b"\n", second


class _Fields:
    """The lines of a header, taken one by one."""

    def __init__(self, header: bytes) -> None:
        self._lines = split_lines(header, "evidence header")
        self._taken = 0

    def next_is(self, name: bytes) -> bool:
        return self._taken < len(self._lines) and self._lines[self._taken].startswith(name + b" ")

    def take(self, name: bytes) -> bytes:
        if not self.next_is(name):
            raise FormatError(f"evidence of this type has a line '{name.decode()}' here")
        return self.take_line()[len(name) + 1 :]

    def take_line(self) -> bytes:
        self._taken += 1
        return self._lines[self._taken - 1]

    def require_end(self) -> None:
        if self._taken < len(self._lines):
            raise FormatError("the header of the evidence has a line that its type does not have")
