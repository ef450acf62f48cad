"""How far a monitor can prove that it has seen everything: the completeness watermark of each log.

A mark claims: if at most ``liars`` parties of the policy lie, every checkpoint that a client following the policy
accepted, with all its cosignatures of before ``time``, is a prefix of this monitor's branch. specs/completeness.md
proves it. What a mark rests on are the statements of the witnesses, wherever they were met: one sight for each, the
newest that lies on the branch.

A statement that is ahead of the branch waits until the branch has grown; one that lies beside it counts for nothing
here, and convicts somebody elsewhere. What a witness signed in the future counts from when it was received first, and
so does whatever it signed with an earlier time: it was stated before that. So no mark is ever ahead of our clock, and
nobody makes a witness that is silent look heard by showing again what it signed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

import structlog
import trio

from gossip.core import Branch, MissingTile
from monitor.arithmetic import arithmetic
from monitor.ledger import key_id
from monitor.sights import SightStore, StoredSight
from monitor.site import Site
from runtime.signers import Signer
from tlog.completeness import certify, judge, watermark
from tlog.errors import TlogError
from tlog.note import Note
from tlog.policy import Policy, PolicyWitness
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

MAX_WAITING = 4  # statements of one witness about one log that the branch has not reached
GATHERING_SECONDS = 0.5  # statements of that time are judged and written down together


class Outcome(StrEnum):
    """What came of looking once at the head that a witness shows."""

    HEARD = "heard"  # a newer statement of the witness
    UNCHANGED = "unchanged"  # the same as last time
    ABSENT = "absent"  # 404: the witness has cosigned nothing of this log, or does not say so
    UNREACHABLE = "unreachable"  # no answer within its time, or none that is HTTP
    REFUSED = "refused"  # any other status
    MALFORMED = "malformed"  # no checkpoint of this log that the witness signed


@dataclass(frozen=True, slots=True)
class WitnessSight:
    """What is known of one witness line of the policy about one log."""

    name: str
    """As the policy calls it."""
    party: str
    """The key name: lines that share one are one witness, which lies or fails as a whole."""
    size: int | None
    """Of the newest head on our branch that it cosigned; None while there is none."""
    time: int | None
    """Unix seconds: when it stated that head, by its clock or by ours when it arrived, whichever is earlier; and not
    later than what it signed with a later time arrived."""
    stated: int | None
    """Unix seconds of the newest statement it was heard to make, on our branch or not, by its own clock."""
    seen_ms: int | None
    """When it last answered with a well-formed head of its own, changed or not; None if never since the start."""
    on_branch: bool | None
    """Whether its newest statement lies on our branch; None while that is not known, or nothing was heard."""
    counts: bool
    """It was heard on our branch at the mark's time or later, and is not convicted."""
    convicted: bool
    polled: bool
    """Somebody configured where it shows its heads."""
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    """How often looking at it ended how, since the start."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The watermark of one log now."""

    origin: str
    time: int | None
    """Unix seconds up to which the branch is complete; None where nothing can be claimed yet."""
    size: int
    """Of the branch that the claim is about."""
    liars: int
    """How many lying parties the claim survives: the ``b`` that was configured."""
    margin: int
    """How many it would survive if every witness ever heard on the branch counted, however long ago; -1 for none."""
    minq: int
    inter: int
    block: int
    witnesses: tuple[WitnessSight, ...]
    """One for each witness line of the policy, in its order."""


class Grounds(Protocol):
    """What marks are made of besides the sights: the monitor."""

    @property
    def sites(self) -> Mapping[bytes, Site]:
        """The logs."""
        ...

    @property
    def observer(self) -> Signer:
        """Who states what the monitor sees."""
        ...

    def branch(self, origin: bytes) -> Branch:
        """The branch of a log."""
        ...

    def frontier(self, origin: bytes) -> bytes | None:
        """The branch's head, with the observer's line."""
        ...

    async def root_at(self, origin: bytes, size: int) -> bytes | None:
        """The branch's root at a size."""
        ...

    def accused(self) -> frozenset[str]:
        """The names of everybody who was convicted of anything."""
        ...


@dataclass(slots=True)
class _Place:
    """One witness line and one log."""

    witness: PolicyWitness
    sight: StoredSight | None = None
    newest: StoredSight | None = None
    on_branch: bool | None = None
    """Whether the newest statement lies on the branch, as far as that is known."""
    waiting: list[StoredSight] = field(default_factory=list)
    """What is to be judged, the oldest first. Of too many the oldest stay, which the branch reaches first, and the
    newest: or a log that always is ahead of us would never be caught up with."""
    seen_ms: int | None = None
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def take(self, statement: StoredSight) -> bool:
        """Let a statement wait to be judged, unless it says nothing; tell whether it is the newest."""
        known = (self.sight, self.newest) if self.on_branch is False else (self.sight,)
        if not all(one is None or _is_newer(statement, one) for one in known):
            return False
        if any(_same(statement, one) for one in self.waiting):
            return False
        if self.newest is not None and statement.stated < self.newest.stated:
            # It was stated before the newest was, and that had been by when it arrived.
            statement = replace(statement, time=min(statement.time, self.newest.time))
        self.waiting = sorted([*self.waiting, statement], key=_order)
        del self.waiting[MAX_WAITING - 1 : -1]
        if self.newest is not None and not _is_newer(statement, self.newest):
            return False
        self.newest, self.on_branch = statement, None
        return True

    def judged(self, statement: StoredSight, on_branch: bool) -> bool:
        """Note where a statement lies; tell whether it is the newest one there."""
        self.waiting = [one for one in self.waiting if one is not statement]  # more may have come meanwhile
        if statement is self.newest:
            self.on_branch = on_branch
        return on_branch and (self.sight is None or _is_newer(statement, self.sight))


class Marks:
    """The marks of all logs. ``run`` judges what ``take`` was told, and writes it down before it counts."""

    def __init__(self, store: SightStore, liars: int) -> None:
        self.liars = liars
        self._store = store
        self._grounds: Grounds | None = None
        self._places: dict[bytes, dict[str, _Place]] = {}
        self._polled: set[tuple[bytes, str]] = set()
        self._open: dict[bytes, None] = {}
        self._wake = trio.Event()
        self._cached: dict[bytes, tuple[tuple[object, ...], int | None, int]] = {}
        self._versions: Counter[bytes] = Counter()
        self._certificates: dict[bytes, tuple[tuple[object, ...], bytes | None]] = {}

    async def load(self, grounds: Grounds) -> None:
        """Read what was heard before the program ended last."""
        self._grounds = grounds
        stored = {(one.origin, one.key): one for one in await self._store.all()}
        for origin, site in grounds.sites.items():
            self._places[origin] = {
                witness.name: _resumed(witness, stored.get((site.log.origin, key_id(witness.key))))
                for witness in site.log.policy.witnesses
            }

    def polled(self, origin: bytes, name: str) -> None:
        """Note that somebody looks at what this witness shows of this log."""
        self._polled.add((origin, name))

    def looked(self, origin: bytes, name: str, outcome: Outcome, now_ms: int) -> None:
        """Note what came of looking at what a witness shows."""
        place = self._places[origin][name]
        place.outcomes[outcome] += 1
        if outcome in (Outcome.HEARD, Outcome.UNCHANGED):
            place.seen_ms = now_ms

    def take(self, origin: bytes, signed: SignedCheckpoint, now: int) -> bool:
        """Take a head whose lines were verified, received just now; tell whether a witness said something new by it."""
        found = [(place, _statement(place.witness, signed, now)) for place in self._places.get(origin, {}).values()]
        news = [place.take(statement) for place, statement in found if statement is not None]
        self.look_again(origin)
        return any(news)

    def look_again(self, origin: bytes) -> None:
        """Have what waits judged: there is more of it, or the branch has grown."""
        if any(place.waiting for place in self._places.get(origin, {}).values()):
            self._open[origin] = None
            self._wake.set()

    async def run(self) -> None:
        """Judge what is taken, for ever."""
        while True:
            await self._wake.wait()
            await trio.sleep(GATHERING_SECONDS)
            await self.settle()

    async def settle(self) -> None:
        """Judge what waits, write down what lies on a branch, and let it count then."""
        origins, self._open, self._wake = list(self._open), {}, trio.Event()
        found = {origin: await self._judge(origin) for origin in origins}
        sights = [sight for one in found.values() for _, sight in one]
        if sights:
            await self._store.keep(sights)
        for origin, one in found.items():
            for place, sight in one:
                place.sight = sight
            self._versions[origin] += bool(one)

    def current(self, origin: bytes) -> Mark:
        """The mark of a log now."""
        policy = self._site(origin).log.policy
        accused = self._about.accused()
        time, margin = self._figures(origin, policy, accused)
        figures = arithmetic(policy)
        sights = tuple(self._sight(origin, place, time, accused) for place in self._places[origin].values())
        return Mark(
            origin=self._site(origin).log.origin,
            time=time,
            size=self._about.branch(origin).size,
            liars=self.liars,
            margin=margin,
            minq=figures.minq,
            inter=figures.inter,
            block=figures.block,
            witnesses=sights,
        )

    async def certificate(self, origin: bytes) -> bytes | None:
        """Make the certificate of the mark now; None where there is no mark, or a dropped tile is needed for it."""
        time = self.current(origin).time
        raw = self._about.frontier(origin)
        if time is None or raw is None:
            return None
        state = time, raw, self._versions[origin]
        known = self._certificates.get(origin)
        if known is None or known[0] != state:
            made = await trio.to_thread.run_sync(self._certify, origin, time, raw, self._heard(origin, time))
            known = self._certificates[origin] = state, made
        return known[1]

    # The parts of it.

    @property
    def _about(self) -> Grounds:
        if self._grounds is None:
            raise AssertionError("the marks are not loaded")
        return self._grounds

    def _site(self, origin: bytes) -> Site:
        return self._about.sites[origin]

    def _figures(self, origin: bytes, policy: Policy, accused: frozenset[str]) -> tuple[int | None, int]:
        """Watermark and margin: they change only with what was heard, and with whom nobody believes any more."""
        state = self._versions[origin], accused
        if origin not in self._cached or self._cached[origin][0] != state:
            places = self._places[origin].values()
            believed = [place for place in places if place.witness.key.name not in accused]
            times = {place.witness.name: place.sight.time for place in believed if place.sight is not None}
            self._cached[origin] = state, watermark(policy, times, self.liars), max(policy.margin(times), -1)
        return self._cached[origin][1:]

    def _sight(self, origin: bytes, place: _Place, time: int | None, accused: frozenset[str]) -> WitnessSight:
        sight, witness = place.sight, place.witness
        convicted = witness.key.name in accused
        return WitnessSight(
            name=witness.name,
            party=witness.key.name,
            size=None if sight is None else sight.size,
            time=None if sight is None else sight.time,
            stated=None if place.newest is None else place.newest.stated,
            seen_ms=place.seen_ms,
            on_branch=place.on_branch,
            counts=not convicted and sight is not None and time is not None and sight.time >= time,
            convicted=convicted,
            polled=(origin, witness.name) in self._polled,
            outcomes=dict(place.outcomes),
        )

    async def _judge(self, origin: bytes) -> list[tuple[_Place, StoredSight]]:
        found: list[tuple[_Place, StoredSight]] = []
        for place in self._places[origin].values():
            newest: StoredSight | None = None
            for statement in list(place.waiting):
                on_branch = await self._lies_on_branch(origin, statement)
                if on_branch is not None and place.judged(statement, on_branch):
                    newest = _after(newest or place.sight, statement)
            if newest is not None:
                found.append((place, newest))
        return found

    async def _lies_on_branch(self, origin: bytes, statement: StoredSight) -> bool | None:
        signed = self._about.branch(origin).signed
        if signed is None or statement.size > signed.size:
            return None
        if statement.size == signed.size:
            return statement.root_hash == signed.root_hash
        try:
            return await self._about.root_at(origin, statement.size) == statement.root_hash
        except MissingTile:
            return None

    def _heard(self, origin: bytes, time: int) -> list[tuple[PolicyWitness, bytes]]:
        accused = self._about.accused()
        return [
            (place.witness, place.sight.note)
            for place in self._places[origin].values()
            if place.sight is not None and place.sight.time >= time and place.witness.key.name not in accused
        ]

    def _certify(self, origin: bytes, time: int, raw: bytes, heard: list[tuple[PolicyWitness, bytes]]) -> bytes | None:
        log, read = self._site(origin).log, self._site(origin).mirror.read
        try:
            frontier = open_checkpoint(raw, (*log.keys, self._about.observer.vkey)).verified_only()
            statements = [open_checkpoint(note, (witness.key,)) for witness, note in heard]
            made = certify(
                log.policy, time, self.liars, frontier, statements, lambda old, new: prove_consistency(old, new, read)
            )
            judge(made, log.policy, log.keys).require()
        except (TlogError, MissingTile, ValueError) as error:
            _log.warning("no completeness certificate can be made", origin=log.origin, reason=type(error).__name__)
            return None
        return made.format()


def _resumed(witness: PolicyWitness, sight: StoredSight | None) -> _Place:
    return _Place(witness, sight, sight, None if sight is None else True)


def _is_newer(one: StoredSight, other: StoredSight) -> bool:
    """Tell whether a statement says more than another one of the same key: by the times that it signed.

    By the times of their arrival a witness that is silent would be heard for ever: one would only have to show two
    statements of the future in turn.
    """
    return not _same(one, other) and _order(one) > _order(other)


def _order(one: StoredSight) -> tuple[int, int]:
    return one.stated, one.size


def _after(earlier: StoredSight | None, later: StoredSight) -> StoredSight:
    """Let a statement count from when an earlier one did, if our clock was set back between their arrivals."""
    return later if earlier is None or earlier.time <= later.time else replace(later, time=earlier.time)


def _same(one: StoredSight, other: StoredSight) -> bool:
    return (one.stated, one.size, one.root_hash) == (other.stated, other.size, other.root_hash)


def _statement(witness: PolicyWitness, signed: SignedCheckpoint, now: int) -> StoredSight | None:
    """Take out of a head what one witness states by it; None if it states nothing."""
    signature = signed.signed_by(witness.key)
    # SPEC: CS-20 A cosignature with time 0 says nothing about the largest tree. And a log does not witness itself.
    if signature is None or not signature.timestamp or witness.key.name == signed.origin:
        return None
    note = Note(signed.note.text, (signature.line,)).format()
    time, head = min(signature.timestamp, now), signed.head
    return StoredSight(signed.origin, key_id(witness.key), time, signature.timestamp, head.size, head.root_hash, note)


_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
