"""The messages that monitors exchange, each one canonical msgpack array that begins with its type number.

    2 SUMMARY           what I hold, as two hashes: equal hashes, nothing to talk about
    3 DIGEST            what I hold, one entry per tree head
    4 GET_HEADS         send me your heads of these logs
    5 HEAD              a signed checkpoint, verbatim, perhaps with a consistency proof
    6 GET_CONSISTENCY   prove that your tree of size n extends the tree of size m
    7 CONSISTENCY       the proof, with both roots spelled out
    8 GET_TILE          send me a tile of hashes
    9 TILE              the hashes
    10 HAVE_EVIDENCE    I hold these convictions
    11 GET_EVIDENCE     send me these
    12 EVIDENCE         an evidence bundle, verbatim
    16 TESTIMONY        a signed testimony of the sender about what a log does not serve, verbatim
    20 BUCKETS          what I hold, as a few bytes for every few logs: enough to see which of them we differ in
    21 PART             what I hold of these logs, one entry per tree head

Logs are named by the SHA-256 of their origin. Nothing in a message is believed: heads and evidence carry signatures,
proofs and tiles are checked against signed roots, and the rest only decides what to ask for next. specs/gossip.md
section 3 is the reference. A message of an unknown type is ignored, so that later versions can speak to this one.
"""

from collections.abc import Mapping
from typing import Annotated, TypeAlias, get_args

import msgspec
from msgspec import Meta, Struct

from gossip.canonical import Value
from tlog.errors import FormatError
from tlog.evidence import MAX_EVIDENCE_BYTES
from tlog.note import MAX_NOTE_BYTES

MAX_SIGNATURE_LINES = 24  # log keys and witnesses of a large policy
MAX_PROOF = 64  # hashes; a tree of 2^63 leaves needs 63
MAX_HEADS = 256  # origins asked for at once: their answers still fit into a few envelopes
MAX_DIGEST = 4096  # entries
MAX_HAVE = 64
MAX_GET_EVIDENCE = 16
MAX_TILE_BYTES = 8192
MAX_TESTIMONY_BYTES = 4096
MIN_BUCKETS, MAX_BUCKETS = 8, 4096  # powers of two: their bits are a whole number of bytes, and a DIGEST lists no more
BUCKET_BYTES = 4  # of a salted hash: one in four billion differences waits for the next exchange
SALT_BYTES = 8

VERIFIED = 1  # a head on the sender's branch: it re-hashed every entry below it
PENDING = 2  # a head that carries the log's signature and nothing that shows it to be on the sender's branch
CONVICTED = 4  # added to a digest entry: the sender holds evidence against the log

Digest32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
_Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Byte = Annotated[int, Meta(ge=0, le=255)]
_Proof = Annotated[tuple[Digest32, ...], Meta(max_length=MAX_PROOF)]


class Summary(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=2):
    """``epoch`` tells one run of the sender from the next; the hashes are over what DIGEST and HAVE_EVIDENCE list.

    ``seen_epoch`` and ``seen_cursor`` name the last DIGEST of the recipient's that the sender took in full, 0 and 0 if
    none: what it holds since is what the recipient need not list again.
    """

    epoch: _Size
    origins: _Size
    frontier_hash: Digest32
    convicted_hash: Digest32
    pending: _Size
    seen_epoch: _Size
    seen_cursor: _Size


class DigestEntry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    origin: Digest32
    size: _Size
    root_hash: Digest32
    flags: _Byte


class Digest(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=3):
    """``entries`` are what changed after the cursor ``since`` and up to ``cursor``; all that is held if it is nil.

    With ``more`` there are later changes too, or for nil other entries, that found no room.
    """

    since: _Size | None
    cursor: _Size
    entries: Annotated[tuple[DigestEntry, ...], Meta(max_length=MAX_DIGEST)]
    more: bool


class Buckets(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=20):
    """What the sender holds by ``cursor``: ``BUCKET_BYTES`` for each of a power of two of buckets of logs.

    The salt keeps a log from signing heads that look alike here, since it cannot know it.
    """

    cursor: _Size
    salt: Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    hashes: Annotated[bytes, Meta(min_length=BUCKET_BYTES * MIN_BUCKETS, max_length=BUCKET_BYTES * MAX_BUCKETS)]

    def __post_init__(self) -> None:
        _check_power_of_two(len(self.hashes) // BUCKET_BYTES, len(self.hashes) % BUCKET_BYTES)

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return len(self.hashes) // BUCKET_BYTES


class Part(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=21):
    """What the sender holds of the logs in some buckets, where the two differ. ``marks`` has one bit for each bucket.

    ``cursor`` is up to where this, with all the buckets that agree, tells of the sender's changes; 0 if it does not.
    A part that answers a part leaves out what was listed there.
    """

    cursor: _Size
    marks: Annotated[bytes, Meta(min_length=MIN_BUCKETS // 8, max_length=MAX_BUCKETS // 8)]
    entries: Annotated[tuple[DigestEntry, ...], Meta(max_length=MAX_DIGEST)]
    answer: bool

    def __post_init__(self) -> None:
        _check_power_of_two(self.count, 0)

    @property
    def count(self) -> int:
        """How many buckets there are."""
        return 8 * len(self.marks)


class GetHeads(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=4):
    origins: Annotated[tuple[Digest32, ...], Meta(max_length=MAX_HEADS)]


class Head(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=5):
    """``proof`` leads from the sender's tree of size ``base`` to the head; empty without a base."""

    origin: Digest32
    note: Annotated[bytes, Meta(max_length=MAX_NOTE_BYTES)]
    status: Annotated[int, Meta(ge=VERIFIED, le=PENDING)]
    base: _Size | None
    proof: _Proof


class GetConsistency(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=6):
    origin: Digest32
    old_size: _Size
    new_size: _Size


class Consistency(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=7):
    """The old root stands here although a proof often implies it: a wrong one convicts the log."""

    origin: Digest32
    old_size: _Size
    new_size: _Size
    old_root: Digest32
    new_root: Digest32
    proof: _Proof


class GetTile(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=8):
    origin: Digest32
    level: Annotated[int, Meta(ge=0, le=63)]
    index: _Size
    width: Annotated[int, Meta(ge=1, le=256)]


class TileData(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=9):
    origin: Digest32
    level: Annotated[int, Meta(ge=0, le=63)]
    index: _Size
    data: Annotated[bytes, Meta(max_length=MAX_TILE_BYTES)]


class HeldEvidence(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """``kind`` is the evidence class number, ``accused`` the SHA-256 of the convicted vkey."""

    kind: _Byte
    origin: Digest32
    accused: Digest32
    id: Digest32


class HaveEvidence(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=10):
    held: Annotated[tuple[HeldEvidence, ...], Meta(max_length=MAX_HAVE)]


class GetEvidence(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=11):
    ids: Annotated[tuple[Digest32, ...], Meta(max_length=MAX_GET_EVIDENCE)]


class EvidenceBundle(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=12):
    kind: _Byte
    bundle: Annotated[bytes, Meta(max_length=MAX_EVIDENCE_BYTES)]


class TestimonyNote(Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=16):
    note: Annotated[bytes, Meta(max_length=MAX_TESTIMONY_BYTES)]


class Unknown(Struct, frozen=True):
    """A message of a type this version does not know: counted, never answered or passed on."""

    type: int


Known: TypeAlias = (
    Summary
    | Digest
    | GetHeads
    | Head
    | GetConsistency
    | Consistency
    | GetTile
    | TileData
    | HaveEvidence
    | GetEvidence
    | EvidenceBundle
    | TestimonyNote
    | Buckets
    | Part
)
Message: TypeAlias = Known | Unknown

_KINDS: tuple[type[Known], ...] = get_args(Known)
# By number: to convert to the whole union would make sense of all its types anew each time, ten times as slowly.
_TYPES: Mapping[object, type[Known]] = {kind.__struct_config__.tag: kind for kind in _KINDS}


def parse_message(value: Value) -> Message:
    """Read one message of an envelope."""
    if not isinstance(value, tuple) or not value or type(value[0]) is not int:
        raise FormatError("a message is not an array that begins with its type number")
    number = value[0]
    kind = _TYPES.get(number)
    if kind is None:
        return Unknown(number)
    try:
        message: Known = msgspec.convert(value, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:  # names the place and the rule, never the value
        raise FormatError(f"message of type {number}: {error}") from None
    return message


def format_message(message: Known) -> Value:
    """Write a message as ``parse_message`` reads it."""
    value: list[Value] = msgspec.to_builtins(message, builtin_types=(bytes,))
    return value


def _check_power_of_two(count: int, rest: int) -> None:
    if rest or count & (count - 1):
        raise ValueError("the number of buckets is not a power of two")
