"""``sameview log add``: send files as entries, print their indexes, and fetch their proofs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from runtime.client import Client, FetchError, Response
from runtime.errors import CannotTell, UsageError
from tlog.text import parse_decimal
from tlog.tiles import MAX_ENTRY_BYTES, TILE_WIDTH, format_entries

ADD_SECONDS = 30  # a log that is busy answers within its group commit; beyond this it is not busy but gone
PROOF_SECONDS = 60  # until a checkpoint covers a new entry: the log's interval and its slowest needed witness
PROOF_RETRY_SECONDS = 0.25
MAX_ANSWER_BYTES = 1024 * 1024
SENT_AT_ONCE = 16  # single requests under way


@dataclass(slots=True)
class Added:
    """One entry that is in the log."""

    name: str
    index: int
    proof: Path | None = None


def add_files(url: str, files: Sequence[Path], *, batch: bool, proof_out: Path | None, as_json: bool) -> int:
    """Add files to a log, each as one entry.

    Raises:
        UsageError: a file is too large for an entry, or the log refused one.
        CannotTell: the log cannot be reached, or is too busy.
    """
    entries = [(str(file), _read(file)) for file in files or [Path("-")]]
    added = trio.run(_add, url.rstrip("/"), entries, batch, proof_out)
    if as_json:
        click.echo(json.dumps({"added": [_document(entry) for entry in added]}))
    else:
        for entry in added:
            click.echo(f"{entry.index}\t{entry.name}" + (f"\t{entry.proof}" if entry.proof else ""))
    return 0


def _document(entry: Added) -> dict[str, str | int | None]:
    return {"file": entry.name, "index": entry.index, "proof": str(entry.proof) if entry.proof else None}


def _read(file: Path) -> bytes:
    try:
        data = sys.stdin.buffer.read(MAX_ENTRY_BYTES + 1) if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    if len(data) > MAX_ENTRY_BYTES:
        raise UsageError(f"{file} is larger than {MAX_ENTRY_BYTES} bytes, the most an entry can be: log a hash of it")
    return data


async def _add(url: str, entries: list[tuple[str, bytes]], batch: bool, proof_out: Path | None) -> list[Added]:
    if proof_out is not None:
        proof_out.mkdir(parents=True, exist_ok=True)
    async with Client() as client:
        indexes = await (add_batches if batch else add_each)(client, url, [data for _, data in entries])
        added = [Added(name, index) for (name, _), index in zip(entries, indexes, strict=True)]
        if proof_out is not None:
            for entry in added:
                entry.proof = proof_out / f"{entry.index}.tlog-proof"
                entry.proof.write_bytes(await wait_proof(client, url, entry.index))
    return added


async def add_each(client: Client, url: str, entries: Sequence[bytes]) -> list[int]:
    """Add entries one request each, some at a time; their indexes in order."""
    indexes: list[int | None] = [None] * len(entries)
    limit = trio.CapacityLimiter(SENT_AT_ONCE)

    async def one(number: int, entry: bytes) -> None:
        async with limit:
            answer = await _post(client, f"{url}/add", entry)
        indexes[number] = parse_decimal(answer.body.removesuffix(b"\n"), "index")

    async with trio.open_nursery() as nursery:
        for number, entry in enumerate(entries):
            nursery.start_soon(one, number, entry)
    return [index for index in indexes if index is not None]


async def add_batches(client: Client, url: str, entries: Sequence[bytes]) -> list[int]:
    """Add entries, as many in a request as a bundle holds; their indexes in order."""
    indexes: list[int] = []
    for start in range(0, len(entries), TILE_WIDTH):
        answer = await _post(client, f"{url}/add-batch", format_entries(entries[start : start + TILE_WIDTH]))
        indexes += json.loads(answer.body)["indexes"]
    return indexes


async def wait_proof(client: Client, url: str, index: int) -> bytes:
    """The entry's ``.tlog-proof``, as soon as a published checkpoint covers it."""
    with trio.move_on_after(PROOF_SECONDS):
        while True:
            try:
                answer = await client.fetch(
                    "GET", f"{url}/v1/proofs/entry/{index}", cap=MAX_ANSWER_BYTES, seconds=ADD_SECONDS
                )
            except FetchError as error:
                raise CannotTell(f"the log cannot be reached: {error}") from None
            if answer.status == 200:
                return answer.body
            await trio.sleep(PROOF_RETRY_SECONDS)
    raise CannotTell(
        f"no published checkpoint covers entry {index} yet: the log may be waiting for its witnesses; try again"
    )


async def _post(client: Client, url: str, body: bytes) -> Response:
    try:
        answer = await client.fetch("POST", url, body=body, cap=MAX_ANSWER_BYTES, seconds=ADD_SECONDS)
    except FetchError as error:
        raise CannotTell(f"the log cannot be reached: {error}") from None
    if answer.status == 200:
        return answer
    if answer.status in (429, 503):
        raise CannotTell("the log is too busy: try again later")
    raise UsageError(f"the log answered {answer.status}: is this the URL of a log that accepts entries?")
