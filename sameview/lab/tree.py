"""A log held in memory by somebody who has its keys and no scruples: it signs any tree it likes."""

from collections.abc import Sequence
from dataclasses import dataclass

from logserver.core import EMPTY_EDGE, Edge, grow
from tlog.checkpoint import Checkpoint
from tlog.hashing import TreeHead
from tlog.keys import SignerKey
from tlog.note import Note, SignatureLine, message_to_sign, signature_line
from tlog.proofs import prove_inclusion
from tlog.tiles import TileReader
from tlog.tlog_proof import TlogProof


@dataclass(frozen=True, slots=True)
class ForgedLog:
    """A tree at its newest size, and every file a static log would serve for all its sizes so far."""

    edge: Edge
    files: dict[str, bytes]

    def extend(self, entries: Sequence[bytes]) -> "ForgedLog":
        """The same log, grown."""
        edge, added = grow(self.edge, entries)
        return ForgedLog(edge, self.files | {file.path: file.data for file in added})

    @property
    def head(self) -> TreeHead:
        """The newest tree head."""
        return TreeHead(self.edge.size, self.edge.root_hash())

    def prove(self, index: int, note: bytes) -> bytes:
        """The ``.tlog-proof`` of an entry under a note about the newest tree."""
        read = TileReader(self.edge.size, lambda tile: self.files[tile.path()]).node
        return TlogProof(index, tuple(prove_inclusion(index, self.edge.size, read)), note).format()


EMPTY_LOG = ForgedLog(EMPTY_EDGE, {})


def sign_head(origin: str, head: TreeHead, keys: Sequence[SignerKey], time: int = 0) -> bytes:
    """Sign a tree head, as a log or a cosigner does, without asking any register whether it may be signed.

    Keys whose type states no time leave it out.
    """
    text = Checkpoint(origin, head.size, head.root_hash).format()
    return Note(text, tuple(_line(text, key, time) for key in keys)).format()


def add_signature(note: bytes, key: SignerKey, time: int) -> bytes:
    """The same note with one more signature."""
    opened = Note.parse(note)
    return Note(opened.text, (*opened.signatures, _line(opened.text, key, time))).format()


def _line(text: bytes, key: SignerKey, time: int) -> SignatureLine:
    verifier = key.verifier_key
    return signature_line(verifier, time, key.sign(message_to_sign(verifier, text, time)))
