"""Runs cases, one after the other: what one of them does to the witness, the next has to be able to know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from runtime.client import FetchError
from runtime.errors import leaves
from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import CaseEnded, Failed, Outcome, Passed, Skipped
from sameview.conformance.session import Session

NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Result:
    """A case, how it ended, and after how many seconds."""

    case: Case
    outcome: Outcome
    seconds: float


def say_nothing(result: Result) -> None:
    """Keep progress to oneself."""


async def run_cases(
    session: Session, cases: Sequence[Case], progress: Callable[[Result], None] = say_nothing
) -> list[Result]:
    """Run cases against an opened session; ``progress`` is told of each.

    Raises:
        CannotTell: the witness limits how often the log may ask.
    """
    results: list[Result] = []
    gone = False
    for case in cases:
        began = trio.current_time()
        outcome = Skipped("the witness no longer answers") if gone else await _run(case, session)
        # No answer to one request may be what a case was about; a witness that does not come back is gone.
        gone = gone or (_unanswered(outcome) and not await _answers(session))
        results.append(Result(case, outcome, trio.current_time() - began))
        progress(results[-1])
    return results


async def _run(case: Case, session: Session) -> Outcome:
    try:
        await case.run(session)
    except (CaseEnded, FetchError, ExceptionGroup) as error:
        return _outcome(case, error)
    return Passed()


def _outcome(case: Case, error: Exception) -> Outcome:
    """What the first of the things that ended a case says."""
    for leaf in leaves(error):
        match leaf:
            case CaseEnded():
                return leaf.outcome
            case FetchError():
                return Failed(case.requirements[0], "an answer", f"{NO_ANSWER}: {leaf}")
    raise error


def _unanswered(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.got.startswith(NO_ANSWER)


async def _answers(session: Session) -> bool:
    try:
        await session.learn()
    except CaseEnded:
        return True
    except FetchError:
        return False
    return True
