"""What the log published: one checkpoint of each size, as it was published last, for ever or as long as configured.

A checkpoint is in the history before it is public. So whatever a reader was ever shown can be asked for again, and one
that is not there is either old or was never shown by this log.

Who asks for a list gets it page by page. What names the next page, the *cursor*, is authenticated, with the question it
belongs to: nobody can make one up, or go on with another question than the one that was begun.

Questions are anybody's, and some take the database long. They get some of its readers and never all: whatever is asked,
the integrator finds one free.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import trio
from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.store import CHECKPOINT, SECRET, SIGNATURE, exclude_others
from runtime.database import Database
from tlog.errors import FormatError
from tlog.hashing import Hash, TreeHead
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import MAX_INTEGER

SECONDS_OF_A_DAY = 86400
EXPORTED_AT_ONCE = 200  # checkpoints in memory while all of them are exported

# Together fewer than READERS of runtime.engines.
QUESTIONS_AT_ONCE = 2
EXPORTS_AT_ONCE = 1
QUESTIONS_WAITING = 64  # of each of the two: a few seconds of work at the most, unless the history is huge

_CURSOR_KEY_BYTES = 32
_TAG_BYTES = 16


@dataclass(frozen=True, slots=True)
class Signed:
    """One signature on a checkpoint."""

    key_name: str
    key_id: bytes
    time: int | None


@dataclass(frozen=True, slots=True)
class Published:
    """One checkpoint of the history."""

    head: TreeHead
    time: int
    """When it was published last."""
    signatures: tuple[Signed, ...]
    note: bytes
    epoch: int
    """Which opening of the register it was published under: two with different ones are by different processes."""
    version: str
    """Of the program that published it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Who publishes now."""

    epoch: int
    version: str


@dataclass(frozen=True, slots=True)
class Question:
    """Which checkpoints somebody asks for; the bounds belong to the range."""

    after: int = -1
    """The size that the last page ended with."""
    limit: int = 100
    min_size: int = 0
    max_size: int = MAX_INTEGER
    since: int = 0
    until: int = MAX_INTEGER
    key_id: bytes | None = None
    witness: str | None = None


class Crowded(Exception):  # noqa: N818  # it names a state
    """More is being asked about the history than there is room for."""


class History:
    """The published checkpoints. Made by ``open``."""

    def __init__(self, database: Database, days: int | None, cursor_key: bytes) -> None:
        self._database = database
        self._questions = trio.CapacityLimiter(QUESTIONS_AT_ONCE)
        self._exports = trio.CapacityLimiter(EXPORTS_AT_ONCE)
        self._days = days
        self._cursor_key = cursor_key

    @classmethod
    async def open(cls, database: Database, days: int | None) -> "History":
        """Open the history of a log, to be kept for so many days, or for ever (None)."""

        async def work(connection: AsyncConnection) -> bytes:
            await exclude_others(connection)
            known = (await connection.execute(select(SECRET.c.key))).scalar_one_or_none()
            if known is None:
                known = secrets.token_bytes(_CURSOR_KEY_BYTES)
                await connection.execute(insert(SECRET).values(key=known))
            return bytes(known)

        return cls(database, days, await database.write(work))

    async def record(self, published: SignedCheckpoint, now: int, by: Publication) -> None:
        """Keep what is about to be published, and forget what is too old."""
        row = {
            "size": published.size,
            "root_hash": published.root_hash,
            "time": now,
            "note": published.raw,
            "epoch": by.epoch,
            "version": by.version,
        }
        signatures = [
            {"size": published.size, "key_name": one.key.name, "key_id": one.key.id, "time": one.timestamp}
            for one in published.signatures
        ]

        async def work(connection: AsyncConnection) -> None:
            await exclude_others(connection)  # one that was overtaken may still have this size to record
            for table in (SIGNATURE, CHECKPOINT):
                gone = table.c.size == published.size
                if self._days is not None:
                    oldest = now - self._days * SECONDS_OF_A_DAY
                    gone |= table.c.size.in_(select(CHECKPOINT.c.size).where(CHECKPOINT.c.time < oldest))
                await connection.execute(delete(table).where(gone))
            await connection.execute(insert(CHECKPOINT), row)
            await connection.execute(insert(SIGNATURE), signatures)

        await self._database.write(work)

    async def note(self, size: int) -> bytes | None:
        """The checkpoint of a size, with all its signatures.

        Raises:
            Crowded: there is no room for another question.
        """

        async def work(connection: AsyncConnection) -> bytes | None:
            found = await connection.execute(select(CHECKPOINT.c.note).where(CHECKPOINT.c.size == size))
            return found.scalar_one_or_none()

        _check_room(self._questions)
        async with self._questions:
            return await self._database.read(work)

    async def page(self, question: Question) -> list[Published]:
        """The checkpoints that were asked for, from the smallest on; no more than the limit.

        Raises:
            Crowded: there is no room for another question.
        """
        _check_room(self._questions)
        async with self._questions:
            return await self._page(question)

    async def _page(self, question: Question) -> list[Published]:
        async def work(connection: AsyncConnection) -> list[Published]:
            wanted = select(CHECKPOINT).where(*_conditions(question)).order_by(CHECKPOINT.c.size)
            rows = (await connection.execute(wanted.limit(question.limit))).all()
            signed = await _signatures(connection, [row.size for row in rows])
            return [
                Published(
                    TreeHead(row.size, Hash(row.root_hash)),
                    row.time,
                    tuple(signed[row.size]),
                    row.note,
                    row.epoch,
                    row.version,
                )
                for row in rows
            ]

        return await self._database.read(work)

    def check_room_for_export(self) -> None:
        """See before an export begins whether it would be one too many.

        Raises:
            Crowded: it would.
        """
        _check_room(self._exports)

    async def export(self, question: Question) -> AsyncIterator[Published]:
        """All checkpoints that were asked for, whatever its limit, from the smallest on.

        Once begun it waits for its turn at each page, which others have in between.
        """
        question = replace(question, limit=EXPORTED_AT_ONCE)
        while page := await self._exported(question):
            for published in page:
                yield published
            question = replace(question, after=page[-1].head.size)

    async def _exported(self, question: Question) -> list[Published]:
        async with self._exports:
            return await self._page(question)

    def cursor(self, question: Question, last: int) -> str:
        """What names the page after the one that ended with this size."""
        place = last.to_bytes(8, "big")
        return urlsafe_b64encode(place + self._tag(question, place)).decode()

    def resume(self, question: Question, cursor: str) -> Question:
        """Go on with a question where its last page ended.

        Raises:
            FormatError: the cursor is none of ours, or of another question.
        """
        if len(cursor) != _CURSOR_CHARACTERS:
            raise FormatError("after= is not a cursor")
        try:
            raw = urlsafe_b64decode(cursor)
        except ValueError:
            raise FormatError("after= is not a cursor") from None
        place, tag = raw[:8], raw[8:]
        if not hmac.compare_digest(tag, self._tag(question, place)):
            raise FormatError("after= is not a cursor that this log gave for this question")
        return replace(question, after=int.from_bytes(place, "big"))

    def _tag(self, question: Question, place: bytes) -> bytes:
        asked = replace(question, after=-1, limit=1)  # the length of a page may change on the way
        return hmac.digest(self._cursor_key, place + repr(asked).encode(), "sha256")[:_TAG_BYTES]


def _check_room(turns: trio.CapacityLimiter) -> None:
    if turns.statistics().tasks_waiting >= QUESTIONS_WAITING:
        raise Crowded


_CURSOR_CHARACTERS = (8 + _TAG_BYTES) * 4 // 3


def _conditions(question: Question) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        CHECKPOINT.c.size > question.after,
        CHECKPOINT.c.size.between(question.min_size, question.max_size),
        CHECKPOINT.c.time.between(question.since, question.until),
    ]
    if question.key_id is not None:
        conditions.append(_signed_where(SIGNATURE.c.key_id == question.key_id))
    if question.witness is not None:
        conditions.append(_signed_where(SIGNATURE.c.key_name == question.witness))
    return conditions


def _signed_where(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return CHECKPOINT.c.size.in_(select(SIGNATURE.c.size).where(condition))


async def _signatures(connection: AsyncConnection, sizes: Sequence[int]) -> dict[int, list[Signed]]:
    found: dict[int, list[Signed]] = {size: [] for size in sizes}
    rows = await connection.execute(select(SIGNATURE).where(SIGNATURE.c.size.in_(sizes)))
    for row in rows:
        found[row.size].append(Signed(row.key_name, row.key_id, row.time))
    return found
