"""What a witness says of itself: the page, the same as JSON, who it is, and its metrics."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args
from urllib.parse import quote

from runtime.client import Client
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.keys import log_key
from tests.nodes import make_witness, open_witness, witness_settings
from tests.served import served
from tests.vectors import vector
from tests.witness_logs import FORK, KEYS, LOGS, ORIGIN, PUBLIC, VERIFIERS, signed, submission
from tlog.evidence import same_size
from witness.__main__ import opened
from witness.app import operator_app, witness_app
from witness.config import FeedConfig
from witness.cosigner import Answer, outcome_of
from witness.feeds import Feeds
from witness.lists import PullMetrics
from witness.page import MAX_ROWS, page, status
from witness.store import Convicted

HOSTILE = "log.example/<script>\"&'"


async def test_status_and_page_tell_sizes_ages_outcomes_conflicts_and_keys(tmp_path: Path) -> None:
    clock = FakeClock(1_800_000_000)
    await make_witness(tmp_path)
    async with (
        open_witness(tmp_path, LOGS, KEYS, clock) as cosigner,
        served(witness_app(cosigner, Metrics())) as public,
    ):
        for body in (submission(0, 5), submission(0, 9), submission(5, 5, FORK)):
            await public.post("/add-checkpoint", body)
        clock.advance(60)
        shown = json.loads((await public.get("/status")).body)
        [log] = shown["logs"]
        assert (log["origin"], log["checkpoint"], log["size"], log["time"], log["age"]) == (
            ORIGIN,
            PUBLIC,
            5,
            1_800_000_000,
            60,
        )
        assert log["answers"] == {"cosigned": 1, "stale": 1, "inconsistent": 1}
        assert (log["conflicts"], log["convicted"], shown["signing"], shown["next"]) == (1, False, True, None)
        assert shown["keys"] == {key.format(): None for key in VERIFIERS}
        html = (await public.get("/")).body.decode()
        for part in (ORIGIN, PUBLIC, "60 s ago", "cosigned 1, inconsistent 1, stale 1", VERIFIERS[0].format()):
            assert part in html


async def test_the_page_needs_no_scripts_and_allows_none(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with (
        open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner,
        served(witness_app(cosigner, Metrics())) as public,
    ):
        answer = await public.get("/")
        assert b"<script" not in answer.body
        assert b"prefers-color-scheme: dark" in answer.body
        assert b'name="viewport"' in answer.body
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_what_others_named_is_escaped(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    key = log_key("log.example/x").verifier_key
    async with open_witness(tmp_path, {HOSTILE: [key]}, KEYS, FakeClock()) as cosigner:
        html = page(await status(cosigner))
        assert "<script>" not in html
        assert "&lt;script&gt;" in html


async def test_many_logs_come_in_pages(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    key = log_key("log.example/x").verifier_key
    logs = {f"log.example/{number:04}": [key] for number in range(MAX_ROWS + 1)}
    async with open_witness(tmp_path, logs, KEYS, FakeClock()) as cosigner:
        first = await status(cosigner)
        assert (len(first.logs), first.next) == (MAX_ROWS, first.logs[-1].origin)
        second = await status(cosigner, first.next or "")
        assert ([log.origin for log in second.logs], second.next) == ([f"log.example/{MAX_ROWS:04}"], None)
        assert f"/?after=log.example%2F{MAX_ROWS - 1:04}" in page(first)


async def test_no_answer_lists_more_logs_than_a_page_holds(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    key = log_key("log.example/x").verifier_key
    logs = {f"log.example/{number:04}": [key] for number in range(MAX_ROWS + 1)}
    async with (
        open_witness(tmp_path, logs, KEYS, FakeClock()) as cosigner,
        served(witness_app(cosigner, Metrics())) as public,
    ):
        first = json.loads((await public.get("/v1/logs")).body)
        assert ([log["origin"] for log in first["logs"]], first["next"]) == (sorted(logs)[:-1], sorted(logs)[-2])
        second = json.loads((await public.get(f"/v1/logs?after={quote(first['next'], safe='')}")).body)
        assert ([log["origin"] for log in second["logs"]], second["next"]) == (sorted(logs)[-1:], None)


async def test_a_convicted_log_stands_out(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner:
        evidence = same_size(signed(5), signed(5, FORK))
        assert isinstance(await cosigner.conflicts.convict(evidence.format()), Convicted)
        shown = await status(cosigner)
        assert shown.logs[0].convicted
        assert '<p class="bad">1 of the logs' in page(shown)


async def test_a_key_that_retires_shows_its_date(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner:
        shown = replace(await status(cosigner), keys={"vkey": 1_800_000_000})
        assert "<code>vkey</code> signs until 2027-01-15 08:00:00 UTC" in page(shown)


async def test_a_witness_that_signs_nothing_says_so(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner:
        cosigner.hold = "moved"
        assert "signs nothing" in page(await status(cosigner))


async def test_it_says_who_it_is_in_the_form_of_the_witness_network(tmp_path: Path) -> None:
    theirs = json.loads(vector("FiloSottile-sunlight/skylight/witness.v0.json").read_bytes())
    await make_witness(tmp_path)
    async with (
        open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner,
        served(witness_app(cosigner, Metrics(), "https://witness.example")) as public,
        served(witness_app(cosigner, Metrics())) as unnamed,
    ):
        ours = json.loads((await public.get("/witness.v0.json")).body)
        assert (ours.keys(), ours["software"].keys()) == (theirs.keys(), theirs["software"].keys())
        assert (ours["name"], ours["submission_url"]) == (KEYS[0].name, "https://witness.example/")
        assert ours["verifier_keys"] == [key.format() for key in VERIFIERS]
        assert (await unnamed.get("/witness.v0.json")).status == 404


async def test_metrics_count_by_log_and_outcome(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with open_witness(tmp_path, LOGS, KEYS, FakeClock(1_800_000_000)) as cosigner:
        metrics = Metrics()
        cosigner.tally.measure(metrics)
        for body in (submission(0, 5), submission(0, 9), submission(5, 9)):
            await cosigner.add_checkpoint(body)
        shown = metrics.exposition().decode()
        assert f'sameview_witness_log_answers_total{{origin="{ORIGIN}",outcome="cosigned"}} 2.0' in shown
        assert f'sameview_witness_log_answers_total{{origin="{ORIGIN}",outcome="stale"}} 1.0' in shown
        assert f'sameview_witness_log_size{{origin="{ORIGIN}"}} 9.0' in shown
        assert f'sameview_witness_log_cosigned_timestamp_seconds{{origin="{ORIGIN}"}} 1.8e+09' in shown


async def test_the_documents_have_the_fields_that_the_description_requires(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "specs" / "openapi" / "witness.yaml").read_text()
    schemas = {
        name: set(re.split(r", ", found))
        for name, found in re.findall(r"\n    (\w+):\n      type: object\n      required: \[([^\]]+)\]", text)
    }
    await make_witness(tmp_path)
    async with (
        open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner,
        served(witness_app(cosigner, Metrics(), "https://witness.example")) as public,
    ):
        shown = json.loads((await public.get("/status")).body)
        assert set(shown) == schemas["Status"]
        assert set(shown["logs"][0]) == schemas["LogStatus"]
        assert set(json.loads((await public.get("/witness.v0.json")).body)) == schemas["About"]


async def test_every_metric_is_documented(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "witness.md").read_text()
    await make_witness(tmp_path)
    settings = replace(
        witness_settings(tmp_path, LOGS, KEYS),
        lists=("https://lists.example/l",),
        feeds=(FeedConfig(origin=ORIGIN, url="https://log.example"),),
    )
    async with opened(settings, FakeClock()) as ours, Client() as client:
        metrics = Metrics()
        ours.cosigner.tally.measure(metrics)
        PullMetrics.of(settings, metrics)
        Feeds(settings, ours.cosigner, client.fetch, metrics)
        witness_app(ours.cosigner, metrics)
        operator_app(ours.cosigner, metrics)
        names = re.findall(r"^# TYPE (sameview_\S+)", metrics.exposition().decode(), re.M)
        families = {name for name in names if not name.endswith("_created")}
        assert len(families) >= 10
        assert {name for name in families if f"`{name}{{" not in manual and f"`{name}`" not in manual} == set()


def test_every_outcome_is_documented() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "witness.md").read_text()
    assert {outcome for outcome in map(outcome_of, get_args(Answer)) if f"`{outcome}`" not in manual} == set()
