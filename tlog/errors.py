"""The one family of errors that other people's bytes can raise.

    TlogError
    ├── FormatError      the bytes are not what the specification calls well-formed
    │   └── NotCanonicalError    they decode, but another spelling is the only right one
    ├── SignatureError   well-formed, but not signed by whom we asked about
    └── ProofError       signed or not, the hashes do not add up

Every parser returns a value or raises ``FormatError``; every verifier returns or raises one of the three. Messages say
what was wrong and never repeat what was sent: they end up in answers to strangers and in log files.
A mistake of ours is never a ``TlogError``: it is a ``ValueError`` of a constructor or an ``AssertionError``.
"""


class TlogError(Exception):
    """Somebody else's bytes are wrong."""


class FormatError(TlogError):
    """The bytes are malformed."""


class NotCanonicalError(FormatError):
    """The bytes decode, but are not the one spelling of what they decode to."""


class SignatureError(TlogError):
    """A signature that has to verify does not, or there is none."""


class ProofError(TlogError):
    """A Merkle proof does not prove what it was sent to prove."""
