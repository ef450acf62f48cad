"""The root of the command line: finds commands by name, imports them only when asked for, and ends with an exit code.

    0 it holds, or it worked         1 checked, and it does not hold
    2 bad usage, input or state      3 cannot tell (unreachable, timeout)
    70 our own failure               130 interrupted

Commands are imported on demand because ``sameview verify`` has to start in a fifth of a second.
"""

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from runtime.errors import HOLDS, INTERRUPTED, OUR_FAULT, USAGE, exit_code, leaves

if TYPE_CHECKING:
    from typing_extensions import override
else:
    # The real one marks methods for tools only, and importing it takes a fifth of the time that a start may take.
    T = TypeVar("T")

    def override(method: T) -> T:
        return method


COMMANDS = {
    "ask": ("sameview.commands.ask", "Ask monitors whether they see a checkpoint too."),
    "conformance": ("sameview.commands.conformance", "Test somebody's witness against the specification."),
    "demo": ("sameview.commands.demo", "Run a federation on this machine, let the log lie, and verify the evidence."),
    "fsck": ("sameview.commands.fsck", "Re-derive every tile, entry bundle and the root of a log."),
    "keygen": ("sameview.commands.keys", "Make a key and print its vkey."),
    "log": ("sameview.commands.log", "Run a log, or add entries to one."),
    "monitor": ("sameview.commands.monitor", "Run a monitor, or show what one sees."),
    "verify": ("sameview.commands.verify", "Verify a checkpoint, a proof, evidence or a view, offline."),
    "vkey": ("sameview.commands.keys", "Print the vkey of a key file."),
    "witness": ("sameview.commands.witness", "Run a witness."),
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), cmd_name)
        if not isinstance(command, click.Command):
            raise AssertionError(f"{module}.{cmd_name} is not a command")
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from runtime.version import version_line

        click.echo(version_line())
        ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show version and commit.",
)
def root() -> None:
    """Check, with others, that everyone sees the same transparency log.

    \b
    Exit codes of every command:
        0  it holds, or it worked          1  checked, and it does not hold
        2  bad usage, input or state       3  cannot tell: unreachable, timeout
       70  our own failure               130  interrupted
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every failure ends in one sentence on standard error."""
    try:
        result: object = root.main(args=list(arguments), prog_name="sameview", standalone_mode=False)
    except SystemExit as stop:
        # Click's way out when whoever read our output has left. Its exit code would be the one of a verdict.
        return INTERRUPTED if stop.code else HOLDS
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except BaseException as error:
        return _report(error)
    return result if isinstance(result, int) else HOLDS


def _report(error: BaseException) -> int:
    code = exit_code(error)
    if code == OUR_FAULT:
        import traceback

        traceback.print_exception(error)
        click.echo("sameview: this is a fault of ours; please report it with the lines above", err=True)
    elif code != INTERRUPTED:
        # Of what happened at the same time, each sentence once.
        for sentence in dict.fromkeys(map(str, leaves(error))):
            click.echo(f"sameview: {sentence}", err=True)
    return code
