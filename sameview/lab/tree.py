"""A log held in memory by somebody who has the key and no scruples: it signs any tree it likes."""

from collections.abc import Sequence
from dataclasses import dataclass

from logserver.core import EMPTY_EDGE, Edge, grow
from tlog.checkpoint import Checkpoint
from tlog.hashing import TreeHead
from tlog.keys import SignerKey
from tlog.note import Note, message_to_sign, signature_line


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


EMPTY_LOG = ForgedLog(EMPTY_EDGE, {})


def sign_head(origin: str, head: TreeHead, key: SignerKey, time: int = 0) -> bytes:
    """Sign a tree head as a log does, without asking any register whether it may be signed."""
    text = Checkpoint(origin, head.size, head.root_hash).format()
    verifier = key.verifier_key
    signature = key.sign(message_to_sign(verifier, text, time))
    return Note(text, (signature_line(verifier, time, signature),)).format()
