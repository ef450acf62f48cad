"""What a witness thinks of a request, without touching the world.

    body ──examine──▶ Submission ──tlog.advance.decide──▶ Decision ──answer──▶ Answer

``examine`` needs only the configured logs; ``decide`` needs the register's latest statement. Both are pure, so that the
whole order of checks can be read, and tested, in one place. The order is the one tlog-witness implementations use:
nothing secret is revealed by an early answer, and state is looked at last.

What is refused as inconsistent is signed by the log all the same. ``prove`` makes evidence of it where it is a proof,
``judge`` says whom evidence sent by others convicts, and ``shows_more`` recognises a cosignature of ours that our
register has forgotten.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tlog.add_checkpoint import AddCheckpoint
from tlog.advance import Statement
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, NotCanonicalError, ProofError, SignatureError, TlogError
from tlog.evidence import (
    Conviction,
    Evidence,
    bad_empty_head,
    non_consistent_path,
    same_size,
    verify_evidence,
)
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note, open_note
from tlog.proofs import fold
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import cut, parse_origin


@dataclass(frozen=True, slots=True)
class Submission:
    """A well-formed request by a known log: what remains is whether its tree extends the one cosigned before."""

    old_size: int
    path: tuple[Hash, ...]
    checkpoint: SignedCheckpoint
    """Only the signature lines that were verified: a forged line under our own key name must never be stored."""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """The request, its note or its checkpoint is malformed."""

    reason: str


@dataclass(frozen=True, slots=True)
class UnknownLog:
    """No key is configured for the checkpoint's origin."""


@dataclass(frozen=True, slots=True)
class NotSigned:
    """No trusted key signed the checkpoint, or a trusted key's signature fails. The origin is one that is known."""

    reason: str
    origin: str


@dataclass(frozen=True, slots=True)
class NotProven:
    """Well-formed evidence that convicts no key of the log it is about."""

    reason: str


Examination = Submission | BadRequest | UnknownLog | NotSigned


def examine(body: bytes, logs: Mapping[str, tuple[VerifierKey, ...]]) -> Examination:
    """Parse a request and check the log's signature, in the order parse, origin, signature, grammar."""
    try:
        request = AddCheckpoint.parse(body)
        origin = _claimed_origin(request.checkpoint_note)
    except FormatError as error:
        return BadRequest(str(error))
    try:
        note = Note.parse(request.checkpoint_note)
    except NotCanonicalError as error:
        # Only signatures are base64 to the note's parser. Others decode this spelling, find that it does not verify,
        # and answer 403; so do we, although to us it is malformed.
        return NotSigned(str(error), origin) if origin in logs else UnknownLog()
    except FormatError as error:
        return BadRequest(str(error))
    # SPEC: W-10 a checkpoint of an unknown origin is answered 404.
    keys = logs.get(origin)
    if keys is None:
        return UnknownLog()
    # SPEC: W-9, W-11 trusted are the keys of that origin only; none that verifies, or one that fails, is answered 403.
    try:
        signatures = open_note(note, keys)
        checkpoint = Checkpoint.parse(note.text)
    except SignatureError as error:
        return NotSigned(str(error), origin)
    except FormatError as error:
        return BadRequest(str(error))
    opened = SignedCheckpoint(checkpoint, note, signatures).verified_only()
    return Submission(request.old_size, request.path, opened)


def prove(refused: Submission, signed_before: Iterable[SignedCheckpoint]) -> Evidence | None:
    """What a refused head proves against its log, given others that the log signed; None where it proves nothing.

    ``signed_before`` are opened checkpoints of the same origin. What comes back has been verified as strangers do.
    """
    # SPEC: W-20 The witness MAY log a correctly signed but inconsistent request; it MUST NOT cosign it.
    makers = [partial(_against, other, refused) for other in signed_before]
    if refused.checkpoint.size == 0:
        makers = [partial(bad_empty_head, refused.checkpoint)]
    for make in makers:
        with suppress(ProofError, SignatureError):
            return make()
    return None


def leads_elsewhere(refused: Submission, known: Statement) -> bool:
    """Whether a refused head's proof leads to it from another root than the known one, or its size has another root.

    That convicts the log. It is found out from what is in memory.
    """
    head = refused.checkpoint
    if head.size == known.size:
        return head.root_hash != known.root_hash
    try:
        root, new_root = fold(known.size, head.size, known.root_hash, refused.path)
    except ProofError:
        return False
    return new_root == head.root_hash and root != known.root_hash


def judge(raw: bytes, logs: Mapping[str, tuple[VerifierKey, ...]]) -> Conviction | BadRequest | UnknownLog | NotProven:
    """Whom evidence convicts, when only the configured keys of the log that it is about are trusted."""
    try:
        evidence = Evidence.parse(raw)
        origin = evidence.origin
    except FormatError as error:
        return BadRequest(str(error))
    if origin not in logs:
        return UnknownLog()
    try:
        return verify_evidence(evidence, logs[origin], origin=origin)
    except TlogError as error:
        return NotProven(str(error))


def shows_more(raw: bytes, origin: str, own: Iterable[VerifierKey], known: Statement | None) -> bool:
    """Whether somebody's copy of a checkpoint carries a cosignature of ours that our register does not know of."""
    return any(_shows_more(raw, origin, key, known) for key in own)


def _claimed_origin(text: bytes) -> str:
    """The first line of an unverified note: good enough to choose the keys that have to verify it."""
    line, _ = cut(text, b"\n", "checkpoint has no origin line")
    return parse_origin(line)


def _against(other: SignedCheckpoint, refused: Submission) -> Evidence:
    head = refused.checkpoint
    if not 0 < other.size < head.size:
        return same_size(other, head)
    # The proof may lead to the new root, but from another root than the log signed before. That convicts. (Where the
    # old size is a power of two the proof does not name the root that it starts from, and nobody can tell.)
    root, _ = fold(other.size, head.size, other.root_hash, refused.path)
    return non_consistent_path(other, head, root, refused.path)


def _shows_more(raw: bytes, origin: str, key: VerifierKey, known: Statement | None) -> bool:
    try:
        found = open_checkpoint(raw, (key,))
    except TlogError:
        return False  # no cosignature of this key: then it says nothing about us
    if found.origin != origin or known is None:
        return found.origin == origin
    time = found.signatures[0].timestamp or 0
    fork = found.size == known.size and found.root_hash != known.root_hash
    return found.size > known.size or time > known.time or fork
