"""Makes evidence out of verified checkpoints; what comes back has passed ``verify_evidence``, or a ``ProofError`` says
that there is nothing to convict.

Notes in evidence keep the accused's signature line only (a quorum split: those of the policy's log and witnesses too).
A line that nobody verified could be anything, and with none of them no byte of a bundle can change without
invalidating it. Whoever opened the checkpoints did so with keys trusted for their origin; roles follow ``is_log_key``.
"""

from collections.abc import Collection, Sequence

from tlog.evidence.bundle import Evidence, EvidenceType, Opening, Openings, Prefix, Proof
from tlog.evidence.verify import signatures_to_judge, verify_evidence
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note, open_note
from tlog.policy import Policy
from tlog.proofs import ReadNode, prove_consistency, root_at, root_from_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.trust import is_log_key


def bad_empty_head(head: SignedCheckpoint) -> Evidence:
    """Convict a log of an empty tree whose root is not the hash of the empty string."""
    keys = _log_keys(head)
    lines = [signature.line for signature in head.signatures if signature.key in keys]
    note = Note(head.note.text, tuple(lines[:1]))
    return _verified(Evidence(EvidenceType.BAD_EMPTY_HEAD, (note,)), head, keys)


def same_size(one: SignedCheckpoint, other: SignedCheckpoint) -> Evidence:
    """Convict a log of two roots for one size."""
    first, second = _ascending(one, other)
    return _against(EvidenceType.SAME_SIZE, first, second, _log_keys(one, other))


def openings(
    one: SignedCheckpoint, of_one: Opening, other: SignedCheckpoint, of_other: Opening, index: int, level: int = 0
) -> Evidence:
    """Convict a log of two different leaves at one index, given as leaf hashes with their inclusion paths.

    ``level`` hides which leaf it is among 2^level: the evidence then opens the complete subtree of that level.
    """
    raised = [_raised(opening, index, level) for opening in (of_one, of_other)]
    return subtree_openings(one, raised[0], other, raised[1], level, index >> level)


def subtree_openings(
    one: SignedCheckpoint, of_one: Opening, other: SignedCheckpoint, of_other: Opening, level: int, index: int
) -> Evidence:
    """Convict a log of two different hashes of one complete subtree, which is the ``index``-th of its level."""
    first, second = _ascending(one, other)
    proof = Openings(level, index, *((of_one, of_other) if first is one else (of_other, of_one)))
    return _against(EvidenceType.OPENINGS, first, second, _log_keys(one, other), proof)


def non_consistent(smaller: SignedCheckpoint, larger: SignedCheckpoint, read: ReadNode) -> Evidence:
    """Convict a log of a larger tree that does not extend a smaller one, from the nodes of the larger tree alone.

    N4, the log's dilemma: a monitor that mirrors one branch up to a size needs nobody to judge any signed head up to
    that size; it computes its own root there, and either the two agree or this convicts. A head beyond that size
    waits until the branch reaches it. A log that wants to escape must never let its public branch grow to a size that
    it has provably signed, so there is conviction or a visible freeze, and no third way.
    """
    prefix = _prefix(smaller, larger, read)
    return non_consistent_path(smaller, larger, prefix.root, prefix.path)


def non_consistent_path(
    smaller: SignedCheckpoint, larger: SignedCheckpoint, root: Hash, path: Sequence[Hash]
) -> Evidence:
    """Convict a log by a consistency proof somebody presented: it leads from ``root``, not from the smaller head."""
    proof = Prefix(root, tuple(path))
    return _against(EvidenceType.NON_CONSISTENT, smaller, larger, _log_keys(smaller, larger), proof)


def log_rollback(one: SignedCheckpoint, other: SignedCheckpoint) -> Evidence:
    """Convict a log that signs with time of a smaller tree at a later time."""
    smaller, larger = _ascending(one, other)
    return _against(EvidenceType.LOG_ROLLBACK, larger, smaller, _log_keys(one, other))


def cosigner_rollback(one: SignedCheckpoint, other: SignedCheckpoint, cosigner: VerifierKey) -> Evidence:
    """Convict a witness or an observer of a smaller tree at a later time."""
    smaller, larger = _ascending(one, other)
    return _against(EvidenceType.COSIGNER_ROLLBACK, larger, smaller, {cosigner})


def cosigner_same_size(one: SignedCheckpoint, other: SignedCheckpoint, cosigner: VerifierKey) -> Evidence:
    """Convict a witness or an observer of two roots for one size of one log."""
    first, second = _ascending(one, other)
    return _against(EvidenceType.COSIGNER_SAME_SIZE, first, second, {cosigner})


def cosigner_non_consistent(
    smaller: SignedCheckpoint, larger: SignedCheckpoint, cosigner: VerifierKey, read: ReadNode
) -> Evidence:
    """Convict a witness or an observer of cosigning two histories, from the nodes of the larger tree alone."""
    prefix = _prefix(smaller, larger, read)
    return cosigner_non_consistent_path(smaller, larger, cosigner, prefix.root, prefix.path)


def cosigner_non_consistent_path(
    smaller: SignedCheckpoint, larger: SignedCheckpoint, cosigner: VerifierKey, root: Hash, path: Sequence[Hash]
) -> Evidence:
    """Convict a witness or an observer by a consistency proof that leads from ``root``, not from the smaller head."""
    proof = Prefix(root, tuple(path))
    return _against(EvidenceType.COSIGNER_NON_CONSISTENT, smaller, larger, {cosigner}, proof)


def subtree(one: Note, other: Note, cosigner: VerifierKey) -> Evidence:
    """Convict a cosigner of two hashes of one part of a log: two notes whose texts are statements about a subtree."""
    return _of_statements(EvidenceType.SUBTREE, one, other, cosigner)


def rotation(one: Note, other: Note, log: VerifierKey) -> Evidence:
    """Convict a log's key of two rotation records of one number: two notes whose texts are such records."""
    return _of_statements(EvidenceType.ROTATION, one, other, log)


def quorum_split(
    one: SignedCheckpoint, other: SignedCheckpoint, policy: Policy, read: ReadNode | None = None
) -> Evidence:
    """Convict a log, and name the witnesses on both sides, when two histories each satisfy the policy.

    ``read`` reads the larger tree; heads of the same size need none.
    """
    first, second = _ascending(one, other)
    if first.size == second.size:
        return _quorum_split(first, second, policy, None)
    if read is None:
        raise ValueError("heads of different sizes are judged with the nodes of the larger tree")
    return _quorum_split(first, second, policy, _prefix(first, second, read))


def quorum_split_path(
    smaller: SignedCheckpoint, larger: SignedCheckpoint, policy: Policy, root: Hash, path: Sequence[Hash]
) -> Evidence:
    """Make the same of a consistency proof that leads to the larger head from ``root``, not from the smaller head."""
    return _quorum_split(smaller, larger, policy, Prefix(root, tuple(path)))


def _quorum_split(one: SignedCheckpoint, other: SignedCheckpoint, policy: Policy, proof: Prefix | None) -> Evidence:
    logs = _log_keys(one, other) | frozenset(policy.log_keys(one.origin))
    notes = (_kept(side, logs | frozenset(policy.witness_keys)) for side in (one, other))
    return _verified(Evidence(EvidenceType.QUORUM_SPLIT, tuple(notes), proof), one, logs, policy)


def _against(
    type_: EvidenceType,
    first: SignedCheckpoint,
    second: SignedCheckpoint,
    accused: Collection[VerifierKey],
    proof: Proof = None,
) -> Evidence:
    pair = signatures_to_judge(type_, first, second, accused)
    notes = (Note(first.note.text, (pair.first.line,)), Note(second.note.text, (pair.second.line,)))
    return _verified(Evidence(type_, notes, proof), first, accused)


def _verified(
    evidence: Evidence, head: SignedCheckpoint, keys: Collection[VerifierKey], policy: Policy | None = None
) -> Evidence:
    verify_evidence(evidence, keys, policy, head.origin)
    return evidence


def _log_keys(*heads: SignedCheckpoint) -> frozenset[VerifierKey]:
    keys = (signature.key for head in heads for signature in head.signatures)
    return frozenset(key for key in keys if is_log_key(key, heads[0].origin))


def _kept(head: SignedCheckpoint, keys: Collection[VerifierKey]) -> Note:
    return Note(head.note.text, tuple(signature.line for signature in head.signatures if signature.key in keys))


def _ascending(one: SignedCheckpoint, other: SignedCheckpoint) -> tuple[SignedCheckpoint, SignedCheckpoint]:
    """Order two heads as evidence does: by size, then by root."""
    return (one, other) if (one.size, one.root_hash) <= (other.size, other.root_hash) else (other, one)


def _prefix(smaller: SignedCheckpoint, larger: SignedCheckpoint, read: ReadNode) -> Prefix:
    path = prove_consistency(smaller.size, larger.size, read)
    return Prefix(root_at(smaller.size, read), tuple(path))


def _raised(opening: Opening, index: int, level: int) -> Opening:
    """Replace a leaf by the complete subtree above it, which the first hashes of its path lead to."""
    width = 1 << level
    node = root_from_inclusion(opening.node, index % width, width, opening.path[:level])
    return Opening(node, opening.path[level:])


def _of_statements(type_: EvidenceType, one: Note, other: Note, accused: VerifierKey) -> Evidence:
    first, second = sorted((one, other), key=lambda note: note.text)
    notes = (Note(note.text, tuple(each.line for each in open_note(note, (accused,)))) for note in (first, second))
    evidence = Evidence(type_, tuple(notes))
    verify_evidence(evidence, (accused,), origin=evidence.origin)
    return evidence
