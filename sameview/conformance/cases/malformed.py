"""Requests that break the grammar in one place each, and would be cosigned without it.

Whoever reads them leniently cosigns bytes that another implementation reads otherwise, or not at all: that is how two
honest parties come to disagree about what was signed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from sameview.conformance.cases.case import Case
from sameview.conformance.outcomes import skip
from sameview.conformance.session import Draft, Session
from tlog.add_checkpoint import MAX_PATH
from tlog.hashing import leaf_hash
from tlog.note import SignatureLine
from tlog.text import encode_base64

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
BAD_REQUEST = (400,)
STRANGER = SignatureLine("stranger.example/log", b"abcd", bytes(64)).format()


@dataclass(frozen=True, slots=True)
class Broken:
    """One way to break a request.

    ``statuses`` are those that answer it. Where the text of the checkpoint is what is broken, an Ed25519 key signs it
    as it is; keys that sign tree heads sign what it means.
    """

    name: str
    requirements: tuple[str, ...]
    sentence: str
    change: Callable[[Draft], bytes]
    statuses: tuple[int, ...] = BAD_REQUEST

    def case(self) -> Case:
        return Case(self.name, self.requirements, self.sentence, self.run)

    async def run(self, session: Session) -> None:
        size = await session.stand()
        body = self.change(session.draft(size, size + 1))
        await session.refused(body, *self.statuses, by=self.requirements[0])


@dataclass(frozen=True, slots=True)
class BrokenText:
    """One way to spell a checkpoint wrongly; the log signs it so."""

    name: str
    requirements: tuple[str, ...]
    sentence: str
    change: Callable[[list[bytes]], list[bytes]]
    """Takes the lines origin, size and root hash."""
    statuses: tuple[int, ...] = BAD_REQUEST
    any_key: bool = True
    """Whether a key that signs tree heads signs what this means: otherwise it cannot be tried with such a key."""

    def case(self) -> Case:
        return Case(self.name, self.requirements, self.sentence, self.run)

    async def run(self, session: Session) -> None:
        prose = session.subject.prose_only
        if not prose and not self.any_key:
            skip("the log's key signs tree heads only: give an Ed25519 --log-key")
        size = await session.stand()
        honest = session.draft(size, size + 1)
        lines = self.change(honest.text.split(b"\n")[:-1])
        text = b"".join(b"%s\n" % line for line in lines)
        draft = session.signed(size, honest.path, session.checkpoint(size + 1), text)
        # Whoever has to read the checkpoint to verify the signature may find that it does not.
        statuses = self.statuses if prose else (*self.statuses, 403)
        await session.refused(draft.body(), *statuses, by=self.requirements[0])


def _old(spell: Callable[[bytes], bytes]) -> Callable[[Draft], bytes]:
    """Spell the old size line another way, given its number."""
    return lambda draft: replace(draft, old_line=spell(draft.old_line.removeprefix(b"old "))).body()


def _hash(spell: Callable[[bytes], bytes]) -> Callable[[Draft], bytes]:
    """Spell the last hash of the proof another way."""
    return lambda draft: replace(draft, path=(*draft.path[:-1], spell(draft.path[-1]))).body()


def _signatures(change: Callable[[bytes], bytes]) -> Callable[[Draft], bytes]:
    return lambda draft: replace(draft, signatures=change(draft.signatures)).body()


def _size(spell: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [lines[0], spell(lines[1]), *lines[2:]]


def _root(spell: Callable[[bytes], bytes]) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [*lines[:2], spell(lines[2]), *lines[3:]]


def _respelled(base64: bytes) -> bytes:
    """The same 32 bytes with trailing bits that are not zero."""
    at = len(base64) - 2
    return base64[:at] + bytes([ALPHABET[ALPHABET.index(base64[at]) | 1]]) + base64[at + 1 :]


def _too_many_hashes(draft: Draft) -> bytes:
    more = tuple(encode_base64(leaf_hash(b"%d" % number)) for number in range(MAX_PATH + 1))
    return replace(draft, path=(*draft.path, *more)[: MAX_PATH + 1]).body()


def _without_first_empty_line(draft: Draft) -> bytes:
    head = b"".join(b"%s\n" % line for line in (draft.old_line, *draft.path))
    return head + draft.note


SHORT = encode_base64(bytes(31))
LONG = encode_base64(bytes(33))
ARABIC_INDIC_ZERO = 0x0660

_OLD = ("W-6", "W-28")
_HASH = ("W-7", "W-28")
_FRAME = ("W-5", "W-28")
_NOTE = ("W-28", "SN-18")

REQUESTS = (
    Broken("old-leading-zero", _OLD, "`old 09` is no old size line, 400.", _old(lambda n: b"old 0" + n)),
    Broken("old-plus-sign", _OLD, "`old +9` is no old size line, 400.", _old(lambda n: b"old +" + n)),
    Broken(
        "old-underscore", _OLD, "`old 1_0` is no old size line, 400.", _old(lambda n: b"old %s_%s" % (n[:1], n[1:]))
    ),
    Broken(
        "old-other-digits",
        _OLD,
        "Digits that are not ASCII make no old size line, 400.",
        _old(lambda n: b"old " + "".join(chr(ARABIC_INDIC_ZERO + digit - 0x30) for digit in n).encode()),
    ),
    Broken("old-double-space", _OLD, "Two spaces make no old size line, 400.", _old(lambda n: b"old  " + n)),
    Broken("old-tab", _OLD, "A tab makes no old size line, 400.", _old(lambda n: b"old\t" + n)),
    Broken("old-no-space", _OLD, "A missing space makes no old size line, 400.", _old(lambda n: b"old" + n)),
    Broken("old-trailing-space", _OLD, "A space after the old size is refused, 400.", _old(lambda n: b"old %s " % n)),
    Broken("old-trailing-word", _OLD, "More after the old size is refused, 400.", _old(lambda n: b"old %s 0" % n)),
    Broken("old-upper-case", _OLD, "`OLD` begins no old size line, 400.", _old(lambda n: b"OLD " + n)),
    Broken("old-without-number", _OLD, "An old size line needs its number, 400.", _old(lambda _: b"old ")),
    Broken("old-crlf", _OLD, "A carriage return after the old size is refused, 400.", _old(lambda n: b"old %s\r" % n)),
    Broken(
        "old-beyond-64-bits",
        _OLD,
        "An old size of 2^64 and more is refused, 400.",
        _old(lambda n: b"old %d" % (2**64 + int(n))),
    ),
    Broken("byte-order-mark", _OLD, "A byte order mark is refused, 400.", lambda draft: b"\xef\xbb\xbf" + draft.body()),
    Broken(
        "old-line-missing",
        _FRAME,
        "A request without its old size line is refused, 400.",
        lambda draft: draft.body().partition(b"\n")[2],
    ),
    Broken("empty-body", _FRAME, "An empty body is refused, 400.", lambda _: b""),
    Broken(
        "no-empty-line",
        _FRAME,
        "The empty line between proof and checkpoint is needed, 400.",
        _without_first_empty_line,
    ),
    Broken(
        "no-checkpoint",
        _FRAME,
        "A request without a checkpoint is refused, 400.",
        lambda draft: draft.body()[: -len(draft.note)],
    ),
    Broken(
        "last-line-feed-missing",
        (*_FRAME, "SN-18"),
        "A last line without its line feed is refused, 400.",
        lambda draft: draft.body()[:-1],
    ),
    Broken("hash-31-bytes", _HASH, "A proof line of 31 bytes is refused, 400.", _hash(lambda _: SHORT)),
    Broken("hash-33-bytes", _HASH, "A proof line of 33 bytes is refused, 400.", _hash(lambda _: LONG)),
    Broken("hash-unpadded", _HASH, "A proof line without its padding is refused, 400.", _hash(lambda line: line[:-1])),
    Broken(
        "hash-not-canonical",
        (*_HASH, "CP-12"),
        "A proof line spelled with other trailing bits is refused, 400.",
        _hash(_respelled),
    ),
    Broken(
        "hash-trailing-space", _HASH, "A space after a proof line is refused, 400.", _hash(lambda line: line + b" ")
    ),
    Broken(
        "hash-crlf", _HASH, "A carriage return after a proof line is refused, 400.", _hash(lambda line: line + b"\r")
    ),
    Broken("hash-in-hex", _HASH, "A proof line in hexadecimal is refused, 400.", _hash(lambda _: b"00" * 32)),
    Broken("proof-64-lines", _HASH, "More than 63 proof lines are refused, 400.", _too_many_hashes),
    Broken(
        "note-without-empty-line",
        _NOTE,
        "A checkpoint without signatures is refused, 400.",
        lambda draft: draft.body()[: -len(draft.signatures) - 1],
    ),
    Broken(
        "no-signature-lines",
        _NOTE,
        "A note that ends after its empty line is refused, 400.",
        _signatures(lambda _: b""),
    ),
    Broken(
        "signature-garbage",
        _NOTE,
        "A line among the signatures that is none makes the note malformed, 400 and not 403.",
        _signatures(lambda lines: lines + b"garbage\n"),
    ),
    Broken(
        "signature-hyphen",
        _NOTE,
        "A signature line begins with an em dash, not a hyphen, 400.",
        _signatures(lambda lines: lines + STRANGER.replace("—".encode(), b"-")),
    ),
    Broken(
        "signature-too-short",
        _NOTE,
        "A signature with nothing after the key ID makes the note malformed, 400.",
        _signatures(lambda lines: lines + "— stranger.example/log ".encode() + encode_base64(b"abcd") + b"\n"),
    ),
    Broken(
        "signature-empty-line",
        _NOTE,
        "An empty line after the signatures is refused, 400.",
        lambda draft: draft.body() + b"\n",
    ),
)

TEXTS = (
    BrokenText(
        "size-leading-zero",
        ("W-28", "CP-4"),
        "A tree size with a leading zero is refused, 400.",
        _size(lambda n: b"0" + n),
    ),
    BrokenText(
        "size-plus-sign", ("W-28", "CP-4"), "A tree size with a sign is refused, 400.", _size(lambda n: b"+" + n)
    ),
    BrokenText(
        "size-crlf",
        ("W-28", "SN-2"),
        "A carriage return after the tree size is refused, 400.",
        _size(lambda n: n + b"\r"),
    ),
    BrokenText("root-31-bytes", ("W-28", "CP-5"), "A root hash of 31 bytes is refused, 400.", _root(lambda _: SHORT)),
    BrokenText("root-33-bytes", ("W-28", "CP-5"), "A root hash of 33 bytes is refused, 400.", _root(lambda _: LONG)),
    BrokenText(
        "root-unpadded",
        ("W-28", "CP-5", "CP-12"),
        "A root hash without its padding is refused, 400.",
        _root(lambda line: line[:-1]),
    ),
    BrokenText(
        "root-not-canonical",
        ("W-28", "CP-12"),
        "A root hash spelled with other trailing bits is refused, 400.",
        _root(_respelled),
    ),
    BrokenText("root-missing", ("W-28", "CP-1"), "A checkpoint of two lines is refused, 400.", lambda lines: lines[:2]),
    BrokenText(
        "origin-missing",
        ("W-28", "CP-2"),
        "A checkpoint without an origin is malformed, 400, or of no log that is known, 404.",
        lambda lines: [b"", *lines[1:]],
        (400, 404),
    ),
    BrokenText(
        "extension-empty",
        ("W-28", "CP-6"),
        "An empty extension line is refused, 400.",
        lambda lines: [*lines, b"", b"extension"],
        any_key=False,
    ),
    BrokenText(
        "extension-not-utf-8",
        ("W-28", "SN-2"),
        "Bytes that are not UTF-8 are refused, 400.",
        lambda lines: [*lines, b"\xff"],
        any_key=False,
    ),
    BrokenText(
        "extension-control-character",
        ("W-28", "SN-2"),
        "A control character is refused, 400.",
        lambda lines: [*lines, b"\x01"],
        any_key=False,
    ),
)

CASES = tuple(broken.case() for broken in (*REQUESTS, *TEXTS))
