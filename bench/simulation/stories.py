"""Small federations through growth, faults and a lie, until everything has settled; then what must hold is checked."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.simulation import world
from bench.simulation.adversaries import Flood, Replay, Silence, Trick, TwoFaces, observed
from bench.simulation.engine import SECOND
from bench.simulation.host import Monitor
from bench.simulation.invariants import accused, check_settled
from bench.simulation.lies import (
    EVERYBODY,
    FIRST_SIZE,
    FORK,
    LIES,
    LOG,
    MAIN_SHAPE,
    SECONDS,
    Lie,
    Stage,
    schedule,
    witness_name,
)
from bench.simulation.network import Links, Separates
from bench.simulation.runs import Federation
from bench.simulation.watermarks import Watermarks
from bench.simulation.world import EPOCH, SimLog
from gossip.core import Held, origin_id
from tlog.keys import VerifierKey

POLL = 4 * SECOND
LOOK = 7 * SECOND
SETTLE = 200  # seconds after the last fault: some twenty exchanges for each monitor
SETTLE_ECLIPSED = 700  # who has one link left finds it by chance: one of ten partners is drawn every ten seconds
ECLIPSED_AMONG = 12  # monitors at most; among more, that chance would take hours of virtual time
UNSERVED_MS = 20_000
OBSERVERS = 64
TRICKS = ("silent", "replay", "flood", "two faces")
FAULTS = (
    "loss",
    "duplicates",
    "partition",
    "one-way cut",
    "half-open",
    "narrow links",
    "crash",
    "clock",
    "eclipse",
    "sybil ring",
)
NARROW = 16_000  # bytes a second


@dataclass(frozen=True, slots=True)
class Plot:
    """What happens in a story."""

    lie: str = "honest"
    tricks: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    monitors: int = 6


@dataclass(frozen=True, slots=True)
class Ending:
    """How a story ended."""

    trace: str
    convicted: frozenset[str]
    events: int
    checks: int
    evidence: tuple[Held, ...]
    sizes: tuple[int, ...]
    claims: int
    wrong_claims: int


def random_plot(seed: int, monitors: int) -> Plot:
    """Choose what happens, by the seed: each lie and each fault now and then, up to a third of the peers hostile."""
    chance = random.Random(f"{seed} plot")
    lie = chance.choice(sorted(LIES))
    tricks = tuple(chance.choice(TRICKS) for _ in range(chance.randint(0, min(monitors // 3, 6))))
    possible = [fault for fault in FAULTS if fault != "eclipse" or monitors <= ECLIPSED_AMONG]
    faults = tuple(fault for fault in possible if chance.random() < 0.25)
    return Plot(lie, tricks, faults, monitors)


def story(plot: Plot, seed: int) -> Ending:
    """Play a story; an ``AssertionError`` says what did not hold."""
    lie, log = LIES[plot.lie], SimLog("log.example/story")
    two_faced = [plot.monitors - len(plot.tricks) + at for at, one in enumerate(plot.tricks) if one == "two faces"]
    links = Links(
        loss=0.2 if "loss" in plot.faults else 0.0,
        duplicated=0.1 if "duplicates" in plot.faults else 0.0,
        bytes_per_second=NARROW if "narrow links" in plot.faults else 0,
    )
    federation = Federation(
        seed,
        plot.monitors,
        [log],
        hostile=len(plot.tricks),
        links=links,
        guilty=_guilty(log, lie, two_faced),
        observers=OBSERVERS,
        unserved_ms=UNSERVED_MS,
    )
    for trick in plot.tricks:
        federation.impostor(_trick(trick, federation, log))
    marks = Watermarks(log, frozenset(one for one in EVERYBODY if witness_name(one) in lie.guilty))
    stage = Stage(log, federation.monitors, lambda delay, action: federation.engine.after(delay, action), marks)
    schedule(stage, lie, lambda time, action: federation.engine.at(time, action))
    federation.start_running()
    _poll_for_ever(federation, stage)
    _look_for_ever(federation, marks)
    _break(federation, plot.faults)
    settle = SETTLE_ECLIPSED if "eclipse" in plot.faults else SETTLE
    federation.engine.run((SECONDS + settle) * SECOND)
    return _judged(plot, lie, stage, federation)


def _judged(plot: Plot, lie: Lie, stage: Stage, federation: Federation) -> Ending:
    federation.check_pools()
    check_settled(federation.monitors)
    log = stage.log
    # Where somebody shows two histories from the start, the log is convicted and frozen before the lie is told.
    names = (LOG,) if "two faces" in plot.tricks else lie.convicted
    wanted = {_key(log, name).format() for name in names}
    found = frozenset.intersection(*(frozenset(accused(monitor)) for monitor in federation.monitors))
    if not wanted <= found:
        raise AssertionError(f"{plot}: somebody was not found out")
    if lie.alarm is not None and "two faces" not in plot.tricks:
        raised = any(kind == lie.alarm for monitor in federation.monitors for kind, _, _ in monitor.alarms)
        if not raised:
            raise AssertionError(f"{plot}: the alarm was not raised")
    held = tuple(one for _, one in sorted(federation.monitors[-1].state.evidence.items()))
    checks = sum(federation.invariants.checks.values())
    sizes = tuple(monitor.state.branch(stage.origin).size for monitor in federation.monitors)
    claims, wrong = stage.marks.claims, stage.marks.wrong
    return Ending(federation.engine.trace, found, federation.engine.happened, checks, held, sizes, claims, wrong)


def _guilty(log: SimLog, lie: Lie, two_faced: Sequence[int]) -> list[VerifierKey]:
    names = {*lie.guilty, LOG} if two_faced else lie.guilty
    observers = [world.observer(number).verifier_key for number in two_faced]
    return [*(_key(log, name) for name in sorted(names)), *observers]


def _key(log: SimLog, name: str) -> VerifierKey:
    if name == LOG:
        return log.key.verifier_key
    return next(world.witness(one).verifier_key for one in EVERYBODY if witness_name(one) == name)


def _trick(name: str, federation: Federation, log: SimLog) -> Trick:
    number = federation.honest + len(federation.impostors)
    chance = federation.streams[f"adversary {number}"]
    note = log.sign(world.head(log.origin, MAIN_SHAPE, FIRST_SIZE), EVERYBODY, EPOCH)
    match name:
        case "replay":
            return Replay(chance)
        case "flood":
            return Flood(chance, origin_id(log.origin), note)
        case "two faces":
            other = log.sign(world.head(log.origin, FORK, FIRST_SIZE + 20), (), EPOCH)
            heads = [observed(log, note, number, EPOCH), observed(log, other, number, EPOCH)]
            return TwoFaces([monitor.id for monitor in federation.monitors], heads)
        case _:
            return Silence()


def _poll_for_ever(federation: Federation, stage: Stage) -> None:
    phases = federation.streams["workload"]

    def poll(monitor: Monitor) -> None:
        monitor.poll(stage.origin)
        federation.engine.after(POLL, poll, monitor)

    for monitor in federation.monitors:
        federation.engine.at(phases.randrange(POLL), poll, monitor)


def _look_for_ever(federation: Federation, marks: Watermarks) -> None:
    """Compare what watermarks claim with what clients were shown, now and then."""

    def look() -> None:
        for monitor in federation.monitors:
            marks.look(monitor, EPOCH + federation.engine.now // SECOND)
        federation.engine.after(LOOK, look)

    federation.engine.at(LOOK, look)


def _break(federation: Federation, faults: Sequence[str]) -> None:
    """Let things fail, until the log has stopped growing. A surrounded monitor stays so to the end."""
    engine, network, monitors = federation.engine, federation.network, federation.monitors
    chance = federation.streams["faults"]
    half = {monitor.id for monitor in monitors[::2]}
    victim, friend = monitors[0], monitors[-1]
    hostile = {impostor.id for impostor in federation.impostors}
    for fault in faults:
        match fault:
            case "partition":
                _cut_for_a_while(federation, lambda one, other: (one in half) != (other in half))
            case "one-way cut":
                _cut_for_a_while(federation, lambda one, other: one in half and other not in half)
            case "half-open":
                open_ends: Separates = lambda one, other: (one in half) != (other in half)  # noqa: E731
                engine.at(15 * SECOND, network.half_open, open_ends)
                engine.at(40 * SECOND, network.close, open_ends)
            case "crash":
                for _ in range(3):
                    _crash(federation, chance.choice(monitors), chance.uniform(5, 50), chance.uniform(0.5, 15))
            case "clock":
                for step in (-10, 3600):
                    monitor = chance.choice(monitors)
                    engine.at(int(chance.uniform(10, 30) * SECOND), _set_clock, monitor, step)
                    engine.at(int(chance.uniform(35, 55) * SECOND), _set_clock, monitor, 0)
            case "eclipse":
                network.cut(lambda one, other: victim.id in (one, other) and friend.id not in (one, other))
            case "sybil ring":
                if hostile:  # the victim dials nobody else, but the others still dial the victim
                    victim.outbound = tuple(sorted(hostile))
            case _:
                pass
    engine.at(SECONDS * SECOND, _mend, federation)


def _mend(federation: Federation) -> None:
    federation.network.links = Links()


def _cut_for_a_while(federation: Federation, separates: Separates) -> None:
    federation.engine.at(15 * SECOND, federation.network.cut, separates)
    federation.engine.at(40 * SECOND, federation.network.heal, separates)


def _crash(federation: Federation, monitor: Monitor, second: float, pause: float) -> None:
    """Take the power away at the next write, or at the latest a second later; give it back after a while."""
    engine, at = federation.engine, int(second * SECOND)

    def arm() -> None:
        monitor.armed = monitor.up

    def fall() -> None:
        if monitor.up:
            monitor.crash()

    def rise() -> None:
        if not monitor.up:
            monitor.restart()

    engine.at(at, arm)
    engine.at(at + SECOND, fall)
    engine.at(at + int((1 + pause) * SECOND), rise)


def _set_clock(monitor: Monitor, step: int) -> None:
    monitor.clock_step = step
