import subprocess
import sys
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.keys import log_key, mldsa_key, witness_key
from tlog.errors import FormatError, SignatureError
from tlog.keys import KeyType, SignerKey, VerifierKey, key_id
from tlog.text import encode_base64

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SIGNERS = [log_key(), witness_key(), mldsa_key()]
SEED = bytes(range(32))


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ec_key(curve: ec.EllipticCurve, secret: int = 7) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(secret, curve)


P256 = ec_key(ec.SECP256R1())
LOG = VerifierKey.of("ct.example/2026", KeyType.RFC6962, spki(P256))


def vkey_text(name: str, type: int, public_key: bytes, id: bytes | None = None) -> str:
    id = id or sha256(name.encode(errors="surrogatepass") + b"\n" + bytes([type]) + public_key).digest()[:4]
    return f"{name}+{id.hex()}+{encode_base64(bytes([type]) + public_key).decode()}"


def digitally_signed(der: bytes, algorithms: bytes = b"\x04\x03", extra: int = 0) -> bytes:
    return algorithms + (len(der) + extra).to_bytes(2, "big") + der


def corrupted(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def with_trailing_bits(text: str) -> str:
    """Another spelling of the same bytes that lax decoders accept."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="


# --- Key IDs ---


@pytest.mark.parametrize("type", [KeyType.ED25519, KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44])
def test_the_key_id_covers_name_type_and_key(type: KeyType) -> None:
    """SN-11, CS-3, CS-4: SHA-256(name || LF || type || key)[:4]."""
    assert key_id("a.example", type, b"key") == sha256(b"a.example\n" + bytes([type]) + b"key").digest()[:4]


def test_the_key_id_of_an_ecdsa_key_is_the_hash_of_its_spki_alone() -> None:
    """SN-11: the exception of type 0x02."""
    assert key_id("any name", KeyType.ECDSA, spki(P256)) == sha256(spki(P256)).digest()[:4]


def test_the_key_id_of_a_certificate_log_covers_its_log_id() -> None:
    """C-8: SHA-256(name || LF || 0x05 || LogID)[:4]."""
    assert LOG.id == sha256(b"ct.example/2026\n\x05" + sha256(spki(P256)).digest()).digest()[:4]


def test_one_public_key_has_another_id_for_each_type() -> None:
    """SN-17: a key that is reused for several signature types MUST have different key IDs."""
    ids = {key_id("a.example", type, SEED) for type in KeyType}
    assert len(ids) == len(KeyType)


# --- vkeys ---


def test_a_vkey_is_read_and_written_back() -> None:
    key = VerifierKey.parse(PETER)
    assert (key.name, key.id.hex(), key.type) == ("PeterNeumann", "c74f20a3", KeyType.ED25519)
    assert key.format() == str(key) == PETER


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda key: key.type.name)
def test_the_vkey_of_every_signer_is_read_back(signer: SignerKey) -> None:
    """CS-5, SN-16: vkeys of type 0x04 and 0x06."""
    assert VerifierKey.parse(str(signer.verifier_key)) == signer.verifier_key


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_the_three_curves_of_ecdsa_keys_are_accepted(curve: ec.EllipticCurve) -> None:
    """SN-14: P-256, P-384 or P-521."""
    key = VerifierKey.of("ecdsa.example", KeyType.ECDSA, spki(ec_key(curve)))
    assert VerifierKey.parse(str(key)) == key


def test_base64_with_a_plus_sign_is_part_of_the_key() -> None:
    vkey = next(text for seed in range(99) if (text := str(log_key(seed=seed).verifier_key)).count("+") > 2)
    assert VerifierKey.parse(vkey).format() == vkey


ED = log_key().verifier_key.public_key
ML = mldsa_key().verifier_key.public_key
BAD_VKEYS = {
    "SN-20 a key ID of another key": PETER.replace("c74f20a3", "c74f20a4"),
    "SN-20 a key ID computed for another name": vkey_text(
        "a.example", 1, ED, id=key_id("b.example", KeyType.ED25519, ED)
    ),
    "SN-20 a legacy key under its cosignature ID": vkey_text(
        "a.example", 1, ED, id=key_id("a.example", KeyType.COSIGNATURE_ED25519, ED)
    ),
    "upper case key ID": PETER.replace("c74f20a3", "C74F20A3"),
    "short key ID": PETER.replace("c74f20a3", "c74f20a"),
    "key ID with a space": PETER.replace("c74f20a3", "c74f20a "),
    "no key": "PeterNeumann+c74f20a3+",
    "no base64 field": "PeterNeumann+c74f20a3",
    "no fields": "PeterNeumann",
    "nothing": "",
    "trailing line feed": PETER + "\n",
    "leading space": " " + PETER,
    "base64 without padding": vkey_text("a.example", 6, ML).rstrip("="),
    "base64 with trailing bits": with_trailing_bits(vkey_text("a.example", 6, ML)),
    "URL-safe base64": PETER.replace("/", "_"),
    "SN-4 empty name": vkey_text("", 1, ED),
    "SN-4 name with a space": vkey_text("a b", 1, ED),
    "SN-4 name with a Unicode space": vkey_text("a\u2009b", 1, ED),
    "name with a control character": vkey_text("a\x1fb", 1, ED),
    "name that is no Unicode": vkey_text("a\ud800b", 1, ED),
    "reserved type 0x03": vkey_text("a.example", 3, ED),
    "SN-15 private type 0xff": vkey_text("a.example", 0xFF, ED),
    "short Ed25519 key": vkey_text("a.example", 1, ED[:-1]),
    "long Ed25519 key": vkey_text("a.example", 4, ED + b"\0"),
    "short ML-DSA-44 key": vkey_text("a.example", 6, ML[:-1]),
    "CS-14 name of an ML-DSA-44 key of 256 bytes": vkey_text("x" * 256, 6, ML),
    "SN-14 curve secp256k1": vkey_text("a", 2, (k1 := spki(ec_key(ec.SECP256K1()))), id=sha256(k1).digest()[:4]),
    "an ECDSA key that is no key": vkey_text("a", 2, b"junk", id=sha256(b"junk").digest()[:4]),
    "a point that is not on its curve": vkey_text("a", 2, (off := corrupted(spki(P256))), id=sha256(off).digest()[:4]),
}


@pytest.mark.parametrize("vkey", BAD_VKEYS.values(), ids=BAD_VKEYS)
def test_refuses_a_vkey_with(vkey: str) -> None:
    with pytest.raises(FormatError):
        VerifierKey.parse(vkey)


def test_refuses_a_certificate_log_whose_key_is_not_on_p256() -> None:
    with pytest.raises(FormatError, match="P-256"):
        VerifierKey.of("ct.example", KeyType.RFC6962, spki(ec_key(ec.SECP384R1())))


def test_refuses_an_rsa_key_as_ecdsa() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(FormatError, match="ECDSA"):
        VerifierKey.of("a.example", KeyType.ECDSA, spki(key))


# The eight points of low order and their other spellings, y = 0 or +-1 or +-sqrt of the two roots, sign bit set or not.
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize("type", [KeyType.ED25519, KeyType.COSIGNATURE_ED25519], ids=lambda type: type.name)
@pytest.mark.parametrize("point", LOW_ORDER)
def test_refuses_a_low_order_key(type: KeyType, point: str) -> None:
    with pytest.raises(FormatError, match="prime order"):
        VerifierKey.parse(vkey_text("a.example", type, bytes.fromhex(point)))


def test_a_low_order_key_would_have_accepted_a_signature_over_anything() -> None:
    """What the refusal is for: S = 0 and R = A = the neutral element verify every message elsewhere."""
    neutral = bytes.fromhex(LOW_ORDER[2])
    for message in (b"yes", b"no"):
        Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), message)


# --- Private keys ---


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda key: key.type.name)
def test_a_private_key_is_read_back(signer: SignerKey) -> None:
    assert SignerKey.parse(signer.format()) == signer
    assert SignerKey.parse(signer.format()).verifier_key == signer.verifier_key


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda key: key.type.name)
def test_neither_repr_nor_str_shows_the_seed(signer: SignerKey) -> None:
    shown = repr(signer) + str(signer)
    assert not any(text in shown for text in (repr(signer.seed), signer.seed.hex(), signer.format()))


def private_text(name: str, type: int, seed: bytes) -> str:
    public = sha256(seed).digest()
    return "PRIVATE+KEY+" + vkey_text(name, type, seed, id=key_id(name, KeyType.ED25519, public))


BAD_PRIVATE_KEYS = {
    "a vkey": PETER,
    "nothing": "",
    "no fields": "PRIVATE+KEY+a.example",
    "another key ID": log_key().format().replace(log_key().verifier_key.id.hex(), "00000000"),
    "a short seed": private_text("a.example", 1, SEED[1:]),
    "a long seed": private_text("a.example", 1, SEED + b"\0"),
    "a type that only verifies": private_text("a.example", 2, SEED),
    "the type of a certificate log": private_text("a.example", 5, SEED),
    "an unknown type": private_text("a.example", 9, SEED),
    "a bad name": private_text("a b", 1, SEED),
    "a trailing line feed": log_key().format() + "\n",
}


@pytest.mark.parametrize("text", BAD_PRIVATE_KEYS.values(), ids=BAD_PRIVATE_KEYS)
def test_refuses_as_a_private_key(text: str) -> None:
    with pytest.raises(FormatError):
        SignerKey.parse(text)


def test_a_private_key_is_not_made_from_a_seed_of_another_length() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SignerKey("a.example", KeyType.ED25519, SEED[1:])


@pytest.mark.parametrize("name", ["", "a b", "a+b"])
def test_a_private_key_is_not_made_under_a_bad_name(name: str) -> None:
    """SN-4."""
    with pytest.raises(ValueError, match="key name"):
        SignerKey(name, KeyType.ED25519, SEED)


def test_an_mldsa_key_is_not_made_under_a_name_that_it_cannot_sign() -> None:
    """CS-14: names are 1 to 255 bytes long."""
    assert len(SignerKey("x" * 255, KeyType.COSIGNATURE_MLDSA44, SEED).name) == 255
    with pytest.raises(ValueError, match="255"):
        SignerKey("x" * 256, KeyType.COSIGNATURE_MLDSA44, SEED)


@pytest.mark.parametrize("type", [KeyType.ECDSA, KeyType.RFC6962], ids=lambda type: type.name)
def test_there_are_no_private_keys_of_types_that_only_verify(type: KeyType) -> None:
    with pytest.raises(ValueError, match="only verify"):
        SignerKey("a.example", type, SEED)


# --- Signatures ---


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda key: key.type.name)
def test_what_a_key_signs_its_public_key_verifies_and_nothing_else(signer: SignerKey) -> None:
    signature = signer.sign(b"message")
    signer.verifier_key.verify(b"message", signature)
    for message, wrong in [
        (b"massage", signature),
        (b"message", corrupted(signature)),
        (b"message", signature[:-1]),
        (b"message", signature + b"\0"),
        (b"message", b""),
    ]:
        with pytest.raises(SignatureError):
            signer.verifier_key.verify(message, wrong)


def test_ed25519_signatures_are_the_ones_another_implementation_makes() -> None:
    """RFC 8032 signatures are deterministic, so the bytes are equal."""
    signer = SignerKey("a.example", KeyType.ED25519, SEED)
    assert signer.sign(b"message") == Ed25519PrivateKey.from_private_bytes(SEED).sign(b"message")


def test_mldsa44_signatures_are_pure_and_have_no_context() -> None:
    """CS-1: ML-DSA-44."""
    signature = mldsa_key().sign(b"message")
    assert len(signature) == 2420
    MLDSA44PublicKey.from_public_bytes(ML).verify(signature, b"message")


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_ecdsa_signatures_are_over_the_sha256_of_the_text(curve: ec.EllipticCurve) -> None:
    """SN-14: SHA-256 on every curve."""
    private = ec_key(curve)
    key = VerifierKey.of("ecdsa.example", KeyType.ECDSA, spki(private))
    key.verify(b"text\n", private.sign(b"text\n", ec.ECDSA(SHA256())))
    for signature in (
        private.sign(b"text\n", ec.ECDSA(SHA384())),
        private.sign(b"other\n", ec.ECDSA(SHA256())),
        private.sign(b"text\n", ec.ECDSA(SHA256())) + b"\0",
        b"",
    ):
        with pytest.raises(SignatureError):
            key.verify(b"text\n", signature)


def test_a_certificate_log_signs_the_digitally_signed_structure() -> None:
    """C-8."""
    der = P256.sign(b"tree head", ec.ECDSA(SHA256()))
    LOG.verify(b"tree head", digitally_signed(der))
    for signature in (
        digitally_signed(der, algorithms=b"\x04\x01"),
        digitally_signed(der, algorithms=b"\x02\x03"),
        digitally_signed(der, extra=1),
        digitally_signed(der) + b"\0",
        digitally_signed(corrupted(der)),
        digitally_signed(b""),
        der,
        b"\x04\x03\x00",
        b"",
    ):
        with pytest.raises(SignatureError):
            LOG.verify(b"tree head", signature)


def test_ed25519_needs_no_import_of_the_slow_library() -> None:
    """A run that meets no other key type starts without paying for it."""
    program = (
        "import sys; from tlog.keys import VerifierKey; from tests.keys import log_key; import tlog.signed_checkpoint;"
        "key = log_key(); key.verifier_key.verify(b'm', key.sign(b'm')); VerifierKey.parse(str(key.verifier_key));"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
