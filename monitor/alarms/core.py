"""Decides which alarms hold that depend on time or on what others show. Pure: facts in, what to raise and clear out.

Each rule makes *findings* of the facts: whether something is so, or nothing where that cannot be told. ``watch`` turns
findings into alarms. A reason has to last as long as its rule says before it is an alarm, and has to be gone for a
while before the alarm ends; what cannot be told changes nothing. So an alarm that was open when the program ended
stays open until somebody has looked and found it settled.

Two kinds of time: ages that were measured by a clock that never jumps, and those that compare what somebody signed
with this machine's clock. The latter are not judged while that clock was moved a moment ago.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.alarms.kinds import (
    CLOCK_STEPPED,
    LOG_STALE,
    PEER_LAG,
    POLICY_DEGRADED,
    SIZE_JUMP,
    VANTAGE_SPLIT,
    WATERMARK_STALE,
    WITNESS_LAG,
)
from monitor.limits import AlarmLimits

DAY_SECONDS = 86_400
HOUR_SECONDS = 3600
STEP_SECONDS = 5  # a clock that is kept in time moves less between two looks
SETTLE_SECONDS = 60  # after the clock was moved: somebody may be about to move it back
STEP_SHOWN_SECONDS = 600
CALM_SECONDS = 60  # a reason that comes and goes is one alarm
JUMP_CALM_SECONDS = 3600  # a jump is over at once, and somebody should still see it
MET_INTERVALS = 10  # times the number of peers: a peer that picks us at random misses us for so long once in 10^8
LISTED = 3  # logs that a sentence names


# What is known.


@dataclass(frozen=True, slots=True)
class Claim:
    """What the monitor can prove of one log now, by its completeness mark. ``age`` is None where that is nothing."""

    age: int | None
    margin: int
    liars: int
    minq: int
    inter: int


@dataclass(frozen=True, slots=True)
class Growth:
    """How a log grew since it was last confirmed: from ``base``, ``seconds`` ago, to ``largest``."""

    base: int
    seconds: int
    largest: int
    a_day: float


@dataclass(frozen=True, slots=True)
class LogFacts:
    """What is known of one log. None stands for what cannot be told."""

    origin: str
    cadence: float = 0.0
    quiet: int | None = None
    """Seconds since the log showed a new or newly signed head."""
    claim: Claim | None = None
    growth: Growth | None = None
    vantage: int | None = None
    """Seconds since another vantage showed a head that is not explained yet; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Sight:
    """When a witness stated the newest head of one log that lies on our branch; None if it was looked for in vain."""

    witness: str
    time: int | None


@dataclass(frozen=True, slots=True)
class WitnessFacts:
    """How far one witness is behind the others: per log, in seconds; None where it has shown nothing yet."""

    name: str
    behind: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """How long one peer was silent, and for how long it had missed a head of ours when it last told what it holds."""

    name: str
    silent: int
    behind: int
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one moment. ``stepped`` is by how many seconds the clock was moved since the last look."""

    now_ms: int
    """By the clock that never jumps."""
    logs: Sequence[LogFacts] = ()
    witnesses: Sequence[WitnessFacts] = ()
    peers: Sequence[PeerFacts] = ()
    interval: float = 10.0
    stepped: int = 0


# What follows from it.


@dataclass(frozen=True, slots=True)
class Key:
    """What tells one alarm from another: its kind, the log (or none), and what about it."""

    kind: str
    origin: str
    subject: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether the reason for an alarm is there, and how many seconds ago it came up, as far as that is known."""

    key: Key
    holds: bool
    detail: str = ""
    since: int = 0
    after: float = 0.0
    calm: float = CALM_SECONDS
    wall: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Since when reasons are there, or are gone, on the clock that never jumps; and which alarms are open."""

    open: frozenset[Key] = frozenset()
    holding: Mapping[Key, int] = field(default_factory=dict)
    calm: Mapping[Key, int] = field(default_factory=dict)
    stepped_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Raised:
    """Raise this alarm, or say that it still holds; its reason came up so many seconds ago."""

    key: Key
    detail: str
    since: int


@dataclass(frozen=True, slots=True)
class Cleared:
    """The reason for this alarm has been gone for long enough."""

    key: Key


Change = Raised | Cleared


def watch(memory: Memory, facts: Facts, limits: AlarmLimits) -> tuple[Memory, tuple[Change, ...]]:
    """Take a look: return what to remember until the next one, and which alarms hold or end."""
    if abs(facts.stepped) > STEP_SECONDS:
        memory = Memory(memory.open, memory.holding, memory.calm, facts.now_ms)
    unsettled = memory.stepped_ms is not None and facts.now_ms - memory.stepped_ms < SETTLE_SECONDS * 1000
    open_, holding, calm = set(memory.open), dict(memory.holding), dict(memory.calm)
    changes: list[Change] = []
    for finding in findings(facts, limits):
        key = finding.key
        if finding.wall and unsettled:
            holding.pop(key, None)
            calm.pop(key, None)
        elif finding.holds:
            calm.pop(key, None)
            lasted = (facts.now_ms - holding.setdefault(key, facts.now_ms)) // 1000
            if key in open_ or lasted >= finding.after:
                open_.add(key)
                changes.append(Raised(key, finding.detail, max(finding.since, lasted)))
        else:
            holding.pop(key, None)
            if key in open_ and facts.now_ms - calm.setdefault(key, facts.now_ms) >= finding.calm * 1000:
                open_.discard(key)
                del calm[key]
                changes.append(Cleared(key))
    return Memory(frozenset(open_), holding, calm, memory.stepped_ms), tuple(changes)


def findings(facts: Facts, limits: AlarmLimits) -> list[Finding]:
    """Apply every rule."""
    found = [_clock_stepped(facts)]
    for log in facts.logs:
        found += [*_log_stale(log, limits), *_claims(log, limits), *_size_jump(log, limits), *_vantage(log, limits)]
    found += [one for witness in facts.witnesses for one in _witness_lag(witness, limits)]
    found += [_peer_lag(peer, facts, limits) for peer in facts.peers]
    return found


def witness_facts(sights: Mapping[str, Sequence[Sight]]) -> list[WitnessFacts]:
    """Compare, log by log, what each witness was seen to cosign last with what the others were."""
    behind: dict[str, dict[str, int | None]] = {}
    for origin, of_log in sights.items():
        newest = _newest(of_log)
        times = sorted(time for time in newest.values() if time is not None)
        for party, time in newest.items():
            # Of two the later one is the middle: whoever is behind is looked for.
            late = None if time is None else max(times[len(times) // 2] - time, 0)
            behind.setdefault(party, {})[origin] = late
    return [WitnessFacts(party, by_log) for party, by_log in behind.items()]


def lasting(seconds: float) -> str:
    """Say how long something lasts, for people."""
    for name, length in (("d", DAY_SECONDS), ("h", HOUR_SECONDS), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


# The rules.


def _clock_stepped(facts: Facts) -> Finding:
    key = Key(CLOCK_STEPPED, "", "this machine's clock")
    way = "forward" if facts.stepped > 0 else "back"
    moved = abs(facts.stepped) > STEP_SECONDS
    return Finding(key, moved, f"moved {way} by {lasting(abs(facts.stepped))}", calm=STEP_SHOWN_SECONDS)


def _log_stale(log: LogFacts, limits: AlarmLimits) -> Iterable[Finding]:
    if log.cadence and log.quiet is not None:
        detail = f"for {lasting(log.quiet)}, where one every {lasting(log.cadence)} is declared"
        stale = log.quiet > limits.log_stale * log.cadence
        yield Finding(Key(LOG_STALE, log.origin, "no new checkpoint"), stale, detail, since=log.quiet)


def _claims(log: LogFacts, limits: AlarmLimits) -> Iterable[Finding]:
    claim = log.claim
    if claim is None or claim.minq <= claim.liars:
        return  # a policy that allows no claim was refused, or accepted, when the configuration was read
    key = Key(WATERMARK_STALE, log.origin, "completeness")
    if claim.age is None:
        yield Finding(key, holds=True, detail="nothing can be proven yet", after=limits.watermark_stale)
    else:
        stale = claim.age > limits.watermark_stale
        detail = f"proven only up to {lasting(claim.age)} ago"
        # The first look may come before the witnesses have been asked.
        yield Finding(key, stale, detail, since=claim.age, after=CALM_SECONDS, wall=True)
    detail = f"two quorums may share only {claim.inter} witnesses, and {claim.liars} may lie"
    yield Finding(Key(POLICY_DEGRADED, log.origin, "the policy"), claim.inter <= claim.liars, detail)
    detail = f"the witnesses heard survive {max(claim.margin, 0)} liars, and {claim.liars} may lie"
    thin = claim.margin < claim.liars
    yield Finding(Key(POLICY_DEGRADED, log.origin, "the witnesses heard"), thin, detail, after=limits.policy_degraded)


def _size_jump(log: LogFacts, limits: AlarmLimits) -> Iterable[Finding]:
    grown = log.growth
    if grown is None or not grown.base:
        return  # what a log had when it was first seen is no growth
    expected = grown.a_day * max(grown.seconds, HOUR_SECONDS) / DAY_SECONDS
    jump = grown.largest - grown.base
    detail = f"{jump} more entries than the {grown.base} before, where {expected:.0f} would be usual"
    jumped = jump > max(limits.size_jump * expected, limits.size_jump_least)
    yield Finding(Key(SIZE_JUMP, log.origin, "growth"), jumped, detail, calm=JUMP_CALM_SECONDS, wall=True)


def _vantage(log: LogFacts, limits: AlarmLimits) -> Iterable[Finding]:
    if log.vantage is not None:
        detail = f"a tree seen from elsewhere is not explained for {lasting(log.vantage)}"
        split = log.vantage > limits.vantage_split
        yield Finding(Key(VANTAGE_SPLIT, log.origin, "the second vantage"), split, detail, since=log.vantage)


def _witness_lag(witness: WitnessFacts, limits: AlarmLimits) -> Iterable[Finding]:
    if not witness.behind:
        return
    key = Key(WITNESS_LAG, "", f"the witness {witness.name}")
    late = {origin: by for origin, by in witness.behind.items() if by is not None and by > limits.witness_lag}
    unheard = [origin for origin, by in witness.behind.items() if by is None]
    worst = max(late.values(), default=0)
    if late:
        detail = f"behind by up to {lasting(worst)} on {_named(sorted(late), len(witness.behind))}"
        yield Finding(key, holds=True, detail=detail, since=worst, after=CALM_SECONDS)
    else:
        detail = f"nothing was heard of it on {_named(sorted(unheard), len(witness.behind))}"
        yield Finding(key, bool(unheard), detail, after=limits.witness_lag)


def _peer_lag(peer: PeerFacts, facts: Facts, limits: AlarmLimits) -> Finding:
    key = Key(PEER_LAG, "", f"the peer {peer.name}")
    silence = max(limits.peer_lag, MET_INTERVALS * len(facts.peers)) * facts.interval
    if peer.silent > silence:
        return Finding(key, holds=True, detail=f"silent for {lasting(peer.silent)}", since=peer.silent)
    late = peer.behind > limits.peer_lag * facts.interval
    detail = f"holds heads that are {lasting(peer.behind)} old on {_named(sorted(peer.origins), None)}"
    return Finding(key, late, detail, since=peer.behind)


def _newest(sights: Sequence[Sight]) -> dict[str, int | None]:
    """The newest time that each witness stated, under whatever key; None if it was looked for in vain."""
    newest: dict[str, int | None] = {}
    for sight in sights:
        known = newest.get(sight.witness)
        if known is None or (sight.time is not None and sight.time > known):
            newest[sight.witness] = sight.time
    return newest


def _named(origins: Sequence[str], of: int | None) -> str:
    """Name a few logs, and say how many there are."""
    listed = ", ".join(origins[:LISTED]) + (", …" if len(origins) > LISTED else "")
    total = "" if of is None else f" of {of}"
    return f"{len(origins)}{total} logs ({listed})"
