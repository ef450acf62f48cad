"""Writes the vectors of specs/gossip.md: envelopes, messages and testimonies, and each of them with one mistake.

    python -m specs.vectors.make_gossip

The same program writes the same bytes: all signatures are Ed25519 by keys that are made of their names.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # the package has no type information

from gossip.canonical import Value, pack, unpack
from gossip.core import origin_id
from gossip.core.listing import bucket_of, packed
from gossip.envelope import (
    MAX_CLOCK_DISTANCE_MS,
    Envelope,
    SeenNonces,
    open_envelope,
    peer_id,
    seal,
)
from gossip.messages import (
    BUCKET_BYTES,
    CONVICTED,
    MIN_BUCKETS,
    PENDING,
    VERIFIED,
    Buckets,
    Consistency,
    Digest,
    DigestEntry,
    EvidenceBundle,
    GetConsistency,
    GetEvidence,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    HeldEvidence,
    Known,
    Part,
    Summary,
    TestimonyNote,
    TileData,
    Unknown,
    format_message,
    parse_message,
)
from gossip.testimony import UNSERVED, Testimony, format_testimonies, open_testimony, parse_testimonies
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, SignatureError
from tlog.evidence import same_size
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, message_to_sign, signature_line
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64

FOLDER = Path(__file__).parent / "gossip"
ORIGIN = "log.example/one"
NOW_MS = 1_767_139_200_000  # 2025-12-31T00:00:00Z
NOW = NOW_MS // 1000


def _key(name: str, type: KeyType = KeyType.ED25519) -> SignerKey:
    return SignerKey(name, type, sha256(f"sameview gossip vectors: {name}".encode()).digest())


A, B, STRANGER = (_key(f"monitor.example/{name}") for name in ("a", "b", "stranger"))
LOG = _key(ORIGIN)
OBSERVER = _key("monitor.example/a-observer", KeyType.COSIGNATURE_ED25519)
IDS = {name: peer_id(key.verifier_key) for name, key in (("a", A), ("b", B), ("stranger", STRANGER))}
ROOTS = [Hash(sha256(b"root %d" % number).digest()) for number in range(3)]
LOG_ID = origin_id(ORIGIN)
NONCE, ASKED = bytes(range(16)), bytes(range(16, 32))


@dataclass(frozen=True, slots=True)
class Vector:
    """Some bytes, how they are to be read, and what comes of that: a value, or an error of one kind."""

    name: str
    part: str
    about: str
    data: bytes
    in_reply_to: bytes | None = None
    after: str | None = None

    def result(self) -> dict[str, object]:
        """Read the bytes with this project's own code."""
        try:
            return {"value": _READERS[self.part](self)}
        except FormatError:
            return {"error": "format"}
        except SignatureError:
            return {"error": "signature"}

    def record(self) -> dict[str, object]:
        """What stands in the index."""
        asked = {} if self.part != "envelope" else {"in_reply_to": plain(self.in_reply_to)}
        if self.after is not None:
            asked["after"] = self.after
        return {
            "name": self.name,
            "part": self.part,
            "about": self.about,
            **asked,
            **self.result(),
            "bytes": self.data.hex(),
        }


def plain(value: Value) -> object:
    """Write a value as JSON: byte strings in hexadecimal, of which no text can be mistaken, there being none."""
    if isinstance(value, bytes):
        return value.hex()
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def _read_envelope(vector: Vector) -> object:
    keys, seen = {IDS["a"]: A.verifier_key}, SeenNonces()
    if vector.after is not None:
        (before,) = (one for one in _envelopes() if one.name == vector.after)
        open_envelope(before.data, keys, IDS["b"], NOW_MS, seen, in_reply_to=before.in_reply_to)
    read = open_envelope(vector.data, keys, IDS["b"], NOW_MS, seen, in_reply_to=vector.in_reply_to)
    fields = (1, read.sender, read.recipient, read.time_ms, read.nonce, read.in_reply_to, read.messages)
    return plain(fields)


def _read_message(vector: Vector) -> object:
    message = parse_message(unpack(vector.data))
    return ["ignored", message.type] if isinstance(message, Unknown) else plain(format_message(message))


def _read_testimony(vector: Vector) -> object:
    said, key = open_testimony(vector.data, (A.verifier_key,))
    numbers = [said.first_seen, said.last_tried, said.tries]
    return [said.origin, said.kind, said.size, said.root_hash.hex(), *numbers, said.vantage, str(key)]


def _read_file(vector: Vector) -> object:
    return [note.hex() for note in parse_testimonies(vector.data)]


_READERS: dict[str, Callable[[Vector], object]] = {
    "envelope": _read_envelope,
    "message": _read_message,
    "testimony": _read_testimony,
    "testimony-file": _read_file,
}


# What is read.


def _checkpoint(size: int, root: Hash, *keys: SignerKey) -> Note:
    text = Checkpoint(ORIGIN, size, root).format()
    lines = (
        signature_line(key.verifier_key, NOW, key.sign(message_to_sign(key.verifier_key, text, NOW))) for key in keys
    )
    return Note(text, tuple(lines))


HEAD_NOTE = _checkpoint(12, ROOTS[0], LOG, OBSERVER).format()
_SIDES = [open_checkpoint(_checkpoint(12, root, LOG), (LOG.verifier_key,)) for root in ROOTS[:2]]
FORK = same_size(*_SIDES)
TESTIMONY = Testimony(ORIGIN, UNSERVED, 12, ROOTS[0], NOW - 600, NOW, 61, "AS64500, Oslo")


def sign_testimony(text: bytes, *keys: SignerKey) -> bytes:
    """Sign the text of a testimony, whatever it says."""
    return Note(text, tuple(signature_line(key.verifier_key, 0, key.sign(text)) for key in keys)).format()


ENTRIES = (DigestEntry(LOG_ID, 12, ROOTS[0], VERIFIED), DigestEntry(LOG_ID, 300, ROOTS[1], PENDING | CONVICTED))
SALT = bytes(range(8))
BUCKET = bucket_of(LOG_ID, MIN_BUCKETS)
_HASHES = (
    sha256(SALT + packed(ENTRIES if one == BUCKET else ())).digest()[:BUCKET_BYTES] for one in range(MIN_BUCKETS)
)

MESSAGES: dict[str, Known] = {
    "summary": Summary(NOW_MS, 1, ROOTS[1], ROOTS[2], 0, 7, 3),
    "digest": Digest(3, 5, ENTRIES, False),
    "get-heads": GetHeads((LOG_ID,)),
    "head": Head(LOG_ID, HEAD_NOTE, VERIFIED, 8, (ROOTS[1], ROOTS[2])),
    "get-consistency": GetConsistency(LOG_ID, 8, 12),
    "consistency": Consistency(LOG_ID, 8, 12, ROOTS[1], ROOTS[0], (ROOTS[1], ROOTS[2])),
    "get-tile": GetTile(LOG_ID, 0, 300, 256),
    "tile": TileData(LOG_ID, 1, 0, ROOTS[0]),
    "have-evidence": HaveEvidence(
        (HeldEvidence(2, LOG_ID, sha256(str(LOG.verifier_key).encode()).digest(), ROOTS[2]),)
    ),
    "get-evidence": GetEvidence((ROOTS[2],)),
    "evidence": EvidenceBundle(2, FORK.format()),
    "testimony": TestimonyNote(sign_testimony(TESTIMONY.format(), A)),
    "buckets": Buckets(5, SALT, b"".join(_HASHES)),
    "part": Part(5, bytes([0x80 >> BUCKET]), ENTRIES, False),
}


def vectors() -> list[Vector]:
    """Every vector, in the order of the index."""
    return [*_messages(), *_wrong_messages(), *_envelopes(), *_wrong_envelopes(), *_testimonies()]


def _messages() -> Iterator[Vector]:
    for name, message in MESSAGES.items():
        yield Vector(name, "message", "one message of its type", pack(format_message(message)))
    more: tuple[tuple[str, str, Known], ...] = (
        ("digest-everything", "all that is held", Digest(None, 0, (), False)),
        ("digest-more", "not all that changed", Digest(0, 9, (DigestEntry(LOG_ID, 2**63 - 1, ROOTS[0], 2),), True)),
        ("head-pending", "a statement without a proof", Head(LOG_ID, HEAD_NOTE, PENDING, None, ())),
        ("digest-convicted", "a branch whose log is convicted", _digest(VERIFIED | CONVICTED)),
        ("part-answer", "an answer that leaves out what was listed", Part(0, b"\x84", ENTRIES[1:], True)),
        ("get-heads-limit", "as many logs as can be asked for", GetHeads((LOG_ID,) * 256)),
        ("get-heads-none", "no log is asked for", GetHeads(())),
    )
    senseless: tuple[tuple[str, str, Known], ...] = (
        ("epoch-0", "an epoch that no run has", Summary(0, 1, ROOTS[1], ROOTS[2], 0, 0, 0)),
        ("flags-255", "flags that nobody knows", _digest(255)),
        ("class-255", "evidence of a class that nobody knows", HaveEvidence((HeldEvidence(255, *[LOG_ID] * 3),))),
        ("sizes", "a proof from the larger to the smaller", GetConsistency(LOG_ID, 12, 8)),
        ("proof", "a proof from no size", Head(LOG_ID, HEAD_NOTE, PENDING, None, (ROOTS[1],))),
        ("tile", "a tile that ends amid a hash", TileData(LOG_ID, 0, 0, bytes(33))),
    )
    for name, about, message in (*more, *((f"senseless-{name}", *rest) for name, *rest in senseless)):
        yield Vector(name, "message", about, pack(format_message(message)))
    yield Vector("unknown-type", "message", "a type of a later version is ignored", pack([17, b"later", None]))
    yield Vector("removed-type", "message", "a type that no version has is ignored", pack([13]))
    values: list[Value] = [-1, -(2**63), 2**64 - 1, "t\u00e9xt", [[[[[]]]]]]
    yield Vector("unknown-values", "message", "integers, text and depth that no known type has", pack(values))


def _digest(flags: int) -> Digest:
    return Digest(3, 5, (DigestEntry(LOG_ID, 12, ROOTS[0], flags),), False)


def _wrong_messages() -> Iterator[Vector]:
    summary, digest, head = (format_message(MESSAGES[name]) for name in ("summary", "digest", "head"))
    wrong: tuple[tuple[str, str, Value], ...] = (
        ("empty", "no type", []),
        ("text-type", "a type that is no number", ["2"]),
        ("bool-type", "true is not 1", [True]),
        ("no-array", "a message that is no array", 2),
        ("field-missing", "a field less", _fields(summary)[:-1]),
        ("field-added", "a field more", [*_fields(summary), 0]),
        ("negative", "a number below zero", _with(summary, 2, -1)),
        ("size-2-63", "a number beyond 2^63 - 1", _with(summary, 2, 2**63)),
        ("short-hash", "a hash of 31 bytes", _with(summary, 3, ROOTS[0][:31])),
        ("text-hash", "text in place of bytes", _with(summary, 3, "h" * 32)),
        ("bool-number", "true in place of a number", _with(summary, 2, True)),
        ("number-bool", "0 in place of false", _with(digest, 4, 0)),
        ("flags-256", "flags beyond a byte", [3, 3, 5, [[LOG_ID, 12, ROOTS[0], 256]], False]),
        ("status-0", "a status that is none", _with(head, 3, 0)),
        ("status-3", "a status that is none", _with(head, 3, 3)),
        ("proof-65", "a proof of 65 hashes", _with(head, 5, [ROOTS[0]] * 65)),
        ("heads-257", "257 logs", [4, [LOG_ID] * 257]),
        ("level-64", "a level that no tree has", [8, LOG_ID, 64, 0, 1]),
        ("width-0", "an empty tile", [8, LOG_ID, 0, 0, 0]),
        ("width-257", "a tile of 257 hashes", [8, LOG_ID, 0, 0, 257]),
        ("tile-8193", "a tile that is too large", [9, LOG_ID, 0, 0, bytes(8193)]),
        ("evidence-ids-17", "17 pieces of evidence asked for", [11, [ROOTS[0]] * 17]),
        ("salt-7", "a salt of 7 bytes", [20, 5, SALT[:7], bytes(32)]),
        ("buckets-7", "fewer than 8 buckets", [20, 5, SALT, bytes(28)]),
        ("buckets-12", "12 buckets, which is no power of two", [20, 5, SALT, bytes(48)]),
        ("buckets-8192", "more than 4096 buckets", [20, 5, SALT, bytes(4 * 8192)]),
        ("bucket-cut-off", "a bucket of 3 bytes", [20, 5, SALT, bytes(31)]),
        ("marks-0", "no buckets", [21, 5, b"", [], False]),
        ("marks-3", "24 buckets, which is no power of two", [21, 5, bytes(3), [], False]),
        ("testimony-4097", "a testimony that is too large", [16, bytes(4097)]),
        ("consistency-65", "a proof of 65 hashes", [7, LOG_ID, 8, 12, ROOTS[1], ROOTS[0], [ROOTS[1]] * 65]),
        ("have-evidence-65", "65 pieces of evidence", [10, [[2, LOG_ID, ROOTS[0], ROOTS[2]]] * 65]),
        ("class-256", "a class beyond a byte", [12, 256, b""]),
        ("entry-of-three", "an entry without flags", [3, 3, 5, [[LOG_ID, 12, ROOTS[0]]], False]),
    )
    for name, about, value in wrong:
        yield Vector(f"message-{name}", "message", about, pack(value))
    raw = pack(summary)
    for name, about, data in (
        ("long-integer", "a number in more bytes than it needs", raw.replace(b"\x00\x07\x03", b"\x00\xcc\x07\x03")),
        ("long-array", "an array header in more bytes than it needs", b"\xdc\x00\x08" + raw[1:]),
        ("long-bin", "a bin header in more bytes than it needs", raw.replace(b"\xc4\x20", b"\xc5\x00\x20", 1)),
        ("map", "a map", msgpack.packb({"type": 2})),
        ("float", "a number with a fraction", msgpack.packb([2, 7.0])),
        ("extension", "an extension type", msgpack.packb([2, msgpack.ExtType(1, b"x")])),
        ("trailing", "a byte behind the end", raw + b"\x00"),
        ("cut-off", "the last byte is missing", raw[:-1]),
        ("deep", "seven arrays deep", pack([17, [[[[[[]]]]]]])),
        ("array-4097", "an array of 4097 elements", b"\x92\x11\xdc\x10\x01" + b"\xc0" * 4097),
        ("text-256", "a text of 256 bytes", b"\x92\x11\xda\x01\x00" + b"t" * 256),
        ("text-not-utf-8", "a text that is not UTF-8", b"\x92\x11\xa1\xe9"),
    ):
        yield Vector(f"encoding-{name}", "message", about, data)


def _fields(value: Value) -> list[Value]:
    if not isinstance(value, list | tuple):
        raise AssertionError("a message is an array")
    return list(value)


def _with(message: Value, at: int, value: Value) -> list[Value]:
    return [*_fields(message)[:at], value, *_fields(message)[at + 1 :]]


ENVELOPE = Envelope(IDS["a"], IDS["b"], NOW_MS, NONCE, None, (format_message(MESSAGES["get-heads"]),))


def _envelopes() -> Iterator[Vector]:
    answer = replace(ENVELOPE, in_reply_to=ASKED, messages=tuple(map(format_message, MESSAGES.values())))
    for name, about, envelope in (
        ("request", "a request with one message", ENVELOPE),
        ("empty-request", "a request that only waits for an answer", replace(ENVELOPE, messages=())),
        ("answer", "an answer with a message of every type", answer),
        ("late", "the oldest that is fresh", replace(ENVELOPE, time_ms=NOW_MS - MAX_CLOCK_DISTANCE_MS)),
        ("early", "the newest that is fresh", replace(ENVELOPE, time_ms=NOW_MS + MAX_CLOCK_DISTANCE_MS)),
    ):
        yield Vector(name, "envelope", about, seal(envelope, A), envelope.in_reply_to)


def _wrong_envelopes() -> Iterator[Vector]:
    good = seal(ENVELOPE, A)
    answer = seal(replace(ENVELOPE, in_reply_to=ASKED), A)
    flipped = bytes([good[-1] ^ 1])
    wrong: tuple[tuple[str, str, bytes, bytes | None], ...] = (
        ("too-late", "two minutes and a millisecond old", _sealed(time_ms=NOW_MS - MAX_CLOCK_DISTANCE_MS - 1), None),
        ("too-early", "two minutes and a millisecond ahead", _sealed(time_ms=NOW_MS + MAX_CLOCK_DISTANCE_MS + 1), None),
        ("another-recipient", "for somebody else", _sealed(recipient=IDS["stranger"]), None),
        ("stranger", "from somebody who is no peer", _between("stranger", "b"), None),
        ("stranger-elsewhere", "from no peer, and for somebody else", _between("stranger", "stranger"), None),
        ("another-s-name", "in the name of a peer", seal(ENVELOPE, STRANGER), None),
        ("signature-flipped", "one bit of the signature differs", good[:-1] + flipped, None),
        ("message-flipped", "one bit of a message differs", _flip(good, good.index(LOG_ID)), None),
        ("unasked-answer", "an answer in place of a request", answer, None),
        ("no-answer", "a request in place of an answer", good, ASKED),
        ("another-answer", "an answer to another request", answer, NONCE),
        ("version-2", "another version", good.replace(b"\x98\x01\xc4", b"\x98\x02\xc4", 1), None),
        ("seven-fields", "no signature", b"\x97" + good[1:-66], None),
        ("nonce-15", "a nonce of 15 bytes", _sealed(nonce=NONCE[:15]), None),
        ("messages-nil", "messages that are no array", _signed(6, None), None),
        ("time-text", "a time that is no number", _signed(3, "now"), None),
        ("other-integer", "a time in another spelling, signed as such", _other_time(), None),
        ("cut-off", "the last byte is missing", good[:-1], None),
        ("empty", "nothing", b"", None),
    )
    for name, about, data, asked in wrong:
        yield Vector(f"envelope-{name}", "envelope", about, data, asked)
    yield Vector("envelope-replayed", "envelope", "the same once more", good, None, "request")
    again = _sealed(messages=())
    yield Vector("envelope-nonce-used", "envelope", "another one with a nonce that was used", again, None, "request")


def _between(sender: str, recipient: str) -> bytes:
    return seal(replace(ENVELOPE, sender=IDS[sender], recipient=IDS[recipient]), STRANGER)


def _sealed(**changes: object) -> bytes:
    return seal(replace(ENVELOPE, **changes), A)  # type: ignore[arg-type]  # each caller names one field


def _signed(at: int, value: Value) -> bytes:
    """Seal an envelope in which one field is of another type."""
    fields: list[Value] = [1, IDS["a"], IDS["b"], NOW_MS, NONCE, None, [format_message(MESSAGES["get-heads"])]]
    fields[at] = value
    return pack([*fields, A.sign(b"sameview/gossip/v1\0" + pack(fields))])


def _other_time() -> bytes:
    """Seal an envelope whose time is spelled as a signed number. Its signature is over that spelling."""
    good = seal(ENVELOPE, A)
    at = 2 + 2 * 34
    if good[at] != 0xCF:
        raise AssertionError("the time is elsewhere")
    inner = good[1:at] + b"\xd3" + good[at + 1 : -66]
    return b"\x98" + inner + b"\xc4\x40" + A.sign(b"sameview/gossip/v1\0\x97" + inner)


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _testimonies() -> Iterator[Vector]:
    text = TESTIMONY.format()
    plain_ = replace(TESTIMONY, vantage="")
    yield Vector("testimony-good", "testimony", "about one head", sign_testimony(text, A))
    yield Vector("testimony-no-vantage", "testimony", "the vantage is not told", sign_testimony(plain_.format(), A))
    root = encode_base64(ROOTS[0])
    edits: Sequence[tuple[str, str, bytes, bytes]] = (
        ("version", "another version", b"@v1", b"@v2"),
        ("kind", "another kind", b"\nunserved\n", b"\nrewritten\n"),
        ("origin-empty", "no origin", ORIGIN.encode() + b"\n", b"\n"),
        ("size-zeros", "a leading zero", b"\n12 ", b"\n012 "),
        ("size-2-63", "a number beyond 2^63 - 1", b"\n12 ", b"\n9223372036854775808 "),
        ("root-lax", "base64 that is not canonical", root, root[:-2] + bytes([root[-2] + 1]) + b"="),
        ("root-missing", "no root", b"\n12 " + root, b"\n12"),
        ("times-swapped", "tried last before it was seen", b"%d %d" % (NOW - 600, NOW), b"%d %d" % (NOW, NOW - 600)),
        ("tries-0", "never tried", b" 61\n", b" 0\n"),
        ("tries-missing", "two numbers", b" 61\n", b"\n"),
        ("vantage-empty", "an empty last line", b"AS64500, Oslo", b""),
        ("vantage-long", "a vantage of 256 bytes", b"AS64500, Oslo", b"v" * 256),
        ("line-added", "a seventh line", b"Oslo\n", b"Oslo\nmore\n"),
    )
    for name, about, old, new in edits:
        if old not in text:
            raise AssertionError(name)
        yield Vector(f"testimony-{name}", "testimony", about, sign_testimony(text.replace(old, new, 1), A))
    good = sign_testimony(text, A)
    yield Vector("testimony-forged", "testimony", "a number changed after signing", good.replace(b" 61\n", b" 62\n"))
    yield Vector("testimony-stranger", "testimony", "signed by nobody who is known", sign_testimony(text, STRANGER))
    yield Vector("testimony-two-lines", "testimony", "two signatures", sign_testimony(text, A, B))
    yield Vector("testimony-unsigned", "testimony", "only a text", text)
    yield Vector("testimony-checkpoint", "testimony", "a checkpoint", _checkpoint(12, ROOTS[0], A).format())
    notes = [good, sign_testimony(text, B)]
    yield Vector("testimony-file-one", "testimony-file", "a file of one", good)
    yield Vector("testimony-file-two", "testimony-file", "a file of two", format_testimonies(notes))


ABOUT = (
    "Vectors of specs/gossip.md, read by monitor b at the time now_ms; 'a' is its only peer. 'part' tells what the "
    "bytes are. With a 'value' they are to be accepted: byte strings in it are hexadecimal; of an envelope it is the "
    "first seven fields, of a message the message, of an ignored one 'ignored' and its type, of a testimony its fields "
    "and the signer's vkey, of a file its notes. With an 'error' they are not: 'format' they are malformed, or not for "
    "this time and this exchange, 'signature' they are not signed by whom they have to be. 'in_reply_to' is the nonce "
    "of the request that b is waiting for an answer to, null where b is asked; 'after' names an envelope that b has "
    "taken."
)


def index() -> dict[str, object]:
    """What the file says."""
    keys = {"a": A, "b": B, "stranger": STRANGER, "log": LOG, "observer": OBSERVER}
    return {
        "about": ABOUT,
        "now_ms": NOW_MS,
        "vkeys": {name: str(key.verifier_key) for name, key in keys.items()},
        "ids": {name: id_.hex() for name, id_ in IDS.items()},
        "vectors": [vector.record() for vector in vectors()],
    }


def text() -> str:
    """The file."""
    return json.dumps(index(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "vectors.json").write_text(text())
