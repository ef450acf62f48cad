"""How a log grows, without touching the world.

``sequence`` gives entries their indexes, ``grow`` gives a tree its tiles, ``choose`` says which checkpoint a log shows
next, and ``filled`` which partial tiles can go. All of it follows from its arguments alone, so doing it again after a
crash does the same again.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tlog.compact_range import CompactRange
from tlog.errors import FormatError
from tlog.hashing import EMPTY_ROOT, Hash, leaf_hashes, node_hash, node_hashes
from tlog.policy import Policy
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_WIDTH, EntryBundle, Tile, format_entries, parse_entries


def parse_batch(body: bytes) -> tuple[bytes, ...]:
    """Read the entries of one request: as in an entry bundle, and like one 1 to 256 of them."""
    count, at = 0, 0
    while at + 2 <= len(body) and count <= TILE_WIDTH:
        at += 2 + int.from_bytes(body[at : at + 2], "big")
        count += 1
    if not 0 < count <= TILE_WIDTH:
        raise FormatError("a batch has no entries or more than 256")
    return tuple(parse_entries(body, count))


def choose(
    published: SignedCheckpoint | None, gathered: SignedCheckpoint, policy: Policy | None, *, hold: bool
) -> SignedCheckpoint | None:
    """Choose what to publish after ``published`` once the cosignatures on the next checkpoint have been gathered.

    None says: go on showing what is published. That is so when the policy is not met and the log holds back what does
    not meet it. Signatures on a tree head that were public once stay public, so a note is never replaced by a weaker
    one on the same head.
    """
    if published is not None and published.note.text == gathered.note.text:
        gathered = published.merge(gathered)
    if hold and policy is not None and not policy.cosigned(gathered).met:
        return None
    return gathered


@dataclass(frozen=True, slots=True)
class Sequenced:
    """A batch after sequencing: what to answer for each entry, what is new, and the tree that holds it."""

    indexes: tuple[int, ...]
    """One index for each entry of the batch, in its order."""
    fresh: tuple[bytes, ...]
    """The entries that are new to the log, in the order of their indexes."""
    fresh_leaves: tuple[Hash, ...]
    tree: CompactRange


def sequence(
    tree: CompactRange, entries: Sequence[bytes], leaves: Sequence[Hash], known: Mapping[Hash, int] | None
) -> Sequenced:
    """Give a batch its indexes after those of ``tree``; ``leaves`` are the leaf hashes of its entries.

    With ``known`` (leaf hash to index, at least for the entries of this batch that the log holds already) an entry
    gets its first index again, also when it stands twice in the batch; with None every entry is new.
    """
    if known is None:
        indexes = tuple(range(tree.end, tree.end + len(entries)))
        return Sequenced(indexes, tuple(entries), tuple(leaves), tree.extend(leaves))
    first_index = dict(known)
    fresh: list[bytes] = []
    fresh_leaves: list[Hash] = []
    answers: list[int] = []
    for entry, leaf in zip(entries, leaves, strict=True):
        index = first_index.get(leaf)
        if index is None:
            index = first_index[leaf] = tree.end + len(fresh)
            fresh.append(entry)
            fresh_leaves.append(leaf)
        answers.append(index)
    return Sequenced(tuple(answers), tuple(fresh), tuple(fresh_leaves), tree.extend(fresh_leaves))


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: all that is needed to append to its tiles without reading one of them."""

    size: int
    hashes: tuple[tuple[Hash, ...], ...]
    """For each tile level from 0 up, the hashes in the partial tile at the edge (none where the last tile is full)."""
    entries: tuple[bytes, ...]
    """The entries in the partial bundle at the edge."""

    def root_hash(self) -> Hash:
        """The root of the tree, from its edge alone."""
        peaks = [peak for level in reversed(self.hashes) for peak in _peaks(level)]
        if not peaks:
            return EMPTY_ROOT
        root = peaks.pop()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root


EMPTY_EDGE = Edge(0, (), ())


@dataclass(frozen=True, slots=True)
class TileFile:
    """One file of a static log: its path under the prefix, and its bytes."""

    path: str
    data: bytes


def grow(edge: Edge, entries: Sequence[bytes]) -> tuple[Edge, list[TileFile]]:
    """Append entries to a tree's tiles.

    Returns the new edge and every file that the grown tree has and the old one had not: the tiles and bundles that
    became full, and the partial ones of exactly the new size. The same input gives the same files, whatever was
    written before.
    """
    if not entries:
        return edge, []
    bundle_entries = [*edge.entries, *entries]
    hashes, tiles = grow_tiles(edge.size, edge.hashes, leaf_hashes(entries))
    rest = len(bundle_entries) % TILE_WIDTH
    grown = Edge(edge.size + len(entries), hashes, tuple(bundle_entries[len(bundle_entries) - rest :]))
    return grown, [*_bundle_files(edge.size // TILE_WIDTH, bundle_entries), *tiles]


def grow_tiles(
    size: int, hashes: Sequence[tuple[Hash, ...]], leaves: Sequence[Hash]
) -> tuple[tuple[tuple[Hash, ...], ...], list[TileFile]]:
    """Append leaf hashes to the hash tiles of a tree with this size and these edge hashes (see ``Edge``).

    Returns the new edge hashes and the tiles' files.
    """
    files: list[TileFile] = []
    levels: list[tuple[Hash, ...]] = []
    rising = list(leaves)
    while rising or len(levels) < len(hashes):
        level = len(levels)
        before = hashes[level] if level < len(hashes) else ()
        first_tile = (size >> (8 * level)) // TILE_WIDTH
        rest, full, rising = _fill(level, first_tile, [*before, *rising])
        files += full
        if rest and rest != before:
            files.append(TileFile(Tile(level, first_tile + len(full), len(rest)).path(), b"".join(rest)))
        levels.append(rest)
    return tuple(levels), files


def filled(old: int, new: int) -> Iterator[str]:
    """Yield the paths of the tiles and bundles that are full in a tree of ``new`` entries and were not in the old."""
    for index in range(old // TILE_WIDTH, new // TILE_WIDTH):
        yield EntryBundle(index).path()
    level = 0
    while new := new // TILE_WIDTH:
        old //= TILE_WIDTH
        for index in range(old, new):
            yield Tile(level, index).path()
        level += 1


def _fill(level: int, first_tile: int, hashes: list[Hash]) -> tuple[tuple[Hash, ...], list[TileFile], list[Hash]]:
    """Cut hashes of one level into full tiles; return the rest, the tiles' files and their roots, one level up."""
    files: list[TileFile] = []
    roots: list[Hash] = []
    whole = len(hashes) - len(hashes) % TILE_WIDTH
    for number, start in enumerate(range(0, whole, TILE_WIDTH)):
        tile = hashes[start : start + TILE_WIDTH]
        files.append(TileFile(Tile(level, first_tile + number).path(), b"".join(tile)))
        # SPEC: T-9 only full tiles are hashed into the level above.
        roots.append(_perfect_root(tile))
    return tuple(hashes[whole:]), files, roots


def _bundle_files(first: int, entries: Sequence[bytes]) -> Iterator[TileFile]:
    for number, start in enumerate(range(0, len(entries), TILE_WIDTH)):
        bundle = entries[start : start + TILE_WIDTH]
        yield TileFile(EntryBundle(first + number, len(bundle)).path(), format_entries(bundle))


def _perfect_root(hashes: Sequence[Hash]) -> Hash:
    """The root over a power of two of hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = node_hashes(level)
    return level[0]


def _peaks(hashes: Sequence[Hash]) -> list[Hash]:
    """The roots of the perfect subtrees that a run of hashes splits into, largest first."""
    peaks = []
    start = 0
    while start < len(hashes):
        width = 1 << ((len(hashes) - start).bit_length() - 1)
        peaks.append(_perfect_root(hashes[start : start + width]))
        start += width
    return peaks
