"""Signers: what they sign is what was persisted, and what leaves them verifies."""

import pytest

from runtime.register import Persisted
from runtime.signers import FileSigner, can_sign, sign_checkpoint
from tests.fakes import MemoryRegister
from tlog.advance import Advance, Statement
from tlog.errors import SignatureError
from tlog.hashing import Hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note, open_note

TYPES = [KeyType.ED25519, KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44]
STATEMENT = Statement("log.example/one", 5, Hash(bytes(range(32))), 1_700_000_000)
EXTENDED = Statement("log.example/one", 5, Hash(bytes(range(32))), 1_700_000_000, (b"extension",))


def key(type: KeyType) -> SignerKey:
    return SignerKey("log.example/one", type, bytes([type]) * 32)


async def persist(statement: Statement) -> Persisted[Statement]:
    answer = await MemoryRegister().advance(None, Advance(statement))
    assert isinstance(answer, Persisted)
    return answer


@pytest.mark.parametrize("type", TYPES)
async def test_a_signature_verifies_and_states_the_time_of_the_statement(type: KeyType) -> None:
    signer = FileSigner(key(type))
    note = await sign_checkpoint(await persist(STATEMENT), [signer])
    (verified,) = open_note(Note.parse(note), [signer.vkey])
    assert verified.key == signer.vkey
    assert verified.timestamp == (None if type is KeyType.ED25519 else STATEMENT.time)


async def test_all_signers_sign_one_note_in_their_order() -> None:
    signers = [FileSigner(key(type)) for type in TYPES]
    note = Note.parse(await sign_checkpoint(await persist(STATEMENT), signers))
    assert note.text == STATEMENT.checkpoint.format()
    assert [v.key for v in open_note(note, [s.vkey for s in signers])] == [signer.vkey for signer in signers]


async def test_an_ed25519_signature_is_the_same_each_time() -> None:
    persisted = await persist(STATEMENT)
    signer = FileSigner(key(KeyType.COSIGNATURE_ED25519))
    assert await signer.sign(persisted) == await signer.sign(persisted)


async def test_an_ml_dsa_signer_does_not_sign_extension_lines() -> None:
    persisted = await persist(EXTENDED)
    signer = FileSigner(key(KeyType.COSIGNATURE_MLDSA44))
    assert not can_sign(signer.vkey, persisted)
    with pytest.raises(AssertionError, match="extension lines"):
        await signer.sign(persisted)


async def test_with_extension_lines_only_the_others_sign() -> None:
    signers = [FileSigner(key(type)) for type in TYPES]
    note = Note.parse(await sign_checkpoint(await persist(EXTENDED), signers))
    assert note.text == EXTENDED.checkpoint.format()
    assert [v.key.type for v in open_note(note, [s.vkey for s in signers])] == TYPES[:2]


class FaultyKey:
    """A key in memory that was hit by a fault: it signs, but not what it should."""

    name = "log.example/one"
    type = KeyType.ED25519
    verifier_key: VerifierKey = key(KeyType.ED25519).verifier_key

    def sign(self, message: bytes) -> bytes:
        good = key(KeyType.ED25519).sign(message)
        return good[:-1] + bytes([good[-1] ^ 1])


async def test_a_signature_that_does_not_verify_does_not_leave() -> None:
    signer = FileSigner(FaultyKey())  # type: ignore[arg-type]  # no real key can be made to do this
    with pytest.raises(SignatureError):
        await signer.sign(await persist(STATEMENT))


def test_a_key_that_cannot_sign_checkpoints_is_a_bug() -> None:
    class Ecdsa(FaultyKey):
        type = KeyType.ECDSA

    with pytest.raises(AssertionError):
        FileSigner(Ecdsa())  # type: ignore[arg-type]  # as above
