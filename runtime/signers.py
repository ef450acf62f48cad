"""Signers: they sign what a register has persisted, and nothing else exists to give them.

A signer reads no clock and decides nothing: origin, size, root hash and time all come from the ``Persisted`` statement.
So signing twice gives the same claim, and there is no request, however it is made, that gets a second history signed.
Each signature is verified before it leaves. A fault in memory or in a key file's bytes would otherwise become a
signature that nobody accepts, or, for Ed25519, one that gives the private key away.
"""

from collections.abc import Sequence
from typing import Protocol

from runtime.register import Persisted
from tlog.advance import Statement
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import message_to_sign, signature_line


class Signer(Protocol):
    """A key that signs persisted statements; where the key is, is its own affair."""

    @property
    def vkey(self) -> VerifierKey:
        """The public half."""
        ...

    async def sign(self, statement: Persisted[Statement]) -> bytes:
        """One signature line of the statement's checkpoint, with its line feed."""
        ...


class FileSigner:
    """A key that was read from a key file and is kept in memory.

    Ed25519 of a log (0x01) or cosigner (0x04), or ML-DSA-44 (0x06) of either.
    """

    def __init__(self, key: SignerKey) -> None:
        if key.type not in _SIGNING_TYPES:
            raise AssertionError("keys of this type do not sign checkpoints")
        self._key = key
        self._vkey = key.verifier_key

    @property
    def vkey(self) -> VerifierKey:
        return self._vkey

    async def sign(self, statement: Persisted[Statement]) -> bytes:
        if not can_sign(self._vkey, statement):
            raise AssertionError("an ML-DSA-44 signature cannot cover extension lines")
        time = statement.value.time
        message = message_to_sign(self._vkey, statement.value.checkpoint.format(), time)
        signature = self._key.sign(message)
        self._vkey.verify(message, signature)
        return signature_line(self._vkey, time, signature).format()


def can_sign(vkey: VerifierKey, statement: Persisted[Statement]) -> bool:
    """Whether this key can sign this statement: an ML-DSA-44 message has no place for extension lines."""
    # SPEC: CP-10 Extension lines SHOULD NOT be used with ML-DSA-44 keys: their signatures do not cover them.
    return vkey.type != KeyType.COSIGNATURE_MLDSA44 or not statement.value.extensions


async def sign_checkpoint(statement: Persisted[Statement], signers: Sequence[Signer]) -> bytes:
    """The statement's checkpoint as a note, signed by every signer that can sign it."""
    lines = [await signer.sign(statement) for signer in signers if can_sign(signer.vkey, statement)]
    return statement.value.checkpoint.format() + b"\n" + b"".join(lines)


_SIGNING_TYPES = frozenset({KeyType.ED25519, KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44})
