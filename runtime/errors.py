"""The failures a person has to act on, and the exit code of each.

    0 it holds, or it worked         1 checked, and it does not hold
    2 bad usage, input or state      3 cannot tell (unreachable, timeout)
    70 our own failure               130 interrupted

``UsageError`` and ``CannotTell`` carry one sentence for the person at the terminal: what was wrong and what to do next.
Everything else that escapes is a fault of ours. The command line and the daemons use the same ``exit_code``.
"""

from collections.abc import Iterator

from tlog.errors import FormatError, ProofError, SignatureError

HOLDS = 0
DOES_NOT_HOLD = 1
USAGE = 2
CANNOT_TELL = 3
OUR_FAULT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # what a shell reports of a command that SIGINT ended


class UsageError(Exception):
    """Bad configuration, missing or locked state, a busy port. The message says what to do next."""


class CannotTell(Exception):  # noqa: N818  # the interface names it so
    """The question has an answer, but it could not be had: unreachable, timed out."""


def exit_code(error: BaseException) -> int:
    """The exit code for what ended a command; of several failures at once the one that most needs attention."""
    codes = [_code(leaf) for leaf in leaves(error)]
    return max(codes, key=_ATTENTION.index)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The single errors of an exception group, or the error itself: what tasks raise arrives in groups."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


_ATTENTION = (HOLDS, INTERRUPTED, DOES_NOT_HOLD, CANNOT_TELL, USAGE, OUR_FAULT)  # rising


def _code(error: BaseException) -> int:
    match error:
        case UsageError() | FormatError():
            return USAGE
        case CannotTell():
            return CANNOT_TELL
        case SignatureError() | ProofError():
            return DOES_NOT_HOLD
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return OUR_FAULT
