"""A client of a log, for programs: add entries, fetch their proofs, and verify them, now or years later.

    async with open_log("https://log.example/one", trust) as log:
        logged = await log.submit(b"release 1.0")        # in the log, and proven to be
    verify(b"release 1.0", logged.proof, trust)          # anybody, offline

A log that is busy is asked again within a limit. Nothing that a log says is believed: a proof is verified against the
keys and the policy of ``trust`` before it is returned.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import trio

from runtime.client import Client, FetchError, Response
from runtime.errors import CannotTell, UsageError
from sameview.urls import checked_url
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, leaf_hash
from tlog.note import Note
from tlog.proofs import verify_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import parse_decimal
from tlog.tiles import TILE_WIDTH, format_entries
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ADD_SECONDS = 30  # a log that is busy has room again within its group commit; beyond this it is not busy but gone
BUSY_SECONDS = 1.0  # between two attempts where the log does not say
PROOF_SECONDS = 60  # until a checkpoint covers a new entry: the log's interval and its slowest needed witness
POLL_SECONDS = 0.25
MAX_ANSWER_BYTES = 1024 * 1024
BUSY = frozenset({429, 502, 503, 504})
NO_LOG = "give the URL of a log that accepts entries"


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry that is in the log: its index, its ``.tlog-proof``, and the checkpoint in that, all verified."""

    index: int
    proof: bytes
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class LogClient:
    """A log at a URL, and whom its user trusts about it. From ``open_log``."""

    url: str
    trust: Trust
    client: Client

    async def add(self, entry: bytes) -> int:
        """Add one entry; its index. It is durable then, and a checkpoint that covers it follows.

        Raises:
            CannotTell: the log cannot be reached, or is too busy. Whether it has the entry, nobody knows: add it again.
            UsageError: what answers is no log, or refuses the entry.
        """
        return (await add_each(self.client, self.url, (entry,)))[0]

    async def add_many(self, entries: Sequence[bytes]) -> list[int]:
        """Add entries, 256 in a request, each request as a whole or not at all; their indexes in order. As ``add``."""
        return await add_batches(self.client, self.url, entries)

    async def prove(self, entry: bytes, index: int) -> Logged:
        """Wait until a checkpoint covers an entry, fetch its proof, and verify it.

        Raises:
            CannotTell: the log cannot be reached, or publishes no such checkpoint.
            SignatureError: the checkpoint is not signed as ``trust`` asks for.
            ProofError: the entry is not at this index; the log lies.
        """
        raw = await wait_proof(self.client, self.url, index)
        require_proof_of(leaf_hash(entry), index, raw)
        return Logged(index, raw, verify(entry, raw, self.trust))

    async def submit(self, entry: bytes) -> Logged:
        """Add an entry, and wait until it is proven to be in the log. Raises what ``add`` and ``prove`` do."""
        return await self.prove(entry, await self.add(entry))

    async def checkpoint(self) -> SignedCheckpoint:
        """The newest checkpoint.

        Raises:
            CannotTell: the log cannot be reached, or has not published any yet.
            SignatureError: it is not signed as ``trust`` asks for.
            FormatError: it is none.
        """
        answer = await _fetch(self.client, "GET", f"{self.url}/checkpoint")
        if answer.status != 200:
            raise CannotTell(f"the log answered {answer.status} instead of a checkpoint: try again")
        return self.trust.open(answer.body).require()


@asynccontextmanager
async def open_log(url: str, trust: Trust) -> AsyncIterator[LogClient]:
    """Use the log at this URL; connections are kept until the end of the block.

    Raises:
        UsageError: this is no URL.
    """
    async with Client() as client:
        yield LogClient(checked_url(url, "where the log is"), trust, client)


def verify(entry: bytes, proof: bytes, trust: Trust) -> SignedCheckpoint:
    """Verify offline that an entry is in the log, by its ``.tlog-proof``; the checkpoint that says so.

    Raises:
        FormatError: this is no proof.
        SignatureError: its checkpoint is not signed as ``trust`` asks for.
        ProofError: it is not one of this entry.
    """
    return TlogProof.parse(proof).verify(leaf_hash(entry), trust)


# What ``sameview log add`` is made of too.


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
        f"no published checkpoint covers entry {index} yet: the entry is in the log, which may be waiting for its "
        f"witnesses; get the proof later from {url}/v1/proofs/entry/{index}"
    )


def require_proof_of(leaf: Hash, index: int, raw: bytes) -> None:
    """Check that a proof is one of this leaf at this index, whoever signed the checkpoint in it.

    Raises:
        UsageError: what answered is no log.
        ProofError: the log proved something else, or nothing.
    """
    try:
        proof = TlogProof.parse(raw)
        head = Checkpoint.parse(Note.parse(proof.checkpoint_note).text).head
    except FormatError as error:
        raise UsageError(f"what the log gave as a proof is none: {error}; {NO_LOG}") from None
    if proof.index != index:
        raise ProofError(f"the log said that an entry has the index {index} and proved another one")
    try:
        verify_inclusion(leaf, index, head, proof.path)
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        indexes = []
    if len(indexes) != count:
        raise UsageError(f"the answer is not that of a log: {NO_LOG}")
    return indexes
