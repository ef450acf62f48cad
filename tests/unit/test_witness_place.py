"""What a witness remembers of where it ran."""

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
