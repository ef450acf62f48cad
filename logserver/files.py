"""The log's public files: tiles, entry bundles and the checkpoint, as any static file server would serve them.

Every file is written whole and made durable before its name appears, so a reader, and a restart after a crash, sees
the old state or the new one. Writing the same file again writes the same bytes. They stand in a folder
(``PublicFiles``), or in object storage (``PublicObjects``).
"""

import gzip
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from typing_extensions import override

from logserver.core import EMPTY_EDGE, Edge, TileFile
from runtime.errors import UsageError
from runtime.files import replace_file, replace_files, sync_directory
from runtime.objects import ENCODING, Object, Objects, Overtaken
from runtime.register import Fenced
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.note import MAX_NOTE_BYTES
from tlog.proofs import ReadNode
from tlog.tiles import MAX_BUNDLE_BYTES, TILE_WIDTH, EntryBundle, Tile, TileReader, parse_entries, tile_hashes

# A web server of another user reads these, whatever umask the log runs under.
FILE_MODE = 0o644
FOLDER_MODE = 0o755

CHECKPOINT = "checkpoint"
TILES = "tile"
BUNDLES = "tile/entries/"

# What an object storage tells whoever reads from it directly.
TILE_HEADERS = {"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=31536000, immutable"}
GZIP = "gzip"
GZIP_HEADERS = {**TILE_HEADERS, ENCODING: GZIP}
CHECKPOINT_HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}


class LostTile(UsageError):  # noqa: N818  # it names a state, as Fenced does
    """A file that was made durable is gone or is not what was written."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"the file {path} of the log's public folder is missing or damaged: put it back, or move the folder "
            f"`{TILES}` away and start the log again, which then makes it anew from the database"
        )


class StaticFiles(ABC):
    """``checkpoint`` and ``tile/``, wherever they stand."""

    __slots__ = ()

    @property
    @abstractmethod
    def place(self) -> str:
        """Where they stand, for a person."""

    @abstractmethod
    def create(self) -> None:
        """Make the empty place.

        Raises:
            UsageError: it is not empty, or cannot be made.
        """

    @abstractmethod
    def write(self, files: Sequence[TileFile]) -> None:
        """Write tiles and bundles; when this returns they are durable."""

    @abstractmethod
    def drop_partial(self, path: str) -> None:
        """Remove the partial tiles or bundles beside a full one; what is cut off in between goes the next time."""

    @abstractmethod
    def write_checkpoint(self, note: bytes) -> None:
        """Publish a checkpoint."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """The bytes of a file, or None when there is none. ``path`` comes from ``Tile.path`` and its like only."""

    @abstractmethod
    def holds_tiles(self) -> bool:
        """Tell whether any tile was ever written, and not moved away since."""

    def read_checkpoint(self) -> bytes | None:
        """The published checkpoint, or None before the first."""
        return self.read(CHECKPOINT)

    def nodes(self, size: int) -> ReadNode:
        """The nodes of the tree at a size whose tiles have been written; for one thread at a time.

        Raises:
            LostTile: from the reader, for a tile that is gone or damaged.
        """
        return TileReader(size, self._tile).node

    def edge(self, size: int) -> Edge:
        """The right edge of the tree at a size whose tiles have been written.

        Without any tiles it is that of the empty tree: the log was just made, or its tiles are to be made anew.

        Raises:
            LostTile: a tile or bundle is gone or damaged.
        """
        if not self.holds_tiles():
            return EMPTY_EDGE
        levels: list[tuple[Hash, ...]] = []
        while size >> (8 * len(levels)):
            index, width = divmod(size >> (8 * len(levels)), TILE_WIDTH)
            tile = Tile(len(levels), index, width) if width else None
            levels.append(tuple(tile_hashes(self._tile(tile))) if tile else ())
        index, width = divmod(size, TILE_WIDTH)
        return Edge(size, tuple(levels), self.entries(EntryBundle(index, width)) if width else ())

    def _tile(self, tile: Tile) -> bytes:
        data = self.read(tile.path())
        if data is None or len(data) != tile.width * 32:
            raise LostTile(tile.path())
        return data

    def entries(self, bundle: EntryBundle) -> tuple[bytes, ...]:
        """The entries of a bundle.

        Raises:
            LostTile: it is gone or damaged.
        """
        data = self.read(bundle.path())
        try:
            if data is not None:
                return tuple(parse_entries(data, bundle.end - bundle.start))
        except FormatError:
            pass
        raise LostTile(bundle.path())


@dataclass(frozen=True, slots=True)
class PublicFiles(StaticFiles):
    """The folder that holds ``checkpoint`` and ``tile/``."""

    root: Path

    @property
    @override
    def place(self) -> str:
        return str(self.root)

    @override
    def create(self) -> None:
        """Make the empty folder. Its parent must exist."""
        try:
            self.root.mkdir(exist_ok=True)
            if any(self.root.iterdir()):
                raise UsageError(f"{self.root} exists and is not empty: name a new folder for the public files")
            self.root.chmod(FOLDER_MODE)
            sync_directory(self.root.parent)
        except OSError as error:
            raise UsageError(f"cannot make the public folder {self.root}: {error.strerror}") from None

    @override
    def write(self, files: Sequence[TileFile]) -> None:
        placed = [(self.root / file.path, file.data) for file in files]
        for folder in dict.fromkeys(path.parent for path, _ in placed):
            self._make_folder(folder)
        replace_files(placed, mode=FILE_MODE)

    @override
    def drop_partial(self, path: str) -> None:
        # SPEC: T-12 a partial tile may be deleted once the full one exists.
        if (self.root / path).is_file():
            shutil.rmtree(self.root / f"{path}.p", ignore_errors=True)

    @override
    def write_checkpoint(self, note: bytes) -> None:
        replace_file(self.root / CHECKPOINT, note, mode=FILE_MODE)

    @override
    def read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    @override
    def holds_tiles(self) -> bool:
        return (self.root / TILES).is_dir()

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(FOLDER_MODE)
        sync_directory(folder.parent)


@final
class PublicObjects(StaticFiles):
    """The prefix of a bucket that holds ``checkpoint`` and ``tile/``.

    An instance that has been overtaken by another must not put its older checkpoint over the newer one. So a checkpoint
    replaces the one that this object read or wrote last, and no other.

    With ``gzip_bundles`` bundles are kept compressed, and marked so, where that makes them smaller. What is read may be
    either, whatever the setting is now.
    """

    __slots__ = ("_gzip_bundles", "_mark", "_objects", "_unsure")

    def __init__(self, objects: Objects, *, gzip_bundles: bool = False) -> None:
        self._objects = objects
        self._gzip_bundles = gzip_bundles
        self._mark: str | None = None
        self._unsure: bytes | None = None  # a checkpoint of which nobody knows whether it was written

    @property
    @override
    def place(self) -> str:
        return self._objects.url

    @override
    def create(self) -> None:
        try:
            if next(self._objects.paths(""), None) is not None:
                raise UsageError(f"{self.place} is not empty: name a new prefix for the public files")
        except OSError as error:
            raise UsageError(f"cannot use {self.place}: {error.strerror}") from None

    @override
    def write(self, files: Sequence[TileFile]) -> None:
        packed = {file.path: packed for file in files if (packed := self._packed(file)) is not None}
        plain = [(file.path, file.data) for file in files if file.path not in packed]
        # Bundles first, as they come; none is referred to before all of them are there.
        for some, headers in ((list(packed.items()), GZIP_HEADERS), (plain, TILE_HEADERS)):
            if some:
                self._objects.write(some, headers)

    @override
    def drop_partial(self, path: str) -> None:
        # SPEC: T-12 a partial tile may be deleted once the full one exists.
        partial = list(self._objects.paths(f"{path}.p"))
        if partial and self._read(path) is not None:
            self._objects.remove(partial)

    @override
    def write_checkpoint(self, note: bytes) -> None:
        if self._unsure is not None:
            found = self._read(CHECKPOINT)
            if found is not None and found.data == self._unsure:
                self._mark = found.mark
        self._unsure = note
        try:
            self._mark = self._objects.replace(CHECKPOINT, self._mark, note, CHECKPOINT_HEADERS)
        except Overtaken:
            raise Fenced from None
        self._unsure = None

    @override
    def read(self, path: str) -> bytes | None:
        found = self._read(path)
        if found is None:
            return None
        return _unpacked(path, found.data, MAX_BUNDLE_BYTES) if found.encoding == GZIP else found.data

    @override
    def read_checkpoint(self) -> bytes | None:
        found = self._read(CHECKPOINT)
        self._mark = None if found is None else found.mark
        return None if found is None else found.data

    @override
    def holds_tiles(self) -> bool:
        return next(self._objects.paths(TILES), None) is not None

    def _read(self, path: str) -> Object | None:
        return self._objects.read(path, MAX_NOTE_BYTES if path == CHECKPOINT else MAX_BUNDLE_BYTES)

    def _packed(self, file: TileFile) -> bytes | None:
        # SPEC: T-15 bundles compress, hash tiles do not.
        if not self._gzip_bundles or not file.path.startswith(BUNDLES):
            return None
        packed = gzip.compress(file.data, mtime=0)
        return packed if len(packed) < len(file.data) else None


def _unpacked(path: str, data: bytes, cap: int) -> bytes:
    """At most one byte beyond the cap is ever unpacked: 194 KB of gzip can hold 200 MB."""
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = inflate.decompress(data, cap + 1)
    except zlib.error:
        raise LostTile(path) from None
    if len(plain) > cap or not inflate.eof or inflate.unused_data:
        raise LostTile(path)
    return plain
