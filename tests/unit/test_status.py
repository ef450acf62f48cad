"""What ``monitor status`` makes of a monitor's answers. That real monitors answer so is tested beside them."""

import json
from functools import partial
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sameview.status import show_status
from tests.commands import Ran, Sameview
from tests.fakes import FakeClock
from tests.served import served

NOW = 1_767_139_200
NOW_MS = NOW * 1000
HEAD = {"origin": "log.example/one", "size": 12345, "confirmed_ms": NOW_MS - 3000, "convicted": False, "pending": []}
PEER = {"name": "monitor.example/m2", "operator": "Two", "url": "http://m2.example", "heard_ms": NOW_MS - 130_000}
ALARM = {"kind": "log-stale", "origin": "log.example/one", "first_seen_ms": NOW_MS - 8_000_000, "cleared_ms": None}
EVIDENCE: dict[str, Any] = {
    "type": "same-size",
    "origin": "log.example/one",
    "accused": "log.example/one+01020304+AAAA",
    "convicted_ms": NOW_MS - 200_000_000,
    "bundle": "/v1/evidence/" + "ab" * 32,
}
QUIET: dict[str, Any] = {"heads": [HEAD], "peers": [PEER], "alarms": [], "evidence": []}


def monitor(documents: dict[str, Any], status: int = 200) -> Starlette:
    """A monitor that has these lists."""

    async def answer(request: Request) -> Response:
        name = str(request.path_params["name"])
        return Response(json.dumps({key: value for key, value in documents.items() if key == name}), status)

    return Starlette(routes=[Route("/v1/{name}", answer)])


async def status(sameview: Sameview, app: Starlette, *options: str) -> Ran:
    """Ask a monitor by the command line."""
    async with served(app) as place:
        return await trio.to_thread.run_sync(partial(sameview, "monitor", "status", f"{place.url}/", *options))


async def shown(documents: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that are shown at a known time, with single spaces."""
    async with served(monitor(documents)) as place:
        await trio.to_thread.run_sync(partial(show_status, place.url, False, FakeClock(NOW)))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


async def test_a_monitor_that_convicted_nobody_ends_with_0(sameview: Sameview) -> None:
    ran = await status(sameview, monitor(QUIET))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("OK: this monitor has convicted nobody\n")


async def test_shows_logs_and_peers_with_their_ages(capsys: pytest.CaptureFixture[str]) -> None:
    pending = {**HEAD, "origin": "log.example/two", "confirmed_ms": None, "pending": [{"size": 13000}, {"size": 9}]}
    silent = {**PEER, "name": "m3", "operator": "", "url": None, "heard_ms": None}
    lines = await shown({**QUIET, "heads": [HEAD, pending], "peers": [PEER, silent]}, capsys)
    assert "LOG SIZE CONFIRMED VIEW" in lines
    assert "log.example/one 12,345 3 s ago agrees" in lines
    assert "log.example/two 12,345 never agrees so far; not yet settled: 13,000, 9" in lines
    assert "monitor.example/m2 Two 2 min ago http://m2.example" in lines
    assert "m3 - never calls us" in lines


async def test_says_agrees_of_no_log_that_was_not_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown({**QUIET, "heads": [{**HEAD, "size": 0, "confirmed_ms": None}]}, capsys)
    assert "log.example/one 0 never nothing verified yet" in lines


async def test_shows_open_alarms_only(capsys: pytest.CaptureFixture[str]) -> None:
    cleared = {**ALARM, "kind": "bad-checkpoint", "cleared_ms": NOW_MS}
    lines = await shown({**QUIET, "alarms": [ALARM, cleared, {**ALARM, "origin": None}]}, capsys)
    assert "log-stale log.example/one 2 h ago" in lines
    assert "log-stale - 2 h ago" in lines
    assert not any("bad-checkpoint" in line for line in lines)


async def test_a_conviction_ends_with_1_and_names_the_evidence(
    sameview: Sameview, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = {**QUIET, "heads": [{**HEAD, "convicted": True}], "evidence": [EVIDENCE]}
    ran = await status(sameview, monitor(documents))
    assert ran.code == 1
    assert "CONVICTED: verify a bundle yourself" in ran.out
    lines = await shown(documents, capsys)
    (row,) = [line for line in lines if line.startswith("same-size log.example/one log.example/one 2 d ago http://")]
    assert row.endswith(EVIDENCE["bundle"])
    assert "log.example/one 12,345 3 s ago CONVICTED" in lines


async def test_a_convicted_cosigner_counts_although_every_log_agrees(sameview: Sameview) -> None:
    assert (await status(sameview, monitor({**QUIET, "evidence": [EVIDENCE]}))).code == 1


async def test_json_holds_what_the_monitor_answered(sameview: Sameview) -> None:
    ran = await status(sameview, monitor({**QUIET, "evidence": [EVIDENCE]}), "--json")
    assert (ran.code, ran.document["convicted"]) == (1, True)
    assert (ran.document["heads"], ran.document["evidence"]) == ([HEAD], [EVIDENCE])


async def test_control_characters_of_a_monitor_do_not_reach_the_terminal(sameview: Sameview) -> None:
    ran = await status(sameview, monitor({**QUIET, "peers": [{**PEER, "name": "\x1b[2J[red]m2\u202e"}]}))
    assert ("\x1b" in ran.out, r"\x1b[2J[red]m2\u202e" in ran.out) == (False, True)


@pytest.mark.parametrize("documents", [{}, {**QUIET, "heads": [{}]}, {**QUIET, "peers": 5}])
async def test_what_is_no_monitor_ends_with_2_and_one_sentence(sameview: Sameview, documents: dict[str, Any]) -> None:
    ran = await status(sameview, monitor(documents))
    said = "sameview: the answer is not that of a monitor: give the public URL of one\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)


async def test_lists_in_lists_in_lists_end_with_2(sameview: Sameview) -> None:
    async def deep(_request: Request) -> Response:
        return Response(b'{"heads":' + b"[" * 100_000 + b"]" * 100_000 + b"}")

    ran = await status(sameview, Starlette(routes=[Route("/v1/{name}", deep)]))
    assert ran.code == 2
    assert "is not that of a monitor" in ran.err


async def test_a_server_without_such_lists_ends_with_2(sameview: Sameview) -> None:
    ran = await status(sameview, monitor(QUIET, 404))
    assert (ran.code, ran.err) == (2, "sameview: the answer was 404: give the public URL of a monitor\n")


async def test_a_monitor_in_trouble_ends_with_3(sameview: Sameview) -> None:
    ran = await status(sameview, monitor(QUIET, 503))
    assert (ran.code, ran.err) == (3, "sameview: the monitor answered 503: try again later\n")


def test_a_monitor_that_cannot_be_reached_ends_with_3(sameview: Sameview) -> None:
    ran = sameview("monitor", "status", "http://127.0.0.1:1")
    assert (ran.code, ran.err) == (
        3,
        "sameview: the monitor cannot be asked: the server cannot be reached; does it serve at this URL?\n",
    )
