"""The simulator itself: one seed is one run, in every process; what it computes by arithmetic is what was published."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench._events import LONGEST
from bench.gossip_sim import REFERENCE, TIMES, events_row
from bench.simulation.engine import SECOND, Engine, Streams
from bench.simulation.memory import remembered
from bench.simulation.published import POPULATIONS, PUBLISHED, VICTIM_TAKES_PART, detected_by, detected_by_asking
from bench.simulation.rounds import (
    COLUMNS,
    REFERENCE_HOPS,
    REFERENCE_ROUNDS,
    expected_rounds,
    floods_table,
    rounds_table,
)
from bench.simulation.runs import PATIENCE, Setting, detection
from bench.simulation.stories import FAULTS, Plot, story
from bench.simulation.traffic import traffic

ROOT = Path(__file__).resolve().parents[2]
BUSY = Plot("double-cosigner", ("replay",), ("loss", "duplicates", "partition", "crash", "clock"), 5)


@pytest.fixture(autouse=True)
def verified_once() -> Iterator[None]:
    with remembered():
        yield


def test_what_is_due_first_happens_first_and_ties_keep_their_order() -> None:
    engine = Engine()
    seen: list[tuple[int, str]] = []
    for time, name in ((5, "late"), (3, "one"), (3, "two"), (4, "between")):
        engine.at(time, lambda name=name: seen.append((engine.now, name)))  # type: ignore[misc]
    engine.run(4)
    assert (seen, engine.now) == ([(3, "one"), (3, "two"), (4, "between")], 4)


def test_nothing_happens_in_the_past() -> None:
    engine = Engine()
    engine.run(SECOND)
    with pytest.raises(AssertionError, match="past"):
        engine.at(0, lambda: None)


def test_a_stream_of_chance_does_not_depend_on_what_others_draw() -> None:
    alone, beside = Streams(7), Streams(7)
    beside["loss"].random()
    assert alone["delays"].random() == beside["delays"].random()


def test_other_seeds_and_other_names_give_other_chance() -> None:
    drawn = [Streams(seed)[name].random() for seed in (1, 2) for name in ("loss", "delays")]
    assert len(set(drawn)) == 4


def test_the_trace_tells_different_parts_apart() -> None:
    def trace(*parts: bytes) -> str:
        engine = Engine()
        engine.record(*parts)
        return engine.trace

    assert len({trace(b"ab", b"c"), trace(b"a", b"bc"), trace(b"abc"), trace(b"abc", b"")}) == 4


def test_one_seed_gives_one_trace_in_every_process() -> None:
    program = f"from bench.simulation.stories import Plot, story\nprint(story({BUSY!r}, 3).trace)\n"
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1


def test_another_seed_gives_another_trace() -> None:
    assert story(BUSY, 3).trace != story(BUSY, 4).trace


def test_remembering_what_was_verified_changes_nothing() -> None:
    plot = Plot("smaller", ("replay",), ("loss",), 4)
    with_memory = story(plot, 5).trace
    program = f"from bench.simulation.stories import Plot, story\nprint(story({plot!r}, 5).trace)\n"
    without = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert without.stdout.strip() == with_memory


@pytest.mark.parametrize("size", REFERENCE_ROUNDS)
def test_the_recursion_gives_the_reference_s_rounds(size: int) -> None:
    expected = [int(cell[0]) for cell in REFERENCE_ROUNDS[size]]
    assert [expected_rounds(size, setting) for setting in COLUMNS] == expected


def test_simulated_rounds_are_within_one_of_the_recursion() -> None:
    cells = rounds_table((100, 1_000), {100: 60, 1_000: 5}, 1)
    assert [cell for cell in cells if not cell["within_one_of_recursion"]] == []


def test_evidence_floods_a_graph_in_the_reference_s_hops() -> None:
    cells = floods_table((100, 1_000), {100: 30, 1_000: 4}, 1)
    far = [
        cell
        for cell in cells
        if isinstance(cell["hops_mean"], float)
        and isinstance(cell["reference_hops"], float)
        and abs(cell["hops_mean"] - cell["reference_hops"]) > 0.5
    ]
    assert (far, len(cells)) == ([], sum(hops is not None for size in (100, 1_000) for hops in REFERENCE_HOPS[size]))
    sent = [cell for cell in cells if cell["reference_messages_each"] is not None]
    assert [cell for cell in sent if not _close(cell["messages_each"], cell["reference_messages_each"])] == []
    assert len(sent) == 2


def _close(found: object, expected: object) -> bool:
    """To whom it comes from nothing is sent, which the reference did not leave out."""
    return isinstance(found, float) and isinstance(expected, float) and abs(found + 1 - expected) < 0.2


@pytest.mark.parametrize("setting", [one for one in REFERENCE if one.pushes], ids=str)
def test_the_reference_s_model_gives_the_reference_s_times(setting: Setting) -> None:
    row = events_row(setting, {10: 1_000, 100: 200, 1_000: 40}[setting.monitors])
    # Of 1,000 monitors the reference has the slowest of 30 runs, which is another figure each time.
    times = [name for name in TIMES if setting.monitors < 1_000 or name.endswith("p50")]
    assert [row[name] for name in times if not row[name]["within_tolerance"]] == []  # type: ignore[index]


def test_our_pushes_find_a_fork_sooner_than_a_question_for_a_proof_would() -> None:
    ours = sorted(detection(Setting(10), seed).first or PATIENCE for seed in range(1, 31))
    asked = events_row(Setting(10), 1_000)["detect_p50"]["seconds"]  # type: ignore[index]
    assert ours[15] < asked


@pytest.mark.parametrize("clients", POPULATIONS)
def test_the_published_protocol_detects_as_published(clients: int) -> None:
    curve = detected_by(clients, 1_500, 1)
    # 1,500 runs of ours and 2,000 of theirs: each of 60 points stays within five standard errors.
    assert max(abs(ours - one.detected) for ours, one in zip(curve, PUBLISHED[clients], strict=True)) < 0.085


def test_asking_a_monitor_detects_as_soon_as_the_victim_is_there() -> None:
    curve = detected_by_asking(4_000, 1)
    assert max(abs(ours - (1 - (1 - VICTIM_TAKES_PART) ** turn)) for turn, ours in enumerate(curve, 1)) < 0.04


def test_a_fork_that_one_of_a_hundred_follows_is_found_out_by_all_of_them() -> None:
    found = detection(Setting(100), 1)
    assert found.everybody is not None
    assert found.everybody < 1.5


def test_no_monitor_stays_with_a_fork_for_longer_than_the_links_take() -> None:
    """I3: a push, a question and its answer until somebody convicts, then one hop: all are linked to all."""
    for seed in range(1, 31):
        found = detection(Setting(10), seed)
        assert found.first is not None
        assert found.everybody is not None
        assert found.first <= 3 * LONGEST
        assert found.everybody <= found.first + LONGEST


def test_a_fork_is_found_out_by_anti_entropy_alone() -> None:
    found = detection(Setting(10, hostile=1 / 3, loss=0.2, pushes=False), 1)
    assert found.everybody is not None


def test_monitors_that_agree_send_summaries_and_nothing_else() -> None:
    quiet = traffic(8, 5, 0, 3, 1)
    kinds = quiet["by_message"]
    assert isinstance(kinds, dict)
    assert {kind for kind, sent in kinds.items() if sent} == {"Summary"}


def test_what_is_said_besides_pushes_does_not_grow_with_the_federation() -> None:
    few, many = (traffic(monitors, 100, 10, 2, 1)["anti_entropy_bytes_per_second"] for monitors in (3, 12))
    assert isinstance(few, float)
    assert isinstance(many, float)
    assert max(few, many) < 350  # half of what it may be


def test_every_fault_is_one_that_a_story_knows() -> None:
    assert set(BUSY.faults) <= set(FAULTS)
