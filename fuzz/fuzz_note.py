#!/usr/bin/env python3
"""Note and SignatureLine: what is accepted is what a second reader of the grammar accepts, and has one spelling."""

import base64
import re

from fuzz.harness import main
from tests.keys import cosign, log_key, mldsa_key, sign_checkpoint, witness_key
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES, Note, SignatureLine, parse_signature_lines

CHECKPOINT = Checkpoint("log.example/one", 257, Hash(bytes(range(32))))
SIGNED = sign_checkpoint(CHECKPOINT, log_key())
SEEDS = [
    SIGNED,
    cosign(SIGNED, witness_key(), witness_key("witness.example/two")),
    sign_checkpoint(CHECKPOINT, mldsa_key()),
    "empty lines\n\n\nand é\u2028\n\n— a MTIzNDU=\n— b MTIzNDU2\n".encode(),
]

LINE = re.compile(r"— ([^+\s\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+) ([A-Za-z0-9+/]{7,}={0,2})")


def target(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except FormatError:
        if is_note(data):
            raise AssertionError("a note is refused") from None
        return
    if not is_note(data):
        raise AssertionError("what is no note is accepted")
    if note.format() != data or not note.text.endswith(b"\n"):
        raise AssertionError("an accepted note has a second spelling")
    require_lines(note)


def is_note(data: bytes) -> bool:
    """The grammar, by other means: text mode, one expression a line, and the standard library's base64."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    if len(data) > MAX_NOTE_BYTES or re.search(r"[\x00-\x09\x0b-\x1f]", text) or not text.endswith("\n"):
        return False
    _, found, signatures = text.rpartition("\n\n")
    lines = signatures.removesuffix("\n").split("\n")
    return bool(found) and len(lines) <= 100 and all(is_line(line) for line in lines)


def is_line(line: str) -> bool:
    match = LINE.fullmatch(line)
    if match is None or len(match[2]) % 4:
        return False
    blob = base64.standard_b64decode(match[2])
    return len(blob) > 4 and base64.standard_b64encode(blob).decode() == match[2]


def require_lines(note: Note) -> None:
    block = b"".join(line.format() for line in note.signatures)
    if parse_signature_lines(block) != note.signatures:
        raise AssertionError("signature lines read otherwise alone than in their note")
    if any(SignatureLine.parse(line.format()[:-1]) != line for line in note.signatures):
        raise AssertionError("a signature line is not read back")


if __name__ == "__main__":
    main(target, SEEDS)
