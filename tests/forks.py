"""Logs that lie, in memory: trees with a common past, and heads signed by whoever is told to."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.keys import NOW, note_line
from tlog.checkpoint import Checkpoint
from tlog.cosignature import tree_head_message
from tlog.hashing import Hash, TreeHead, leaf_hash, node_hashes
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note, SignatureLine, signature_line
from tlog.proofs import root_at
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

ORIGIN = "log.example/one"


class Tree:
    """The nodes of a tree, readable at every size up to its own."""

    def __init__(self, leaves: Sequence[Hash]) -> None:
        self.rows = [list(leaves)]
        while len(self.rows[-1]) > 1:
            self.rows.append(node_hashes(self.rows[-1]))

    def read(self, level: int, index: int) -> Hash:
        return self.rows[level][index]

    def head(self, size: int) -> TreeHead:
        return TreeHead(size, root_at(size, self.read))


class CertificateLogKey:
    """A key of type 0x05, which the project itself only verifies. Its signatures are those of RFC 6979."""

    def __init__(self, name: str = ORIGIN, secret: int = 5) -> None:
        self._private = derive_private_key(secret, SECP256R1())
        spki = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.verifier_key = VerifierKey.of(name, KeyType.RFC6962, spki)

    def line(self, checkpoint: Checkpoint, time_ms: int) -> SignatureLine:
        message = tree_head_message(time_ms, checkpoint.head)
        value = self._private.sign(message, ECDSA(SHA256(), deterministic_signing=True))
        return signature_line(self.verifier_key, time_ms, b"\x04\x03" + len(value).to_bytes(2, "big") + value)


def leaves(count: int, branch: str = "main", common: int = 0) -> list[Hash]:
    """Leaf hashes of a branch that shares its first leaves with the main one."""
    return [leaf_hash(f"{'main' if i < common else branch} {i}".encode()) for i in range(count)]


def signed(
    head: TreeHead,
    *signers: SignerKey | CertificateLogKey,
    time: int = NOW,
    origin: str = ORIGIN,
    extensions: tuple[bytes, ...] = (),
) -> SignedCheckpoint:
    """A checkpoint with a line of each key, in this order and at one time, opened with these keys."""
    checkpoint = Checkpoint(origin, head.size, head.root_hash, extensions)
    note = Note(checkpoint.format(), tuple(_line(checkpoint, signer, time) for signer in signers))
    return open_checkpoint(note, [signer.verifier_key for signer in signers])


def _line(checkpoint: Checkpoint, signer: SignerKey | CertificateLogKey, time: int) -> SignatureLine:
    if isinstance(signer, CertificateLogKey):
        return signer.line(checkpoint, time)
    return note_line(checkpoint, signer, time)
