"""The root of the command line: finds commands by name, imports them only when asked for, and ends with an exit code.

    0 it holds, or it worked         1 checked, and it does not hold
    2 bad usage, input or state      3 cannot tell (unreachable, timeout)
    70 our own failure               130 interrupted

Commands are imported on demand because ``sameview verify`` has to start in a fifth of a second.
"""

import importlib
import sys
from collections.abc import Sequence

import click
from typing_extensions import override

from runtime.errors import exit_code

COMMANDS = {
    "demo": ("sameview.commands.demo", "Run a federation on this machine, let the log lie, and verify the evidence."),
    "fsck": ("sameview.commands.fsck", "Re-derive every tile, entry bundle and the root of a log."),
    "keygen": ("sameview.commands.keys", "Make a key and print its vkey."),
    "log": ("sameview.commands.log", "Run a log, or add entries to one."),
    "monitor": ("sameview.commands.monitor", "Run a monitor, or show what one sees."),
    "verify": ("sameview.commands.verify", "Verify a checkpoint, a proof or evidence, offline."),
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
    """Check, with others, that everyone sees the same transparency log."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every failure ends in one sentence on standard error."""
    try:
        result: object = root.main(args=list(arguments), prog_name="sameview", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except BrokenPipeError:
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: BaseException) -> int:
    code = exit_code(error)
    if code == 70:
        import traceback

        traceback.print_exception(error)
        click.echo("sameview: this is a fault of ours; please report it with the lines above", err=True)
    elif code != 130:
        click.echo(f"sameview: {error}", err=True)
    sys.stderr.flush()
    return code
