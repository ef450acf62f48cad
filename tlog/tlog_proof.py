"""A proof, to be checked offline, that an entry was logged and that others saw it: c2sp.org/tlog-proof.

    c2sp.org/tlog-proof@v1
    extra <base64>                  omitted where there is none
    index <decimal>
    <base64 hash>...                the inclusion proof, the leaf's sibling first
                                    an empty line
    <checkpoint with signatures>    verbatim

``parse`` checks everything above the empty line and keeps what stands below it byte by byte. Nothing of it is to be
believed before ``verify`` returned, and ``extra`` not even then: no signature covers it. An application binds it by
computing the leaf hash from it. Timestamps are not judged here (who wants recent cosignatures looks at those of the
checkpoint that ``verify`` returns). Files are named ``*.tlog-proof``.
"""

from dataclasses import dataclass

from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES
from tlog.proofs import verify_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import (
    MAX_INTEGER,
    cut,
    decode_base64,
    encode_base64,
    format_decimal,
    parse_decimal,
    parse_hash,
)
from tlog.trust import Trust

MAX_PATH = 63  # a tree of at most 2^63 - 1 leaves is no higher
MAX_EXTRA_BYTES = 64 * 1024  # what rebuilds a leaf, which is itself at most that long
# Headers, 63 hashes, the extra data in base64 and a whole note.
MAX_PROOF_BYTES = 4 * 1024 + MAX_EXTRA_BYTES * 4 // 3 + MAX_NOTE_BYTES

_FIRST_LINE = b"c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class TlogProof:
    """The parts of a proof file. To make one, put together an index, its inclusion proof and the signed checkpoint."""

    index: int
    path: tuple[Hash, ...]
    checkpoint_note: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_INTEGER or len(self.path) > MAX_PATH:
            raise ValueError("no tree has such a leaf or such a path")
        if self.extra == b"" or not self.checkpoint_note:
            raise ValueError("extra data and checkpoint are not empty; absent extra data is None")

    @classmethod
    def parse(cls, data: bytes) -> "TlogProof":
        """Read a proof file; the checkpoint in it is not looked at."""
        # SPEC: P-6 The proof ends at the first empty line: the checkpoint has one of its own later.
        head, note = cut(data, b"\n\n", "a proof has no empty line before its checkpoint")
        first, *lines = head.split(b"\n")
        # SPEC: P-2 The first line MUST be the string "c2sp.org/tlog-proof@v1".
        if first != _FIRST_LINE:
            raise FormatError("a proof does not start with the line c2sp.org/tlog-proof@v1")
        # SPEC: P-3 The second line MAY start with "extra" and a space.
        extra = _parse_extra(lines.pop(0)) if lines and lines[0].startswith(b"extra ") else None
        # SPEC: P-5 The next line MUST start with "index" and a space.
        if not lines or not lines[0].startswith(b"index "):
            raise FormatError("a proof has no index line where it belongs")
        # SPEC: P-12 No line may be missing.
        if not note:
            raise FormatError("a proof has no checkpoint")
        if len(lines) - 1 > MAX_PATH:
            raise FormatError("a proof has more hashes than any tree is high")
        path = tuple(parse_hash(line, "a hash of the proof") for line in lines[1:])
        return cls(_parse_index(lines[0]), path, note, extra)

    def format(self) -> bytes:
        """Write the proof file."""
        extra = [] if self.extra is None else [b"extra " + encode_base64(self.extra)]
        index = b"index " + format_decimal(self.index)
        lines = [_FIRST_LINE, *extra, index, *map(encode_base64, self.path)]
        return b"\n".join([*lines, b"", self.checkpoint_note])

    def verify(self, leaf: Hash, trust: Trust) -> SignedCheckpoint:
        """Check that the leaf is in a tree that the log signed and the policy's witnesses saw.

        Raises:
            FormatError: what should be a signed checkpoint is none.
            SignatureError: the checkpoint does not have the signatures that ``trust`` asks for.
            ProofError: the leaf does not stand at the index of that tree.
        """
        # SPEC: P-7 The leaf hash is computed by the application, from its own data.
        # SPEC: P-4 The extra data MUST NOT be trusted implicitly: it plays no part here.
        # SPEC: P-8, P-9 The origin, the log's signature and the cosignatures are judged by tlog.trust.
        # SPEC: P-11 Timestamps are ignored by this procedure.
        checkpoint = trust.open(self.checkpoint_note).require()
        # SPEC: P-10 The inclusion proof binds the leaf hash to the root hash of the signed checkpoint.
        # SPEC: P-12 That includes an index below the size and a path of exactly the right length.
        verify_inclusion(leaf, self.index, checkpoint.head, self.path)
        return checkpoint


def _parse_extra(line: bytes) -> bytes:
    extra = decode_base64(line.removeprefix(b"extra "), "the extra data of a proof")
    # SPEC: P-3 If no extra data is present, this line is omitted.
    if not extra:
        raise FormatError("the extra line of a proof is empty")
    return extra


def _parse_index(line: bytes) -> int:
    # SPEC: P-5 The index is an ASCII decimal with no leading zeroes.
    index = parse_decimal(line.removeprefix(b"index "), "the index of a proof")
    if index == MAX_INTEGER:
        raise FormatError("no tree is large enough for the index of the proof")
    return index
