"""Which Sameview this is: the distribution's version and, in a checkout, the commit."""

import subprocess
from importlib.metadata import version
from pathlib import Path


def version_line() -> str:
    """``sameview 0.1.0 (commit 1a2b3c4)``; the commit is unknown outside a checkout."""
    return f"sameview {version('sameview')} (commit {commit() or 'unknown'})"


def commit() -> str | None:
    """The abbreviated commit of the checkout this code runs from, or None."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
