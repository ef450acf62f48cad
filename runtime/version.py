"""Which Sameview this is: the distribution's version and, in a checkout, the commit."""

import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
GIT_SECONDS = 5.0  # it answers in milliseconds, or the disk is gone
UNKNOWN = "unknown"


def version_document(checkout: Path = CHECKOUT) -> Mapping[str, str]:
    """Version and commit; the commit is ``unknown`` outside a checkout."""
    return {"version": version("sameview"), "commit": _commit(checkout) or UNKNOWN}


def version_line() -> str:
    """Such as ``sameview 0.1.0 (commit 1a2b3c4)``."""
    document = version_document()
    return f"sameview {document['version']} (commit {document['commit']})"


def _commit(checkout: Path) -> str | None:
    # An installed package may lie below a checkout of something else.
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
