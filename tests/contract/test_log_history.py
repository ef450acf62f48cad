"""The checkpoints that a log has published, asked for afterwards."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from sqlalchemy.ext.asyncio import AsyncConnection

from logserver.history import EXPORTS_AT_ONCE, QUESTIONS_AT_ONCE
from runtime.database import Database, Work
from runtime.engines import READERS
from tests.fakes import FakeClock
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tests.log_nodes import OpenLog, make_log, open_log
from tests.served import Served, served
from tests.witnesses import ScriptedWitness, cosign, policy_of, says
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import encode_base64

pytestmark = pytest.mark.usefixtures("place")

ORIGIN = "log.example/one"
KEYS = [log_key(ORIGIN), mldsa_key(ORIGIN)]
DAY = 86400

T = TypeVar("T")


@asynccontextmanager
async def log_with_history(directory: Path) -> AsyncIterator[Served]:
    """Sizes 0 to 9, published ten seconds apart; a witness cosigned the even ones."""
    clock = FakeClock(NOW)
    witness = ScriptedWitness(witness_key(), cosign)
    await make_log(directory, ORIGIN)
    async with served(witness.app()) as asked:
        witness.url = asked.url
        policy = policy_of(KEYS[0], [witness])
        async with (
            open_log(directory, KEYS, policy=policy, hold=False, clock=clock) as opened,
            served(opened.app.app()) as ours,
        ):
            for size in range(10):
                witness.answer = says(500) if size % 2 else cosign
                await opened.publisher.publish()
                clock.advance(10)
                await opened.add(b"entry %d" % size)
            yield ours


async def sizes(asked: Served, query: str) -> tuple[list[int], str | None]:
    document: dict[str, Any] = json.loads((await asked.get(f"/v1/checkpoints{query}")).body)
    return [one["size"] for one in document["checkpoints"]], document["next"]


async def test_everything_that_was_published_is_listed(tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        assert await sizes(asked, "") == (list(range(10)), None)
        first = json.loads((await asked.get("/v1/checkpoints?limit=1")).body)["checkpoints"][0]
        note = open_checkpoint((await asked.get("/v1/checkpoints/0")).body, [key.verifier_key for key in KEYS])
        assert (first["size"], first["time"]) == (0, NOW)
        assert first["root_hash"] == encode_base64(note.root_hash).decode()
        expected = [(key.name, key.verifier_key.id.hex()) for key in (*KEYS, witness_key())]
        assert {(one["name"], one["key_id"]) for one in first["signatures"]} == set(expected)
        assert {one["time"] for one in first["signatures"]} == {None, NOW}


async def test_pages_follow_each_other(tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        found, after = await sizes(asked, "?limit=4")
        assert found == [0, 1, 2, 3]
        found, after = await sizes(asked, f"?limit=4&after={after}")
        assert found == [4, 5, 6, 7]
        assert await sizes(asked, f"?limit=4&after={after}") == ([8, 9], None)


async def test_a_page_may_have_another_length_than_the_one_before(tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        _, after = await sizes(asked, "?limit=2")
        assert await sizes(asked, f"?limit=9&after={after}") == ([2, 3, 4, 5, 6, 7, 8, 9], None)


async def test_a_cursor_that_somebody_made_or_took_from_another_question_is_refused(tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        _, after = await sizes(asked, "?limit=2")
        assert after is not None
        other = after[:-1] + ("A" if after[-1] != "A" else "B")
        queries = [f"?after={other}", f"?min_size=1&after={after}", "?after=3", "?after=" + "=" * 32, "?after="]
        assert [(await asked.get(f"/v1/checkpoints{query}")).status for query in queries] == [400] * len(queries)


async def test_a_cursor_outlives_a_restart(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    cursors = []
    for _ in range(2):
        async with open_log(tmp_path, KEYS) as opened, served(opened.app.app()) as asked:
            await opened.publisher.publish()
            await opened.add(os.urandom(8))
            await opened.publisher.publish()
            cursors.append((await sizes(asked, "?limit=1"))[1])
            assert (await asked.get(f"/v1/checkpoints?after={cursors[0]}")).status == 200
    assert cursors[0] == cursors[1]


async def test_all_of_the_history_is_exported_a_line_each_with_its_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logserver.history.EXPORTED_AT_ONCE", 3)
    async with log_with_history(tmp_path) as asked:
        exported = (await asked.get("/v1/checkpoints.ndjson")).body
        lines = [json.loads(line) for line in exported.splitlines()]
        assert [line["size"] for line in lines] == list(range(10))
        assert lines[9]["note"].encode() == (await asked.get("/checkpoint")).body
        narrowed = (await asked.get("/v1/checkpoints.ndjson?min_size=8")).body
        assert narrowed == b"".join(exported.splitlines(keepends=True)[8:])
        assert (await asked.get("/v1/checkpoints.ndjson?min_size=x")).status == 400


async def test_the_history_says_which_opening_of_the_register_published(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    document: dict[str, Any] = {}
    for entry in (b"a", b"b"):
        async with open_log(tmp_path, KEYS) as opened, served(opened.app.app()) as asked:
            await opened.add(entry)
            await opened.publisher.publish()
            document = json.loads((await asked.get("/v1/checkpoints")).body)
    assert [(one["size"], one["epoch"], one["version"]) for one in document["checkpoints"]] == [
        (1, 1, "test"),
        (2, 2, "test"),
    ]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?min_size=3&max_size=5", [3, 4, 5]),
        (f"?since={NOW + 20}&until={NOW + 40}", [2, 3, 4]),
        ("?witness=witness.example/one", [0, 2, 4, 6, 8]),
        ("?witness=witness.example/two", []),
        (f"?key={witness_key().verifier_key.id.hex()}", [0, 2, 4, 6, 8]),
        (f"?key={KEYS[1].verifier_key.id.hex()}&min_size=8", [8, 9]),
        ("?key=00000000", []),
        (f"?witness=witness.example/one&min_size=1&until={NOW + 50}&limit=1", [2]),
    ],
)
async def test_a_question_narrows_the_list(query: str, expected: list[int], tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        assert (await sizes(asked, query))[0] == expected


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?limit=501", "?limit=x", "?min_size=01", "?since=", "?key=abc", "?key=0000000G", "?witness=%00"],
)
async def test_a_question_that_is_none_is_refused(query: str, tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, served(opened.app.app()) as asked:
        assert (await asked.get(f"/v1/checkpoints{query}")).status == 400


async def test_a_checkpoint_of_a_size_is_the_note_that_was_published(tmp_path: Path) -> None:
    async with log_with_history(tmp_path) as asked:
        assert (await asked.get("/v1/checkpoints/9")).body == (await asked.get("/checkpoint")).body
        answers = [await asked.get(f"/v1/checkpoints/{size}") for size in ("10", "007", "x")]
        assert [answer.status for answer in answers] == [404, 400, 400]


async def test_of_one_size_the_note_that_was_published_last_is_kept(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS, clock=clock) as opened, served(opened.app.app()) as asked:
        await opened.publisher.publish()
        clock.advance(60)
        await opened.publisher.publish()
        (only,) = json.loads((await asked.get("/v1/checkpoints")).body)["checkpoints"]
        assert (only["time"], {one["time"] for one in only["signatures"]}) == (NOW + 60, {None, NOW + 60})


async def test_who_asks_for_what_is_new_since_a_time_misses_nothing_when_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS, clock=clock) as opened, served(opened.app.app()) as asked:
        for step in (0, -10, 3600, -10):
            clock.advance(step)
            await opened.add(b"after a step to %d" % clock.now())
            await opened.publisher.publish()
        document = json.loads((await asked.get("/v1/checkpoints")).body)
        times = [one["time"] for one in document["checkpoints"]]
        assert times == [NOW, NOW, NOW + 3590, NOW + 3590]
        assert (await sizes(asked, f"?since={times[2]}"))[0] == [3, 4]


async def test_nothing_is_forgotten_unless_it_is_configured(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS, clock=clock) as opened, served(opened.app.app()) as asked:
        for entry in (b"a", b"b"):
            await opened.add(entry)
            await opened.publisher.publish()
            clock.advance(10_000 * DAY)
        assert (await sizes(asked, ""))[0] == [1, 2]


async def test_what_is_older_than_configured_is_forgotten_and_the_newest_never(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS, clock=clock, history_days=2) as opened, served(opened.app.app()) as asked:
        for entry in (b"a", b"b", b"c"):
            await opened.add(entry)
            await opened.publisher.publish()
            clock.advance(1.5 * DAY)
        assert (await sizes(asked, ""))[0] == [2, 3]
        assert (await asked.get("/v1/checkpoints/1")).status == 404
    async with open_log(tmp_path, KEYS, clock=clock, history_days=1) as opened, served(opened.app.app()) as asked:
        clock.advance(100 * DAY)
        assert (await sizes(asked, ""))[0] == [2, 3]
        await opened.publisher.publish()
        assert (await sizes(asked, ""))[0] == [3]


class Slow:
    """The database of a log that grew a long history: questions keep its readers until the test lets go of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.free = threading.Event()
        self.begun = 0

    async def read(self, work: Work[T]) -> T:
        async def slowly(connection: AsyncConnection) -> T:
            self.begun += 1
            await asyncio.to_thread(self.free.wait)
            return await work(connection)

        return await self.database.read(slowly)


@pytest.mark.parametrize("path", ["/v1/checkpoints", "/v1/checkpoints/0", "/v1/checkpoints.ndjson"])
async def test_whoever_asks_however_much_keeps_no_entry_from_being_published(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("logserver.history.QUESTIONS_WAITING", 5)
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened, served(opened.app.app()) as asked:
        await opened.publisher.publish()
        slow = Slow(opened.history._database)
        monkeypatch.setattr(opened.history, "_database", slow)
        answers: list[int] = []

        async def ask() -> None:
            answer = await asked.get(path)
            answers.append(answer.status)
            if answer.status == 503:
                assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("1", "no-store")

        async with trio.open_nursery() as nursery:
            for _ in range(2 * READERS + 5):
                nursery.start_soon(ask)
            with trio.fail_after(30):
                while 503 not in answers:
                    await trio.lowlevel.checkpoint()
                await opened.add(b"meanwhile")
                monkeypatch.undo()  # the publisher's own record is no question
                await opened.publisher.publish()
            assert published_size(opened) == 1
            assert 0 < slow.begun < READERS
            slow.free.set()
        assert sorted(set(answers)) == [200, 503]
        assert (await asked.get(path)).status == 200


def published_size(opened: OpenLog) -> int | None:
    return opened.publisher.published.size if opened.publisher.published else None


def test_questions_leave_a_reader_to_the_log() -> None:
    assert QUESTIONS_AT_ONCE + EXPORTS_AT_ONCE < READERS
