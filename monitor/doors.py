"""What anybody may bring to a monitor: a checkpoint to ask about, a proof that only they were shown, evidence.

Who asks is not asked. A checkpoint is only looked at if the log signed it, and then counts like one that the log itself
showed, so asking is also how a client hands in a head that it alone was shown. A head on the
monitor's branch is not written down, whoever asks about it and however often; what its cosigners stated with it is.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gossip.budget import Busy, Room
from gossip.core import EvidenceShown, Log, MissingTile, OpeningShown, StatementShown, origin_id
from gossip.core.ledger import timestamped
from gossip.limits import SMALL_BYTES
from gossip.messages import MAX_SIGNATURE_LINES
from monitor.archive import CLIENT
from monitor.certificates import claim
from monitor.core import Verdict, View, judge
from monitor.node import Monitor
from monitor.views import Document
from runtime.clock import Clock
from runtime.http import read_body, refusal
from runtime.visitors import Visitors
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.evidence import MAX_EVIDENCE_BYTES, Conviction, Evidence, verify_evidence
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES, BadSignatureError, Note
from tlog.opening import FIRST_LINE, TruncatedProof
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import encode_base64
from tlog.tlog_proof import MAX_PROOF_BYTES, TlogProof

MAX_WEIGHED = 4096  # notes on the branch whose cosignatures were weighed lately, 64 bytes each: asked again, not again
MAX_UNREAD_BYTES = 8 * 1024 * 1024  # of large bodies that strangers have begun to send; forty of the largest
PATIENCE_SECONDS = 2.0  # in the line for that room

OPEN = {"cache-control": "no-store", "access-control-allow-origin": "*"}  # a client may be a page in a browser


@dataclass(slots=True)
class Doors:
    """The endpoints."""

    monitor: Monitor
    clock: Clock
    visitors: Visitors
    _unread: Room = field(default_factory=lambda: Room(MAX_UNREAD_BYTES, PATIENCE_SECONDS))
    _weighed: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    async def ask(self, request: Request) -> Response:
        """How does this checkpoint relate to what everybody sees?"""
        return await self._admit(request, MAX_NOTE_BYTES, self._ask)

    async def submit(self, request: Request) -> Response:
        """Take a ``.tlog-proof`` or a truncated one, and answer as if its checkpoint had been asked about."""
        return await self._admit(request, MAX_PROOF_BYTES, self._submit)

    async def evidence(self, request: Request) -> Response:
        """Take evidence: it is its own authorisation."""
        return await self._admit(request, MAX_EVIDENCE_BYTES, self._evidence)

    async def _admit(self, request: Request, cap: int, answer: Callable[[bytes], Awaitable[Response]]) -> Response:
        wait = self.visitors.admit(None if request.client is None else request.client.host)
        if wait is not None:
            return refusal(429, "too many questions at once: ask again later", {**OPEN, "retry-after": str(wait)})
        try:
            return await answer(await self._read(request, cap))
        except Busy as busy:
            self.visitors.refused["room"] += 1
            return refusal(429, "too much at once: ask again later", {**OPEN, "retry-after": str(busy.seconds)})
        except MissingTile:
            # The question itself has made the monitor fetch the tile.
            return refusal(503, "the hashes of this old tree are being fetched: ask again", {"retry-after": "2"})

    async def _read(self, request: Request, cap: int) -> bytes:
        size = min(announced(request, cap), cap)
        async with nullcontext() if size <= SMALL_BYTES else self._unread.hold(size):
            return await read_body(request, cap)

    async def _ask(self, raw: bytes) -> Response:
        try:
            return await self._about(Note.parse(raw), None)
        except (FormatError, SignatureError) as error:
            return refusal(400, f"this is not a checkpoint that the log signed: {error}")

    async def _submit(self, raw: bytes) -> Response:
        try:
            if raw.partition(b"\n")[0] != FIRST_LINE:
                return await self._about(Note.parse(TlogProof.parse(raw).checkpoint_note), None)
            opening = TruncatedProof.parse(raw)
            opening.require_path()
            return await self._about(opening.note, opening)
        except (FormatError, SignatureError) as error:
            return refusal(400, f"this is not a proof with a checkpoint that the log signed: {error}")
        except ProofError as error:
            return refusal(422, f"this opening proves nothing: {error}")

    async def _about(self, note: Note, opening: TruncatedProof | None) -> Response:
        """Take notice of a checkpoint, and of a part of its tree if there is one, and say what the monitor sees."""
        origin = origin_id(Checkpoint.parse(note.text).origin)
        if origin not in self.monitor.sites:
            return _answer({"verdict": Verdict.UNKNOWN_ORIGIN})
        signed = _opened(self.monitor.sites[origin].log, note)
        if opening is not None and signed.size > self.monitor.branch(origin).size:
            await self.monitor.gossip.dispatch(OpeningShown(origin, signed.raw, opening))
        if not await self._is_settled(origin, signed):
            refusals = await self.monitor.submit(origin, signed.raw, CLIENT)
            if refusals:
                return refusal(400, refusals[0])
        return await self._view(origin, signed)

    async def _is_settled(self, origin: bytes, signed: SignedCheckpoint) -> bool:
        """Tell whether a checkpoint lies on the branch. Then only cosignatures may be news: weighed once."""
        try:
            if await self.monitor.root_at(origin, signed.size) != signed.root_hash:
                return False
        except MissingTile:
            return False
        known = sha256(signed.raw).digest()
        if known not in self._weighed and any(True for _ in timestamped(signed)):
            self._weighed[known] = None
            if len(self._weighed) > MAX_WEIGHED:
                self._weighed.popitem(last=False)
            await self.monitor.gossip.dispatch(StatementShown(origin, signed))
        return True

    async def _view(self, origin: bytes, signed: SignedCheckpoint) -> Response:
        # Taken together: what the branch is meanwhile, the proof below would not lead to.
        branch, frontier = self.monitor.branch(origin), self.monitor.frontier(origin)
        root = await self.monitor.root_at(origin, signed.size)
        view = View(self.monitor.sites[origin].confirmed, self.clock.now())
        verdict = judge(branch, signed.head, None if root is None else Hash(root), view)
        proven = verdict in (Verdict.PREFIX, Verdict.STALE) and 0 < signed.size < branch.size
        path = await self.monitor.prove(origin, signed.size, branch.size) if proven else ()
        return _answer(
            {
                "verdict": verdict,
                "origin": signed.origin,
                "size": branch.size,
                "frontier": None if frontier is None else frontier.decode(),
                "proof": [encode_base64(value).decode() for value in path],
                "evidence": [id_.hex() for id_ in branch.convicted],
                "watermark": claim(self.monitor.marks.current(origin)),
            }
        )

    async def _evidence(self, raw: bytes) -> Response:
        try:
            evidence = Evidence.parse(raw)
        except FormatError as error:
            return refusal(400, f"this is no evidence: {error}")
        origin = origin_id(evidence.origin)
        if origin not in self.monitor.sites:
            return _answer({"verdict": "unknown-origin"}, 202)
        try:
            conviction = self._verified(self.monitor.sites[origin].log, evidence)
        except (ProofError, BadSignatureError) as error:
            return refusal(422, f"this evidence does not hold: {error}")
        except SignatureError:
            return _answer({"verdict": "unknown-key"}, 202)
        refusals = await self.monitor.gossip.dispatch(EvidenceShown(raw))
        if refusals:
            return refusal(422, refusals[0])
        return _answer(_document(conviction, self.monitor.gossip.state.evidence))

    def _verified(self, log: Log, evidence: Evidence) -> Conviction:
        known = self.monitor.gossip.state.rules.keys_of(log, evidence.notes)
        return verify_evidence(evidence, known, log.policy, log.origin)


def announced(request: Request, cap: int) -> int:
    """How long the body will be at most: what it says, or the most that is read."""
    return int(request.headers.get("content-length", cap))


def _opened(log: Log, note: Note) -> SignedCheckpoint:
    if len(note.signatures) > MAX_SIGNATURE_LINES:
        # Lines of unknown keys are dropped below, and so the machine would not see how many there were.
        raise FormatError(f"the note has more than {MAX_SIGNATURE_LINES} signature lines")
    signed = open_checkpoint(note, (*log.keys, *log.policy.witness_keys)).verified_only()
    if not any(signed.signed_by(key) for key in log.keys):
        raise SignatureError("the log's signature is missing")
    return signed


def _document(conviction: Conviction, kept: Iterable[bytes]) -> Document:
    return {
        "verdict": "convicted",
        "id": conviction.id.hex(),
        "type": conviction.type.value,
        "origin": conviction.origin,
        "accused": conviction.accused.format(),
        "kept": conviction.id in kept,
    }


def _answer(document: Document, status: int = 200) -> Response:
    return JSONResponse(document, status, headers=OPEN)
