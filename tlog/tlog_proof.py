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

from collections.abc import Iterable
from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, SignatureError
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.policy import LOG_KEY_TYPES, Policy
from tlog.proofs import verify_inclusion
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import (
    MAX_INTEGER,
    cut,
    decode_base64,
    encode_base64,
    format_decimal,
    parse_decimal,
    parse_hash,
)

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

    def verify(
        self,
        leaf: Hash,
        keys: Iterable[VerifierKey] = (),
        origin: str | None = None,
        policy: Policy | None = None,
    ) -> SignedCheckpoint:
        """Check that the leaf is in a tree that the log signed and the policy's witnesses saw.

        ``keys`` name the log, and then the policy judges the witnesses only; without keys the policy names the logs
        too. A key speaks for the origin that is its name or, where ``origin`` is given, for that one.
        """
        # SPEC: P-7 The leaf hash is computed by the application, from its own data.
        # SPEC: P-4 The extra data MUST NOT be trusted implicitly: it plays no part here.
        # SPEC: P-4 The extra data MUST NOT be trusted implicitly: it plays no part here.
        note = Note.parse(self.checkpoint_note)
        checkpoint = Checkpoint.parse(note.text)
        given = tuple(keys)
        log_keys = _log_keys(checkpoint.origin, given, origin, policy)
        witness_keys = () if policy is None else policy.witness_keys
        opened = open_checkpoint(note, [*log_keys, *given, *witness_keys])
        # SPEC: P-8 The checkpoint is signed by a log public key configured for that origin line.
        if not any(opened.signed_by(key) for key in log_keys):
            raise SignatureError("no log key signed the checkpoint, only others did")
        # SPEC: P-9 Verify all cosignatures for witnesses known to the verifier, then apply the quorum policy.
        if policy is not None and not policy.cosigned(opened).met:
            raise SignatureError("the cosignatures on the checkpoint do not reach the quorum of the policy")
        # SPEC: P-10 The inclusion proof binds the leaf hash to the root hash of the signed checkpoint.
        # SPEC: P-12 That includes an index below the size and a path of exactly the right length.
        verify_inclusion(leaf, self.index, opened.head, self.path)
        # SPEC: P-11 Timestamps are ignored by this procedure.
        return opened


def _log_keys(
    actual: str, given: tuple[VerifierKey, ...], origin: str | None, policy: Policy | None
) -> tuple[VerifierKey, ...]:
    """Find the keys that may have signed as the log of the checkpoint's actual origin."""
    if not given and policy is None:
        raise ValueError("a proof is verified against keys, a policy or both")
    # SPEC: P-8 Check that the checkpoint origin line is acceptable.
    if origin is not None and actual != origin:
        raise SignatureError("the checkpoint is of another origin")
    if given or policy is None:
        candidates = given if origin is not None else tuple(key for key in given if key.name == actual)
    else:
        candidates = policy.log_keys(actual)
    log_keys = tuple(key for key in candidates if key.type in LOG_KEY_TYPES)
    if not log_keys:
        raise SignatureError("no key is known for the origin of the checkpoint")
    return log_keys


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
