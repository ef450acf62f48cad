"""What was remembered since the last ``flush`` and is not on disk yet; all of it is written in one transaction.

The machine remembers a head before it does anything else about it, and sends nothing before a flush. Before its turn is
over a head may turn out to lie on the branch. Then the branch, which is kept, says all that the head does, and of a
head that is not on disk already nothing is written at all. So a flush for others leaves alone what an unfinished turn
noted.

Whoever asks for what is remembered gets what is here together with what is on disk. An index of the sizes on disk,
eight bytes a head, answers in most cases that there is nothing to ask the disk for.
"""

from array import array
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import trio

from monitor.store import MonitorStore
from monitor.tables import StoredHead, StoredStatement, Writes

Place = tuple[str, int, bytes]
"""Origin, size and root hash of a head."""


@dataclass(slots=True)
class _Page:
    """What one transaction writes."""

    heads: dict[Place, StoredHead] = field(default_factory=dict)
    settled: dict[Place, None] = field(default_factory=dict)
    statements: dict[int, StoredStatement] = field(default_factory=dict)
    gone: dict[int, None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.heads or self.settled or self.statements or self.gone)

    def remember(self, head: StoredHead) -> None:
        place = _place(head)
        known = self.heads.get(place)
        self.heads[place] = head if known is None else replace(known, note=head.note)

    def add(self, later: "_Page") -> None:
        for head in later.heads.values():
            self.remember(head)
        self.settled.update(later.settled)
        self.statements.update(later.statements)
        self.gone.update(later.gone)


class Notebook:
    """Heads and statements on their way to the disk."""

    def __init__(self, store: MonitorStore) -> None:
        self._store = store
        self._page = _Page()  # of this turn
        self._ready = _Page()
        self._leaving = _Page()
        self._sizes: dict[str, array[int]] = {}
        self._writer = trio.Lock()

    def remember(self, head: StoredHead) -> None:
        """Note a head, or the signatures that a known one has gained."""
        self._page.remember(head)

    async def settle(self, origin: str, size: int, root_hash: bytes) -> None:
        """Note that a head lies on the branch."""
        place = origin, size, root_hash
        for page in (self._page, self._ready):
            page.heads.pop(place, None)
        if size in await self._on_disk(origin, (size,)):
            self._page.settled[place] = None

    def state(self, statements: Sequence[StoredStatement], gone: Iterable[int]) -> None:
        """Note statements, and that others are to be forgotten, by their numbers."""
        self._page.statements.update((one.number, one) for one in statements)
        for number in gone:
            noted = [page.statements.pop(number, None) for page in (self._page, self._ready)]
            if not any(noted):
                self._page.gone[number] = None

    async def heads_of(self, origin: str, sizes: Collection[int]) -> list[StoredHead]:
        """The remembered heads of these sizes."""
        asked = await self._on_disk(origin, sizes)
        # Before the disk is asked: what leaves meanwhile would be missed.
        noted = {**self._leaving.heads, **self._ready.heads, **self._page.heads}
        here = {place: head for place, head in noted.items() if place[0] == origin and place[1] in sizes}
        found = {_place(head): head for head in await self._store.heads_of(origin, asked)} if asked else {}
        return list({**found, **here}.values())

    async def statement_notes(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """The notes of these statements, as far as they are kept."""
        here = {**self._leaving.statements, **self._ready.statements, **self._page.statements}
        found = {number: here[number].note for number in numbers if number in here}
        missing = [number for number in numbers if number not in found]
        return {**found, **(await self._store.statement_notes(missing) if missing else {})}

    def turn_over(self) -> None:
        """Let the next flush write what was noted by now."""
        self._ready.add(self._page)
        self._page = _Page()

    async def flush(self) -> int:
        """Write down all that was noted in earlier turns; return for how many heads there was no room.

        It is not cancelled once begun: what it takes from here belongs to turns of others, who wait for it.
        """
        with trio.CancelScope(shield=True):
            refused = await self._flush()
        return refused

    async def _flush(self) -> int:
        async with self._writer:
            if not self._ready:
                return 0
            page, self._ready = self._ready, _Page()
            self._leaving = page
            for head in page.heads.values():
                await self._index(head.origin)
                self._add_size(head.origin, head.size)
            writes = Writes(
                tuple(page.heads.values()), tuple(page.settled), tuple(page.statements.values()), tuple(page.gone)
            )
            refused = await self._store.write_down(writes)
            self._leaving = _Page()
            return refused

    async def prune(self, origin: str, named: Collection[int]) -> None:
        """Forget heads on the branch that are neither among the newest nor of these sizes, which evidence names."""
        await self._store.prune_heads(origin, named)
        async with self._writer:  # while no other head gets to the disk
            self._sizes[origin] = array("q", await self._store.head_sizes(origin))

    async def _on_disk(self, origin: str, sizes: Collection[int]) -> list[int]:
        """Those of the sizes of which a head may be on disk, or on its way there."""
        index = await self._index(origin)
        return [size for size in sizes if _contains(index, size) or self._leaves(origin, size)]

    def _leaves(self, origin: str, size: int) -> bool:
        return any(place[:2] == (origin, size) for place in self._leaving.heads)

    async def _index(self, origin: str) -> "array[int]":
        if origin not in self._sizes:
            sizes = array("q", await self._store.head_sizes(origin))
            self._sizes.setdefault(origin, sizes)  # a flush may have been here meanwhile: its index knows more
        return self._sizes[origin]

    def _add_size(self, origin: str, size: int) -> None:
        index = self._sizes[origin]
        if not _contains(index, size):
            insort(index, size)


def _place(head: StoredHead) -> Place:
    return head.origin, head.size, head.root_hash


def _contains(index: "array[int]", size: int) -> bool:
    at = bisect_left(index, size)
    return at < len(index) and index[at] == size
