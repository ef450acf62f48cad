"""All runs of the small federation of ``tests.sim.model``, and that the properties notice a broken rule."""

from collections.abc import Iterator
from functools import cache

import pytest

from tests.sim.model import HEADS, NOTHING, START, Graph, Head, Model, Monitor, State, agree, noticed, replace_monitor

HONEST = Model(forks=False, views=("A", "A"))
SPLIT_VIEW = Model()
SHOWN_TO_CLIENTS = Model(views=("A", "A"))  # and B to nobody who mirrors it


FEW = 7  # steps: a broken rule shows early


@cache
def graph_of(model: Model) -> Graph:
    return Graph.of(model)


def test_an_honest_log_is_never_framed() -> None:
    graph = Graph.of(HONEST)
    assert list(graph.framed()) == []
    assert list(graph.undecided()) == []
    # The whole history is followed in some of the runs.
    assert any(all(monitor.branch.size == 4 for monitor in state.monitors) for state in graph.steps)


@pytest.mark.parametrize("model", [SPLIT_VIEW, SHOWN_TO_CLIENTS], ids=["split view", "shown to clients"])
class TestAForkedLog:
    def test_honest_witnesses_never_go_back_or_over(self, model: Model) -> None:
        assert list(graph_of(model).unsteady()) == []

    def test_what_the_branch_reaches_is_decided(self, model: Model) -> None:
        assert list(graph_of(model).undecided()) == []

    def test_is_convicted_or_visibly_frozen(self, model: Model) -> None:
        assert list(graph_of(model).escapes()) == []

    def test_no_step_leads_back_so_fairness_decides(self, model: Model) -> None:
        assert list(graph_of(model).cycles()) == []

    def test_can_be_convicted_and_can_freeze(self, model: Model) -> None:
        states = graph_of(model).steps
        assert any(all(monitor.convicted for monitor in state.monitors) for state in states)
        assert any(noticed(state) and not any(m.convicted for m in state.monitors) for state in states)


# Negative controls: without the rule the property fails.


def test_a_monitor_that_believes_claims_frames_an_honest_log() -> None:
    graph = Graph.of(Model(forks=False, views=("A", "A"), believes_claims=True), FEW)
    assert list(graph.framed())


def test_a_witness_that_signs_without_checking_goes_over() -> None:
    graph = Graph.of(Model(cosigns=lambda known, new: new.size >= known.size), FEW)
    assert list(graph.unsteady())


def test_a_witness_that_looks_at_nothing_goes_back() -> None:
    graph = Graph.of(Model(forks=False, views=("A", "A"), cosigns=lambda known, new: True), FEW)
    assert list(graph.unsteady())
    assert list(graph.cycles())


def test_a_monitor_that_does_not_review_leaves_forks_undecided() -> None:
    graph = Graph.of(Model(views=("A", "A"), reviews=False), FEW)
    assert list(graph.undecided())


def test_without_a_link_a_split_view_stays_unnoticed() -> None:
    escapes = list(Graph.of(Model(linked=False)).escapes())
    assert any({m.branch for m in state.monitors} == {Head(3, "A"), Head(4, "B")} for state in escapes)
    assert all(NOTHING not in {m.branch for m in state.monitors} for state in escapes)


# What specs/model/gossip.tla says, name by name, without a signature, a tree or a proof.


def settled(b: Head, h: Head) -> bool:
    return h.size <= b.size and agree(b, h)


def contradicts(b: Head, p: frozenset[Head], h: Head, proof: bool) -> bool:
    by_branch = b != NOTHING and not agree(b, h) and (h.size <= b.size or proof)
    return by_branch or any(g.size == h.size and g != h for g in p)


def judged(m: Monitor, h: Head, proof: bool) -> Monitor:
    if m.convicted:
        return m
    if contradicts(m.branch, m.pending - {h}, h, proof):
        return Monitor(m.branch, frozenset(), True)
    return m._replace(pending=m.pending - {h} if settled(m.branch, h) else m.pending | {h})


def followed(m: Monitor, h: Head) -> Monitor:
    if any(g.size <= h.size and not agree(g, h) for g in m.pending):
        return Monitor(h, frozenset(), True)
    return Monitor(h, frozenset(g for g in m.pending if g.size > h.size), False)


def next_states(state: State, forks: bool, two_views: bool) -> Iterator[State]:
    signed, (one, other), monitors = state
    for h in HEADS if forks else HEADS[:3]:
        if h not in signed and (h.size == 2 or any(g.size == h.size - 1 and agree(g, h) for g in signed)):
            yield state._replace(signed=signed | {h})
    for h in signed:
        for mine, rest in ((one, other), (other, one)):
            if mine.size <= h.size and agree(mine, h):
                low, high = sorted((h, rest))
                yield state._replace(witnesses=(low, high))
        for i, m in enumerate(monitors):
            view = "B" if two_views and i == 1 else "A"
            yield from (replace_monitor(state, i, judged(m, h, proof)) for proof in (False, True))
            shown = h.branch == view or h.size <= 2
            if not m.convicted and shown and h.size > m.branch.size and h in (one, other):
                yield replace_monitor(state, i, followed(m, h))
    for i, m in enumerate(monitors):
        peer = monitors[1 - i]
        if peer.branch != NOTHING:
            yield replace_monitor(state, i, judged(m, peer.branch, True))
        yield from (replace_monitor(state, i, judged(m, h, False)) for h in peer.pending)
        if peer.convicted:
            yield replace_monitor(state, i, Monitor(m.branch, frozenset(), True))


@pytest.mark.parametrize(("model", "two_views"), [(HONEST, False), (SPLIT_VIEW, True), (SHOWN_TO_CLIENTS, False)])
def test_the_program_takes_the_steps_of_the_written_model_and_no_others(model: Model, two_views: bool) -> None:
    steps = graph_of(model).steps
    assert START in steps
    for state, afters in steps.items():
        written = {after for after in next_states(state, model.forks, two_views) if after != state}
        assert written == set(afters)
