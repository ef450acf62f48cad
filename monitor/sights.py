"""The ledger of the watermark on disk: of each witness and log the newest statement that lies on the branch.

A sight is replaced only by a later one, and is written down before anybody is told of it. So a watermark that was
published once is still there after a restart: it moves back only when a conviction takes a witness out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.tables import METADATA
from runtime.database import Database

SIGHT = Table(
    "sight",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("key", LargeBinary, primary_key=True, comment="SHA-256 of the vkey"),
    Column(
        "time", BigInteger, nullable=False, comment="seconds: as signed, or when it was received, if that was earlier"
    ),
    Column("stated", BigInteger, nullable=False, comment="seconds, as signed"),
    Column("size", BigInteger, nullable=False),
    Column("root_hash", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="with the line of this key alone"),
)


@dataclass(frozen=True, slots=True)
class StoredSight:
    """What a witness's key stated last of a log, as far as that lies on the branch."""

    origin: str
    key: bytes
    time: int
    stated: int
    size: int
    root_hash: bytes
    note: bytes


class SightStore:
    """The table, by what is done with it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[StoredSight]:
        """Every sight."""

        async def work(connection: AsyncConnection) -> list[StoredSight]:
            return [StoredSight(*row) for row in await connection.execute(select(SIGHT))]

        return await self._database.read(work)

    async def keep(self, sights: Sequence[StoredSight]) -> None:
        """Put sights in the places of the earlier ones."""

        async def work(connection: AsyncConnection) -> None:
            rows = [{name: getattr(one, name) for name in StoredSight.__slots__} for one in sights]
            await connection.execute(_PUT, rows)

        await self._database.write(work)


_PUT = text(
    "INSERT INTO sight (origin, key, time, stated, size, root_hash, note)"
    " VALUES (:origin, :key, :time, :stated, :size, :root_hash, :note)"
    " ON CONFLICT (origin, key) DO UPDATE SET time = excluded.time, stated = excluded.stated, size = excluded.size,"
    " root_hash = excluded.root_hash, note = excluded.note"
)
