"""Pulls log lists: adds the logs a witness does not know yet, and is loud about those it knows by another key.

Whoever serves a list can add logs to us and do nothing else. A list that cannot be fetched or read changes nothing and
is tried again after an hour.
"""

import secrets
from dataclasses import dataclass
from typing import NoReturn

import structlog
import trio
from prometheus_client import Counter, Gauge

from runtime.client import Client, FetchError
from runtime.clock import Clock
from runtime.database import Database
from runtime.errors import CannotTell
from runtime.metrics import By, Metrics
from tlog.errors import FormatError
from tlog.log_list import MAX_LIST_BYTES, LogList, Merge
from witness.config import WitnessSettings
from witness.logs import merge_list

FETCH_SECONDS = 60.0  # the largest list at 4.5 Mbit/s
PULL_SECONDS = 86_400  # SPEC: L-9 witnesses pull at least once a week
RETRY_SECONDS = 3600
JITTER = 10  # up to a tenth is added to each wait, so that not all witnesses ask at the same moment


@dataclass(frozen=True, slots=True)
class PullMetrics:
    """What became of the pulls, by the list's URL."""

    pulled: By[Gauge]
    failures: By[Counter]
    conflicts: By[Gauge]

    @classmethod
    def of(cls, settings: WitnessSettings, metrics: Metrics) -> "PullMetrics":
        """Declare them for the configured lists."""
        urls = settings.lists
        return cls(
            metrics.gauges("witness_list_pulled_timestamp_seconds", "When a log list was merged last", "list", urls),
            metrics.counters("witness_list_failures", "Log lists that could not be fetched or read", "list", urls),
            metrics.gauges(
                "witness_list_conflicts", "Logs that a list names otherwise than this witness knows them", "list", urls
            ),
        )


async def fetch_list(client: Client, url: str) -> LogList:
    """Fetch and read a list.

    Raises:
        CannotTell: there is no answer, or none with status 200.
        FormatError: it is not a log list.
    """
    try:
        response = await client.fetch("GET", url, cap=MAX_LIST_BYTES, seconds=FETCH_SECONDS, gunzip=True)
    except FetchError as error:
        raise CannotTell(f"the log list cannot be fetched: {error}") from None
    if response.status != 200:
        raise CannotTell(f"the log list cannot be fetched: its server answered {response.status}")
    # Half a second for ten thousand logs, in which others are to be answered.
    return await trio.to_thread.run_sync(LogList.parse, response.body)


def warn_of_conflicts(merged: Merge, url: str) -> None:
    """One line for each log that was refused."""
    for log in merged.conflicts:
        _log.error(
            "a log list names a log with another key, or with our own name: it is refused and nothing is changed",
            list=url,
            origin=log.origin,
            listed_vkey=log.key.format(),
        )


class Puller:
    """Pulls the configured lists, each in a task of its own."""

    def __init__(
        self, settings: WitnessSettings, database: Database, client: Client, clock: Clock, metrics: PullMetrics
    ) -> None:
        self._settings = settings
        self._database = database
        self._client = client
        self._clock = clock
        self._metrics = metrics

    async def pull_for_ever(self) -> None:
        """Pull every list at the start and then once a day."""
        async with trio.open_nursery() as tasks:
            for url in self._settings.lists:
                tasks.start_soon(self._pull_for_ever, url)

    async def pull(self, url: str) -> bool:
        """Pull one list; whether it could be merged."""
        try:
            merged = await merge_list(self._settings, self._database, await fetch_list(self._client, url))
        except (CannotTell, FormatError) as error:
            self._metrics.failures[url].inc()
            _log.warning("a log list was not pulled", list=url, reason=str(error))
            return False
        warn_of_conflicts(merged, url)
        self._metrics.conflicts[url].set(len(merged.conflicts))
        self._metrics.pulled[url].set(self._clock.now())
        _log.info("pulled a log list", list=url, added=len(merged.added), conflicts=len(merged.conflicts))
        return True

    async def _pull_for_ever(self, url: str) -> NoReturn:
        while True:
            seconds = PULL_SECONDS if await self.pull(url) else RETRY_SECONDS
            await trio.sleep(seconds + secrets.randbelow(seconds // JITTER))


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
