"""Signers for tests. The same arguments always give the same key, and no key here is anybody's."""

from hashlib import sha256

from tlog.checkpoint import Checkpoint
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, SignatureLine, message_to_sign, signature_line

NOW = 1767139200  # 2025-12-31T00:00:00Z


def log_key(name: str = "log.example/one", seed: int = 1) -> SignerKey:
    """A log's Ed25519 key."""
    return _key(name, KeyType.ED25519, seed)


def witness_key(name: str = "witness.example/one", seed: int = 1) -> SignerKey:
    """A witness's Ed25519 key."""
    return _key(name, KeyType.COSIGNATURE_ED25519, seed)


def mldsa_key(name: str = "log.example/one", seed: int = 1) -> SignerKey:
    """A log's or witness's ML-DSA-44 key."""
    return _key(name, KeyType.COSIGNATURE_MLDSA44, seed)


def note_line(checkpoint: Checkpoint, key: SignerKey, time: int = NOW) -> SignatureLine:
    """The line with which a key signs a checkpoint."""
    vkey = key.verifier_key
    return signature_line(vkey, time, key.sign(message_to_sign(vkey, checkpoint.format(), time)))


def sign_checkpoint(checkpoint: Checkpoint, *keys: SignerKey, time: int = NOW) -> bytes:
    """A signed checkpoint, with one line a key."""
    return Note(checkpoint.format(), tuple(note_line(checkpoint, key, time) for key in keys)).format()


def cosign(raw: bytes, *keys: SignerKey, time: int = NOW) -> bytes:
    """The same signed checkpoint with more lines."""
    note = Note.parse(raw)
    checkpoint = Checkpoint.parse(note.text)
    return Note(note.text, (*note.signatures, *(note_line(checkpoint, key, time) for key in keys))).format()


def _key(name: str, type: KeyType, seed: int) -> SignerKey:
    return SignerKey(name, type, sha256(f"{name} {type} {seed}".encode()).digest())
