"""Exit codes: one for each way to end, the worst of several."""

import pytest

from runtime.errors import CannotTell, UsageError, exit_code, leaves
from tlog.errors import FormatError, ProofError, SignatureError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (FormatError("x"), 2),
        (CannotTell("x"), 3),
        (SignatureError("x"), 1),
        (ProofError("x"), 1),
        (KeyboardInterrupt(), 130),
        (AssertionError("x"), 70),
        (OSError(5, "x"), 70),
        (ExceptionGroup("tasks", [UsageError("x")]), 2),
        (BaseExceptionGroup("tasks", [KeyboardInterrupt(), ExceptionGroup("more", [CannotTell("x")])]), 3),
        (ExceptionGroup("tasks", [SignatureError("x"), CannotTell("x")]), 3),
        (ExceptionGroup("tasks", [CannotTell("x"), UsageError("x")]), 2),
        (ExceptionGroup("tasks", [UsageError("x"), ValueError("x")]), 70),
    ],
)
def test_every_failure_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


def test_groups_are_taken_apart() -> None:
    one, two, three = ValueError(1), ValueError(2), ValueError(3)
    group = ExceptionGroup("a", [one, ExceptionGroup("b", [two, ExceptionGroup("c", [three])])])
    assert list(leaves(group)) == [one, two, three]
