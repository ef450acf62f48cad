"""Public and private keys in the text forms of signed notes.

    vkey    <name>+<8 hex digits of the key id>+base64(<type byte> || <public key>)
    private PRIVATE+KEY+<name>+<8 hex digits of the key id>+base64(<type byte> || <32-byte seed>)

A key is its name, its type and its bytes together: the same bytes under another name or type are another key with
another id. What the public key of a vkey is depends on the type:

    ED25519              32 bytes
    ECDSA                the DER of a SubjectPublicKeyInfo on P-256, P-384 or P-521
    COSIGNATURE_ED25519  32 bytes
    RFC6962              the DER of a SubjectPublicKeyInfo on P-256
    COSIGNATURE_MLDSA44  1312 bytes

Here are only the bare signature schemes. What a signature says, and which bytes it is made over, is told by
``tlog.cosignature``; whoever has a note to check calls ``tlog.note.open_note``.

Ed25519 is verified by libsodium's rule: cofactorless, S reduced, the encodings of the key and of R canonical, neither
of them of low order. That is the rule of Go and OpenSSL without the signatures whose key or R has low order, so what is
accepted here is accepted by them; who makes one of the others gives away the private key. Keys that are not points of
the prime-order subgroup are refused when they are read: under a low-order key one signature fits many messages and
would bind nobody.
"""

import re
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, assert_never

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError as NaclBadSignatureError

from tlog.errors import FormatError, SignatureError
from tlog.text import MAX_ORIGIN_BYTES, cut, decode_base64, encode_base64, is_key_name, parse_key_name

if TYPE_CHECKING:  # importing it takes longer than a whole verification, and most runs never need it
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

KEY_ID_BYTES = 4
SEED_BYTES = 32
ED25519_KEY_BYTES = 32
ED25519_SIGNATURE_BYTES = 64
MLDSA44_KEY_BYTES = 1312
MLDSA44_SIGNATURE_BYTES = 2420

_CACHED_KEYS = 256  # parsed keys that are kept; a node knows some dozens
_PRIVATE = b"PRIVATE+KEY+"
_KEY_ID = re.compile(rb"[0-9a-f]{8}")
_SHA256_ECDSA = b"\x04\x03"  # TLS SignatureAndHashAlgorithm (RFC 5246 section 7.4.1.4.1)


class KeyType(IntEnum):
    """The signature type byte of a signed note key."""

    ED25519 = 0x01
    ECDSA = 0x02
    COSIGNATURE_ED25519 = 0x04
    RFC6962 = 0x05
    COSIGNATURE_MLDSA44 = 0x06


def key_id(name: str, type: KeyType, public_key: bytes) -> bytes:
    """Compute the four bytes that tell which key made a signature. They select a key, they do not identify it."""
    match type:
        case KeyType.ECDSA:
            # SPEC: SN-11 For type 0x02 the key ID is the first four bytes of SHA-256(SPKI DER), without the name.
            return sha256(public_key).digest()[:KEY_ID_BYTES]
        case KeyType.RFC6962:
            # SPEC: C-8 The key ID is SHA-256(name || LF || 0x05 || LogID)[:4], the LogID being the hash of the key.
            public_key = sha256(public_key).digest()
        case KeyType.ED25519 | KeyType.COSIGNATURE_ED25519 | KeyType.COSIGNATURE_MLDSA44:
            pass
        case _:
            assert_never(type)
    # SPEC: SN-17 A public key under another type has another ID, because the type is part of what is hashed.
    # SPEC: SN-11 The key ID is SHA-256(key name || LF || signature type || public key)[:4].
    # SPEC: SN-17 A public key that is used for several types MUST have different key IDs: the type is in the hash.
    # SPEC: CS-3 For type 0x04 it is computed over the 32-byte Ed25519 key.
    # SPEC: CS-4 For type 0x06 it is computed over the 1312-byte ML-DSA-44 key.
    return sha256(b"%s\n%c%s" % (name.encode(), type, public_key)).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key under its name; ``str()`` of it is its vkey. ``of`` and ``parse`` make only usable ones."""

    name: str
    id: bytes
    type: KeyType
    public_key: bytes

    @classmethod
    def of(cls, name: str, type: KeyType, public_key: bytes) -> "VerifierKey":
        """Name a public key and compute its id.

        Raises:
            FormatError: these bytes are no public key of that type, or it cannot have this name.
        """
        _check_name(type, name)
        _check_public_key(type, public_key)
        return cls(name, key_id(name, type, public_key), type, public_key)

    @classmethod
    def parse(cls, vkey: str) -> "VerifierKey":
        """Read a vkey. The id in it must be the one computed from name, type and key."""
        name, claimed_id, data = _parse_key_text(_ascii_or_utf8(vkey))
        key = cls.of(name, _key_type(data), data[1:])
        # SPEC: SN-16 The name and the ID of a vkey MUST be the ones its signatures carry.
        # SPEC: SN-20 The key ID of a vkey is recomputed and compared.
        if key.id != claimed_id:
            raise FormatError("the key ID is not the one of this key")
        return key

    def format(self) -> str:
        """Write the vkey."""
        return _format_key_text(self.name, self.id, self.type, self.public_key)

    __str__ = format

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check the bare signature over exactly these bytes.

        For ``RFC6962`` the signature is the TLS digitally-signed structure: algorithms, length, signature.

        Raises:
            SignatureError: this key did not sign this message.
        """
        match self.type:
            case KeyType.COSIGNATURE_ED25519 | KeyType.ED25519:
                valid = _verify_ed25519(self.public_key, message, signature)
            case KeyType.COSIGNATURE_MLDSA44:
                valid = _verify_mldsa44(self.public_key, message, signature)
            case KeyType.ECDSA:
                valid = _verify_ecdsa(self.public_key, message, signature)
            case KeyType.RFC6962:
                valid = _verify_digitally_signed(self.public_key, message, signature)
            case _:
                assert_never(self.type)
        if not valid:
            raise SignatureError("the signature does not verify")


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private key under its name: the 32-byte seed of an Ed25519 or ML-DSA-44 key. Its repr hides the seed."""

    name: str
    type: KeyType
    seed: bytes = field(repr=False)
    verifier_key: VerifierKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise ValueError(f"a seed is {SEED_BYTES} bytes long")
        try:
            verifier_key = VerifierKey.of(self.name, self.type, _public_key(self.type, self.seed))
        except FormatError as error:
            raise ValueError(str(error)) from None
        object.__setattr__(self, "verifier_key", verifier_key)

    @classmethod
    def parse(cls, text: str) -> "SignerKey":
        """Read a private key. The id in it must be the one of its public key."""
        data = _ascii_or_utf8(text)
        if not data.startswith(_PRIVATE):
            raise FormatError("a private key begins with PRIVATE+KEY+")
        name, claimed_id, data = _parse_key_text(data.removeprefix(_PRIVATE))
        try:
            key = cls(name, _key_type(data), data[1:])
        except ValueError as error:
            raise FormatError(str(error)) from None
        if key.verifier_key.id != claimed_id:
            raise FormatError("the key ID is not the one of this key")
        return key

    def format(self) -> str:
        """Write the private key. Whoever reads the result can sign."""
        return _PRIVATE.decode() + _format_key_text(self.name, self.verifier_key.id, self.type, self.seed)

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes. The caller answers for what they say."""
        if self.type is KeyType.COSIGNATURE_MLDSA44:
            return _mldsa44_private_key(self.seed).sign(message)
        return crypto_sign(message, self.seed + self.verifier_key.public_key)[:ED25519_SIGNATURE_BYTES]


def _ascii_or_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise FormatError("the key is not UTF-8") from None


def _parse_key_text(text: bytes) -> tuple[str, bytes, bytes]:
    # Base64 may contain a plus sign and key names may not, so the first two separate the fields.
    name, rest = cut(text, b"+", "a key is name+id+base64")
    id_text, data_text = cut(rest, b"+", "a key is name+id+base64")
    if not _KEY_ID.fullmatch(id_text):
        raise FormatError("the key ID is not eight lower case hexadecimal digits")
    data = decode_base64(data_text, "key")
    if not data:
        raise FormatError("the key is empty")
    # SPEC: SN-4 Key names MUST be non-empty and MUST NOT contain Unicode spaces or plus signs.
    return parse_key_name(name), bytes.fromhex(id_text.decode()), data


def _format_key_text(name: str, id: bytes, type: KeyType, data: bytes) -> str:
    return f"{name}+{id.hex()}+{encode_base64(bytes([type]) + data).decode()}"


def _key_type(data: bytes) -> KeyType:
    try:
        return KeyType(data[0])
    except ValueError:
        raise FormatError("unknown key type") from None


def _check_name(type: KeyType, name: str) -> None:
    if not is_key_name(name):
        raise FormatError("a key name is empty or contains a space or a plus sign")
    # SPEC: CS-14 The cosigner name of a 0x06 signature is 1 to 255 bytes long, because it is signed with its length.
    if type is KeyType.COSIGNATURE_MLDSA44 and len(name.encode()) > MAX_ORIGIN_BYTES:
        raise FormatError(f"the name of an ML-DSA-44 key is longer than {MAX_ORIGIN_BYTES} bytes")


def _check_public_key(type: KeyType, public_key: bytes) -> None:
    match type:
        case KeyType.ED25519 | KeyType.COSIGNATURE_ED25519:
            if len(public_key) != ED25519_KEY_BYTES:
                raise FormatError(f"an Ed25519 key is not {ED25519_KEY_BYTES} bytes long")
            if not crypto_core_ed25519_is_valid_point(public_key):
                raise FormatError("an Ed25519 key is not a point of prime order")
        case KeyType.COSIGNATURE_MLDSA44:
            if len(public_key) != MLDSA44_KEY_BYTES:
                raise FormatError(f"an ML-DSA-44 key is not {MLDSA44_KEY_BYTES} bytes long")
        case KeyType.ECDSA:
            _ecdsa_key(public_key)
        case KeyType.RFC6962:
            _check_tree_head_key(public_key)
        case _:
            assert_never(type)


def _verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    if len(signature) != ED25519_SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except NaclBadSignatureError:
        return False
    return True


def _verify_mldsa44(public_key: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _mldsa44_public_key(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _verify_ecdsa(public_key: bytes, message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        _ecdsa_key(public_key).verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _verify_digitally_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    algorithm, length, value = signature[:2], signature[2:4], signature[4:]
    # SPEC: C-8 The signature is a digitally-signed structure: the algorithms, a two-byte length, an ECDSA signature.
    if algorithm != _SHA256_ECDSA or length != len(value).to_bytes(2, "big"):
        return False
    return _verify_ecdsa(public_key, message, value)


def _ecdsa_key(spki: bytes) -> "EllipticCurvePublicKey":
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey

    key = _load_spki(spki)
    # SPEC: SN-14 The curve of a type 0x02 key MUST be P-256, P-384 or P-521.
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1 | SECP384R1 | SECP521R1):
        raise FormatError("an ECDSA key is not on P-256, P-384 or P-521")
    return key


def _check_tree_head_key(spki: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1

    # RFC 6962 section 2.1.4 allows RSA too; no log that is in use has such a key.
    if not isinstance(_ecdsa_key(spki).curve, SECP256R1):
        raise FormatError("the key of a certificate log is not on P-256")


@lru_cache(maxsize=_CACHED_KEYS)
def _load_spki(spki: bytes) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("the key is not the DER of a public key") from None


@lru_cache(maxsize=_CACHED_KEYS)
def _mldsa44_public_key(public_key: bytes) -> "MLDSA44PublicKey":
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    return MLDSA44PublicKey.from_public_bytes(public_key)


@lru_cache(maxsize=_CACHED_KEYS)
def _mldsa44_private_key(seed: bytes) -> "MLDSA44PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

    return MLDSA44PrivateKey.from_seed_bytes(seed)


def _public_key(type: KeyType, seed: bytes) -> bytes:
    match type:
        case KeyType.ED25519 | KeyType.COSIGNATURE_ED25519:
            return crypto_sign_seed_keypair(seed)[0]
        case KeyType.COSIGNATURE_MLDSA44:
            return _mldsa44_private_key(seed).public_key().public_bytes_raw()
        case KeyType.ECDSA | KeyType.RFC6962:
            raise ValueError("keys of this type only verify")
        case _:
            assert_never(type)
