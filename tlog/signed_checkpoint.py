"""A checkpoint together with the note it stands in and the signatures that were verified.

``open_checkpoint`` is the way to one. Whoever stores or passes one on calls ``verified_only`` first: a line that nobody
verified may be forged under the name and id of a key that we trust later, or that is our own, and would then make the
stored note unreadable.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.hashing import Hash, TreeHead
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NotSignedError, VerifiedSignature, open_note
from tlog.text import cut

_SEPARATOR = b"\n--\n"


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that at least one trusted key signed."""

    checkpoint: Checkpoint
    note: Note
    signatures: tuple[VerifiedSignature, ...]

    @property
    def origin(self) -> str:
        """The log's name for itself."""
        return self.checkpoint.origin

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.checkpoint.size

    @property
    def root_hash(self) -> Hash:
        """The hash over all entries."""
        return self.checkpoint.root_hash

    @property
    def head(self) -> TreeHead:
        """Size and root hash."""
        return self.checkpoint.head

    @property
    def raw(self) -> bytes:
        """The bytes of the note, all its lines included."""
        return self.note.format()

    def signed_by(self, key: VerifierKey) -> VerifiedSignature | None:
        """Return the verified signature of this key, if it made one."""
        return next((signature for signature in self.signatures if signature.key == key), None)

    def verified_only(self) -> "SignedCheckpoint":
        """Drop the lines that nobody verified."""
        return _with_signatures(self, self.signatures)

    def only(self, keys: Collection[VerifierKey]) -> "SignedCheckpoint":
        """Keep the verified lines of these keys."""
        return _with_signatures(self, tuple(signature for signature in self.signatures if signature.key in keys))

    def merge(self, other: "SignedCheckpoint") -> "SignedCheckpoint":
        """Join the verified signatures of two notes of one text; of one key the newest timestamp wins.

        What would make a note that nobody can read is left out: a text may be nearly as long as a note.
        """
        if self.note.text != other.note.text:
            raise ValueError("the notes have different texts")
        newest: dict[tuple[str, bytes], VerifiedSignature] = {}
        for signature in (*self.signatures, *other.signatures):
            selector = (signature.key.name, signature.key.id)
            known = newest.setdefault(selector, signature)
            if (known.timestamp or 0) < (signature.timestamp or 0):
                newest[selector] = signature
        return _with_signatures(self, _fitting(self.note.text, newest.values()))


def open_checkpoint(raw: bytes | Note, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
    """Parse a signed checkpoint and verify what the given keys signed.

    Raises:
        FormatError: the bytes are no signed checkpoint.
        SignatureError: none of the keys signed it, or a line of one of them does not verify.
    """
    note = raw if isinstance(raw, Note) else Note.parse(raw)
    # The text is parsed before anything is verified, so that a signature over anything else is never reported.
    checkpoint = Checkpoint.parse(note.text)
    return SignedCheckpoint(checkpoint, note, open_note(note, keys))


def reopen_checkpoint(note: Note, keys: Iterable[VerifierKey], known: SignedCheckpoint) -> SignedCheckpoint:
    """Open another note of a text that was opened before: the lines verified then are not verified again.

    Raises:
        SignatureError: as ``open_checkpoint`` does.
    """
    if note.text != known.note.text:
        raise ValueError("the notes have different texts")
    verified = {signature.line: signature for signature in known.signatures}
    new = tuple(line for line in note.signatures if line not in verified)
    try:
        fresh = open_note(Note(note.text, new), keys)
    except NotSignedError:
        if len(new) == len(note.signatures):
            raise
        fresh = ()
    verified.update((signature.line, signature) for signature in fresh)
    signatures: dict[VerifierKey, VerifiedSignature] = {}
    for line in note.signatures:
        if line in verified:
            signatures.setdefault(verified[line].key, verified[line])
    return SignedCheckpoint(known.checkpoint, note, tuple(signatures.values()))


def take_checkpoint(raw: bytes, where: str) -> tuple[Note, bytes | None]:
    """Take the signed checkpoint off the beginning of a file of several, and what follows its line ``--``, if one does.

    A checkpoint has no empty line, so what follows the first one are signature lines, none of which is ``--``. An
    extension line can be, which is why the separator is not searched for from the start. Nothing is verified.

    Raises:
        FormatError: there is none at the beginning.
    """
    text, signatures = cut(raw, b"\n\n", f"a checkpoint in {where} has no empty line after its text")
    lines, found, rest = (b"\n" + signatures).partition(_SEPARATOR)
    note = Note.parse(text + b"\n" + lines + (b"\n" if found else b""))
    Checkpoint.parse(note.text)
    return note, rest if found else None


def _with_signatures(opened: SignedCheckpoint, signatures: tuple[VerifiedSignature, ...]) -> SignedCheckpoint:
    note = Note(opened.note.text, tuple(signature.line for signature in signatures))
    return SignedCheckpoint(opened.checkpoint, note, signatures)


def _fitting(text: bytes, signatures: Iterable[VerifiedSignature]) -> tuple[VerifiedSignature, ...]:
    """Those that a note of this text has room for, the first ones first."""
    left = MAX_NOTE_BYTES - len(Note(text, ()).format())
    found: list[VerifiedSignature] = []
    for signature in signatures:
        size = len(signature.line.format())
        if size <= left and len(found) < MAX_SIGNATURES:
            found.append(signature)
            left -= size
    return tuple(found)
