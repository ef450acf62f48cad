"""What was found, and up to where each watch has looked.

Both move in one transaction, with the notice that people are sent. So whenever the program is killed, an entry was
either looked at, and its match kept and announced, or it is looked at again.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.outbox import Notice, Topic, put
from monitor.tables import METADATA
from runtime.database import Database

MAX_ATTACHED = 16 * 1024  # bytes of an entry or a proof that a notice brings along; longer ones are fetched by number

WATCH = Table(
    "watch",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("next", BigInteger, comment="the first entry not yet looked at; NULL until the log has a branch"),
)

MATCH = Table(
    "watch_match",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("origin", String, nullable=False),
    Column("watch", String, nullable=False),
    Column("entry_index", BigInteger, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("found", String, nullable=False, comment="JSON: what was found, in words"),
    Column("entry", LargeBinary, nullable=False),
    Column("proof", LargeBinary, nullable=False, comment="a tlog-proof of the entry, to the branch's checkpoint"),
    Column("tree_size", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    UniqueConstraint("origin", "watch", "entry_index"),
    Index("watch_match_watch", "watch", "number"),
)


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry in which a watch found something, with its proof."""

    watch: str
    index: int
    leaf_hash: bytes
    found: tuple[str, ...]
    entry: bytes
    proof: bytes
    tree_size: int


@dataclass(frozen=True, slots=True)
class StoredMatch:
    """A match as it was kept."""

    number: int
    origin: str
    watch: str
    index: int
    leaf_hash: bytes
    found: tuple[str, ...]
    entry: bytes
    proof: bytes
    tree_size: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class ListedMatch:
    """A match without its entry and its proof, which are fetched by its number."""

    number: int
    origin: str
    index: int
    found: tuple[str, ...]
    entry_size: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What a watch has found: how many matches are kept, and the newest of them."""

    watch: str
    matches: int
    newest: tuple[ListedMatch, ...]


class MatchStore:
    """The tables, by what is done with them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cursors(self, origin: str) -> dict[str, int | None]:
        """How far each watch has come with a log: the first entry that it has not looked at."""

        async def work(connection: AsyncConnection) -> dict[str, int | None]:
            rows = await connection.execute(select(WATCH.c.name, WATCH.c.next).where(WATCH.c.origin == origin))
            return {row.name: row.next for row in rows}

        return await self._database.read(work)

    async def begin(self, origin: str, starts: Mapping[str, int | None]) -> None:
        """Write down new watches of a log."""
        rows = [{"origin": origin, "name": name, "next": start} for name, start in starts.items()]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(WATCH), rows)

        if rows:
            await self._database.write(work)

    async def advance(
        self, origin: str, reached: Mapping[str, int], hits: Sequence[Hit], keep: Mapping[str, int], now_ms: int
    ) -> None:
        """Write down that watches have looked at all entries up to where each now stands, and what they found.

        Of each watch at most ``keep`` matches stay, the newest.
        """

        async def work(connection: AsyncConnection) -> None:
            for name, position in reached.items():
                mine = and_(WATCH.c.origin == origin, WATCH.c.name == name)
                await connection.execute(update(WATCH).where(mine).values(next=position))
            if hits:
                await _insert(connection, origin, hits, now_ms)
                for name in {hit.watch for hit in hits}:
                    await _prune(connection, name, keep[name])

        await self._database.write(work)

    async def matches(
        self, before: int | None, limit: int, *, watch: str | None = None, origin: str | None = None
    ) -> list[StoredMatch]:
        """List matches, the newest first: those with smaller numbers than ``before``."""
        chosen = select(MATCH).order_by(MATCH.c.number.desc()).limit(limit)
        for column, value in ((MATCH.c.watch, watch), (MATCH.c.origin, origin)):
            if value is not None:
                chosen = chosen.where(column == value)
        if before is not None:
            chosen = chosen.where(MATCH.c.number < before)

        async def work(connection: AsyncConnection) -> list[StoredMatch]:
            return [_stored(*row) for row in await connection.execute(chosen)]

        return await self._database.read(work)

    async def findings(self, watches: Sequence[str], newest: int) -> list[Findings]:
        """What each of these watches has found, in their order."""

        async def work(connection: AsyncConnection) -> list[Findings]:
            rows = await connection.execute(select(MATCH.c.watch, func.count()).group_by(MATCH.c.watch))
            counts: dict[str, int] = {row[0]: row[1] for row in rows}
            found = {name: await _newest(connection, name, newest) for name in watches if name in counts}
            return [Findings(name, counts.get(name, 0), found.get(name, ())) for name in watches]

        return await self._database.read(work)

    async def match(self, number: int) -> StoredMatch | None:
        """One match, if it is still kept."""

        async def work(connection: AsyncConnection) -> StoredMatch | None:
            row = (await connection.execute(select(MATCH).where(MATCH.c.number == number))).one_or_none()
            return None if row is None else _stored(*row)

        return await self._database.read(work)


async def _newest(connection: AsyncConnection, watch: str, limit: int) -> tuple[ListedMatch, ...]:
    columns = MATCH.c.number, MATCH.c.origin, MATCH.c.entry_index, MATCH.c.found, MATCH.c.at_ms
    chosen = select(func.length(MATCH.c.entry), *columns).where(MATCH.c.watch == watch)
    rows = await connection.execute(chosen.order_by(MATCH.c.number.desc()).limit(limit))
    return tuple(
        ListedMatch(row.number, row.origin, row.entry_index, tuple(json.loads(row.found)), row[0], row.at_ms)
        for row in rows
    )


async def _insert(connection: AsyncConnection, origin: str, hits: Sequence[Hit], now_ms: int) -> None:
    last = (await connection.execute(select(func.max(MATCH.c.number)))).scalar_one() or 0
    numbered = list(enumerate(hits, last + 1))
    await connection.execute(
        insert(MATCH),
        [
            {
                "number": number,
                "origin": origin,
                "watch": hit.watch,
                "entry_index": hit.index,
                "leaf_hash": hit.leaf_hash,
                "found": json.dumps(hit.found),
                "entry": hit.entry,
                "proof": hit.proof,
                "tree_size": hit.tree_size,
                "at_ms": now_ms,
            }
            for number, hit in numbered
        ],
    )
    await put(connection, [_notice(number, origin, hit, now_ms) for number, hit in numbered])


def _notice(number: int, origin: str, hit: Hit, now_ms: int) -> Notice:
    document: dict[str, object] = {
        "type": "match",
        "text": f"the watch {hit.watch} found entry {hit.index} of {origin}",
        "watch": hit.watch,
        "origin": origin,
        "index": hit.index,
        "found": list(hit.found),
        "match": number,
        "leaf_hash": hit.leaf_hash.hex(),
        "entry_sha256": sha256(hit.entry).hexdigest(),
        "tree_size": hit.tree_size,
    }
    if len(hit.proof) <= MAX_ATTACHED:
        document["proof"] = hit.proof.decode()
    if len(hit.entry) <= MAX_ATTACHED:
        document["entry"] = b64encode(hit.entry).decode()
    return Notice.of(Topic.MATCH, f"match:{hit.watch}:{origin}:{hit.index}", now_ms, document)


async def _prune(connection: AsyncConnection, watch: str, keep: int) -> None:
    mine = MATCH.c.watch == watch
    newest = select(MATCH.c.number).where(mine).order_by(MATCH.c.number.desc()).offset(keep).limit(1)
    last = (await connection.execute(newest)).scalar_one_or_none()
    if last is not None:
        await connection.execute(delete(MATCH).where(mine, MATCH.c.number <= last))


def _stored(  # a row
    number: int,
    origin: str,
    watch: str,
    index: int,
    leaf_hash: bytes,
    found: str,
    entry: bytes,
    proof: bytes,
    tree_size: int,
    at_ms: int,
) -> StoredMatch:
    return StoredMatch(
        number, origin, watch, index, leaf_hash, tuple(json.loads(found)), entry, proof, tree_size, at_ms
    )
