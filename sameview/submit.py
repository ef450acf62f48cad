"""``sameview log add``: send files as entries, print their indexes, and fetch their proofs.

A log that is busy is asked again within a limit. A proof is checked to be one of the entry before it is kept: that the
log signed the tree, and who saw it, is for ``sameview verify proof`` to say, which knows whom its user trusts.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import msgspec
import trio

from runtime.client import Client, FetchError, Response
from runtime.errors import HOLDS, CannotTell, UsageError
from runtime.files import replace_file
from runtime.foreground import run_foreground
from sameview.urls import checked_url
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError
from tlog.hashing import leaf_hash
from tlog.note import Note
from tlog.proofs import verify_inclusion
from tlog.text import parse_decimal
from tlog.tiles import MAX_ENTRY_BYTES, TILE_WIDTH, format_entries
from tlog.tlog_proof import TlogProof

ADD_SECONDS = 30  # a log that is busy has room again within its group commit; beyond this it is not busy but gone
BUSY_SECONDS = 1.0  # between two attempts where the log does not say
PROOF_SECONDS = 60  # until a checkpoint covers a new entry: the log's interval and its slowest needed witness
POLL_SECONDS = 0.25
MAX_ANSWER_BYTES = 1024 * 1024
BUSY = frozenset({429, 502, 503, 504})
NO_LOG = "give the URL of a log that accepts entries"


@dataclass(frozen=True, slots=True)
class Added:
    """One entry that is in the log, and where its proof is if one was asked for."""

    file: str
    index: int
    proof: Path | None = None

    def document(self) -> dict[str, str | int | None]:
        return {"file": self.file, "index": self.index, "proof": None if self.proof is None else str(self.proof)}

    def line(self) -> str:
        return f"{self.index}\t{self.file}" + ("" if self.proof is None else f"\t{self.proof}")


def add_files(url: str, files: Sequence[Path], *, batch: bool, proof_out: Path | None, as_json: bool) -> int:
    """Add files to a log, each as one entry; without files, one entry from standard input.

    Raises:
        UsageError: the URL is none, a file is too large for an entry, or what answers is no log.
        CannotTell: the log cannot be reached, is too busy, or does not publish a checkpoint.
        ProofError: the log gave a proof that is not one of the entry.
    """
    url = checked_url(url, "where the log is")
    entries = [(str(file), _read(file)) for file in files or (Path("-"),)]
    added = run_foreground(partial(_add, url, entries, batch, proof_out))
    if as_json:
        click.echo(json.dumps({"added": [entry.document() for entry in added]}))
    else:
        for entry in added:
            click.echo(entry.line())
    return HOLDS


async def add_each(client: Client, url: str, entries: Sequence[bytes]) -> list[int]:
    """Add entries one after the other, a request each: so they stand in the log in this order. Their indexes."""
    return [_read_index(await _post(client, f"{url}/add", entry)) for entry in entries]


async def add_batches(client: Client, url: str, entries: Sequence[bytes]) -> list[int]:
    """Add entries, as many in a request as a bundle holds; their indexes in order."""
    indexes: list[int] = []
    for start in range(0, len(entries), TILE_WIDTH):
        batch = entries[start : start + TILE_WIDTH]
        indexes += _read_indexes(await _post(client, f"{url}/add-batch", format_entries(batch)), len(batch))
    return indexes


async def wait_proof(client: Client, url: str, index: int) -> bytes:
    """The entry's ``.tlog-proof``, as soon as a published checkpoint covers it."""
    with trio.move_on_after(PROOF_SECONDS):
        while True:
            answer = await _fetch(client, "GET", f"{url}/v1/proofs/entry/{index}")
            if answer.status == 200:
                return answer.body
            if answer.status != 404 and answer.status not in BUSY:
                raise _unexpected(answer)
            await trio.sleep(POLL_SECONDS)
    raise CannotTell(
        f"no published checkpoint covers entry {index} yet: the log may be waiting for its witnesses; try again"
    )


async def _add(url: str, entries: Sequence[tuple[str, bytes]], batch: bool, proof_out: Path | None) -> list[Added]:
    if proof_out is not None:
        _make_folder(proof_out)
    async with Client() as client:
        data = [data for _, data in entries]
        indexes = await (add_batches if batch else add_each)(client, url, data)
        added = [Added(file, index) for (file, _), index in zip(entries, indexes, strict=True)]
        if proof_out is None:
            return added
        return [await _with_proof(client, url, *pair, proof_out) for pair in zip(added, data, strict=True)]


async def _with_proof(client: Client, url: str, added: Added, entry: bytes, folder: Path) -> Added:
    raw = await wait_proof(client, url, added.index)
    _check_proof(raw, entry, added.index)
    # SPEC: P-1 The file name SHOULD end in .tlog-proof.
    path = folder / f"{added.index}.tlog-proof"
    try:
        replace_file(path, raw, mode=0o644)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return Added(added.file, added.index, path)


def _check_proof(raw: bytes, entry: bytes, index: int) -> None:
    try:
        proof = TlogProof.parse(raw)
        head = Checkpoint.parse(Note.parse(proof.checkpoint_note).text).head
    except FormatError as error:
        raise UsageError(f"what the log gave as a proof is none: {error}; {NO_LOG}") from None
    if proof.index != index:
        raise ProofError(f"the log said that an entry has the index {index} and proved another one")
    try:
        verify_inclusion(leaf_hash(entry), index, head, proof.path)
    except ProofError as error:
        raise ProofError(f"the log's proof for entry {index} does not hold: {error}") from None


async def _post(client: Client, url: str, body: bytes) -> Response:
    """Send entries, again and again while the log is busy."""
    with trio.move_on_after(ADD_SECONDS):
        while True:
            answer = await _fetch(client, "POST", url, body)
            if answer.status == 200:
                return answer
            if answer.status not in BUSY:
                raise _unexpected(answer)
            await trio.sleep(_retry_after(answer))
    raise CannotTell("the log is too busy: try again later, entries that it has already keep their indexes")


async def _fetch(client: Client, method: str, url: str, body: bytes = b"") -> Response:
    try:
        return await client.fetch(method, url, body=body, cap=MAX_ANSWER_BYTES, seconds=ADD_SECONDS)
    except FetchError as error:
        raise CannotTell(f"the log cannot be asked: {error}; does it serve at this URL?") from None


def _unexpected(answer: Response) -> UsageError | CannotTell:
    if answer.status >= 500:
        return CannotTell(f"the log answered {answer.status}: it has a problem of its own; try again later")
    return UsageError(f"the log answered {answer.status}: {NO_LOG}")


def _retry_after(answer: Response) -> float:
    try:
        return float(parse_decimal(answer.headers.get("retry-after", "").encode(), "Retry-After"))
    except FormatError:
        return BUSY_SECONDS


def _read_index(answer: Response) -> int:
    try:
        return parse_decimal(answer.body.removesuffix(b"\n"), "an index")
    except FormatError:
        raise UsageError(f"the answer is not that of a log: {NO_LOG}") from None


def _read_indexes(answer: Response, count: int) -> list[int]:
    try:
        indexes = msgspec.json.decode(answer.body, type=dict[str, list[int]])["indexes"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        indexes = []
    if len(indexes) != count:
        raise UsageError(f"the answer is not that of a log: {NO_LOG}")
    return indexes


def _read(file: Path) -> bytes:
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as opened:
            data = opened.read(MAX_ENTRY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > MAX_ENTRY_BYTES:
        raise UsageError(f"{file} is larger than {MAX_ENTRY_BYTES} bytes, the most an entry can be: log a hash of it")
    return data


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {path}: {error.strerror}") from None
