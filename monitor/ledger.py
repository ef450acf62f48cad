"""What keys stated of logs over time: kept, so that nobody can take back in one place what they said in another.

Each timestamped signature of a log, a witness or an observer is a statement. The notes are in the database, each with
the one line that makes it a statement; in memory is an index of them, some tens of bytes a statement. So a statement
that contradicts nothing, as nearly all do, is compared without a look at the disk.

A key can sign without end. Of one size and root the first and the last statement are kept, which contradict whatever
those between them would. Statements older than 30 days are thinned to one an hour, and of more than ``MAX_STATEMENTS``
of one key about one log every second one of the older half goes: whoever floods us makes what they said coarser, and
each of the neighbours that stay still contradicts nearly all that the lost one would have.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gossip.core.ledger import contradictions
from monitor.notebook import Notebook
from monitor.store import IndexedStatement, MonitorStore, StoredStatement
from tlog.errors import TlogError
from tlog.evidence import Evidence
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

MAX_STATEMENTS = 2048  # of one key about one log: some hours of a log that grows every second, and years coarsely
OLD_SECONDS = 30 * 86_400
HOUR_SECONDS = 3600
MAX_FOUND = 4  # contradictions of one statement, or of one key at the start: one convicts


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
        gone = list(self._too_old(now))
        if len(self) - len(gone) > MAX_STATEMENTS:
            gone += list(self._numbers[1 : len(self) // 2 : 2])
        gone = list(dict.fromkeys(gone))
        if gone:
            left = [at for at in range(len(self)) if self._numbers[at] not in set(gone)]
            self._times, self._sizes, self._roots, self._numbers = (
                array("q", (column[at] for at in left)) for column in self._columns
            )
        return gone

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


@dataclass(frozen=True, slots=True)
class Ahead:
    """A key signed a time that is so many seconds ahead of our clock."""

    key: VerifierKey
    seconds: int


class Ledger:
    """All statements."""

    def __init__(self, store: MonitorStore, notebook: Notebook) -> None:
        self._store = store
        self._notebook = notebook
        self._stairs: dict[tuple[str, bytes], Staircase] = {}
        self._next = 0  # not known yet

    def __len__(self) -> int:
        return sum(map(len, self._stairs.values()))

    async def load(self, origin: str, keys: Sequence[VerifierKey]) -> list[Evidence]:
        """Read the index of a log's statements; return what a crash kept from being found."""
        await self._begin()
        by_id = {key_id(key): key for key in keys}
        rows: list[IndexedStatement] = await self._store.statement_index(origin)
        # Peers need not wait for this: what they showed meanwhile is there already, and may be on disk by now.
        here = {number for (of_log, _), stair in self._stairs.items() if of_log == origin for number in stair.numbers}
        for row in rows:
            if row.key in by_id and row.number not in here:
                self._stair(origin, by_id[row.key]).add(row.time, row.size, row.root_hash, row.number)
        found: list[Evidence] = []
        for key in keys:
            stair = self._stairs.get((origin, key_id(key)))
            for one, other in stair.contradictory() if stair else ():
                opened = await self._opened((one, other), key)
                if len(opened) == 2:
                    found += contradictions(opened[0], key, opened[1:])
        return found

    async def weigh(self, signed: SignedCheckpoint, now: int) -> list[Evidence]:
        """Note what was stated, and compare it with what the same keys stated before, or stated of later times.

        If we are stopped when it is on disk and nobody has heard what it contradicts, ``load`` finds it.
        """
        number = await self._begin()
        written: list[StoredStatement] = []
        gone: list[int] = []
        suspects: list[tuple[VerifierKey, SignedCheckpoint, list[int]]] = []
        for statement, key, time in _statements(signed):
            stair = self._stair(signed.origin, key)
            against = stair.against(time, signed.size, signed.root_hash)
            needed, replaced = stair.needs(time, signed.size, signed.root_hash)
            if against:
                suspects.append((key, statement, against))
            if needed:
                if replaced is not None and replaced not in against:
                    stair.remove(replaced)
                    gone.append(replaced)
                stair.add(time, signed.size, signed.root_hash, number)
                written.append(_stored(number, statement, key, time))
                number = self._next = number + 1
                gone += [one for one in stair.thin(now) if not any(one in others for *_, others in suspects)]
        self._notebook.state(written, gone)
        return [one for key, statement, numbers in suspects for one in await self._judge(key, statement, numbers)]

    async def cosigned(self, origin: str, keys: Sequence[VerifierKey], up_to: int) -> list[SignedCheckpoint]:
        """The largest heads up to a size that each of these keys stated, as far as they are on disk."""
        found: list[SignedCheckpoint] = []
        for key in keys:
            for note in await self._store.statements_up_to(origin, key_id(key), up_to, MAX_FOUND):
                opened = _open(note, key)
                found += [opened] if opened else []
        return found

    async def _begin(self) -> int:
        """The next number that no statement has, on disk or on its way there."""
        if not self._next:
            last = await self._store.last_statement()
            self._next = max(self._next, last + 1)  # somebody else may have asked meanwhile, and gone on
        return self._next

    async def _judge(self, key: VerifierKey, statement: SignedCheckpoint, numbers: list[int]) -> list[Evidence]:
        return list(contradictions(statement, key, await self._opened(numbers, key)))

    async def _opened(self, numbers: Sequence[int], key: VerifierKey) -> list[SignedCheckpoint]:
        notes = await self._notebook.statement_notes(numbers)
        return [opened for number in numbers if number in notes and (opened := _open(notes[number], key))]

    def _stair(self, origin: str, key: VerifierKey) -> Staircase:
        place = origin, key_id(key)
        if place not in self._stairs:
            self._stairs[place] = Staircase(_per_second(key))
        return self._stairs[place]


def ahead(signed: SignedCheckpoint, now: int, most: int) -> list[Ahead]:
    """Tell which keys signed a time more than so many seconds ahead of our clock."""
    times = [(one.key, (one.timestamp or 0) // _per_second(one.key)) for one in signed.signatures]
    return [Ahead(key, time - now) for key, time in times if time - now > most]


def key_id(key: VerifierKey) -> bytes:
    """Name a key in the ledger: the SHA-256 of its vkey."""
    found = _ids.get(key)
    if found is None:
        found = _ids[key] = sha256(key.format().encode()).digest()
    return found


def _per_second(key: VerifierKey) -> int:
    """Units of time that a key's signatures count in a second."""
    return 1000 if key.type is KeyType.RFC6962 else 1


def _statements(signed: SignedCheckpoint) -> Iterator[tuple[SignedCheckpoint, VerifierKey, int]]:
    """Take a note apart: each timestamped line makes a statement, which needs no other line."""
    for signature in signed.signatures:
        if signature.timestamp:
            note = Note(signed.note.text, (signature.line,))
            yield SignedCheckpoint(signed.checkpoint, note, (signature,)), signature.key, signature.timestamp


def _stored(number: int, statement: SignedCheckpoint, key: VerifierKey, time: int) -> StoredStatement:
    head = statement.head
    return StoredStatement(number, statement.origin, key_id(key), time, head.size, head.root_hash, statement.raw)


def _open(note: bytes, key: VerifierKey) -> SignedCheckpoint | None:
    try:
        return open_checkpoint(note, (key,))
    except TlogError:
        return None  # the database is damaged: what it says convicts nobody


_ids: dict[VerifierKey, bytes] = {}
