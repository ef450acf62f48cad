"""Runs every fuzz target one after the other, each in a process of its own: ``python -m fuzz.run [FLAG…] [TARGET…]``.

Flags are libFuzzer's and go to every target. Ends with 1 when a target found something; the others still run.
"""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parent


def targets() -> list[Path]:
    """The programs ``fuzz_<parser>.py``, sorted."""
    return sorted(FUZZ.glob("fuzz_*.py"))


def run(arguments: list[str]) -> int:
    """Run the targets that were named, or all."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    wanted = {argument for argument in arguments if not argument.startswith("-")}
    programs = [path for path in targets() if not wanted or path.stem.removeprefix("fuzz_") in wanted]
    if not programs:
        print("no such target; they are " + ", ".join(path.stem.removeprefix("fuzz_") for path in targets()))
        return 2
    failed = [path.stem for path in programs if not _passes(path, flags)]
    print(f"{len(programs)} targets, failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _passes(program: Path, flags: list[str]) -> bool:
    print(f"== {program.stem}", flush=True)
    return subprocess.run([sys.executable, str(program), *flags], cwd=FUZZ.parent, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
