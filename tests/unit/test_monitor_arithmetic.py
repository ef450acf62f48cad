"""What is said of policies when they are read, and which of them are refused."""

import pytest

from monitor.arithmetic import explain, require_claim
from runtime.errors import UsageError
from tests.fakes_log import WITNESSES, policy, signer
from tlog.keys import KeyType
from tlog.policy import Policy

FIVE = tuple(signer(f"witness.example/v{number}", KeyType.COSIGNATURE_ED25519) for number in range(5))


def said(rules: Policy, liars: int, *origins: str) -> str:
    return "\n".join(explain([(origin, rules) for origin in origins or ("log.example/one",)], liars))


@pytest.mark.parametrize(
    ("threshold", "liars", "refused"),
    [
        (2, 0, None),
        (2, 1, None),
        (2, 2, "2 witnesses make a quorum of the policy (minq = 2), and `liars` = 2 of them may lie"),
        (1, 0, None),
        (1, 1, "one witness makes a quorum of the policy (minq = 1), and `liars` = 1 of them may lie"),
        (None, 0, None),
        (None, 3, None),
    ],
)
def test_a_policy_that_so_many_can_satisfy_alone_is_refused(
    threshold: int | None, liars: int, refused: str | None
) -> None:
    rules = policy(threshold=threshold)
    if refused is None:
        require_claim("[[log]] number 1", rules, liars)
    else:
        with pytest.raises(UsageError) as error:
            require_claim("[[log]] number 1", rules, liars)
        assert str(error.value).startswith(
            f"[[log]] number 1: {refused}: no completeness could be claimed; set `liars`"
        )


def test_the_arithmetic_is_said_in_a_sentence() -> None:
    assert said(policy(witnesses=FIVE, threshold=4), 1) == (
        "policy of log.example/one: the watermark can survive up to 3 lying witnesses, and has to survive 1; fewer "
        "than 3 lying cannot show two clients two histories; the quorum is out of reach when 2 are silent (minq 4, "
        "inter 3, block 2, liars 1: see docs/monitor.md)"
    )


def test_a_policy_under_which_liars_can_split_clients_is_called_degraded() -> None:
    assert "DEGRADED: 1 lying can show two clients two histories" in said(policy(), 1)
    assert "fewer than 1 lying cannot show two clients two histories" in said(policy(), 0)
    assert "DEGRADED" in said(policy(threshold=1), 0)


def test_without_a_quorum_nothing_is_claimed() -> None:
    assert "quorum none, so nobody's word is needed and no completeness is claimed" in said(policy(threshold=None), 0)


def test_one_policy_of_many_logs_is_said_once() -> None:
    names = [f"log.example/{number}" for number in range(5)]
    assert said(policy(), 0, *names).startswith(
        "policy of log.example/0, log.example/1, log.example/2 and 2 more: the watermark"
    )
    assert len(list(explain([("a", policy()), ("b", policy(witnesses=WITNESSES[:2]))], 0))) == 2
