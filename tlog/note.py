"""Signed notes: text, an empty line, and lines that each carry one signature (C2SP signed-note).

    <text, any lines, ending with a line feed>

    — <key name> base64(<4-byte key id> || <signature>)
    ...

``Note.parse`` reads the grammar and believes nothing. ``open_note`` tells which of the given keys signed the text:

* lines of unknown keys are ignored, also when only the name or only the id is that of a known key;
* a line with both the name and the id of a known key must verify, or the whole note is refused;
* without any line that verifies the note is refused;
* of several lines of one key the first counts, the others are ignored unread.

What a key signs depends on its type: see ``tlog.cosignature``. ML-DSA-44 keys and those of certificate logs sign tree
heads, so a text with such a line has to be a checkpoint, and one without extension lines, which they do not sign.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from tlog.checkpoint import Checkpoint
from tlog.cosignature import (
    cosignature_message,
    format_timestamped,
    parse_timestamped,
    subtree_message,
    tree_head_message,
)
from tlog.errors import FormatError, SignatureError
from tlog.keys import KEY_ID_BYTES, KeyType, VerifierKey
from tlog.subtree import Subtree
from tlog.text import decode_base64, encode_base64, parse_key_name, parse_utf8, split_lines

MAX_NOTE_BYTES = 96 * 1024  # 16 signatures of 5 kB each, which have to be accepted, and room for the text
MAX_SIGNATURES = 100  # what golang.org/x/mod accepts; 16 is what everybody has to

_DASH = "\N{EM DASH}".encode()
_END_OF_TEXT = b"\n\n"
_TIMELESS = (KeyType.ED25519, KeyType.ECDSA)


class NotSignedError(SignatureError):
    """No trusted key signed the note."""


class BadSignatureError(SignatureError):
    """A line carries the name and the id of a trusted key and does not verify: ``key`` tells which."""

    def __init__(self, key: VerifierKey, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature, as it stands in the note: by whom it claims to be, and the bytes after the key id."""

    name: str
    key_id: bytes
    body: bytes

    @classmethod
    def parse(cls, line: bytes) -> "SignatureLine":
        """Read one line, given without its line feed."""
        match line.split(b" "):
            case [dash, name, blob_text] if dash == _DASH:
                blob = decode_base64(blob_text, "signature")
            case _:
                raise FormatError("a signature line is not an em dash, a key name and a signature")
        if len(blob) <= KEY_ID_BYTES:
            raise FormatError("a signature is too short")
        # SPEC: SN-4 Key names MUST be non-empty and MUST NOT contain Unicode spaces or plus signs.
        return cls(parse_key_name(name), blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])

    def format(self) -> bytes:
        """Write the line with its line feed."""
        return b"%s %s %s\n" % (_DASH, self.name.encode(), encode_base64(self.key_id + self.body))


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signature lines, none of them verified."""

    text: bytes
    signatures: tuple[SignatureLine, ...]

    @classmethod
    def parse(cls, raw: bytes) -> "Note":
        """Read a note. Every signature line has to be well-formed, also those of unknown keys."""
        if len(raw) > MAX_NOTE_BYTES:
            raise FormatError(f"the note is longer than {MAX_NOTE_BYTES} bytes")
        # SPEC: SN-2 A note MUST be valid UTF-8 and MUST NOT contain ASCII control characters other than newline.
        parse_utf8(raw, "note")
        # SPEC: SN-3 The text may contain empty lines: the last one ends it.
        end = raw.rfind(_END_OF_TEXT)
        if end < 0:
            raise FormatError("the note has no empty line before its signatures")
        return cls(raw[: end + 1], parse_signature_lines(raw[end + 2 :]))

    def format(self) -> bytes:
        """Write the note."""
        return b"%s\n%s" % (self.text, b"".join(line.format() for line in self.signatures))


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A line that a trusted key is known to have made for the text it stood under.

    ``timestamp`` is what the signature states: seconds for cosignatures, milliseconds for ``RFC6962``, None for keys
    that sign no time. Zero, which ML-DSA-44 keys may sign, says nothing about the time.
    """

    key: VerifierKey
    line: SignatureLine
    timestamp: int | None


def parse_signature_lines(body: bytes) -> tuple[SignatureLine, ...]:
    """Read one or more signature lines, as they end a note or make up a witness's answer."""
    # SPEC: SN-18 Every signature line has to parse, those of unknown keys included.
    lines = split_lines(body, "the last signature line")
    # SPEC: SN-5 The number of signatures is capped; at least 16 MUST be accepted.
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"there are more than {MAX_SIGNATURES} signatures")
    return tuple(SignatureLine.parse(line) for line in lines)


def open_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifiedSignature, ...]:
    """Verify what the given keys signed: at least one signature, at most one a key, in the order of their lines.

    Raises:
        NotSignedError: none of the keys signed the note.
        BadSignatureError: a line of one of the keys does not verify.
    """
    # SPEC: SN-1 The text MUST be ignored unless a signature of a trusted key verifies it.
    unseen = _by_selector(keys)
    verified = []
    for line in note.signatures:
        # SPEC: SN-6 Signatures of unknown keys MUST be ignored, also if only the name or only the ID matches.
        # SPEC: CP-11 Clients MUST ignore unknown signatures.
        # SPEC: CP-13 Two lines of one key count once.
        key = unseen.pop((line.name, line.key_id), None)
        if key is not None:
            verified.append(_verify_line(note.text, key, line))
    # SPEC: SN-9 The note MUST be rejected if no signature by a known key verifies.
    if not verified:
        raise NotSignedError("no trusted key signed the note")
    return tuple(verified)


def message_to_sign(key: VerifierKey, text: bytes, time: int) -> bytes:
    """Return the bytes this key signs for this text at this time, which keys of some types do not sign.

    Raises:
        FormatError: the key signs checkpoints only, and the text is none.
        SignatureError: the key cannot sign for this checkpoint.
    """
    match key.type:
        case KeyType.COSIGNATURE_ED25519:
            return cosignature_message(time, text)
        case KeyType.ED25519 | KeyType.ECDSA:
            return text
        case KeyType.COSIGNATURE_MLDSA44:
            # SPEC: SN-12 A signature type may demand a certain text.
            if _is_subtree(text):
                return _part_message(key, Subtree.parse(text), time)
            checkpoint = _without_extensions(text)
            # SPEC: CS-17, W-24 For a checkpoint start MUST be 0 and end the size of the tree.
            return subtree_message(key.name, time, checkpoint.origin, 0, checkpoint.size, checkpoint.root_hash)
        case KeyType.RFC6962:
            checkpoint = _without_extensions(text)
            # SPEC: C-7 The key name MUST equal the origin. The signature does not cover the origin: only this binds it.
            if key.name != checkpoint.origin:
                raise SignatureError("the key of a certificate log signs for another origin than its name")
            return tree_head_message(time, checkpoint.head)
        case _:
            assert_never(key.type)


def signature_line(key: VerifierKey, time: int, signature: bytes) -> SignatureLine:
    """Wrap a bare signature over ``message_to_sign`` of the same time."""
    body = signature if key.type in _TIMELESS else format_timestamped(time, signature)
    return SignatureLine(key.name, key.id, body)


def _by_selector(keys: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        # SPEC: SN-19 Two configured keys with the same name and ID are a mistake of the configuration.
        other = known.setdefault((key.name, key.id), key)
        if other is not key and other != key:
            raise ValueError("two different trusted keys have the same name and key ID")
    return known


def _verify_line(text: bytes, key: VerifierKey, line: SignatureLine) -> VerifiedSignature:
    # SPEC: SN-7 When both name and ID match a known key, the signature MUST be verified.
    # SPEC: SN-8 The note SHOULD be rejected if a signature of a known key fails to verify.
    time, signature = None, line.body
    try:
        if key.type not in _TIMELESS:
            time, signature = parse_timestamped(line.body, None)
        key.verify(message_to_sign(key, text, time or 0), signature)
    except (FormatError, SignatureError) as error:
        raise BadSignatureError(key, str(error)) from None
    return VerifiedSignature(key, line, time)


def _is_subtree(text: bytes) -> bool:
    """Tell by the second line, in which a checkpoint has one number."""
    return b" " in text.partition(b"\n")[2].partition(b"\n")[0]


def _part_message(key: VerifierKey, part: Subtree, time: int) -> bytes:
    # SPEC: CS-16 What does not start at zero MUST have the timestamp zero; what sign-subtree answers always has.
    if time:
        raise SignatureError("a statement about a part of a tree states a time")
    return subtree_message(key.name, 0, part.origin, part.start, part.end, part.hash)


def _without_extensions(text: bytes) -> Checkpoint:
    checkpoint = Checkpoint.parse(text)
    # SPEC: C-9 Extension lines MUST NOT be used with 0x05.
    # SPEC: CP-10 With 0x06 there should be none, for it does not sign them: half of the implementations refuse such
    # a line, the others ignore the extension lines. Refusing means that nobody takes unsigned text for signed.
    if checkpoint.extensions:
        raise SignatureError("a key that does not sign extension lines signed a checkpoint that has some")
    return checkpoint
