"""What ``monitor status`` makes of a monitor's answers. That real monitors answer so is tested beside them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.page.document import Agreement, CatchUp, Overview, PendingHead, Sight, Verdict
from sameview.status import show_status
from tests.commands import Ran, Sameview
from tests.fakes import FakeClock
from tests.overviews import NOW_MS, PEERS, WITNESSES, calm, log, many, overview, trouble, watched
from tests.served import served

Answer = Callable[[int], Overview]


def monitor(answer: Answer | Overview, status: int = 200) -> Starlette:
    """A monitor that sees this, or this on each page."""

    async def respond(request: Request) -> Response:
        found = answer if isinstance(answer, Overview) else answer(int(request.query_params["page"]))
        return Response(msgspec.json.encode(found), status)

    return Starlette(routes=[Route("/v1/overview", respond)])


async def status(sameview: Sameview, app: Starlette, *options: str) -> Ran:
    """Ask a monitor by the command line."""
    async with served(app) as place:
        return await trio.to_thread.run_sync(partial(sameview, "monitor", "status", f"{place.url}/", *options))


async def shown(answer: Answer | Overview, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that are shown at a known time, with single spaces."""
    async with served(monitor(answer)) as place:
        await trio.to_thread.run_sync(partial(show_status, place.url, False, FakeClock(NOW_MS // 1000)))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


async def test_a_monitor_that_convicted_nobody_ends_with_0(sameview: Sameview) -> None:
    ran = await status(sameview, monitor(calm()))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("OK: this monitor has convicted nobody\n")


async def test_says_first_how_it_looks(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown(calm(), capsys)
    assert lines[:2] == [
        "monitor.example/m1: No log of 2 contradicted itself as far as this monitor and its peers were shown.",
        "2 logs, 6,425,111 entries re-hashed, complete up to: 38 s ago, 0 open alarms",
    ]


async def test_shows_the_matrix_of_logs_by_witnesses_and_peers(capsys: pytest.CaptureFixture[str]) -> None:
    one = log("one")
    seen = (
        replace(one.witnesses[0], agreement=Agreement.OLDER, size=12_000),
        replace(one.witnesses[1], agreement=Agreement.CONTRADICTS),
        Sight(WITNESSES[2], Agreement.UNHEARD, None, None),
    )
    peers = (replace(one.peers[0], agreement=Agreement.NEWER, size=12_350), replace(one.peers[1], size=12_345))
    lines = await shown(overview([replace(one, witnesses=seen, peers=peers)]), capsys)
    (row,) = [line for line in lines if line.startswith("log.example/one")]
    assert row == (
        "log.example/one 12,345 consistent 4 s 38 s, by 3 of 3 -345, 11 s OTHER, 18 s none +5, 32 s same, 39 s"
    )


async def test_of_many_witnesses_those_who_differ_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    wide = many(2)
    first = wide.logs[0]
    odd = (Sight("witness.example/w0", Agreement.UNHEARD, None, None), *first.witnesses[1:])
    lines = await shown(replace(wide, logs=(replace(first, witnesses=odd), wide.logs[1])), capsys)
    text = " ".join(lines)
    assert "9 of 10 agree; witness.example/w0 none" in text
    assert "10 of 10 agree" in text


async def test_shows_peers_with_their_ages(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = calm()
    silent = replace(quiet.peers[1], operator="", url=None, heard_ms=None)
    lines = await shown(replace(quiet, peers=(quiet.peers[0], silent)), capsys)
    assert f"{PEERS[0]} Operator of {PEERS[0]} 4 s ago https://m.example" in lines
    assert f"{PEERS[1]} - never calls us" in lines


async def test_says_agrees_of_no_log_that_was_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    new = replace(log("new", 0), verdict=Verdict.UNVERIFIED, confirmed_ms=None, watermark=None, witnesses=(), peers=())
    lines = await shown(replace(overview([new]), peers=()), capsys)
    assert "log.example/new 0 nothing verified yet never -" in lines


async def test_without_a_quorum_no_completeness_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (replace(log(name), watermark=None, witnesses=(), peers=()) for name in ("one", "two"))
    seen = overview([one, two])
    none = replace(seen, peers=(), totals=replace(seen.totals, watermark_ms=None, unclaimed=2))
    lines = await shown(none, capsys)
    assert "complete up to: not claimed (quorum none), 0 open alarms" in lines[1]
    assert "log.example/one 12,345 consistent 4 s -" in lines
    some = replace(none, totals=replace(seen.totals, unclaimed=1))
    assert "38 s ago (not claimed of 1 log: quorum none), 0 open" in (await shown(some, capsys))[1]
    not_yet = replace(none, totals=replace(seen.totals, watermark_ms=None, unclaimed=1))
    assert "not yet (not claimed of 1 log: quorum none), 0 open" in (await shown(not_yet, capsys))[1]


async def test_shows_what_is_not_settled_and_how_far_a_catch_up_is(capsys: pytest.CaptureFixture[str]) -> None:
    busy = replace(log("one"), pending=(PendingHead(13_000, None),), catch_up=CatchUp(12_345, 13_000, 140))
    text = " ".join(await shown(replace(overview([replace(busy, witnesses=(), peers=())]), peers=()), capsys))
    assert "not yet settled: 13,000; re-hashing 12,345 of 13,000, about 2 min left" in text


async def test_counts_what_watches_found(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown(replace(calm(), watches=watched()), capsys)
    assert "our product 12 entry 4,012 of log.example/one, 60 s ago" in lines
    assert "our keys 0 -" in lines
    assert not [line for line in await shown(calm(), capsys) if line.startswith("watch")]


async def test_shows_alarms_with_the_way_to_verify_them(capsys: pytest.CaptureFixture[str]) -> None:
    lines = await shown(trouble(), capsys)
    at = lines.index("ALARM watermark-stale about log.example/four, 15 min ago")
    assert lines[at + 1] == "completeness: proven only up to 31 min ago"
    assert lines[at + 3].startswith("What to do: ")
    assert any(line.startswith("ALARM witness-lag, ") for line in lines)
    assert any(line.startswith("PROOF convicted about log.example/three, ") for line in lines)


async def test_a_conviction_ends_with_1_and_tells_the_command(sameview: Sameview) -> None:
    seen = trouble()
    ran = await status(sameview, monitor(seen))
    (proof,) = seen.evidence
    assert ran.code == 1
    assert f"  {proof.command}\n" in ran.out
    assert f"  curl -o {proof.file} http://127.0.0.1:" in ran.out
    assert ran.out.endswith("verify it with the commands above\n")


async def test_a_monitor_cannot_make_anybody_paste_a_command_of_its_own(sameview: Sameview) -> None:
    seen = trouble()
    proof = replace(
        seen.evidence[0],
        command="rm -rf ~",
        file="x; rm -rf ~",
        path="/$(rm -rf ~)",
        policy_path="/p",
        policy_file="`id`",
    )
    ran = await status(sameview, monitor(replace(seen, evidence=(proof,))))
    commands = [line for line in ran.out.splitlines() if line.startswith(("  curl", "  sameview"))]
    assert [line.partition("http")[0] for line in commands[:2]] == ["  curl -o 'x; rm -rf ~' '", "  curl -o '`id`' "]
    assert commands[0].endswith("/$(rm -rf ~)'")
    assert commands[2].startswith("  sameview verify evidence 'x; rm -rf ~' --vkey")
    assert commands[2].endswith("--policy '`id`'")


async def test_a_convicted_cosigner_counts_although_every_log_agrees(sameview: Sameview) -> None:
    seen = calm()
    ran = await status(sameview, monitor(replace(seen, totals=replace(seen.totals, evidence=1))))
    assert ran.code == 1


async def test_json_is_the_overview(sameview: Sameview) -> None:
    seen = trouble()
    ran = await status(sameview, monitor(seen), "--json")
    assert (ran.code, ran.document["convicted"]) == (1, True)
    assert msgspec.convert(ran.document, Overview) == seen


async def test_every_page_is_asked_for(sameview: Sameview) -> None:
    whole = many(3)

    def page(number: int) -> Overview:
        return replace(whole, page=number, pages=3, logs=whole.logs[number - 1 : number])

    ran = await status(sameview, monitor(page), "--json")
    assert [one["origin"] for one in ran.document["logs"]] == [one.origin for one in whole.logs]


async def test_control_characters_of_a_monitor_do_not_reach_the_terminal(sameview: Sameview) -> None:
    seen, evil = trouble(), "\x1b[2J[red]m2\u202e"
    hostile = replace(
        seen,
        monitor=evil,
        peers=(replace(seen.peers[0], name=evil),),
        watches=tuple(
            replace(one, name=evil, newest=tuple(replace(match, origin=evil) for match in one.newest))
            for one in watched()
        ),
        alarms=tuple(replace(one, origin=evil, subject=evil, detail=evil, next=evil) for one in seen.alarms),
        evidence=(replace(seen.evidence[0], accused=evil, origin=evil, names_origin=True, file=evil, shows=evil),),
    )
    ran = await status(sameview, monitor(hostile))
    assert ("\x1b" in ran.out, "\u202e" in ran.out, r"\x1b[2J[red]m2\u202e" in ran.out) == (False, False, True)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"monitor": 5}', b"\xff", b"[" * 100_000])
async def test_what_is_no_monitor_ends_with_2_and_one_sentence(sameview: Sameview, body: bytes) -> None:
    async def other(_request: Request) -> Response:
        return Response(body)

    ran = await status(sameview, Starlette(routes=[Route("/v1/overview", other)]))
    said = "sameview: the answer is not that of a monitor: give the public URL of one\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)


async def test_a_server_without_an_overview_ends_with_2(sameview: Sameview) -> None:
    ran = await status(sameview, monitor(calm(), 404))
    assert (ran.code, ran.err) == (2, "sameview: the answer was 404: give the public URL of a monitor\n")


@pytest.mark.parametrize("code", [429, 503])
async def test_a_monitor_in_trouble_ends_with_3(sameview: Sameview, code: int) -> None:
    ran = await status(sameview, monitor(calm(), code))
    assert (ran.code, ran.err) == (3, f"sameview: the monitor answered {code}: try again later\n")


def test_a_monitor_that_cannot_be_reached_ends_with_3(sameview: Sameview) -> None:
    ran = sameview("monitor", "status", "http://127.0.0.1:1")
    assert (ran.code, ran.err) == (
        3,
        "sameview: the monitor cannot be asked: the server cannot be reached; does it serve at this URL?\n",
    )
