"""Retirement records: one spelling, signed by the retired key alone, and nothing else that the key signs."""

import pytest

from tests.keys import mldsa_key, witness_key
from tlog.cosignature import cosignature_message, subtree_message
from tlog.errors import FormatError, SignatureError
from tlog.hashing import EMPTY_ROOT
from tlog.retirement import MAX_RECORD_BYTES, Retirement, SignedRetirement

OLD, NEW, OTHER = witness_key(), witness_key(seed=2), mldsa_key(witness_key().name)
RETIREMENT = Retirement(OLD.verifier_key, (NEW.verifier_key, OTHER.verifier_key), 1767139200)
RECORD = SignedRetirement(RETIREMENT, OLD.sign(RETIREMENT.message)).format()


def test_a_record_is_read_back_and_verifies() -> None:
    signed = SignedRetirement.parse(RECORD)
    signed.verify()
    assert (signed.retirement, signed.format()) == (RETIREMENT, RECORD)


def test_a_key_of_mldsa44_retires_too() -> None:
    retirement = Retirement(OTHER.verifier_key, (NEW.verifier_key,), 1)
    SignedRetirement.parse(SignedRetirement(retirement, OTHER.sign(retirement.message)).format()).verify()


def test_only_the_retired_key_can_say_so() -> None:
    with pytest.raises(SignatureError):
        SignedRetirement(RETIREMENT, NEW.sign(RETIREMENT.message)).verify()


def test_a_record_that_was_changed_does_not_verify() -> None:
    with pytest.raises(SignatureError):
        SignedRetirement.parse(RECORD.replace(b"1767139200", b"1767139201")).verify()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        RECORD[:-1],
        RECORD + b"\n",
        RECORD.replace(b"/v1", b"/v2"),
        RECORD.replace(b"time 1", b"time 01"),
        RECORD.replace(b"time ", b"Time "),
        RECORD.replace(b"retired ", b"retires "),
        RECORD.replace(b"successor ", b"follower "),
        RECORD.replace(b"\n", b"\r\n"),
        RECORD.replace(b"time", b"more x\ntime"),
        b"sameview-retirement/v1\nretired x\ntime 1\n\nAAAA\n",
        RECORD.replace(NEW.verifier_key.format().encode(), OLD.verifier_key.format().encode()),
        RECORD.replace(b"retired witness", b"retired \xff"),
        RECORD + b"A" * MAX_RECORD_BYTES,
    ],
)
def test_anything_else_is_refused(record: bytes) -> None:
    with pytest.raises(FormatError):
        SignedRetirement.parse(record)


@pytest.mark.parametrize(
    "successors", [(), (OLD.verifier_key,), tuple(witness_key(seed=n).verifier_key for n in range(5))]
)
def test_a_key_is_followed_by_others(successors: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="followed by"):
        Retirement(OLD.verifier_key, successors, 1)  # type: ignore[arg-type]


def test_what_is_signed_is_no_cosignature() -> None:
    cosignature = cosignature_message(1, b"log.example/one\n0\n")
    subtree = subtree_message(OLD.name, 1, "log.example/one", 0, 0, EMPTY_ROOT)
    assert not {RETIREMENT.message[:10]} & {cosignature[:10], subtree[:10]}
