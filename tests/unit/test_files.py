"""Files that are there whole or not at all."""

import os
from pathlib import Path

import pytest

from runtime.files import create_file, replace_file


def test_a_file_is_created_with_its_content_and_mode(tmp_path: Path) -> None:
    create_file(tmp_path / "file", b"content", mode=0o640)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_file_that_exists_is_not_created(tmp_path: Path) -> None:
    create_file(tmp_path / "file", b"old")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_is_replaced(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", b"old")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("failing", ["fsync", "rename", "link"])
def test_a_failure_leaves_the_old_content_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    replace_file(tmp_path / "file", b"old")

    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, failing, fail)
    name = "new" if failing == "link" else "file"
    with pytest.raises(OSError, match="Input/output error"):
        (create_file if failing == "link" else replace_file)(tmp_path / name, b"new")
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"file": b"old"}


def test_the_directory_is_synced_after_the_file_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        # What has its name already when the directory is synced is what a crash cannot undo.
        synced.append(f"{Path(f'/proc/self/fd/{descriptor}').resolve() == tmp_path}, {(tmp_path / 'file').exists()}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    create_file(tmp_path / "file", b"content")
    replace_file(tmp_path / "file", b"content")
    assert synced == ["False, False", "True, True", "False, True", "True, True"]
