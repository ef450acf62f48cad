"""Runs one fuzz target: with atheris (libFuzzer) where it is installed, with a plain mutation loop where it is not.

A target is a function of bytes that returns, or raises because it found a fault. Flags are libFuzzer's and pass through
to it; the plain loop honours ``-runs=``, ``-max_total_time=`` and ``-seed=``. File arguments are replayed one by one,
which is how a crash is reproduced. Kept inputs lie in ``fuzz/corpus/<name>`` and are only read; what a run finds goes
to ``build/fuzz/<name>``, what crashed to ``fuzz/crashes``. Folders that are named replace all of these.
"""

import gc
import hashlib
import importlib.util
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import Protocol

from tlog.errors import FormatError

Target = Callable[[bytes], None]

FUZZ = Path(__file__).resolve().parent
ENABLE = "coverage-guided fuzzing needs atheris: run `make heavy` to install it"

PACKAGES = frozenset({"tlog", "runtime", "gossip", "logserver", "witness", "monitor", "sameview"})
DEFAULT_RUNS = 20_000  # of the plain loop, when no flag says otherwise: some seconds
MAX_INPUT = 256 * 1024  # above every body that a parser is given
MAX_MUTATIONS = 6  # a handful: one changed byte finds grammar faults, several reach past a checksum of counts
TIMEOUT = 10  # seconds for one input: every parser here is linear


class Formats(Protocol):
    """A value that writes itself back."""

    def format(self) -> bytes:
        """The bytes it was parsed from."""


def main(target: Target, seeds: Iterable[bytes]) -> None:
    """Fuzz ``target`` as the command line says, starting from the seeds and the corpus."""
    name = target_name(target)
    flags = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    paths = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    (FUZZ / "crashes").mkdir(exist_ok=True)
    if paths and not flags and all(path.is_file() for path in paths):
        _replay(target, paths)
    elif importlib.util.find_spec("atheris") is not None:
        _run_atheris(target, name, list(seeds), flags, paths)
    else:
        print(f"{name}: {ENABLE}; mutating at random instead")
        _run_plain(target, name, [*seeds, *corpus(name)], flags)


def round_trip(parse: Callable[[bytes], Formats]) -> Target:
    """The target that most parsers need: what is accepted is written back byte for byte, the rest is a FormatError."""

    def target(data: bytes) -> None:
        try:
            value = parse(data)
        except FormatError:
            return
        if value.format() != data:
            raise AssertionError("an accepted input has a second spelling")

    return target


def target_name(target: Target) -> str:
    """The name of a target's corpus: its file ``fuzz_<name>.py``, which is the program that runs."""
    main_file = getattr(sys.modules[target.__module__], "__file__", None)
    file = sys.argv[0] if main_file is None or main_file == __file__ else main_file
    return Path(file).stem.removeprefix("fuzz_")


def corpus(name: str) -> list[bytes]:
    """The inputs kept from earlier runs, in a fixed order."""
    folder = FUZZ / "corpus" / name
    return [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()]


def mutations(seeds: Sequence[bytes], choices: random.Random) -> Iterator[bytes]:
    """Endless small changes of the seeds, the same for the same random source."""
    pool = [seed for seed in seeds if len(seed) <= MAX_INPUT] or [b""]
    while True:
        data = choices.choice(pool)
        for _ in range(choices.randint(1, MAX_MUTATIONS)):
            data = choices.choice(_MUTATIONS)(data, pool, choices)
        yield data[:MAX_INPUT]


def _run_plain(target: Target, name: str, seeds: list[bytes], flags: list[str]) -> None:
    seconds = _flag(flags, "-max_total_time", 0)
    runs = _flag(flags, "-runs", -1 if seconds else DEFAULT_RUNS)
    seed = _flag(flags, "-seed", 1)
    deadline = time.monotonic() + seconds if seconds else float("inf")
    done = 0
    for data in _then(seeds, mutations(seeds, random.Random(seed))):
        if done == runs or time.monotonic() > deadline:
            break
        _try(target, name, data)
        done += 1
    print(f"{name}: {done} inputs, seed {seed}, no crash")


def _try(target: Target, name: str, data: bytes) -> None:
    try:
        target(data)
    except Exception:
        crash = FUZZ / "crashes" / f"{name}-crash-{hashlib.sha256(data).hexdigest()[:40]}"
        crash.write_bytes(data)
        print(f"{name}: crash, input kept in {crash}")
        raise


def _replay(target: Target, files: list[Path]) -> None:
    for file in files:
        print(f"replaying {file}")
        target(file.read_bytes())


def _run_atheris(target: Target, name: str, seeds: list[bytes], flags: list[str], folders: list[Path]) -> None:
    import atheris

    found = FUZZ.parent / "build" / "fuzz" / name
    read = [found, FUZZ / "corpus" / name, _seed_folder(name, seeds)]
    for folder in read:
        folder.mkdir(parents=True, exist_ok=True)
    for function in _project_functions():
        atheris.instrument_func(function)
    # libFuzzer starts itself again to minimise and to merge, by its first argument and through a shell.
    program = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(sys.argv[0]).resolve()))}"
    crashes = f"-artifact_prefix={FUZZ / 'crashes'}/{name}-"
    arguments = [program, crashes, f"-timeout={TIMEOUT}", f"-max_len={MAX_INPUT}", *flags, *map(str, folders or read)]
    atheris.Setup(arguments, target)
    atheris.Fuzz()


def _project_functions() -> list[FunctionType]:
    # Of what is imported by now: instrumenting the standard library too takes ten seconds and guides nothing.
    functions = (found for found in gc.get_objects() if isinstance(found, FunctionType))
    return [function for function in functions if (function.__module__ or "").partition(".")[0] in PACKAGES]


def _seed_folder(name: str, seeds: list[bytes]) -> Path:
    folder = FUZZ.parent / "build" / "fuzz-seeds" / name
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (folder / hashlib.sha256(data).hexdigest()[:40]).write_bytes(data)
    return folder


def _flag(flags: list[str], name: str, default: int) -> int:
    for flag in flags:
        key, _, value = flag.partition("=")
        if key == name:
            return int(value)
    return default


def _then(first: Sequence[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


def _flip(data: bytes, pool: Sequence[bytes], choices: random.Random) -> bytes:
    if not data:
        return bytes([choices.randrange(256)])
    at = choices.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << choices.randrange(8)]) + data[at + 1 :]


def _insert(data: bytes, pool: Sequence[bytes], choices: random.Random) -> bytes:
    at = choices.randint(0, len(data))
    return data[:at] + choices.choice(_FRAGMENTS) + data[at:]


def _delete(data: bytes, pool: Sequence[bytes], choices: random.Random) -> bytes:
    start, end = _span(data, choices)
    return data[:start] + data[end:]


def _repeat(data: bytes, pool: Sequence[bytes], choices: random.Random) -> bytes:
    start, end = _span(data, choices)
    return data[:end] + data[start:end] + data[end:]


def _splice(data: bytes, pool: Sequence[bytes], choices: random.Random) -> bytes:
    other = choices.choice(pool)
    return data[: choices.randint(0, len(data))] + other[choices.randint(0, len(other)) :]


def _swap_lines(data: bytes, pool: Sequence[bytes], choices: random.Random) -> bytes:
    lines = data.split(b"\n")
    i, j = choices.randrange(len(lines)), choices.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _span(data: bytes, choices: random.Random) -> tuple[int, int]:
    start = choices.randint(0, len(data))
    return start, choices.randint(start, min(len(data), start + 64))


_MUTATIONS = (_flip, _flip, _insert, _insert, _delete, _repeat, _splice, _swap_lines)
# What text formats are made of, and what lax readers wrongly accept.
_FRAGMENTS = (
    b"\n",
    b"\n\n",
    b" ",
    b"+",
    b"-",
    b"=",
    b"0",
    b"1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"9223372036854775808",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\x94 ",
    b"AAAA",
    b"_",
    b"\xd9\xa3",
    b"\xdc\x00\x10",
    b"\xc4\x00",
    b"\x90",
    b"\xc0",
)
