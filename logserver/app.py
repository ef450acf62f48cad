"""The log over HTTP: adding entries, the static files, and proofs."""

from collections.abc import Callable
from dataclasses import dataclass

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from logserver.files import PublicFiles
from logserver.metrics import LogMetrics
from logserver.store import Sequencer
from runtime.http import bare, read_body, refusal
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.proofs import ReadNode, prove_consistency, prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64, parse_decimal
from tlog.tiles import MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, TILE_WIDTH, EntryBundle, Tile, parse_entries
from tlog.tlog_proof import TlogProof

ADDS_AT_ONCE = 4096  # requests that wait for a commit; beyond it the log is behind and says so
ADDED_BYTES_AT_ONCE = 256 * 1024 * 1024  # of entries that wait for a commit
RETRY_SECONDS = 1  # a group commit takes milliseconds: by then there is room again
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable", "access-control-allow-origin": "*"}
FRESH = {"cache-control": "no-cache", "access-control-allow-origin": "*"}
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"


@dataclass(slots=True)
class Admission:
    """How much waits for a commit: a bounded amount, so that a log that is behind answers 503 and not nothing."""

    requests: int = 0
    bytes: int = 0

    def admits(self, size: int) -> bool:
        """Whether a request with so many bytes may wait too."""
        return self.requests < ADDS_AT_ONCE and self.bytes + size <= ADDED_BYTES_AT_ONCE


@dataclass(frozen=True, slots=True)
class LogApp:
    """The endpoints and what they answer from."""

    sequencer: Sequencer
    files: PublicFiles
    published: Callable[[], SignedCheckpoint | None]
    admission: Admission
    metrics: LogMetrics

    def app(self) -> Starlette:
        """The public interface."""
        return Starlette(
            routes=[
                Route("/add", self._add, methods=["POST"]),
                Route("/add-batch", self._add_batch, methods=["POST"]),
                Route("/checkpoint", self._checkpoint, methods=["GET"]),
                Route("/tile/{path:path}", self._tile, methods=["GET"]),
                Route("/v1/proofs/entry/{index}", self._entry_proof, methods=["GET"]),
                Route("/v1/proofs/inclusion", self._inclusion, methods=["GET"]),
                Route("/v1/proofs/consistency", self._consistency, methods=["GET"]),
            ]
        )

    async def _add(self, request: Request) -> Response:
        entry = await read_body(request, MAX_ENTRY_BYTES)
        return await self._admit((entry,), lambda indexes: bare(200, b"%d\n" % indexes[0], TEXT))

    async def _add_batch(self, request: Request) -> Response:
        body = await read_body(request, MAX_BUNDLE_BYTES)
        try:
            entries = _parse_batch(body)
        except FormatError as error:
            return refusal(400, f"{error}; send 1 to {TILE_WIDTH} entries, each after its length as two bytes")
        return await self._admit(entries, lambda indexes: JSONResponse({"indexes": indexes}))

    async def _admit(self, entries: tuple[bytes, ...], answer: Callable[[tuple[int, ...]], Response]) -> Response:
        size = sum(map(len, entries))
        if not self.admission.admits(size):
            return refusal(503, "the log is behind: try again in a second", {"retry-after": str(RETRY_SECONDS)})
        self.admission.requests += 1
        self.admission.bytes += size
        try:
            indexes = await self.sequencer.add(entries)
            self.metrics.added(len(indexes), self.sequencer.tree.end)
            return answer(indexes)
        finally:
            self.admission.requests -= 1
            self.admission.bytes -= size

    async def _checkpoint(self, _request: Request) -> Response:
        published = self.published()
        if published is None:
            return refusal(404, "no checkpoint is published yet: the log may be waiting for its witnesses")
        # SPEC: T-2 text/plain; charset=utf-8, not cached beyond a few seconds.
        return bare(200, published.raw, TEXT, FRESH)

    async def _tile(self, request: Request) -> Response:
        path = f"tile/{request.path_params['path']}"
        try:
            # The name of the file is made from the parsed numbers, never from what was sent.
            name = (EntryBundle if path.startswith("tile/entries/") else Tile).parse(path).path()
        except FormatError as error:
            return refusal(404, f"{error}; see c2sp.org/tlog-tiles for the layout")
        data = await trio.to_thread.run_sync(self.files.read, name)
        if data is None:
            return refusal(404, "this log has no such tile yet, or no checkpoint of a size that ends in it")
        # SPEC: T-7 tiles and bundles never change.
        return bare(200, data, BINARY, IMMUTABLE)

    async def _entry_proof(self, request: Request) -> Response:
        published = self.published()
        try:
            index = parse_decimal(request.path_params["index"].encode(), "index")
        except FormatError as error:
            return refusal(400, str(error))
        if published is None or index >= published.size:
            return refusal(404, "no published checkpoint covers this index yet: try again after the next one")
        path = await trio.to_thread.run_sync(prove_inclusion, index, published.size, self.files.nodes(published.size))
        return bare(200, TlogProof(index, tuple(path), published.raw).format(), TEXT, FRESH)

    async def _inclusion(self, request: Request) -> Response:
        return await self._proof(request, "index", "size", lambda index, size: index < size, prove_inclusion)

    async def _consistency(self, request: Request) -> Response:
        return await self._proof(request, "from", "to", lambda old, new: old <= new, prove_consistency)

    async def _proof(
        self,
        request: Request,
        first: str,
        second: str,
        possible: Callable[[int, int], bool],
        prove: Callable[[int, int, ReadNode], list[Hash]],
    ) -> Response:
        published = self.published()
        try:
            a = parse_decimal(request.query_params.get(first, "").encode(), first)
            b = parse_decimal(request.query_params.get(second, "").encode(), second)
        except FormatError as error:
            return refusal(400, f"{error}; give {first}= and {second}=")
        if published is None or b > published.size or not possible(a, b):
            return refusal(404, f"there is no such proof in the published tree; {second} is at most its size")
        # The nodes come from the published tree's tiles: those of the smaller size may be gone.
        hashes = await trio.to_thread.run_sync(prove, a, b, self.files.nodes(published.size))
        return JSONResponse({first: a, second: b, "hashes": [encode_base64(hash).decode() for hash in hashes]})


def _parse_batch(body: bytes) -> tuple[bytes, ...]:
    """Entries as in a bundle, of which there may be fewer than 256 without saying how many."""
    count, at = 0, 0
    while at + 2 <= len(body) and count <= TILE_WIDTH:
        at += 2 + int.from_bytes(body[at : at + 2], "big")
        count += 1
    if not 0 < count <= TILE_WIDTH:
        raise FormatError("a batch is empty or has too many entries")
    return tuple(parse_entries(body, count))
