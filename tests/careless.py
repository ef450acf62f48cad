"""Witnesses that make one mistake each, to see whether the test kit notices that one and no other.

``HonestWitness`` keeps its state in memory and makes none. A mistake is a subclass that overrides one step of it.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from urllib.parse import urlsplit

import trio.testing
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from typing_extensions import override

from runtime.client import Response as Answer
from runtime.clock import Clock
from runtime.http import bare
from tests.keys import note_line
from tlog.add_checkpoint import SIZE_MEDIA_TYPE, AddCheckpoint, format_size
from tlog.advance import Advance, Decision, Inconsistent, Malformed, Refresh, Stale, Statement, decide
from tlog.checkpoint import Checkpoint
from tlog.hashing import EMPTY_ROOT
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note, open_note
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import encode_base64
from witness.core import BadRequest, Examination, NotSigned, Submission, UnknownLog, examine


class HonestWitness:
    """Answers by specification."""

    def __init__(self, origin: str, log_keys: Sequence[VerifierKey], keys: Sequence[SignerKey], clock: Clock) -> None:
        self.origin, self.log_keys, self.keys, self.clock = origin, tuple(log_keys), tuple(keys), clock
        self.known: Statement | None = None
        self.copy: bytes | None = None

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/add-checkpoint", self.add_checkpoint, methods=["POST"]),
                Route("/{origin_hash}/checkpoint", self.serve_copy, methods=["GET"]),
            ]
        )

    async def add_checkpoint(self, request: Request) -> Response:
        if int(request.headers.get("content-length", "0")) > self.cap():
            return bare(413)
        body = await request.body()
        examined = self.examine(body)
        if not isinstance(examined, Submission):
            return bare(self.status_of(examined))
        decision = self.decide(examined)
        if not isinstance(decision, Advance | Refresh):
            return self.refuse(examined, decision)
        await self.pause(decision)
        self.keep(decision)
        checkpoint = self.understood(examined.checkpoint.checkpoint)
        lines = self.lines(examined, checkpoint, decision)
        self.publish(body.partition(b"\n\n")[2], examined, lines)
        return bare(200, lines, "text/plain; charset=utf-8")

    def cap(self) -> int:
        return 128 * 1024

    def examine(self, body: bytes) -> Examination:
        return examine(body, {self.origin: self.log_keys})

    def status_of(self, examined: BadRequest | UnknownLog | NotSigned) -> int:
        return {BadRequest: 400, UnknownLog: 404, NotSigned: 403}[type(examined)]

    def decide(self, sent: Submission) -> Decision:
        return decide(self.known, sent.old_size, sent.checkpoint.checkpoint, sent.path, self.clock.now())

    def refuse(self, sent: Submission, decision: Decision) -> Response:
        match decision:
            case Stale(size):
                return self.conflict(size)
            case Malformed():
                return bare(400)
            case Inconsistent():
                return bare(422)
            case _:
                return bare(503)

    def conflict(self, size: int) -> Response:
        return bare(409, format_size(size), SIZE_MEDIA_TYPE)

    async def pause(self, decision: Advance | Refresh) -> None:
        pass

    def keep(self, decision: Advance | Refresh) -> None:
        self.known = decision.statement

    def understood(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint

    def lines(self, sent: Submission, checkpoint: Checkpoint, decision: Advance | Refresh) -> bytes:
        usable = [key for key in self.keys if not (checkpoint.extensions and key.type is KeyType.COSIGNATURE_MLDSA44)]
        time = self.time(decision)
        return b"".join(note_line(checkpoint, key, time).format() for key in usable)

    def time(self, decision: Advance | Refresh) -> int:
        return decision.statement.time

    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.copy = sent.checkpoint.raw + lines

    async def serve_copy(self, request: Request) -> Response:
        if not self.is_ours(request.path_params["origin_hash"]) or self.copy is None:
            return bare(404)
        return bare(200, self.copy)

    def is_ours(self, origin_hash: str) -> bool:
        return origin_hash == sha256(self.origin.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Direct:
    """Asks an application without a network in between, as ``runtime.client.Client`` asks servers."""

    app: ASGIApp

    async def fetch(self, method: str, url: str, *, cap: int, seconds: float, body: bytes = b"") -> Answer:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        fields = [(b"content-length", b"%d" % len(body))]
        scope = {"type": "http", "method": method, "path": urlsplit(url).path, "headers": fields, "query_string": b""}
        await self.app(scope, receive, send)
        head, *parts = sent
        headers = {name.decode(): value.decode() for name, value in head["headers"]}
        return Answer(head["status"], headers, b"".join(part["body"] for part in parts))


# How requests are read.


class ReadsLeadingZeros(HonestWitness):
    @override
    def examine(self, body: bytes) -> Examination:
        return super().examine(re.sub(rb"^old 0+(?=[0-9])", b"old ", body))


class ReadsSigns(HonestWitness):
    @override
    def examine(self, body: bytes) -> Examination:
        return super().examine(re.sub(rb"^old \+", b"old ", body))


class ReadsCarriageReturns(HonestWitness):
    """As ``bufio.ReadLine`` of Go does, in the head of the request."""

    @override
    def examine(self, body: bytes) -> Examination:
        head, empty, note = body.partition(b"\n\n")
        return super().examine(head.replace(b"\r\n", b"\n").removesuffix(b"\r") + empty + note)


class ReadsManySpellings(HonestWitness):
    """Decodes the root hash leniently and cosigns what it understood."""

    @override
    def examine(self, body: bytes) -> Examination:
        examined = super().examine(body)
        head, _, raw = body.partition(b"\n\n")
        root = raw.split(b"\n")[2:3]
        if not isinstance(examined, BadRequest) or not root or not _is_misspelled(root[0]):
            return examined
        note = Note.parse(raw)
        signatures = open_note(note, self.log_keys)
        request = AddCheckpoint.parse(head + b"\n\n" + raw)
        checkpoint = Checkpoint.parse(note.text.replace(root[0], _canonical(root[0])))
        return Submission(request.old_size, request.path, SignedCheckpoint(checkpoint, note, signatures))


class HasSmallBodies(HonestWitness):
    @override
    def cap(self) -> int:
        return 16 * 1024


class FailsOnNothing(HonestWitness):
    """Answers an empty body as a fault of its own."""

    @override
    async def add_checkpoint(self, request: Request) -> Response:
        return bare(500) if request.headers.get("content-length", "0") == "0" else await super().add_checkpoint(request)


class AcceptsAnyMethod(HonestWitness):
    @override
    def app(self) -> Starlette:
        application = super().app()
        application.router.routes.append(Route("/add-checkpoint", _refuses, methods=["GET", "PUT", "DELETE"]))
        application.router.routes.reverse()
        return application


class FailsOnMuch(HonestWitness):
    @override
    async def add_checkpoint(self, request: Request) -> Response:
        answer = await super().add_checkpoint(request)
        return bare(500) if answer.status_code == 413 else answer


# Whom it trusts.


class HidesUnknownLogs(HonestWitness):
    @override
    def status_of(self, examined: BadRequest | UnknownLog | NotSigned) -> int:
        return 403 if isinstance(examined, UnknownLog) else super().status_of(examined)


class FailsOnSignatures(HonestWitness):
    @override
    def status_of(self, examined: BadRequest | UnknownLog | NotSigned) -> int:
        return 500 if isinstance(examined, NotSigned) else super().status_of(examined)


class NeedsOneGoodKey(HonestWitness):
    """Is content with any key that verifies."""

    @override
    def examine(self, body: bytes) -> Examination:
        for keys in (self.log_keys, *((key,) for key in self.log_keys)):
            examined = examine(body, {self.origin: keys})
            if not isinstance(examined, NotSigned):
                return examined
        return NotSigned("no key verifies", self.origin)


# What it decides.


class TrustsOnFirstUse(HonestWitness):
    @override
    def decide(self, sent: Submission) -> Decision:
        if self.known is None:
            return Advance(self.statement(sent))
        return super().decide(sent)

    def statement(self, sent: Submission) -> Statement:
        head = sent.checkpoint.checkpoint
        return Statement(head.origin, head.size, head.root_hash, self.clock.now(), head.extensions)


class AcceptsOldAboveSize(TrustsOnFirstUse):
    """Cosigns what does not grow, and remembers what it knew."""

    @override
    def decide(self, sent: Submission) -> Decision:
        if sent.old_size > sent.checkpoint.size and self.known is not None and self.known.size == sent.old_size:
            return Refresh(self.statement(sent))
        return HonestWitness.decide(self, sent)

    @override
    def keep(self, decision: Advance | Refresh) -> None:
        if self.known is None or decision.statement.size >= self.known.size:
            super().keep(decision)


class AcceptsOtherRoots(TrustsOnFirstUse):
    @override
    def decide(self, sent: Submission) -> Decision:
        if self.known is not None and self.known.size == sent.old_size == sent.checkpoint.size > 0 and not sent.path:
            return Refresh(self.statement(sent))
        return HonestWitness.decide(self, sent)


class AcceptsEmptyRoots(TrustsOnFirstUse):
    """Does not look at the root hash of an empty tree, nor whether it has seen a larger one."""

    @override
    def decide(self, sent: Submission) -> Decision:
        if sent.checkpoint.size == 0 and sent.checkpoint.root_hash != EMPTY_ROOT:
            return Refresh(self.statement(sent))
        return HonestWitness.decide(self, sent)

    @override
    def keep(self, decision: Advance | Refresh) -> None:
        if decision.statement.size > 0:
            super().keep(decision)


class AcceptsLongProofs(HonestWitness):
    @override
    def decide(self, sent: Submission) -> Decision:
        decision = super().decide(sent)
        if isinstance(decision, Inconsistent) and sent.path and sent.old_size:
            return super().decide(replace(sent, path=sent.path[:-1]))
        return decision


class AcceptsProofsFromZero(HonestWitness):
    @override
    def decide(self, sent: Submission) -> Decision:
        return super().decide(replace(sent, path=sent.path if sent.old_size else ()))


class RefusesToRefresh(HonestWitness):
    @override
    def refuse(self, sent: Submission, decision: Decision) -> Response:
        return bare(400) if isinstance(decision, Refresh) else super().refuse(sent, decision)

    @override
    def decide(self, sent: Submission) -> Decision:
        decision = super().decide(sent)
        return Malformed("known") if isinstance(decision, Refresh) else decision


class HasNoTransactions(HonestWitness):
    """Decides, and stores when everybody else has decided too."""

    @override
    async def pause(self, decision: Advance | Refresh) -> None:
        if isinstance(decision, Advance):
            await trio.testing.wait_all_tasks_blocked(0.02)


# What it answers.


class NamesACharset(HonestWitness):
    @override
    def conflict(self, size: int) -> Response:
        return bare(409, format_size(size), f"{SIZE_MEDIA_TYPE}; charset=utf-8")


class EndsNoLine(HonestWitness):
    @override
    def conflict(self, size: int) -> Response:
        return bare(409, b"%d" % size, SIZE_MEDIA_TYPE)


class CallsForksConflicts(HonestWitness):
    """As tlog-witness v1.0.0 had it."""

    @override
    def refuse(self, sent: Submission, decision: Decision) -> Response:
        if isinstance(decision, Inconsistent) and sent.old_size == sent.checkpoint.size > 0 and not sent.path:
            return bare(409)
        return super().refuse(sent, decision)


class EchoesTheLog(HonestWitness):
    @override
    def lines(self, sent: Submission, checkpoint: Checkpoint, decision: Advance | Refresh) -> bytes:
        return sent.checkpoint.signatures[0].line.format() + super().lines(sent, checkpoint, decision)


class SignsWithOneKey(HonestWitness):
    @override
    def lines(self, sent: Submission, checkpoint: Checkpoint, decision: Advance | Refresh) -> bytes:
        return super().lines(sent, checkpoint, decision).partition(b"\n")[0] + b"\n"


class SignsTwice(HonestWitness):
    @override
    def lines(self, sent: Submission, checkpoint: Checkpoint, decision: Advance | Refresh) -> bytes:
        return 2 * super().lines(sent, checkpoint, decision)


class StatesNoTime(HonestWitness):
    @override
    def time(self, decision: Advance | Refresh) -> int:
        return 0


class LivesInThePast(HonestWitness):
    @override
    def time(self, decision: Advance | Refresh) -> int:
        return decision.statement.time - 3600


class GoesBackInTime(HonestWitness):
    signed = 0

    @override
    def time(self, decision: Advance | Refresh) -> int:
        self.signed += 1
        return decision.statement.time - self.signed % 200


class DropsExtensions(HonestWitness):
    @override
    def understood(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(checkpoint, extensions=())


class SignsExtensionsWithEveryKey(HonestWitness):
    """An ML-DSA-44 key signs no extension lines, and this one acts as if there were none."""

    @override
    def lines(self, sent: Submission, checkpoint: Checkpoint, decision: Advance | Refresh) -> bytes:
        time = self.time(decision)
        plain = replace(checkpoint, extensions=())
        meant = {KeyType.COSIGNATURE_MLDSA44: plain}
        return b"".join(note_line(meant.get(key.type, checkpoint), key, time).format() for key in self.keys)


class SignsAnotherSize(HonestWitness):
    @override
    def understood(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(checkpoint, size=checkpoint.size + 1)


class AnswersWithAWord(HonestWitness):
    @override
    async def add_checkpoint(self, request: Request) -> Response:
        answer = await super().add_checkpoint(request)
        return bare(200, b"ok\n") if answer.status_code == 200 else answer


# What it shows.


class ShowsTheCopyBefore(HonestWitness):
    next_copy: bytes | None = None

    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.copy, self.next_copy = self.next_copy, sent.checkpoint.raw + lines


class ShowsAnyLine(HonestWitness):
    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.copy = note + lines


class ShowsNoLogSignature(HonestWitness):
    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.copy = sent.checkpoint.note.text + b"\n" + lines


class ShowsOtherLines(HonestWitness):
    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        head = sent.checkpoint.checkpoint
        others = b"".join(note_line(head, key, self.clock.now() + 1).format() for key in self.keys)
        self.copy = sent.checkpoint.raw + others


class ShowsNoCosignature(HonestWitness):
    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.copy = sent.checkpoint.raw


class ShowsWhatItRefused(HonestWitness):
    @override
    def refuse(self, sent: Submission, decision: Decision) -> Response:
        if isinstance(decision, Inconsistent) and sent.checkpoint.size:
            self.copy = sent.checkpoint.raw
        return super().refuse(sent, decision)


class ShowsNonsense(HonestWitness):
    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.copy = b"nonsense"


class ShowsLater(HonestWitness):
    """Shows a new copy to whoever asks for the third time."""

    following: list[bytes | None]

    @override
    def publish(self, note: bytes, sent: Submission, lines: bytes) -> None:
        self.following = [self.copy, self.copy, sent.checkpoint.raw + lines]

    @override
    async def serve_copy(self, request: Request) -> Response:
        if self.following:
            self.copy = self.following.pop(0)
        return await super().serve_copy(request)


class ShowsUnderAnySpelling(HonestWitness):
    @override
    def is_ours(self, origin_hash: str) -> bool:
        return super().is_ours(origin_hash.lower())


class ShowsNothing(HonestWitness):
    @override
    def is_ours(self, origin_hash: str) -> bool:
        return False


def _is_misspelled(root: bytes) -> bool:
    return len(root) == 44 and root.endswith(b"=") and root != _canonical(root)


def _canonical(root: bytes) -> bytes:
    return encode_base64(binascii.a2b_base64(root))


async def _refuses(request: Request) -> Response:
    return bare(404)
