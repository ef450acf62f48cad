"""Letters as lines of JSON on the standard output, for whatever collects it."""

import os
from collections.abc import Sequence

import trio

from monitor.delivery.channel import Undelivered
from monitor.delivery.letter import Letter

LETTERS_AT_ONCE = 100
WRITE_SECONDS = 30.0
STDOUT = 1


class Output:
    """The standard output, or another file descriptor."""

    at_once = LETTERS_AT_ONCE

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._descriptor = descriptor

    async def deliver(self, letters: Sequence[Letter]) -> None:
        """Write a line for each."""
        lines = b"".join(letter.document() + b"\n" for letter in letters)
        try:
            with trio.fail_after(WRITE_SECONDS):
                await trio.to_thread.run_sync(self._write, lines, abandon_on_cancel=True)
        except trio.TooSlowError:
            raise Undelivered(f"nobody read the standard output for {WRITE_SECONDS:g} seconds") from None
        except OSError as error:
            raise Undelivered(f"the standard output cannot be written: {error.strerror}") from None

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]
