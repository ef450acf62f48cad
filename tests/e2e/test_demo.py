"""The demo's claims, as a script sees them: separate processes, a log that lies, evidence that verifies."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SECONDS = 400  # the demo itself takes well under a minute on two idle cores; under coverage on a busy machine, more


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
def test_nobody_is_convicted_where_nobody_lies(demo: dict[str, Any]) -> None:
    assert demo["honest"]["held"]
    assert demo["honest"]["evidence"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "evidence_type"), [("split-same-size", "same-size"), ("split-sizes", "non-consistent")]
)
def test_a_log_that_shows_one_monitor_another_tree_is_convicted_by_all(
    scenario: str, evidence_type: str, demo: dict[str, Any]
) -> None:
    report = demo[scenario]
    assert report["held"]
    (file,) = map(Path, report["evidence"])
    assert f"type {evidence_type}".encode() in file.read_bytes()
    vkey = (file.parent / f"log-{scenario}-ed25519.vkey").read_text().strip()
    verdict = sameview("verify", "evidence", str(file), "--vkey", vkey)
    assert (verdict.returncode, evidence_type in verdict.stdout) == (0, True)


def test_an_unknown_scenario_is_a_usage_error_that_names_the_known_ones() -> None:
    done = sameview("demo", "--scenario", "no-such")
    assert done.returncode == 2
    assert "split-sizes" in done.stderr


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    done = sameview("demo", "--dir", str(tmp_path))
    assert done.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
