"""A folder is read as a web server would serve it."""

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from runtime.client import Failure, FetchError
from runtime.local import fetch_file


async def get(path: str, cap: int = 100, method: str = "GET") -> tuple[int, bytes]:
    response = await fetch_file(method, f"file://{path}", cap=cap, seconds=1.0)
    return response.status, response.body


async def test_a_file_is_an_answer_and_what_is_not_there_is_a_404(tmp_path: Path) -> None:
    (tmp_path / "tile").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    assert await get(f"{tmp_path}/tile") == (200, b"abc")
    assert await get(f"{tmp_path}/empty") == (200, b"")
    for name in ("other", "tile/0", "pipe", ""):
        assert await get(f"{tmp_path}/{name}") == (404, b"")


async def test_escapes_stand_for_bytes(tmp_path: Path) -> None:
    (tmp_path / "a ü%").write_bytes(b"x")
    assert await get(quote(f"{tmp_path}/a ü%")) == (200, b"x")


async def test_a_file_may_be_as_large_as_the_cap(tmp_path: Path) -> None:
    (tmp_path / "tile").write_bytes(b"abc")
    assert await get(f"{tmp_path}/tile", cap=3) == (200, b"abc")
    with pytest.raises(FetchError) as refused:
        await get(f"{tmp_path}/tile", cap=2)
    assert refused.value.failure is Failure.TOO_LARGE


async def test_a_folder_can_only_be_read(tmp_path: Path) -> None:
    with pytest.raises(FetchError):
        await get(f"{tmp_path}/tile", method="POST")
    with pytest.raises(FetchError):
        await fetch_file("GET", "http://127.0.0.1/", cap=1, seconds=1.0)


async def test_a_file_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot be read"):
        await get(f"{tmp_path}/{'x' * 300}")
