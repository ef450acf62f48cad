"""Names in the entries of certificate logs.

    example.com               this name
    .example.com              this name and every one below it
    198.51.100.7              an address

Looked at are the names that a certificate or a precertificate is for: DNS names, addresses, and the hosts of e-mail
addresses and URIs among the alternative names, and the common names of the subject. Case does not matter. A wildcard
such as ``*.example.com`` is for each name that it stands for. A certificate that the parser refuses is searched for the
names as text, for browsers are said to accept what parsers refuse.
"""

import ipaddress
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from monitor.watch.core import excerpt
from tlog.errors import FormatError
from tlog.precertificate import with_empty_signature
from tlog.static_ct import parse_merkle_tree_leaf

MAX_NAMES = 1000  # watched by one watch

_WATCHED = re.compile(r"\.?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_UNREADABLE = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
_BREAKS = re.compile(r"[\x00-\x20,;/\\\"'<>()\[\]]+")


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """Certificates for any of these names."""

    exact: frozenset[str]
    below: frozenset[str]

    @classmethod
    def of(cls, names: Sequence[str]) -> "CertificateNames":
        """Read the names of a watch.

        Raises:
            ValueError: one is none; write names beyond ASCII as certificates do, with xn--. Or there is none.
        """
        lower = [name.lower() for name in names]
        if not 0 < len(lower) <= MAX_NAMES:
            raise ValueError(f"a list of names has between 1 and {MAX_NAMES} of them")
        if any(not _is_address(name) and not _WATCHED.fullmatch(name) for name in lower):
            raise ValueError("a name is not like example.com or .example.com; beyond ASCII it begins with xn--")
        below = frozenset(name[1:] for name in lower if name.startswith("."))
        exact = frozenset(_address(name) or name for name in lower if not name.startswith("."))
        return cls(exact, below)

    def find(self, entry: bytes) -> tuple[str, ...]:
        """Look at every name in the certificate."""
        try:
            leaf = parse_merkle_tree_leaf(entry)
        except FormatError:
            return ()  # no entry of a certificate log
        try:
            der = with_empty_signature(leaf.certificate) if leaf.is_precertificate else leaf.certificate
            names = list(dict.fromkeys(_names(der)))
        except (ValueError, FormatError, *_UNREADABLE):
            return self._find_in_bytes(leaf.certificate)
        return tuple(name for name in names if self._is_meant(name))

    def _find_in_bytes(self, der: bytes) -> tuple[str, ...]:
        lower = der.lower()
        for name in sorted(self.exact | self.below):
            for text in _spellings(name, exact=name in self.exact):
                at = lower.find(text)
                if at >= 0:
                    return (f"in a certificate that cannot be parsed: {excerpt(der, at, at + len(text))}",)
        return ()

    def _is_meant(self, name: str) -> bool:
        # What stands before or after a NUL or a blank may be all that some other program reads.
        return any(self._is_one(part) for part in {name, *_BREAKS.split(name)})

    def _is_one(self, name: str) -> bool:
        host = name.lower().rstrip(".")
        wild = host.startswith("*.")
        host = host.removeprefix("*.")
        if wild and any(one.partition(".")[2] == host for one in self.exact):
            return True
        labels = host.split(".")
        # A wildcard over a part of the watched names is below them, or stands for them: no more labels than DNS has.
        return (not wild and host in self.exact) or any(
            ".".join(labels[at:]) in self.below for at in range(max(len(labels) - 128, 0), len(labels))
        )


def _spellings(name: str, *, exact: bool) -> Iterator[bytes]:
    """What bytes of a certificate may stand for a name, in lower case: itself, a wildcard, or a packed address."""
    yield name.encode()
    if _is_address(name):
        yield ipaddress.ip_address(name).packed.lower()
    elif exact and "." in name:
        yield b"*." + name.partition(".")[2].encode()


def _names(der: bytes) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of certificates that break rules: those are looked at all the same
        certificate = x509.load_der_x509_certificate(der)
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            yield attribute.value if isinstance(attribute.value, str) else attribute.value.decode("utf-8", "replace")
        try:
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return
    for name in found.value:
        yield from _hosts(name)


def _hosts(name: x509.GeneralName) -> Iterator[str]:
    match name:
        case x509.DNSName(value=value):
            yield value
        case x509.RFC822Name(value=value):
            yield value.rpartition("@")[2]
        case x509.UniformResourceIdentifier(value=value):
            yield value.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0]
        case x509.IPAddress(value=address):
            yield str(address)
        case _:
            return


def _address(name: str) -> str | None:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    return _address(name) is not None
