"""One simulated federation, from its seed to its figures.

``Federation`` is the stage: engine, network, honest monitors, hostile peers, invariants. ``detection`` shows a forked
history to one of many monitors that have long been running, and measures how long it takes until somebody convicts the
log, and until all honest monitors do. ``story`` plays a small federation through growth, faults and a lie, lets it
settle, and checks everything that must hold. ``traffic`` counts bytes where nothing bad happens.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from bench.simulation import world
from bench.simulation.adversaries import Impostor, Silence, Trick
from bench.simulation.engine import SECOND, Engine, Streams
from bench.simulation.host import Monitor
from bench.simulation.invariants import Invariants, check_pools
from bench.simulation.network import Links, Network
from bench.simulation.world import EPOCH, MAIN, Shape, SimLog, View
from gossip.core import Candidate, Log, Rules, Tick, begin, origin_id
from gossip.core.state import Branch, Contact, keyring
from tlog.advance import Statement
from tlog.keys import VerifierKey
from tlog.signed_checkpoint import open_checkpoint

FULL_MESH = 32  # monitors; more of them dial ``LINKS`` others each
LINKS = 8
INTERVAL_MS = 10_000


class Federation:
    """Honest monitors and hostile peers around some logs. Monitors are numbered from 0, the hostile ones come last."""

    def __init__(
        self,
        seed: int,
        size: int,
        logs: Sequence[SimLog],
        *,
        hostile: int = 0,
        links: Links = Links(),  # noqa: B008  # frozen
        outbound: int = LINKS,
        guilty: Collection[VerifierKey] = (),
        observers: int = 0,
        unserved_ms: int = 600_000,
    ) -> None:
        self.streams = Streams(seed)
        self.engine = Engine()
        self.network = Network(self.engine, self.streams, seed, links)
        self.invariants = Invariants(self.engine, guilty, (log.origin for log in logs))
        self.logs = logs
        self.honest = size - hostile
        ids = tuple(world.peer(number) for number in range(size))
        self.dials = _topology(size, outbound, self.streams)
        self._ids = ids
        known = {log.id: log for log in (Log(one.origin, (one.key.verifier_key,), one.policy) for one in logs)}
        shown = tuple(world.observer(number).verifier_key for number in range(min(observers, size)))
        ring = keyring(shown)
        testifiers = {ids[number]: world.peer_key(number).verifier_key for number in range(size)}
        self.monitors = []
        for number in range(self.honest):
            # In a large federation everybody shares one list, which then has the own name in it.
            others = ids if size > 1000 else tuple(one for one in ids if one != ids[number])
            own = world.observer(number).verifier_key if number < observers else None
            rules = Rules(known, others, others, shown, INTERVAL_MS, own, testifiers, unserved_ms, ring)
            chance = self.streams[f"monitor {number}"]
            reached = [ids[one] for one in self.dials[number]]
            monitor = Monitor(number, rules, self.engine, self.network, chance, self.invariants, reached)
            self.monitors.append(monitor)
            self.network.join(monitor)
        self.impostors: list[Impostor] = []

    def impostor(self, trick: Trick) -> None:
        """Give the next hostile number to somebody."""
        number = self.honest + len(self.impostors)
        victims = [self._ids[one] for one in range(self.honest)]
        chance = self.streams[f"adversary {number}"]
        impostor = Impostor(number, trick, victims, self.engine, self.network, chance)
        self.impostors.append(impostor)
        self.network.join(impostor)

    def establish(self, log: SimLog, shape: Shape, size: int, witnesses: Sequence[int], who: Iterable[Monitor]) -> None:
        """Let monitors have re-hashed a history up to a size before the run begins."""
        head = world.head(log.origin, shape, size)
        note = log.sign(head, witnesses, EPOCH)
        origin = origin_id(log.origin)
        signed = open_checkpoint(note, (log.key.verifier_key, *log.policy.witness_keys))
        for monitor in who:
            monitor.views[origin] = View(shape, size, note)
            monitor.disk.branches[origin] = (signed, shape)
            monitor.disk.heads[origin, size, head.root_hash] = signed
            monitor.disk.settled.add((origin, size, head.root_hash))
            monitor.disk.stated[origin] = Statement(log.origin, size, head.root_hash, EPOCH)

    def start_running(self) -> None:
        """Begin in the middle: everybody has heard of whoever dials it, and exchanges are spread over the interval."""
        callers: dict[bytes, list[bytes]] = {one: [] for one in self._ids}
        for number, dialled in enumerate(self.dials):
            for other in dialled:
                callers[self._ids[other]].append(self._ids[number])
        phases = self.streams["workload"]
        for monitor in self.monitors:
            branches = {origin: Branch(signed) for origin, (signed, _) in monitor.disk.branches.items()}
            state = begin(monitor.rules, 1, 0, branches)
            contacts = {caller: Contact(heard_ms=0) for caller in callers[monitor.id]}
            due = int(phases.random() * INTERVAL_MS)
            monitor.state = replace(state, contacts=contacts, exchange_ms=due)
            monitor.start()
        for impostor in self.impostors:
            impostor.start()

    def check_pools(self) -> None:
        """I4, for every honest monitor."""
        for monitor in self.monitors:
            check_pools(monitor)


def _topology(size: int, outbound: int, streams: Streams) -> list[Sequence[int]]:
    if size <= FULL_MESH + 1:
        return [[other for other in range(size) if other != one] for one in range(size)]
    chance = streams["topology"]
    picks = (chance.sample(range(size - 1), outbound) for _ in range(size))
    return [[other + (other >= one) for other in some] for one, some in enumerate(picks)]


# How long until a fork is found out.


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table of detection times."""

    monitors: int
    hostile: float = 0.0
    loss: float = 0.0
    pushes: bool = True
    links: int = LINKS


@dataclass(frozen=True, slots=True)
class Detection:
    """Seconds after one honest monitor made the forked head its branch; None when it did not happen in time."""

    first: float | None
    everybody: float | None
    message_bytes_each: float
    evidence_bytes_each: float
    convictions: int
    events: int
    trace: str


HISTORY = Shape(MAIN, 0, 400)
FORKED = Shape("fork", 150, 400)
BEFORE_FORK, OTHERS_SIZE, FORKED_SIZE = 140, 200, 260  # of the victim before, of the others, of the victim then
PATIENCE = 600  # virtual seconds until a run is given up


def detection(setting: Setting, seed: int, *, witnesses: Sequence[int] = ()) -> Detection:
    """Route one monitor of a running federation to a fork, larger than what the others have, and see what happens.

    Without witnesses in the policy what the log signs is a view; with them, two of the three sign both histories.
    """
    log = SimLog("log.example/forked", tuple(witnesses))
    liars = witnesses[:2]
    guilty = [log.key.verifier_key, *(world.witness(one).verifier_key for one in liars)]
    hostile = round(setting.monitors * setting.hostile)
    federation = Federation(
        seed,
        setting.monitors,
        [log],
        hostile=hostile,
        links=Links(loss=setting.loss),
        outbound=setting.links,
        guilty=guilty,
    )
    for _ in range(hostile):
        federation.impostor(Silence())
    victim, *others = federation.monitors
    federation.establish(log, HISTORY, OTHERS_SIZE, witnesses, others)
    federation.establish(log, FORKED, FORKED_SIZE, liars, [victim])
    federation.start_running()
    if not setting.pushes:
        _silence_pushes(federation)
    return _measure(federation, victim, log)


def _silence_pushes(federation: Federation) -> None:
    """Leave anti-entropy as the only way: nobody is linked to anybody."""
    for monitor in federation.monitors:
        monitor.outbound = ()
        monitor.state = replace(monitor.state, contacts={}, outbound=())


def _measure(federation: Federation, victim: Monitor, log: SimLog) -> Detection:
    engine, origin, began = federation.engine, origin_id(log.origin), federation.engine.now
    # As it stands when the forked head has just been adopted, and before anybody was told.
    branch = victim.state.branch(origin)
    path = world.proof(log.origin, FORKED, BEFORE_FORK, FORKED_SIZE)
    pushing = replace(branch, push_due=True, proof=Candidate(BEFORE_FORK, None, path))
    victim.state = replace(victim.state, branches={origin: pushing})
    victim.show(Tick())
    convicts = federation.invariants.convicted[log.key.verifier_key]
    honest = len(federation.monitors)
    before = sum(traffic.message_bytes for traffic in federation.network.traffic.values())
    engine.run(began + PATIENCE * SECOND, lambda: len(convicts) == honest)
    after = sum(traffic.message_bytes for traffic in federation.network.traffic.values())
    kinds = ("EvidenceBundle", "HaveEvidence", "GetEvidence")
    evidence = sum(traffic.bytes[kind] for traffic in federation.network.traffic.values() for kind in kinds)
    federation.check_pools()
    return Detection(
        (min(convicts.values()) - began) / SECOND if convicts else None,
        (max(convicts.values()) - began) / SECOND if len(convicts) == honest else None,
        (after - before) / honest,
        evidence / honest,
        len(federation.invariants.convicted),
        engine.happened,
        engine.trace,
    )
