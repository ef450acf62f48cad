#!/usr/bin/env python3
"""SignedCheckpoint: whatever opens says what the keys here once said, and nothing else.

All signatures that the keys of this file ever made stand in the seeds. However those are cut and joined, a checkpoint
that opens must have a text that was signed, and each verified signature must have been made for that text by that key.
"""

import dataclasses

from fuzz.harness import main
from tests.keys import NOW, log_key, mldsa_key, note_line, witness_key
from tlog.checkpoint import Checkpoint
from tlog.cosignature import format_timestamped, parse_timestamped
from tlog.errors import FormatError, TlogError
from tlog.hashing import Hash
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note, open_note, parse_signature_lines
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

LOG, WITNESS, PQ = log_key(), witness_key(), mldsa_key("witness.example/pq")
KEYS = [LOG, WITNESS, PQ]
VERIFIER_KEYS = [key.verifier_key for key in KEYS]
ONE = Checkpoint("log.example/one", 257, Hash(bytes(range(32))))
CHECKPOINTS = [
    ONE,
    dataclasses.replace(ONE, size=258),
    dataclasses.replace(ONE, root_hash=Hash(bytes(32))),
    dataclasses.replace(ONE, origin="log.example/two"),
    dataclasses.replace(ONE, extensions=(b"extension",)),
]


def lines_for(checkpoint: Checkpoint, time: int) -> Note:
    keys = [key for key in KEYS if not (checkpoint.extensions and key.type == KeyType.COSIGNATURE_MLDSA44)]
    return Note(checkpoint.format(), tuple(note_line(checkpoint, key, time) for key in keys))


NOTES = [lines_for(checkpoint, time) for checkpoint in CHECKPOINTS for time in (NOW, NOW + 1)]
SEEDS = [note.format() for note in NOTES]
# ML-DSA signatures differ each time they are made, and earlier runs left inputs with theirs: of those the body is free.
MADE = {
    (note.text, line.name, line.key_id, b"" if line.name == PQ.name else line.body)
    for note in NOTES
    for line in note.signatures
}


def target(data: bytes) -> None:
    require_timestamp(data)
    for keys in (VERIFIER_KEYS, VERIFIER_KEYS[:1], VERIFIER_KEYS[1:]):
        try:
            opened = open_checkpoint(data, keys)
        except TlogError:
            continue
        require_statements(opened, keys)


def require_statements(opened: SignedCheckpoint, keys: list[VerifierKey]) -> None:
    made = {
        (opened.note.text, one.key.name, one.key.id, b"" if one.key == PQ.verifier_key else one.line.body)
        for one in opened.signatures
    }
    if not made or not made <= MADE or not {one.key for one in opened.signatures} <= set(keys):
        raise AssertionError("a checkpoint opened that nobody signed")
    if opened.checkpoint.format() != opened.note.text:
        raise AssertionError("the checkpoint is not the one that was signed")
    stored = opened.verified_only()
    if open_checkpoint(stored.raw, VERIFIER_KEYS).signatures != opened.signatures:
        raise AssertionError("what was stored does not open again, or to other signatures")
    if opened.merge(stored) != stored:
        raise AssertionError("merging with itself changed something")
    if open_note(opened.note, keys) != opened.signatures:
        raise AssertionError("the note opens to other signatures than the checkpoint")
    parse_signature_lines(b"".join(one.line.format() for one in opened.signatures))


def require_timestamp(data: bytes) -> None:
    try:
        time, signature = parse_timestamped(data, None)
    except FormatError:
        return
    if format_timestamped(time, signature) != data:
        raise AssertionError("a timestamped signature has a second spelling")


if __name__ == "__main__":
    main(target, SEEDS)
