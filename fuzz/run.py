"""Runs every fuzz target, each in a process of its own, one a processor: ``python -m fuzz.run [FLAG…] [TARGET…]``.

Flags are libFuzzer's and go to every target; what one prints is shown when it has ended. Ends with 1 when a target
found something; the others still run.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FUZZ = Path(__file__).resolve().parent


def targets() -> list[Path]:
    """The programs ``fuzz_<parser>.py``, sorted."""
    return sorted(FUZZ.glob("fuzz_*.py"))


def run(arguments: list[str]) -> int:
    """Run the targets that were named, or all."""
    flags = [argument for argument in arguments if argument.startswith("-")]
    known = {path.stem.removeprefix("fuzz_"): path for path in targets()}
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    if not known.keys() >= set(wanted):
        print(f"no such target; they are {', '.join(known)}")
        return 2
    programs = [path for name, path in known.items() if not wanted or name in wanted]
    with ThreadPoolExecutor(os.cpu_count()) as processors:
        passed = processors.map(lambda path: _passes(path, flags), programs)
        failed = [path.stem for path, well in zip(programs, passed, strict=True) if not well]
    print(f"{len(programs)} targets, failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _passes(program: Path, flags: list[str]) -> bool:
    ended = subprocess.run(
        [sys.executable, str(program), *flags],
        cwd=FUZZ.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    print(f"== {program.stem}\n{ended.stdout}", end="", flush=True)
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
