"""One piece of evidence of every type, and who is convicted by it."""

from collections.abc import Callable

from tests.forks import ORIGIN, CertificateLogKey, Tree, leaves, signed
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tlog.evidence import (
    Evidence,
    EvidenceType,
    Opening,
    bad_empty_head,
    cosigner_non_consistent,
    cosigner_rollback,
    cosigner_same_size,
    log_rollback,
    non_consistent,
    openings,
    quorum_split,
    rotation,
    same_size,
    subtree,
)
from tlog.hashing import TreeHead, leaf_hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note, message_to_sign, signature_line
from tlog.policy import Policy
from tlog.proofs import prove_inclusion
from tlog.rotation import Rotation
from tlog.subtree import Subtree

LOG = log_key()
LOG_2 = log_key(seed=2)
LOG_MLDSA = mldsa_key()
OTHER_LOG = log_key("log.example/two")
W1, W2, W3 = (witness_key(f"witness.example/{n}") for n in ("w1", "w2", "w3"))
W1_MLDSA = mldsa_key("witness.example/w1")
CT = CertificateLogKey()

# Two histories that share their first 40 leaves.
MAIN = Tree(leaves(101))
FORK = Tree(leaves(70, "fork", common=40))


def opening(tree: Tree, index: int, size: int) -> Opening:
    return Opening(tree.rows[0][index], tuple(prove_inclusion(index, size, tree.read)))


def policy(*witnesses: SignerKey, k: int, logs: tuple[SignerKey, ...] = (LOG,)) -> Policy:
    lines = [f"log {log.verifier_key}" for log in logs]
    names = [f"n{i}" for i in range(len(witnesses))]
    lines += [f"witness {name} {key.verifier_key}" for name, key in zip(names, witnesses, strict=True)]
    lines += [f"group g {k} {' '.join(names)}", "quorum g", ""]
    return Policy.parse("\n".join(lines).encode())


POLICY = policy(W1, W2, W3, k=2)


def make_bad_empty_head() -> Evidence:
    return bad_empty_head(signed(TreeHead(0, leaf_hash(b"not empty")), LOG))


def make_same_size() -> Evidence:
    return same_size(signed(MAIN.head(60), LOG), signed(FORK.head(60), LOG))


def make_openings() -> Evidence:
    one, other = signed(MAIN.head(101), LOG), signed(FORK.head(70), LOG)
    return openings(one, opening(MAIN, 50, 101), other, opening(FORK, 50, 70), 50, level=2)


def make_non_consistent() -> Evidence:
    return non_consistent(signed(FORK.head(70), LOG), signed(MAIN.head(101), LOG), MAIN.read)


def make_log_rollback() -> Evidence:
    return log_rollback(signed(MAIN.head(60), CT, time=NOW * 1000), signed(MAIN.head(50), CT, time=NOW * 1000 + 1))


def make_cosigner_rollback() -> Evidence:
    one, other = signed(MAIN.head(60), W1, time=NOW), signed(MAIN.head(50), W1, time=NOW + 1)
    return cosigner_rollback(one, other, W1.verifier_key)


def make_cosigner_same_size() -> Evidence:
    return cosigner_same_size(signed(MAIN.head(60), W1), signed(FORK.head(60), W1), W1.verifier_key)


def make_cosigner_non_consistent() -> Evidence:
    one, other = signed(FORK.head(64), W1), signed(MAIN.head(101), W1)
    return cosigner_non_consistent(one, other, W1.verifier_key, MAIN.read)


def note(text: bytes, *keys: SignerKey) -> Note:
    """A text that need not be a checkpoint, signed without a time where the key's type allows that."""
    lines = []
    for key in keys:
        time = NOW if key.type is KeyType.COSIGNATURE_ED25519 else 0
        message = message_to_sign(key.verifier_key, text, time)
        lines.append(signature_line(key.verifier_key, time, key.sign(message)))
    return Note(text, tuple(lines))


def part(entry: bytes, start: int = 16, end: int = 32, origin: str = ORIGIN) -> bytes:
    """A statement about a subtree whose hash is that of one entry."""
    return Subtree(origin, start, end, leaf_hash(entry)).format()


def record(new: str, number: int = 1, origin: str = ORIGIN) -> bytes:
    """A rotation record."""
    return Rotation(origin, number, new, MAIN.head(60)).format()


def make_subtree() -> Evidence:
    return subtree(note(part(b"one"), W1_MLDSA), note(part(b"other"), W1_MLDSA), W1_MLDSA.verifier_key)


def make_rotation() -> Evidence:
    one, other = (note(record(str(key.verifier_key)), LOG) for key in (LOG_2, LOG_MLDSA))
    return rotation(one, other, LOG.verifier_key)


def make_quorum_split() -> Evidence:
    one, other = signed(FORK.head(70), LOG, W1, W2), signed(MAIN.head(101), LOG, W2, W3)
    return quorum_split(one, other, POLICY, MAIN.read)


MAKERS: dict[EvidenceType, Callable[[], Evidence]] = {
    EvidenceType.BAD_EMPTY_HEAD: make_bad_empty_head,
    EvidenceType.SAME_SIZE: make_same_size,
    EvidenceType.OPENINGS: make_openings,
    EvidenceType.NON_CONSISTENT: make_non_consistent,
    EvidenceType.LOG_ROLLBACK: make_log_rollback,
    EvidenceType.COSIGNER_ROLLBACK: make_cosigner_rollback,
    EvidenceType.COSIGNER_SAME_SIZE: make_cosigner_same_size,
    EvidenceType.COSIGNER_NON_CONSISTENT: make_cosigner_non_consistent,
    EvidenceType.SUBTREE: make_subtree,
    EvidenceType.QUORUM_SPLIT: make_quorum_split,
    EvidenceType.ROTATION: make_rotation,
}
ACCUSED: dict[EvidenceType, VerifierKey] = {
    **dict.fromkeys(EvidenceType, LOG.verifier_key),
    EvidenceType.LOG_ROLLBACK: CT.verifier_key,
    EvidenceType.COSIGNER_ROLLBACK: W1.verifier_key,
    EvidenceType.COSIGNER_SAME_SIZE: W1.verifier_key,
    EvidenceType.COSIGNER_NON_CONSISTENT: W1.verifier_key,
    EvidenceType.SUBTREE: W1_MLDSA.verifier_key,
}
