"""Convicts whoever cosigned both sides of a fork, once the log's own fork is found.

The evidence against the log names the two histories. Whoever cosigned a head of one and a head of the other is
convicted by the same contradiction, made of their own signatures: of one size (W2) or of two sizes (W3). Where both
heads have the quorum of the policy, it was split (Q1).
"""

from collections.abc import Iterator, Sequence

from gossip.core.candidate import Candidate, MissingTile, proven_old_root
from tlog.errors import TlogError
from tlog.evidence import (
    Evidence,
    Prefix,
    cosigner_non_consistent_path,
    cosigner_same_size,
    quorum_split,
    quorum_split_path,
)
from tlog.keys import VerifierKey
from tlog.policy import Policy
from tlog.proofs import ReadNode, prove_consistency, root_at
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.trust import is_log_key


def convict_cosigners(
    head: SignedCheckpoint,
    others: Sequence[SignedCheckpoint],
    candidates: Sequence[Candidate],
    read: ReadNode,
    policy: Policy | None,
) -> tuple[Evidence, ...]:
    """Make evidence against every cosigner of ``head`` that cosigned one of the others, which it contradicts.

    ``read`` reads the branch. Others that are smaller than ``head`` contradict it by a candidate that shows so, larger
    ones by the branch if they lie on it.
    """
    against = [(other, proof) for other in others for proof in _contradiction(head, other, candidates, read)]
    cosigners = [one.key for one in head.signatures if not is_log_key(one.key, head.origin)]
    found = [_first(_against_cosigner(head, against, key)) for key in cosigners]
    if policy is not None and policy.quorum is not None:
        found.append(_first(_splits(head, against, policy)))
    return tuple(evidence for evidence in found if evidence is not None)


_Against = Sequence[tuple[SignedCheckpoint, Prefix | None]]


def _contradiction(
    head: SignedCheckpoint, other: SignedCheckpoint, candidates: Sequence[Candidate], read: ReadNode
) -> Iterator[Prefix | None]:
    """Yield what shows that the two are of different histories: None for two of one size, which show it themselves."""
    if other.size == head.size:
        if other.root_hash != head.root_hash:
            yield None
    elif other.size > head.size:
        yield from _by_branch(head, other, read)
    else:
        yield from _by_candidate(head, other, candidates)


def _by_branch(head: SignedCheckpoint, other: SignedCheckpoint, read: ReadNode) -> Iterator[Prefix]:
    try:
        root = root_at(head.size, read)
        if root != head.root_hash and root_at(other.size, read) == other.root_hash:
            yield Prefix(root, tuple(prove_consistency(head.size, other.size, read)))
    except MissingTile:
        return


def _by_candidate(head: SignedCheckpoint, other: SignedCheckpoint, candidates: Sequence[Candidate]) -> Iterator[Prefix]:
    for candidate in candidates:
        if candidate.size == other.size:
            root = proven_old_root(candidate, other.root_hash, head)
            if root is not None and root != other.root_hash:
                yield Prefix(root, candidate.path)


def _against_cosigner(head: SignedCheckpoint, against: _Against, key: VerifierKey) -> Iterator[Evidence]:
    for other, prefix in against:
        if other.signed_by(key) is None:
            continue
        if prefix is None:
            yield cosigner_same_size(other, head, key)
        else:
            smaller, larger = _by_size(head, other)
            yield cosigner_non_consistent_path(smaller, larger, key, prefix.root, prefix.path)


def _splits(head: SignedCheckpoint, against: _Against, policy: Policy) -> Iterator[Evidence]:
    if not policy.cosigned(head).met:
        return
    for other, prefix in against:
        if not policy.cosigned(other).met:
            continue
        if prefix is None:
            yield quorum_split(other, head, policy)
        else:
            yield quorum_split_path(*_by_size(head, other), policy, prefix.root, prefix.path)


def _by_size(one: SignedCheckpoint, other: SignedCheckpoint) -> tuple[SignedCheckpoint, SignedCheckpoint]:
    return (one, other) if one.size < other.size else (other, one)


def _first(found: Iterator[Evidence]) -> Evidence | None:
    """One convicts. What cannot be made convicts nobody, and is no reason to keep the rest back."""
    try:
        return next(found, None)
    except TlogError:
        return None
