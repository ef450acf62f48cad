"""The record of everything a witness ever answered, and what has to hold of it whatever happened in between."""

from collections import defaultdict

from tests.forks import Tree
from tests.witness_logs import VERIFIERS
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.signed_checkpoint import open_checkpoint


class Record:
    """Cosignatures by key and origin: the time, size and root hash that each states."""

    def __init__(self, *trees: Tree) -> None:
        self._trees = trees
        self.stated: defaultdict[tuple[VerifierKey, str], set[tuple[int, int, Hash]]] = defaultdict(set)
        self.answers = 0

    def add(self, request: bytes, lines: bytes) -> None:
        """Keep a 200: what was asked, and the lines that came back."""
        note = Note.parse(request.partition(b"\n\n")[2])
        opened = open_checkpoint(note.text + b"\n" + lines, VERIFIERS)
        self.answers += 1
        for signature in opened.signatures:
            statement = (signature.timestamp or 0, opened.size, opened.root_hash)
            self.stated[signature.key, opened.origin].add(statement)

    def largest(self, origin: str) -> int:
        """The largest size that anybody was given a cosignature of."""
        found = (stated for (_, of), stated in self.stated.items() if of == origin)
        return max((size for stated in found for _, size, _ in stated), default=0)

    def verify(self) -> None:
        """Sorted by time, sizes never fall, and all roots lie on one chain."""
        for (key, origin), stated in self.stated.items():
            sizes = [size for _, size, _ in sorted(stated)]
            assert sizes == sorted(sizes), (key.name, origin)
            heads = {(size, root_hash) for _, size, root_hash in stated}
            chains = [all(tree.head(size).root_hash == root for size, root in heads) for tree in self._trees]
            assert any(chains), (key.name, origin)
