"""The static layout of a log: hash tiles and entry bundles, their paths and their bytes (c2sp.org/tlog-tiles).

A tile is 256 neighbouring hashes of a tree at a level that is a multiple of 8 (tile level L holds the nodes of level
8·L); the seven levels in between are hashed from it. The last tile of a level holds fewer, and is partial. An entry
bundle is the 256 entries whose hashes are the level-0 tile of the same index.

    tile/0/x001/x234/067          the full tile 1234067 of level 0
    tile/1/000.p/8                the first 8 hashes of tile 0 of level 1
    tile/entries/x001/067.p/44    the first 44 entries of bundle 1067

Tiles come from whoever serves them and are not signed. Compute a root from them and compare it with a signed one
before anything read from them is kept or passed on.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from tlog.errors import FormatError
from tlog.hashing import HASH_SIZE, Hash, node_hashes
from tlog.proofs import NodeId
from tlog.text import MAX_INTEGER, parse_decimal

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_TILE_LEVEL = 63
MAX_TILE_BYTES = TILE_WIDTH * HASH_SIZE
MAX_ENTRY_BYTES = 2**16 - 1  # what the two-byte length in a bundle can say
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)  # also the most that a compressed bundle may expand to

_CACHED_TILES = 32  # an old root and its consistency proof touch at most three tiles at each of eight levels

_LENGTH = Struct(">H")
_INDEX_AND_WIDTH = r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"  # seven groups hold any 64-bit number
_TILE_PATH = re.compile(r"tile/(0|[1-9][0-9]?)/" + _INDEX_AND_WIDTH)
_BUNDLE_PATH = re.compile(r"tile/entries/" + _INDEX_AND_WIDTH)


@dataclass(frozen=True, slots=True)
class Tile:
    """The first ``width`` hashes of tile ``index`` at tile level ``level``."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= MAX_TILE_LEVEL:
            raise ValueError("no such tile level")
        _require_place(self.index, self.width)

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """Read a path such as ``tile/0/x001/067.p/8``."""
        found = _TILE_PATH.fullmatch(path)
        if not found:
            raise FormatError("not the path of a tile")
        # SPEC: T-5 the level is a decimal from 0 to 63 without leading zeros
        level = parse_decimal(found[1].encode(), "the level of a tile")
        if level > MAX_TILE_LEVEL:
            raise FormatError("the level of a tile is larger than 63")
        tile = cls(level, *_parse_place(found[2], found[3]))
        _require_spelling(path, tile.path())
        return tile

    def path(self) -> str:
        """Return the path below the log's prefix."""
        return f"tile/{self.level}/{_format_place(self.index, self.width)}"

    @property
    def is_partial(self) -> bool:
        """Tell whether this is less than the whole tile."""
        return self.width < TILE_WIDTH

    @property
    def start(self) -> int:
        """The first leaf under this tile."""
        return self.index * TILE_WIDTH << TILE_HEIGHT * self.level

    @property
    def end(self) -> int:
        """One more than the last leaf under this tile."""
        return self.index * TILE_WIDTH + self.width << TILE_HEIGHT * self.level


@dataclass(frozen=True, slots=True)
class EntryBundle:
    """The first ``width`` entries of bundle ``index``."""

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        _require_place(self.index, self.width)

    @classmethod
    def parse(cls, path: str) -> "EntryBundle":
        """Read a path such as ``tile/entries/x001/067.p/8``."""
        found = _BUNDLE_PATH.fullmatch(path)
        if not found:
            raise FormatError("not the path of an entry bundle")
        bundle = cls(*_parse_place(found[1], found[2]))
        _require_spelling(path, bundle.path())
        return bundle

    def path(self) -> str:
        """Return the path below the log's prefix."""
        return f"tile/entries/{_format_place(self.index, self.width)}"

    @property
    def is_partial(self) -> bool:
        """Tell whether this is less than the whole bundle."""
        return self.width < TILE_WIDTH

    @property
    def start(self) -> int:
        """The index of its first entry."""
        return self.index * TILE_WIDTH

    @property
    def end(self) -> int:
        """One more than the index of its last entry."""
        return self.index * TILE_WIDTH + self.width


# The bytes of tiles and bundles.


def tile_hashes(data: bytes) -> list[Hash]:
    """Split a tile into its hashes: 1 to 256 of them."""
    # SPEC: T-8, T-10 a full tile is exactly 256 hashes, 8192 bytes; an empty tile must not be served
    if not 0 < len(data) <= MAX_TILE_BYTES or len(data) % HASH_SIZE:
        raise FormatError("a tile is not 1 to 256 hashes of 32 bytes")
    return [Hash(data[at : at + HASH_SIZE]) for at in range(0, len(data), HASH_SIZE)]


def parse_entries(data: bytes, width: int) -> list[bytes]:
    """Split an entry bundle into its entries; there must be exactly ``width``, each preceded by its length."""
    entries: list[bytes] = []
    at, size = 0, len(data)
    while len(entries) < width:
        if at + 2 > size:
            raise FormatError("an entry bundle ends before its last entry")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 2 + length
        if at > size:
            raise FormatError("an entry bundle ends within an entry")
        entries.append(data[at - length : at])
    if at != size:
        raise FormatError("an entry bundle goes on after its last entry")
    return entries


def format_entries(entries: Sequence[bytes]) -> bytes:
    """Write an entry bundle. Whoever admits entries refuses longer ones than ``MAX_ENTRY_BYTES``."""
    if len(entries) > TILE_WIDTH:
        raise ValueError("an entry bundle holds at most 256 entries")
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise ValueError("an entry is larger than 65535 bytes")
    return b"".join([part for entry in entries for part in (_LENGTH.pack(len(entry)), entry)])


# Which tiles a tree consists of.


def tiles_at(size: int) -> Iterator[Tile]:
    """Yield every tile of a tree: level by level, each from left to right, a partial one last."""
    return tiles_between(0, size)


def tiles_of_growth(old: int, new: int) -> list[Tile]:
    """List the tiles of the tree of ``new`` leaves that the tree of ``old`` leaves did not have in this width."""
    # SPEC: T-11 partial tiles must be served for every tree size for which a checkpoint was produced
    return list(tiles_between(old, new))


def tiles_between(old: int, new: int) -> Iterator[Tile]:
    """Yield what ``tiles_of_growth`` lists: the growth may be that of a large log."""
    for level, count in _rows(new):
        known = old >> TILE_HEIGHT * level
        if known < count:
            for index in range(known // TILE_WIDTH, (count - 1) // TILE_WIDTH + 1):
                yield _tile(level, index, count)


def right_edge(size: int) -> list[Tile]:
    """List the last tile of each level: together they hold the right edge of a tree and lead to its root."""
    return [_tile(level, (count - 1) // TILE_WIDTH, count) for level, count in _rows(size)]


def tiles_for(nodes: Iterable[NodeId], size: int) -> list[Tile]:
    """List the tiles, as wide as they are in a tree of this size, that hold or hash to these nodes, each one once."""
    return list(dict.fromkeys(tile_of(node, size) for node in nodes))


def tile_of(node: NodeId, size: int) -> Tile:
    """Return the tile that holds a node of a tree of this size, or the hashes right below it."""
    level, index = node
    if not (level >= 0 and index >= 0 and (index + 1) << level <= size):
        raise ValueError("no such node in a tree of this size")
    tile_level, height = divmod(level, TILE_HEIGHT)
    return _tile(tile_level, index << height >> TILE_HEIGHT, size >> TILE_HEIGHT * tile_level)


def bundles_for(start: int, end: int, size: int) -> list[EntryBundle]:
    """List the bundles, as wide as they are in a tree of this size, that hold the entries ``[start, end)``."""
    if not 0 <= start <= end <= size:
        raise ValueError("no such entries in a tree of this size")
    if start == end:
        return []
    indexes = range(start // TILE_WIDTH, (end - 1) // TILE_WIDTH + 1)
    return [EntryBundle(index, _width(index, size)) for index in indexes]


class TileReader:
    """Reads the nodes of a tree of a given size out of its tiles.

    ``read_tile`` is asked for tiles as wide as they are in a tree of that size, and what it raises passes through. A
    tile of another length raises ``FormatError``. The hashes are believed: compare a root made from them.

    The few tiles used last are kept with what was hashed from them, so a proof reads each of its tiles once.
    """

    __slots__ = ("_read_tile", "_recent", "size")

    def __init__(self, size: int, read_tile: Callable[[Tile], bytes]) -> None:
        self.size = size
        self._read_tile = read_tile
        self._recent: dict[tuple[int, int], list[list[Hash]]] = {}

    def node(self, level: int, index: int) -> Hash:
        """Return the hash of a perfect subtree: a ``ReadNode``."""
        # SPEC: T-13 a client must not fetch other partial tiles than a verified checkpoint's size demands
        tile = tile_of(NodeId(level, index), self.size)
        rows = self._rows(tile)
        height = level % TILE_HEIGHT
        while len(rows) <= height:
            rows.append(node_hashes(rows[-1]))
        return rows[height][index - (tile.index << TILE_HEIGHT - height)]

    def _rows(self, tile: Tile) -> list[list[Hash]]:
        """Return the hashes of a tile and the rows above them that were needed so far."""
        place = tile.level, tile.index
        rows = self._recent.pop(place, None)
        if rows is None:
            rows = [self._hashes(tile)]
        self._recent[place] = rows  # at the end: the first in the dictionary is the one not used for longest
        if len(self._recent) > _CACHED_TILES:
            del self._recent[next(iter(self._recent))]
        return rows

    def _hashes(self, tile: Tile) -> list[Hash]:
        hashes = tile_hashes(self._read_tile(tile))
        if len(hashes) != tile.width:
            raise FormatError("a tile is not as wide as the tree demands")
        return hashes


def _rows(size: int) -> Iterator[tuple[int, int]]:
    """Yield each tile level of a tree with the number of its hashes, which are the roots of full tiles below."""
    # SPEC: T-9 a partial tile must not be hashed into the level above: rounding down leaves it out
    level = 0
    while size:
        yield level, size
        level, size = level + 1, size >> TILE_HEIGHT


def _tile(level: int, index: int, count: int) -> Tile:
    """Return a tile as wide as it is when its level has ``count`` hashes."""
    return Tile(level, index, _width(index, count))


def _width(index: int, count: int) -> int:
    return min(count - index * TILE_WIDTH, TILE_WIDTH)


# The part that the paths of tiles and of bundles have in common.


def _require_place(index: int, width: int) -> None:
    # SPEC: T-10 there are no empty tiles
    if not 0 <= index <= MAX_INTEGER or not 1 <= width <= TILE_WIDTH:
        raise ValueError("no such tile index or width")


def _format_place(index: int, width: int) -> str:
    # SPEC: T-6 the index is zero-padded 3-digit elements, all but the last begin with x; the width is 1 to 255
    groups = f"{index:,}".split(",")
    groups[0] = groups[0].zfill(3)
    last = groups.pop()
    path = "".join(f"x{group}/" for group in groups) + last
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def _parse_place(groups: str, width: str | None) -> tuple[int, int]:
    digits = groups.replace("x", "").replace("/", "")
    index = parse_decimal((digits.lstrip("0") or "0").encode(), "the index of a tile")
    if width is None:
        return index, TILE_WIDTH
    hashes = parse_decimal(width.encode(), "the width of a partial tile")
    if hashes >= TILE_WIDTH:
        raise FormatError("the width of a partial tile is not 1 to 255")
    return index, hashes


def _require_spelling(path: str, canonical: str) -> None:
    # Only leading groups of zeros are left to refuse here, but no second spelling can slip through whatever it is.
    if path != canonical:
        raise FormatError("a tile index has leading zeros")
