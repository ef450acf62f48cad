#!/usr/bin/env python3
"""Completeness certificates: what parses is written back byte for byte, and no bytes make witnesses heard who were not.

The log of the seeds signed trees of one history and one head of another. Witness ``w3`` stated nothing at the time of
the certificates or later, and nobody stated anything after it. So whatever holds names w1 and w2, and a time that both
of them stated something at.
"""

from fuzz.harness import main
from tests.forks import ORIGIN, Tree, leaves, signed
from tests.keys import NOW, log_key, witness_key
from tlog.completeness import Completeness, Witnessed, certify, judge, policy_hash
from tlog.errors import FormatError, TlogError
from tlog.policy import Policy
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint

LOG = log_key()
WITNESSES = [witness_key(f"witness.example/w{number}") for number in (1, 2, 3)]
MAIN, TWIN = Tree(leaves(40)), Tree(leaves(40, "twin", common=9))
SIZES = (7, 20, 33)
POLICY = Policy.parse(
    f"log {LOG.verifier_key}\n".encode()
    + b"".join(f"witness w{number} {key.verifier_key}\n".encode() for number, key in enumerate(WITNESSES, 1))
    + b"group g 2 w1 w2 w3\nquorum g\n"
)


def statement(number: int, size: int, time: int = NOW) -> SignedCheckpoint:
    return signed(MAIN.head(size), WITNESSES[number - 1], time=time)


def certificate(top: int, *statements: SignedCheckpoint) -> bytes:
    frontier = signed(MAIN.head(top), LOG)
    proofs = MAIN.read
    return certify(POLICY, NOW, 0, frontier, statements, lambda old, new: prove_consistency(old, new, proofs)).format()


FORKED = Completeness(NOW, 0, policy_hash(POLICY), signed(TWIN.head(33), LOG).note, (Witnessed(statement(1, 20).note),))
SEEDS = [
    certificate(33),
    certificate(33, statement(1, 33), statement(2, 20)),
    certificate(20, statement(1, 7), statement(2, 7), statement(3, 20, NOW - 60)),
    certificate(7, statement(2, 7), statement(3, 7, NOW - 60)),
    FORKED.format(),
]


def target(data: bytes) -> None:
    try:
        parsed = Completeness.parse(data)
    except FormatError:
        return
    if parsed.format() != data:
        raise AssertionError("an accepted certificate has a second spelling")
    judged = judge(parsed, POLICY)
    try:
        frontier = judged.require()
    except TlogError:
        return
    if frontier.origin != ORIGIN or frontier.size not in SIZES or frontier.head != MAIN.head(frontier.size):
        raise AssertionError("the frontier is none that the log signed, or one of another history")
    if judged.liars or parsed.time > NOW:
        raise AssertionError("it survives more liars, or a later time, than anybody stated")
    if parsed.time > NOW - 60 and judged.heard != ("w1", "w2"):
        raise AssertionError("a witness was heard that stated nothing")


if __name__ == "__main__":
    main(target, SEEDS)
