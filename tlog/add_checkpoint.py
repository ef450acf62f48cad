"""How a log, or anybody else, asks a witness for cosignatures: the add-checkpoint call of c2sp.org/tlog-witness.

    old <decimal>
    <base64 hash>...                the consistency proof, at most 63 lines
                                    an empty line
    <checkpoint with signatures>

``AddCheckpoint`` is the grammar of that body and judges nothing: whether the sizes, the proof and the note make sense
is for the witness to decide, which answers each with its own status. ``read_answer`` is the other side: it turns
whatever a witness replied into one of a few outcomes and never raises for a stranger's bytes. It follows the newest
text of the specification and understands the older ones (a same-size conflict answered with 409 instead of 422, with
or without a size), because deployed witnesses speak all of them.

What comes back as ``Cosigned`` was verified against the checkpoint that was sent. Whether its time is recent is for
the caller to say, who has a clock.
"""

from collections.abc import Collection
from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, TlogError
from tlog.hashing import Hash
from tlog.keys import VerifierKey
from tlog.note import Note, VerifiedSignature, open_note, parse_signature_lines
from tlog.text import cut, encode_base64, format_decimal, parse_decimal, parse_hash

# 63 proof lines, a checkpoint and 16 ML-DSA-44 signatures under the longest names make 59.3 kB: that fits twice.
MAX_REQUEST_BYTES = 128 * 1024
MAX_ANSWER_BYTES = 64 * 1024  # a witness returns its own lines only: 16 of ML-DSA-44 under the longest names fit
MAX_PATH = 63  # SPEC: W-7 The client MUST NOT send more than 63 consistency proof lines.
MAX_RETRY_SECONDS = 3600  # no witness can ask to be left alone for longer: silence is what we look out for

SIZE_MEDIA_TYPE = "text/x.tlog.size"  # SPEC: W-14 sent bare, without parameters: deployed clients compare it whole


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request for cosignatures: the size the witness stands at, the proof from there, and the signed checkpoint."""

    old_size: int
    path: tuple[Hash, ...]
    checkpoint_note: bytes

    def __post_init__(self) -> None:
        if len(self.path) > MAX_PATH:
            raise ValueError("a consistency proof has at most 63 hashes")

    @classmethod
    def parse(cls, body: bytes) -> "AddCheckpoint":
        """Read a request body; the checkpoint in it is not looked at. A FormatError is to be answered 400 (W-28)."""
        if len(body) > MAX_REQUEST_BYTES:
            raise FormatError("the request is larger than any legal one")
        # SPEC: W-5 The body is the old size line, proof lines, an empty line, then the checkpoint, which has an empty
        # line of its own: the first one counts. Each line MUST terminate in a newline.
        head, note = cut(body, b"\n\n", "the request has no empty line before its checkpoint")
        first, *lines = head.split(b"\n")
        # SPEC: W-6 The old size line MUST be the string "old", a single space and a decimal with no leading zeroes.
        if not first.startswith(b"old "):
            raise FormatError("the request does not start with an old size line")
        # SPEC: W-7 No more than 63 consistency proof lines, each of which MUST encode a single hash in base64.
        if len(lines) > MAX_PATH:
            raise FormatError("the request has more than 63 proof lines")
        path = tuple(parse_hash(line, "a hash of the proof") for line in lines)
        return cls(parse_decimal(first.removeprefix(b"old "), "the old size"), path, note)

    def format(self) -> bytes:
        """Write the request body."""
        lines = [b"old " + format_decimal(self.old_size), *map(encode_base64, self.path)]
        return b"\n".join([*lines, b"", self.checkpoint_note])


def format_size(size: int) -> bytes:
    """Write the body of a 409: the size of the tree the witness cosigned last."""
    # SPEC: W-14 The body MUST consist of the tree size in decimal, followed by a newline.
    return format_decimal(size) + b"\n"


def parse_size(body: bytes) -> int:
    """Read the body of a 409."""
    if not body.endswith(b"\n"):
        raise FormatError("the size does not end with a line feed")
    return parse_decimal(body[:-1], "the size")


# What a witness can answer.


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The witness cosigned what was sent: its verified lines, each with the time it states."""

    signatures: tuple[VerifiedSignature, ...]


@dataclass(frozen=True, slots=True)
class Behind:
    """The witness stands at another size: start again from it, if it is no larger than the checkpoint's."""

    size: int


@dataclass(frozen=True, slots=True)
class SplitView:
    """The witness knows another tree of the size that was sent: an alarm, though no proof."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The witness does not know the log. (Older witnesses answer as they would a bad signature: ``Refused(403)``.)"""


@dataclass(frozen=True, slots=True)
class Refused:
    """The witness will not cosign this, and asking the same again is of no use.

    422 from an old size below the checkpoint's means that the proof fails against the tree the witness has. A sender
    that has checked its proof can submit the old checkpoint itself, to see whether that is a ``SplitView``.
    """

    status: int


@dataclass(frozen=True, slots=True)
class Retry:
    """The witness cannot answer now: ask again later, after so many seconds if it named them."""

    seconds: int | None


@dataclass(frozen=True, slots=True)
class Broken:
    """The answer is none that the protocol has."""

    reason: str


Answer = Cosigned | Behind | SplitView | Unknown | Refused | Retry | Broken


def read_answer(
    status: int,
    content_type: str | None,
    body: bytes,
    sent: AddCheckpoint,
    keys: Collection[VerifierKey],
    retry_after: str | None = None,
) -> Answer:
    """Understand a witness's answer to ``sent``, a request of ours, given the keys of this witness."""
    match status:
        case 200:
            return _read_cosignatures(body, sent, keys)
        case 404:
            return Unknown()  # SPEC: W-10 the checkpoint origin is unknown
        case 409:
            return _read_conflict(content_type, body, sent)
        case 422 if _asserts_same_size(sent):
            return SplitView()  # SPEC: W-19 the old size matches the checkpoint size, the root hashes do not
        # Some witnesses still answer 500 to a bad signature or a malformed note; it cannot be told from an outage.
        case 408 | 425 | 429:
            return Retry(_read_seconds(retry_after))
        case _ if 500 <= status <= 599:
            return Retry(_read_seconds(retry_after))
        case _ if 300 <= status <= 499:
            return Refused(status)
        case _:
            return Broken("the status is none that answers this call")


def _read_cosignatures(body: bytes, sent: AddCheckpoint, keys: Collection[VerifierKey]) -> Answer:
    text = Note.parse(sent.checkpoint_note).text
    try:
        # SPEC: W-22 The body MUST be one or more signature lines on the checkpoint, which is the one that was sent.
        # SPEC: W-26 The client MUST ignore any cosignatures from unknown keys, such as an echo of the log's own line.
        verified = open_note(Note(text, parse_signature_lines(body)), keys)
    except TlogError as error:
        return Broken(str(error))
    # SPEC: W-25 The timestamp of a cosignature MUST NOT be zero.
    timed = tuple(signature for signature in verified if signature.timestamp)
    return Cosigned(timed) if timed else Broken("no cosignature states a time")


def _read_conflict(content_type: str | None, body: bytes, sent: AddCheckpoint) -> Answer:
    """Read a 409, which is either a size to start from or, from older witnesses, two trees of one size."""
    size = _read_size(content_type, body)
    if size is not None and size != sent.old_size:
        return Behind(size)
    if _asserts_same_size(sent):
        return SplitView()
    return Broken("a conflict that names no other size to start from")


def _read_size(content_type: str | None, body: bytes) -> int | None:
    # SPEC: W-14 The answer MUST have the Content-Type text/x.tlog.size. A parameter that a framework added is harmless.
    media_type, _, _ = (content_type or "").partition(";")
    if media_type.strip(" \t").lower() != SIZE_MEDIA_TYPE:
        return None
    try:
        return parse_size(body)
    except FormatError:
        return None


def _asserts_same_size(sent: AddCheckpoint) -> bool:
    """Tell whether the request says no more than: your tree of this size is this one."""
    checkpoint = Checkpoint.parse(Note.parse(sent.checkpoint_note).text)
    return sent.old_size == checkpoint.size and not sent.path


def _read_seconds(retry_after: str | None) -> int | None:
    try:
        seconds = parse_decimal((retry_after or "").encode("ascii", "replace"), "Retry-After")
    except FormatError:
        return None  # a date, or nonsense: the caller has its own patience
    return min(seconds, MAX_RETRY_SECONDS)
