import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from runtime.version import version_document, version_line


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "first"], check=True)
    return tmp_path


def test_names_the_version_of_the_distribution_and_the_commit_of_the_checkout(checkout: Path) -> None:
    document = version_document(checkout)
    assert document["version"] == version("sameview")
    assert re.fullmatch(r"[0-9a-f]{7,40}", document["commit"])


def test_outside_a_checkout_the_commit_is_unknown(checkout: Path) -> None:
    installed = checkout / "lib"
    installed.mkdir()
    assert version_document(installed)["commit"] == "unknown"


def test_where_git_cannot_tell_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").write_text("nonsense")
    assert version_document(tmp_path)["commit"] == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version_document(tmp_path)["commit"] == "unknown"


def test_the_line_holds_both() -> None:
    document = version_document()
    assert version_line() == f"sameview {document['version']} (commit {document['commit']})"
