"""Draws the figures of the documentation. Needs matplotlib (`make heavy`): ``python -m bench.simulation.plots``.

The same figures give the same bytes: no date, no random names inside, and text that stays text.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from bench.simulation.published import (
    POPULATIONS,
    PUBLISHED,
    ROUNDS,
    VICTIM_TAKES_PART,
    detected_by,
    median_round,
)

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"
RUNS = 10_000
SEED = 1
COLOURS = {50: "#0072b2", 100: "#d55e00", 200: "#009e73"}  # tell apart for everybody

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "sameview",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "sans-serif"],
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def draw_published(path: Path, curves: dict[int, Sequence[float]]) -> None:
    """Draw the published points, what comes out here, and ours."""
    from matplotlib import pyplot

    turns = range(1, ROUNDS + 1)
    asking = [1 - (1 - VICTIM_TAKES_PART) ** turn for turn in turns]
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    axes.plot(turns, asking, color="black", linestyle="--", label="asking one honest monitor")
    for clients, curve in curves.items():
        published = [point.detected for point in PUBLISHED[clients]]
        margins = [point.margin for point in PUBLISHED[clients]]
        label = f"{clients} clients, median {median_round(curve):.1f} rounds"
        axes.plot(turns, curve, color=COLOURS[clients], label=label)
        axes.errorbar(turns, published, margins, fmt="o", markersize=3, capsize=2, color=COLOURS[clients])
    axes.set_xlabel("rounds; the victim takes part in one of five")
    axes.set_ylabel("probability that the fork was detected")
    axes.set_xlim(0.5, ROUNDS + 0.5)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(1, ROUNDS + 1, 2))
    axes.set_title("Lines: simulated here. Points: as published, with 99 % intervals", fontsize=10)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def main() -> None:
    """Draw every figure."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / "published-gossip.svg"
    draw_published(path, {clients: detected_by(clients, RUNS, SEED) for clients in POPULATIONS})
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
