#!/usr/bin/env python3
"""Evidence: what parses is written back byte for byte, and nobody is convicted of what was never signed.

The seeds are evidence of every type, and heads of a log and a witness that are honest, put together as if they were
evidence. All these keys are trusted. So whatever convicts names a liar of the seeds and statements that it signed
there. A second verifier, written from the specification alone, has to come to the same verdict.
"""

from fuzz.harness import main
from tests.contract import stranger
from tests.evidence_cases import CT, LOG, LOG_2, LOG_MLDSA, MAIN, MAKERS, OTHER_LOG, POLICY, W1, W1_MLDSA, W2, W3
from tests.forks import signed
from tests.keys import NOW, witness_key
from tlog.errors import TlogError
from tlog.evidence import NO_CHECKPOINTS, Conviction, Evidence, EvidenceType, Prefix, Stated, verify_evidence
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

HONEST = witness_key("witness.example/honest")
KEYS = [key.verifier_key for key in (LOG, LOG_2, LOG_MLDSA, OTHER_LOG, CT, W1, W1_MLDSA, W2, W3, HONEST)]
LIARS = {key.verifier_key for key in (LOG, CT, W1, W1_MLDSA, W2)}  # W2 stands on both sides of the quorum split


def honest(size: int, time: int) -> SignedCheckpoint:
    return signed(MAIN.head(size), OTHER_LOG, HONEST, time=time, origin=OTHER_LOG.name)


def framed() -> list[Evidence]:
    older, newer = honest(70, NOW), honest(101, NOW + 5)
    prefix = Prefix(MAIN.head(70).root_hash, tuple(prove_consistency(70, 101, MAIN.read)))
    types = (EvidenceType.NON_CONSISTENT, EvidenceType.COSIGNER_NON_CONSISTENT)
    return [
        *(Evidence(type_, (older.note, newer.note), prefix) for type_ in types),
        Evidence(EvidenceType.COSIGNER_ROLLBACK, (newer.note, older.note)),
    ]


EVIDENCE = [*(make() for make in MAKERS.values()), *framed()]
SEEDS = [evidence.format() for evidence in EVIDENCE]
OF_HEADS = [evidence for evidence in EVIDENCE if evidence.type not in NO_CHECKPOINTS]
HEADS = [open_checkpoint(note, KEYS) for evidence in OF_HEADS for note in evidence.notes]
SIGNED = {
    (signature.key, head.origin, Stated(head.size, head.root_hash, signature.timestamp or 0))
    for head in HEADS
    for signature in head.signatures
} | {
    (verdict.accused, verdict.origin, stated)
    for verdict in (verify_evidence(MAKERS[type_](), KEYS) for type_ in NO_CHECKPOINTS)
    for stated in verdict.statements
}


def target(data: bytes) -> None:
    verdict = judged(data)
    if verdict is not None:
        require_signed(verdict)
    try:
        second = stranger.verdict(data, [str(key) for key in KEYS], POLICY.format().decode(), None)
    except stranger.RefusedError:
        second = None
    if (verdict and verdict.id.hex()) != (second and second["id"]):
        raise AssertionError("two readers of the specification come to different verdicts")


def judged(data: bytes) -> Conviction | None:
    try:
        evidence = Evidence.parse(data)
    except TlogError:
        return None
    if evidence.format() != data:
        raise AssertionError("an accepted bundle has a second spelling")
    try:
        return verify_evidence(evidence, KEYS, POLICY)
    except TlogError:
        return None


def require_signed(verdict: Conviction) -> None:
    if verdict.accused not in LIARS:
        raise AssertionError("somebody honest is convicted")
    if not {(verdict.accused, verdict.origin, stated) for stated in verdict.statements} <= SIGNED:
        raise AssertionError("somebody is convicted of what was never signed")


if __name__ == "__main__":
    main(target, SEEDS)
