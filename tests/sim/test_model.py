"""All runs of the small federation of ``tests.sim.model``, and that the properties notice a broken rule."""

from functools import cache

import pytest

from tests.sim.model import NOTHING, Graph, Head, Model, noticed

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
