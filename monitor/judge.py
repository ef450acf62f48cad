"""Judges signed heads against the branch, with all that is here to judge them by.

That is the mirror, the heads that were remembered, what keys stated over time, and the proofs that came along. What
follows from these, ``gossip.core.adjudicate`` decides. It has to hash, so it does that in a thread. A head that stays
undecided is reviewed when the machine wants it.
"""

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from gossip.core import (
    Adjudicated,
    Candidate,
    Forked,
    Log,
    OpeningJudged,
    adjudicate,
    candidate_sizes,
    judge_opening,
)
from gossip.shell import Gossip
from monitor.ledger import Ledger
from monitor.notebook import Notebook
from monitor.site import Site, reopened
from monitor.store import REVIEW_BATCH, MonitorStore
from tlog.evidence import is_log_key
from tlog.hashing import Hash, TreeHead
from tlog.opening import TruncatedProof
from tlog.signed_checkpoint import SignedCheckpoint


class Judge:
    """Judges the heads of all logs. ``write_down`` brings to the disk what was remembered, where the ledger reads."""

    def __init__(
        self,
        sites: Mapping[bytes, Site],
        gossip: Gossip,
        store: MonitorStore,
        notebook: Notebook,
        ledger: Ledger,
        write_down: Callable[[], Awaitable[None]],
    ) -> None:
        self._sites = sites
        self._gossip = gossip
        self._store = store
        self._notebook = notebook
        self._ledger = ledger
        self._write_down = write_down

    async def adjudicate(self, origin: bytes, signed: SignedCheckpoint, candidates: Sequence[Candidate]) -> Adjudicated:
        """Judge a head by what is here and by the proofs that came with it."""
        site = self._sites[origin]
        own = self._own(origin)
        known = await self._known(site.log, signed.head, candidate_sizes(own, signed, candidates))
        read = site.mirror.read
        if own is None or own.size < min((signed.size, *(one.size + 1 for one in candidates))):
            outcome = adjudicate(own, signed, candidates, read, known)  # nothing of this is in the mirror
        else:
            outcome = await trio.to_thread.run_sync(adjudicate, own, signed, candidates, read, known)
        if isinstance(outcome, Forked) and own is not None:
            await self._write_down()
            keys = [one.key for one in signed.signatures if not is_log_key(one.key, signed.origin)]
            cosigned = await self._ledger.cosigned(signed.origin, keys, own.size)
            outcome = await trio.to_thread.run_sync(
                adjudicate,
                own,
                signed,
                candidates,
                read,
                known,
                [*cosigned, *itertools.chain(*known.values())],
                site.log.policy,
            )
        return Adjudicated(origin, signed, outcome)

    async def review(self, origin: bytes) -> list[Adjudicated]:
        """Judge again some of the heads that are undecided and not larger than the branch."""
        site = self._sites[origin]
        events: list[Adjudicated] = []
        found = await self._store.unsettled(site.log.origin, self._gossip.state.branch(origin).size, site.reviewed)
        # What stays undecided must not keep larger heads from being judged: the next review goes on behind it.
        site.reviewed = found[-1].size if len(found) == REVIEW_BATCH else -1
        for stored in found:
            signed = reopened(site.log, stored.note)
            if signed is not None:
                events.append(await self.adjudicate(origin, signed, ()))
        return events

    async def judge_opening(self, origin: bytes, signed: SignedCheckpoint, opening: TruncatedProof) -> OpeningJudged:
        """Judge what a peer opened of a head."""
        read, own = self._sites[origin].mirror.read, self._own(origin)
        outcome = await trio.to_thread.run_sync(judge_opening, own, signed, opening, read)
        return OpeningJudged(origin, signed, outcome, opening)

    async def _known(self, log: Log, head: TreeHead, sizes: set[int]) -> Mapping[int, Sequence[SignedCheckpoint]]:
        """Open the remembered heads of these sizes, other than this one."""
        known: dict[int, list[SignedCheckpoint]] = defaultdict(list)
        for stored in await self._notebook.heads_of(log.origin, sizes):
            other = TreeHead(stored.size, Hash(stored.root_hash)) != head
            signed = reopened(log, stored.note) if other else None
            if signed is not None:
                known[stored.size].append(signed)
        return known

    def _own(self, origin: bytes) -> SignedCheckpoint | None:
        return self._gossip.state.branch(origin).signed
