"""The statements of one key about one log, by time: an index that tells which of them contradict each other.

A key can sign without end. Of one size and root the first and the last statement are kept, which contradict whatever
those between them would. Statements older than 30 days are thinned to one an hour, and of more than ``MAX_STATEMENTS``
of one key about one log every second one of the older half goes: whoever floods us makes what they said coarser, and
each of the neighbours that stay still contradicts nearly all that the lost one would have.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_STATEMENTS = 2048  # of one key about one log: some hours of a log that grows every second, and years coarsely
OLD_SECONDS = 30 * 86_400
HOUR_SECONDS = 3600
MAX_FOUND = 4  # contradictions of one statement, or of one key at the start: one convicts


class Newest(NamedTuple):
    """The newest statement: its time, the size, and what the root is told by."""

    time: int
    size: int
    mark: int

    def has_root(self, root: bytes) -> bool:
        """Tell whether this is the root it was made about."""
        return hash(root) == self.mark


class Staircase:
    """The statements of one key about one log, by time; sizes that go down are contradictions.

    Roots are told apart by Python's hash, which is keyed: nobody can make two that look alike.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._times, self._sizes, self._roots, self._numbers = (array("q") for _ in range(4))

    def __len__(self) -> int:
        return len(self._times)

    def against(self, time: int, size: int, root: bytes) -> list[int]:
        """The numbers of statements that contradict this one: its neighbours in time, and others of its size."""
        mark = hash(root)
        first, behind = bisect_left(self._times, time), bisect_right(self._times, time)
        found = [at for at in (first - 1,) if at >= 0 and self._sizes[at] > size]
        found += [at for at in (behind,) if at < len(self) and self._sizes[at] < size]
        found += [at for at in self._of_size(size) if self._roots[at] != mark]
        return [self._numbers[at] for at in dict.fromkeys(found)][:MAX_FOUND]

    def needs(self, time: int, size: int, root: bytes) -> tuple[bool, int | None]:
        """Tell whether a statement is to be kept, and which one gives way to it."""
        same = [at for at in self._of_size(size) if self._roots[at] == hash(root)]
        if len(same) < 2:
            return all(self._times[at] != time for at in same), None
        if time < self._times[same[0]]:
            return True, self._numbers[same[0]]
        return time > self._times[same[-1]], self._numbers[same[-1]]

    @property
    def newest(self) -> Newest | None:
        """The newest statement, None if there is none."""
        return Newest(self._times[-1], self._sizes[-1], self._roots[-1]) if len(self) else None

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of all statements."""
        return self._numbers

    def add(self, time: int, size: int, root: bytes, number: int) -> None:
        """Keep a statement. Of one second the larger comes later, so that the neighbours are the strictest."""
        at = bisect_left(self._times, time)
        while at < len(self) and self._times[at] == time and self._sizes[at] < size:
            at += 1
        for column, value in zip(self._columns, (time, size, hash(root), number), strict=True):
            column.insert(at, value)

    def remove(self, number: int) -> None:
        """Forget a statement."""
        at = self._numbers.index(number)
        for column in self._columns:
            del column[at]

    def thin(self, now: int) -> list[int]:
        """Forget what is too old or too much; return the numbers."""
        gone = dict.fromkeys(self._too_old(now))
        if len(self) - len(gone) > MAX_STATEMENTS:
            gone.update(dict.fromkeys(self._numbers[1 : len(self) // 2 : 2]))
        if gone:
            left = [at for at in range(len(self)) if self._numbers[at] not in gone]
            self._times, self._sizes, self._roots, self._numbers = (
                array("q", (column[at] for at in left)) for column in self._columns
            )
        return list(gone)

    def contradictory(self) -> list[tuple[int, int]]:
        """Pairs of numbers that contradict each other, as a crash may have left them; ``MAX_FOUND`` at most."""
        found: list[tuple[int, int]] = []
        for at in range(len(self)):
            found += [(self._numbers[at], other) for other in self.against_kept(at)]
            if len(found) >= MAX_FOUND:
                break
        return found[:MAX_FOUND]

    def against_kept(self, at: int) -> list[int]:
        """The statement before this one in time, or of its size, if that contradicts it."""
        before = bisect_left(self._times, self._times[at]) - 1
        found = [before] if before >= 0 and self._sizes[before] > self._sizes[at] else []
        if at and self._sizes[at - 1] == self._sizes[at] and self._roots[at - 1] != self._roots[at]:
            found.append(at - 1)
        return [self._numbers[one] for one in found]

    def _too_old(self, now: int) -> Iterator[int]:
        """All statements of an old hour but its last; the very first one stays."""
        end = bisect_left(self._times, (now - OLD_SECONDS) * self._per_second)
        hour = HOUR_SECONDS * self._per_second
        for at in range(1, end - 1):
            if self._times[at] // hour == self._times[at + 1] // hour:
                yield self._numbers[at]

    def _of_size(self, size: int) -> list[int]:
        found: list[int] = []
        at = -1
        try:
            while True:
                at = self._sizes.index(size, at + 1)
                found.append(at)
        except ValueError:
            return found

    @property
    def _columns(self) -> tuple["array[int]", ...]:
        return self._times, self._sizes, self._roots, self._numbers
