"""A conversation with the witness under test, as the log that its operator registered.

The session signs whatever a case wants, honest or not. It remembers nothing between two cases but what it was told at
the start: each case asks the witness for its size first, so that one case that went wrong does not spoil the next.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

import trio

from runtime.client import FetchError, Response
from runtime.clock import Clock
from runtime.errors import CannotTell, UsageError
from sameview.conformance.outcomes import CaseEnded, Differs, Failed, Text, fail, skip
from sameview.conformance.tree import KitTree
from tlog.add_checkpoint import MAX_ANSWER_BYTES
from tlog.checkpoint import Checkpoint
from tlog.cosignature import subtree_message
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import MAX_NOTE_BYTES, SignatureLine, parse_signature_lines, signature_line
from tlog.policy import printable
from tlog.text import encode_base64, format_decimal, parse_decimal

SECONDS = 30.0  # for one answer: a witness that replicates its state over an ocean needs two
SMALLEST = 10  # entries of the tree that most cases start from: two digits, and proofs of several hashes
LARGEST = 1 << 20  # entries of a tree that the kit computes: ten thousands of runs
FIRST = 1  # the size of the first probe, at which the kit never leaves a witness: who stands there trusted on first use
BUSY_TURNS = 3  # answers 429 in a row that are waited out
BUSY_SECONDS = 10  # for each of them at most
POLL_SECONDS = 1.0  # between two looks at a public copy that may lag
LONGEST_FACT = 60  # characters of what a witness said that are worth reading

REGISTER = "register the log at the witness, with this origin and key, and run the kit again"


@dataclass(frozen=True, slots=True)
class Subject:
    """The witness under test, and the log that it was told to know."""

    url: str
    monitoring_url: str
    origin: str
    log_keys: tuple[SignerKey, ...]
    vkeys: tuple[VerifierKey, ...]
    text: Text = Text.MAIN
    lag: float = 0.0
    """Seconds after which a public copy has to be the newest."""

    @property
    def log_vkeys(self) -> tuple[VerifierKey, ...]:
        return tuple(key.verifier_key for key in self.log_keys)

    @property
    def prose_only(self) -> bool:
        """Whether the log's key signs texts rather than tree heads: only then can it sign malformed checkpoints."""
        return self.log_keys[0].type is KeyType.ED25519


@dataclass(frozen=True, slots=True)
class Draft:
    """A request in its parts, each as it will stand on the wire."""

    old_line: bytes
    path: tuple[bytes, ...]
    text: bytes
    signatures: bytes

    @property
    def note(self) -> bytes:
        return b"%s\n%s" % (self.text, self.signatures)

    def body(self) -> bytes:
        return b"".join(b"%s\n" % line for line in (self.old_line, *self.path, b"")) + self.note

    def also_signed(self, line: SignatureLine, *, first: bool = False) -> "Draft":
        """The same with one more signature line."""
        more = line.format()
        return replace(self, signatures=more + self.signatures if first else self.signatures + more)


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A submission that was answered 200."""

    checkpoint: Checkpoint
    draft: Draft
    body: bytes

    def lines(self) -> tuple[SignatureLine, ...]:
        """The signature lines of the answer."""
        try:
            return parse_signature_lines(self.body)
        except FormatError as error:
            # SPEC: W-22 the body is one or more signature lines
            fail("W-22", "signature lines", f"200 with something else: {error}")


class Asks(Protocol):
    """What is needed of ``runtime.client.Client``."""

    async def fetch(self, method: str, url: str, *, cap: int, seconds: float, body: bytes = b"") -> Response: ...


class Session:
    """Asks the witness."""

    def __init__(self, subject: Subject, client: Asks, clock: Clock) -> None:
        self.subject = subject
        self.clock = clock
        self.tree = KitTree()
        self.fork = KitTree(b"fork ")
        self.first: Response | None = None
        """The answer to the first probe, before the kit had changed anything."""
        self._client = client

    async def open(self) -> None:
        """Ask for the first time.

        Raises:
            CannotTell: nobody answers.
            UsageError: the witness does not know the log.
        """
        try:
            self.first = await self._probe()
        except FetchError as error:
            raise CannotTell(f"the witness cannot be asked: {error}") from None
        match self.first.status:
            case 404:
                raise UsageError(f"the witness answered 404, it does not know the log: {REGISTER}")
            case 403:
                raise UsageError(f"the witness answered 403, it knows another key of the log: {REGISTER}")

    # What is asked.

    async def fetch(self, method: str, url: str, body: bytes = b"") -> Response:
        return await self._client.fetch(method, url, body=body, cap=MAX_ANSWER_BYTES + MAX_NOTE_BYTES, seconds=SECONDS)

    async def add(self, body: bytes) -> Response:
        """Send a request, again if the witness is busy."""
        for _ in range(BUSY_TURNS):
            answer = await self.fetch("POST", f"{self.subject.url}/add-checkpoint", body)
            if answer.status != 429:
                return answer
            await trio.sleep(min(_seconds(answer), BUSY_SECONDS))
        raise CannotTell("the witness limits how often the log may ask: lift the limit and run the kit again")

    async def copy(self, origin: str) -> Response:
        """Ask for a public copy."""
        # SPEC: W-41 GET <monitoring prefix>/<lowercase hex SHA-256 of the origin>/checkpoint
        return await self.fetch("GET", self.copy_url(sha256(origin.encode()).hexdigest()))

    def copy_url(self, origin_hash: str) -> str:
        return f"{self.subject.monitoring_url}/{origin_hash}/checkpoint"

    # Where the witness stands.

    async def learn(self) -> int:
        """The size at which the witness stands, without changing it."""
        answer = await self._probe()
        if answer.status == 200:
            return FIRST
        if answer.status != 409:
            fail("W-13", "409 and the witness's size", status(answer))
        size = read_size(answer)
        if size > LARGEST:
            fail("W-14", "the size of a tree of the kit's", "a size larger than any: is the log key used elsewhere?")
        return size

    async def stand(self, at_least: int = SMALLEST) -> int:
        """The size at which the witness stands, grown if it is too small to be tested at."""
        size = await self.learn()
        if size >= at_least:
            return size
        await self.cosigned(self.draft(size, at_least), at_least)
        return at_least

    async def fresh(self) -> None:
        """Go on only while the witness stands at size zero."""
        if await self.learn() > 0:
            skip("the witness has cosigned larger trees of this log: register a new log key to run this")

    async def grow(self) -> Cosigned:
        """Add one entry."""
        old = await self.stand()
        return await self.cosigned(self.draft(old, old + 1), old + 1)

    async def refresh(self, size: int) -> Cosigned:
        """Ask for newer cosignatures on what the witness knows."""
        return await self.cosigned(self.draft(size, size), size, by="W-29")

    async def cosigned(self, draft: Draft, size: int, by: str = "W-21") -> Cosigned:
        """Send what has to be cosigned."""
        answer = await self.add(draft.body())
        if answer.status == 422 and by == "W-21":
            fail(by, "200", "422: was this log submitted by another program than the kit?")
        self.expect(answer, 200, by=by)
        return Cosigned(self.checkpoint(size), draft, answer.body)

    async def refused(self, body: bytes, *statuses: int, by: str, older: Collection[int] = ()) -> None:
        """Send what has to be refused with one of the statuses."""
        answer = await self.add(body)
        if answer.status == 200:
            await self._repair()
        self.expect(answer, *statuses, by=by, older=older)

    def expect(self, answer: Response, *statuses: int, by: str, older: Collection[int] = ()) -> None:
        """Compare a status with those that the requirement asks for, or that the older text allowed."""
        if answer.status in statuses:
            return
        expected = " or ".join(map(str, statuses))
        if self.subject.text is Text.V1 and answer.status in older:
            raise CaseEnded(Differs(by, expected, status(answer)))
        raise CaseEnded(Failed(by, expected, status(answer)))

    # What is sent.

    def checkpoint(self, size: int) -> Checkpoint:
        """The honest checkpoint of a size."""
        return Checkpoint(self.subject.origin, size, self.tree.head(size).root_hash)

    def draft(
        self,
        old: int,
        new: int,
        *,
        path: Sequence[Hash] | None = None,
        root_hash: Hash | None = None,
        extensions: tuple[bytes, ...] = (),
        origin: str | None = None,
    ) -> Draft:
        """A request, honest but for what is given."""
        honest = self.checkpoint(new)
        meant = replace(
            honest,
            root_hash=root_hash or honest.root_hash,
            extensions=extensions,
            origin=origin or honest.origin,
        )
        hashes = self.tree.proof(old, new) if path is None else path
        return self.signed(old, tuple(map(encode_base64, hashes)), meant)

    def signed(self, old: int, path: tuple[bytes, ...], meant: Checkpoint, text: bytes | None = None) -> Draft:
        """A request whose checkpoint is signed, spelled as given."""
        text = meant.format() if text is None else text
        line = self.line(self.subject.log_keys[0], text, meant)
        return Draft(b"old " + format_decimal(old), path, text, line.format())

    def line(self, key: SignerKey, text: bytes, meant: Checkpoint) -> SignatureLine:
        """What a key signs for a text that means a checkpoint, whether or not the text is one."""
        time = self.clock.now()
        message = text
        if key.type is KeyType.COSIGNATURE_MLDSA44:
            message = subtree_message(key.name, time, meant.origin, 0, meant.size, meant.root_hash)
        return signature_line(key.verifier_key, time, key.sign(message))

    async def _probe(self) -> Response:
        # SPEC: W-13 whoever does not stand at this size answers 409 and the size; who does, refreshes it.
        return await self.add(self.draft(FIRST, FIRST).body())

    async def _repair(self) -> None:
        """Lead a witness that cosigned what it must not back to the honest tree, so that the other cases say more."""
        try:
            size = await self.learn()
            await self.add(self.draft(size, size).body())
        except (CaseEnded, FetchError):
            return  # then it stays where it is, and the next case will say so


def read_size(answer: Response) -> int:
    """The size that a 409 tells, read kindly: whether it is spelled as it has to be is for one case to say."""
    try:
        return parse_decimal(answer.body.removesuffix(b"\n"), "the size")
    except FormatError:
        fail("W-14", "409 and the witness's size", "409 without a decimal")


def status(answer: Response) -> str:
    """What to say of an answer."""
    return str(answer.status)


def fact(said: str) -> str:
    """Something short that a witness said, made harmless."""
    said = printable(said)
    return said if len(said) <= LONGEST_FACT else said[: LONGEST_FACT - 1] + "…"


def _seconds(answer: Response) -> int:
    try:
        return parse_decimal(answer.headers.get("retry-after", "").encode("ascii", "replace"), "Retry-After")
    except FormatError:
        return 1
