"""Decides whether a signed head lies on the branch that this monitor re-hashed, or convicts its log.

The monitor has a branch: a signed head of size a, every entry below which it hashed itself. Some other head of size n
with a valid log signature turns up. Then one of these holds:

    OnBranch       n <= a, and the branch had that root at size n
    Extends        n > a, and a consistency proof leads from our root to the head's: not contradicted so far
    Forked         the log signed both, and they cannot both be true: here is the evidence
    Undecided      n > a, and nothing shows how the two trees relate. It is decided when the branch reaches size n
    NeedsTile      n <= a, and one tile of hashes that the mirror lacks is needed to tell
    Unprovable     the branch says forked, but what it says proves nothing: the mirror is damaged

For n <= a nobody has to cooperate (the branch alone decides), so a log that wants to avoid conviction must freeze its
public tree below every forked head it ever signed. For n > a a proof from anybody will do, because a proof that leads
to the head's signed root, but starts from another root than the one signed at its old size, is itself the conviction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gossip.core.both_sides import convict_cosigners
from gossip.core.candidate import Candidate, MissingTile, proven_old_root
from tlog.errors import ProofError, TlogError
from tlog.evidence import (
    Evidence,
    Opening,
    bad_empty_head,
    non_consistent,
    non_consistent_path,
    same_size,
    subtree_openings,
)
from tlog.hashing import EMPTY_ROOT, Hash
from tlog.opening import TruncatedProof
from tlog.policy import Policy
from tlog.proofs import ReadNode, prove_subtree_consistency, root_at, root_from_node
from tlog.signed_checkpoint import SignedCheckpoint


@dataclass(frozen=True, slots=True)
class OnBranch:
    """The head is of a tree that the branch grew through."""


@dataclass(frozen=True, slots=True)
class Extends:
    """The head is larger and proven to extend the branch, as this proof shows."""

    proof: Candidate


@dataclass(frozen=True, slots=True)
class Undecided:
    """The head is larger and nothing shows how it relates to the branch."""


@dataclass(frozen=True, slots=True)
class NeedsTile:
    """The full tile of this index and tile level has to be fetched first."""

    tile: int
    level: int = 0


@dataclass(frozen=True, slots=True)
class Forked:
    """The log signed what contradicts itself; ``others`` convict those who cosigned both sides."""

    evidence: Evidence
    others: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Unprovable:
    """Evidence could not be made of what the mirror says, so the mirror does not say what was signed."""


Outcome = OnBranch | Extends | Undecided | NeedsTile | Forked | Unprovable


def adjudicate(
    own: SignedCheckpoint | None,
    head: SignedCheckpoint,
    candidates: Sequence[Candidate],
    read: ReadNode,
    known: Mapping[int, Sequence[SignedCheckpoint]],
    cosigned: Sequence[SignedCheckpoint] = (),
    policy: Policy | None = None,
) -> Outcome:
    """Judge a head whose log signature has been verified.

    ``own`` is the head of the branch and ``read`` reads the branch's nodes. ``known`` holds, for the sizes of the head
    and of the candidates, other heads that the log signed. ``cosigned`` are heads on the branch that cosigners of this
    head signed, and ``policy`` is the log's: if the log forked, whoever cosigned both sides is convicted with it.
    """
    try:
        outcome = _judge(own, head, candidates, read, known)
        if not isinstance(outcome, Forked) or not head.size:
            return outcome
        sides = (*(() if own is None else (own,)), *cosigned, *(one for heads in known.values() for one in heads))
        # What lies beyond both the head and the branch is not in the mirror, whatever sizes a candidate names.
        reach = max(head.size, 0 if own is None else own.size)
        within = [one for one in sides if one.size <= reach]
        return replace(outcome, others=convict_cosigners(head, within, candidates, read, policy))
    except MissingTile as missing:
        return NeedsTile(missing.tile, missing.level)
    except TlogError:
        return Unprovable()


def judge_opening(
    own: SignedCheckpoint | None, head: SignedCheckpoint, opening: TruncatedProof, read: ReadNode
) -> Outcome:
    """Judge a head by one complete subtree of its tree, although the tree itself may be larger than the branch.

    N3: a subtree whose leaves are all there never changes again. If it is complete in the branch as well, both trees
    hold one hash at this place, or the log signed two histories. ``OnBranch`` says of the subtree that it is the
    branch's, not of the head. An opening that does not lead to the head shows nothing.
    """
    try:
        return _judge_opening(own, head, opening, read)
    except MissingTile as missing:
        return NeedsTile(missing.tile, missing.level)
    except ProofError:
        return Undecided()


def candidate_sizes(own: SignedCheckpoint | None, head: SignedCheckpoint, candidates: Sequence[Candidate]) -> set[int]:
    """Tell of which sizes ``adjudicate`` has to know the signed heads."""
    sizes = {candidate.size for candidate in candidates} if own is not None and own.size < head.size else set()
    return {head.size, *sizes}


def _judge(
    own: SignedCheckpoint | None,
    head: SignedCheckpoint,
    candidates: Sequence[Candidate],
    read: ReadNode,
    known: Mapping[int, Sequence[SignedCheckpoint]],
) -> Outcome:
    if head.size == 0:
        return OnBranch() if head.root_hash == EMPTY_ROOT else Forked(bad_empty_head(head))
    if own is not None and head.head == own.head:
        return OnBranch()
    for other in known.get(head.size, ()):
        if other.root_hash != head.root_hash:
            return Forked(same_size(other, head))
    if own is None:
        return Undecided()
    if head.size <= own.size:
        return _compare_with_branch(own, head, read)
    return _weigh(own, head, candidates, read, known)


def _judge_opening(
    own: SignedCheckpoint | None, head: SignedCheckpoint, opening: TruncatedProof, read: ReadNode
) -> Outcome:
    level, index = opening.level, opening.index
    if root_from_node(level, index, head.size, opening.node, opening.path) != head.root_hash:
        return Undecided()
    start, end = index << level, (index + 1) << level
    if own is None or end > own.size:
        return Undecided()
    ours = read(level, index)
    if ours == opening.node:
        return OnBranch()
    theirs = Opening(opening.node, opening.path)
    path = tuple(prove_subtree_consistency(start, end, own.size, read))
    try:
        return Forked(subtree_openings(own, Opening(ours, path), head, theirs, level, index))
    except ProofError:
        return Unprovable()


def _compare_with_branch(own: SignedCheckpoint, head: SignedCheckpoint, read: ReadNode) -> Outcome:
    """Compute the own root at the head's size: the two agree, or the log is convicted.

    N4: nobody is needed for this, and a head beyond the branch comes here as soon as the branch has grown to its size.
    N1: of two roots for one size the two signatures alone convict; otherwise the path in the own tree does, N2.
    """
    if root_at(head.size, read) == head.root_hash:
        return OnBranch()
    if head.size == own.size:
        return Forked(same_size(own, head))
    return Forked(non_consistent(head, own, read))


def _weigh(
    own: SignedCheckpoint,
    head: SignedCheckpoint,
    candidates: Sequence[Candidate],
    read: ReadNode,
    known: Mapping[int, Sequence[SignedCheckpoint]],
) -> Outcome:
    """Find the first candidate that decides about a head larger than the branch."""
    for candidate in candidates:
        true_root = _root_at(own, candidate.size, read)
        if true_root is None:
            continue
        old_root = proven_old_root(candidate, true_root, head)
        if old_root == true_root:
            if candidate.size == own.size:
                return Extends(Candidate(candidate.size, true_root, candidate.path))
        elif old_root is not None:
            signed = own if candidate.size == own.size else _signed(known.get(candidate.size, ()), true_root)
            if signed is not None:
                return Forked(non_consistent_path(signed, head, old_root, candidate.path))
    return Undecided()


def _root_at(own: SignedCheckpoint, size: int, read: ReadNode) -> Hash | None:
    """Return the branch's root at a size; None where it has none, or needs more than the mirror holds to tell."""
    if size == own.size:
        return own.root_hash
    try:
        return root_at(size, read) if 0 < size < own.size else None
    except MissingTile:
        return None


def _signed(heads: Sequence[SignedCheckpoint], root: Hash) -> SignedCheckpoint | None:
    return next((head for head in heads if head.root_hash == root), None)
