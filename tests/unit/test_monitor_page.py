"""The monitor's page: what it says, to whom, and what it does with strings that strangers chose."""

import gzip
import json
import re
import shlex
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

import gossip.testimony as hearsay
from gossip.core import Branch, Log
from gossip.messages import TestimonyNote as Heard
from monitor.__main__ import _init
from monitor.app import monitor_app, reading_routes
from monitor.config import NamedPeer, WatchedLog
from monitor.marks import WitnessSight
from monitor.matching import Findings, ListedMatch
from monitor.page.document import Agreement, LogView, Mood, Overview, Verdict
from monitor.page.overview import LOGS_ON_A_PAGE, Overviews, _parties, _witness, evidence_view
from monitor.page.plots import Plot, draw
from monitor.page.render import MAX_COLUMNS, MAX_PLOTTED, render
from monitor.page.web import Fresh, Reading
from monitor.samples import MINUTE_MS, Sample
from monitor.tables import StoredEvidence
from monitor.testify import sign_testimony
from monitor.views import Views
from runtime.client import Response
from runtime.visitors import Rate, Visitors
from runtime.wording import age, counted, public, shell, span
from tests.commands import Sameview
from tests.evidence_cases import ACCUSED, MAKERS, POLICY
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy, signer
from tests.overviews import NOW_MS, calm, many, overview, trouble, watched
from tests.served import Served, served
from tests.unit.test_monitor_node import ID, PEER_KEY, Bench, bench, fork, grown, opened, settings
from tlog.evidence import EvidenceType, verify_evidence
from tlog.keys import KeyType
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import MAX_INTEGER

DISTRUSTED = {"logs": 0, "cosigners": 0}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 98765*7 }}\u202egnp\x1b[2J"
PEER_OBSERVER = signer("monitor.example/m2-observer", KeyType.COSIGNATURE_ED25519)


def reading(one: Bench, peers: tuple[NamedPeer, ...] = (), visitors: Visitors | None = None) -> Starlette:
    """The endpoints for readers alone, with nothing kept from before."""
    views = Views(one.monitor, peers, dict.fromkeys(one.monitor.sites, "http://log"))
    many_rate = Rate(10_000, 10_000)
    return Starlette(
        routes=Reading(
            "m1", views, one.clock, Visitors(many_rate, many_rate) if visitors is None else visitors
        ).routes()
    )


@asynccontextmanager
async def page_of(one: Bench, *peers: NamedPeer, visitors: Visitors | None = None) -> AsyncIterator[Served]:
    async with served(reading(one, peers, visitors)) as web:
        yield web


async def read(one: Bench, *peers: NamedPeer) -> str:
    """The page, made anew."""
    async with page_of(one, *peers) as web:
        return (await web.get("/")).body.decode()


async def look(one: Bench, *peers: NamedPeer) -> LogView:
    """What the overview says of the only log."""
    views = Views(one.monitor, peers, dict.fromkeys(one.monitor.sites, "http://log"))
    found = await Overviews("m1", views).overview()
    assert found is not None
    return found.logs[0]


def rendered(found: Overview) -> str:
    return render(found, DISTRUSTED, NOW_MS).body.decode()


# What it says.


async def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        before = await read(one)
        await one.poll()
        during = await read(one)
        await one.monitor.submit(ID, fork(log, 5, 9).sign(9, ()))
        after = await read(one)
    assert "nothing verified yet" in before
    assert "No log of 1 contradicted itself" in during
    assert "1 of 1 logs signed two histories" in after
    assert "/v1/evidence/" in after


async def test_the_page_counts_whom_to_distrust_and_who_testified(tmp_path: Path) -> None:
    log = grown(9)
    later = log.fork(9)
    later.add(5)
    unserved = hearsay.Testimony(ORIGIN, hearsay.UNSERVED, 14, later.head().root_hash, 1, 2, 3)
    async with bench(tmp_path, log) as one:
        await one.poll()
        before = await read(one)
        await one.monitor.submit(ID, later.sign(14, ()))
        await one.receive(Heard(sign_testimony(unserved, PEER_KEY)))
        await one.monitor.submit(ID, fork(log, 5, 9).sign(9, ()))
        after = await read(one)
    assert "To be distrusted: 0 logs and 0 cosigners" in before
    assert "0 statements</a> of monitors" in before
    assert "To be distrusted: 1 log and 0 cosigners" in after
    assert "1 statement</a> of monitors" in after


async def test_without_a_quorum_the_page_claims_no_completeness(tmp_path: Path) -> None:
    log = grown(9)
    chosen = settings(tmp_path, log)
    (watched_log,) = chosen.logs
    alone = replace(watched_log, log=replace(watched_log.log, policy=policy(log.key, threshold=None)))
    chosen = replace(chosen, logs=(alone,))
    await _init(chosen)
    async with opened(chosen, log) as one:
        await one.poll()
        seen, text = await look(one), await read(one)
        async with page_of(one) as web:
            own = (await web.get(f"/logs/{ID.hex()}")).body.decode()
    assert seen.watermark is None
    assert "<dt>Complete up to</dt><dd>not claimed (quorum none)</dd>" in " ".join(text.split())
    assert '<span class="soft">not claimed</span>' in text
    assert "<dt>Complete up to</dt><dd>not claimed (quorum none)</dd>" in own
    assert "not yet" not in text + own


def test_of_logs_with_and_without_a_quorum_the_page_says_of_how_many_nothing_is_claimed() -> None:
    seen = calm()
    text = rendered(replace(seen, totals=replace(seen.totals, unclaimed=1)))
    assert "not claimed of 1 log: quorum none" in text
    assert "not claimed" not in rendered(seen)


async def test_who_cosigned_the_head_sees_the_same_and_who_was_never_heard_nothing(tmp_path: Path) -> None:
    log = FakeLog()
    log.add(9)
    log.publish(witnesses=())
    async with bench(tmp_path, log) as one:
        await one.poll()
        unheard = await look(one)
        log.publish()
        await one.poll()
        await one.monitor.marks.settle()
        heard = await look(one)
    assert {sight.agreement for sight in unheard.witnesses} == {Agreement.UNHEARD}
    assert {(sight.agreement, sight.size) for sight in heard.witnesses} == {(Agreement.SAME, 9)}
    assert heard.watermark is not None
    assert (heard.watermark.counting, heard.watermark.witnesses) == (3, 3)


SIGHT = WitnessSight("w1", "witness.example/w1", 5, 100, 100, 1, True, counts=True, convicted=False, polled=True)


@pytest.mark.parametrize(
    ("sight", "agreement"),
    [
        (SIGHT, Agreement.OLDER),
        (replace(SIGHT, size=0), Agreement.SAME),
        (replace(SIGHT, on_branch=None), Agreement.NEWER),
        (replace(SIGHT, on_branch=False), Agreement.CONTRADICTS),
        (replace(SIGHT, convicted=True), Agreement.CONTRADICTS),
        (replace(SIGHT, size=None, time=None, stated=None, on_branch=None), Agreement.UNHEARD),
    ],
)
def test_what_a_witness_stated_is_compared_with_the_branch(sight: WitnessSight, agreement: Agreement) -> None:
    assert _witness(sight, Branch()).agreement is agreement


def test_two_keys_of_one_witness_are_one_column_with_what_it_said_last() -> None:
    later = replace(SIGHT, name="w1-new", stated=200)
    silent = replace(SIGHT, name="w1-old", stated=None)
    assert _parties([silent, SIGHT, later, silent]) == [later]


def peer_with_observer(folder: Path, log: FakeLog) -> NamedPeer:
    return replace(settings(folder, log).peers[0], observer=PEER_OBSERVER.verifier_key)


async def stated(one: Bench, log: FakeLog, size: int, time: int = 1_700_000_000) -> None:
    """Let the peer's observer state a head."""
    signed = log.sign(size, (PEER_OBSERVER,), time=time)
    keys = [log.key.verifier_key, PEER_OBSERVER.verifier_key]
    await one.monitor.ledger.weigh(open_checkpoint(signed, keys), time)


async def test_a_peer_is_compared_by_what_its_observer_stated_last(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        peer = peer_with_observer(tmp_path, log)
        silent = (await look(one, peer)).peers[0]
        await stated(one, log, 4)
        unverified = (await look(one, peer)).peers[0]
        await one.poll()
        older = (await look(one, peer)).peers[0]
        await stated(one, log, 9, 1_700_000_100)
        same = (await look(one, peer)).peers[0]
        log.add(3)
        await stated(one, log, 12, 1_700_000_200)
        newer = (await look(one, peer)).peers[0]
        unnamed = (await look(one, replace(peer, observer=None))).peers[0]
    found = [(one.agreement, one.size) for one in (silent, unverified, older, same, newer, unnamed)]
    assert found == [
        (Agreement.UNHEARD, None),
        (Agreement.NEWER, 4),
        (Agreement.OLDER, 4),
        (Agreement.SAME, 9),
        (Agreement.NEWER, 12),
        (Agreement.UNHEARD, None),
    ]
    assert same.time_ms == 1_700_000_100_000


@pytest.mark.parametrize(
    ("size", "agreement"), [(9, Agreement.CONTRADICTS), (7, Agreement.CONTRADICTS), (3, Agreement.OLDER)]
)
async def test_a_peer_that_was_shown_the_other_history_contradicts(
    tmp_path: Path, size: int, agreement: Agreement
) -> None:
    log = grown(9)
    twin = fork(log, 5, 9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        await one.monitor.submit(ID, twin.sign(9, ()))  # convicts the log
        await stated(one, twin, size)
        seen = await look(one, peer_with_observer(tmp_path, log))
    assert (seen.verdict, seen.peers[0].agreement) == (Verdict.CONVICTED, agreement)


def test_the_headline_says_the_worst_first() -> None:
    bad, good = trouble(), calm()
    alarmed = replace(good, totals=replace(good.totals, open_alarms=1, alarmed=1))
    witness = replace(good, totals=replace(good.totals, evidence=1))
    new = replace(good, totals=replace(good.totals, unverified=2))
    assert [one.mood for one in (bad, alarmed, witness, new, good)] == [
        Mood.BAD,
        Mood.WARN,
        Mood.BAD,
        Mood.GOOD,
        Mood.GOOD,
    ]
    assert [one.headline.partition(".")[0] for one in (bad, alarmed, witness, new)] == [
        "1 of 4 logs signed two histories",
        "1 alarm to look at",
        "A key other than a log's contradicted itself",
        "Nothing was verified yet",
    ]


def test_signs_and_words_say_what_colours_say() -> None:
    page = rendered(trouble())
    for words in (
        "✗ convicted",
        "! to look at: watermark-stale",
        "✓&nbsp;same",
        "✗&nbsp;other",
        "·&nbsp;none",
        "✓&nbsp;−1,002",
    ):
        assert words in page, words


def test_what_does_not_fit_is_counted() -> None:
    page = rendered(many(3, MAX_COLUMNS + 2))
    assert "2 witness columns more" in page
    seen = trouble()
    fuller = replace(seen, totals=replace(seen.totals, open_alarms=120, evidence=101))
    assert "And 117 more" in rendered(fuller)
    assert "And 100 more" in rendered(fuller)


def test_a_monitor_of_no_logs_has_a_page() -> None:
    assert "No log is configured." in rendered(replace(overview([]), peers=()))


def test_alarms_that_ended_are_listed() -> None:
    seen = trouble()
    ended = replace(seen.alarms[1], cleared_ms=NOW_MS - 5000)
    assert "1 alarm that ended lately" in rendered(replace(seen, cleared=(ended,)))


# Strings that others chose.


async def test_the_page_escapes_what_others_chose(tmp_path: Path) -> None:
    origin = "<script>alert(1)</script>\u202e"
    log = FakeLog([b"a"], origin=origin, key=signer(ORIGIN))
    log.publish()
    chosen = settings(tmp_path, log)
    chosen = replace(chosen, logs=(WatchedLog(Log(origin, (log.key.verifier_key,), policy()), "http://log"),))
    await _init(chosen)
    async with opened(chosen, log) as one:
        hostile = replace(chosen.peers[0], name="<img src=x>", operator='"><b>')
        page = await read(one, hostile)
    assert not [text for text in ("<script>", "<img src=x", '<b>"', "\u202e") if text in page]
    assert "&lt;script&gt;" in page
    assert r"\u202e" in page


async def test_a_time_beyond_all_time_is_shown_like_any_other(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one, page_of(one, peer_with_observer(tmp_path, log)) as web:
        await one.poll()
        log.add(9)
        await one.monitor.submit(ID, log.sign(18, [WITNESSES[0], PEER_OBSERVER], time=MAX_INTEGER))
        await one.monitor.marks.settle()
        answers = [await web.get(path) for path in ("/", f"/logs/{ID.hex()}", "/v1/overview")]
        assert [one.status for one in answers] == [200, 200, 200]
        (witness,) = [sight for sight in json.loads(answers[2].body)["logs"][0]["witnesses"] if sight["time_ms"]][:1]
        assert witness["agreement"] == "newer"


def test_every_string_of_an_overview_is_harmless() -> None:
    hostile = _poisoned(trouble())
    page = rendered(hostile)
    assert "onerror" in page
    assert not [text for text in ("<script>", "<img src=x", "\u202e", "\x1b", "691355") if text in page]
    # It is still one document of the same shape: nothing got out of its place.
    plain = rendered(_poisoned(trouble(), "plain"))
    assert page.replace("<wbr>", "").count("<") == plain.replace("<wbr>", "").count("<")


def _poisoned(seen: Overview, text: str = HOSTILE) -> Overview:
    """The overview with each string that a stranger can choose replaced."""
    return replace(
        seen,
        monitor=text,
        logs=tuple(
            replace(
                one,
                origin=text,
                witnesses=tuple(replace(sight, name=text) for sight in one.witnesses[:1]),
                alarms=(text,),
            )
            for one in seen.logs
        ),
        peers=tuple(replace(one, name=text, operator=text, url=text) for one in seen.peers),
        alarms=tuple(replace(one, origin=text, subject=text, detail=text) for one in seen.alarms),
        evidence=tuple(replace(one, origin=text, accused=text, command=text, file=text) for one in seen.evidence),
        watches=tuple(
            replace(one, name=text, newest=tuple(replace(m, origin=text, found=(text, text)) for m in one.newest))
            for one in watched()
        ),
    )


def test_what_watches_found_is_shown_with_where_the_proofs_are() -> None:
    page = rendered(replace(calm(), watches=watched())).replace("<wbr>", "")
    assert 'of which the newest 2 are here; <a href="/v1/matches?watch=our%20product">the others</a>' in page
    assert '<a href="/v1/matches/12/proof" download="12.tlog-proof">proof</a>' in page
    assert '<a href="/v1/matches/12/entry" download="12.entry">entry</a>' in page
    assert "<bdi>before example-product behind</bdi>" in page
    assert '<bdi>our keys</bdi> <span class="soft">0 matches</span>' in page
    assert "What watches found" not in rendered(calm())


class Watching:
    """Watches that found one thing."""

    async def findings(self, newest: int) -> list[Findings]:
        return [Findings("ours", 9, (ListedMatch(7, ORIGIN, 5, ("example-product",), 12, NOW_MS),))]


async def test_what_watches_found_is_for_the_operator_alone(tmp_path: Path) -> None:
    log = grown(9)
    async with bench(tmp_path, log) as one:
        await one.poll()
        shown = Views(one.monitor, (), dict.fromkeys(one.monitor.sites, "http://log"))
        budget = Visitors(Rate(10_000, 10_000), Rate(10_000, 10_000))
        routes = reading_routes("m1", one.monitor, shown, one.clock, budget, None, Watching())
        async with (
            served(Starlette(routes=routes)) as operator,
            served(monitor_app("m1", one.monitor, shown, one.clock)) as web,
        ):
            for path, found in (("/", b"example-product"), ("/v1/overview", b'"index":5')):
                bodies = [(await asked.get(path)).body.replace(b"<wbr>", b"") for asked in (operator, web)]
                assert [found in body for body in bodies] == [True, False]


@given(st.lists(st.text(), min_size=1))
def test_a_command_is_the_words_that_it_was_made_of(words: list[str]) -> None:
    visible = [word for word in words if word.isprintable()]
    assert shlex.split(shell(visible)) == visible
    assert shell(words).isprintable()


def test_a_shell_reads_what_cannot_be_seen_as_it_was(tmp_path: Path) -> None:
    words = ["log \u202e$(id)", "a\nb", "\x01'\"\\"]
    done = subprocess.run(
        ["bash", "-c", "printf '%s\\0' " + shell(words)], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("type_", EvidenceType)
def test_the_command_beside_evidence_verifies_it(
    type_: EvidenceType, tmp_path: Path, sameview: Sameview, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence, accused = MAKERS[type_](), ACCUSED[type_]
    origin = evidence.notes[0].text.partition(b"\n")[0].decode()
    conviction = verify_evidence(evidence, [accused], POLICY, origin)
    stored = StoredEvidence(conviction.id, origin, type_.value, accused.format(), evidence.format(), 1, 2)
    log_keys = () if "cosigner" in type_.value else (accused,)
    shown = evidence_view(stored, Log(origin, log_keys, POLICY))
    (tmp_path / shown.file).write_bytes(stored.bundle)
    if shown.policy_file is not None:
        (tmp_path / shown.policy_file).write_bytes(POLICY.format())
    monkeypatch.chdir(tmp_path)
    program, *words = shlex.split(shown.command)
    ran = sameview(*words)
    assert (program, ran.code, ran.err) == ("sameview", 0, "")


# How it is served.


async def asked(web: Served, path: str, **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await web.client.fetch("GET", f"{web.url}{path}", cap=1 << 24, seconds=20, headers=fields)


async def test_the_page_may_load_nothing_but_its_own(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(3)) as one, page_of(one) as web:
        answer = await web.get("/")
    headers, text = answer.headers, answer.body.decode()
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    rules = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert {rules[name] for name in ("script-src", "img-src", "connect-src")} == {"'self'"}
    # Of styles, those that stand in it, and no others that somebody might get into it.
    assert rules["style-src"] == f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    assert {rules[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert headers["x-content-type-options"] == "nosniff"


async def test_what_a_reader_has_is_not_sent_again(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(3)) as one, page_of(one) as web:
        for path in ("/", "/v1/overview", f"/v1/plots/{ID.hex()}/lag.svg", f"/v1/samples/{ID.hex()}"):
            first = await web.get(path)
            again = await asked(web, path, if_none_match=first.headers["etag"])
            assert (first.status, again.status, again.body) == (200, 304, b""), path


async def test_files_are_kept_for_ever_under_names_that_say_what_is_in_them(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(3)) as one, page_of(one) as web:
        page = (await web.get("/")).body.decode()
        paths = {part.split('"')[0] for part in page.split('"/page/')[1:]}
        answers = [await web.get(f"/page/{path}") for path in sorted(paths)]
        missing = await web.get("/page/live.0.js")
    assert len(answers) == 2
    assert {(one.status, "immutable" in one.headers["cache-control"]) for one in answers} == {(200, True)}
    assert missing.status == 404


async def test_the_overview_is_the_same_as_json(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(9)) as one, page_of(one) as web:
        await one.poll()
        document = json.loads((await web.get("/v1/overview")).body)
    assert (document["logs"][0]["origin"], document["logs"][0]["size"]) == (ORIGIN, 9)
    assert document["totals"]["logs"] == document["pages"] == 1


async def test_each_log_has_a_page_of_its_own(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(9)) as one, page_of(one) as web:
        await one.poll()
        found = await web.get(f"/logs/{ID.hex()}")
        missing = await web.get(f"/logs/{'00' * 32}")
    page = found.body.decode()
    assert (found.status, missing.status) == (200, 404)
    assert "✓ consistent" in page
    assert "witness." in page
    assert f"/v1/plots/{ID.hex()}/growth.svg" in page
    assert "script-src 'self'" in found.headers["content-security-policy"]


def test_a_page_of_many_logs_has_the_plots_of_the_first_ones() -> None:
    assert rendered(many()).count("growth.svg") == MAX_PLOTTED


async def test_the_policy_of_a_log_can_be_had_for_the_command(tmp_path: Path) -> None:
    async with bench(tmp_path, grown(3)) as one, page_of(one) as web:
        assert (await web.get(f"/v1/policies/{ID.hex()}")).body == one.site.log.policy.format()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/?page=2", 404),
        ("/v1/overview?page=9999", 404),
        ("/?page=0", 400),
        ("/?page=-1", 400),
        ("/?page=99999", 400),
        ("/?page=%3Cscript%3E", 400),
        (f"/v1/plots/{ID.hex()}/other.svg", 404),
        (f"/v1/plots/{'00' * 32}/lag.svg", 404),
        ("/v1/samples/abc", 404),
        (f"/v1/policies/{ID.hex().upper()}", 404),
    ],
)
async def test_what_there_is_not_is_refused_without_echoing_it(tmp_path: Path, path: str, status: int) -> None:
    async with bench(tmp_path, grown(3)) as one, page_of(one) as web:
        answer = await web.get(path)
    assert answer.status == status
    assert b"script" not in answer.body


async def test_readers_have_a_budget(tmp_path: Path) -> None:
    little = Visitors(Rate(0.001, 2), Rate(0.001, 2))
    async with bench(tmp_path, grown(3)) as one, page_of(one, visitors=little) as web:
        answers = [await web.get("/v1/overview") for _ in range(3)]
    assert [one.status for one in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) > 0


async def test_many_readers_at_once_make_one_page(autojump_clock: trio.testing.MockClock) -> None:
    made: list[int] = []

    async def make(key: int) -> int:
        made.append(key)
        await trio.sleep(0.5)
        return len(made)

    fresh = Fresh(1.0, make)
    found: list[int] = []

    async def ask() -> None:
        found.append(await fresh.find(7))

    async with trio.open_nursery() as readers:
        for _ in range(20):
            readers.start_soon(ask)
    assert (made, found) == ([7], [1] * 20)
    await trio.sleep(2)
    assert await fresh.find(7) == 2


async def test_who_fails_to_make_it_leaves_it_to_the_next() -> None:
    tries: list[int] = []

    async def make(key: int) -> int:
        tries.append(key)
        if len(tries) == 1:
            raise ValueError
        return key

    fresh = Fresh(1.0, make)
    with pytest.raises(ValueError):
        await fresh.find(3)
    assert await fresh.find(3) == 3


async def test_only_so_many_things_are_kept() -> None:
    async def make(key: int) -> int:
        return key

    fresh = Fresh(1000.0, make, most=5)
    for key in range(20):
        await fresh.find(key)
    assert len(fresh) == 5


async def test_logs_come_in_pages_what_needs_a_look_first(tmp_path: Path) -> None:
    log = grown(3)
    chosen = settings(tmp_path, log)
    others = [f"log.example/{number:03}" for number in range(LOGS_ON_A_PAGE)]
    watched = [
        WatchedLog(Log(name, (signer(name).verifier_key,), policy(signer(name))), "http://log") for name in others
    ]
    chosen = replace(chosen, logs=(*watched, *chosen.logs))
    await _init(chosen)
    async with opened(chosen, log) as one:
        await one.poll()
        await one.monitor.submit(ID, fork(log, 2, 3).sign(3, ()))
        overviews = Overviews("m1", Views(one.monitor, (), dict.fromkeys(one.monitor.sites, "http://log")))
        first, second, third = [await overviews.overview(number) for number in (1, 2, 3)]
        async with page_of(one) as web:
            page = (await web.get("/?page=2")).body
    assert first is not None
    assert second is not None
    assert (third, first.pages, len(first.logs), len(second.logs)) == (None, 2, LOGS_ON_A_PAGE, 1)
    assert (first.logs[0].origin, first.totals.logs, second.totals.convicted) == (ORIGIN, LOGS_ON_A_PAGE + 1, 1)
    assert b"Page 2 of 2" in page


# Plots and words.


def sample(minute: int, size: int = 5, watermark: int | None = 10, confirmed_ms: int | None = 0) -> Sample:
    return Sample(ORIGIN, minute * MINUTE_MS, size, size, watermark, 1, confirmed_ms, 0, 0)


samples = st.builds(
    sample,
    minute=st.integers(1_000_000, 60_000_000),
    size=st.integers(0, 2**63 - 1),
    watermark=st.none() | st.integers(0, 2**33),
    confirmed_ms=st.none() | st.integers(0, 2**43),
)


@pytest.mark.parametrize("plot", Plot)
@given(st.lists(samples, max_size=12, unique_by=lambda one: one.at_ms))
def test_whatever_happened_can_be_plotted(plot: Plot, found: list[Sample]) -> None:
    drawn = ElementTree.fromstring(draw(plot, sorted(found, key=lambda one: one.at_ms)))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"


def test_a_gap_in_the_watermark_is_a_gap_in_its_line() -> None:
    times = [sample(1_000_000 + minute, watermark=None if minute in (3, 4) else 59_999_900) for minute in range(8)]
    drawn = ElementTree.fromstring(draw(Plot.WATERMARK, times))
    assert len([one for one in drawn.iter() if one.get("d")]) == 2


def test_where_there_is_nothing_to_plot_it_says_so() -> None:
    assert b"Nothing to plot yet" in draw(Plot.GROWTH, [sample(1_000_000)])


def test_a_plot_tells_times_and_sizes_as_people_read_them() -> None:
    grown_by = [sample(29_900_000 + minute, size=100_000 + 250 * minute) for minute in range(240)]
    text = draw(Plot.GROWTH, grown_by).decode()
    assert ">100,000<" in text
    assert "signed by the log" in text
    old = [sample(29_900_000 + minute, watermark=29_900_000 * 60) for minute in range(240)]
    assert ">4 h<" in draw(Plot.WATERMARK, old).decode()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@log.example:8443/one/@two", "https://log.example:8443/one/@two"),
        ("http://log.example", "http://log.example"),
        ("file:///srv/copies/log@one", "file:///srv/copies/log@one"),
    ],
)
def test_nobody_is_shown_the_password_in_a_url(url: str, shown: str) -> None:
    assert public(url) == shown


def test_words_for_ages_and_counts() -> None:
    assert [span(seconds) for seconds in (-3, 0, 119, 120, 7199, 7200, 172_800)] == [
        "0 s",
        "0 s",
        "119 s",
        "2 min",
        "119 min",
        "2 h",
        "2 d",
    ]
    assert age(NOW_MS + 5000, NOW_MS) == "0 s"
    assert [counted(1, "log"), counted(2, "log"), counted(1234, "entry", "entries")] == [
        "1 log",
        "2 logs",
        "1,234 entries",
    ]


def test_a_page_is_a_twentieth_when_it_is_compressed() -> None:
    page = render(many(), DISTRUSTED, NOW_MS)
    assert gzip.decompress(page.compressed) == page.body
    assert len(page.compressed) * 10 < len(page.body)
