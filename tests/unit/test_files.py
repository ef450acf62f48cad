"""Files that are there whole or not at all."""

import itertools
import os
from pathlib import Path

import pytest

from runtime.files import create_file, replace_file, replace_files


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


def test_many_files_are_replaced_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    replace_file(tmp_path / "0", b"old")
    paths = [tmp_path / "0", tmp_path / "folder" / "0", *(tmp_path / str(number) for number in range(1, 20))]
    replace_files([(path, path.name.encode()) for path in paths], mode=0o640)
    replace_files([])
    assert {(path.read_bytes(), path.stat().st_mode & 0o777) for path in paths} == {
        (b"%d" % number, 0o640) for number in range(20)
    }
    assert len([*tmp_path.iterdir()]) == 21


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_failure_among_many_files_leaves_whole_files_and_no_drafts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    real, calls = getattr(os, failing), itertools.count()

    def fail(*arguments: object, **more: object) -> None:
        if next(calls) == 3:
            raise OSError(5, "Input/output error")
        real(*arguments, **more)

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="Input/output error"):
        replace_files([(tmp_path / str(number), b"content") for number in range(9)])
    left = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert set(left.values()) <= {b"content"}
    assert len(left) == (0 if failing == "fsync" else 3)


def test_each_directory_is_synced_after_all_files_have_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    paths = [tmp_path / "a", tmp_path / "folder" / "b", tmp_path / "c"]
    synced: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        whole = all(path.exists() for path in paths)
        synced.append((Path(f"/proc/self/fd/{descriptor}").resolve().is_dir(), whole))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    replace_files([(path, b"content") for path in paths])
    assert synced == [(False, False)] * 3 + [(True, True)] * 2
