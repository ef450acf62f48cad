"""Pull mode: fetches the checkpoints of logs that do not know this witness, and cosigns them like submitted ones.

Each ``[[feed]]`` is a task of its own: fetch the log's checkpoint, verify it, make the consistency proof from the log's
tiles, and go through the same door as everybody, ``Cosigner.add_checkpoint``. Nothing that a log serves is believed: a
wrong tile makes a wrong proof, which the door refuses. The cosigned checkpoint is in the public copy, where monitors
look; nothing is sent to the log.

A round takes at most ``ROUND_SECONDS``, an answer at most a tile or a note, and a round has one request open at a time;
so a log that hangs or never ends holds up itself alone. After a failure it is asked half as often, down to once an
hour.
"""

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import NoReturn, Protocol

import structlog
import trio

from runtime.client import FetchError, Response
from runtime.metrics import Metrics
from tlog.add_checkpoint import AddCheckpoint
from tlog.errors import FormatError, TlogError
from tlog.hashing import HASH_SIZE, Hash
from tlog.keys import VerifierKey
from tlog.note import MAX_NOTE_BYTES
from tlog.proofs import consistency_nodes, prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import MAX_TILE_BYTES, Tile, TileReader, tiles_for
from witness.config import FeedConfig, WitnessSettings
from witness.cosigner import Cosigned, Cosigner, outcome_of

FETCH_SECONDS = 10.0  # one small file
ROUND_SECONDS = 120.0  # a checkpoint and at most three tiles at each of eight levels, from a slow server
MAX_WAIT = 3600.0  # between rounds of a log that fails: when it is back, we are soon


class Outcome(StrEnum):
    """How a round ended."""

    COSIGNED = "cosigned"
    REFUSED = "refused"
    BEHIND = "behind"
    UNKNOWN = "unknown"
    NOT_SERVED = "not_served"
    BAD_CHECKPOINT = "bad_checkpoint"


class Fetch(Protocol):
    """``Client.fetch``."""

    async def __call__(self, method: str, url: str, *, cap: int, seconds: float, gunzip: bool = False) -> Response:
        """Ask once."""
        ...


class NotServed(Exception):  # noqa: N818  # says what happened
    """The log did not give what was asked for; the message says why, in words of ours."""


class Feeder:
    """Follows one log."""

    def __init__(self, feed: FeedConfig, cosigner: Cosigner, fetch: Fetch, seconds: float = FETCH_SECONDS) -> None:
        self._feed = feed
        self._cosigner = cosigner
        self._fetch = fetch
        self._seconds = seconds

    async def round(self) -> Outcome:
        """Fetch, prove, cosign, once."""
        keys = self._cosigner.logs.get(self._feed.origin)
        if keys is None:
            return self._told(Outcome.UNKNOWN, "no log of this origin is known, or it is disabled: add it by its vkey")
        try:
            # What is being cosigned is not left half way: only the log's part has a deadline.
            with trio.fail_after(ROUND_SECONDS):
                request = await self._request(keys)
        except trio.TooSlowError:
            return self._told(Outcome.NOT_SERVED, f"the log took more than {ROUND_SECONDS:g} seconds altogether")
        except NotServed as failure:
            return self._told(Outcome.NOT_SERVED, str(failure))
        except TlogError as error:
            return self._told(Outcome.BAD_CHECKPOINT, str(error))
        if request is None:
            # What a cache serves may be old; a rollback shows when it lasts.
            return self._told(Outcome.BEHIND, "the log shows a smaller tree than the one that was cosigned")
        answer = await self._cosigner.add_checkpoint(request.format())
        if isinstance(answer, Cosigned):
            return Outcome.COSIGNED
        return self._told(Outcome.REFUSED, f"not cosigned: {outcome_of(type(answer))}")

    async def _request(self, keys: tuple[VerifierKey, ...]) -> AddCheckpoint | None:
        """What the log would submit; None if it shows less than was cosigned."""
        shown = open_checkpoint(await self._get(_PATHS[self._feed.kind], MAX_NOTE_BYTES), keys).verified_only()
        if shown.origin != self._feed.origin:
            raise FormatError("the checkpoint is that of another log")
        known = await self._cosigner.head(self._feed.origin)
        old_size = 0 if known is None else known.size
        if shown.size < old_size:
            return None
        return AddCheckpoint(old_size, await self._proof(old_size, shown), shown.raw)

    async def _proof(self, old_size: int, shown: SignedCheckpoint) -> tuple[Hash, ...]:
        if old_size in (0, shown.size):
            return ()
        # SPEC: T-13 partial tiles are fetched only where a verified checkpoint's size demands them: this one's.
        tiles = tiles_for(consistency_nodes(old_size, shown.size), shown.size)
        fetched: Mapping[Tile, bytes] = {tile: await self._tile(tile) for tile in tiles}
        return tuple(prove_consistency(old_size, shown.size, TileReader(shown.size, fetched.__getitem__).node))

    async def _tile(self, tile: Tile) -> bytes:
        try:
            return await self._get(self._place(tile), MAX_TILE_BYTES)
        except NotServed:
            if not tile.is_partial:
                raise
        # SPEC: T-14 the full tile, where the partial one is gone.
        full = await self._get(self._place(Tile(tile.level, tile.index)), MAX_TILE_BYTES)
        return full[: tile.width * HASH_SIZE]

    def _place(self, tile: Tile) -> str:
        # Go's checksum database has the height of its tiles in their paths.
        return tile.path() if self._feed.kind == "tiles" else tile.path().replace("tile/", "tile/8/", 1)

    async def _get(self, path: str, cap: int) -> bytes:
        try:
            response = await self._fetch("GET", f"{self._feed.url}/{path}", cap=cap, seconds=self._seconds)
        except FetchError as error:
            raise NotServed(str(error)) from None
        if response.status != 200:
            raise NotServed(f"the log answered with status {response.status}")
        return response.body

    def _told(self, outcome: Outcome, reason: str) -> Outcome:
        _log.warning("a feed was not cosigned", origin=self._feed.origin, outcome=outcome.value, reason=reason)
        return outcome


_PATHS = {"tiles": "checkpoint", "sumdb": "latest"}


class Feeds:
    """Every configured feed, each on its own."""

    def __init__(self, settings: WitnessSettings, cosigner: Cosigner, fetch: Fetch, metrics: Metrics) -> None:
        self._feeders = {feed: Feeder(feed, cosigner, fetch) for feed in settings.feeds}
        origins = [feed.origin for feed in settings.feeds]
        self._cosigned = metrics.counters(
            "witness_feed_cosigned", "Checkpoints fetched and cosigned", "origin", origins
        )
        self._failed = metrics.counters(
            "witness_feed_failures", "Rounds of a feed that ended without a cosignature", "origin", origins
        )

    async def run(self) -> None:
        """Follow every feed, for ever."""
        async with trio.open_nursery() as tasks:
            for feed, feeder in self._feeders.items():
                tasks.start_soon(self._follow, feed, feeder)

    async def _follow(self, feed: FeedConfig, feeder: Feeder) -> NoReturn:
        wait = feed.interval
        while True:
            cosigned = await feeder.round() is Outcome.COSIGNED
            (self._cosigned if cosigned else self._failed)[feed.origin].inc()
            wait = next_wait(feed.interval, wait, cosigned=cosigned)
            await trio.sleep(wait * (1 + secrets.randbelow(100) / 1000))


def next_wait(interval: float, last: float, *, cosigned: bool) -> float:
    """How long to wait after a round: the interval, or twice as long as the last time after a failure."""
    return interval if cosigned else max(interval, min(last * 2, MAX_WAIT))


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
