"""What the kinds of logs differ in before anything is fetched: whose keys are written how, and where to begin."""

from collections.abc import Sequence
from enum import StrEnum

from runtime.errors import UsageError
from tlog.errors import FormatError
from tlog.keys import KeyType, VerifierKey
from tlog.text import MAX_INTEGER, decode_base64, is_key_name

VOUCHED = "vouched"

_ED25519_INFO = bytes.fromhex("302a300506032b6570032100")  # what precedes an Ed25519 key in a SubjectPublicKeyInfo


class Kind(StrEnum):
    """How a log serves what is in it."""

    TILES = "tiles"
    SUMDB = "sumdb"
    REKOR2 = "rekor2"
    STATIC_CT = "static-ct"


def parse_kind(where: str, kind: str) -> Kind:
    """Read ``kind`` of a log."""
    if kind not in {*Kind}:
        kinds = ", ".join(f'"{one}"' for one in Kind)
        raise UsageError(f"{where}: `kind` is none that exists: write one of {kinds}")
    return Kind(kind)


def published_keys(where: str, kind: Kind, origin: str, public_keys: Sequence[str]) -> list[VerifierKey]:
    """Make log keys of bare public keys, as Sigstore's trusted root and the lists of certificate logs publish them."""
    if public_keys and kind not in (Kind.REKOR2, Kind.STATIC_CT):
        raise UsageError(f"{where}: logs of this `kind` publish their keys with names: write them into `vkeys`")
    if public_keys and not is_key_name(origin):
        raise UsageError(f"{where}: `public_keys` bear the origin as their name, and this one cannot be a name")
    try:
        return [_named(kind, origin, decode_base64(key.encode(), "the key")) for key in public_keys]
    except FormatError as error:
        raise UsageError(f"{where}: `public_keys`: {error}") from None


def require_names(where: str, origin: str, keys: Sequence[VerifierKey]) -> None:
    """Refuse keys of certificate logs under another name: their signatures do not say of which log they are."""
    # SPEC: C-7 the key name of such a signature is the origin
    if any(key.type is KeyType.RFC6962 and key.name != origin for key in keys):
        raise UsageError(f"{where}: the key of a certificate log has to bear the origin as its name")


def parse_start(where: str, start: int | str) -> int | None:
    """Read ``start`` of a log: a number of entries, None where observers have to vouch for a head."""
    if start == VOUCHED:
        return None
    if isinstance(start, str) or not 0 <= start <= MAX_INTEGER:
        raise UsageError(
            f'{where}: `start` is neither a number of entries nor "vouched": write 0 to read all of the log, N to read '
            f'what follows its first N entries, or "vouched" to begin with a head that observers of other operators '
            "signed. No log is believed what it shows at first"
        )
    return start


def require_vouchers(where: str, start: int | None, operators: Sequence[str], liars: int) -> None:
    """Refuse to wait for more operators than there are."""
    count = len({operator for operator in operators if operator})
    if start is None and count <= liars:
        raise UsageError(
            f'{where}: `start = "vouched"` needs observers of {liars + 1} operators, one more than `liars`, and '
            f"{count} are configured: name `observer` and `operator` of each [[peer]], or set `start` to a number"
        )


def _named(kind: Kind, origin: str, key: bytes) -> VerifierKey:
    if kind is Kind.STATIC_CT:
        return VerifierKey.of(origin, KeyType.RFC6962, key)
    if key.startswith(_ED25519_INFO):
        return VerifierKey.of(origin, KeyType.ED25519, key.removeprefix(_ED25519_INFO))
    return VerifierKey.of(origin, KeyType.ECDSA, key)
