"""Small federations around one log: what each kind of fork comes to, and what is never held against an honest log.

The simulator is the one of ``bench.simulation``; stories with faults, liars and hostile peers are played elsewhere.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulation import world
from bench.simulation.engine import SECOND
from bench.simulation.host import Monitor
from bench.simulation.memory import remembered
from bench.simulation.network import Links
from bench.simulation.runs import Federation
from bench.simulation.world import EPOCH, MAIN, Shape, SimLog, View
from gossip.core import Candidate, HeadSeen, ProofFound, Received, origin_id
from gossip.core.state import WRONG_ENTRIES
from gossip.messages import Consistency, Head

LOG = SimLog("log.example/small")
ID = origin_id(LOG.origin)
TREE = Shape(MAIN, 0, 120)
EVERYBODY = (1, 2, 3)


@pytest.fixture(autouse=True, scope="module")
def verified_once() -> Iterator[None]:
    with remembered():
        yield


class Stage:
    """Some monitors, and what the log shows to each of them."""

    def __init__(
        self, monitors: int = 3, seed: int = 1, loss: float = 0.0, log: SimLog = LOG, honest: bool = False
    ) -> None:
        guilty = () if honest else (log.key.verifier_key, *(world.witness(one).verifier_key for one in EVERYBODY))
        self.log = log
        self.federation = Federation(seed, monitors, [log], links=Links(loss=loss), guilty=guilty)
        self.monitors = self.federation.monitors
        self.federation.start_running()

    def wait(self, seconds: float = 2.0) -> None:
        engine = self.federation.engine
        engine.run(engine.now + int(seconds * SECOND))

    def show(self, size: int, *who: Monitor, shape: Shape = TREE, witnesses: tuple[int, ...] = EVERYBODY) -> None:
        """Let the log show a tree to some monitors, or to all of them, and let them look."""
        note = self.note(size, shape, witnesses)
        for monitor in who or self.monitors:
            monitor.views[ID] = View(shape, size, note)
            monitor.poll(ID)

    def note(self, size: int, shape: Shape = TREE, witnesses: tuple[int, ...] = EVERYBODY) -> bytes:
        return self.log.sign(world.head(self.log.origin, shape, size), witnesses, EPOCH)

    @property
    def sizes(self) -> list[int]:
        return [monitor.state.branch(ID).size for monitor in self.monitors]

    @property
    def convicted(self) -> list[bool]:
        return [bool(monitor.state.branch(ID).convicted) for monitor in self.monitors]


def twin(common: int) -> Shape:
    """Another history that has the first so many entries in common."""
    return Shape("twin", common, 120)


def test_a_push_reaches_monitors_that_did_not_look() -> None:
    stage = Stage()
    note = stage.note(10)
    for monitor in stage.monitors:
        monitor.views[ID] = View(TREE, 10, note)
    stage.monitors[0].poll(ID)
    stage.wait()
    assert stage.sizes == [10, 10, 10]


@pytest.mark.parametrize(
    ("common", "size"), [(4, 10), (0, 10), (9, 10), (4, 7), (5, 8), (0, 1), (7, 8), (0, 9)], ids=str
)
def test_a_fork_that_is_not_larger_convicts_at_once_and_everywhere(common: int, size: int) -> None:
    stage = Stage()
    stage.show(10)
    stage.wait()
    stage.show(size, stage.monitors[0], shape=twin(common), witnesses=())
    assert stage.convicted == [True, False, False]
    stage.wait()
    assert stage.convicted == [True] * 3


def test_a_private_extension_convicts_when_the_branch_reaches_its_size_and_not_before() -> None:
    stage = Stage()
    stage.show(10)
    stage.wait()
    stage.show(20, stage.monitors[0], shape=twin(10), witnesses=())
    for size, convicted in ((19, False), (20, True)):
        stage.wait()
        assert stage.convicted == [False] * 3
        stage.show(size)
        stage.wait()
        assert stage.convicted == [convicted] * 3


def test_a_head_without_quorum_is_told_once_and_never_adopted() -> None:
    stage = Stage()
    stage.show(10, witnesses=())
    stage.wait()
    told = sum(traffic.bytes["Head"] for traffic in stage.federation.network.traffic.values())
    stage.show(10, witnesses=())
    stage.wait()
    assert sum(traffic.bytes["Head"] for traffic in stage.federation.network.traffic.values()) == told > 0
    assert stage.sizes == [0, 0, 0]
    assert [len(monitor.state.branch(ID).pending) for monitor in stage.monitors] == [1, 1, 1]


def test_the_quorum_may_come_later() -> None:
    stage = Stage()
    stage.show(10, witnesses=())
    stage.wait()
    stage.show(10)
    stage.wait()
    assert stage.sizes == [10, 10, 10]


def test_a_quorum_for_a_fork_of_the_own_branch_convicts_by_the_log_s_own_tiles() -> None:
    stage = Stage(1)
    stage.show(8)
    stage.wait()
    stage.show(12, shape=twin(5))
    stage.wait()
    assert (stage.sizes, stage.convicted) == ([8], [True])
    assert (WRONG_ENTRIES, ID, "size 12") in stage.monitors[0].alarms


def test_a_convicted_log_is_frozen() -> None:
    stage = Stage()
    stage.show(8)
    stage.wait()
    stage.show(8, stage.monitors[0], shape=twin(5), witnesses=())
    stage.wait()
    stage.show(12)
    stage.wait(60)
    assert stage.sizes == [8, 8, 8]


def test_all_ways_of_learning_lead_to_the_same_conviction() -> None:
    shape = twin(6)
    old, new = (world.head(LOG.origin, shape, size) for size in (10, 20))
    path = world.proof(LOG.origin, shape, 10, 20)

    def learn(how: str) -> set[bytes]:
        stage = Stage(1)
        (monitor,) = stage.monitors
        stage.show(10)
        stage.wait()
        note = stage.note(20, shape, ())
        peer = b"p" * 32
        stage.federation.network.traffic[peer] = stage.federation.network.traffic[monitor.id]
        attached = (10, path) if how == "attached" else (None, ())
        monitor.show(Received(peer, (Head(ID, note, 2, *attached),), answer=True))
        if how == "presenter":
            answer = Consistency(ID, 10, 20, old.root_hash, new.root_hash, path)
            monitor.show(Received(peer, (answer,), answer=True))
        elif how == "tiles":
            monitor.show(ProofFound(ID, new, Candidate(10, old.root_hash, path)))
        return set(monitor.state.branch(ID).convicted)

    verdicts = [learn(how) for how in ("attached", "presenter", "tiles")]
    assert len(verdicts[0]) == 1
    assert verdicts == [verdicts[0]] * 3


def test_anti_entropy_brings_what_no_push_delivered() -> None:
    stage = Stage(loss=1.0)
    note = stage.note(10)
    for monitor in stage.monitors:
        monitor.views[ID] = View(TREE, 10, note)
    stage.monitors[0].poll(ID)
    stage.wait()
    assert stage.sizes == [10, 0, 0]
    stage.federation.network.links = Links()
    stage.wait(60)
    assert stage.sizes == [10, 10, 10]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_honest_log_is_never_convicted_whatever_gets_lost(data: st.DataObject) -> None:
    stage = Stage(seed=data.draw(st.integers(0, 999)), loss=data.draw(st.sampled_from([0.0, 0.3])), honest=True)
    size = 0
    for _ in range(data.draw(st.integers(1, 6))):
        size += data.draw(st.integers(1, 20))
        older = data.draw(st.integers(1, size))
        witnesses = EVERYBODY if data.draw(st.booleans()) else ()
        for monitor in sorted(data.draw(st.sets(st.sampled_from(range(3)), min_size=1))):
            stage.show(older, stage.monitors[monitor], witnesses=witnesses)
        stage.wait(data.draw(st.integers(0, 20)))
    assert stage.convicted == [False] * 3


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_fork_seen_by_one_is_convicted_by_all_once_the_branch_has_reached_it(data: st.DataObject) -> None:
    grown = data.draw(st.integers(1, 40))
    shape = twin(data.draw(st.integers(0, grown - 1)))
    size = data.draw(st.integers(1, grown + 30))
    stage = Stage(4, data.draw(st.integers(0, 999)), data.draw(st.sampled_from([0.0, 0.3])))
    stage.show(grown)
    stage.wait()
    stage.monitors[0].show(HeadSeen(ID, stage.note(size, shape, ())))
    for _ in range(20):
        stage.show(grown + 40)
        stage.wait(15)
    diverged = world.head(LOG.origin, shape, size) != world.head(LOG.origin, TREE, size)
    assert stage.convicted == [diverged] * 4


def test_a_log_without_witnesses_is_followed_under_a_policy_that_asks_for_none() -> None:
    stage = Stage(1, log=SimLog(LOG.origin, ()))
    stage.show(3, witnesses=())
    stage.wait()
    assert stage.sizes == [3]
