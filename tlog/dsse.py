"""Signed JSON: the DSSE envelope (secure-systems-lab/dsse, v1), with the signatures of one Ed25519 key.

What is signed is not the JSON text but the type and the bytes of the payload, each with its length. So nothing has to
be written canonically, and no signature of one type of document can be taken for one of another.
"""

import json
from dataclasses import dataclass

from tlog.errors import FormatError, SignatureError
from tlog.keys import KeyType, VerifierKey
from tlog.text import decode_base64, encode_base64

MAX_SIGNATURES = 16
_VERSION = b"DSSEv1"


@dataclass(frozen=True, slots=True)
class DocumentSignature:
    """A signature, and the key id that it claims to be by: eight hexadecimal digits, as in a vkey."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A document's bytes, its type, and who claims to have signed it."""

    payload_type: str
    payload: bytes
    signatures: tuple[DocumentSignature, ...]

    @classmethod
    def parse(cls, raw: bytes) -> "SignedDocument":
        """Read an envelope."""
        match parse_json(raw):
            case {"payloadType": str(type_), "payload": str(payload), "signatures": list(listed), **rest}:
                if rest or not 0 < len(listed) <= MAX_SIGNATURES:
                    raise FormatError("an envelope has a payload, its type, and one to sixteen signatures")
                return cls(type_, _decoded(payload, "payload"), tuple(_signature(one) for one in listed))
            case _:
                raise FormatError("this is not a DSSE envelope")

    def format(self) -> bytes:
        """Write the envelope."""
        signatures = [{"keyid": one.key_id, "sig": encode_base64(one.signature).decode()} for one in self.signatures]
        payload = encode_base64(self.payload).decode()
        document = {"payloadType": self.payload_type, "payload": payload, "signatures": signatures}
        return json.dumps(document, separators=(",", ":")).encode()

    def verify(self, key: VerifierKey, payload_type: str) -> bytes:
        """Return the payload, if it is of this type and this key signed it.

        Raises:
            FormatError: it is a document of another type.
            SignatureError: the key did not sign it.
        """
        if self.payload_type != payload_type:
            raise FormatError("this is a document of another type")
        claimed = [one for one in self.signatures if one.key_id == key.id.hex()]
        if key.type is not KeyType.ED25519 or not claimed:
            raise SignatureError("this key has not signed the document")
        for one in claimed:
            key.verify(signed_bytes(self.payload_type, self.payload), one.signature)
        return self.payload


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: the pre-authentication encoding of DSSE."""
    type_ = payload_type.encode()
    return b" ".join((_VERSION, b"%d" % len(type_), type_, b"%d" % len(payload), payload))


def parse_json(raw: bytes) -> object:
    """Read JSON in which no name stands twice in one object."""
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):  # also of what is no UTF-8; the last of lists in lists in lists
        raise FormatError("this is not JSON") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("a name stands twice in one object")
    return found


def _signature(one: object) -> DocumentSignature:
    match one:
        case {"keyid": str(key_id), "sig": str(signature), **rest} if not rest:
            return DocumentSignature(key_id, _decoded(signature, "signature"))
        case _:
            raise FormatError("a signature is an object of `keyid` and `sig`")


def _decoded(text: str, what: str) -> bytes:
    if not text.isascii():
        raise FormatError(f"the {what} is not base64")
    return decode_base64(text.encode(), what)
