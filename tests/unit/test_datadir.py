"""Data directories: made once, used by one process, and never made anew when they are gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.datadir import DataDirectory
from runtime.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from runtime.datadir import DataDirectory
with DataDirectory(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path / "data")
    assert directory.path.stat().st_mode & 0o777 == 0o700


def test_an_empty_directory_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert DataDirectory.create(tmp_path / "data").path == tmp_path / "data"


def test_a_directory_with_something_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "log.sqlite").touch()
    with pytest.raises(UsageError, match=r"`init` makes new state only, .* run `serve`"):
        DataDirectory.create(tmp_path / "data")


@pytest.mark.parametrize("path", ["nowhere/data", "file/data", "file"])
def test_a_directory_that_cannot_be_made_says_why(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make the directory"):
        DataDirectory.create(tmp_path / path)


def test_a_missing_directory_is_not_made_by_opening(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `sameview log init` once to make it"):
        DataDirectory.open(tmp_path / "data", init="sameview log init")
    assert not (tmp_path / "data").exists()


def test_an_existing_directory_is_opened(tmp_path: Path) -> None:
    made = DataDirectory.create(tmp_path / "data")
    assert DataDirectory.open(tmp_path / "data", init="sameview log init") == made


def test_a_second_process_is_told_who_has_the_directory(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path / "data")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(UsageError, match=f"is in use by process {holder.pid}: stop it first"), directory.lock():
            pass
        holder.kill()
    with directory.lock():  # however it ended, the lock went with it
        pass


def test_a_lock_is_released_and_can_be_taken_again(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path / "data")
    for _ in range(2):
        with directory.lock():
            pass


def test_a_holder_that_left_no_number_is_called_another_process(tmp_path: Path) -> None:
    directory = DataDirectory.create(tmp_path / "data")
    with directory.lock():
        (directory.path / "lock").write_bytes(b"")
        with pytest.raises(UsageError, match="is in use by another process"), directory.lock():
            pass


def test_a_lock_that_cannot_be_marked_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    directory = DataDirectory.create(tmp_path / "data")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(UsageError, match="No space left on device"), directory.lock():
            pass
    with directory.lock():
        pass


def test_a_directory_that_cannot_be_locked_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot lock"), DataDirectory(tmp_path / "nowhere").lock():
        pass
