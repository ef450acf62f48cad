"""The whole check: segments joined to a tree, its upper tiles compared, its root held to the signed one."""

import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UsageError
from sameview.fsck.derived import DerivedTree
from sameview.fsck.history import check_history
from sameview.fsck.segments import Task, check_segments
from sameview.fsck.served import Served
from sameview.fsck.source import Source, open_source
from sameview.fsck.state import StateFile
from sameview.progress import Tell, tell_nobody
from tlog.errors import FormatError, ProofError
from tlog.note import MAX_NOTE_BYTES
from tlog.signed_checkpoint import SignedCheckpoint
from tlog.trust import Trust

KEEP_SECONDS = 1.0  # between two times that what is done is written down


@dataclass(frozen=True, slots=True)
class Checked:
    """What was re-derived without finding a difference; ``resumed`` of the leaves by an earlier run.

    ``history`` is how many checkpoints of earlier were checked too.
    """

    head: SignedCheckpoint
    entries: int
    tiles: int
    resumed: int = 0
    history: int | None = None


async def check(
    source: str,
    trust: Trust,
    older: SignedCheckpoint | None = None,
    *,
    tiles_only: bool = False,
    jobs: int | None = None,
    state: Path | None = None,
    history: bool = False,
    progress: Tell = tell_nobody,
) -> Checked:
    """Check the log at a URL or in a directory against the checkpoint it serves, or against an older one.

    As many processes check as there are processors, or ``jobs``. What is done is kept in the file ``state``, and taken
    up from there. With ``history`` the checkpoints that the log keeps are checked too. ``progress`` is told how many
    entries of how many are done.

    Raises:
        SignatureError: neither the log nor a trusted mirror signed the checkpoint.
        ProofError: the log does not hold what the checkpoint says; names the file.
        CannotTell: a file could not be fetched.
        UsageError: there is no log there, or the state is not of this check.
    """
    async with open_source(source) as opened:
        signed = older or await _served_head(opened, trust)
        kept = None if state is None else StateFile(state, source, signed.origin, tiles_only)
        work = _Work(Served(opened, signed.head, tiles_only), Task(source, signed.head, tiles_only), kept, progress)
        resumed = work.resume()
        await work.join_segments(jobs)
        await work.finish()
        kept_by_log = await check_history(work.served, trust) if history else None
        return Checked(signed, 0 if tiles_only else signed.size, work.tiles, resumed, kept_by_log)


class _Work:
    """A check under way."""

    def __init__(self, served: Served, task: Task, kept: StateFile | None, progress: Tell) -> None:
        self.served = served
        self._task = task
        self._kept = kept
        self._progress = progress
        self._tree = DerivedTree()
        self._done = 0
        self._written = time.monotonic()
        self.tiles = 0

    def resume(self) -> int:
        """Begin where an earlier run stopped; how many leaves it had checked."""
        if self._kept is not None and (found := self._kept.read()) is not None:
            self._tree, self.tiles = found
        self._done = self._tree.range.end
        if self._done > self.served.head.size:
            raise UsageError("the state is of a larger checkpoint than this one: remove it, or check that one")
        return self._done

    async def join_segments(self, jobs: int | None) -> None:
        """Check all segments that are left, and every tile above them that is full."""
        self._tell(0)  # how much there is, before the first of it is done
        segments = check_segments(self._task, self.served, self._done, jobs, self._tell)
        async with aclosing(segments):
            async for segment in segments:
                above = list(self._tree.join(segment.range))
                self.tiles += segment.tiles + len(await self.served.source.each(self.served.compare, above))
                self._keep()

    async def finish(self) -> None:
        """Check the right edge and the root."""
        self.tiles += len(await self.served.source.each(self.served.compare, list(self._tree.edge())))
        if self._tree.range.root() != self.served.head.root_hash:
            raise ProofError(await self.served.explain_root())
        if self._kept is not None:
            self._kept.forget()

    def _tell(self, more: int) -> None:
        self._done += more
        self._progress(self._done, self.served.head.size)

    def _keep(self) -> None:
        now = time.monotonic()
        whole = self._tree.range.end < self.served.head.size  # only the last segment is not
        if self._kept is not None and whole and now - self._written >= KEEP_SECONDS:
            self._kept.write(self._tree, self.tiles)
            self._written = now


async def _served_head(source: Source, trust: Trust) -> SignedCheckpoint:
    raw = await source.read("checkpoint", MAX_NOTE_BYTES)
    if raw is None:
        raise UsageError(
            "there is no checkpoint at this place: give the log's URL, its public directory, or --checkpoint"
        )
    try:
        return trust.open(raw).require_any()
    except FormatError as error:
        # What a log serves is what is checked here: it does not hold.
        raise ProofError(f"checkpoint: {error}") from None
