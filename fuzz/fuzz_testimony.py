#!/usr/bin/env python3
"""Testimony: what parses is written back byte for byte, and nobody is said to have stated what they never signed."""

from fuzz.harness import main
from gossip.testimony import (
    UNSERVED,
    Testimony,
    format_testimonies,
    open_testimony,
    parse_testimonies,
    weigh_testimony,
)
from tests.keys import log_key
from tlog.errors import FormatError, TlogError
from tlog.hashing import Hash
from tlog.note import Note, message_to_sign, signature_line

PEERS = [log_key(f"monitor.example/m{number}") for number in (1, 2)]
KEYS = [key.verifier_key for key in PEERS]
STATED = [
    Testimony("log.example/one", UNSERVED, 9, Hash(bytes(32)), 10, 20, 3),
    Testimony("log.example/one", UNSERVED, 9, Hash(bytes(32)), 15, 30, 1, "from a cellar"),
]


def signed(testimony: Testimony, number: int) -> bytes:
    text, key = testimony.format(), PEERS[number]
    line = signature_line(key.verifier_key, 0, key.sign(message_to_sign(key.verifier_key, text, 0)))
    return Note(text, (line,)).format()


NOTES = [signed(stated, number) for number, stated in enumerate(STATED)]
SEEDS = [*NOTES, format_testimonies(NOTES), STATED[1].format()]


def target(data: bytes) -> None:
    try:
        if Testimony.parse(data).format() != data:
            raise AssertionError("an accepted testimony has a second spelling")
    except FormatError:
        pass
    try:
        notes = parse_testimonies(data)
    except FormatError:
        return
    if format_testimonies(notes) != data:
        raise AssertionError("an accepted file has a second spelling")
    opened = []
    for note in notes:
        try:
            opened.append(open_testimony(note, KEYS))
        except TlogError:
            continue
    if any(one.testimony not in STATED for one in opened):
        raise AssertionError("somebody is said to have stated what they never signed")
    if sum(len(weight.operators) for weight in weigh_testimony(opened, {key: key.name for key in KEYS})) > len(KEYS):
        raise AssertionError("a key counts twice")


if __name__ == "__main__":
    main(target, SEEDS)
