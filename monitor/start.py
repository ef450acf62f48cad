"""Where a log is followed from, when that is not its first entry: what is fetched, and what it has to agree with. Pure.

The entries before the start are not read, so the log's hash tiles have to say what the tree holds there. They count
only as far as they lead to the root of a signed head. That the log shows everybody this head, they cannot say: whoever
starts from a size takes that on trust until peers compare heads, and whoever lets observers vouch does not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, TreeHead, node_hash
from tlog.proofs import ReadNode, consistency_nodes, fold, prove_consistency, root_at, root_nodes
from tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileReader, tiles_for


class NotVouched(Exception):  # noqa: N818  # says what is lacking
    """Too few operators vouch for what this log shows."""


class WrongTiles(Exception):  # noqa: N818  # an expected answer of a log, not a fault
    """The log's hash tiles do not lead to the head that it signed."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the observer of an operator stated about the log."""

    operator: str
    head: TreeHead


def first_hashed(size: int) -> int:
    """Return with which entry to begin, so that the tree of ``size`` is reached by hashing: the first of a bundle."""
    return max(size - 1, 0) // TILE_WIDTH * TILE_WIDTH


def vouched_size(vouched: Sequence[Vouched], roots: Mapping[int, Hash], operators: int) -> int:
    """Return the largest size up to which so many operators saw the tree whose roots these are.

    An operator that saw a larger tree saw every smaller one in it.

    Raises:
        NotVouched: there are not so many.
    """
    largest: dict[str, int] = {}
    for one in vouched:
        if one.operator and roots.get(one.head.size) == one.head.root_hash:
            largest[one.operator] = max(one.head.size, largest.get(one.operator, 0))
    sizes = sorted(largest.values(), reverse=True)
    if len(sizes) < operators:
        raise NotVouched(
            f"observers of {len(sizes)} operators vouch for what the log shows, of {operators} that `liars` demands"
        )
    return sizes[operators - 1]


def tiles_to_vouch(sizes: Sequence[int], head_size: int) -> list[Tile]:
    """List the tiles that tell which roots the tree of ``head_size`` had at these sizes."""
    # SPEC: T-13 partial tiles are fetched only where a verified checkpoint's size demands them: that of the head
    nodes = [node for size in sizes for node in (*root_nodes(size), *consistency_nodes(size, head_size))]
    return tiles_for((*root_nodes(head_size), *nodes), head_size)


def proven_roots(sizes: Sequence[int], head: TreeHead, tiles: Mapping[Tile, bytes]) -> dict[int, Hash]:
    """Compute the roots of a signed tree at earlier sizes from its unsigned tiles.

    Raises:
        WrongTiles: they do not lead to the signed root.
    """
    read = TileReader(head.size, tiles.__getitem__).node
    try:
        return {size: _proven_root(size, head, read) for size in {*sizes, head.size}}
    except (FormatError, ProofError):
        raise WrongTiles(_WRONG) from None


def tiles_to_begin(start: int, head_size: int) -> list[Tile]:
    """List the tiles that hold what precedes entry ``start``, and those above them, up to the right edge."""
    held = [tile for level, count in _rows(start) for tile in _upwards(level, count // TILE_WIDTH, head_size)]
    return list(dict.fromkeys((*tiles_for(root_nodes(head_size), head_size), *held)))


def rows_before(start: int, head: TreeHead, tiles: Mapping[Tile, bytes]) -> dict[int, list[Hash]]:
    """Return, for each tile level above 0, the hashes of the last tile that lie before ``start``.

    Raises:
        WrongTiles: they do not lead to the signed root.
    """
    read = TileReader(head.size, tiles.__getitem__).node
    try:
        _proven_root(head.size, head, read)
        return {level: _row(level, count, head.size, read) for level, count in _rows(start)}
    except (FormatError, ProofError):
        raise WrongTiles(_WRONG) from None


_WRONG = "the hash tiles that the log serves do not lead to the root that it signed"


def _proven_root(size: int, head: TreeHead, read: ReadNode) -> Hash:
    if size == head.size:
        if root_at(size, read) != head.root_hash:
            raise ProofError("another root")
        return head.root_hash
    old, new = fold(size, head.size, root_at(size, read), prove_consistency(size, head.size, read))
    if new != head.root_hash:
        raise ProofError("another root")
    return old


def _rows(start: int) -> Iterator[tuple[int, int]]:
    """Yield each tile level above 0 where a part of a tile lies before ``start``, with the number of hashes before."""
    level, count = 1, start >> TILE_HEIGHT
    while count:
        if count % TILE_WIDTH:
            yield level, count
        level, count = level + 1, count >> TILE_HEIGHT


def _upwards(level: int, index: int, size: int) -> Iterator[Tile]:
    """Yield a tile and those above it, up to one that is partial: all hashes of that make up the root."""
    tile = _tile(level, index, size)
    while not tile.is_partial:
        yield tile
        tile = _tile(tile.level + 1, tile.index // TILE_WIDTH, size)
    yield tile


def _tile(level: int, index: int, size: int) -> Tile:
    return Tile(level, index, min((size >> TILE_HEIGHT * level) - index * TILE_WIDTH, TILE_WIDTH))


def _row(level: int, count: int, size: int, read: ReadNode) -> list[Hash]:
    """Read what precedes a hash in its tile, once that is shown to be of the tree."""
    index = count // TILE_WIDTH
    for tile in _upwards(level, index, size):
        if not tile.is_partial:
            _require_full(tile, read)
    return [read(TILE_HEIGHT * level, at) for at in range(index * TILE_WIDTH, count)]


def _require_full(tile: Tile, read: ReadNode) -> None:
    above = TILE_HEIGHT * (tile.level + 1)
    if node_hash(read(above - 1, 2 * tile.index), read(above - 1, 2 * tile.index + 1)) != read(above, tile.index):
        raise ProofError("a tile is another than the one above it says")
