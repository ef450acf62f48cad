"""One piece of evidence of every type, and who is convicted by it."""

from collections.abc import Callable

from tests.forks import CertificateLogKey, Tree, leaves, signed
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
    same_size,
)
from tlog.hashing import TreeHead, leaf_hash
from tlog.keys import SignerKey, VerifierKey
from tlog.policy import Policy
from tlog.proofs import prove_inclusion

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
    EvidenceType.QUORUM_SPLIT: make_quorum_split,
}
ACCUSED: dict[EvidenceType, VerifierKey] = {
    **dict.fromkeys(EvidenceType, LOG.verifier_key),
    EvidenceType.LOG_ROLLBACK: CT.verifier_key,
    EvidenceType.COSIGNER_ROLLBACK: W1.verifier_key,
    EvidenceType.COSIGNER_SAME_SIZE: W1.verifier_key,
    EvidenceType.COSIGNER_NON_CONSISTENT: W1.verifier_key,
}
