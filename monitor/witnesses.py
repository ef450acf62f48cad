"""What a monitor has to do with witnesses: it brings them evidence, and takes tip-offs from them.

A witness that was brought evidence against a log cosigns nothing of it any more, so evidence is brought to every
witness of the log's policy, at least once. What is still to be brought follows from the database alone: all evidence,
less what a witness has taken or keeps refusing. A monitor that is killed at any moment goes on where it was, and a
witness that is configured later gets what is old.

A witness refuses heads that are not consistent with those it cosigned, and lists them at ``/v1/conflicts``. It has no
tiles to make evidence of them; a monitor has. A head that is listed with its note is judged like any head that somebody
shows. Where the list is the public one, which has no notes, it is compared with the branch, and a difference is a
reason to ask the witness's operator.

Each witness has tasks of its own: one that is slow, lies or floods delays no other.
"""

import random
import secrets
from dataclasses import replace
from typing import Annotated

import msgspec
import structlog
import trio
from msgspec import Meta

from gossip.core import EvidenceShown, MissingTile, origin_id
from monitor.alarms.kinds import EVIDENCE_REFUSED, WITNESS_CONFLICT
from monitor.config import NamedWitness
from monitor.node import Monitor
from monitor.sources.source import Fetch
from monitor.tables import StoredEvidence
from runtime.client import FetchError, Response
from runtime.clock import Clock
from tlog.errors import FormatError
from tlog.evidence import Evidence, EvidenceType
from tlog.text import MAX_INTEGER, parse_hash

SECONDS = 10.0  # for one request
MAX_ANSWER_BYTES = 64 * 1024  # to evidence: some hundred bytes of JSON, or a sentence
MAX_PAGE_BYTES = 8 * 1024 * 1024  # of conflicts: a hundred with ML-DSA-44 notes and bundles are half of it
MAX_PAGE = 100  # conflicts; one page a round, so that a witness that lists without end costs no more than this
FIRST_RETRY_SECONDS = 30.0  # after evidence was not taken, doubled each time
LAST_RETRY_SECONDS = 3600.0  # a witness that comes back is brought evidence within the hour
MAX_REFUSALS = 5  # answers such as 404, within half an hour: the log may be about to be added, or a proxy be in the way
MAX_OPEN = 64  # heads without notes that the branch has not reached yet
ROUNDS_UNTIL_ANEW = 360  # then the list is read from its beginning: a witness that was set up anew counts from 1
LONGEST_WAIT_SECONDS = 600.0  # between rounds of a witness that fails

_FINAL = (400, 413, 415, 422)  # about the evidence itself: it will not change
_BUSY = (408, 425, 429)


class Bearer:
    """Brings evidence to one witness."""

    def __init__(self, witness: NamedWitness, monitor: Monitor, fetch: Fetch, clock: Clock) -> None:
        self.name = witness.name
        self.left = 0
        """Bundles that the witness has yet to take."""
        self._witness = witness
        self._monitor = monitor
        self._fetch = fetch
        self._clock = clock

    async def run(self) -> None:
        """Bring whatever is to be brought, now and whenever evidence is kept, for ever."""
        failures = 0
        while True:
            kept = self._monitor.kept
            if await self.round():
                failures = 0
                await kept.wait()
            else:
                failures += 1
                with trio.move_on_after(backed_off(FIRST_RETRY_SECONDS, failures, LAST_RETRY_SECONDS)):
                    await kept.wait()

    async def round(self) -> bool:
        """Bring everything once; tell whether nothing is left to be brought."""
        waiting = await self._waiting()
        self.left = len(waiting)
        for evidence in waiting:
            status = await self._bring(_for_witnesses(evidence))
            if await self._settle(evidence, status):
                self.left -= 1
            elif status is None:
                break  # nobody is there: the others wait as well
        return not self.left

    async def _waiting(self) -> list[StoredEvidence]:
        undelivered = await self._monitor.store.undelivered(self._witness.name)
        return [item for item in undelivered if self._concerns(item)]

    def _concerns(self, item: StoredEvidence) -> bool:
        """Only evidence against a log is for witnesses: it is what they stop at, and of others they know nothing."""
        origin = origin_id(item.origin)
        site = self._monitor.sites.get(origin)
        if site is None or origin not in self._witness.origins:
            return False
        return item.accused in {key.format() for key in site.log.keys}

    async def _bring(self, bundle: bytes) -> int | None:
        try:
            response = await self._fetch(
                "POST", self._witness.evidence_url, body=bundle, cap=MAX_ANSWER_BYTES, seconds=SECONDS
            )
        except FetchError:
            return None
        return response.status

    async def _settle(self, evidence: StoredEvidence, status: int | None) -> bool:
        """Write down what the witness answered; tell whether it need not be asked again."""
        name, origin = self._witness.name, origin_id(evidence.origin)
        if status == 200:
            await self._monitor.store.delivered(evidence.id, name, status, self._clock.now_ms())
            await self._monitor.clear(EVIDENCE_REFUSED, origin, f"the witness {name} ")
            _log.info("a witness took evidence", witness=name, evidence=evidence.id.hex())
            return True
        if status is None or status in _BUSY or not 400 <= status < 500:
            return False
        most = 1 if status in _FINAL else MAX_REFUSALS
        done = await self._monitor.store.refused(evidence.id, name, status, self._clock.now_ms(), most)
        if done:
            await self._monitor.alarm(EVIDENCE_REFUSED, origin, f"the witness {name} answers evidence with {status}")
        return done


class TipOffs:
    """Reads which heads one witness refused."""

    def __init__(self, witness: NamedWitness, monitor: Monitor, fetch: Fetch) -> None:
        self._witness = witness
        self._monitor = monitor
        self._fetch = fetch
        self._after = 0
        self._tag: str | None = None
        self._rounds = 0
        self._open: dict[tuple[bytes, int, bytes], None] = {}

    async def run(self, interval: float) -> None:
        """Look again and again; less often while the witness fails."""
        failures = 0
        while True:
            failures = 0 if await self.round() else failures + 1
            await trio.sleep(backed_off(interval, failures, LONGEST_WAIT_SECONDS) if failures else interval)

    async def round(self) -> bool:
        """Read one page, and judge what it lists; tell whether the witness answered as it should."""
        self._rounds += 1
        if self._rounds % ROUNDS_UNTIL_ANEW == 0:
            self._after, self._tag = 0, None
        page = await self._page()
        for conflict in page.conflicts if page else ():
            await self._take(conflict)
        await self._compare()
        return page is not None

    async def _page(self) -> "_Page | None":
        headers = {"if-none-match": self._tag} if self._tag else None
        url = f"{self._witness.conflicts_url}?after={self._after}"
        self._tag = None  # one that cannot be sent back would make every later request fail
        try:
            response = await self._fetch("GET", url, headers=headers, cap=MAX_PAGE_BYTES, seconds=SECONDS)
        except FetchError:
            return None
        if response.status == 304 and headers:
            self._tag = headers["if-none-match"]
            return _NOTHING
        page = _read(response)
        if page is not None:
            last = max((conflict.number for conflict in page.conflicts), default=0)
            self._tag = response.headers.get("etag") if last <= self._after else None
            self._after = max(self._after, last)
        return page

    async def _take(self, conflict: "_Conflict") -> None:
        origin = origin_id(conflict.origin)
        if origin not in self._monitor.sites:
            return
        if conflict.note is not None:
            # Refused or not: what this witness made up is its own affair, and what the log signed is judged.
            await self._monitor.submit(origin, conflict.note.encode())
        if conflict.bundle is not None:
            await self._monitor.gossip.dispatch(EvidenceShown(conflict.bundle.encode()))
        if conflict.note is None and conflict.bundle is None and len(self._open) < MAX_OPEN:
            try:
                self._open[origin, conflict.size, parse_hash(conflict.root_hash.encode(), "root hash")] = None
            except FormatError:
                return

    async def _compare(self) -> None:
        """Compare the heads that came without notes with the branch, as far as it has grown."""
        for origin, size, root_hash in list(self._open):
            try:
                ours = await self._monitor.root_at(origin, size)
            except MissingTile:
                continue
            if ours is None:
                continue
            del self._open[origin, size, root_hash]
            if ours != root_hash and not self._monitor.branch(origin).convicted:
                name = self._witness.name
                await self._monitor.alarm(
                    WITNESS_CONFLICT,
                    origin,
                    f"the witness {name} was shown a head that is not of this tree: ask for it",
                )


def _for_witnesses(evidence: StoredEvidence) -> bytes:
    """The bundle as a witness can judge it, which has no policy. What splits a quorum is two histories of the log."""
    if evidence.type != EvidenceType.QUORUM_SPLIT:
        return evidence.bundle
    split = Evidence.parse(evidence.bundle)
    type_ = EvidenceType.SAME_SIZE if split.proof is None else EvidenceType.NON_CONSISTENT
    return replace(split, type=type_).format()


def backed_off(first: float, failures: int, longest: float) -> float:
    """How long to wait after so many failures in a row; not the same for everybody who failed at the same time."""
    doubled = first * 2.0 ** min(failures - 1, 16)
    return min(doubled, longest) * _chance.uniform(0.75, 1.25)


_Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class _Conflict(msgspec.Struct, frozen=True):
    number: _Count
    origin: str
    size: _Count
    root_hash: str
    note: str | None = None
    bundle: str | None = None


class _Page(msgspec.Struct, frozen=True):
    conflicts: Annotated[tuple[_Conflict, ...], Meta(max_length=MAX_PAGE)]


_NOTHING = _Page(())


def _read(response: Response) -> _Page | None:
    if response.status != 200:
        return None
    try:
        return msgspec.json.decode(response.body, type=_Page)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # the last of lists in lists in lists
        return None


_chance = random.Random(secrets.token_bytes(32))  # noqa: S311 # it spreads load, no more
_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
