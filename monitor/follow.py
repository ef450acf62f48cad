"""Follows one log: fetches the entries up to a signed head, hashes them, and compares the root before anything counts.

The newest wanted head wins, unless a nearer one comes while a far one is still far. What was hashed stays as a draft,
on disk too, when the log fails to answer halfway or the program ends, and the next attempt goes on from there. Where
the root is another than the signed one, the log's own hash tiles show which entry is wrong; the draft is kept up to
there, and that entry is asked for before all that follow.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

import structlog
import trio

from gossip.core import Event, Rehashed, WrongEntries
from monitor.allowance import Allowance
from monitor.core import WrongBundle, is_extension, opened_bundle
from monitor.difference import Suspect, first_difference, holds
from monitor.growth import Growth, OnEntries
from monitor.mirror import Mirror
from monitor.room import Room
from monitor.sources.source import NotServed, Source
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.tiles import TILE_WIDTH, EntryBundle

Dispatch = Callable[[Event], Awaitable[list[str]]]
Begin = Callable[[SignedCheckpoint], Awaitable[None]]
"""Prepares an empty mirror for following to a head; raises what fetching raises."""

FIRST_PAUSE = 1.0  # seconds until a log that did not answer is asked again by itself; doubles
LONGEST_PAUSE = 60.0
LONGEST_DISTRUST = 3600.0  # where nothing shows which entries are wrong, all have to be fetched again
MAX_TRIES = 8  # without progress; then it is for the next poll, or whoever else names a head
PARTIAL_SECONDS = 10.0  # a bundle that is partial for longer is read as it is


class Ending(Enum):
    """How an attempt to reach a head ended."""

    OVER = "there is no more to do about this head"
    UNSERVED = "the log did not answer"
    WRONG = "the log serves other entries than it signed"
    AGAIN = "another attempt is wanted at once"
    STUCK = "the disk did not take what was to be written"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a catch-up has come, in entries, and for how long it has gone on."""

    start: int
    done: int
    target: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The rate since it began."""
        return (self.done - self.start) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate."""
        return (self.target - self.done) / self.per_second if self.per_second else None


class Follower:
    """The task that grows one mirror, and the only one that writes to its draft."""

    def __init__(
        self,
        origin: bytes,
        mirror: Mirror,
        source: Source,
        dispatch: Dispatch,
        allowance: Allowance,
        room: Room,
        on_entries: OnEntries | None = None,
        begin: Begin | None = None,
    ) -> None:
        self.disk_error: OSError | None = None
        """Why the draft could not be written, until it can be."""
        self._origin = origin
        self._mirror = mirror
        self._source = source
        self._dispatch = dispatch
        self._begin = begin
        self._allowance = allowance
        self._growth = Growth(mirror, source, allowance, room, on_entries)
        self._newest: SignedCheckpoint | None = None
        self._target: SignedCheckpoint | None = None
        self._wanted = trio.Event()
        self._tries = 0
        self._suspect: Suspect | None = None
        self._adopted: SignedCheckpoint | None = None
        self._target_size = self._start = 0
        self._began = 0.0

    def want(self, signed: SignedCheckpoint) -> None:
        """Make this the head to follow to."""
        self._newest = signed
        self._wanted.set()
        self._growth.make_way_for(signed.size)

    @property
    def progress(self) -> Progress | None:
        """How far it has come; None while there is nothing to catch up with."""
        if not self._target_size:
            return None
        return Progress(self._start, self._mirror.draft_size, self._target_size, trio.current_time() - self._began)

    @property
    def read_size(self) -> int:
        """How many entries of the branch were read. Of the few behind these there are only verified hashes so far."""
        return min(self._growth.read_size, self._mirror.size)

    async def run(self) -> None:
        """Follow to whatever is wanted, for ever."""
        while True:
            with trio.move_on_after(PARTIAL_SECONDS if self.read_size < self._mirror.size else math.inf):
                await self._wanted.wait()
            await self._allowance.rested()
            await self._pause(await self.attempt())

    async def attempt(self) -> Ending:
        """Follow to what is wanted now. If nothing is, read the entries of which there are only hashes so far."""
        self._wanted = trio.Event()
        self._target, self._newest = self._newest, None
        if self._target is not None:
            return await self.follow(self._target)
        await self._read_rest()
        return Ending.OVER

    async def follow(self, target: SignedCheckpoint) -> Ending:
        """Hash all entries up to a head, and report how that ended."""
        if target.size <= self._mirror.size:
            return Ending.OVER
        if self._mirror.draft_size > target.size:
            await trio.to_thread.run_sync(self._mirror.abandon)
            self._growth.forget()
        self._start, self._began, self._target_size = self._mirror.draft_size, trio.current_time(), target.size
        try:
            ending = await self._try(target)
        finally:
            self._target_size = 0
        if ending is Ending.OVER or self._mirror.draft_size > self._start:
            self._tries = 0
        return ending

    async def _try(self, target: SignedCheckpoint) -> Ending:
        try:
            return await self._reach(target)
        except NotServed:
            return Ending.UNSERVED
        except WrongBundle as error:
            await self._dispatch(WrongEntries(self._origin, target, str(error)))
            return Ending.WRONG
        except OSError as error:
            if self.disk_error is None:
                _log.error("the mirror cannot be written", problem=error.strerror)
            self.disk_error = error
            await trio.to_thread.run_sync(self._mirror.fall_back)
            self._growth.forget()
            return Ending.STUCK

    async def _reach(self, target: SignedCheckpoint) -> Ending:
        if self._begin is not None and not self._mirror.draft_size:
            await self._begin(target)
            self._start = self._mirror.draft_size
        await self._look_at_suspect(target)
        if not await self._growth.to(target.size):
            return Ending.OVER  # a nearer head is wanted first
        head = await trio.to_thread.run_sync(self._mirror.draft_head)
        if not is_extension(head, target.head):
            return await self._explain(target)
        await trio.to_thread.run_sync(self._mirror.sync)  # here a full disk is met before anything depends on it
        await self._dispatch(Rehashed(self._origin, target))
        self.disk_error = None
        if self._mirror.size == target.size:
            self._adopted = target
            self._growth.adopted()
        self._growth.forget()
        return Ending.OVER

    async def _pause(self, ending: Ending) -> None:
        """Wait before the next attempt. A log that did not answer is asked again even if nobody names a head."""
        if ending in (Ending.OVER, Ending.AGAIN):
            return
        seconds = min(FIRST_PAUSE * 2.0**self._tries, LONGEST_DISTRUST)
        self._tries += 1
        if ending is Ending.WRONG and self._suspect is None:
            await trio.sleep(seconds)  # all of it has to be fetched again, to find the same most likely
            return
        with trio.move_on_after(min(seconds, LONGEST_PAUSE)):
            await self._wanted.wait()
        if self._newest is None and self._target is not None and self._tries <= MAX_TRIES:
            self.want(self._target)

    async def _read_rest(self) -> None:
        # SPEC: T-20 A bundle that stays partial for too long MUST be fetched.
        try:
            await self._growth.read_rest()
        except NotServed:
            pass  # the next round asks again
        except WrongBundle as error:
            if self._adopted is not None:
                await self._dispatch(WrongEntries(self._origin, self._adopted, str(error)))

    # Entries that are wrong.

    async def _explain(self, target: SignedCheckpoint) -> Ending:
        """Say which entry is wrong, and keep what comes before it."""
        if self._mirror.resumed:
            # The draft comes from before a crash: the disk may have lost something of it, and the log be honest.
            await self._cut(self._mirror.size)
            self.want(target)
            return Ending.AGAIN
        found = self._suspect = await first_difference(self._source, target.head, self._mirror.read_draft)
        if found is None and self._growth.read_size < target.size and not self._growth.reads_all:
            # Of the last entries there is only what a tile says, and that may be wrong where the entries are right.
            self._growth.reads_all = True
            await self._cut(target.size // TILE_WIDTH * TILE_WIDTH)
            self.want(target)
            return Ending.AGAIN
        where = "the log's hash tiles do not lead to the signed root either"
        if found is not None:
            where = wrong_entry(self._source, found)
        await self._cut(self._mirror.size if found is None else found.index // TILE_WIDTH * TILE_WIDTH)
        await self._dispatch(WrongEntries(self._origin, target, where))
        return Ending.WRONG

    async def _cut(self, size: int) -> None:
        await trio.to_thread.run_sync(self._mirror.rewind, max(size, self._mirror.size))
        self._growth.forget()

    async def _look_at_suspect(self, target: SignedCheckpoint) -> None:
        """Fetch the bundle that was wrong. While it is, what comes behind it need not be fetched."""
        suspect, self._suspect = self._suspect, None
        if suspect is None or not self._mirror.size <= suspect.index < target.size:
            return
        start = suspect.index - suspect.index % TILE_WIDTH
        bundle = EntryBundle(start // TILE_WIDTH, min(target.size - start, TILE_WIDTH))
        served = await self._source.bundle(bundle)
        _, leaves = opened_bundle(bundle, served.data, served.width, (), self._source.entries)
        if leaves[suspect.index - start] != suspect.leaf and await holds(self._source, target.head, suspect):
            self._suspect = suspect
            raise WrongBundle(wrong_entry(self._source, suspect))


def wrong_entry(source: Source, suspect: Suspect) -> str:
    """Name an entry, as the subject of an alarm."""
    # By the whole bundle, however much of it there is by now: one wrong entry is one alarm.
    path = source.path(EntryBundle(suspect.index // TILE_WIDTH))
    return f"entry {suspect.index}, in {path}, is not the one that was signed"


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
