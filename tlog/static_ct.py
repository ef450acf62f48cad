"""The entries of a certificate log that serves tiles (c2sp.org/static-ct-api): what lies in its data tiles.

    tile/data/x001/067.p/8     the first 8 entries of data tile 1067
    issuer/<SHA-256>           one certificate of a chain, in DER, by its fingerprint in hex

An entry is a ``TileLeaf``: the ``TimestampedEntry`` of RFC 6962, which the tree hashes as a ``MerkleTreeLeaf``, then
the precertificate as it was submitted, and the fingerprints of the chain. The last two are in no hash of the tree:
whoever relies on them has to check them against the first.

    MerkleTreeLeaf     00 00 | TimestampedEntry
    TimestampedEntry   u64 milliseconds | u16 type | certificate, or issuer key hash and TBS certificate | extensions
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from struct import Struct

from tlog.errors import FormatError
from tlog.text import MAX_INTEGER
from tlog.tiles import TILE_WIDTH, EntryBundle

MAX_DATA_TILE_BYTES = TILE_WIDTH * 64 * 1024  # twenty times what real ones have; as large as the largest entry bundle
MAX_CERTIFICATE_BYTES = 2**24 - 1
MAX_LEAF_INDEX = 2**40 - 1
FINGERPRINT_SIZE = 32

_X509_ENTRY, _PRECERT_ENTRY = 0, 1
_LEAF_INDEX = 0
_LEAF_INDEX_SIZE = 5
_V1_TIMESTAMPED_ENTRY = b"\0\0"
_HEAD = Struct(">QH")


def data_tile_path(bundle: EntryBundle) -> str:
    """Return the path of a data tile below the log's monitoring prefix."""
    return f"tile/data/{bundle.path().removeprefix('tile/entries/')}"


def issuer_path(fingerprint: bytes) -> str:
    """Return the path of a certificate of a chain below the log's monitoring prefix."""
    return f"issuer/{fingerprint.hex()}"


@dataclass(frozen=True, slots=True)
class TileLeaf:
    """One entry of a certificate log.

    ``certificate`` is the logged certificate or, with an ``issuer_key_hash``, the part of a precertificate that is to
    be signed (TBSCertificate, without poison). ``pre_certificate`` is then the whole of it as it was submitted.
    """

    timestamp_ms: int
    certificate: bytes
    extensions: bytes
    chain: tuple[bytes, ...] = ()
    issuer_key_hash: bytes | None = None
    pre_certificate: bytes | None = None

    @property
    def is_precertificate(self) -> bool:
        """Tell whether a precertificate was logged."""
        return self.issuer_key_hash is not None

    @property
    def leaf_index(self) -> int:
        """The place in the log that the entry itself names."""
        return parse_extensions(self.extensions)

    def merkle_tree_leaf(self) -> bytes:
        """Return what the tree hashes."""
        return _V1_TIMESTAMPED_ENTRY + self._timestamped_entry()

    def format(self) -> bytes:
        """Write the entry as it stands in a data tile."""
        rest = b"" if self.pre_certificate is None else _vector(3, self.pre_certificate)
        return self._timestamped_entry() + rest + _vector(2, b"".join(self.chain))

    def _timestamped_entry(self) -> bytes:
        kind = _PRECERT_ENTRY if self.is_precertificate else _X509_ENTRY
        signed = (self.issuer_key_hash or b"") + _vector(3, self.certificate)
        return _HEAD.pack(self.timestamp_ms, kind) + signed + _vector(2, self.extensions)


def parse_leaves(data: bytes, first: int, width: int) -> list[TileLeaf]:
    """Read a data tile, which begins with entry ``first`` and has exactly ``width`` entries."""
    if len(data) > MAX_DATA_TILE_BYTES:
        raise FormatError("a data tile is larger than 16 MiB")
    reader = _Reader(data)
    leaves = [_parse_leaf(reader, index) for index in range(first, first + width)]
    if reader.at != len(data):
        raise FormatError("a data tile goes on after its last entry")
    return leaves


def parse_merkle_tree_leaf(data: bytes) -> TileLeaf:
    """Read what the tree hashes of an entry: a leaf without chain and without the submitted precertificate."""
    reader = _Reader(data)
    if reader.take(len(_V1_TIMESTAMPED_ENTRY)) != _V1_TIMESTAMPED_ENTRY:
        raise FormatError("it is no timestamped entry of version 1")
    leaf = _read_timestamped_entry(reader)
    if reader.at != len(data):
        raise FormatError("it goes on after its last field")
    return leaf


def format_leaves(leaves: Sequence[TileLeaf]) -> bytes:
    """Write a data tile."""
    return b"".join(leaf.format() for leaf in leaves)


def parse_extensions(extensions: bytes) -> int:
    """Return the leaf index that the extensions of an entry name; the order is free, and other extensions may come."""
    reader = _Reader(extensions)
    found: dict[int, bytes] = {}
    while reader.at != len(extensions):
        kind = reader.take(1)[0]
        # SPEC: C-3 the order of extensions is ignored; no type may occur twice
        if kind in found:
            raise FormatError("an extension of an entry occurs twice")
        found[kind] = reader.vector(2)
    # SPEC: C-4 the leaf index is a 40-bit big-endian number
    index = found.get(_LEAF_INDEX, b"")
    if len(index) != _LEAF_INDEX_SIZE:
        raise FormatError("an entry does not name its index in 40 bits")
    return int.from_bytes(index)


def format_extensions(leaf_index: int) -> bytes:
    """Write the extensions of an entry that names its index and nothing else."""
    if not 0 <= leaf_index <= MAX_LEAF_INDEX:
        raise ValueError("a leaf index is not below 2^40")
    return bytes([_LEAF_INDEX]) + _vector(2, leaf_index.to_bytes(_LEAF_INDEX_SIZE))


def _parse_leaf(reader: "_Reader", index: int) -> TileLeaf:
    try:
        leaf = _read_leaf(reader)
        named = leaf.leaf_index
    except FormatError as error:
        raise FormatError(f"entry {index}: {error}") from None
    if named != index:
        raise FormatError(f"entry {index} names another index as its own")
    return leaf


def _read_leaf(reader: "_Reader") -> TileLeaf:
    entry = _read_timestamped_entry(reader)
    pre_certificate = reader.certificate() if entry.is_precertificate else None
    prints = reader.vector(2)
    if len(prints) % FINGERPRINT_SIZE:
        raise FormatError("its chain does not consist of fingerprints of 32 bytes")
    chain = tuple(prints[at : at + FINGERPRINT_SIZE] for at in range(0, len(prints), FINGERPRINT_SIZE))
    return replace(entry, chain=chain, pre_certificate=pre_certificate)


def _read_timestamped_entry(reader: "_Reader") -> TileLeaf:
    timestamp_ms, kind = _HEAD.unpack(reader.take(_HEAD.size))
    if timestamp_ms > MAX_INTEGER or kind not in (_X509_ENTRY, _PRECERT_ENTRY):
        raise FormatError("it is of no known type, or of a time beyond all time")
    issuer_key_hash = reader.take(FINGERPRINT_SIZE) if kind == _PRECERT_ENTRY else None
    certificate = reader.certificate()
    return TileLeaf(timestamp_ms, certificate, reader.vector(2), issuer_key_hash=issuer_key_hash)


class _Reader:
    """Takes fields off the front."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise FormatError("it ends too early")
        return self.data[start : self.at]

    def vector(self, length_size: int) -> bytes:
        return self.take(int.from_bytes(self.take(length_size)))

    def certificate(self) -> bytes:
        found = self.vector(3)
        if not found:
            raise FormatError("its certificate is empty")
        return found


def _vector(length_size: int, data: bytes) -> bytes:
    return len(data).to_bytes(length_size) + data
