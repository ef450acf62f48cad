"""What a monitor decides about the bytes that a log serves and about a client's question. Pure.

Fetching, hashing into the mirror and signing are done elsewhere; here is told what to fetch, what the bytes say, and
what a client who shows a checkpoint is told.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gossip.core import Branch, Candidate
from tlog.errors import FormatError, ProofError
from tlog.hashing import Hash, TreeHead, leaf_hashes
from tlog.proofs import consistency_nodes, fold, prove_consistency, root_at, root_nodes
from tlog.tiles import TILE_WIDTH, EntryBundle, Tile, TileReader, tiles_for

STALE_SECONDS = 900  # a view on which the log has not been heard for this long is old: say so instead of "same"
UNREACHABLE_SECONDS = 60  # a restart of a log takes less; beyond that somebody should look

MAX_AHEAD_SECONDS = 300  # clocks that are kept in time differ by less

ParseEntries = Callable[[EntryBundle, bytes], Sequence[bytes]]
"""Reads what was served as a bundle: one item for each entry, with exactly the bytes that are hashed as its leaf.

A function of a module, so that another process can call it. Raises ``FormatError``."""


class WrongBundle(Exception):  # noqa: N818  # an expected answer of a log, not a fault
    """What the log serves is not the entries that it served, or promised, before."""


def bundles_from(start: int, size: int) -> Iterator[EntryBundle]:
    """Yield the bundles that hold the leaves from ``start`` up to ``size``; the sizes may be absurd."""
    for index in range(start // TILE_WIDTH, -(-size // TILE_WIDTH) if start < size else 0):
        yield EntryBundle(index, min(size - index * TILE_WIDTH, TILE_WIDTH))


def opened_bundle(
    bundle: EntryBundle, data: bytes, served: int, tail: Sequence[Hash], entries: ParseEntries, path: str = ""
) -> tuple[Sequence[bytes], list[Hash]]:
    """Read a bundle and hash its entries; it has to begin with the ones in ``tail``.

    ``served`` is the width that was asked for: the full bundle, where the partial one is gone. ``tail`` holds the leaf
    hashes of the bundle's first entries as far as they are known. ``entries`` reads bundles of the log's kind, and
    ``path`` is where it keeps this one.

    Raises:
        WrongBundle: it is malformed, or begins with other entries; says which.
    """
    try:
        found = entries(EntryBundle(bundle.index, served), data)[: bundle.width]
    except FormatError as error:
        raise WrongBundle(f"{path or bundle.path()}: {error}") from None
    leaves = leaf_hashes(found)
    # A partial bundle must be a prefix of every later one: else the log rewrote entries that it served before.
    if leaves[: len(tail)] != list(tail):
        wrong = next(
            (index for index, (leaf, known) in enumerate(zip(leaves, tail, strict=False)) if leaf != known), len(leaves)
        )
        raise WrongBundle(f"entry {bundle.start + wrong} is another one than the log served before")
    return found, leaves


def is_extension(draft: TreeHead, signed: TreeHead) -> bool:
    """Tell whether the current tree and the entries that follow it make up the tree that was signed."""
    # SPEC: T-19 Each later checkpoint MUST be verified to be consistent with the current one. The draft is the current
    # tree with new leaves, so its root is the signed one only if the signed tree extends the current one.
    return draft == signed


def tiles_to_prove(old_size: int, new_size: int) -> list[Tile]:
    """List the tiles of the tree of ``new_size`` that show how it extends its first ``old_size`` leaves."""
    # SPEC: T-13 partial tiles are fetched only where a verified checkpoint's size demands them: the caller has one
    nodes = (*root_nodes(old_size), *consistency_nodes(old_size, new_size), *root_nodes(new_size))
    return tiles_for(nodes, new_size)


def proof_from_tiles(old_size: int, head: TreeHead, tiles: Mapping[Tile, bytes]) -> Candidate | None:
    """Make a consistency proof of unsigned tiles; None unless it leads to the signed head."""
    read = TileReader(head.size, tiles.__getitem__).node
    try:
        if root_at(head.size, read) != head.root_hash:
            return None
        candidate = Candidate(old_size, root_at(old_size, read), tuple(prove_consistency(old_size, head.size, read)))
        fold(old_size, head.size, root_at(old_size, read), candidate.path)
    except (FormatError, ProofError):
        return None
    return candidate


class Verdict(StrEnum):
    """What a client is told about the checkpoint it showed."""

    SAME = "same"
    PREFIX = "prefix"
    AHEAD = "ahead"
    FORK = "fork"
    UNKNOWN_ORIGIN = "unknown-origin"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class View:
    """How fresh the monitor's own view is: when the log last showed it, and what time it is, in seconds."""

    confirmed: int | None
    now: int

    @property
    def is_stale(self) -> bool:
        """Tell whether an answer based on this view may be out of date."""
        return self.confirmed is None or self.now - self.confirmed > STALE_SECONDS


def judge(branch: Branch, head: TreeHead, root_there: Hash | None, view: View) -> Verdict:
    """Compare a client's head, whose signature was verified and which was adjudicated, with the branch.

    ``root_there`` is the branch's root at the head's size, None where the branch is smaller.
    """
    if branch.convicted or root_there not in (None, head.root_hash):
        return Verdict.FORK
    if view.is_stale:
        return Verdict.STALE
    if root_there is None:
        return Verdict.AHEAD
    return Verdict.SAME if head.size == branch.size else Verdict.PREFIX
