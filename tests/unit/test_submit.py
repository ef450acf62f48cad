"""``log add`` against a log that answers what it is told to: busy, odd, and lying."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typing_extensions import override

from runtime.client import Client
from runtime.errors import CannotTell
from sameview import client as log_client
from sameview import submit
from tests.commands import Ran, Sameview
from tests.fakes_log import FakeLog
from tests.served import served
from tlog.proofs import prove_inclusion
from tlog.tiles import parse_entries
from tlog.tlog_proof import TlogProof


class Log:
    """A log in memory that takes entries. ``instead`` are the answers it gives to the next requests of a kind."""

    def __init__(self, **instead: list[Response]) -> None:
        self.log = FakeLog()
        self.instead = instead
        self.bodies: list[bytes] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/add", self._told("add", self._add), methods=["POST"]),
                Route("/add-batch", self._told("batch", self._add_batch), methods=["POST"]),
                Route("/v1/proofs/entry/{index:int}", self._told("proof", self._proof), methods=["GET"]),
            ]
        )

    def _told(self, kind: str, answer: Callable[[Request], object]) -> Callable[[Request], object]:
        async def told(request: Request) -> object:
            self.bodies.append(await request.body())
            return self.instead[kind].pop(0) if self.instead.get(kind) else answer(request)

        return told

    def _add(self, _request: Request) -> Response:
        return Response(b"%d\n" % self._append([self.bodies[-1]])[0])

    def _add_batch(self, _request: Request) -> Response:
        count, at = 0, 0
        while at < len(self.bodies[-1]):
            at += 2 + int.from_bytes(self.bodies[-1][at : at + 2], "big")
            count += 1
        return JSONResponse({"indexes": self._append(parse_entries(self.bodies[-1], count))})

    def _proof(self, request: Request) -> Response:
        return Response(self.proof(request.path_params["index"]))

    def proof(self, index: int) -> bytes:
        path = prove_inclusion(index, self.log.size, self.log.node)
        return TlogProof(index, tuple(path), self.log.sign()).format()

    def _append(self, entries: list[bytes]) -> list[int]:
        first = self.log.size
        self.log = FakeLog([*self.log.entries, *entries])
        return list(range(first, self.log.size))


async def add(sameview: Sameview, log: Log, *arguments: object) -> Ran:
    async with served(log.app()) as place:
        return await trio.to_thread.run_sync(partial(sameview, "log", "add", f"{place.url}/", *arguments))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a", "b", "empty")]
    for path, data in zip(paths, (b"one", b"two\n", b""), strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.parametrize("batch", [[], ["--batch"]])
async def test_adds_files_in_their_order_and_prints_their_indexes(
    sameview: Sameview, files: list[Path], batch: list[str]
) -> None:
    log = Log()
    ran = await add(sameview, log, *files, *batch)
    assert (ran.code, ran.err, log.log.entries) == (0, "", [b"one", b"two\n", b""])
    assert ran.out == "".join(f"{index}\t{file}\n" for index, file in enumerate(files))


async def test_a_batch_holds_as_many_entries_as_a_bundle(sameview: Sameview, tmp_path: Path) -> None:
    log, many = Log(), []
    for number in range(300):
        many.append(tmp_path / f"{number}")
        many[-1].write_bytes(b"%d" % number)
    ran = await add(sameview, log, *many, "--batch", "--json")
    assert [added["index"] for added in ran.document["added"]] == list(range(300))
    assert (len(log.bodies), log.log.entries) == (2, [b"%d" % number for number in range(300)])


async def test_writes_a_proof_for_each_entry(sameview: Sameview, files: list[Path], tmp_path: Path) -> None:
    log = Log()
    folder = tmp_path / "deep" / "proofs"
    ran = await add(sameview, log, *files, "--proof-out", folder, "--json")
    assert ran.document["added"][1] == {"file": str(files[1]), "index": 1, "proof": str(folder / "1.tlog-proof")}
    for index, file in enumerate(files):
        proof = folder / f"{index}.tlog-proof"
        verified = sameview("verify", "proof", proof, "--entry", file, "--vkey", log.log.key.verifier_key)
        assert verified.code == 0


async def test_waits_for_the_checkpoint_that_covers_the_entry(
    sameview: Sameview, files: list[Path], tmp_path: Path
) -> None:
    log = Log(proof=[Response(status_code=404), Response(status_code=503)])
    ran = await add(sameview, log, files[0], "--proof-out", tmp_path)
    assert (ran.code, ran.out) == (0, f"0\t{files[0]}\t{tmp_path / '0.tlog-proof'}\n")


async def test_asks_a_busy_log_again_when_it_says_so(sameview: Sameview, files: list[Path]) -> None:
    log = Log(add=[Response(status_code=503, headers={"retry-after": "0"}), Response(status_code=429)])
    assert (await add(sameview, log, files[0])).out == f"0\t{files[0]}\n"


async def test_a_log_that_stays_busy_tells_nothing(
    sameview: Sameview, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_client, "ADD_SECONDS", 0.5)
    ran = await add(sameview, Log(add=[Response(status_code=503)] * 99), files[0])
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("sameview: the log is too busy: try again later")


@pytest.mark.parametrize("more", [[], ["--batch"]])
async def test_without_a_checkpoint_it_prints_the_indexes_and_where_the_proofs_will_be(
    sameview: Sameview, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setattr(log_client, "PROOF_SECONDS", 0.3)
    ran = await add(sameview, Log(proof=[Response(status_code=404)] * 99), *files[:2], "--proof-out", tmp_path, *more)
    assert (ran.code, ran.out) == (3, f"0\t{files[0]}\n1\t{files[1]}\n")
    assert re.match(r"sameview: no published checkpoint covers entry (\d) yet: .*/v1/proofs/entry/\1\n", ran.err)


async def test_without_a_checkpoint_json_names_the_indexes_too(
    sameview: Sameview, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_client, "PROOF_SECONDS", 0.3)
    log = Log(proof=[Response(status_code=404)] * 99)
    ran = await add(sameview, log, files[0], "--proof-out", tmp_path, "--json")
    assert (ran.code, ran.document) == (3, {"added": [{"file": str(files[0]), "index": 0, "proof": None}]})


class FullLog(Log):
    """Takes two entries, and then has a problem."""

    @override
    def _add(self, request: Request) -> Response:
        return Response(status_code=500) if self.log.size == 2 else super()._add(request)


async def test_what_is_in_the_log_is_told_although_the_rest_is_not(sameview: Sameview, files: list[Path]) -> None:
    ran = await add(sameview, FullLog(), *files)
    assert (ran.code, ran.out) == (3, f"0\t{files[0]}\n1\t{files[1]}\n")
    assert ran.err.startswith("sameview: the log answered 500")


async def test_says_what_a_long_wait_is_for(
    sameview: Sameview, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "QUIET_SECONDS", 0.0)
    log = Log(proof=[Response(status_code=404)] * 2)
    ran = await add(sameview, log, files[0], "--proof-out", tmp_path)
    assert (ran.code, ran.out) == (0, f"0\t{files[0]}\t{tmp_path / '0.tlog-proof'}\n")
    assert ran.err == (
        "entry 0 is in the log; waiting for a checkpoint that covers it (the log's standard error says why)\n"
    )


async def test_a_log_that_publishes_no_checkpoint_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_client, "PROOF_SECONDS", 0.3)
    log = Log(proof=[Response(status_code=404)] * 99)
    async with served(log.app()) as place, Client() as client:
        with pytest.raises(CannotTell, match="no published checkpoint covers entry 0 yet"):
            await log_client.wait_proof(client, place.url, 0)


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (Response(status_code=404), 2, "the log answered 404: give the URL of a log that accepts entries"),
        (Response(status_code=413), 2, "the log answered 413"),
        (Response(status_code=500), 3, "the log answered 500: it has a problem of its own"),
        (Response(b"+5\n"), 2, "the answer is not that of a log"),
    ],
)
async def test_other_answers_end_with_a_sentence(
    sameview: Sameview, files: list[Path], answer: Response, code: int, sentence: str
) -> None:
    ran = await add(sameview, Log(add=[answer]), files[0])
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert ran.err.startswith(f"sameview: {sentence}")


async def test_an_answer_of_lists_in_lists_is_not_that_of_a_log(sameview: Sameview, files: list[Path]) -> None:
    ran = await add(sameview, Log(batch=[Response(b'{"indexes":[],"more":' + b"[" * 10_000)]), *files, "--batch")
    assert (ran.code, ran.err.startswith("sameview: the answer is not that of a log")) == (2, True)


@pytest.mark.parametrize("body", [{}, [], {"indexes": [1]}, {"indexes": "12"}, {"indexes": [1, 2, 3, 4]}])
async def test_a_batch_has_an_index_for_each_entry(sameview: Sameview, files: list[Path], body: object) -> None:
    ran = await add(sameview, Log(batch=[JSONResponse(body)]), *files, "--batch")
    assert (ran.code, ran.err.startswith("sameview: the answer is not that of a log")) == (2, True)


async def test_a_proof_that_does_not_hold_is_refused_and_not_kept(
    sameview: Sameview, files: list[Path], tmp_path: Path
) -> None:
    other = Log()
    other.log = FakeLog([b"other", b"entries"])
    for proof, sentence in (
        (other.proof(0), "the log's proof for entry 0 does not hold: the proof leads to another root"),
        (other.proof(1), "the log said that an entry has the index 0 and proved another one"),
    ):
        ran = await add(sameview, Log(proof=[Response(proof)]), files[0], "--proof-out", tmp_path / "out")
        assert (ran.code, ran.out, ran.err) == (1, f"0\t{files[0]}\n", f"sameview: {sentence}\n")
    assert list((tmp_path / "out").iterdir()) == []


async def test_what_is_no_proof_ends_with_2(sameview: Sameview, files: list[Path], tmp_path: Path) -> None:
    for answer in (Response(b"hello"), Response(status_code=400)):
        ran = await add(sameview, Log(proof=[answer]), files[0], "--proof-out", tmp_path)
        assert (ran.code, ran.err.count("\n")) == (2, 1)


async def test_a_place_for_proofs_that_cannot_be_written_ends_with_2(
    sameview: Sameview, files: list[Path], tmp_path: Path
) -> None:
    ran = await add(sameview, Log(), files[0], "--proof-out", files[1] / "folder")
    assert (ran.code, "cannot make" in ran.err) == (2, True)
    (tmp_path / "out" / "0.tlog-proof").mkdir(parents=True)
    ran = await add(sameview, Log(), files[0], "--proof-out", tmp_path / "out")
    assert (ran.code, "cannot write" in ran.err) == (2, True)


def test_an_entry_that_is_too_large_is_not_sent(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(65536))
    ran = sameview("log", "add", "http://127.0.0.1:1", tmp_path / "large")
    assert (ran.code, "the most an entry can be: log a hash of it" in ran.err) == (2, True)


def test_a_file_that_cannot_be_read_ends_with_2(sameview: Sameview, tmp_path: Path) -> None:
    path = tmp_path / "none"
    ran = sameview("log", "add", "http://127.0.0.1:1", path)
    assert (ran.code, ran.out, ran.err.startswith(f"sameview: cannot read {path}: ")) == (2, "", True)


def test_a_directory_without_a_file_ends_with_2(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "a.tlog-proof").write_bytes(b"")
    ran = sameview("log", "add", "http://127.0.0.1:1", tmp_path)
    assert (ran.code, ran.err) == (2, "sameview: there is no file in what was named\n")


def test_a_directory_that_cannot_be_listed_ends_with_2(
    sameview: Sameview, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    ran = sameview("log", "add", "http://127.0.0.1:1", tmp_path)
    assert (ran.code, ran.err) == (2, f"sameview: cannot read {tmp_path}: Permission denied\n")


async def test_adds_a_directory_in_batches_with_a_proof_beside_each_file(sameview: Sameview, tmp_path: Path) -> None:
    for name in ("b", "a/2", "a/1", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    log = Log()
    ran = await add(sameview, log, tmp_path, "--proofs", "--json")
    assert (ran.code, log.log.entries) == (0, [b"b", b"c", b"a/1", b"a/2"])
    assert len(log.bodies) == 1 + 4  # one batch, and the proofs
    for added in ran.document["added"]:
        assert added["proof"] == added["file"] + ".tlog-proof"
        options = ("--entry", added["file"], "--vkey", log.log.key.verifier_key)
        assert sameview("verify", "proof", added["proof"], *options).code == 0
    # Another run does not log the proofs of the first one.
    again = await add(sameview, Log(), tmp_path, "--json")
    assert len(again.document["added"]) == 4


async def test_what_cannot_be_added_is_found_out_before_anything_is(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"good")
    (tmp_path / "too-large").write_bytes(bytes(65536))
    log = Log()
    assert (await add(sameview, log, tmp_path)).code == 2
    assert log.bodies == []


def test_there_is_one_place_for_proofs(sameview: Sameview, files: list[Path], tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    assert sameview("log", "add", url, *files, "--proofs", "--proof-out", tmp_path).code == 2
    ran = sameview("log", "add", url, "-", "--proofs")
    assert (ran.code, "beside a file" in ran.err) == (2, True)


def test_a_log_that_cannot_be_reached_ends_with_3(sameview: Sameview, files: list[Path]) -> None:
    for more in ([], ["--batch"]):
        ran = sameview("log", "add", "http://127.0.0.1:1", *files, *more)
        assert (ran.code, ran.err) == (
            3,
            "sameview: the log cannot be asked: the server cannot be reached; does it serve at this URL?\n",
        )


async def test_json_names_file_index_and_proof(sameview: Sameview, files: list[Path]) -> None:
    ran = await add(sameview, Log(), files[0], "--json")
    assert json.loads(ran.out) == {"added": [{"file": str(files[0]), "index": 0, "proof": None}]}
