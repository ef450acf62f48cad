"""The logs of a witness: added, disabled, listed and pulled while it runs."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trio
from typing_extensions import override

from runtime.client import Client
from runtime.database import open_database
from runtime.errors import UsageError
from runtime.keyfiles import write_signer_key
from runtime.metrics import Metrics
from tests.commands import Sameview
from tests.fakes import FakeClock
from tests.keys import log_key, sign_checkpoint, witness_key
from tests.nodes import make_witness, witness_settings
from tests.served import served
from tests.serving import answering
from tests.vectors import vector
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError
from tlog.hashing import EMPTY_ROOT
from tlog.keys import VerifierKey
from tlog.log_list import ListedLog, LogList
from witness.__main__ import create, opened
from witness.app import witness_app
from witness.config import WitnessSettings, read_settings
from witness.core import NotSigned, UnknownLog
from witness.cosigner import Answer, Cosigned, Cosigner, OverBudget
from witness.lists import Puller, PullMetrics
from witness.logs import LOOK_SECONDS, Source, add_log, disable_log, list_logs, merge_list
from witness.store import DATABASE_NAME, METADATA

ORIGIN = "log.example/one"
KEY, OTHER = log_key(ORIGIN), log_key(ORIGIN, seed=2)
NEW = ListedLog(KEY.verifier_key, ORIGIN)
FILE_LOG = {ORIGIN: (KEY.verifier_key,)}


def settings(directory: Path, logs: Mapping[str, tuple[VerifierKey, ...]] | None = None) -> WitnessSettings:
    return witness_settings(directory, logs or {}, [witness_key()])


async def ask(cosigner: Cosigner, origin: str = ORIGIN, seed: int = 1) -> Answer:
    """Submit the empty tree of a log."""
    note = sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), log_key(origin, seed))
    return await cosigner.add_checkpoint(AddCheckpoint(0, (), note).format())


async def test_a_log_is_added_disabled_and_enabled_while_the_witness_runs(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    async with (
        opened(ours, FakeClock()) as running,
        open_database(tmp_path / "data" / DATABASE_NAME, METADATA) as command,
    ):
        assert isinstance(await ask(running.cosigner), UnknownLog)
        await add_log(ours, command, NEW)
        await running.logs.refresh()
        assert isinstance(await ask(running.cosigner), Cosigned)
        await disable_log(ours, command, ORIGIN)
        await running.logs.refresh()
        assert isinstance(await ask(running.cosigner), UnknownLog)
        await add_log(ours, command, NEW)
        await running.logs.refresh()
        assert isinstance(await ask(running.cosigner), Cosigned)


async def test_a_running_witness_looks_for_changes_by_itself_within_a_second(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    assert LOOK_SECONDS < 1
    async with opened(ours, FakeClock()) as running, trio.open_nursery() as tasks:
        tasks.start_soon(running.logs.refresh_for_ever)
        await add_log(ours, running.database, NEW)
        with trio.fail_after(20):
            while not isinstance(await ask(running.cosigner), Cosigned):  # noqa: ASYNC110
                await trio.sleep(0.02)
        tasks.cancel_scope.cancel()


async def test_added_logs_are_there_after_a_restart(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    async with opened(ours, FakeClock()) as first:
        await add_log(ours, first.database, NEW)
    async with opened(ours, FakeClock()) as second:
        assert isinstance(await ask(second.cosigner), Cosigned)


async def test_a_disabled_log_keeps_its_public_copy_and_its_key(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    async with opened(ours, FakeClock()) as running:
        await add_log(ours, running.database, NEW)
        await running.logs.refresh()
        await ask(running.cosigner)
        await disable_log(ours, running.database, ORIGIN)
        with pytest.raises(UsageError, match="known by another key"):
            await add_log(ours, running.database, ListedLog(OTHER.verifier_key, ORIGIN))
    async with opened(ours, FakeClock()) as restarted:
        assert await restarted.cosigner.public_copy(sha256(ORIGIN.encode()).hexdigest()) is not None
        assert isinstance(await ask(restarted.cosigner), UnknownLog)


@pytest.mark.parametrize("logs", [FILE_LOG, {}], ids=["in the file", "in the database"])
async def test_a_differing_key_is_refused_and_changes_nothing(
    logs: Mapping[str, tuple[VerifierKey, ...]], tmp_path: Path
) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path, logs)
    async with opened(ours, FakeClock()) as running:
        if not logs:
            await add_log(ours, running.database, NEW)
        with pytest.raises(UsageError, match="known by another key"):
            await add_log(ours, running.database, ListedLog(OTHER.verifier_key, ORIGIN))
        await running.logs.refresh()
        assert isinstance(await ask(running.cosigner), Cosigned)
        assert isinstance(await ask(running.cosigner, seed=2), NotSigned)


async def test_the_file_s_logs_cannot_be_changed_by_commands(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path, FILE_LOG)
    async with opened(ours, FakeClock()) as running:
        with pytest.raises(UsageError, match="already"):
            await add_log(ours, running.database, NEW)
        with pytest.raises(UsageError, match="take its"):
            await disable_log(ours, running.database, ORIGIN)
        with pytest.raises(UsageError, match="does not know"):
            await disable_log(ours, running.database, "log.example/nobody")
        assert [log.source for log in await list_logs(ours, running.database)] == [Source.FILE]


async def test_a_database_that_contradicts_the_file_stops_the_start_until_it_is_decided(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    before, after = settings(tmp_path), settings(tmp_path, FILE_LOG)
    async with opened(before, FakeClock()) as running:
        await add_log(before, running.database, ListedLog(OTHER.verifier_key, ORIGIN))
    with pytest.raises(UsageError, match="different keys"):
        async with opened(after, FakeClock()):
            pass
    async with open_database(tmp_path / "data" / DATABASE_NAME, METADATA) as database:
        await disable_log(after, database, ORIGIN)
    async with opened(after, FakeClock()) as running:
        assert isinstance(await ask(running.cosigner), Cosigned)


async def test_a_contradiction_while_running_leaves_the_file_s_key(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    without = settings(tmp_path)
    async with opened(settings(tmp_path, FILE_LOG), FakeClock()) as running:
        await add_log(without, running.database, ListedLog(OTHER.verifier_key, ORIGIN))
        await running.logs.refresh()
        assert isinstance(await ask(running.cosigner), Cosigned)


@pytest.mark.parametrize(
    ("key", "origin"),
    [
        (log_key("witness.example/one", seed=5).verifier_key, "log.example/two"),
        (log_key(seed=5).verifier_key, "witness.example/one"),
    ],
    ids=["name", "origin"],
)
async def test_our_own_name_is_nobody_s_log(key: VerifierKey, origin: str, tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    async with opened(ours, FakeClock()) as running:
        with pytest.raises(UsageError, match="own name"):
            await add_log(ours, running.database, ListedLog(key, origin))
        merged = await merge_list(ours, running.database, LogList((ListedLog(key, origin),)))
        assert (len(merged.added), len(merged.conflicts)) == (0, 1)


async def test_our_own_key_is_nobody_s_log(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    own = witness_key().verifier_key
    stolen = VerifierKey.of("log.example/two", log_key().type, own.public_key)
    async with opened(ours, FakeClock()) as running:
        merged = await merge_list(ours, running.database, LogList((ListedLog(stolen, stolen.name),)))
        assert (len(merged.added), len(merged.conflicts)) == (0, 1)


async def test_the_lists_of_torchwood_leave_the_logs_they_leave_there(tmp_path: Path) -> None:
    """SPEC: L-9"""
    case = json.loads(vector("FiloSottile-torchwood/log_lists.json").read_bytes())
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    async with opened(ours, FakeClock()) as running:
        merges = [await merge_list(ours, running.database, LogList.parse(text.encode())) for text in case["lists"]]
        await running.logs.refresh()
        assert [(len(merged.added), len(merged.conflicts)) for merged in merges] == [(2, 0), (1, 0), (0, 1)]
        assert {origin: [key.format() for key in keys] for origin, keys in running.logs.active.items()} == {
            log["origin"]: log["keys"] for log in case["result"]
        }
        assert sorted((log.qpd or 0, log.source) for log in running.logs.logs.values()) == [
            (0, Source.LIST),
            (24, Source.LIST),
            (86400, Source.LIST),
        ]


async def test_a_list_does_not_bring_a_disabled_log_back(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    async with opened(ours, FakeClock()) as running:
        await add_log(ours, running.database, NEW)
        await disable_log(ours, running.database, ORIGIN)
        merged = await merge_list(ours, running.database, LogList((NEW,)))
        await running.logs.refresh()
        assert merged.added == ()
        assert ORIGIN not in running.logs.active


async def test_a_list_cannot_make_more_logs_than_a_witness_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("witness.logs.MAX_LOGS", 1)
    await make_witness(tmp_path)
    ours = settings(tmp_path, FILE_LOG)
    second = log_key("log.example/two").verifier_key
    async with opened(ours, FakeClock()) as running:
        with pytest.raises(FormatError, match="nothing was added"):
            await merge_list(ours, running.database, LogList((ListedLog(second, second.name),)))
        await running.logs.refresh()
        assert list(running.logs.active) == [ORIGIN]


async def test_requests_beyond_a_log_s_budget_are_put_off(tmp_path: Path) -> None:
    """SPEC: L-6"""
    await make_witness(tmp_path)
    ours = settings(tmp_path)
    clock = FakeClock()
    async with opened(ours, clock) as running:
        await add_log(ours, running.database, ListedLog(KEY.verifier_key, ORIGIN, qpd=24))
        await add_log(ours, running.database, ListedLog(log_key("log.example/two").verifier_key, "log.example/two"))
        await running.logs.refresh()
        # Forgeries do not count: nobody else empties the bucket.
        assert all([isinstance(await ask(running.cosigner, seed=2), NotSigned) for _ in range(50)])
        answers = [await ask(running.cosigner) for _ in range(11)]
        assert [isinstance(answer, Cosigned) for answer in answers] == [True] * 10 + [False]
        async with served(witness_app(running.cosigner, Metrics())) as public:
            note = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), KEY)
            put_off = await public.post("/add-checkpoint", AddCheckpoint(0, (), note).format())
            assert (put_off.status, put_off.headers["retry-after"]) == (429, "3600")
        assert isinstance(await ask(running.cosigner, "log.example/two"), Cosigned)
        clock.advance(3600)
        assert isinstance(await ask(running.cosigner), Cosigned)
        assert isinstance(await ask(running.cosigner), OverBudget)
        assert len(running.cosigner.budgets) == 1


async def test_pulled_lists_are_merged_and_bad_ones_change_nothing(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours, clock, metrics = settings(tmp_path), FakeClock(), Metrics()
    good = LogList((NEW,)).format()
    async with (
        opened(ours, clock) as running,
        Client() as client,
        served(answering(body=good)) as list_server,
        served(answering(body=b"<html>")) as confused,
        served(answering(status=500)) as broken,
    ):
        urls = (list_server.url, confused.url, broken.url, "http://127.0.0.1:1")
        pulling = replace(ours, lists=urls)
        puller = Puller(pulling, running.database, client, clock, PullMetrics.of(pulling, metrics))
        assert [await puller.pull(url) for url in urls] == [True, False, False, False]
        await running.logs.refresh()
        assert list(running.logs.active) == [ORIGIN]
        shown = metrics.exposition().decode()
        assert f'sameview_witness_list_failures_total{{list="{broken.url}"}} 1.0' in shown
        assert f'sameview_witness_list_pulled_timestamp_seconds{{list="{broken.url}"}} 0.0' in shown
        assert f'sameview_witness_list_pulled_timestamp_seconds{{list="{list_server.url}"}} 0.0' not in shown


async def test_a_list_that_contradicts_us_shows_in_the_metrics(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    ours, metrics = settings(tmp_path, FILE_LOG), Metrics()
    wrong = LogList((ListedLog(OTHER.verifier_key, ORIGIN),)).format()
    async with (
        opened(ours, FakeClock()) as running,
        Client() as client,
        served(answering(body=wrong)) as server,
    ):
        pulling = replace(ours, lists=(server.url,))
        puller = Puller(pulling, running.database, client, FakeClock(), PullMetrics.of(pulling, metrics))
        shown = f'witness_list_conflicts{{list="{server.url}"}} 1.0'
        async with trio.open_nursery() as tasks:
            tasks.start_soon(puller.pull_for_ever)
            with trio.fail_after(20):
                while shown not in metrics.exposition().decode():  # noqa: ASYNC110
                    await trio.sleep(0.02)
            tasks.cancel_scope.cancel()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A witness's configuration file, its state made."""
    write_signer_key(tmp_path / "w.key", witness_key())
    file = tmp_path / "witness.toml"
    file.write_text(
        'name = "witness.example/one"\ndata = "data"\nregister = "register"\nkeys = ["w.key"]\n'
        f'[[log]]\nvkey = "{log_key("log.example/file").verifier_key}"\nqpd = 7\n'
    )
    trio.run(create, read_settings(file))
    return file


def test_the_commands_add_list_and_disable(sameview: Sameview, config: Path) -> None:
    where = ("--config", config)
    assert sameview("witness", "add-log", *where, KEY.verifier_key, "--qpd", 100).code == 0
    assert sameview("witness", "disable-log", *where, ORIGIN).code == 0
    listed = sameview("witness", "list-logs", *where, "--json").document["logs"]
    assert [(log["origin"], log["source"], log["qpd"], log["disabled"]) for log in listed] == [
        ("log.example/file", "file", 7, False),
        (ORIGIN, "command", 100, True),
    ]
    assert f"{ORIGIN}\n  command disabled qpd 100\n" in sameview("witness", "list-logs", *where).out


def test_a_vkey_that_is_none_or_a_witness_s_is_bad_usage(sameview: Sameview, config: Path) -> None:
    for vkey in ("nonsense", witness_key("w.example").verifier_key.format()):
        assert sameview("witness", "add-log", "--config", config, vkey).code == 2


def test_pulling_a_list_from_a_file_exits_1_when_it_contradicts_us(sameview: Sameview, config: Path) -> None:
    where = ("--config", config)
    file = config.parent / "list"
    file.write_bytes(LogList((NEW,)).format())
    assert sameview("witness", "pull-logs", *where, file).out == f"added {ORIGIN}\n"
    file.write_bytes(LogList((ListedLog(OTHER.verifier_key, ORIGIN),)).format())
    ran = sameview("witness", "pull-logs", *where, file)
    assert (ran.code, ran.out.startswith(f"refused {ORIGIN}")) == (1, True)
    document = sameview("witness", "pull-logs", *where, file, "--json").document
    assert document == {"added": [], "conflicts": [{"origin": ORIGIN, "listed_vkey": OTHER.verifier_key.format()}]}


def test_pulling_a_list_from_a_url(sameview: Sameview, config: Path) -> None:
    class List(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(LogList((NEW,)).format())

        @override
        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), List) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        ran = sameview("witness", "pull-logs", "--config", config, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    assert (ran.code, ran.out) == (0, f"added {ORIGIN}\n")


def test_a_list_that_cannot_be_had_or_read_changes_nothing(sameview: Sameview, config: Path) -> None:
    where = ("--config", config)
    file = config.parent / "list"
    file.write_bytes(b"logs/v1\n")
    assert sameview("witness", "pull-logs", *where, file).code == 2
    assert sameview("witness", "pull-logs", *where, os.devnull).code == 2
    assert sameview("witness", "pull-logs", *where, "http://127.0.0.1:1/list").code == 3
