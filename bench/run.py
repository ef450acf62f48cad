"""Runs every bench one after the other: ``python -m bench.run [--short] [BENCH…]``.

Each is a module of this folder, started in a process of its own, that prints one JSON document on standard output.
Together they make one document: ``{"<bench>": <its document>, …}``. Ends with 1 when a bench fails; the others still
run. Nothing is judged here: a figure depends on the machine, and what a figure must be is said where it is promised.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parent
TIMEOUT = 3600  # seconds: the longest, which makes a log of ten million entries, takes a quarter of that


def benches() -> list[str]:
    """The names of the benches: every module here except this one and those that begin with an underscore."""
    names = (path.stem for path in BENCH.glob("*.py"))
    return sorted(name for name in names if name != "run" and not name.startswith("_"))


def run(arguments: list[str]) -> int:
    """Run the benches that were named, or all."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    wanted = [argument for argument in arguments if not argument.startswith("-")] or benches()
    if unknown := set(wanted) - set(benches()):
        print(f"no bench {', '.join(sorted(unknown))}; they are {', '.join(benches())}", file=sys.stderr)
        return 2
    results = {name: _measure(name, flags) for name in wanted}
    print(json.dumps(results, indent=2))
    return 0 if None not in results.values() else 1


def _measure(name: str, flags: list[str]) -> object:
    """One bench's document; None when it failed, which it said on standard error."""
    started = time.monotonic()
    command = [sys.executable, "-m", f"bench.{name}", *flags]
    try:
        output = subprocess.run(command, cwd=BENCH.parent, stdout=subprocess.PIPE, timeout=TIMEOUT, check=True).stdout
        document: object = json.loads(output)
    except (subprocess.SubprocessError, ValueError) as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        return None
    print(f"bench {name}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    return document


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
