"""Letters to a program of the operator's: one run for each, with the document on its standard input.

Exit code 0 means that it was taken. A program that is not done in time is ended, with everything it started, and the
letter counts as not taken. It gets no other environment than it needs, for ours may hold passwords.
"""

import os
import signal
import subprocess
from collections.abc import Sequence

import trio

from monitor.delivery.channel import Undelivered
from monitor.delivery.letter import Letter

_KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")


class Hook:
    """One command, with its arguments."""

    at_once = 1

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._command = tuple(command)
        self._seconds = seconds

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Run the program once for each."""
        for letter in letters:
            await self._run(letter)

    async def _run(self, letter: Letter) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment["SAMEVIEW_NOTICE_ID"] = letter.id
        try:
            process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise Undelivered(f"the program cannot be started: {error.strerror}") from None
        try:
            with trio.fail_after(self._seconds):
                await _write(process, letter.document() + b"\n")
                code = await process.wait()
        except trio.TooSlowError:
            raise Undelivered(f"the program was not done within {self._seconds:g} seconds") from None
        finally:
            await _end(process)
        if code:
            raise Undelivered(f"the program ended with code {code}")


async def _write(process: trio.Process, document: bytes) -> None:
    if process.stdin is None:
        raise AssertionError("the program was started with a pipe")
    try:
        async with process.stdin as pipe:
            await pipe.send_all(document)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # it need not read everything: its exit code says what it thinks of that


async def _end(process: trio.Process) -> None:
    """End a program that goes on, and whatever it started."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except PermissionError:
            return  # it became somebody else, as sudo does: we may not end it, and do not wait for it
        with trio.CancelScope(shield=True):
            await process.wait()
