"""What the policies of the followed logs are worth, in words: printed when a configuration is made or loaded.

A policy whose cheapest quorum is made of no more witnesses than are allowed to lie is refused: whatever is heard, those
could have shown a client anything, and no watermark is possible. One under which so many liars can show two clients two
histories is not refused, since the watermark does not need quorums to overlap; it is said, and is an alarm.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from runtime.errors import UsageError
from tlog.policy import Policy

LISTED = 3  # origins that a line names


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The figures of a policy: ``tlog.quorum`` says what they count."""

    minq: int
    inter: int
    block: int


@cache
def arithmetic(policy: Policy) -> Arithmetic:
    """Compute the figures of a policy."""
    return Arithmetic(policy.minq(), policy.inter(), policy.block())


def require_claim(where: str, policy: Policy, liars: int) -> None:
    """Refuse a policy under which so many liars can show a client anything, whoever is heard.

    A policy that asks for no witnesses makes no claim, and none is made for it.

    Raises:
        UsageError: with the numbers, and what to do.
    """
    minq = arithmetic(policy).minq
    if policy.quorum is not None and minq <= liars:
        what = "one witness makes" if minq == 1 else f"{minq} witnesses make"
        todo = f"set `liars` to at most {minq - 1}, or" if minq else "or rather"
        raise UsageError(
            f"{where}: {what} a quorum of the policy (minq = {minq}), and `liars` = {liars} of them may lie: "
            f"no completeness could be claimed; {todo} use a policy with a larger quorum"
        )


def explain(policies: Iterable[tuple[str, Policy]], liars: int) -> Iterator[str]:
    """Say it in sentences, one for each policy with the origins that it is for."""
    grouped: dict[Policy, list[str]] = {}
    for origin, policy in policies:
        grouped.setdefault(policy, []).append(origin)
    for policy, origins in grouped.items():
        yield f"policy of {_named(origins)}: {'; '.join(_sentences(policy, liars))}"


def _sentences(policy: Policy, liars: int) -> Iterator[str]:
    if policy.quorum is None:
        yield "quorum none, so nobody's word is needed and no completeness is claimed"
        return
    figures = arithmetic(policy)
    yield f"the watermark can survive up to {figures.minq - 1} lying witnesses, and has to survive {liars}"
    if figures.inter <= liars:
        yield f"DEGRADED: {max(figures.inter, 1)} lying can show two clients two histories, each with a quorum"
    else:
        yield f"fewer than {figures.inter} lying cannot show two clients two histories"
    numbers = f"minq {figures.minq}, inter {figures.inter}, block {figures.block}, liars {liars}"
    yield f"the quorum is out of reach when {figures.block} are silent ({numbers}: see docs/monitor.md)"


def _named(origins: Sequence[str]) -> str:
    names = ", ".join(origins[:LISTED])
    return names if len(origins) <= LISTED else f"{names} and {len(origins) - LISTED} more"
