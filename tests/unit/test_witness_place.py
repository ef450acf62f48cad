"""What a witness remembers of where it ran."""

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from runtime.errors import UsageError
from witness import place
from witness.place import changes, identify


def here(directory: Path) -> str:
    (directory / "data").mkdir(exist_ok=True)
    for name in ("database", "register"):
        (directory / name).touch()
    return identify(directory / "data", directory / "database", directory / "register")


def test_the_same_place_is_recognised(tmp_path: Path) -> None:
    assert changes(here(tmp_path), here(tmp_path)) == []


def test_a_witness_that_never_ran_remembers_nothing(tmp_path: Path) -> None:
    assert changes(None, here(tmp_path)) == ["host", "boot", "directory", "database", "register"]


@pytest.mark.parametrize("name", ["database", "register"])
def test_a_file_that_was_put_in_place_of_another_is_a_change(name: str, tmp_path: Path) -> None:
    before = here(tmp_path)
    (tmp_path / "copy").touch()
    (tmp_path / "copy").rename(tmp_path / name)
    assert changes(before, here(tmp_path)) == [name]


@pytest.mark.parametrize("name", ["database", "register"])
def test_a_file_that_was_deleted_and_made_again_is_a_change(name: str, tmp_path: Path) -> None:
    """Even where it gets the inode number of the one before."""
    for _ in range(100):
        before = here(tmp_path)
        number, born = (tmp_path / name).stat().st_ino, place._born(tmp_path / name)
        (tmp_path / name).unlink()
        (tmp_path / name).touch()
        # The clock of the file system may stand still for some milliseconds.
        if (tmp_path / name).stat().st_ino == number and place._born(tmp_path / name) != born:
            assert changes(before, here(tmp_path)) == [name]
            return
    pytest.skip("this file system does not use numbers again, or does not say when a file was born")


def test_a_directory_whose_files_were_written_over_in_place_is_a_change(tmp_path: Path) -> None:
    before = here(tmp_path)
    while changes(before, here(tmp_path)) == []:  # as long as the clock of the file system stands still
        (tmp_path / "data" / "place").write_bytes((tmp_path / "data" / "place").read_bytes())
    assert changes(before, here(tmp_path)) == ["directory"]


def test_a_directory_whose_mark_is_gone_is_a_change(tmp_path: Path) -> None:
    before = here(tmp_path)
    (tmp_path / "data" / "place").unlink()
    assert changes(before, here(tmp_path)) == ["directory"]


def test_a_witness_of_before_the_mark_asks_once(tmp_path: Path) -> None:
    """What it remembers says nothing about when its files were born."""
    after = here(tmp_path)
    database = (
        f"{tmp_path / 'database'} {os.stat(tmp_path / 'database').st_dev} {os.stat(tmp_path / 'database').st_ino}"
    )
    remembered = [*after.split("\n")[:2], f"database {sha256(database.encode()).hexdigest()}"]
    assert changes("\n".join(remembered), after) == ["directory", "database", "register"]


def test_where_nothing_says_when_files_were_born_their_numbers_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    test_the_same_place_is_recognised(tmp_path)
    test_a_file_that_was_put_in_place_of_another_is_a_change("database", tmp_path)


def test_birth_is_the_systems(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = subprocess.run(["stat", "-c", "%w", tmp_path / "file"], capture_output=True, text=True, check=True).stdout
    if told.strip() == "-":
        assert place._born(tmp_path / "file") == ""
    else:
        assert told.split()[1].partition(".")[2] == place._born(tmp_path / "file").partition(".")[2]


def test_a_mark_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot make"):
        identify(tmp_path / "none", tmp_path, tmp_path)


def test_ids_are_kept_as_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "id").write_text("0123456789abcdef")
    monkeypatch.setattr(place, "_MACHINE_ID", tmp_path / "id")
    assert "0123456789abcdef" not in here(tmp_path)


def test_a_system_without_ids_is_known_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_MACHINE_ID", tmp_path / "none")
    monkeypatch.setattr(place, "_BOOT_ID", tmp_path / "none")
    assert changes(here(tmp_path), here(tmp_path)) == []


def test_a_file_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot look at"):
        identify(tmp_path, tmp_path / "none", tmp_path)
