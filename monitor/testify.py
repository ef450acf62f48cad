"""Signs testimony with the peer key: the one thing besides envelopes that this key signs.

The two cannot be taken for each other: what is signed begins with ``sameview/gossip/v1`` and a zero byte there, and
with the first line of a testimony here.
"""

from gossip.testimony import Testimony
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
