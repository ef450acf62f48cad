"""The log's public files: tiles, entry bundles and the checkpoint, as any static file server would serve them.

Every file is written whole and made durable before its name appears, so a reader, and a restart after a crash, sees
the old state or the new one. Writing the same file again writes the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from logserver.core import Edge, TileFile
from runtime.files import replace_file, sync_directory
from tlog.hashing import Hash
from tlog.proofs import ReadNode
from tlog.tiles import TILE_WIDTH, EntryBundle, Tile, TileReader, parse_entries, tile_hashes

PUBLIC_MODE = 0o644  # a web server of another user reads these


@dataclass(frozen=True, slots=True)
class PublicFiles:
    """The folder that holds ``checkpoint`` and ``tile/``."""

    root: Path

    def create(self) -> None:
        """Make the empty folder."""
        self.root.mkdir(mode=0o755)
        sync_directory(self.root.parent)

    def write(self, files: Sequence[TileFile]) -> None:
        """Write tiles and bundles; when this returns they are durable."""
        for file in files:
            path = self.root / file.path
            self._make_folder(path.parent)
            replace_file(path, file.data, mode=PUBLIC_MODE)

    def write_checkpoint(self, note: bytes) -> None:
        """Publish a checkpoint."""
        replace_file(self.root / "checkpoint", note, mode=PUBLIC_MODE)

    def read_checkpoint(self) -> bytes | None:
        """The published checkpoint, or None before the first."""
        return self.read("checkpoint")

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, or None when there is none. ``path`` comes from ``Tile.path`` and its like only."""
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None

    def nodes(self, size: int) -> ReadNode:
        """The nodes of the tree at a size whose tiles have been written."""
        return TileReader(size, lambda tile: self._require(tile.path())).node

    def edge(self, size: int) -> Edge:
        """The right edge of the tree at a size whose tiles have been written."""
        levels: list[tuple[Hash, ...]] = []
        while size >> (8 * len(levels)):
            index, width = divmod(size >> (8 * len(levels)), TILE_WIDTH)
            data = self._require(Tile(len(levels), index, width).path()) if width else b""
            levels.append(tuple(tile_hashes(data)) if data else ())
        bundle, width = divmod(size, TILE_WIDTH)
        entries = parse_entries(self._require(EntryBundle(bundle, width).path()), width) if width else []
        return Edge(size, tuple(levels), tuple(entries))

    def _require(self, path: str) -> bytes:
        data = self.read(path)
        if data is None:
            raise LostTile(f"the file {path} of the log's public folder is missing: restore it, or run `sameview fsck`")
        return data

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(mode=0o755, exist_ok=True)
        sync_directory(folder.parent)


class LostTile(Exception):  # noqa: N818  # it names a state, as the states of a log do
    """A file that was made durable is gone."""
