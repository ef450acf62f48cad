"""What a witness keeps in its database beside the register: the checkpoints it accepted, with their log signatures.

A row is written in the transaction that moves the register, so there is never a statement without the note it was made
from. The note holds only the log's lines that were verified.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.database import Database
from runtime.register import Record, add_register_tables
from tlog.signed_checkpoint import SignedCheckpoint

METADATA = MetaData(info={"schema": "sameview-witness", "version": 1})

ACCEPTED = Table(
    "accepted",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("note", LargeBinary, nullable=False, comment="as the log signed it, its verified lines only"),
)

add_register_tables(METADATA)


def accepted_record(checkpoint: SignedCheckpoint) -> Record:
    """The row for a checkpoint that was verified and is about to be cosigned."""
    return {"origin": checkpoint.origin, "size": checkpoint.size, "note": checkpoint.raw}


async def write_accepted(connection: AsyncConnection, records: Sequence[Record]) -> None:
    """Replace the latest accepted checkpoint of each record's origin; later records win."""
    latest = {record["origin"]: record for record in records}
    await connection.execute(delete(ACCEPTED).where(ACCEPTED.c.origin.in_(latest)))
    await connection.execute(insert(ACCEPTED), [dict(record) for record in latest.values()])


async def load_accepted(database: Database) -> dict[str, bytes]:
    """The latest accepted note of every origin."""

    async def rows(connection: AsyncConnection) -> dict[str, bytes]:
        return {row.origin: row.note for row in await connection.execute(select(ACCEPTED.c.origin, ACCEPTED.c.note))}

    return await database.read(rows)
