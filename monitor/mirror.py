"""The mirror: every leaf hash that the monitor computed itself, and the hashes above them, as flat files.

    <folder>/level-0     the hash of leaf i at offset 32·i
    <folder>/level-8     the hash of the perfect subtree over the leaves [i << 8, (i + 1) << 8) at offset 32·i
    <folder>/level-16    and so on

New hashes are first a draft, behind the end of what is committed: nothing reads them until the caller has compared the
root of the draft with a signed one, made it durable, written down the new size in its database and called ``adopt``.

A draft is gathered in memory: ``extend`` touches no file. ``take`` hands over what was gathered, and ``save`` writes it
in another thread, makes it durable, and marks in the file ``draft`` how far the draft has come. Opened again, the
mirror goes on from that mark, and is cut off behind it. What was resumed counts as little as any draft: ``resumed``
says that a wrong root may be the fault of the disk.

Any earlier tree can be read from it: ``read`` is a ``ReadNode`` over the committed tree. Memory does not grow with the
log. Where level 0 is limited, leaf hashes beyond the limit are dropped once their tile is full. A mirror may also begin
with entry ``start`` instead of the first: then it was given the hashes to the left of it that every later tree needs
(``begin``), and has no others. A proof that needs what is not there raises ``MissingTile``; the tile may come from
anybody, for ``lend`` checks it against the level above.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from threading import Lock

from gossip.core import MissingTile
from runtime.errors import UsageError
from runtime.files import replace_file, sync_directory
from tlog.errors import FormatError, ProofError
from tlog.hashing import HASH_SIZE, Hash, TreeHead, node_hashes
from tlog.proofs import root_at
from tlog.text import parse_decimal
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH

MAX_LENT_TILES = 24  # an adjudication needs the right edge of one or two old sizes: one tile each, or one a level

_MARK = Struct(">QQQ32sH")  # count of marks, size, leaf hashes kept, root, leaf hashes of the edge that follow
_DRAFT = "draft"
_START = "start"
_MAX_FILE = 2**62  # bytes, more than any disk has, and as many as the system can be asked for
_PLACE = 16 * 1024  # bytes for one of the two marks, which are written in turn: a torn one leaves the other


@dataclass(frozen=True, slots=True)
class Gathered:
    """A part of the draft on its way to the files: pieces as (tile level, index of the first hash, hashes)."""

    pieces: tuple[tuple[int, int, bytes], ...]
    size: int
    edge: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far a draft had come when it was last saved."""

    count: int
    size: int
    kept: int
    root: bytes
    edge: tuple[Hash, ...]


class Mirror:
    """The hashes of one log, committed up to ``size``; ``kept`` leaf hashes of these are in the level-0 file."""

    def __init__(self, folder: Path, size: int, kept: int, edge: Sequence[Hash], limit: int, start: int = 0) -> None:
        self._folder = folder
        self._start = start
        self._files: dict[int | None, int] = {}
        self._limit = _effective_limit(size, kept, limit)
        self._lent: dict[tuple[int, int], list[Hash]] = {}
        self._lending = Lock()  # the follower's thread borrows while that of an adjudication lends or reads
        self._committed = self._draft = size
        self._edge = self._draft_edge = tuple(edge)
        self._new_file = False
        self._gathered: dict[int, tuple[int, bytearray]] = {}
        self._rows: dict[int, list[Hash]] = {}  # of the draft: what is in the last, partial tile of each upper level
        self._marks = 0
        self.resumed = False

    @classmethod
    def open(
        cls, folder: Path, size: int = 0, kept: int = 0, edge: bytes = b"", *, max_bytes: int, anew: bool = False
    ) -> "Mirror":
        """Open the mirror at the size the database committed; what lies behind it is cut off.

        ``kept`` and ``edge`` are what the properties said when that size was committed. Where nothing was committed, a
        mirror that began in the middle goes on there, unless it is to begin ``anew``.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_directory(folder.parent)
        if anew:
            (folder / _START).unlink(missing_ok=True)
        start = _read_start(folder)
        if not size:
            size = kept = start
        mirror = cls(folder, size, kept, _split(edge), start + max_bytes // HASH_SIZE, start)
        mirror._require_files(size, min(size, mirror._limit))
        mirror._edge = mirror._draft_edge = mirror._edge_at(size, mirror._edge)
        if not mirror._resume():
            mirror.abandon()
        return mirror

    def begin(self, start: int, rows: Mapping[int, Sequence[Hash]]) -> None:
        """Begin an empty mirror with entry ``start``, the first of a tile.

        ``rows`` are, for each tile level above 0, the hashes of the last tile that lie before ``start``. The caller has
        seen that they lead to a signed root.
        """
        if self._committed or self._draft or not start or start % TILE_WIDTH:
            raise ValueError("only an empty mirror begins somewhere, and only with a whole tile")
        if any(len(rows.get(level, ())) != count % TILE_WIDTH for level, count in _upper_levels(start)):
            raise ValueError("these are not the hashes before this entry")
        if start * HASH_SIZE > _MAX_FILE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        os.ftruncate(self._file(0), start * HASH_SIZE)
        for level, count in _upper_levels(start):
            row = rows.get(level, ())
            os.ftruncate(self._file(level), count * HASH_SIZE)
            _write_all(self._file(level), b"".join(row), (count - len(row)) * HASH_SIZE)
        self._make_durable()
        replace_file(self._folder / _START, b"%d\n" % start)
        self._start = self._committed = self._draft = start
        self._limit += start

    @property
    def start(self) -> int:
        """The first entry that was hashed; what lies before it is not in the mirror."""
        return self._start

    @property
    def size(self) -> int:
        """The number of leaves that are committed."""
        return self._committed

    @property
    def draft_size(self) -> int:
        """The number of leaves with the draft."""
        return self._draft

    @property
    def draft_kept(self) -> int:
        """How many leaf hashes the level-0 file will hold once the draft is adopted."""
        return min(self._draft, self._limit)

    @property
    def tail(self) -> tuple[Hash, ...]:
        """The leaf hashes of the last, partial tile of the draft."""
        return self._draft_edge

    @property
    def draft_edge(self) -> bytes:
        """The leaf hashes of the last, partial tile of the draft where the level-0 file does not hold them."""
        return b"".join(self._draft_edge) if self._draft > self._limit else b""

    def read(self, level: int, index: int) -> Hash:
        """Return the hash of a perfect subtree of the committed tree: a ``ReadNode``."""
        return self._node(level, index, self._committed, self._edge)

    def read_draft(self, level: int, index: int) -> Hash:
        """Return the hash of a perfect subtree of the draft; nobody may extend it meanwhile."""
        if self._gathered:
            self.write(self.take())
        return self._node(level, index, self._draft, self._draft_edge)

    def misses(self, tile: int, level: int = 0) -> bool:
        """Tell whether this is a full tile of the committed tree that is not here."""
        if (tile + 1) * TILE_WIDTH > self._committed >> TILE_HEIGHT * level or (level, tile) in self._lent:
            return False
        return (level == 0 and self._limit <= tile * TILE_WIDTH) or self._precedes(level, tile)

    @property
    def gathered_bytes(self) -> int:
        """How much of the draft waits in memory to be written."""
        return sum(len(data) for _, data in self._gathered.values())

    def extend(self, leaves: Sequence[Hash]) -> None:
        """Add leaf hashes to the draft, in memory."""
        edge = [*self._draft_edge, *leaves]
        self._gather(0, self._draft, leaves[: max(self._limit - self._draft, 0)])
        tile = self._draft // TILE_WIDTH
        while len(edge) >= TILE_WIDTH:
            self._close_tile(1, tile, edge[:TILE_WIDTH])
            if tile == self._committed // TILE_WIDTH and tile * TILE_WIDTH >= self._limit:
                # Proofs from the committed tree to this one need the hashes within its last tile.
                self._borrow(0, tile, edge[:TILE_WIDTH])
            edge = edge[TILE_WIDTH:]
            tile += 1
        self._draft += len(leaves)
        self._draft_edge = tuple(edge)

    def take(self) -> Gathered:
        """Hand over what was gathered, for ``write`` or ``save``, which must come in the same order."""
        pieces = tuple((level, first, bytes(data)) for level, (first, data) in self._gathered.items())
        self._gathered.clear()
        return Gathered(pieces, self._draft, self._draft_edge)

    def write(self, gathered: Gathered) -> None:
        """Write a part of the draft to the files, where the draft can be read from."""
        for level, first, data in gathered.pieces:
            _write_all(self._file(level), data, first * HASH_SIZE)

    def save(self, gathered: Gathered) -> None:
        """Write a part of the draft, make the draft durable up to there, and mark how far it has come."""
        self.write(gathered)
        self._make_durable()
        self._mark(gathered)

    def draft_head(self) -> TreeHead:
        """Compute the tree head of the draft: compare it with a signed one."""
        return TreeHead(self._draft, root_at(self._draft, self.read_draft))

    def sync(self) -> None:
        """Make the draft durable; after that its size may be committed to the database."""
        self.write(self.take())
        self._make_durable()

    def adopt(self) -> None:
        """Make the draft the committed tree; the database has committed its size before."""
        self._committed, self._edge = self._draft, self._draft_edge
        self.resumed = False

    def fall_back(self) -> None:
        """Go back to where the draft was saved last, after it could not be written."""
        self._gathered.clear()
        self._rows.clear()
        self._draft, self._draft_edge = self._committed, self._edge
        if not self._resume():
            self.abandon()

    def abandon(self) -> None:
        """Forget the draft."""
        self.rewind(self._committed)

    def rewind(self, size: int) -> None:
        """Forget the end of the draft: keep the committed tree, or more of the draft's whole tiles."""
        if size != self._committed and (size % TILE_WIDTH or not self._committed < size <= self._draft):
            raise ValueError("a draft can be cut where the committed tree ends, or between two tiles")
        if size == self._committed:
            self._gathered.clear()
        self.write(self.take())
        self._forget_marks()
        if size == self._committed:
            with self._lending:
                self._lent.pop((0, self._committed // TILE_WIDTH), None)
            self.resumed = False
        self._draft, self._draft_edge = size, self._edge if size == self._committed else ()
        self._rows.clear()
        self._cut(size, min(size, self._limit))

    def lend(self, tile: int, hashes: Sequence[Hash], level: int = 0) -> None:
        """Take a full tile from anybody, for the proof that missed it.

        Raises:
            ProofError: these are not the hashes of that tile.
            MissingTile: the tile above it has to come first.
        """
        if len(hashes) != TILE_WIDTH or (tile + 1) * TILE_WIDTH > self._committed >> TILE_HEIGHT * level:
            raise ProofError("not a full tile of this tree")
        if _root_of(hashes) != self.read(TILE_HEIGHT * (level + 1), tile):
            raise ProofError("the hashes are not those of the tile")
        self._borrow(level, tile, hashes)

    def close(self) -> None:
        """Close the files. What was gathered of a draft and not saved is lost."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    # Reading nodes.

    def _borrow(self, level: int, tile: int, hashes: Sequence[Hash]) -> None:
        with self._lending:
            self._lent[level, tile] = list(hashes)
            if len(self._lent) > MAX_LENT_TILES:
                del self._lent[next(iter(self._lent))]

    def _node(self, level: int, index: int, size: int, edge: Sequence[Hash]) -> Hash:
        if (index + 1) << level > size:
            raise AssertionError("asked for a node outside of the tree")
        tile_level, height = divmod(level, TILE_HEIGHT)
        first, count = index << height, 1 << height
        if self._precedes(tile_level, first // TILE_WIDTH):
            hashes = self._borrowed(tile_level, first, count)
        elif tile_level == 0 and first >= self._limit:
            hashes = self._dropped(first, count, size, edge)
        else:
            hashes = self._slice(tile_level, first, count)
        return _root_of(hashes)

    def _dropped(self, first: int, count: int, size: int, edge: Sequence[Hash]) -> Sequence[Hash]:
        """Return leaf hashes that the level-0 file has no room for."""
        tile, start = divmod(first, TILE_WIDTH)
        if tile == size // TILE_WIDTH:
            return edge[start : start + count]
        return self._borrowed(0, first, count)

    def _borrowed(self, level: int, first: int, count: int) -> Sequence[Hash]:
        """Return hashes of a tile that was lent."""
        tile, start = divmod(first, TILE_WIDTH)
        with self._lending:
            lent = self._lent.get((level, tile))
        if lent is None:
            raise self._missing_tile(level, tile)
        return lent[start : start + count]

    def _missing_tile(self, level: int, tile: int) -> MissingTile:
        """Name the tile that is needed first: one is checked against that above it."""
        above = tile // TILE_WIDTH
        if self._precedes(level + 1, above) and (level + 1, above) not in self._lent:
            return self._missing_tile(level + 1, above)
        return MissingTile(tile, level)

    def _precedes(self, level: int, tile: int) -> bool:
        """Tell whether a tile lies before the first entry, so that its hashes were never here."""
        return tile < self._start >> TILE_HEIGHT * (level + 1)

    # The draft.

    def _gather(self, level: int, first: int, hashes: Sequence[Hash]) -> None:
        """Put hashes behind those of their level that wait to be written."""
        if hashes:
            self._gathered.setdefault(level, (first, bytearray()))[1].extend(b"".join(hashes))

    def _close_tile(self, tile_level: int, tile: int, hashes: Sequence[Hash]) -> None:
        """Put the root of a full tile into the level above, and so on upwards where that fills a tile too."""
        row = self._row(tile_level, tile)
        row.append(_root_of(hashes))
        self._gather(tile_level, tile, row[-1:])
        if len(row) == TILE_WIDTH:
            self._rows[tile_level] = []
            self._close_tile(tile_level + 1, tile // TILE_WIDTH, row)

    def _row(self, tile_level: int, end: int) -> list[Hash]:
        """Return what there is of the tile that the hash ``end`` of a level belongs to."""
        if tile_level not in self._rows:
            count = end % TILE_WIDTH
            self._rows[tile_level] = self._slice(tile_level, end - count, count) if count else []
        return self._rows[tile_level]

    def _mark(self, gathered: Gathered) -> None:
        size, edge = gathered.size, gathered.edge
        root = root_at(size, lambda level, index: self._node(level, index, size, edge))
        kept = min(size, self._limit)
        self._marks += 1
        body = _MARK.pack(self._marks, size, kept, root, len(edge)) + b"".join(edge)
        _write_all(self._file(None), body + sha256(body).digest(), self._marks % 2 * _PLACE)
        os.fdatasync(self._file(None))

    def _forget_marks(self) -> None:
        if (self._folder / _DRAFT).exists():
            os.ftruncate(self._file(None), 0)

    def _resume(self) -> bool:
        """Go on with the draft that was saved last, if it is there whole."""
        found = [self._read_mark(place) for place in (0, _PLACE)]
        mark = max((one for one in found if one is not None), key=lambda one: one.count, default=None)
        if mark is None or not self._is_usable(mark):
            return False
        self._draft, self._draft_edge = mark.size, mark.edge
        if root_at(mark.size, self.read_draft) != mark.root:
            return False
        self._marks, self.resumed = mark.count, True
        self._cut(mark.size, mark.kept)
        return True

    def _read_mark(self, place: int) -> _Mark | None:
        if not (self._folder / _DRAFT).exists():
            return None
        data = os.pread(self._file(None), _PLACE, place)
        if len(data) < _MARK.size:
            return None
        count, size, kept, root, hashes = _MARK.unpack_from(data)
        end = _MARK.size + hashes * HASH_SIZE
        if sha256(data[:end]).digest() != data[end : end + HASH_SIZE]:
            return None
        return _Mark(count, size, kept, root, tuple(_split(data[_MARK.size : end])))

    def _is_usable(self, mark: _Mark) -> bool:
        """Tell whether a mark is of a draft on this tree, under this limit, whose files are there."""
        if mark.size <= self._committed or mark.kept != min(mark.size, self._limit):
            return False
        return self._missing(mark.size, mark.kept) is None

    # Files.

    def _edge_at(self, size: int, edge: tuple[Hash, ...]) -> tuple[Hash, ...]:
        """Return the leaf hashes of the last, partial tile: from the level-0 file where that holds them."""
        count = size % TILE_WIDTH
        return tuple(self._slice(0, size - count, count)) if count and size <= self._limit else edge

    def _make_durable(self) -> None:
        for file in list(self._files.values()):
            os.fsync(file)
        if self._new_file:
            self._new_file = False
            sync_directory(self._folder)

    def _slice(self, tile_level: int, first: int, count: int) -> list[Hash]:
        data = os.pread(self._file(tile_level), count * HASH_SIZE, first * HASH_SIZE)
        if len(data) != count * HASH_SIZE:
            raise AssertionError("a file of the mirror is shorter than what was committed to it")
        return _split(data)

    def _cut(self, size: int, kept: int) -> None:
        """Cut every file to what a tree of this size has in it."""
        present = {int(path.name.removeprefix("level-")) // TILE_HEIGHT for path in self._folder.glob("level-*")}
        for level in sorted(present):
            count = _count(level, size, kept)
            if self._length(level) > count:
                os.ftruncate(self._file(level), count * HASH_SIZE)

    def _require_files(self, size: int, kept: int) -> None:
        if self._missing(size, kept) is not None:
            raise UsageError(
                f"the mirror in {self._folder} is shorter than its database says: part of the data is missing. "
                "Restore the data directory whole, or begin anew in an empty directory"
            )

    def _missing(self, size: int, kept: int) -> int | None:
        """Return the level whose file is shorter than a tree of this size needs it to be."""
        levels = range(-(-size.bit_length() // TILE_HEIGHT))
        return next((level for level in levels if self._length(level) < _count(level, size, kept)), None)

    def _length(self, level: int) -> int:
        """How many hashes there are in a file."""
        return os.fstat(self._file(level)).st_size // HASH_SIZE

    def _file(self, tile_level: int | None) -> int:
        """The descriptor of a level's file, or of the marks'; opened when it is first needed."""
        if tile_level not in self._files:
            path = self._folder / (_DRAFT if tile_level is None else f"level-{tile_level * TILE_HEIGHT}")
            self._new_file |= not path.exists()
            self._files[tile_level] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._files[tile_level]


def _upper_levels(size: int) -> Iterator[tuple[int, int]]:
    """Yield each tile level above 0 of a tree with the number of its hashes."""
    level, count = 1, size >> TILE_HEIGHT
    while count:
        yield level, count
        level, count = level + 1, count >> TILE_HEIGHT


def _read_start(folder: Path) -> int:
    """Return with which entry a mirror begins."""
    try:
        return parse_decimal((folder / _START).read_bytes().removesuffix(b"\n"), "the first entry")
    except FileNotFoundError:
        return 0
    except FormatError as error:
        raise UsageError(f"{folder / _START}: {error}: restore the data directory whole, or begin anew") from None


def _count(level: int, size: int, kept: int) -> int:
    """How many hashes of a level's file belong to a tree of this size."""
    return kept if level == 0 else size >> TILE_HEIGHT * level


def _write_all(file: int, data: bytes, at: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, at)
        rest, at = rest[written:], at + written


def _effective_limit(size: int, kept: int, limit: int) -> int:
    """Return at which leaf the level-0 file ends: never within a tile, and for good once leaves were dropped."""
    if kept < size:
        return kept
    return max(limit // TILE_WIDTH, -(-size // TILE_WIDTH)) * TILE_WIDTH


def _split(data: bytes) -> list[Hash]:
    return [Hash(data[at : at + HASH_SIZE]) for at in range(0, len(data), HASH_SIZE)]


def _root_of(hashes: Sequence[Hash]) -> Hash:
    """Return the root of a perfect subtree."""
    row = list(hashes)
    while len(row) > 1:
        row = node_hashes(row)
    return row[0]
