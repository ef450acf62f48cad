#!/usr/bin/env python3
"""Signed JSON: what parses is read back the same, and no key is said to have signed what it never did."""

from fuzz.harness import main
from tests.keys import log_key
from tlog.dsse import DocumentSignature, SignedDocument, parse_json, signed_bytes
from tlog.errors import FormatError, SignatureError
from tlog.scorecard import SCORECARDS_TYPE, describe, verify_scorecards

KEY = log_key("monitor.example/m1")
PAYLOADS = (b'{"monitor":"m","time":1,"witnesses":[]}', b'{"monitor":"monitor.example/m1","time":1,"witnesses":[]}')


def signed(payload: bytes) -> bytes:
    signature = DocumentSignature(KEY.verifier_key.id.hex(), KEY.sign(signed_bytes(SCORECARDS_TYPE, payload)))
    return SignedDocument(SCORECARDS_TYPE, payload, (signature,)).format()


SEEDS = [*map(signed, PAYLOADS), SignedDocument("t", b"", (DocumentSignature("", b""),)).format()]


def target(data: bytes) -> None:
    try:
        parse_json(data)
        parsed = SignedDocument.parse(data)
    except FormatError:
        return
    if SignedDocument.parse(parsed.format()) != parsed:
        raise AssertionError("an envelope that was written back is another one")
    try:
        payload = verify_scorecards(data, KEY.verifier_key)
    except (FormatError, SignatureError):
        return
    describe(payload)
    if payload not in PAYLOADS:
        raise AssertionError("the key is said to have signed what it never did")


if __name__ == "__main__":
    main(target, SEEDS)
