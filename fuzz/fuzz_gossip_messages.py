#!/usr/bin/env python3
"""Fuzzes gossip messages, and feeds what can be read to the machine: nothing a peer says raises anything."""

import random

from gossip.canonical import pack, unpack
from gossip.core import Log, Received, Rules, begin, origin_id, step
from gossip.messages import (
    Buckets,
    Consistency,
    Digest,
    DigestEntry,
    EvidenceBundle,
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
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, message_to_sign, signature_line
from tlog.policy import Policy, PolicyLog

_LOG = SignerKey("fuzz.example/log", KeyType.ED25519, bytes(range(32)))
PEER = b"p" * 32
_ID = origin_id(_LOG.name)
_HASH = b"h" * 32
_POLICY = Policy((PolicyLog(_LOG.verifier_key),), (), (), None)
RULES = Rules({_ID: Log(_LOG.name, (_LOG.verifier_key,), _POLICY)}, (PEER,), (PEER,))


def _note(size: int, fill: bytes) -> bytes:
    text = Checkpoint(_LOG.name, size, Hash(fill * 32)).format()
    signature = _LOG.sign(message_to_sign(_LOG.verifier_key, text, 0))
    return Note(text, (signature_line(_LOG.verifier_key, 0, signature),)).format()


_EVIDENCE = b"tlog-evidence@v1\ntype same-size\n\n" + _note(5, b"a") + b"--\n" + _note(5, b"b")

_TESTIMONY = (
    b"tlog-testimony@v1\nfuzz.example/log\nunserved\n5 YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n1 2 3\n-\n"
)

MESSAGES: list[Known] = [
    Summary(1, 1, _HASH, _HASH, 0, 0, 0),
    Buckets(1, b"saltsalt", _HASH),
    Part(1, b"\xff", (DigestEntry(_ID, 5, _HASH, 1),), False),
    Digest(None, 0, (DigestEntry(_ID, 5, _HASH, 1), DigestEntry(_HASH, 0, _HASH, 2)), False),
    GetHeads((_ID,)),
    Head(_ID, _note(5, b"a"), 2, 3, (_HASH,)),
    Head(_ID, _note(0, b"a"), 1, None, ()),
    Consistency(_ID, 3, 5, _HASH, b"a" * 32, (_HASH,)),
    GetTile(_ID, 0, 0, 256),
    TileData(_ID, 0, 0, b"t" * 64),
    HaveEvidence((HeldEvidence(2, _ID, _HASH, _HASH),)),
    GetEvidence((_HASH,)),
    EvidenceBundle(2, _EVIDENCE),
    TestimonyNote(_TESTIMONY),
]

SEEDS: list[bytes] = [pack(format_message(message)) for message in MESSAGES]


def target(data: bytes) -> None:
    """A message that is read has one spelling, and the machine takes it without raising."""
    try:
        message = parse_message(unpack(data))
    except FormatError:
        return
    if not isinstance(message, Unknown) and pack(format_message(message)) != data:
        raise AssertionError("two spellings of one message")
    state, _ = step(begin(RULES, 1, 0), Received(PEER, (message,)), 0, random.Random(0))
    step(state, Received(PEER, (message,), answer=True), 1, random.Random(0))


if __name__ == "__main__":
    from fuzz.harness import main

    main(target, SEEDS)
