"""Whether what a data tile of a certificate log holds beside the hashed entries belongs to them. Pure.

The tree commits to a certificate, or to a precertificate without its poison and the hash of its issuer's key. It does
not commit to the precertificate as it was submitted, nor to the chain. Whoever changes those on their way deceives
everybody who looks for who issued what, and no root shows it.
"""

import hashlib
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    Certificate,
    DuplicateExtension,
    ExtendedKeyUsage,
    ExtensionNotFound,
    InvalidVersion,
    ObjectIdentifier,
    UnsupportedGeneralNameType,
    load_der_x509_certificate,
)

from tlog.errors import FormatError
from tlog.precertificate import parse_precertificate
from tlog.static_ct import TileLeaf

_SIGNS_PRECERTIFICATES = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.4")


def is_issuer(fingerprint: bytes, der: bytes) -> bool:
    """Tell whether this is the certificate that a chain names by its fingerprint."""
    # SPEC: C-16 every issuer is one certificate in DER that hashes to its path
    return hashlib.sha256(der).digest() == fingerprint


def objection(leaf: TileLeaf, issuers: Mapping[bytes, bytes]) -> str | None:
    """Say what does not belong to an entry, if anything; ``issuers`` are the certificates of its chain, where known."""
    issuer = _certificate(issuers[leaf.chain[0]]) if leaf.chain and leaf.chain[0] in issuers else None
    if leaf.pre_certificate is None:
        return None if issuer is None else _wrong_signature(leaf.certificate, issuer)
    # A precertificate signing certificate stands for the issuer, whose name and key are the ones that are hashed.
    instead = issuer is not None and _stands_for_issuer(issuer)
    try:
        hashed = parse_precertificate(leaf.pre_certificate).tbs_certificate == leaf.certificate
    except FormatError as error:
        return f"its precertificate cannot be read: {error}"
    if not hashed and not instead:
        return "its precertificate is not the one that the tree hashes"
    if issuer is None:
        return None
    if not instead and _key_hash(issuer) != leaf.issuer_key_hash:
        return "its chain begins with another issuer than the tree hashes"
    return _wrong_signature(leaf.pre_certificate, issuer)


def _wrong_signature(der: bytes, issuer: Certificate) -> str | None:
    certificate = _certificate(der)
    if certificate is None:
        return None  # what the log took is hashed, and is its own affair
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, InvalidSignature):
        return "it was not issued by the first certificate of its chain"
    except (TypeError, UnsupportedAlgorithm):
        return None  # by a key of a kind that cannot be checked here
    return None


def _certificate(der: bytes) -> Certificate | None:
    try:
        return load_der_x509_certificate(der)
    except (ValueError, InvalidVersion):
        return None


def _stands_for_issuer(issuer: Certificate) -> bool:
    try:
        return _SIGNS_PRECERTIFICATES in issuer.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except (ValueError, ExtensionNotFound, DuplicateExtension, UnsupportedGeneralNameType):
        return False


def _key_hash(certificate: Certificate) -> bytes | None:
    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return hashlib.sha256(key).digest()
