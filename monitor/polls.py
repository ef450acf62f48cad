"""Looks at the heads that witnesses show of themselves, and at those that a distributor has of them.

What is found is two things at once: a statement of the witness, which the watermark rests on, and a head that the log
signed, which is judged like any other. So a witness that shows a head of another history delivers the proof of it.

Each server has a task of its own, with a few requests at a time: one that is slow delays no other. Within a round the
requests are spread over the interval, and no two monitors begin theirs at the same time.
"""

import random
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import assert_never
from urllib.parse import quote

import trio

from monitor.alarms.kinds import WITNESS_CONFLICT
from monitor.archive import witness_who
from monitor.config import MonitorSettings
from monitor.marks import Marks, Outcome
from monitor.node import Monitor
from monitor.sources.source import Fetch
from runtime.client import Failure, FetchError, Response
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.wording import public
from tlog.errors import TlogError
from tlog.note import MAX_NOTE_BYTES, Note
from tlog.policy import PolicyWitness
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

SECONDS = 10.0  # for one request
AT_ONCE = 4  # requests to one server; with a hundred logs, one that answers none of them is through in four minutes
JITTER = 0.1  # of the interval, either way

MAX_TAG = 256

_ETAG = re.compile(r'(?:W/)?"[!#-~]*"')  # RFC 9110, 8.8.3, without what is not ASCII

DISTRIBUTOR_LOG = b"o:"  # what a distributor puts before the origin to name a log by the hash of both


@dataclass(frozen=True, slots=True)
class Target:
    """One URL, the log it is about, and the witness lines of the policy that should have cosigned what is there."""

    url: str
    origin: bytes
    witnesses: tuple[PolicyWitness, ...]


def monitoring_url(prefix: str, origin: str) -> str:
    """Where a witness shows its newest checkpoint of a log."""
    # SPEC: W-41 a GET on <monitoring prefix>/<lowercase hex SHA-256(origin)>/checkpoint
    return f"{prefix}/{sha256(origin.encode()).hexdigest()}/checkpoint"


def distributor_url(base: str, origin: str, witness: str) -> str:
    """Where a distributor shows the newest checkpoint of a log that it has from a witness, by its key name.

    A distributor does not name a log by the SHA-256 of its origin, as witnesses do.
    """
    log = sha256(DISTRIBUTOR_LOG + origin.encode()).hexdigest()
    return f"{base}/distributor/v0/logs/{log}/byWitness/{quote(witness, safe='')}/checkpoint"


def pollers(
    settings: MonitorSettings, marks: Marks, monitor: Monitor, fetch: Fetch, clock: Clock
) -> tuple["Poller", ...]:
    """Make one for each server: the witnesses' own, and the distributors.

    A witness that the configuration does not say more about is asked at its URL in the policy, since most serve
    everything under one prefix.
    """
    named = {witness.name: witness.monitoring_url for witness in settings.witnesses if witness.monitoring_url}
    own: dict[str, dict[tuple[str, bytes], list[PolicyWitness]]] = {}
    others: dict[str, list[Target]] = {}
    for watched in settings.logs:
        log = watched.log
        for witness in log.policy.witnesses:
            prefix = (named.get(witness.name) or witness.url or "").rstrip("/")
            if prefix.startswith(("http://", "https://")):
                place = monitoring_url(prefix, log.origin), log.id
                own.setdefault(prefix, {}).setdefault(place, []).append(witness)
            if watched.distributor:
                url = distributor_url(watched.distributor, log.origin, witness.key.name)
                others.setdefault(watched.distributor, []).append(Target(url, log.id, (witness,)))
    return (
        *(
            Poller(
                prefix, [Target(*place, tuple(lines)) for place, lines in found.items()], marks, monitor, fetch, clock
            )
            for prefix, found in own.items()
        ),
        *(Poller(base, targets, marks, monitor, fetch, clock, is_witness=False) for base, targets in others.items()),
    )


def watch_marks(metrics: Metrics, monitor: Monitor, polls: Sequence["Poller"]) -> None:
    """Show the marks, and how looking at each server went, whenever somebody asks."""
    metrics.measured(
        "monitor_watermark_seconds",
        "Unix time up to which the branch is complete, 0 for none",
        ["origin"],
        lambda: [((mark.origin,), float(mark.time or 0)) for mark in map(monitor.marks.current, monitor.sites)],
    )
    metrics.measured(
        "monitor_margin",
        "Lying witnesses that would be survived if all that were ever heard counted, -1 for none",
        ["origin"],
        lambda: [((mark.origin,), float(mark.margin)) for mark in map(monitor.marks.current, monitor.sites)],
    )
    metrics.counted(
        "monitor_witness_polls",
        "Looks at what witnesses and distributors show, by how they ended",
        ["server", "outcome"],
        lambda: [((one.name, outcome), float(one.outcomes[outcome])) for one in polls for outcome in Outcome],
    )


@dataclass(slots=True)
class _Last:
    """What was at a URL when somebody looked last."""

    tag: str | None
    digest: bytes


class Poller:
    """Looks at the targets of one server. The marks are told how that ended where it is the witness's own."""

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        marks: Marks,
        monitor: Monitor,
        fetch: Fetch,
        clock: Clock,
        *,
        is_witness: bool = True,
    ) -> None:
        self.name = name
        self.outcomes: Counter[Outcome] = Counter()
        self._targets = list(targets)
        self._marks = marks
        self._monitor = monitor
        self._fetch = fetch
        self._clock = clock
        self._is_witness = is_witness
        self._last: dict[str, _Last] = {}
        if is_witness:
            for target in targets:
                for witness in target.witnesses:
                    marks.polled(target.origin, witness.name)

    async def run(self, interval: float) -> None:
        """Look at everything once in each interval, for ever; the first time at once."""
        spread = 0.0
        while True:
            began = trio.current_time()
            await self.round(spread)
            spread = interval * (1 - 2 * JITTER) / max(len(self._targets), 1)
            await trio.sleep_until(began + interval * _chance.uniform(1 - JITTER, 1 + JITTER))

    async def round(self, spread: float = 0.0) -> None:
        """Look at everything once, so many seconds apart."""
        _chance.shuffle(self._targets)
        free = trio.Semaphore(AT_ONCE)
        async with trio.open_nursery() as looks:
            for number, target in enumerate(self._targets):
                if number:
                    await trio.sleep(spread)
                await free.acquire()
                looks.start_soon(self._look, target, free)

    async def _look(self, target: Target, free: trio.Semaphore) -> None:
        try:
            outcome = await self.look(target)
        finally:
            free.release()
        self.outcomes[outcome] += 1
        if self._is_witness:
            for witness in target.witnesses:
                self._marks.looked(target.origin, witness.name, outcome, self._clock.now_ms())

    async def look(self, target: Target) -> Outcome:
        """Look at one target, and act on what is there."""
        last = self._last.get(target.url)
        headers: Mapping[str, str] = {"if-none-match": last.tag} if last and last.tag else {}
        try:
            response = await self._fetch("GET", target.url, headers=headers, cap=MAX_NOTE_BYTES, seconds=SECONDS)
        except FetchError as error:
            return _failed(error.failure)
        match response.status:
            case 200:
                return await self._read(target, response)
            case 304 if last is not None and last.tag:
                self._shown_again(target)
                return Outcome.UNCHANGED
            case 404 | 410:
                # SPEC: W-43 404 if nothing was ever cosigned for that log.
                return Outcome.ABSENT
            case _:
                return Outcome.REFUSED

    async def _read(self, target: Target, response: Response) -> Outcome:
        digest = sha256(response.body).digest()
        last = self._last.get(target.url)
        if last is not None and last.digest == digest:
            last.tag = _tag(response)
            self._shown_again(target)
            return Outcome.UNCHANGED
        signed = self._open(target, response.body)
        if signed is None:
            return Outcome.MALFORMED
        news = self._marks.take(target.origin, signed, self._clock.now())
        if await self._monitor.submit(target.origin, response.body, self._who(target)):
            return Outcome.MALFORMED  # a line of a key that we know fails, if not the witness's own
        self._last[target.url] = _Last(_tag(response), digest)
        await self._tell_unsigned(target, signed)
        return Outcome.HEARD if news else Outcome.UNCHANGED

    def _who(self, target: Target) -> str:
        """Whom the archive says to have shown this: the witness, by the name of its keys, or the distributor."""
        return witness_who(target.witnesses[0].key.name) if self._is_witness else f"distributor {public(self.name)}"

    def _shown_again(self, target: Target) -> None:
        self._monitor.shown.again(self._monitor.sites[target.origin].log, self._who(target))

    def _open(self, target: Target, body: bytes) -> SignedCheckpoint | None:
        """Open what a witness shows; None unless it cosigned a checkpoint of this log, and said when."""
        log, keys = self._monitor.sites[target.origin].log, [witness.key for witness in target.witnesses]
        try:
            signed = open_checkpoint(Note.parse(body), dict.fromkeys((*log.keys, *keys)))
        except TlogError:
            return None
        stated = any(one.timestamp for one in signed.signatures if one.key in keys)
        return signed if stated and signed.origin == log.origin else None

    async def _tell_unsigned(self, target: Target, signed: SignedCheckpoint) -> None:
        """Raise the alarm about a witness that cosigned what the log did not sign: no evidence can be made of it."""
        # SPEC: W-42 It includes the witness cosignatures and the log signatures the witness verified.
        if not self._is_witness:
            return
        keys = self._monitor.sites[target.origin].log.keys
        names = ", ".join(witness.name for witness in target.witnesses)
        subject = f"the witness {names} shows a head "
        if any(signed.signed_by(key) for key in keys):
            await self._monitor.clear(WITNESS_CONFLICT, target.origin, subject)
        else:
            await self._monitor.alarm(WITNESS_CONFLICT, target.origin, f"{subject}that the log did not sign")


def _tag(response: Response) -> str | None:
    """The ETag, where it is one that can be sent back: another would make every later request fail."""
    tag = response.headers.get("etag", "")
    return tag if len(tag) <= MAX_TAG and _ETAG.fullmatch(tag) else None


def _failed(failure: Failure) -> Outcome:
    match failure:
        case Failure.UNREACHABLE | Failure.TIMEOUT:
            return Outcome.UNREACHABLE
        case Failure.TOO_LARGE | Failure.PROTOCOL:
            return Outcome.MALFORMED
        case _:
            assert_never(failure)


_chance = random.Random(secrets.token_bytes(32))  # noqa: S311 # it spreads load, no more
