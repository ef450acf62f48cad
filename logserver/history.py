"""What the log published: one checkpoint of each size, as it was published last, for as long as its operator says.

A checkpoint is in the history before it is public. So whatever a reader was ever shown can be asked for again, and one
that is not there is either old or was never shown by this log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.store import CHECKPOINT, SIGNATURE
from runtime.database import Database
from tlog.hashing import Hash, TreeHead
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.text import MAX_INTEGER

SECONDS_OF_A_DAY = 86400


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


class History:
    """The published checkpoints."""

    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._days = days

    async def record(self, published: SignedCheckpoint, now: int) -> None:
        """Keep what is about to be published, and forget what is too old."""
        row = {
            "size": published.size,
            "root_hash": published.root_hash,
            "time": now,
            "note": published.raw,
        }
        signatures = [
            {"size": published.size, "key_name": one.key.name, "key_id": one.key.id, "time": one.timestamp}
            for one in published.signatures
        ]
        too_old = select(CHECKPOINT.c.size).where(CHECKPOINT.c.time < now - self._days * SECONDS_OF_A_DAY)

        async def work(connection: AsyncConnection) -> None:
            for table in (SIGNATURE, CHECKPOINT):
                replaced = table.c.size == published.size
                await connection.execute(delete(table).where(replaced | table.c.size.in_(too_old)))
            await connection.execute(insert(CHECKPOINT), row)
            await connection.execute(insert(SIGNATURE), signatures)

        await self._database.write(work)

    async def note(self, size: int) -> bytes | None:
        """The checkpoint of a size, with all its signatures."""

        async def work(connection: AsyncConnection) -> bytes | None:
            found = await connection.execute(select(CHECKPOINT.c.note).where(CHECKPOINT.c.size == size))
            return found.scalar_one_or_none()

        return await self._database.read(work)

    async def page(self, question: Question) -> list[Published]:
        """The checkpoints that were asked for, from the smallest on; no more than the limit."""

        async def work(connection: AsyncConnection) -> list[Published]:
            wanted = select(CHECKPOINT.c.size, CHECKPOINT.c.root_hash, CHECKPOINT.c.time).where(*_conditions(question))
            rows = (await connection.execute(wanted.order_by(CHECKPOINT.c.size).limit(question.limit))).all()
            signed = await _signatures(connection, [row.size for row in rows])
            return [
                Published(TreeHead(row.size, Hash(row.root_hash)), row.time, tuple(signed[row.size])) for row in rows
            ]

        return await self._database.read(work)


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
