"""fsck holds the history that a log serves to its tree, and names the row of which one bit is wrong."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.errors import CannotTell
from sameview.fsck import check
from sameview.fsck import history as checking
from tests.commands import Sameview
from tests.fakes_log import FakeLog
from tests.keys import log_key, mldsa_key
from tests.log_nodes import make_log, open_log
from tests.served import Served, served
from tlog.errors import ProofError
from tlog.note import Note
from tlog.text import encode_base64
from tlog.trust import Trust

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN), mldsa_key(ORIGIN)]
TRUST = Trust(tuple(key.verifier_key for key in KEYS))
STEP = 60
SIZES = [0, *range(STEP, 5 * STEP + 1, STEP)]  # over a full tile


@asynccontextmanager
async def log_with_history(directory: Path) -> AsyncIterator[Served]:
    """A log that published a checkpoint of each size."""
    await make_log(directory, ORIGIN)
    async with open_log(directory, KEYS) as opened, served(opened.app.app()) as asked:
        await opened.publisher.publish()
        for size in SIZES[1:]:
            await opened.add(*(b"%d" % number for number in range(size - STEP, size)))
            await opened.publisher.publish()
        yield asked


def change(directory: Path, statement: str) -> None:
    with closing(sqlite3.connect(directory / "log.sqlite")) as database, database:
        database.create_function("flip", 2, flip)
        assert database.execute(statement).rowcount == 1


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


async def test_a_sound_history_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at_once in (100, 2):
        monkeypatch.setattr(checking, "ROWS_AT_ONCE", at_once)
        monkeypatch.setattr(checking, "MAX_TILES", 1)
        folder = tmp_path / str(at_once)
        folder.mkdir()
        async with log_with_history(folder) as asked:
            assert (await check(asked.url, TRUST, history=True)).history == len(SIZES)


async def test_the_command_says_how_many_it_checked(sameview: Sameview, tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        fsck = partial(sameview, "fsck", asked.url, "--history", "--vkey", KEYS[0].verifier_key)
        assert "6 earlier and present checkpoints" in (await trio.to_thread.run_sync(fsck)).out
        assert (await trio.to_thread.run_sync(partial(fsck, "--json"))).document["history"] == len(SIZES)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("note = flip(note, 20)", 180),  # its size or its root
        ("note = flip(note, length(note) - 90)", 180),  # a signature
        ("root_hash = flip(root_hash, 31)", 180),
        ("size = 181", 181),
        ("note = (SELECT note FROM checkpoint WHERE size = 120)", 180),
    ],
)
async def test_one_flipped_bit_of_a_row_is_named(tmp_path: Path, changed: str, named: int) -> None:
    async with log_with_history(tmp_path) as asked:
        change(tmp_path, f"UPDATE checkpoint SET {changed} WHERE size = 180")
        assert (await check(asked.url, TRUST)).head.size == SIZES[-1]
        with pytest.raises(ProofError, match=f"^v1/checkpoints/{named}: "):
            await check(asked.url, TRUST, history=True)


async def test_a_row_about_a_signature_is_held_to_the_note(tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        one = f"size = 120 AND key_id = x'{KEYS[0].verifier_key.id.hex()}'"
        change(tmp_path, f"UPDATE checkpoint_signature SET key_id = flip(key_id, 0) WHERE {one}")
        with pytest.raises(ProofError, match=r"^v1/checkpoints/120: the history names other signatures"):
            await check(asked.url, TRUST, history=True)


class Liar:
    """A log whose history holds a checkpoint that it signed and that is none of its tree."""

    def __init__(self, row: bytes | None = None, page: bytes = b'{"checkpoints": [{"size": 1}], "next": null}') -> None:
        self.page = page
        self.log = FakeLog([b"one", b"two", b"three"])
        self.log.publish()
        other = FakeLog([b"another"])
        root_hash = encode_base64(other.head().root_hash).decode()
        lines = Note.parse(other.sign()).signatures
        names = [{"name": line.name, "key_id": line.key_id.hex()} for line in lines]
        document = {"size": 1, "root_hash": root_hash, "note": other.sign().decode(), "signatures": names}
        self.row = row or json.dumps(document).encode()

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        if request.url.path == "/v1/checkpoints":
            return Response(self.page)
        if request.url.path == "/v1/checkpoints.ndjson":
            return Response(self.row + b"\n")
        return Response(self.log.serve(request.url.path[1:]))


async def test_a_signed_checkpoint_of_another_history_is_named() -> None:
    liar = Liar()
    async with served(liar.app()) as asked:
        with pytest.raises(ProofError, match="v1/checkpoints/1: the log signed it, and it is not a beginning"):
            await check(asked.url, Trust((liar.log.key.verifier_key,)), history=True)


@pytest.mark.parametrize("row", [b"[]", b"{", b"\xff"])
async def test_what_is_no_row_is_said_to_be_none(row: bytes) -> None:
    liar = Liar(row)
    async with served(liar.app()) as asked:
        with pytest.raises(ProofError, match="this is not how a log writes its history"):
            await check(asked.url, Trust((liar.log.key.verifier_key,)), history=True)


async def test_a_history_without_an_end_is_not_read_for_ever() -> None:
    honest = FakeLog([b"one", b"two", b"three"])
    lines = Note.parse(honest.sign(1)).signatures
    row = {
        "size": 1,
        "root_hash": encode_base64(honest.head(1).root_hash).decode(),
        "note": honest.sign(1).decode(),
        "signatures": [{"name": line.name, "key_id": line.key_id.hex()} for line in lines],
    }
    liar = Liar(json.dumps(row).encode(), b'{"checkpoints": [{"size": 1}], "next": "again"}')
    async with served(liar.app()) as asked:
        with trio.fail_after(60), pytest.raises(ProofError, match="does not go on where the last one ended"):
            await check(asked.url, Trust((liar.log.key.verifier_key,)), history=True)
    empty = Liar(page=b'{"checkpoints": [], "next": "again"}')
    async with served(empty.app()) as asked:
        with trio.fail_after(60):
            assert (await check(asked.url, Trust((empty.log.key.verifier_key,)), history=True)).history == 0


async def test_files_without_a_log_have_no_history(tmp_path: Path) -> None:
    async with log_with_history(tmp_path):
        with pytest.raises(CannotTell, match="sameview log replay"):
            await check(str(tmp_path / "public"), TRUST, history=True)
