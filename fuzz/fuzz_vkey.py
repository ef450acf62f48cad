#!/usr/bin/env python3
"""VerifierKey and SignerKey: one spelling, an ID that is the key's own, and a key that can be used without surprise."""

from hashlib import sha256

from fuzz.harness import main
from tests.keys import log_key, mldsa_key, witness_key
from tlog.errors import FormatError, SignatureError
from tlog.keys import KeyType, SignerKey, VerifierKey

KEYS = [log_key(), witness_key(), mldsa_key()]
RFC6962 = (
    "ct.googleapis.com/logs/us1/argon2024+7deb49d0+BTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABB25bKnLaZTFXOa2pgO70rjcVEMX"
    "KJkMBgFQHZ1kwFlGK9zIAx0FtC2oCfeZQe0E++VXuiYE9hFSzhRlOy92K8A="
)
ECDSA = (
    "rekor.sigstore.dev+c0d23d6a+AjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNhtmPtrWm3U1eQXBogSMdGvXwBcK5AW5i0hrZLOC96l"
    "+smGNM7nwZ4QvFK/4sueRoVj//QP22Ni4Qt9DPfkWLc="
)
SEEDS = [
    *(str(key.verifier_key).encode() for key in KEYS),
    *(key.format().encode() for key in KEYS),
    RFC6962.encode(),
    ECDSA.encode(),
]


def target(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    require_public(text)
    require_private(text)


def require_public(text: str) -> None:
    try:
        key = VerifierKey.parse(text)
    except FormatError:
        return
    if key.format() != text:
        raise AssertionError("an accepted vkey has a second spelling")
    if key.id != expected_id(key):
        raise AssertionError("an accepted vkey has the ID of another key")
    try:
        key.verify(b"nobody signed this", text.encode()[:64].ljust(64))
    except SignatureError:
        return
    raise AssertionError("a signature is made up")


def expected_id(key: VerifierKey) -> bytes:
    """The ID, by the words of the specification."""
    signed = sha256(key.public_key).digest() if key.type == KeyType.RFC6962 else key.public_key
    named = key.name.encode() + b"\n" + bytes([key.type]) + signed
    return sha256(key.public_key if key.type == KeyType.ECDSA else named).digest()[:4]


def require_private(text: str) -> None:
    try:
        key = SignerKey.parse(text)
    except FormatError:
        return
    if key.format() != text:
        raise AssertionError("an accepted private key has a second spelling")
    if VerifierKey.parse(str(key.verifier_key)) != key.verifier_key:
        raise AssertionError("a private key has no public one")
    key.verifier_key.verify(b"message", key.sign(b"message"))


if __name__ == "__main__":
    main(target, SEEDS)
