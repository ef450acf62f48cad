"""``sameview log add``: send files as entries, print their indexes, and fetch their proofs.

Files are read when their turn comes, so that a directory may hold more than memory does. A proof is checked to be one
of the entry before it is kept: that the log signed the tree, and who saw it, is for ``sameview verify proof`` to say,
which knows whom its user trusts.

However it ends, by an error or by Ctrl-C, it prints the index of every entry that the log has taken.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click
import trio

from runtime.client import Client
from runtime.errors import HOLDS, UsageError
from runtime.files import replace_file
from runtime.foreground import run_foreground
from sameview.client import add_batches, add_each, require_proof_of, wait_proof
from sameview.progress import progress_bar
from sameview.urls import checked_url
from tlog.hashing import Hash, leaf_hash
from tlog.tiles import MAX_ENTRY_BYTES, TILE_WIDTH

PROOF_SUFFIX = ".tlog-proof"
STANDARD_INPUT = Path("-")
PROOFS_AT_ONCE = 16
QUIET_SECONDS = 5.0  # that a person waits for a checkpoint without being told what for


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with the files."""

    batch: bool = False  # many entries in a request
    proofs: bool = False  # beside the files
    proof_out: Path | None = None  # or in this folder


@dataclass(frozen=True, slots=True)
class Added:
    """One entry that is in the log, and where its proof is if one was asked for."""

    file: Path
    index: int
    leaf: Hash
    proof: Path | None = None

    def document(self) -> dict[str, str | int | None]:
        return {
            "file": str(self.file),
            "index": self.index,
            "proof": None if self.proof is None else str(self.proof),
        }

    def line(self) -> str:
        return f"{self.index}\t{self.file}" + ("" if self.proof is None else f"\t{self.proof}")


def add_files(url: str, files: Sequence[Path], plan: Plan, *, as_json: bool) -> int:
    """Add files to a log, each as one entry; without files, one entry from standard input.

    Of a directory every file in it is added, at any depth, in the order of their names, in batches.

    Raises:
        UsageError: the URL is none, a file is too large for an entry, or what answers is no log.
        CannotTell: the log cannot be reached, is too busy, or does not publish a checkpoint.
        ProofError: the log gave a proof that is not one of the entry.
    """
    url = checked_url(url, "where the log is")
    found = list(_files(files or (STANDARD_INPUT,)))
    if not found:
        raise UsageError("there is no file in what was named")
    if plan.proofs and STANDARD_INPUT in found:
        raise UsageError("a proof is written beside a file: for standard input name a folder with --proof-out")
    plan = replace(plan, batch=plan.batch or any(file.is_dir() for file in files))
    added: list[Added] = []
    try:
        run_foreground(partial(_add, url, found, plan, added))
    finally:
        _print(added, as_json=as_json)
    return HOLDS


def _print(added: Sequence[Added], *, as_json: bool) -> None:
    if added and as_json:
        click.echo(json.dumps({"added": [entry.document() for entry in added]}))
    else:
        for entry in added:
            click.echo(entry.line())


async def _add(url: str, files: Sequence[Path], plan: Plan, added: list[Added]) -> None:
    """Add the files, and tell in ``added`` what is in the log as soon as it is."""
    if plan.proof_out is not None:
        _make_folder(plan.proof_out)
    for file in files:
        _look_at(file)  # what cannot be added is found out before anything is
    async with Client() as client:
        await _send(client, url, files, plan, added)
        if plan.proofs or plan.proof_out is not None:
            await _prove(client, url, added, plan.proof_out)


async def _send(client: Client, url: str, files: Sequence[Path], plan: Plan, added: list[Added]) -> None:
    at_once = TILE_WIDTH if plan.batch else 1
    with progress_bar("entries") as tell:
        for start in range(0, len(files), at_once):
            some = files[start : start + at_once]
            entries = [_read(file) for file in some]
            indexes = await (add_batches if plan.batch else add_each)(client, url, entries)
            sent = zip(some, indexes, entries, strict=True)
            added += [Added(file, index, leaf_hash(entry)) for file, index, entry in sent]
            tell(len(added), len(files))


async def _prove(client: Client, url: str, added: list[Added], folder: Path | None) -> None:
    """Fetch the proof of each entry, and tell in ``added`` where it is."""
    proven: set[int] = set()
    limit = trio.CapacityLimiter(PROOFS_AT_ONCE)

    async def prove(number: int, one: Added) -> None:
        async with limit:
            added[number] = await _with_proof(client, url, one, folder)
        proven.add(number)
        tell(len(proven), len(added))
        if len(proven) == len(added):
            nursery.cancel_scope.cancel()

    async def say_what_for() -> None:
        await trio.sleep(QUIET_SECONDS)
        for index in sorted(one.index for one in added if one.proof is None)[:1]:
            click.echo(_waiting(index), err=True)

    with progress_bar("proofs", asides=True) as tell:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say_what_for)
            for number, one in enumerate(added):
                nursery.start_soon(prove, number, one)


def _waiting(index: int) -> str:
    return f"entry {index} is in the log; waiting for a checkpoint that covers it (the log's standard error says why)"


async def _with_proof(client: Client, url: str, added: Added, folder: Path | None) -> Added:
    raw = await wait_proof(client, url, added.index)
    require_proof_of(added.leaf, added.index, raw)
    # SPEC: P-1 The file name SHOULD end in .tlog-proof.
    beside = added.file.with_name(added.file.name + PROOF_SUFFIX)
    path = beside if folder is None else folder / f"{added.index}{PROOF_SUFFIX}"
    try:
        replace_file(path, raw, mode=0o644)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return replace(added, proof=path)


def _files(named: Sequence[Path]) -> Iterator[Path]:
    for path in named:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path, onerror=_cannot_list):
            folders.sort()
            # Proofs of an earlier run stand beside what they prove, and are not to be logged themselves.
            inside = (Path(folder, name) for name in sorted(names) if not name.endswith(PROOF_SUFFIX))
            yield from (file for file in inside if file.is_file())


def _cannot_list(error: OSError) -> None:
    raise UsageError(f"cannot read {error.filename}: {error.strerror}") from None


def _look_at(file: Path) -> None:
    if file == STANDARD_INPUT:
        return
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if size > MAX_ENTRY_BYTES:
        raise _too_large(file)


def _read(file: Path) -> bytes:
    try:
        with nullcontext(sys.stdin.buffer) if file == STANDARD_INPUT else file.open("rb") as opened:
            data = opened.read(MAX_ENTRY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > MAX_ENTRY_BYTES:
        raise _too_large(file)
    return data


def _too_large(file: Path) -> UsageError:
    return UsageError(f"{file} is larger than {MAX_ENTRY_BYTES} bytes, the most an entry can be: log a hash of it")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror}") from None
