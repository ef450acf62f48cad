"""What group commit is worth: durable one-row submissions a second, sharing transactions and with one each.

Both ways run in the same process against the same file, in turns, so that what else the disk does hits both. ``ratio``
is the quotient of their medians. Beside it stand the wait of a lone submission, advances of the register (which also
write its second place), and the cancellation test: calls that are cancelled at random moments, each of which must
either return and have happened or raise ``Cancelled`` and not have happened. Any other is counted as ambiguous.

    python -m bench.database_thread [--short] [--database URL]
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio
from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from runtime.daemon import SWITCH_SECONDS
from runtime.database import Database, open_database
from runtime.database_register import DatabaseRegister, add_register_tables
from runtime.statecounter import StateCounter
from tlog.advance import Advance, Statement
from tlog.hashing import Hash

TASKS = 64
ROW = bytes(200)  # an entry of usual size
TARGET = 10.0  # what sharing transactions must be worth, or the queue is not worth its code
METADATA = MetaData(info={"schema": "bench", "version": 1})
ROWS = Table(
    "bench_row",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
add_register_tables(METADATA)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="a fraction of the time, for a first impression")
    options.add_argument("--database", help="a postgresql:// URL of an empty database, instead of a SQLite file")
    options.add_argument("--directory", help="where the SQLite file is made; the disk decides the figures")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        result = trio.run(_measure, Path(directory), chosen.database, chosen.short)
    print(json.dumps(result))


async def _measure(directory: Path, url: str | None, short: bool) -> dict[str, object]:
    sys.setswitchinterval(SWITCH_SECONDS)  # as daemons do
    turns, seconds, cancellations = (3, 0.5, 200) if short else (7, 3.0, 600)
    async with open_database(url or directory / "db", METADATA, create=True) as database:
        bench = Bench(database)
        for _ in range(turns):
            await bench.turn("shared", bench.submit, seconds)
            await bench.turn("alone", bench.write, seconds)
        await bench.turn("one task", bench.submit, seconds, tasks=1)
        await bench.register(directory / "register", seconds)
        returned, ambiguous = await bench.cancel(cancellations)
    shared, alone = bench.rate("shared"), bench.rate("alone")
    return {
        "bench": "database_thread",
        "database": "sqlite" if url is None else "postgresql",
        "figures": {name: bench.figures(name) for name in bench.rates},
        "fdatasync_p50_ms": _fdatasync(directory),
        "tasks": TASKS,
        "turns": turns,
        "seconds": seconds,
        "cancellations": cancellations,
        "returned": returned,
        "ambiguous": ambiguous,
        "ratio": round(shared / alone, 1),
        "target": TARGET,
        "holds": shared >= TARGET * alone and ambiguous == 0,
    }


class Bench:
    """Ways of submitting, and what was measured of each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._group = database.group(_insert_all)
        self._number = 0
        self.rates: dict[str, list[float]] = {}
        self.waits: dict[str, list[float]] = {}

    async def submit(self, _task: int) -> None:
        await self._group.submit(self._next())

    async def write(self, _task: int) -> None:
        await self._database.write(_inserting(self._next()))

    async def turn(self, name: str, call: Callable[[int], Awaitable[None]], seconds: float, tasks: int = TASKS) -> None:
        waits: list[float] = []
        end = time.perf_counter() + seconds

        async def repeat(task: int) -> None:
            while (started := time.perf_counter()) < end:
                await call(task)
                waits.append(time.perf_counter() - started)

        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for task in range(tasks):
                nursery.start_soon(repeat, task)
        self.rates.setdefault(name, []).append(len(waits) / (time.perf_counter() - started))
        self.waits.setdefault(name, []).extend(waits)

    async def register(self, path: Path, seconds: float) -> None:
        """Every task advances an origin of its own."""
        counter = StateCounter.create(path)
        await DatabaseRegister.create(self._database, counter)
        register = await DatabaseRegister.open(self._database, counter)
        known: dict[int, Statement] = {}

        async def advance(task: int) -> None:
            size = known[task].size + 1 if task in known else 1
            new = Statement(f"log.example/{task}", size, Hash(size.to_bytes(32, "big")), size)
            await register.advance(known.get(task), Advance(new))
            known[task] = new

        await self.turn("register", advance, seconds)
        known.clear()

    async def cancel(self, number: int) -> tuple[int, int]:
        """Cancel calls at random moments, half of them of the group: how many returned, how many were ambiguous."""
        chance = random.Random(1)
        first = self._number + 1
        returned: set[int] = set()

        async def attempt() -> None:
            mine = self._next()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_after, scope, chance.uniform(0, 0.003))
                    if mine % 2:
                        await self._group.submit(mine)
                    else:
                        await self._database.write(_inserting(mine))
                    returned.add(mine)

        for _ in range(0, number, 8):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(attempt)
        present = set(await self._database.read(_numbers_from(first)))
        return len(returned), len(present ^ returned)

    def rate(self, name: str) -> float:
        return statistics.median(self.rates[name])

    def figures(self, name: str) -> dict[str, float]:
        return {
            "per_second": round(self.rate(name)),
            "lowest": round(min(self.rates[name])),
            "highest": round(max(self.rates[name])),
            "p50_ms": _percentile(self.waits[name], 50),
            "p99_ms": _percentile(self.waits[name], 99),
        }

    def _next(self) -> int:
        self._number += 1
        return self._number


async def _insert_all(connection: AsyncConnection, items: Sequence[int]) -> list[Exception | None]:
    await connection.execute(insert(ROWS), [{"number": item, "data": ROW} for item in items])
    return [None] * len(items)


def _inserting(number: int) -> Callable[[AsyncConnection], Awaitable[None]]:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(insert(ROWS).values(number=number, data=ROW))

    return work


def _numbers_from(first: int) -> Callable[[AsyncConnection], Awaitable[list[int]]]:
    async def work(connection: AsyncConnection) -> list[int]:
        return list((await connection.execute(select(ROWS.c.number).where(ROWS.c.number >= first))).scalars())

    return work


async def _cancel_after(scope: trio.CancelScope, seconds: float) -> None:
    await trio.sleep(seconds)
    scope.cancel()


def _fdatasync(directory: Path) -> float:
    """What the disk itself takes, to compare machines by."""
    times: list[float] = []
    with (directory / "probe").open("wb") as file:
        for _ in range(200):
            started = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return _percentile(times, 50)


def _percentile(times: list[float], percent: int) -> float:
    return round(statistics.quantiles(times, n=100)[percent - 1] * 1000, 2)


if __name__ == "__main__":
    main()
