"""How much work one peer may cause: token buckets, filled by the clock that ``step`` is given.

Peers are chosen by the operator and one of them may still be hostile, or broken. Whatever it sends beyond its budget is
dropped and counted; it is not refused, since anti-entropy brings again what mattered. Evidence has a bucket of its own,
so that no flood of heads keeps a conviction out.
"""

from dataclasses import replace
from enum import Enum
from typing import NamedTuple, assert_never

from gossip.core.state import Budget


class Kind(Enum):
    """What is paid for."""

    CHECKS = "signatures to verify, roots to compute, and proofs to look at"
    REQUESTS = "heads, lists of heads, proofs, tiles and evidence to send"
    EVIDENCE = "evidence bundles to verify"


class Rate(NamedTuple):
    """What flows in each second, and how much a bucket holds."""

    per_second: int
    burst: int


REQUESTS = Rate(10, 64)
EVIDENCE = Rate(4, 64)
_LINES = 5  # of the head of a log, at one push in a second: its own, three witnesses and an observer


def checks(logs: int) -> Rate:
    """Signature checks: 50 a second for up to ten logs, more for more."""
    return Rate(max(50, _LINES * logs), max(512, 8 * _LINES * logs))


def spend(budget: Budget | None, kind: Kind, amount: int, now_ms: int, logs: int) -> Budget | None:
    """Take from a budget, None being a full one; return what is left, None if there is not as much."""
    filled = _filled(budget, now_ms, checks(logs))
    price = 1000 * amount
    match kind:
        case Kind.CHECKS:
            return replace(filled, checks=filled.checks - price) if price <= filled.checks else None
        case Kind.REQUESTS:
            return replace(filled, requests=filled.requests - price) if price <= filled.requests else None
        case Kind.EVIDENCE:
            return replace(filled, evidence=filled.evidence - price) if price <= filled.evidence else None
        case _:
            assert_never(kind)


def _filled(budget: Budget | None, now_ms: int, checking: Rate) -> Budget:
    if budget is None:
        return Budget(1000 * checking.burst, 1000 * REQUESTS.burst, 1000 * EVIDENCE.burst, now_ms)
    passed = now_ms - budget.at_ms
    return Budget(
        min(1000 * checking.burst, budget.checks + checking.per_second * passed),
        min(1000 * REQUESTS.burst, budget.requests + REQUESTS.per_second * passed),
        min(1000 * EVIDENCE.burst, budget.evidence + EVIDENCE.per_second * passed),
        now_ms,
    )
