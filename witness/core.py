"""What a witness thinks of a request, without touching the world.

    body ──examine──▶ Submission ──tlog.advance.decide──▶ Decision ──answer──▶ Answer

``examine`` needs only the configured logs; ``decide`` needs the register's latest statement. Both are pure, so that the
whole order of checks can be read, and tested, in one place. The order is the one tlog-witness implementations use:
nothing secret is revealed by an early answer, and state is looked at last.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, NotCanonicalError, SignatureError
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note, open_note
from tlog.signed_checkpoint import SignedCheckpoint
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
    """No trusted key signed the checkpoint, or a trusted key's signature fails."""

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
        return NotSigned(str(error)) if origin in logs else UnknownLog()
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
        return NotSigned(str(error))
    except FormatError as error:
        return BadRequest(str(error))
    opened = SignedCheckpoint(checkpoint, note, signatures).verified_only()
    return Submission(request.old_size, request.path, opened)


def _claimed_origin(text: bytes) -> str:
    """The first line of an unverified note: good enough to choose the keys that have to verify it."""
    line, _ = cut(text, b"\n", "checkpoint has no origin line")
    return parse_origin(line)
