"""Judges evidence offline: either a key is convicted by its own signatures, or the evidence fails.

The only trusted inputs are keys, and the policy for a quorum split. Every conviction needs signatures by the accused
over statements that contradict each other, so nobody can frame a key without holding it. What is proven is that the
*key* signed both: theft and malice look the same.

Compared are the decoded statements (origin, size, root hash, time), never raw notes: another signature, more
cosignatures or other extension lines under the same tree head are no contradiction.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import NamedTuple, assert_never

import msgpack  # type: ignore[import-untyped]  # the package has no type information

from tlog.errors import ProofError, SignatureError
from tlog.evidence.bundle import (
    AGAINST_COSIGNERS,
    NO_CHECKPOINTS,
    Evidence,
    EvidenceType,
    Openings,
    Prefix,
    read_statement,
)
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note, NotSignedError, VerifiedSignature, open_note
from tlog.policy import Policy
from tlog.proofs import fold, root_from_node
from tlog.rotation import Rotation
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.subtree import Subtree
from tlog.trust import is_log_key, speaks_for

_ROLLBACKS = frozenset({EvidenceType.LOG_ROLLBACK, EvidenceType.COSIGNER_ROLLBACK})
# The keys that sign what is no checkpoint.
_SIGNING = {
    EvidenceType.SUBTREE: frozenset({KeyType.COSIGNATURE_MLDSA44}),
    EvidenceType.ROTATION: frozenset({KeyType.ED25519, KeyType.ECDSA}),
}
_NO_KEY = "no trusted key speaks for this origin: for a log key that has another name, name the origin as well"
_NOBODY = "no trusted key of the accused kind signed what it is accused of: name the keys of the log or the cosigner"


class Stated(NamedTuple):
    """What one signature says. The time is 0 where the signature carries none."""

    size: int
    root_hash: Hash
    time: int  # in the unit of the signature: seconds, or milliseconds for RFC 6962


class StatedSubtree(NamedTuple):
    """What one signature says about a part of a tree."""

    start: int
    size: int  # where it ends
    hash: Hash


class StatedRotation(NamedTuple):
    """What one rotation record says."""

    number: int
    new: str  # the vkey
    size: int
    root_hash: Hash


@dataclass(frozen=True, slots=True)
class Conviction:
    """A verdict: this key made these statements about this origin, and no honest key makes both."""

    type: EvidenceType
    accused: VerifierKey
    origin: str
    statements: tuple[Stated | StatedSubtree | StatedRotation, ...]  # sorted
    cosigners: tuple[str, ...] = ()  # of a quorum split: the parties that cosigned both sides, sorted

    @property
    def id(self) -> bytes:
        """Name the verdict by what it says, so that other bytes for the same statements are the same evidence."""
        statements = [list(statement) for statement in self.statements]
        return sha256(msgpack.packb([self.type.value, self.accused.format(), self.origin, statements])).digest()


def verify_evidence(
    evidence: Evidence, keys: Iterable[VerifierKey], policy: Policy | None = None, origin: str | None = None
) -> Conviction:
    """Return whom the evidence convicts; raise a ``TlogError`` when it convicts nobody whom the caller asked about.

    ``keys`` are trusted to be what they seem: a key of type 0x01, 0x02 or 0x05 is a log's, of type 0x04 a cosigner's,
    of type 0x06 a log's if its name is the origin. A log's key speaks for the origin that is its name, or for
    ``origin`` when the caller names it; otherwise one log of two that the caller trusts could frame the other. The
    policy adds its logs and witnesses.
    """
    about = evidence.origin
    if origin not in (None, about):
        raise SignatureError("the evidence is about another origin than the one that was asked about")
    trusted = _Trusted.of(about, tuple(keys), policy, named=origin is not None)
    if not trusted.keys:
        raise SignatureError(_NO_KEY)
    if evidence.type in NO_CHECKPOINTS:
        return _judge_statements(evidence, about, trusted)
    try:
        sides = [open_checkpoint(note, trusted.keys) for note in evidence.notes]
    except NotSignedError:
        raise SignatureError(_NOBODY) from None
    if any(side.origin != about for side in sides):
        raise ProofError("the two checkpoints are of different origins")
    if evidence.type is EvidenceType.BAD_EMPTY_HEAD:
        return _judge_empty_head(sides[0], trusted)
    return _judge_pair(evidence, sides[0], sides[1], trusted, policy)


def verified_only(
    evidence: Evidence, keys: Iterable[VerifierKey], policy: Policy | None = None, origin: str | None = None
) -> Evidence:
    """Drop the lines that no trusted key signed, from evidence that ``verify_evidence`` accepted with these arguments.

    Whoever keeps or passes on evidence of others does so in this form. A line that nobody verified may be a forged one
    of a key that others trust, or that we trust later: they would have to refuse a true conviction for it.
    """
    trusted = _Trusted.of(evidence.origin, tuple(keys), policy, named=origin is not None).keys
    able = _able(evidence.type, trusted)
    notes = (Note(note.text, tuple(one.line for one in open_note(note, able))) for note in evidence.notes)
    return replace(evidence, notes=tuple(notes))


class Pair(NamedTuple):
    """One signature under each of two checkpoints, in the order of the evidence."""

    first: VerifiedSignature
    second: VerifiedSignature


def signatures_to_judge(
    type_: EvidenceType, first: SignedCheckpoint, second: SignedCheckpoint, accused: Collection[VerifierKey]
) -> Pair:
    """Choose the two signatures, by keys out of ``accused``, that a conviction rests on.

    A cosigner answers for itself, and a rollback is judged by one key's clock. A log answers for all of its keys: a key
    that signed both is accused before a pair of keys, of which the one that signed the first note is accused. Among
    several the order of the signature lines decides.
    """
    firsts = [signature for signature in first.signatures if signature.key in accused]
    seconds = [signature for signature in second.signatures if signature.key in accused]
    pairs = [Pair(one, other) for one in firsts for other in seconds]
    by_one_key = [pair for pair in pairs if pair.first.key == pair.second.key]
    pairs = by_one_key if by_one_key or type_ in AGAINST_COSIGNERS | _ROLLBACKS else pairs
    if not pairs:
        raise SignatureError(_NOBODY)
    if type_ in _ROLLBACKS:
        pairs = [pair for pair in pairs if _times_rise(pair)]
    if not pairs:
        raise ProofError("the second checkpoint is not signed at a later time than the first")
    return pairs[0]


def _times_rise(pair: Pair) -> bool:
    return 0 < (pair.first.timestamp or 0) < (pair.second.timestamp or 0)


@dataclass(frozen=True, slots=True)
class _Trusted:
    """The caller's keys, told apart by what their signatures mean for one origin."""

    logs: frozenset[VerifierKey]
    cosigners: frozenset[VerifierKey]

    @classmethod
    def of(cls, origin: str, keys: tuple[VerifierKey, ...], policy: Policy | None, *, named: bool) -> "_Trusted":
        listed_logs = policy.log_keys(origin) if policy else ()
        listed_witnesses = policy.witness_keys if policy else ()
        logs = (key for key in keys if speaks_for(key, origin, named=named))
        cosigners = (key for key in (*listed_witnesses, *keys) if not is_log_key(key, origin))
        return cls(frozenset((*listed_logs, *logs)), frozenset(cosigners))

    @property
    def keys(self) -> frozenset[VerifierKey]:
        return self.logs | self.cosigners


def _judge_empty_head(side: SignedCheckpoint, trusted: _Trusted) -> Conviction:
    signature = next((one for one in side.signatures if one.key in trusted.logs), None)
    if signature is None:
        raise SignatureError(_NOBODY)
    if side.size != 0 or side.root_hash == EMPTY_ROOT:
        raise ProofError("the checkpoint is not of an empty tree with a wrong root")
    return Conviction(EvidenceType.BAD_EMPTY_HEAD, signature.key, side.origin, (_stated(side, signature),))


def _judge_pair(
    evidence: Evidence, first: SignedCheckpoint, second: SignedCheckpoint, trusted: _Trusted, policy: Policy | None
) -> Conviction:
    accused = trusted.cosigners if evidence.type in AGAINST_COSIGNERS else trusted.logs
    pair = signatures_to_judge(evidence.type, first, second, accused)
    _verify_contradiction(evidence, first.head, second.head)
    split = evidence.type is EvidenceType.QUORUM_SPLIT
    parties = _verify_quorums(first, second, policy) if split else ()
    statements = sorted((_stated(first, pair.first), _stated(second, pair.second)))
    return Conviction(evidence.type, pair.first.key, first.origin, tuple(statements), parties)


def _judge_statements(evidence: Evidence, origin: str, trusted: _Trusted) -> Conviction:
    """Judge two notes that are no checkpoints; one key has to have signed both."""
    accused = trusted.cosigners if evidence.type in AGAINST_COSIGNERS else trusted.logs
    able = _able(evidence.type, accused)
    try:
        first, second = ([one.key for one in open_note(note, able)] for note in evidence.notes)
    except NotSignedError:
        raise SignatureError(_NOBODY) from None
    key = next((key for key in first if key in second), None)
    if key is None:
        raise SignatureError(_NOBODY)
    statements = tuple(read_statement(evidence.type, note.text) for note in evidence.notes)
    if any(one.origin != origin for one in statements):
        raise ProofError("the two statements are about different origins")
    match statements:
        case Subtree() as one, Subtree() as other:
            _verify_same_subtree(one, other)
            parts = (StatedSubtree(part.start, part.end, part.hash) for part in (one, other))
            return Conviction(evidence.type, key, origin, tuple(sorted(parts)))
        case Rotation() as one, Rotation() as other:
            _verify_same_rotation(one, other)
            records = (_stated_rotation(record) for record in (one, other))
            return Conviction(evidence.type, key, origin, tuple(sorted(records)))
        case _:
            raise AssertionError("such notes are judged as checkpoints")


def _able(type_: EvidenceType, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Leave the keys that sign statements of this type; lines of others under such a text mean nothing."""
    return tuple(key for key in keys if type_ not in _SIGNING or key.type in _SIGNING[type_])


def _stated_rotation(record: Rotation) -> StatedRotation:
    return StatedRotation(record.number, record.new, record.cutoff.size, record.cutoff.root_hash)


def _verify_same_subtree(one: Subtree, other: Subtree) -> None:
    """Check that one part of a tree was signed with two hashes.

    As N1: a log appends, so the entries from one index up to another are the same ones in all of its trees.
    """
    if (one.start, one.end) != (other.start, other.end):
        raise ProofError("the two subtrees are not the same part of the log")
    if not one.format() < other.format():
        raise ProofError("the two hashes are the same, or not in the order of their texts")


def _verify_same_rotation(one: Rotation, other: Rotation) -> None:
    """Check that two records of one number differ: there is one of each number, and it is told to everybody."""
    if one.number != other.number:
        raise ProofError("the two rotation records do not have the same number")
    if not one.format() < other.format():
        raise ProofError("the two rotation records are the same, or not in the order of their texts")


def _verify_contradiction(evidence: Evidence, first: TreeHead, second: TreeHead) -> None:
    match evidence.proof:
        case Prefix() as prefix:
            _verify_not_a_prefix(prefix, first, second)
        case Openings() as openings:
            _verify_openings(openings, first, second)
        case None if evidence.type in _ROLLBACKS:
            _verify_rollback(first, second)
        case None:
            _verify_same_size(first, second)
        case _:
            assert_never(evidence.proof)


def _verify_same_size(first: TreeHead, second: TreeHead) -> None:
    """Check that one size was signed with two roots.

    N1: a tree of a given size has one root, so two signatures by one key over the same origin and size and different
    roots are a complete proof by themselves. The smaller root comes first, so that there is one order.
    """
    if first.size != second.size:
        raise ProofError("the two checkpoints are not of the same size")
    if not first.root_hash < second.root_hash:
        raise ProofError("the two roots are the same, or not in ascending order")


def _verify_not_a_prefix(prefix: Prefix, smaller: TreeHead, larger: TreeHead) -> None:
    """Check that the smaller tree is provably not a prefix of the larger one.

    N2: the proof leads from ``prefix.root`` to the larger root that was signed, and ``prefix.root`` is not the smaller
    root that was signed. Then no consistency proof between the two exists unless SHA-256 collides: the sizes fix at
    which nodes of the larger tree the hashes of any proof stand, so a second proof that leads to the same larger root
    consists of the same hashes and leads to the same smaller root. An honest log's smaller root is that one.
    """
    old_root, new_root = fold(smaller.size, larger.size, prefix.root, prefix.path)
    if (old_root, new_root) != (prefix.root, larger.root_hash):
        raise ProofError("the consistency proof does not lead to its root and to the larger checkpoint")
    if prefix.root == smaller.root_hash:
        raise ProofError("the two checkpoints are consistent")


def _verify_openings(openings: Openings, first: TreeHead, second: TreeHead) -> None:
    """Check that one complete subtree has two hashes under the two roots.

    N3: a subtree whose leaves were all there at the smaller size never changes again. Its position under each root is
    fixed by level, index and size, so inclusion paths bind one hash to each signed root; two different hashes mean two
    histories. At level 0 it is a leaf: a proof that one client holds and one honest inclusion proof of the same index
    convict. At level l it tells only that some leaf among 2^l differs, which does not give the client away.
    """
    if (first.size, first.root_hash) >= (second.size, second.root_hash):
        raise ProofError("the two checkpoints are the same, or not in ascending order")
    for opening, head in ((openings.first, first), (openings.second, second)):
        root = root_from_node(openings.level, openings.index, head.size, opening.node, opening.path)
        if root != head.root_hash:
            raise ProofError("an opening does not lead to its checkpoint")
    if openings.first.node == openings.second.node:
        raise ProofError("both openings show the same node")


def _verify_rollback(earlier: TreeHead, later: TreeHead) -> None:
    """Check that the second tree is smaller; ``signatures_to_judge`` chose signatures that say later.

    N6: a timestamped signature says "as of this time, this is the largest tree I have seen", so a smaller tree at a
    strictly later time contradicts it. Equal times prove nothing, and time 0 says that no such claim is made.
    """
    if later.size >= earlier.size:
        raise ProofError("the second checkpoint is not of a smaller tree")


def _verify_quorums(first: SignedCheckpoint, second: SignedCheckpoint, policy: Policy | None) -> tuple[str, ...]:
    """Check that the policy accepts both checkpoints; return the parties that made it do so on both sides.

    Any two quorums share at least ``policy.inter()`` parties, so that many are named, and each of them has cosigned two
    histories. Lines that nobody vouches for are refused here: who is on which side is what this evidence says.
    """
    if policy is None:
        raise SignatureError("a quorum split is judged under a policy: give the policy")
    return tuple(sorted(_quorum(first, policy) & _quorum(second, policy)))


def _quorum(side: SignedCheckpoint, policy: Policy) -> set[str]:
    """Name the parties, by key name, whose cosignatures make the policy accept a checkpoint."""
    if len(side.signatures) != len(side.note.signatures):
        raise SignatureError("a checkpoint of a quorum split has a line that no trusted key signed")
    verdict = policy.cosigned(side)
    if not verdict.met:
        raise SignatureError("a checkpoint does not have the quorum of the policy")
    return {line.witness.key.name for line in verdict.witnesses if line.counts}


def _stated(side: SignedCheckpoint, signature: VerifiedSignature) -> Stated:
    return Stated(side.size, side.root_hash, signature.timestamp or 0)
