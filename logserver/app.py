"""The log over HTTP: adding entries, the static files, and proofs."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from logserver.core import parse_batch
from logserver.files import StaticFiles
from logserver.history import Crowded, History, Published, Question
from logserver.metrics import LogMetrics
from logserver.store import Sequencer
from logserver.submitters import Submitters
from runtime.http import bare, read_body, refusal, shortcut
from runtime.objects import ObjectsFailed
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.proofs import ReadNode, prove_consistency, prove_inclusion
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64, format_decimal, parse_decimal
from tlog.tiles import MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, TILE_WIDTH, EntryBundle, Tile
from tlog.tlog_proof import TlogProof

# Requests that are received or wait for a commit; beyond that the log is behind and says so. Together they are fewer
# than a server's connections, so that whoever reads finds one.
ADDS_AT_ONCE = 768
BATCHES_AT_ONCE = 64
ADDED_BYTES_AT_ONCE = 128 * 1024 * 1024  # of each of the two; seven of the largest batches
MAX_PAGE = 500  # checkpoints in one answer: under SQLite's oldest limit of 999 bound variables
MAX_WAIT_SECONDS = 25  # for a checkpoint that covers an entry; beyond it proxies lose patience
WAITING_AT_ONCE = 256  # requests that wait for it, a quarter of a server's connections
READS_AT_ONCE = 32  # threads of their own, so that the publisher waits for no reader, however slow the storage is
TILES_SECONDS = 5.0  # for the tiles to catch up with the entries; they do within one unless the disk is unwell
RETRY_SECONDS = 1  # a group commit takes milliseconds: by then there is room again

# A browser-based auditor may read what is public.
ANYBODY = {"access-control-allow-origin": "*"}
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable", **ANYBODY}
FRESH = {"cache-control": "no-cache", **ANYBODY}
ABSENT = {"cache-control": "no-store", **ANYBODY}  # what is not there yet must not be remembered as missing
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"

NDJSON = "application/x-ndjson"

_KEY_ID = re.compile("[0-9a-f]{8}")

Prove = Callable[[int, int, ReadNode], list[Hash]]


class Busy(Exception):  # noqa: N818  # it names a state
    """There is no room for another request."""


class Admission:
    """How much is received or waits for a commit: a bounded amount, so that a log that is behind says so at once."""

    def __init__(self, requests: int, bytes: int = ADDED_BYTES_AT_ONCE) -> None:
        self._requests = requests
        self._bytes = bytes

    @contextmanager
    def place(self, size: int) -> Iterator[None]:
        """Hold a place for a request of at most so many bytes.

        Raises:
            Busy: there is none left.
        """
        if self._requests < 1 or self._bytes < size:
            raise Busy
        self._requests -= 1
        self._bytes -= size
        try:
            yield
        finally:
            self._requests += 1
            self._bytes += size


class LogApp:
    """The endpoints and what they answer from."""

    def __init__(
        self,
        sequencer: Sequencer,
        files: StaticFiles,
        published: Callable[[], SignedCheckpoint | None],
        history: History,
        metrics: LogMetrics,
        adds: Admission | None = None,
        batches: Admission | None = None,
        covered: Callable[[int], Awaitable[None]] | None = None,
        submitters: Submitters | None = None,
    ) -> None:
        self._sequencer = sequencer
        self._files = files
        self._published = published
        self._history = history
        self._metrics = metrics
        # Apart, so that clients who send batches slowly keep nobody from adding single entries.
        self._adds = adds or Admission(ADDS_AT_ONCE)
        self._batches = batches or Admission(BATCHES_AT_ONCE)
        self._covered = covered
        self._submitters = submitters
        self._waiting = trio.CapacityLimiter(WAITING_AT_ONCE)
        self._reading = trio.CapacityLimiter(READS_AT_ONCE)

    def app(self) -> ASGIApp:
        """The public interface."""
        app = Starlette(routes=self.routes(), exception_handlers={ObjectsFailed: _away, Crowded: _crowded})
        app.router.redirect_slashes = False  # each resource has one path, and clients of ours follow no redirects
        return shortcut(app, "/add", self._add)

    def routes(self) -> list[Route]:
        """Every resource."""
        return [
            Route("/add", self._add, methods=["POST"]),
            Route("/add-batch", self._add_batch, methods=["POST"]),
            Route("/checkpoint", self._checkpoint, methods=["GET"]),
            Route("/tile/{path:path}", self._tile, methods=["GET"]),
            Route("/v1/proofs/entry/{index}", self._entry_proof, methods=["GET"]),
            Route("/v1/proofs/inclusion", self._inclusion, methods=["GET"]),
            Route("/v1/proofs/consistency", self._consistency, methods=["GET"]),
            Route("/v1/checkpoints", self._checkpoints, methods=["GET"]),
            Route("/v1/checkpoints.ndjson", self._export, methods=["GET"]),
            Route("/v1/checkpoints/{size}", self._checkpoint_of, methods=["GET"]),
        ]

    async def _add(self, request: Request) -> Response:
        async def answer() -> Response:
            refused = self._submitters and self._submitters.admit(request, 1)
            if refused:
                return refused
            entry = await read_body(request, MAX_ENTRY_BYTES)
            (index,) = await self._sequence((entry,))
            return bare(200, format_decimal(index) + b"\n", TEXT)

        return await self._admit(self._adds, request, MAX_ENTRY_BYTES, answer)

    async def _add_batch(self, request: Request) -> Response:
        async def answer() -> Response:
            # Before the body: who may not add keeps no place from those who may.
            refused = self._submitters and self._submitters.admit(request, 0)
            if refused:
                return refused
            body = await read_body(request, MAX_BUNDLE_BYTES)
            try:
                entries = parse_batch(body)
            except FormatError as error:
                return refusal(400, f"{error}: send 1 to {TILE_WIDTH} entries, each after its length as two bytes")
            refused = self._submitters and self._submitters.admit(request, len(entries))
            if refused:
                return refused
            return JSONResponse({"indexes": await self._sequence(entries)})

        return await self._admit(self._batches, request, MAX_BUNDLE_BYTES, answer)

    async def _admit(
        self, admission: Admission, request: Request, cap: int, answer: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Answer if there is a place, which is taken before any of the body is."""
        announced = request.headers.get("content-length")
        try:
            with admission.place(cap if announced is None else min(int(announced), cap)):
                return await answer()
        except Busy:
            self._metrics.busy()
            return refusal(503, "the log is behind: try again in a second", {"retry-after": str(RETRY_SECONDS)})

    async def _sequence(self, entries: tuple[bytes, ...]) -> tuple[int, ...]:
        if self._sequencer.is_ahead:
            with trio.move_on_after(TILES_SECONDS):
                await self._sequencer.wait_for_tiles()
            if self._sequencer.is_ahead:
                raise Busy
        indexes = await self._sequencer.add(entries)
        self._metrics.answered(len(indexes))
        return indexes

    async def _checkpoint(self, _request: Request) -> Response:
        published = self._published()
        if published is None:
            return refusal(404, "no checkpoint is published yet: the log may be waiting for its witnesses", ABSENT)
        # SPEC: T-2 text/plain; charset=utf-8, not cached beyond a few seconds.
        return bare(200, published.raw, TEXT, FRESH)

    async def _tile(self, request: Request) -> Response:
        # Not the decoded path: a tile has one path, and %2F is not in it.
        path = request.scope["raw_path"].decode("latin-1").removeprefix("/")
        try:
            # The name of the file is made from the parsed numbers, never from what was sent.
            name = (EntryBundle if path.startswith("tile/entries/") else Tile).parse(path).path()
        except FormatError as error:
            return refusal(404, f"{error}: see c2sp.org/tlog-tiles for the layout", ABSENT)
        data = await trio.to_thread.run_sync(self._files.read, name, limiter=self._reading)
        if data is None:
            return refusal(404, "this log has no such tile, or has it in another width", ABSENT)
        # SPEC: T-7 tiles and bundles never change.
        return bare(200, data, BINARY, IMMUTABLE)

    async def _entry_proof(self, request: Request) -> Response:
        try:
            index = parse_decimal(request.path_params["index"].encode(), "the index")
            seconds = parse_decimal(request.query_params.get("wait", "0").encode(), "wait=")
        except FormatError as error:
            return refusal(400, str(error))
        await self._wait(index, min(seconds, MAX_WAIT_SECONDS))
        published = self._published()
        if published is None or index >= published.size:
            return refusal(404, "no published checkpoint covers this index yet: try again after the next one", ABSENT)
        path = await self._prove(prove_inclusion, index, published.size, published.size)
        return bare(200, TlogProof(index, tuple(path), published.raw).format(), TEXT, FRESH)

    async def _wait(self, index: int, seconds: int) -> None:
        """Wait until a published checkpoint covers the index, as long as was asked for and as there is room."""
        if self._covered is None or not seconds:
            return
        with trio.move_on_after(seconds):
            try:
                self._waiting.acquire_on_behalf_of_nowait(place := object())
            except trio.WouldBlock:
                return
            try:
                await self._covered(index)
            finally:
                self._waiting.release_on_behalf_of(place)

    async def _inclusion(self, request: Request) -> Response:
        return await self._proof(request, "index", "size", lambda index, size: index < size, prove_inclusion)

    async def _consistency(self, request: Request) -> Response:
        return await self._proof(request, "from", "to", lambda old, new: old <= new, prove_consistency)

    async def _proof(
        self, request: Request, first: str, second: str, possible: Callable[[int, int], bool], prove: Prove
    ) -> Response:
        published = self._published()
        try:
            a, b = (parse_decimal(request.query_params.get(name, "").encode(), f"{name}=") for name in (first, second))
        except FormatError as error:
            return refusal(400, f"{error}: give {first}= and {second}= in decimal")
        if published is None or b > published.size or not possible(a, b):
            return refusal(404, f"the published tree has no such proof: {second}= is at most its size", ABSENT)
        hashes = await self._prove(prove, a, b, published.size)
        document = {first: a, second: b, "hashes": [encode_base64(hash).decode() for hash in hashes]}
        return JSONResponse(document, headers=IMMUTABLE)

    async def _prove(self, prove: Prove, a: int, b: int, size: int) -> list[Hash]:
        # The nodes come from the published tree's tiles: the partial ones of a smaller size may be gone.
        return await trio.to_thread.run_sync(prove, a, b, self._files.nodes(size), limiter=self._reading)

    async def _checkpoint_of(self, request: Request) -> Response:
        try:
            size = parse_decimal(request.path_params["size"].encode(), "the size")
        except FormatError as error:
            return refusal(400, str(error))
        note = await self._history.note(size)
        if note is None:
            return refusal(404, "no checkpoint of this size is kept: see /v1/checkpoints for those that are", ABSENT)
        return bare(200, note, TEXT, FRESH)

    async def _checkpoints(self, request: Request) -> Response:
        try:
            question = self._question(request.query_params)
        except FormatError as error:
            return refusal(400, f"{error}: leave out what you do not want to say")
        page = await self._history.page(question)
        full = len(page) == question.limit
        following = self._history.cursor(question, page[-1].head.size) if full else None
        return JSONResponse({"checkpoints": [_document(one) for one in page], "next": following}, headers=FRESH)

    async def _export(self, request: Request) -> Response:
        try:
            question = self._question(request.query_params)
        except FormatError as error:
            return refusal(400, f"{error}: leave out what you do not want to say")
        self._history.check_room_for_export()

        async def lines() -> AsyncIterator[bytes]:
            async for published in self._history.export(question):
                document = {**_document(published), "note": published.note.decode()}
                yield json.dumps(document, ensure_ascii=False).encode() + b"\n"

        return StreamingResponse(lines(), media_type=NDJSON, headers=FRESH)

    def _question(self, asked: Mapping[str, str]) -> Question:
        question = _question(asked)
        return self._history.resume(question, asked["after"]) if "after" in asked else question


async def _away(_request: Request, _error: Exception) -> Response:
    return refusal(503, "the log's storage does not answer: try again later", {**ABSENT, "retry-after": "5"})


async def _crowded(_request: Request, _error: Exception) -> Response:
    headers = {**ABSENT, "retry-after": str(RETRY_SECONDS)}
    return refusal(503, "too many ask about the history at once: try again in a second", headers)


def _question(asked: Mapping[str, str]) -> Question:
    numbers = {
        name: parse_decimal(asked[name].encode(), f"{name}=")
        for name in ("limit", "min_size", "max_size", "since", "until")
        if name in asked
    }
    if not 1 <= numbers.get("limit", 1) <= MAX_PAGE:
        raise FormatError(f"limit= is not between 1 and {MAX_PAGE}")
    key = asked.get("key")
    if key is not None and not _KEY_ID.fullmatch(key):
        raise FormatError("key= is not a key ID of eight hexadecimal digits")
    if "\0" in asked.get("witness", ""):
        raise FormatError("witness= has a character that is in no key's name")  # PostgreSQL has no such text
    return Question(**numbers, key_id=None if key is None else bytes.fromhex(key), witness=asked.get("witness"))


def _document(published: Published) -> dict[str, object]:
    return {
        "size": published.head.size,
        "root_hash": encode_base64(published.head.root_hash).decode(),
        "time": published.time,
        "epoch": published.epoch,
        "version": published.version,
        "signatures": [
            {"name": one.key_name, "key_id": one.key_id.hex(), "time": one.time} for one in published.signatures
        ],
    }
