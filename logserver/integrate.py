"""The integrator: turns what is durable into tiles, and is the first to notice when the two disagree.

Every size that gets signed has its tiles on disk before, the partial ones included. So after a restart growth goes on
from the tiles of the size that was signed last, whatever came after it: the same entries make the same files again.
"""

import trio

from logserver.core import Edge, grow
from logserver.files import StaticFiles
from logserver.store import Sequencer, load_entries
from runtime.database import Database
from runtime.errors import UsageError
from tlog.advance import Statement
from tlog.hashing import EMPTY_TREE, TreeHead
from tlog.proofs import root_at
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_WIDTH

ENTRIES_AT_ONCE = 4096  # integrated in one step: at most 256 MiB of entries in memory


class HistoryBroken(UsageError):  # noqa: N818  # it names a state, as Fenced does
    """What is stored contradicts what was signed: nothing may be signed until an operator has looked."""


class Integrator:
    """Keeps the public tiles of a log up with its database. Made by ``resume``."""

    def __init__(self, sequencer: Sequencer, database: Database, files: StaticFiles, edge: Edge) -> None:
        self._sequencer = sequencer
        self._database = database
        self._files = files
        self._edge = edge

    @property
    def size(self) -> int:
        """How many entries have their tiles."""
        return self._edge.size

    async def integrate(self) -> TreeHead:
        """Write the tiles of everything that is durable; when this returns the tree of this head has all of them.

        Raises:
            HistoryBroken: the tiles hash to another tree than the database's.
        """
        tree = self._sequencer.tree
        await self._grow(tree.end)
        if self._edge.root_hash() != tree.root():
            raise HistoryBroken(
                "the tiles and the database hold different trees: find out with `sameview fsck` which one agrees with "
                "the published checkpoint, and put the other one back"
            )
        return tree.tree_head()

    async def _grow(self, size: int) -> None:
        while self._edge.size < size:
            end = size
            if size - self._edge.size > ENTRIES_AT_ONCE:
                end = (self._edge.size + ENTRIES_AT_ONCE) // TILE_WIDTH * TILE_WIDTH  # no partial tiles on the way
            entries = await load_entries(self._database, self._edge.size, end)
            # In a thread: hashing a step of the largest entries takes half a second.
            self._edge = await trio.to_thread.run_sync(self._append, entries)
            self._sequencer.tiled(self._edge.size)

    def _append(self, entries: list[bytes]) -> Edge:
        edge, files = grow(self._edge, entries)
        self._files.write(files)
        return edge


async def resume(
    sequencer: Sequencer,
    database: Database,
    files: StaticFiles,
    signed: Statement | None,
    published: SignedCheckpoint | None,
) -> Integrator:
    """Take up where the last run stopped, and bring the tiles up to date.

    Tiles that were moved away are made anew. Earlier partial tiles of the last, unfilled one are not: nobody knows
    which there were, except those of the two sizes that were signed and published last.

    Raises:
        HistoryBroken: database, tiles, register and published checkpoint do not tell one story; says which is old.
        LostTile: a tile is missing or damaged.
    """
    head = EMPTY_TREE if signed is None else signed.head
    shown = EMPTY_TREE if published is None else published.head
    if head.size > sequencer.tree.end:
        raise HistoryBroken(
            f"a tree of {head.size} entries was signed and the database holds {sequencer.tree.end}: it is an old copy. "
            "Put the newest back; if that is lost, this log cannot go on: retire it and its key"
        )
    if shown.size > head.size:
        raise HistoryBroken(
            f"a checkpoint of {shown.size} entries is published and the register knows of {head.size}: it is an old "
            "copy. Put the newest back; a register belongs in no backup"
        )
    integrator = Integrator(sequencer, database, files, await trio.to_thread.run_sync(files.edge, head.size))
    for known in (shown, head):
        await integrator._grow(known.size)
    # Also the smaller root is read from the larger tree's tiles: partial ones may go once the full tile is there.
    read = files.nodes(head.size)
    for known in (shown, head):
        if await trio.to_thread.run_sync(root_at, known.size, read) != known.root_hash:
            raise HistoryBroken(
                f"the tiles do not hold the tree of {known.size} entries that was signed: run `sameview fsck` on the "
                "public folder, and put back what it names"
            )
    await integrator.integrate()
    sequencer.tiled(integrator.size)
    return integrator
