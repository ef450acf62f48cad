"""Which logs a witness knows: those of its configuration file, and those that commands and log lists added.

The file's logs are loaded at start and nothing else changes them. The others stand in the table ``log`` of the
database, where a command changes them in one transaction while the witness runs; it looks for changes twice a second.
A log keeps the key it was added with: another key for it is refused, whoever brings it.

A disabled log is answered like an unknown one. It stays known: its name cannot be taken by another key, a list does not
bring it back, its public copy stays, and evidence against it still counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

import structlog
import trio
from sqlalchemy import BigInteger, Boolean, Column, Row, String, Table, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.database import Database
from runtime.errors import UsageError
from tlog.errors import FormatError
from tlog.keys import VerifierKey
from tlog.log_list import ListedLog, LogList, Merge, merge
from witness.config import WitnessSettings
from witness.store import METADATA

LOOK_SECONDS = 0.5  # between two looks for changes: a command is noticed within a second
MAX_LOGS = 100_000  # in the database: the largest list announced has 40,000, and each costs a kilobyte of memory

AT_ONCE = 50  # keys read in one go: some 4 ms, in which nothing is answered

LOG = Table(
    "log",
    METADATA,
    Column("origin", String, primary_key=True),
    Column("vkey", String, nullable=False),
    Column("qpd", BigInteger, comment="add-checkpoint requests per day; NULL for no limit"),
    Column("source", String, nullable=False, comment="command or list"),
    Column("disabled", Boolean, nullable=False),
    Column("changed", BigInteger, nullable=False, index=True, comment="counts changes: larger is later"),
)


class Source(StrEnum):
    """Who named a log."""

    FILE = "file"
    COMMAND = "command"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log, its keys, and how many requests a day are answered for it."""

    origin: str
    keys: tuple[VerifierKey, ...]
    qpd: int | None
    source: Source
    disabled: bool = False


class LogBook:
    """The logs of a running witness."""

    def __init__(self, settings: WitnessSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._seen = 0
        self._logs = {log.origin: log for log in file_logs(settings)}
        self.known: dict[str, tuple[VerifierKey, ...]] = dict(settings.logs)
        """Keys by origin, of disabled logs too. Logs are added here, never taken out."""
        self.active: dict[str, tuple[VerifierKey, ...]] = dict(settings.logs)
        """Keys by origin of the logs whose checkpoints are cosigned."""

    @property
    def logs(self) -> Mapping[str, KnownLog]:
        return self._logs

    def qpd(self, origin: str) -> int | None:
        """How many requests a day are answered for this log; None for any number."""
        log = self._logs.get(origin)
        return None if log is None else log.qpd

    async def load(self) -> None:
        """Read the database at the start.

        Raises:
            UsageError: file and database name different keys for a log.
        """
        for log in await self._changes():
            if not log.disabled and _contradicts(self._settings, log):
                raise UsageError(_differing(log.origin))
            self._take(log)

    async def refresh(self) -> None:
        """Take over what has changed since."""
        for log in await self._changes():
            if _contradicts(self._settings, log):
                _log.error("a log was added with another key than the file has: the file's counts", origin=log.origin)
            self._take(log)

    async def refresh_for_ever(self) -> NoReturn:
        """Refresh every ``LOOK_SECONDS``."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            await self.refresh()

    async def _changes(self) -> list[KnownLog]:
        async def work(connection: AsyncConnection) -> Sequence[_Row]:
            query = select(LOG).where(LOG.c.changed > self._seen).order_by(LOG.c.changed)
            return (await connection.execute(query)).all()

        rows = await self._database.read(work)
        logs = []
        for row in rows:
            logs.append(_from_row(row))
            if len(logs) % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self._seen = max((row.changed for row in rows), default=self._seen)
        return logs

    def _take(self, log: KnownLog) -> None:
        if log.origin in self._settings.logs:
            return
        self._logs[log.origin] = log
        self.known[log.origin] = log.keys
        if log.disabled:
            self.active.pop(log.origin, None)
        else:
            self.active[log.origin] = log.keys


def file_logs(settings: WitnessSettings) -> list[KnownLog]:
    """The logs of the configuration file."""
    return [
        KnownLog(origin, keys, settings.qpd.get(origin), Source.FILE) for origin, keys in sorted(settings.logs.items())
    ]


async def list_logs(settings: WitnessSettings, database: Database) -> list[KnownLog]:
    """Every log of file and database, by origin; the file's come first where both have one."""

    async def work(connection: AsyncConnection) -> Sequence[_Row]:
        return (await connection.execute(select(LOG))).all()

    stored = map(_from_row, await database.read(work))
    return sorted([*file_logs(settings), *stored], key=lambda log: log.origin)


async def add_log(settings: WitnessSettings, database: Database, new: ListedLog) -> None:
    """Add a log, enable one that was disabled, or change how many requests a day are answered.

    Raises:
        UsageError: it is known by another key, or bears our own name or key.
    """
    if _is_ours(settings, new):
        raise UsageError("a log must not have the witness's own name or key: one could be taken for the other")
    if new.origin in settings.logs:
        if new.key not in settings.logs[new.origin]:
            raise UsageError(_known_by_another_key(new.origin))
        raise UsageError(f"the configuration file names {new.origin} already, with this key: nothing was changed")

    async def work(connection: AsyncConnection) -> None:
        known = (await connection.execute(select(LOG).where(LOG.c.origin == new.origin))).one_or_none()
        if known is None:
            await _insert(connection, [new], Source.COMMAND)
        elif known.vkey != new.key.format():
            raise UsageError(_known_by_another_key(new.origin))
        else:
            await _change(connection, new.origin, {"disabled": False, "qpd": new.qpd})

    await database.write(work)


async def disable_log(settings: WitnessSettings, database: Database, origin: str) -> None:
    """Answer for this log no more.

    Raises:
        UsageError: it is not in the database.
    """

    async def work(connection: AsyncConnection) -> bool:
        known = (await connection.execute(select(LOG).where(LOG.c.origin == origin))).one_or_none()
        if known is None:
            return False
        await _change(connection, origin, {"disabled": True})
        return True

    if await database.write(work):
        return
    if origin in settings.logs:
        raise UsageError("this log is in the configuration file: take its [[log]] out there and restart the witness")
    raise UsageError("the witness does not know this log: `sameview witness list-logs` shows those it knows")


async def merge_list(settings: WitnessSettings, database: Database, found: LogList) -> Merge:
    """Add the logs of a list that are not known yet; those it names otherwise than we know them are conflicts.

    Raises:
        FormatError: there would be more logs than a witness takes.
    """

    listed = {log.key.format(): log.key for log in found.logs}

    async def work(connection: AsyncConnection) -> Merge:
        rows = (await connection.execute(select(LOG.c.origin, LOG.c.vkey))).all()
        known = {**{row.origin: (_key(row.vkey, listed),) for row in rows}, **settings.logs}
        merged = merge(known, found, [settings.name])
        ours = tuple(log for log in merged.added if _is_ours(settings, log))
        merged = Merge(tuple(log for log in merged.added if log not in ours), (*merged.conflicts, *ours))
        if len(known) + len(merged.added) > MAX_LOGS:
            raise FormatError(f"with this list there would be more than {MAX_LOGS} logs: nothing was added")
        await _insert(connection, merged.added, Source.LIST)
        return merged

    return await database.write(work)


async def _insert(connection: AsyncConnection, logs: Sequence[ListedLog], source: Source) -> None:
    number = await _last_change(connection)
    rows = [
        {
            "origin": log.origin,
            "vkey": log.key.format(),
            "qpd": log.qpd,
            "source": source.value,
            "disabled": False,
            "changed": number + place,
        }
        for place, log in enumerate(logs, 1)
    ]
    if rows:
        await connection.execute(insert(LOG), rows)


async def _change(connection: AsyncConnection, origin: str, values: Mapping[str, object]) -> None:
    changed = {**values, "changed": await _last_change(connection) + 1}
    await connection.execute(update(LOG).where(LOG.c.origin == origin).values(changed))


async def _last_change(connection: AsyncConnection) -> int:
    # Rows are never deleted, so this never goes back.
    return (await connection.execute(select(func.max(LOG.c.changed)))).scalar_one() or 0


_Row = Row[*tuple[str, str, int | None, str, bool, int]]


def _from_row(row: _Row) -> KnownLog:
    return KnownLog(row.origin, (VerifierKey.parse(row.vkey),), row.qpd, Source(row.source), row.disabled)


def _key(vkey: str, parsed: Mapping[str, VerifierKey]) -> VerifierKey:
    # Reading a key takes 50 us, and a list that was pulled yesterday names the same ones again.
    return parsed.get(vkey) or VerifierKey.parse(vkey)


def _contradicts(settings: WitnessSettings, log: KnownLog) -> bool:
    return not set(log.keys) <= set(settings.logs.get(log.origin, log.keys))


def _is_ours(settings: WitnessSettings, log: ListedLog) -> bool:
    # A cosigner's name and keys must tell its role: one that is also a log could be quoted in the other role.
    public_keys = {key.verifier_key.public_key for key in settings.keys}
    return settings.name in (log.origin, log.key.name) or log.key.public_key in public_keys


def _known_by_another_key(origin: str) -> str:
    return (
        f"{origin} is known by another key, and the key of a log is never changed: ask its operator which is right. "
        "A log that replaces its key begins a new origin"
    )


def _differing(origin: str) -> str:
    return (
        f"configuration file and database name different keys for {origin}: correct the file, or, if it is right, "
        "run `sameview witness disable-log` with this origin"
    )


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
