"""Grows the draft of one mirror from what its log serves: fetched several bundles at once, hashed in order, and saved.

Entries are hashed as they come, so that nothing but hashes is kept of them, whatever the size of the log. The few that
came last are held until they count, for whoever watches for some; ``adopted`` hands them over.
"""

from collections import deque
from collections.abc import Callable, Sequence

import trio

from monitor.allowance import Allowance
from monitor.core import WrongBundle, bundles_from, opened_bundle
from monitor.download import Download
from monitor.mirror import Gathered, Mirror
from monitor.room import Room
from monitor.sources.source import NotServed, Served, Source
from tlog.errors import FormatError
from tlog.hashing import Hash
from tlog.tiles import TILE_WIDTH, EntryBundle, Tile, tile_hashes

OnEntries = Callable[[int, Sequence[bytes]], None]
"""Told of entries that the branch now holds: the index of the first, and what is hashed as their leaves."""

SAVE_SECONDS = 0.25  # between two times that a draft is saved: this much work is lost at most, and the time it takes
MAX_GATHERED = 8 * 1024 * 1024  # bytes of hashes that wait for a slow disk: a quarter of a million entries
INLINE_BYTES = 128 * 1024  # hashed at once, in a fraction of a millisecond; what is larger is hashed in a thread
MAX_HELD_BYTES = 4 * 1024 * 1024  # of entries held until they count; who missed some reads them again
MANY_ENTRIES = 200  # per checkpoint: then a partial bundle is soon a full one


class Growth:
    """What brings a mirror's draft forward. The draft is nobody else's to write to."""

    def __init__(
        self, mirror: Mirror, source: Source, allowance: Allowance, room: Room, on_entries: OnEntries | None = None
    ) -> None:
        self.read_size = mirror.size - mirror.size % TILE_WIDTH
        """The entries before this one were read, and not only their hashes."""
        self.reads_all = False
        """No partial tile is believed, since the last one did not lead to the signed root."""
        self._mirror = mirror
        self._source = source
        self._allowance = allowance
        self._download = Download(allowance, room)
        self._on_entries = on_entries
        self._held: deque[tuple[int, Sequence[bytes], int]] = deque()
        self._held_bytes = 0
        self._failure: WrongBundle | OSError | None = None
        self._until = 0
        self._saved = 0.0
        self._saving: trio.Event | None = None

    def make_way_for(self, size: int) -> None:
        """Stop if this size is reached sooner than the one that is being grown to, even from the beginning."""
        draft = self._mirror.draft_size
        if size < self._until and (draft <= size or size < self._until - draft):
            self._until = draft

    async def to(self, size: int) -> bool:
        """Bring the draft to a size; tell whether it came that far, or was stopped.

        Raises:
            NotServed: the log does not answer, or not with all.
            WrongBundle: what it serves is malformed, or not what it served before.
            OSError: the disk does not take it; ``Mirror.fall_back`` is due.
        """
        # SPEC: T-17 A monitor that sees more than 200 entries per checkpoint SHOULD avoid partial bundles.
        whole = size - size % TILE_WIDTH
        by_tile = size - self._mirror.size > MANY_ENTRIES and whole < size and not self.reads_all
        await self._by_entries(whole if by_tile else size)
        if by_tile and self._mirror.draft_size >= whole:
            await self._by_tile(Tile(0, whole // TILE_WIDTH, size - whole))
        return self._mirror.draft_size == size

    async def read_rest(self) -> None:
        """Read the entries of which the committed tree has only the hashes.

        Raises:
            NotServed: the log does not answer.
            WrongBundle: they have other hashes.
        """
        size = self._mirror.size
        if self.read_size < size == self._mirror.draft_size:
            bundle = EntryBundle(size // TILE_WIDTH, size % TILE_WIDTH)
            self._hash(bundle, await self._source.bundle(bundle))
            self.adopted()

    def adopted(self) -> None:
        """The draft has become the committed tree: hand over what was read of it."""
        self.reads_all = False
        held = list(self._held)
        self._let_go()
        for start, entries, _ in held:
            if self._on_entries is not None:
                self._on_entries(start, entries)

    def forget(self) -> None:
        """The draft was cut: what was read behind its end does not count."""
        self._let_go()
        self.read_size = min(self.read_size, self._mirror.draft_size - self._mirror.draft_size % TILE_WIDTH)

    # Entries.

    async def _by_entries(self, size: int) -> None:
        self._until = size
        while self._mirror.draft_size < self._until:
            try:
                await self._download_to(size)
            except NotServed:
                if not self._allowance.grow():
                    raise
        self._raise_failure()

    async def _download_to(self, size: int) -> None:
        failure: NotServed | None = None
        self._failure, self._saved = None, trio.current_time()
        async with trio.open_nursery() as saving:

            async def take(bundle: EntryBundle, served: Served) -> bool:
                try:
                    await self._absorb(bundle, served)
                    await self._save_when_due(saving)
                except (WrongBundle, OSError) as error:
                    self._failure = error
                return self._failure is None and self._mirror.draft_size < self._until

            try:
                await self._download.run(bundles_from(self._mirror.draft_size, size), self._source.bundle, take)
            except NotServed as error:
                failure = error
        self._raise_failure()
        if failure is not None:
            raise failure

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _absorb(self, bundle: EntryBundle, served: Served) -> None:
        known = len(self._mirror.tail)
        if len(served.data) > INLINE_BYTES:
            leaves = await trio.to_thread.run_sync(self._hash, bundle, served)
        else:
            leaves = self._hash(bundle, served)
        self._mirror.extend(leaves[known:])

    def _hash(self, bundle: EntryBundle, served: Served) -> list[Hash]:
        path = self._source.path(EntryBundle(bundle.index, served.width))
        tail, read = self._mirror.tail, self._source.entries
        entries, leaves = opened_bundle(bundle, served.data, served.width, tail, read, path)
        self._hold(bundle.start, entries)
        return leaves

    def _let_go(self) -> None:
        self._held.clear()
        self._held_bytes = 0

    def _hold(self, start: int, entries: Sequence[bytes]) -> None:
        """Hold the entries that were not read before, as many as there is room for."""
        new = entries[max(self.read_size - start, 0) :]
        self.read_size = start + len(entries)
        if self._on_entries is None or not new:
            return
        count = sum(map(len, new))
        self._held.append((self.read_size - len(new), new, count))
        self._held_bytes += count
        while self._held_bytes > MAX_HELD_BYTES:
            self._held_bytes -= self._held.popleft()[2]

    # The last, partial tile, where its entries are to be read later.

    async def _by_tile(self, tile: Tile) -> None:
        # SPEC: T-18 Who avoids partial bundles MUST verify the checkpoint with the partial level-0 tile.
        known = self._mirror.tail
        try:
            hashes = tile_hashes(await self._source.tile(tile))
        except FormatError as error:
            raise WrongBundle(f"{self._source.path(tile)}: {error}") from None
        if len(hashes) != tile.width or hashes[: len(known)] != list(known):
            raise WrongBundle(
                f"{self._source.path(tile)}: not the hashes that the log served before, and as many as it signed"
            )
        self._mirror.extend(hashes[len(known) :])

    # Saving.

    async def _save_when_due(self, saving: trio.Nursery) -> None:
        if self._saving is not None and self._mirror.gathered_bytes > MAX_GATHERED:
            await self._saving.wait()
        if self._saving is None and trio.current_time() - self._saved >= SAVE_SECONDS:
            self._saving = trio.Event()
            saving.start_soon(self._save, self._mirror.take(), self._saving)

    async def _save(self, gathered: Gathered, saved: trio.Event) -> None:
        try:
            with trio.CancelScope(shield=True):  # what was taken has to reach the files
                await trio.to_thread.run_sync(self._mirror.save, gathered)
        except OSError as error:
            self._failure = error
        finally:
            self._saving, self._saved = None, trio.current_time()
            saved.set()
