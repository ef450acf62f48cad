"""Signed JSON: what is signed, and what is refused."""

import json

import pytest

from monitor.testify import sign_document
from tests.fakes_log import signer
from tests.keys import mldsa_key
from tlog.dsse import MAX_SIGNATURES, DocumentSignature, SignedDocument, signed_bytes
from tlog.errors import FormatError, SignatureError
from tlog.keys import KeyType

TYPE = "application/vnd.example+json"
KEY = signer("monitor.example/m1")
GOOD = sign_document(TYPE, b'{"a":1}', KEY)
FIELDS = json.loads(GOOD)


def test_the_signed_bytes_are_those_of_the_published_example() -> None:
    # https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, test vectors
    assert signed_bytes("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_document_is_what_its_key_signed() -> None:
    assert SignedDocument.parse(GOOD).verify(KEY.verifier_key, TYPE) == b'{"a":1}'
    assert SignedDocument.parse(GOOD).format() == GOOD


def test_spaces_and_order_of_the_envelope_do_not_matter() -> None:
    spread = json.dumps(dict(reversed(FIELDS.items())), indent=4).encode()
    assert SignedDocument.parse(spread) == SignedDocument.parse(GOOD)


@pytest.mark.parametrize(
    "key", [signer("monitor.example/m2"), signer("monitor.example/m1", KeyType.COSIGNATURE_ED25519), mldsa_key("m", 1)]
)
def test_another_key_has_not_signed_it(key: object) -> None:
    with pytest.raises(SignatureError):
        SignedDocument.parse(GOOD).verify(key.verifier_key, TYPE)  # type: ignore[attr-defined]


def test_a_changed_document_does_not_verify() -> None:
    parsed = SignedDocument.parse(GOOD)
    with pytest.raises(SignatureError):
        SignedDocument(TYPE, b'{"a":2}', parsed.signatures).verify(KEY.verifier_key, TYPE)


def test_a_document_of_another_type_is_none_of_this() -> None:
    with pytest.raises(FormatError):
        SignedDocument.parse(GOOD).verify(KEY.verifier_key, "application/vnd.other+json")


def test_one_wrong_signature_of_the_key_spoils_the_document() -> None:
    parsed = SignedDocument.parse(GOOD)
    wrong = DocumentSignature(KEY.verifier_key.id.hex(), bytes(64))
    with pytest.raises(SignatureError):
        SignedDocument(TYPE, parsed.payload, (*parsed.signatures, wrong)).verify(KEY.verifier_key, TYPE)
    stranger = DocumentSignature("00000000", bytes(64))
    assert SignedDocument(TYPE, parsed.payload, (stranger, *parsed.signatures)).verify(KEY.verifier_key, TYPE)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"{}",
        GOOD[:-1] + b',"more":1}',
        GOOD[:-1] + b',"payloadType":"x"}',
        json.dumps({**FIELDS, "payload": "a"}).encode(),
        json.dumps({**FIELDS, "payload": "ü"}).encode(),
        json.dumps({**FIELDS, "payload": 1}).encode(),
        json.dumps({**FIELDS, "signatures": []}).encode(),
        json.dumps({**FIELDS, "signatures": FIELDS["signatures"] * (MAX_SIGNATURES + 1)}).encode(),
        json.dumps({**FIELDS, "signatures": [{"keyid": "a"}]}).encode(),
        json.dumps({**FIELDS, "signatures": [{**FIELDS["signatures"][0], "cert": ""}]}).encode(),
    ],
)
def test_what_is_no_envelope_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        SignedDocument.parse(raw)
