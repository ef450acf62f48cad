"""Signs testimony and documents with the peer key: what this key signs besides envelopes.

None can be taken for another: what is signed begins with ``sameview/gossip/v1`` and a zero byte for an envelope, with
the first line of a testimony, or with ``DSSEv1`` and the type of a document.
"""

from dataclasses import dataclass

from gossip.testimony import UNSERVED, Testimony
from tlog.dsse import DocumentSignature, SignedDocument, signed_bytes
from tlog.hashing import TreeHead
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, message_to_sign, signature_line


@dataclass(frozen=True, slots=True)
class Testifier:
    """The peer key, with which the monitor testifies, and where it stands."""

    key: SignerKey
    vantage: str

    def unserved(self, origin: str, head: TreeHead, first_ms: int, last_ms: int, tries: int) -> bytes:
        """Testify that nobody served what is below a head, from the first to the last of these times."""
        first, last = first_ms // 1000, last_ms // 1000
        said = Testimony(origin, UNSERVED, head.size, head.root_hash, first, last, tries, self.vantage)
        return sign_testimony(said, self.key)


def sign_testimony(testimony: Testimony, key: SignerKey) -> bytes:
    """Make the signed note, and verify it before anybody gets it."""
    if key.type is not KeyType.ED25519:
        raise AssertionError("testimony is signed with a peer key")
    text, vkey = testimony.format(), key.verifier_key
    message = message_to_sign(vkey, text, 0)
    signature = key.sign(message)
    vkey.verify(message, signature)
    return Note(text, (signature_line(vkey, 0, signature),)).format()


def sign_document(payload_type: str, payload: bytes, key: SignerKey) -> bytes:
    """Sign a JSON document as DSSE says, and verify it before anybody gets it."""
    if key.type is not KeyType.ED25519:
        raise AssertionError("documents are signed with a peer key")
    signature = key.sign(signed_bytes(payload_type, payload))
    document = SignedDocument(payload_type, payload, (DocumentSignature(key.verifier_key.id.hex(), signature),))
    document.verify(key.verifier_key, payload_type)
    return document.format()
