"""A command that ends in every way a command can end: tests put it on the command line."""

import click

from runtime.errors import CannotTell, UsageError
from tlog.errors import FormatError, ProofError, SignatureError

WAYS: dict[str, BaseException] = {
    "usage": UsageError("a key is missing: add it"),
    "format": FormatError("the bytes are malformed"),
    "signature": SignatureError("nobody signed"),
    "proof": ProofError("it leads elsewhere"),
    "unreachable": CannotTell("the server cannot be reached"),
    "fault": AssertionError("cannot happen"),
    "interrupt": KeyboardInterrupt(),
    "interrupt-in-group": BaseExceptionGroup("tasks", [KeyboardInterrupt()]),
    "pipe": BrokenPipeError(32, "Broken pipe"),
    "twice": ExceptionGroup("tasks", [CannotTell("it is gone"), ExceptionGroup("inner", [CannotTell("it is gone")])]),
    "mixed": ExceptionGroup("tasks", [CannotTell("it is gone"), UsageError("give a URL")]),
}


@click.command()
@click.argument("way")
def fail(way: str) -> int:
    """End in this way, or with this exit code."""
    if way in WAYS:
        raise WAYS[way]
    return int(way)
