"""What keys stated of logs over time: kept, so that nobody can take back in one place what they said in another.

Each timestamped signature of a log, a witness or an observer is a statement. The notes are in the database, each with
the one line that makes it a statement; in memory is an index of them, some tens of bytes a statement. So a statement
that contradicts nothing, as nearly all do, is compared without a look at the disk.
Which statements are kept, and which contradict each other, ``gossip.core.staircase`` decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gossip.core.ledger import contradictions
from gossip.core.staircase import MAX_FOUND, Newest, Staircase
from monitor.notebook import Notebook
from monitor.store import MonitorStore
from monitor.tables import IndexedStatement, StoredStatement
from tlog.errors import TlogError
from tlog.evidence import Evidence
from tlog.keys import KeyType, VerifierKey
from tlog.note import Note
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint


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

    def newest(self, origin: str, key: VerifierKey) -> tuple[Newest, int] | None:
        """What a key stated last of a log, and when in Unix milliseconds; None if it stated nothing."""
        stair = self._stairs.get((origin, key_id(key)))
        found = None if stair is None else stair.newest
        return None if found is None else (found, found.time * 1000 // _per_second(key))

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
