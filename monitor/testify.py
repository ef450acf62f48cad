"""Signs testimony and documents with the peer key: what this key signs besides envelopes.

None can be taken for another: what is signed begins with ``sameview/gossip/v1`` and a zero byte for an envelope, with
the first line of a testimony, or with ``DSSEv1`` and the type of a document.
"""

from gossip.testimony import Testimony
from tlog.dsse import DocumentSignature, SignedDocument, signed_bytes
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, message_to_sign, signature_line


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
