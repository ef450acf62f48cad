"""Several monitors and one log: an honest log is never convicted, and a log that forks is, by everybody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.core import (
    CONVICTED,
    UNSERVED,
    WRONG_ENTRIES,
    Candidate,
    HeadSeen,
    ProofFound,
    Received,
    origin_id,
)
from gossip.messages import Consistency, Head
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy
from tests.sim.federation import Federation, SimMonitor
from tlog.evidence import Evidence, verify_evidence

ID = origin_id(ORIGIN)


def federation(
    log: FakeLog, names: str = "abc", *, seed: int = 0, loss: float = 0.0
) -> tuple[Federation, list[SimMonitor]]:
    monitors = [SimMonitor(name, log, seed) for name in names]
    return Federation(monitors, seed, loss), monitors


def forked(at: int, size: int, log: FakeLog) -> FakeLog:
    """A twin of the log that appended other entries after the first ``at``."""
    twin = log.fork(at)
    twin.add(size - at, "twin")
    return twin


def show(monitors: SimMonitor, twin: FakeLog, size: int, federation: Federation) -> None:
    """Route one monitor to the twin, which has no witnesses."""
    monitors.source = twin
    twin.publish(size, witnesses=())
    monitors.poll(federation.now)
    federation.settle()


def test_everybody_follows_an_honest_log_and_nobody_is_convicted() -> None:
    log = FakeLog()
    world, monitors = federation(log)
    for growth in (1, 1, 5, 250, 300):
        log.add(growth)
        log.publish()
        world.poll()
        world.run(2000)
    assert [(one.size, one.convictions, one.alarms) for one in monitors] == [(557, set(), [])] * 3


def test_a_push_reaches_monitors_that_did_not_poll() -> None:
    log = FakeLog()
    world, (first, *others) = federation(log)
    log.add(10)
    log.publish()
    first.poll(world.now)
    world.settle()
    assert [one.size for one in others] == [10, 10]


@pytest.mark.parametrize(
    ("at", "size"),
    [(4, 10), (0, 10), (9, 10), (4, 7), (5, 8), (0, 1), (7, 8), (0, 9)],
    ids=lambda number: str(number),
)
def test_a_fork_that_is_not_larger_convicts_at_once_and_everywhere(at: int, size: int) -> None:
    log = FakeLog()
    world, monitors = federation(log)
    log.add(10)
    log.publish()
    world.poll()
    show(monitors[0], forked(at, size, log), size, world)
    assert all(one.convictions for one in monitors)
    assert len({frozenset(one.convictions) for one in monitors}) == 1
    assert [kind for one in monitors for kind, _ in one.alarms] == [CONVICTED] * 3


def test_a_larger_fork_from_below_convicts_through_the_tiles_of_the_fork() -> None:
    log = FakeLog()
    world, monitors = federation(log)
    log.add(10)
    log.publish()
    world.poll()
    show(monitors[0], forked(6, 20, log), 20, world)
    assert all(one.convictions for one in monitors)


def test_a_private_extension_convicts_when_the_branch_reaches_its_size() -> None:
    log = FakeLog()
    world, monitors = federation(log)
    log.add(10)
    log.publish()
    world.poll()
    show(monitors[0], forked(10, 20, log), 20, world)
    assert [one.convictions for one in monitors] == [set()] * 3
    assert [one.state.branch(ID).pending[0].signed.size for one in monitors] == [20] * 3
    log.add(9)
    log.publish()
    world.poll()
    assert [one.convictions for one in monitors] == [set()] * 3
    log.add(1)
    log.publish()
    world.poll()
    assert all(one.convictions for one in monitors)


def test_a_head_beyond_anything_served_raises_an_alarm_and_is_never_adopted() -> None:
    log = FakeLog()
    world, monitors = federation(log, "ab")
    log.add(10)
    log.publish()
    world.poll()
    absurd = forked(5, 12, log)
    note = absurd.sign(head=type(absurd.head())(2**60, absurd.head().root_hash))
    monitors[0].dispatch(HeadSeen(ID, note), world.now)
    world.settle()
    world.run(599_000)
    assert [one.alarms for one in monitors] == [[], []]
    world.run(10_000)
    assert monitors[0].alarms == [(UNSERVED, f"size {2**60}")]
    log.add(1)
    log.publish()
    world.poll()
    assert [(one.size, one.convictions) for one in monitors] == [(11, set())] * 2


def test_a_head_without_quorum_is_told_once_and_never_adopted() -> None:
    log = FakeLog()
    world, monitors = federation(log)
    log.add(10)
    log.publish(witnesses=())
    world.poll()
    before = world.delivered
    world.poll()
    assert world.delivered == before
    assert [one.size for one in monitors] == [0, 0, 0]
    assert [len(one.state.branch(ID).pending) for one in monitors] == [1, 1, 1]


def test_the_quorum_may_come_later() -> None:
    log = FakeLog()
    world, monitors = federation(log)
    log.add(10)
    log.publish(witnesses=())
    world.poll()
    log.publish()
    world.poll()
    assert [one.size for one in monitors] == [10, 10, 10]


def test_a_colluding_quorum_splits_the_branches_and_both_sides_convict() -> None:
    log = FakeLog()
    log.add(8)
    twin = forked(5, 12, log)
    world, monitors = federation(log, "abcd")
    log.publish()
    twin.publish()
    for monitor in monitors[:2]:
        monitor.source = twin
    world.poll()
    assert sorted(one.size for one in monitors) != [0, 0, 0, 0]
    assert all(one.convictions for one in monitors)


def test_a_quorum_for_a_fork_of_the_own_branch_convicts_by_the_log_s_own_tiles() -> None:
    log = FakeLog()
    log.add(8)
    world, (monitor,) = federation(log, "a")
    log.publish()
    world.poll()
    twin = forked(5, 12, log)
    twin.publish()
    monitor.source = twin
    world.poll()
    assert monitor.size == 8
    assert monitor.convictions
    assert (WRONG_ENTRIES, "size 12") in monitor.alarms


def test_wrong_entries_alone_are_an_alarm_and_no_conviction() -> None:
    log = FakeLog()
    log.add(8)
    world, (monitor,) = federation(log, "a")
    log.publish()
    world.poll()
    log.add(4)
    log.publish()
    liar = forked(8, 12, log)
    liar.published = log.published
    monitor.source = liar
    world.poll()
    assert (monitor.size, monitor.convictions, monitor.alarms) == (8, set(), [(WRONG_ENTRIES, "size 12")])


def test_a_convicted_log_is_frozen() -> None:
    log = FakeLog()
    log.add(8)
    world, monitors = federation(log)
    log.publish()
    world.poll()
    show(monitors[0], forked(5, 8, log), 8, world)
    log.add(4)
    log.publish()
    world.poll()
    world.run(60_000)
    assert [one.size for one in monitors] == [8, 8, 8]


def test_all_ways_of_learning_lead_to_the_same_conviction() -> None:
    log = FakeLog()
    log.add(10)
    twin = forked(6, 20, log)
    root, path = twin.head(10).root_hash, twin.proof(10, 20)
    note = twin.sign(20, witnesses=())

    def learn(how: str) -> set[bytes]:
        monitor = SimMonitor("m", log)
        log.publish(10)
        monitor.poll(0)
        if how == "attached":
            monitor.dispatch(Received(b"p" * 32, (Head(ID, note, 2, 10, path),)), 0)
            return monitor.convictions
        monitor.dispatch(Received(b"p" * 32, (Head(ID, note, 2, None, ()),)), 0)
        match how:
            case "presenter":
                answer = Consistency(ID, 10, 20, root, twin.head().root_hash, path)
                monitor.dispatch(Received(b"p" * 32, (answer,)), 0)
            case "tiles":
                monitor.dispatch(ProofFound(ID, twin.head(), Candidate(10, root, path)), 0)
        return monitor.convictions

    verdicts = [learn(how) for how in ("attached", "presenter", "tiles")]
    assert len(verdicts[0]) == 1
    assert verdicts == [verdicts[0]] * 3


def test_evidence_found_by_one_convinces_a_stranger() -> None:
    log = FakeLog()
    log.add(10)
    world, (monitor, *_) = federation(log)
    log.publish()
    world.poll()
    show(monitor, forked(6, 9, log), 9, world)
    bundles = [held.bundle for held in monitor.state.evidence.values()]
    verdicts = [verify_evidence(Evidence.parse(bundle), [log.key.verifier_key]) for bundle in bundles]
    assert {verdict.id for verdict in verdicts} == monitor.convictions


def test_anti_entropy_brings_what_no_push_delivered() -> None:
    log = FakeLog()
    log.add(10)
    world, monitors = federation(log, loss=1.0)
    log.publish()
    monitors[0].poll(world.now)
    world.settle()
    assert [one.size for one in monitors] == [10, 0, 0]
    world.loss = 0.0
    world.run(60_000)
    assert [one.size for one in monitors] == [10, 10, 10]
    world.loss = 1.0
    show(monitors[0], forked(6, 9, log), 9, world)
    assert [bool(one.convictions) for one in monitors] == [True, False, False]
    world.loss = 0.0
    world.run(60_000)
    assert len({frozenset(one.convictions) for one in monitors}) == 1


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> list[list[str]]:
        log = FakeLog()
        world, monitors = federation(log, "abcde", seed=7, loss=0.3)
        for round_ in range(4):
            log.add(3)
            log.publish()
            world.poll()
            world.run(15_000)
            if round_ == 2:
                show(monitors[1], forked(4, 11, log), 11, world)
        return [monitor.trace for monitor in monitors]

    assert run() == run()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_honest_log_is_never_convicted_whatever_gets_lost(data: st.DataObject) -> None:
    log = FakeLog()
    world, monitors = federation(
        log, "abc", seed=data.draw(st.integers(0, 999)), loss=data.draw(st.sampled_from([0, 0.3]))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        log.add(data.draw(st.integers(0, 20)))
        older = data.draw(st.integers(0, log.size))
        quorum = data.draw(st.booleans())
        log.publish(older, WITNESSES if quorum else ())
        for monitor in data.draw(st.sets(st.sampled_from(monitors))):
            monitor.poll(world.now)
        if data.draw(st.booleans()):
            world.settle()
        world.run(data.draw(st.integers(0, 20_000)))
    assert [one.convictions for one in monitors] == [set()] * 3


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_fork_seen_by_one_is_convicted_by_all_once_the_branch_has_reached_it(data: st.DataObject) -> None:
    log = FakeLog()
    log.add(data.draw(st.integers(1, 40)))
    twin = forked(data.draw(st.integers(0, log.size - 1)), log.size + data.draw(st.integers(0, 30)), log)
    size = data.draw(st.integers(1, twin.size))
    world, monitors = federation(
        log, "abcd", seed=data.draw(st.integers(0, 999)), loss=data.draw(st.sampled_from([0, 0.3]))
    )
    log.publish()
    world.poll()
    show(monitors[0], twin, size, world)
    log.add(40)
    log.publish()
    for _ in range(20):
        world.poll()
        world.run(30_000)
    diverged = size <= log.size and twin.head(size) != log.head(size)
    assert [bool(one.convictions) for one in monitors] == [diverged] * 4


def test_a_log_without_witnesses_is_followed_under_a_policy_that_asks_for_none() -> None:
    log = FakeLog()
    log.add(3)
    log.publish(witnesses=())
    monitor = SimMonitor("m", log, judge=policy(log.key, (), None))
    monitor.poll(0)
    assert monitor.size == 3
