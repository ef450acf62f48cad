"""How reliable each witness has been: counted hour by hour, and told as signed scorecards (specs/scorecards.md).

An hour's figures are on disk within a minute, so a program that was killed has lost less than that. They take some
hundred bytes for each witness and hour, and are kept for as long as the longest window reaches back.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, and_, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.marks import Outcome
from monitor.samples import DAY_MS, HOUR_MS
from monitor.tables import METADATA
from runtime.database import Database
from tlog.scorecard import merged, percentile, rounded

WINDOWS = (1, 7, 30)  # days
ANSWERED = (Outcome.HEARD, Outcome.UNCHANGED, Outcome.ABSENT)

SCORE = Table(
    "score",
    METADATA,
    Column("witness", String, primary_key=True, comment="the name of its keys"),
    Column("hour_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("figures", LargeBinary, nullable=False, comment="JSON"),
    sqlite_with_rowid=False,
)


class Figures(msgspec.Struct):
    """What was counted of one witness in one hour."""

    outcomes: dict[str, int] = {}
    lag: dict[int, int] = {}
    """Seconds behind the others, ``rounded``, by how often that was seen."""
    unheard: int = 0
    """How often it had shown nothing of a log that it should."""
    statements: int = 0
    ahead: int | None = None
    """The most that a time it stated was later than the arrival, in seconds: negative if it was always earlier."""


@dataclass(frozen=True, slots=True)
class _Hour:
    witness: str
    hour_ms: int
    figures: Figures


@dataclass(slots=True)
class Scores:
    """Counts. ``load`` comes before anything is counted."""

    database: Database
    _hours: dict[tuple[str, int], Figures] = field(default_factory=dict)
    _seen: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)

    async def load(self, now_ms: int) -> None:
        """Go on with the hour that the program ended in, if it is not over."""
        for hour in await self._since(now_ms - now_ms % HOUR_MS):
            self._hours[hour.witness, hour.hour_ms] = hour.figures

    def behind(self, witness: str, seconds: int | None, now_ms: int) -> None:
        """Count how far a witness is behind the others about one log; None if it shows nothing of it."""
        figures = self._figures(witness, now_ms)
        if seconds is None:
            figures.unheard += 1
        else:
            place = rounded(seconds)
            figures.lag[place] = figures.lag.get(place, 0) + 1

    def looked(self, witness: str, where: str, outcomes: Mapping[Outcome, int], now_ms: int) -> None:
        """Count how looks at it ended since the last call; ``outcomes`` are all since the start of the program."""
        seen = self._seen.setdefault((witness, where), Counter())
        figures = self._figures(witness, now_ms)
        for outcome, count in outcomes.items():
            new = count - seen[outcome]
            if new > 0:
                figures.outcomes[outcome] = figures.outcomes.get(outcome, 0) + new
                seen[outcome] = count

    def stated(self, witness: str, time: int, now_ms: int) -> None:
        """Count a statement of a witness that has just arrived."""
        figures = self._figures(witness, now_ms)
        figures.statements += 1
        ahead = time - now_ms // 1000
        figures.ahead = ahead if figures.ahead is None else max(ahead, figures.ahead)

    async def flush(self, now_ms: int) -> None:
        """Write this hour down, and forget the others in memory and those that no window reaches."""
        hours = dict(self._hours)
        hour_ms = now_ms - now_ms % HOUR_MS
        self._hours = {place: figures for place, figures in hours.items() if place[1] >= hour_ms}

        async def work(connection: AsyncConnection) -> None:
            for (witness, at_ms), figures in hours.items():
                same = and_(SCORE.c.witness == witness, SCORE.c.hour_ms == at_ms)
                await connection.execute(delete(SCORE).where(same))
                row = {"witness": witness, "hour_ms": at_ms, "figures": msgspec.json.encode(figures)}
                await connection.execute(insert(SCORE).values(row))
            await connection.execute(delete(SCORE).where(SCORE.c.hour_ms < now_ms - (WINDOWS[-1] + 1) * DAY_MS))

        await self.database.write(work)

    async def document(self, monitor: str, vkeys: Mapping[str, Sequence[str]], now_ms: int) -> bytes:
        """Write the scorecards of these witnesses, each with its keys."""
        await self.flush(now_ms)
        hours = await self._since(now_ms - WINDOWS[-1] * DAY_MS)
        witnesses = [
            {
                "name": name,
                "vkeys": sorted(vkeys[name]),
                "windows": [
                    _window([hour for hour in hours if hour.witness == name], days, now_ms) for days in WINDOWS
                ],
            }
            for name in sorted(vkeys)
        ]
        return msgspec.json.encode({"monitor": monitor, "time": now_ms // 1000, "witnesses": witnesses})

    def _figures(self, witness: str, now_ms: int) -> Figures:
        return self._hours.setdefault((witness, now_ms - now_ms % HOUR_MS), Figures())

    async def _since(self, since_ms: int) -> list[_Hour]:
        async def work(connection: AsyncConnection) -> list[_Hour]:
            chosen = select(SCORE).where(SCORE.c.hour_ms >= since_ms).order_by(SCORE.c.hour_ms)
            return [
                _Hour(row.witness, row.hour_ms, msgspec.json.decode(row.figures, type=Figures))
                for row in await connection.execute(chosen)
            ]

        return await self.database.read(work)


def _window(hours: Sequence[_Hour], days: int, now_ms: int) -> dict[str, object]:
    """Sum up the hours that began within so many days."""
    inside = [hour for hour in hours if hour.hour_ms >= now_ms - days * DAY_MS]
    outcomes = Counter[str]()
    for hour in inside:
        outcomes.update(hour.figures.outcomes)
    looks, answered = outcomes.total(), sum(outcomes[outcome] for outcome in ANSWERED)
    lag = merged(hour.figures.lag for hour in inside)
    ahead = [hour.figures.ahead for hour in inside if hour.figures.ahead is not None]
    return {
        "days": days,
        "since": min((hour.hour_ms // 1000 for hour in inside), default=None),
        "looks": looks,
        "answered": answered,
        "uptime": round(answered / looks, 6) if looks else None,
        "outcomes": {outcome: outcomes[outcome] for outcome in Outcome},
        "lag": {
            "samples": sum(lag.values()),
            "unheard": sum(hour.figures.unheard for hour in inside),
            **{f"p{hundredths}": percentile(lag, hundredths) for hundredths in (50, 90, 99, 100)},
        },
        "clock": {
            "statements": sum(hour.figures.statements for hour in inside),
            "ahead_least": min(ahead, default=None),
            "ahead_most": max(ahead, default=None),
        },
    }
