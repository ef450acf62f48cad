"""The demo's claims, as a script sees them: separate processes, some of which lie, and evidence that verifies."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sameview.lab.scenarios import SCENARIOS

SECONDS = 480  # the demo itself takes less than a minute on two idle cores; under coverage on a busy machine, more

NO_EVIDENCE = ("honest", "silent-witnesses", "freeze")

# Whose evidence a scenario ends in: what it may be, and the file that holds the vkey of the accused.
EVIDENCE = (
    ("split-same-size", {"same-size"}, "log-split-same-size-ed25519"),
    ("split-sizes", {"non-consistent"}, "log-split-sizes-ed25519"),
    ("rollback", {"log-rollback"}, "log-rollback-mldsa44"),
    ("private-fork", {"openings", "non-consistent"}, "log-private-fork-ed25519"),
    ("lying-monitor", {"cosigner-rollback"}, "m4-observer"),
    ("lying-witness", {"same-size", "non-consistent"}, "log-lying-witness-ed25519"),
    ("lying-witness", {"cosigner-same-size", "cosigner-non-consistent", "cosigner-rollback"}, "w3-"),
)


def sameview(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sameview", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("demo")
    done = sameview("demo", "--scenario", "all", "--json", "--keep", "--dir", str(directory))
    assert done.returncode == 0, done.stderr[-4000:]
    return {scenario["name"]: scenario for scenario in json.loads(done.stdout)["scenarios"]}


@pytest.mark.slow
def test_all_scenarios_ran_and_every_claim_held(demo: dict[str, Any]) -> None:
    assert set(demo) == {*NO_EVIDENCE, *(name for name, _, _ in EVIDENCE)}
    assert [name for name, report in demo.items() if not report["held"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("scenario", NO_EVIDENCE)
def test_nobody_is_convicted_where_nobody_contradicts_themselves(scenario: str, demo: dict[str, Any]) -> None:
    assert demo[scenario]["evidence"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "types", "accused"), EVIDENCE)
def test_whoever_lies_is_convicted_by_evidence_that_a_stranger_verifies(
    scenario: str, types: set[str], accused: str, demo: dict[str, Any]
) -> None:
    files = [Path(file) for file in demo[scenario]["evidence"]]
    file = next(file for file in files if file.read_bytes().splitlines()[1].decode().split(" ")[1] in types)
    vkeys = [key.read_text().strip() for key in file.parent.glob(f"{accused}*.vkey")]
    verdict = sameview("verify", "evidence", str(file), *(word for vkey in vkeys for word in ("--vkey", vkey)))
    assert (verdict.returncode, verdict.stdout[:3]) == (0, "OK:")


@pytest.mark.slow
def test_every_lie_is_timed_from_first_sight_to_conviction_by_all(demo: dict[str, Any]) -> None:
    named = {name for name, _, _ in EVIDENCE}
    figures = {name: report["figures"] for name, report in demo.items()}
    timed = {name for name in figures if "seconds_from_first_sight_to_conviction_by_all" in figures[name]}
    assert timed == named


def test_the_help_names_every_scenario() -> None:
    said = sameview("demo", "--help").stdout
    assert [name for name in SCENARIOS if f"\n  {name}  " not in said] == []


def test_an_unknown_scenario_is_a_usage_error_that_names_the_known_ones() -> None:
    done = sameview("demo", "--scenario", "no-such")
    assert done.returncode == 2
    assert "split-sizes" in done.stderr


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = sameview("demo", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
