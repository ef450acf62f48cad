"""What each submitter may add to a log: by its token, or by its address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
import trio
from starlette.requests import Request

from logserver.app import LogApp
from logserver.metrics import LogMetrics
from logserver.submitters import Submitter, Submitters
from runtime.metrics import Metrics
from tests.keys import log_key
from tests.log_nodes import make_log, open_log
from tests.served import Served, served
from tlog.tiles import format_entries

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN)]
TOKEN = "a-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}


def submitter(adds_per_second: float) -> Submitter:
    return Submitter("ci", sha256(TOKEN.encode()).digest(), adds_per_second)


@asynccontextmanager
async def log(directory: Path, submitters: Submitters) -> AsyncIterator[Served]:
    await make_log(directory, ORIGIN)
    async with open_log(directory, KEYS) as opened:
        app = LogApp(
            opened.sequencer,
            opened.files,
            lambda: None,
            opened.history,
            LogMetrics(Metrics()),
            submitters=submitters,
        )
        async with served(app.app()) as answering:
            yield answering


async def test_a_submitter_adds_within_its_budget_and_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with log(tmp_path, Submitters([submitter(0.5)], 0, known_only=True)) as served_log:
        added = await served_log.post("/add", b"a", BEARER)
        refused = await served_log.post("/add", b"b", BEARER)
    assert (added.status, added.body) == (200, b"0\n")
    assert (refused.status, refused.headers["retry-after"]) == (429, "2")


async def test_a_batch_counts_as_its_entries(tmp_path: Path) -> None:
    async with log(tmp_path, Submitters([submitter(2)], 0, known_only=True)) as served_log:
        batch = format_entries([b"%d" % number for number in range(4)])
        answers = [
            (await served_log.post(path, body, BEARER)).status for path, body in (("/add-batch", batch), ("/add", b"x"))
        ]
    assert answers == [200, 429]


async def test_a_batch_larger_than_any_budget_is_taken_when_the_budget_is_full_and_owed(tmp_path: Path) -> None:
    async with log(tmp_path, Submitters([submitter(1)], 0, known_only=True)) as served_log:
        batch = format_entries([b"%d" % number for number in range(100)])
        first = await served_log.post("/add-batch", batch, BEARER)
        second = await served_log.post("/add", b"x", BEARER)
    assert first.status == 200
    assert (second.status, int(second.headers["retry-after"]) > 90) == (429, True)


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer other"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": TOKEN}]
)
async def test_nobody_adds_without_a_token_where_one_is_needed(headers: dict[str, str], tmp_path: Path) -> None:
    async with log(tmp_path, Submitters([submitter(0)], 0, known_only=True)) as served_log:
        refused = [
            await served_log.post(path, body, headers)
            for path, body in (("/add", b"a"), ("/add-batch", format_entries([b"a"])))
        ]
        added = await served_log.post("/add", b"a", BEARER)
    assert [answer.status for answer in refused] == [401, 401]
    assert {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}
    assert TOKEN.encode() not in refused[0].body
    assert added.body == b"0\n"


async def test_who_may_not_add_is_refused_before_a_batch_is_received(tmp_path: Path) -> None:
    no_batch = b"\xff"  # who may add is told so
    async with log(tmp_path, Submitters([submitter(0)], 1, known_only=False)) as served_log:
        wrong = await served_log.post("/add-batch", no_batch, {"authorization": "Bearer other"})
        right = await served_log.post("/add-batch", no_batch, BEARER)
    assert (wrong.status, right.status) == (401, 400)


async def test_who_owes_is_refused_before_a_batch_is_received(tmp_path: Path) -> None:
    async with log(tmp_path, Submitters([submitter(1)], 0, known_only=True)) as served_log:
        await served_log.post("/add-batch", format_entries([b"%d" % number for number in range(9)]), BEARER)
        owing = await served_log.post("/add-batch", b"\xff", BEARER)
    assert owing.status == 429


async def test_a_wrong_token_is_told_so_even_where_none_is_needed(tmp_path: Path) -> None:
    async with log(tmp_path, Submitters([submitter(0)], 0, known_only=False)) as served_log:
        wrong = await served_log.post("/add", b"a", {"authorization": "Bearer other"})
        without = await served_log.post("/add", b"a")
    assert (wrong.status, without.status) == (401, 200)


def asked_from(host: str) -> Request:
    return Request({"type": "http", "method": "POST", "headers": [], "client": (host, 1)})


def test_each_address_has_a_budget_and_those_of_this_machine_have_none() -> None:
    submitters = Submitters([], 0.5, known_only=False)

    def answers(host: str) -> list[bool]:
        return [submitters.admit(asked_from(host), 1) is None for _ in range(2)]

    async def ask() -> list[list[bool]]:
        return [answers(host) for host in ("192.0.2.1", "192.0.2.2", "127.0.0.1")]

    assert trio.run(ask) == [[True, False], [True, False], [True, True]]
