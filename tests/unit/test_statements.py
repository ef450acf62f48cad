"""Statements that are no checkpoints: parts of a log, and records of key rotation."""

import pytest

from tests.keys import mldsa_key, witness_key
from tlog.errors import FormatError, SignatureError
from tlog.hashing import Hash, TreeHead
from tlog.note import message_to_sign
from tlog.rotation import Rotation
from tlog.subtree import Subtree

ORIGIN = "log.example/one"
HASH = Hash(bytes(32))
PART = Subtree(ORIGIN, 16, 32, HASH)
RECORD = Rotation(ORIGIN, 1, "log.example/one+00000000+AQ==", TreeHead(60, HASH))


@pytest.mark.parametrize("statement", [PART, RECORD])
def test_a_statement_comes_back_from_its_bytes(statement: Subtree | Rotation) -> None:
    assert type(statement).parse(statement.format()) == statement


@pytest.mark.parametrize(("start", "end", "hash"), [(-1, 1, HASH), (2, 2, HASH), (3, 2, HASH), (0, 1, Hash(b""))])
def test_what_is_no_part_of_a_log_is_not_made(start: int, end: int, hash: Hash) -> None:
    with pytest.raises(ValueError, match="no subtree"):
        Subtree(ORIGIN, start, end, hash)


@pytest.mark.parametrize(("number", "new"), [(0, "key"), (1, ""), (1, "two\nlines")])
def test_what_is_no_rotation_is_not_made(number: int, new: str) -> None:
    with pytest.raises(ValueError, match="no rotation"):
        Rotation(ORIGIN, number, new, TreeHead(1, HASH))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"16 32\n", b"16 32\nmore\n", "has three lines"),
        (b"16 32\n", b"32\n", "where it starts and ends"),
        (b"16 32\n", b"32 32\n", "ends where it starts or earlier"),
        (b"16 32\n", b"016 32\n", "start"),
        (b"16 32\n", b"16 9223372036854775808\n", "end"),
        (b"A" * 43, b"A" * 42, "hash"),
        (ORIGIN.encode(), b"", "origin"),
        (ORIGIN.encode(), b"\xff", "UTF-8"),
    ],
)
def test_a_malformed_statement_about_a_part_is_refused(old: bytes, new: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        Subtree.parse(PART.format().replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"rotate 1\n", b"rotate 1\nmore\n", "has four lines"),
        (b"rotate 1\n", b"rotate 0\n", "numbered from 1"),
        (b"rotate 1\n", b"rotates 1\n", "begins with 'rotate '"),
        (b"new log.example/one+00000000+AQ==\n", b"new \n", "names no new key"),
        (b"cutoff 60 ", b"cutoff 60", "no root hash"),
        (b"cutoff 60 ", b"cutoff -1 ", "tree size"),
        (ORIGIN.encode(), b"\xff", "UTF-8"),
    ],
)
def test_a_malformed_rotation_record_is_refused(old: bytes, new: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        Rotation.parse(RECORD.format().replace(old, new, 1))


def test_a_part_is_signed_without_a_time() -> None:
    key = mldsa_key(witness_key().name).verifier_key
    assert (16).to_bytes(8) + (32).to_bytes(8) + HASH in message_to_sign(key, PART.format(), 0)
    with pytest.raises(SignatureError, match="states a time"):
        message_to_sign(key, PART.format(), 1)
