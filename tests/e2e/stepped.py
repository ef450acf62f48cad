"""``python -m tests.e2e.stepped FILE …`` is ``sameview …`` where the clock is as many seconds wrong as the file says.

The file may change while it runs, as when somebody sets a machine's clock. What runs since the machine was started is
not set by that, and is not here.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sameview.cli import run

MODULE = "tests.e2e.stepped"


def program(file: Path) -> Sequence[str]:
    """What to start instead of ``sameview``."""
    return (sys.executable, "-m", MODULE, str(file))


def step(file: Path, seconds: int) -> None:
    """Set the clock of whoever runs with this file."""
    draft = file.with_suffix(".draft")
    draft.write_text(str(seconds))
    os.replace(draft, file)


def _set_off(file: Path) -> None:
    right = time.time_ns

    def wrong() -> int:
        return right() + int(file.read_text()) * 10**9

    setattr(time, "time_ns", wrong)  # noqa: B010  # mypy knows that nobody should
    setattr(time, "time", lambda: wrong() / 1e9)  # noqa: B010


if __name__ == "__main__":
    _set_off(Path(sys.argv[1]))
    sys.exit(run(sys.argv[2:]))
