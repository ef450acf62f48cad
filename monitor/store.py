"""What a monitor keeps in its database: branches, every signed head it was shown, evidence and testimony.

A branch moves in the transaction that moves the observer's register, so the two never disagree. A head is written down
before it is acted on, with the log's signature: whoever signed it can be held to it for ever. Times are milliseconds of
Unix time.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache

from sqlalchemy import (
    ColumnElement,
    TextClause,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from gossip.core.state import MAX_TESTIMONY_OF_ONE
from monitor.tables import (
    BRANCH,
    DELIVERY,
    EVIDENCE,
    HEAD,
    METADATA,
    STATEMENT,
    TESTIMONY,
    IndexedStatement,
    StoredBranch,
    StoredEvidence,
    StoredHead,
    StoredStatement,
    StoredTestimony,
    Writes,
)
from runtime.database import Database
from runtime.database_register import Record

MAX_UNSETTLED = 4096  # heads per log that no branch explains: a log that signs more convicts itself with these
MAX_SETTLED = 1024  # heads per log on its branch, the newest: the branch vouches for the others
REVIEW_BATCH = 256  # unsettled heads judged at a time
MAX_KEPT_TESTIMONY = 64  # per log: of sixteen peers as many as the machine takes of one


def branch_record(branch: StoredBranch) -> Record:
    """The row of a branch, for ``write_branches``."""
    return {
        "origin": branch.origin,
        "size": branch.size,
        "root_hash": branch.root_hash,
        "note": branch.note,
        "kept": branch.kept,
        "edge": branch.edge,
    }


async def write_branches(connection: AsyncConnection, records: Sequence[Record]) -> None:
    """Move branches, and settle the heads they moved to: ``DatabaseRegister`` does it beside the statements."""
    latest = {record["origin"]: record for record in records}
    await connection.execute(delete(BRANCH).where(BRANCH.c.origin.in_(latest)))
    await connection.execute(insert(BRANCH), [dict(record) for record in latest.values()])
    for record in latest.values():
        reached = [HEAD.c[name] == record[name] for name in ("origin", "size", "root_hash")]
        await connection.execute(update(HEAD).where(*reached).values(settled=True))


class MonitorStore:
    """The tables, by what is done with them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def branches(self) -> list[StoredBranch]:
        """Every branch."""

        async def work(connection: AsyncConnection) -> list[StoredBranch]:
            rows = await connection.execute(select(BRANCH).order_by(BRANCH.c.origin))
            return [StoredBranch(*row) for row in rows]

        return await self._database.read(work)

    async def move_branch(self, branch: StoredBranch) -> None:
        """Move a branch without a statement: the observer cannot sign at the moment."""

        async def work(connection: AsyncConnection) -> None:
            await write_branches(connection, [branch_record(branch)])

        await self._database.write(work)

    async def write_down(self, writes: Writes) -> int:
        """Write all of it in one transaction; return for how many heads there was no room."""

        async def work(connection: AsyncConnection) -> int:
            by_origin: dict[str, list[StoredHead]] = {}
            for head in writes.heads:
                by_origin.setdefault(head.origin, []).append(head)
            refused = 0
            for origin, heads in by_origin.items():
                fitting = await _with_room(connection, origin, heads)
                refused += len(heads) - len(fitting)
                await insert_rows(connection, HEAD.name, [_head_row(head) for head in fitting], _KEEP_NOTE)
            for origin, size, root_hash in writes.settled:
                await connection.execute(update(HEAD).where(_is_head(origin, size, root_hash)).values(settled=True))
            for start in range(0, len(writes.gone), REVIEW_BATCH):
                numbers = writes.gone[start : start + REVIEW_BATCH]
                await connection.execute(delete(STATEMENT).where(STATEMENT.c.number.in_(numbers)))
            await insert_rows(connection, STATEMENT.name, [_statement_row(one) for one in writes.statements])
            return refused

        return await self._database.write(work)

    async def head_sizes(self, origin: str) -> list[int]:
        """The sizes of the heads that are remembered, in order."""

        async def work(connection: AsyncConnection) -> list[int]:
            chosen = select(HEAD.c.size).where(HEAD.c.origin == origin).distinct().order_by(HEAD.c.size)
            return list((await connection.execute(chosen)).scalars())

        return await self._database.read(work)

    async def prune_heads(self, origin: str, named: Collection[int]) -> None:
        """Forget heads on the branch: all but the newest, and those of the sizes that are named."""
        settled = and_(HEAD.c.origin == origin, HEAD.c.settled)
        newest = select(HEAD.c.size).where(settled).order_by(HEAD.c.size.desc()).offset(MAX_SETTLED).limit(1)

        async def work(connection: AsyncConnection) -> None:
            last = (await connection.execute(newest)).scalar_one_or_none()
            if last is not None:
                old = and_(settled, HEAD.c.size <= last, HEAD.c.size.not_in(named))
                await connection.execute(delete(HEAD).where(old))

        await self._database.write(work)

    async def heads_of(self, origin: str, sizes: Collection[int]) -> list[StoredHead]:
        """The remembered heads of these sizes."""
        return await self._heads(and_(HEAD.c.origin == origin, HEAD.c.size.in_(sizes)), None)

    async def unsettled(self, origin: str, up_to: int | None = None, after: int = -1) -> list[StoredHead]:
        """The smallest heads that no branch explains yet, of sizes in a range, as many as are judged at a time."""
        chosen = and_(HEAD.c.origin == origin, HEAD.c.settled.is_(False), HEAD.c.size > after)
        return await self._heads(chosen if up_to is None else and_(chosen, HEAD.c.size <= up_to), REVIEW_BATCH)

    async def first_seen_ms(self, origin: str, size: int, root_hash: bytes) -> int | None:
        """When a head was seen first."""
        found = await self._heads(_is_head(origin, size, root_hash), 1)
        return found[0].first_seen_ms if found else None

    async def keep_evidence(self, evidence: StoredEvidence) -> None:
        """Write evidence down; what is known already stays as it is."""

        async def work(connection: AsyncConnection) -> None:
            known = await connection.execute(select(EVIDENCE.c.id).where(EVIDENCE.c.id == evidence.id))
            if known.one_or_none() is None:
                await connection.execute(insert(EVIDENCE).values(_evidence_row(evidence)))

        await self._database.write(work)

    async def drop_evidence(self, id_: bytes) -> None:
        """Forget evidence that other evidence of the same class against the same key says more than."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(EVIDENCE).where(EVIDENCE.c.id == id_))
            await connection.execute(delete(DELIVERY).where(DELIVERY.c.evidence_id == id_))

        await self._database.write(work)

    async def evidence(self) -> list[StoredEvidence]:
        """All evidence, in the order of the convictions."""

        async def work(connection: AsyncConnection) -> list[StoredEvidence]:
            rows = await connection.execute(select(EVIDENCE).order_by(EVIDENCE.c.convicted_ms, EVIDENCE.c.id))
            return [StoredEvidence(*row) for row in rows]

        return await self._database.read(work)

    async def statement_index(self, origin: str) -> list[IndexedStatement]:
        """What was stated of a log, without the notes."""
        columns = (STATEMENT.c[name] for name in IndexedStatement.__slots__)
        chosen = select(*columns).where(STATEMENT.c.origin == origin).order_by(STATEMENT.c.number)

        async def work(connection: AsyncConnection) -> list[IndexedStatement]:
            return [IndexedStatement(*row) for row in await connection.execute(chosen)]

        return await self._database.read(work)

    async def last_statement(self) -> int:
        """The highest number that was given to a statement, of whatever log; 0 if none was."""

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(select(func.max(STATEMENT.c.number)))).scalar_one() or 0

        return await self._database.read(work)

    async def statement_notes(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """The notes of these statements, as far as they are kept."""

        async def work(connection: AsyncConnection) -> dict[int, bytes]:
            chosen = select(STATEMENT.c.number, STATEMENT.c.note).where(STATEMENT.c.number.in_(numbers))
            return {row.number: row.note for row in await connection.execute(chosen)}

        return await self._database.read(work)

    async def statements_up_to(self, origin: str, key: bytes, size: int, limit: int) -> list[bytes]:
        """The notes of the largest heads up to a size that a key stated."""
        mine = and_(STATEMENT.c.origin == origin, STATEMENT.c.key == key, STATEMENT.c.size <= size)
        chosen = select(STATEMENT.c.note).where(mine).order_by(STATEMENT.c.size.desc()).limit(limit)

        async def work(connection: AsyncConnection) -> list[bytes]:
            return [note for (note,) in await connection.execute(chosen)]

        return await self._database.read(work)

    async def keep_testimony(self, testimony: StoredTestimony) -> None:
        """Write testimony down in the place of what the same peer said of the same head.

        The oldest gives way: first of the same peer's, so that nobody takes the room of others.
        """
        of_log, of_peer = TESTIMONY.c.origin == testimony.origin, TESTIMONY.c.peer == testimony.peer
        of_head = and_(TESTIMONY.c.size == testimony.size, TESTIMONY.c.root_hash == testimony.root_hash)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(TESTIMONY).where(of_log, of_peer, of_head))
            row = {name: getattr(testimony, name) for name in StoredTestimony.__slots__}
            await connection.execute(insert(TESTIMONY).values(row))
            for place, room in ((and_(of_log, of_peer), MAX_TESTIMONY_OF_ONE), (of_log, MAX_KEPT_TESTIMONY)):
                newest = select(TESTIMONY.c.received_ms).where(place).order_by(TESTIMONY.c.received_ms.desc())
                oldest = (await connection.execute(newest.offset(room).limit(1))).scalar_one_or_none()
                if oldest is not None:
                    await connection.execute(delete(TESTIMONY).where(place, TESTIMONY.c.received_ms <= oldest))

        await self._database.write(work)

    async def testimony(self) -> list[StoredTestimony]:
        """All testimony, the oldest first."""

        async def work(connection: AsyncConnection) -> list[StoredTestimony]:
            rows = await connection.execute(select(TESTIMONY).order_by(TESTIMONY.c.received_ms, TESTIMONY.c.peer))
            return [StoredTestimony(*row) for row in rows]

        return await self._database.read(work)

    async def undelivered(self, witness: str) -> list[StoredEvidence]:
        """The evidence that a witness has neither taken nor refused for good, in the order of the convictions."""
        done = select(DELIVERY.c.evidence_id).where(DELIVERY.c.witness == witness, DELIVERY.c.done)

        async def work(connection: AsyncConnection) -> list[StoredEvidence]:
            waiting = select(EVIDENCE).where(EVIDENCE.c.id.not_in(done))
            rows = await connection.execute(waiting.order_by(EVIDENCE.c.convicted_ms, EVIDENCE.c.id))
            return [StoredEvidence(*row) for row in rows]

        return await self._database.read(work)

    async def delivered(self, evidence_id: bytes, witness: str, status: int, now_ms: int) -> None:
        """Write down that a witness took evidence."""

        async def work(connection: AsyncConnection) -> None:
            await _answer_delivery(connection, evidence_id, witness, status, now_ms, lambda _: True)

        await self._database.write(work)

    async def refused(self, evidence_id: bytes, witness: str, status: int, now_ms: int, most: int) -> bool:
        """Write down that a witness refused evidence; True if that was the last time it is brought."""

        async def work(connection: AsyncConnection) -> bool:
            return await _answer_delivery(connection, evidence_id, witness, status, now_ms, lambda count: count >= most)

        return await self._database.write(work)

    async def _heads(self, where: ColumnElement[bool], limit: int | None) -> list[StoredHead]:
        async def work(connection: AsyncConnection) -> list[StoredHead]:
            rows = select(HEAD).where(where).order_by(HEAD.c.size, HEAD.c.root_hash).limit(limit)
            return [StoredHead(*row) for row in await connection.execute(rows)]

        return await self._database.read(work)


def _statement_row(statement: StoredStatement) -> Mapping[str, object]:
    return {name: getattr(statement, name) for name in StoredStatement.__slots__}


_KEEP_NOTE = " ON CONFLICT (origin, size, root_hash) DO UPDATE SET note = excluded.note"
_ROWS = (64, 8, 1)  # in one statement


async def insert_rows(
    connection: AsyncConnection, table: str, rows: Sequence[Mapping[str, object]], otherwise: str = ""
) -> None:
    """Insert many rows with few statements.

    Python's SQLite module gives up the interpreter at each step of a statement, and ``executemany`` takes one for each
    row. To put a statement together takes SQLAlchemy longer than SQLite to run it, so there are three, made once.
    """
    done = 0
    for count in _ROWS:
        while len(rows) - done >= count:
            values = {f"{name}_{at}": rows[done + at][name] for at in range(count) for name in rows[done + at]}
            await connection.execute(_insertion(table, count, otherwise), values)
            done += count


@cache
def _insertion(table: str, count: int, otherwise: str) -> TextClause:
    columns = METADATA.tables[table].columns
    names = columns.keys()
    places = ", ".join(f"({', '.join(f':{name}_{at}' for name in names)})" for at in range(count))
    statement = text(f"INSERT INTO {table} ({', '.join(names)}) VALUES {places}{otherwise}")  # noqa: S608 # our names
    return statement.bindparams(
        *(bindparam(f"{name}_{at}", type_=columns[name].type) for at in range(count) for name in names)
    )


async def _with_room(connection: AsyncConnection, origin: str, heads: Sequence[StoredHead]) -> Sequence[StoredHead]:
    """Those of the heads that there is room for: known ones, and as many others as the log has left."""
    unsettled = and_(HEAD.c.origin == origin, HEAD.c.settled.is_(False))
    count = (await connection.execute(select(func.count()).select_from(HEAD).where(unsettled))).scalar_one()
    if count + len(heads) <= MAX_UNSETTLED:
        return heads
    known = select(HEAD.c.size, HEAD.c.root_hash).where(
        HEAD.c.origin == origin, HEAD.c.size.in_([one.size for one in heads])
    )
    places = {(row.size, row.root_hash) for row in await connection.execute(known)}
    new = [one for one in heads if (one.size, one.root_hash) not in places]
    left_out = {id(one) for one in new[max(MAX_UNSETTLED - count, 0) :]}
    return [one for one in heads if id(one) not in left_out]


async def _answer_delivery(
    connection: AsyncConnection,
    evidence_id: bytes,
    witness: str,
    status: int,
    now_ms: int,
    is_done: Callable[[int], bool],
) -> bool:
    """Write down a witness's answer; ``is_done`` is told how many refusals that makes."""
    row = and_(DELIVERY.c.evidence_id == evidence_id, DELIVERY.c.witness == witness)
    refusals = (await connection.execute(select(DELIVERY.c.refusals).where(row))).scalar_one_or_none() or 0
    refusals += status >= 400
    done = is_done(refusals)
    await connection.execute(delete(DELIVERY).where(row))
    kept = await connection.execute(select(EVIDENCE.c.id).where(EVIDENCE.c.id == evidence_id))
    if kept.one_or_none() is not None:  # or other evidence took its place while the witness read it
        values = {"status": status, "refusals": refusals, "answered_ms": now_ms, "done": done}
        await connection.execute(insert(DELIVERY).values(evidence_id=evidence_id, witness=witness, **values))
    return done


def _is_head(origin: str, size: int, root_hash: bytes) -> ColumnElement[bool]:
    return and_(HEAD.c.origin == origin, HEAD.c.size == size, HEAD.c.root_hash == root_hash)


def _head_row(head: StoredHead) -> Mapping[str, object]:
    return {
        "origin": head.origin,
        "size": head.size,
        "root_hash": head.root_hash,
        "note": head.note,
        "via": head.via,
        "first_seen_ms": head.first_seen_ms,
        "settled": head.settled,
    }


def _evidence_row(evidence: StoredEvidence) -> Mapping[str, object]:
    return {
        "id": evidence.id,
        "origin": evidence.origin,
        "type": evidence.type,
        "accused": evidence.accused,
        "bundle": evidence.bundle,
        "first_seen_ms": evidence.first_seen_ms,
        "convicted_ms": evidence.convicted_ms,
    }
