"""Logs on disk in the layout of tlog-tiles, as large as somebody wants them, made as fast as they can be hashed."""

from collections.abc import Sequence
from pathlib import Path

from monitor.mirror import Mirror
from tests.fakes_log import FakeLog
from tlog.hashing import TreeHead, leaf_hashes
from tlog.tiles import TILE_WIDTH, EntryBundle, Tile, format_entries

ENTRY_BYTES = 100  # a line about a module or an artefact; a certificate is ten times that


class TreeOnDisk:
    """A log in a folder that a web server can serve; ``grow`` appends, ``publish`` signs and shows the tree."""

    def __init__(self, folder: Path, log: FakeLog) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder / "public"
        self.log = log
        self.size = 0
        self._partial: list[bytes] = []
        self._hashes = Mirror.open(folder / "hashes", max_bytes=0)
        self.folder.mkdir()

    def grow(self, count: int) -> None:
        """Append entries, and write the bundles that hold them."""
        end = self.size + count
        while self.size < end:
            new = min(end, (self.size // TILE_WIDTH + 1) * TILE_WIDTH) - self.size
            self._add(self.entries(self.size, self.size + new))
        if self._partial:
            self._write(Tile(0, self.size // TILE_WIDTH, len(self._partial)).path(), b"".join(self._hashes.tail))

    @staticmethod
    def entries(start: int, end: int) -> list[bytes]:
        """What it holds."""
        return [(b"entry %d " % index).ljust(ENTRY_BYTES, b".") for index in range(start, end)]

    def head(self) -> TreeHead:
        """Size and root hash."""
        return self._hashes.draft_head()

    def publish(self) -> None:
        """Show a checkpoint of all there is, in one step."""
        head = self.head()
        draft = self.folder / "checkpoint.new"
        draft.write_bytes(self.log.sign(head=head, witnesses=()))
        draft.rename(self.folder / "checkpoint")

    def _add(self, entries: Sequence[bytes]) -> None:
        self._partial += entries
        self._hashes.extend(leaf_hashes(entries))
        self._write(EntryBundle(self.size // TILE_WIDTH, len(self._partial)).path(), format_entries(self._partial))
        self.size += len(entries)
        if len(self._partial) == TILE_WIDTH:
            self._partial = []

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
