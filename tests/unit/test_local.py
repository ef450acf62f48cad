"""A folder is read as a web server would serve it."""

import os
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

import runtime.local
from runtime.client import Failure, FetchError
from runtime.local import AT_ONCE, LocalFiles


async def get(path: str, cap: int = 100, method: str = "GET") -> tuple[int, bytes]:
    response = await LocalFiles().fetch(method, f"file://{path}", cap=cap, seconds=1.0)
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
        await LocalFiles().fetch("GET", "http://127.0.0.1/", cap=1, seconds=1.0)


async def test_a_file_that_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="cannot be read"):
        await get(f"{tmp_path}/{'x' * 300}")


async def test_a_disk_that_hangs_holds_up_nobody_else_and_not_for_longer_than_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tile").write_bytes(b"abc")
    answers, real = threading.Event(), runtime.local._read

    def hang(path: bytes, cap: int) -> bytes:
        if path.endswith(b"hangs"):
            answers.wait()
        return real(path, cap)

    monkeypatch.setattr(runtime.local, "_read", hang)
    slow = LocalFiles()

    async def late() -> None:
        with pytest.raises(FetchError) as refused:
            await slow.fetch("GET", f"file://{tmp_path}/hangs", cap=100, seconds=0.05)
        assert refused.value.failure is Failure.TIMEOUT

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(2 * AT_ONCE):
                nursery.start_soon(late)
            assert await get(f"{tmp_path}/tile") == (200, b"abc")
    finally:
        answers.set()
    await slow.fetch("GET", f"file://{tmp_path}/tile", cap=100, seconds=5.0)  # the threads are free again
