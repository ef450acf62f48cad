"""Bytes that convince a stranger that a key contradicted itself: read, judged and made without network or clock.

``Evidence.parse`` reads a bundle, ``verify_evidence`` judges it with trusted keys, and each maker turns verified
checkpoints into evidence that it has judged itself. specs/evidence.md describes the bundle for other implementations.

The arguments that the types rest on are numbered N1 to N6 and stand where the code relies on them. N5, why comparing
latest heads finds everything: whoever checks consistency along a branch accepts only prefixes of its latest head, and
a prefix of a prefix is a prefix. If the latest heads of two parties are consistent, so is all that both ever accepted;
if not, that pair of heads is what evidence is made of. One head per origin is all that parties need to tell each other.
"""

from tlog.evidence.bundle import (
    AGAINST_COSIGNERS,
    MAX_EVIDENCE_BYTES,
    MAX_HASHES,
    NO_CHECKPOINTS,
    Evidence,
    EvidenceType,
    Opening,
    Openings,
    Prefix,
)
from tlog.evidence.make import (
    bad_empty_head,
    cosigner_non_consistent,
    cosigner_non_consistent_path,
    cosigner_rollback,
    cosigner_same_size,
    log_rollback,
    non_consistent,
    non_consistent_path,
    openings,
    quorum_split,
    quorum_split_path,
    rotation,
    same_size,
    subtree,
    subtree_openings,
)
from tlog.evidence.verify import (
    Conviction,
    Stated,
    StatedRotation,
    StatedSubtree,
    verified_only,
    verify_evidence,
)
from tlog.trust import is_log_key

__all__ = [
    "AGAINST_COSIGNERS",
    "MAX_EVIDENCE_BYTES",
    "MAX_HASHES",
    "NO_CHECKPOINTS",
    "Conviction",
    "Evidence",
    "EvidenceType",
    "Opening",
    "Openings",
    "Prefix",
    "Stated",
    "StatedRotation",
    "StatedSubtree",
    "bad_empty_head",
    "cosigner_non_consistent",
    "cosigner_non_consistent_path",
    "cosigner_rollback",
    "cosigner_same_size",
    "is_log_key",
    "log_rollback",
    "non_consistent",
    "non_consistent_path",
    "openings",
    "quorum_split",
    "quorum_split_path",
    "rotation",
    "same_size",
    "subtree",
    "subtree_openings",
    "verified_only",
    "verify_evidence",
]
