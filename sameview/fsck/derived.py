"""A tree's tiles, derived from its leaves alone: what every file that is served is held to.

A segment is the part of the tree below one full tile of level 1: 65,536 leaves. Segments are derived apart from each
other, by as many processes as there are, and joined in order.
"""

from collections.abc import Iterator

from tlog.compact_range import EMPTY_RANGE, CompactRange
from tlog.hashing import Hash
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile

SEGMENT = TILE_WIDTH * TILE_WIDTH


class DerivedTree:
    """The tiles of a tree, or of its segment from ``start`` on. Keeps no more of them than the right edge."""

    def __init__(self, start: int = 0) -> None:
        self.range = CompactRange(start, start, ())
        self.rows: list[list[Hash]] = []  # the hashes in the last, unfilled tile of each level above 0

    def append(self, leaves: list[Hash]) -> Iterator[tuple[Tile, list[Hash]]]:
        """Add the leaves of one tile; yield it and the tiles above that it fills."""
        start = self.range.end
        piece = CompactRange(start, start, ()).extend(leaves)
        self.range = self.range.merge(piece)
        yield Tile(0, start // TILE_WIDTH, len(leaves)), leaves
        # SPEC: T-9 only full tiles are hashed into the level above.
        if len(leaves) == TILE_WIDTH:
            yield from self._fill(1, piece)

    def join(self, segment: CompactRange) -> Iterator[tuple[Tile, list[Hash]]]:
        """Add a segment whose tiles of level 0 and 1 were derived elsewhere; yield the tiles above that it fills."""
        self.range = self.range.merge(segment)
        if segment.end - segment.begin == SEGMENT:
            yield from self._fill(2, segment)

    def edge(self) -> Iterator[tuple[Tile, list[Hash]]]:
        """Yield the unfilled tiles above level 0."""
        for level, row in enumerate(self.rows, 1):
            if row:
                yield Tile(level, self.range.end >> TILE_HEIGHT * (level + 1), len(row)), row

    def _fill(self, level: int, piece: CompactRange) -> Iterator[tuple[Tile, list[Hash]]]:
        """Add the root of a full tile to the row above, and so on while that fills a tile."""
        filled: Hash | None = piece.hashes[0]
        while filled is not None:
            while level > len(self.rows):
                self.rows.append([])
            row = self.rows[level - 1]
            row.append(filled)
            filled = None
            if len(row) == TILE_WIDTH:
                yield Tile(level, piece.begin >> TILE_HEIGHT * (level + 1)), row
                filled = EMPTY_RANGE.extend(row).root()
                self.rows[level - 1] = []
            level += 1
