"""What must hold in every run, whatever anybody does. Whoever breaks it ends the run with an ``AssertionError``.

I1  no honest key is ever convicted
I2  whatever evidence is kept verifies in a new process that knows only vkeys (``verified_elsewhere``, for a sample)
I3  two honest monitors that hear of each other do not stay on two histories: each convicts (``settled``)
I4  every pool stays within its cap
I5  a branch only grows, and what it was before is a prefix of what it is
I6  an observer never states a smaller tree or an earlier time than before, through every crash and clock step
I7  a completeness watermark is right with as many liars as it allows for (``watermarks``), and not with more
I8  what is about a log that is not configured never leaves a monitor
I9  when everything has settled, all honest monitors agree on who is convicted, and on the heads of the other logs
I10 one seed gives one trace
"""

import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from bench.simulation import world
from bench.simulation.engine import Engine
from bench.simulation.host import Monitor
from bench.simulation.world import Shape
from gossip.core import Held, origin_id
from gossip.core.state import (
    MAX_CONTACTS,
    MAX_EVIDENCE,
    MAX_FRUITLESS,
    MAX_JUDGED,
    MAX_OFFERS,
    MAX_OPENINGS,
    MAX_PENDING,
    MAX_TESTIMONY,
    MAX_WANTED_TILES,
)
from gossip.messages import (
    Consistency,
    Digest,
    EvidenceBundle,
    GetConsistency,
    GetHeads,
    GetTile,
    HaveEvidence,
    Head,
    Known,
    Part,
    TestimonyNote,
    TileData,
)
from gossip.testimony import Testimony
from tlog.advance import Statement
from tlog.checkpoint import Checkpoint
from tlog.evidence import Evidence, EvidenceType
from tlog.keys import VerifierKey
from tlog.note import Note
from tlog.policy import Policy
from tlog.signed_checkpoint import SignedCheckpoint

LOOK_EVERY = 20  # steps between two looks at all pools of a monitor


class Invariants:
    """Watches the honest monitors of one run. ``guilty`` are the keys that somebody lies with.

    ``convicted`` tells of each accused key when which monitor first held evidence against it.
    """

    def __init__(self, engine: Engine, guilty: Collection[VerifierKey], origins: Iterable[str]) -> None:
        self.guilty = set(guilty)
        self.convicted: dict[VerifierKey, dict[int, int]] = defaultdict(dict)
        self._engine = engine
        self.checks: Counter[str] = Counter()
        self._origins = {origin_id(origin) for origin in origins}
        self._stated: dict[tuple[int, str], Statement] = {}
        self._sent: Known | None = None

    def stepped(self, monitor: Monitor) -> None:
        self.checks["I4"] += 1
        if self.checks["I4"] % LOOK_EVERY == 0:
            check_pools(monitor)

    def sends(self, message: Known) -> None:
        self.checks["I8"] += 1
        if message is self._sent:
            return  # the same one as just before, to another peer
        self._sent = message
        _hold(set(_origins_of(message)) <= self._origins, "I8: a message is about a log that is not configured")

    def adopts(self, monitor: Monitor, origin: bytes, shape: Shape, signed: SignedCheckpoint) -> None:
        self.checks["I5"] += 1
        before = monitor.state.branch(origin).signed
        if before is not None:
            name = monitor.rules.logs[origin].origin
            _hold(signed.size > before.size, "I5: a branch shrinks")
            _hold(world.head(name, shape, before.size) == before.head, "I5: a branch is replaced by another one")

    def keeps(self, monitor: Monitor, held: Held) -> None:
        self.checks["I1"] += 1
        self.convicted[held.conviction.accused].setdefault(monitor.number, self._engine.now)
        _hold(held.conviction.accused in self.guilty, "I1: an honest key is convicted")

    def states(self, monitor: Monitor, statement: Statement) -> None:
        self.checks["I6"] += 1
        before = self._stated.get((monitor.number, statement.origin))
        if before is not None:
            _hold(before.size <= statement.size, "I6: an observer states a smaller tree")
            _hold(before.time <= statement.time, "I6: an observer states an earlier time")
        self._stated[monitor.number, statement.origin] = statement


def check_pools(monitor: Monitor) -> None:
    """I4: compare everything that could grow with its cap."""
    state = monitor.state
    _hold(all(len(one.pending) <= MAX_PENDING for one in state.branches.values()), "I4: too many pending heads")
    places = Counter(held.place for held in state.evidence.values())
    _hold(max(places.values(), default=0) <= MAX_EVIDENCE, "I4: too much evidence of a class")
    _hold(all(len(one) <= MAX_TESTIMONY for one in state.testimony.values()), "I4: too much testimony")
    _hold(len(state.contacts) <= MAX_CONTACTS, "I4: too many contacts")
    _hold(len(state.judged) <= MAX_JUDGED, "I4: too many judged bundles")
    _hold(len(state.offers) <= MAX_OFFERS * len(state.rules.peers), "I4: too many offers")
    _hold(all(len(one) <= MAX_FRUITLESS for one in state.fruitless.values()), "I4: too much evidence that never came")
    _hold(len(state.tiles) <= MAX_WANTED_TILES * len(state.rules.logs), "I4: too many tiles that are asked for")
    _hold(all(len(one.openings) <= MAX_OPENINGS for one in state.tiles.values()), "I4: too many openings that wait")
    _hold(set(state.branches) <= set(state.rules.logs), "I4: a branch of a log that is not configured")


def check_settled(monitors: Sequence[Monitor]) -> None:
    """I3 and I9, when everything that had to be said has been said."""
    verdicts = {frozenset(accused(monitor)) for monitor in monitors}
    _hold(len(verdicts) <= 1, "I9: honest monitors do not agree on who is convicted")
    for origin in monitors[0].rules.logs:
        branches = [monitor.state.branch(origin) for monitor in monitors]
        heads = {branch.signed.head for branch in branches if branch.signed is not None}
        convicted = all(branch.convicted for branch in branches)
        _hold(convicted or not any(branch.convicted for branch in branches), "I9: some convict a log, others do not")
        _hold(convicted or len(heads) <= 1, "I3: honest monitors stay on different heads of a log that nobody convicts")


def accused(monitor: Monitor) -> set[str]:
    """Name the keys that a monitor holds evidence against."""
    return {held.conviction.accused.format() for held in monitor.state.evidence.values()}


def verified_elsewhere(evidence: Sequence[tuple[Held, Policy]]) -> int:
    """I2: let new processes of the command line verify evidence, with the accused's vkey and nothing else.

    A quorum split says that a policy was satisfied twice, so it takes that policy.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, (held, policy) in enumerate(evidence):
            bundle, policy_file = Path(folder) / f"{number}.tlog-evidence", Path(folder) / f"{number}.tlog-policy"
            bundle.write_bytes(held.bundle)
            policy_file.write_bytes(policy.format())
            split = held.conviction.type is EvidenceType.QUORUM_SPLIT
            trusted = ["--policy", str(policy_file)] if split else ["--vkey", held.conviction.accused.format()]
            command = [sys.executable, "-m", "sameview", "verify", "evidence", str(bundle), *trusted]
            done = subprocess.run(command, capture_output=True, check=False)
            _hold(done.returncode == 0, f"I2: kept evidence does not verify elsewhere: {done.stderr.decode()}")
    return len(evidence)


def _origins_of(message: Known) -> Iterable[bytes]:
    match message:
        case Head() | GetConsistency() | Consistency() | GetTile() | TileData():
            return (message.origin,)
        case Digest(_, _, entries) | Part(_, _, entries):
            return (entry.origin for entry in entries)
        case GetHeads(origins):
            return origins
        case HaveEvidence(held):
            return (one.origin for one in held)
        case EvidenceBundle(_, bundle):
            return (origin_id(Checkpoint.parse(Evidence.parse(bundle).notes[0].text).origin),)
        case TestimonyNote(note):
            return (origin_id(Testimony.parse(Note.parse(note).text).origin),)
        case _:
            return ()


def _hold(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)
