"""What may show how two trees of a log relate: a proof that somebody claims to have, and what it proves."""

from dataclasses import dataclass

from tlog.errors import ProofError
from tlog.hashing import Hash
from tlog.proofs import fold
from tlog.signed_checkpoint import SignedCheckpoint


class MissingTile(Exception):  # noqa: N818  # not a mistake of anybody
    """The mirror does not hold the hashes of this full tile of a tile level; raised by its ``ReadNode``."""

    def __init__(self, tile: int, level: int = 0) -> None:
        super().__init__("a tile of hashes is not in the mirror")
        self.tile = tile
        self.level = level


@dataclass(frozen=True, slots=True)
class Candidate:
    """What somebody claims to be a consistency proof from the tree of ``size``; ``root`` is its root, if told."""

    size: int
    root: Hash | None
    path: tuple[Hash, ...]


def proven_old_root(candidate: Candidate, expected: Hash, head: SignedCheckpoint) -> Hash | None:
    """Return the old root that the candidate proves for this head; None when it proves nothing.

    N2: the sizes fix which nodes of the larger tree a proof consists of, so whatever leads to the head's root shows the
    one old root that is consistent with it. If a signed one differs, the proof is what convicts. A candidate that does
    not tell its root is tried with the expected one.
    """
    claimed = expected if candidate.root is None else candidate.root
    try:
        old_root, new_root = fold(candidate.size, head.size, claimed, candidate.path)
    except ProofError:
        return None
    return old_root if new_root == head.root_hash else None
