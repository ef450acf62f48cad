"""Test data made by other implementations and by running logs, read in place and never copied into the project.

The folder is ``../shared/vectors`` beside the checkout, or what ``SAMEVIEW_VECTORS`` names. Where it is missing the
tests that need it skip with a sentence; where ``CI=true`` promises it, they fail.
"""

import os
from pathlib import Path

import pytest

VECTORS = Path(os.environ.get("SAMEVIEW_VECTORS") or Path(__file__).resolve().parents[2] / "shared" / "vectors")


def vector(relative: str) -> Path:
    """The path of one file or folder of the vectors. A name that does not exist in a present folder is our mistake."""
    if not VECTORS.is_dir():
        _missing()
    path = VECTORS / relative
    if not path.exists():
        pytest.fail(f"there is no vector {relative}")
    return path


def vector_files(folder: str, pattern: str = "**/*") -> list[Path]:
    """Every file below a folder of the vectors that matches, sorted: for loops and for ``parametrize``.

    While tests are collected and the vectors are missing this is the empty list, so that the parametrized test, and
    only that one, is skipped.
    """
    if not VECTORS.is_dir() and not _running_a_test() and not _required():
        return []
    files = sorted(path for path in vector(folder).glob(pattern) if path.is_file())
    if not files:
        pytest.fail(f"no vector matches {pattern} in {folder}")
    return files


def _missing() -> None:
    sentence = "the vectors are missing: set SAMEVIEW_VECTORS to the folder that holds them"
    if _required():
        pytest.fail(sentence)
    pytest.skip(sentence, allow_module_level=True)


def _required() -> bool:
    return os.environ.get("CI") == "true"


def _running_a_test() -> bool:
    return "PYTEST_CURRENT_TEST" in os.environ
