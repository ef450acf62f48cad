"""The witness test kit: our own witness passes all of it, and each careless witness fails for its own mistake."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import override

from runtime.client import Client
from runtime.clock import SystemClock
from runtime.errors import CannotTell, UsageError
from runtime.http import bare
from runtime.keyfiles import write_signer_key
from sameview.conformance import report
from sameview.conformance.cases import CASES, UNSEEN
from sameview.conformance.outcomes import Differs, Failed, Outcome, Passed, Skipped, Text
from sameview.conformance.run import Result, run_cases
from sameview.conformance.session import Asks, Session, Subject
from sameview.conformance.tree import KitTree
from tests import careless
from tests.careless import Direct, HonestWitness
from tests.commands import Ran, Sameview
from tests.fakes import FakeClock
from tests.keys import NOW, log_key, mldsa_key, witness_key
from tests.nodes import witness
from tests.repo.checkout import read
from tests.served import served
from tests.serving import serving
from tlog.errors import ProofError
from tlog.hashing import EMPTY_TREE
from tlog.keys import SignerKey
from tlog.proofs import verify_consistency

ORIGIN = "kit.example/log"
LOG_KEYS = (log_key(ORIGIN), log_key(ORIGIN, seed=2))
NAME = "witness.example/one"
KEYS = (witness_key(NAME), witness_key(NAME, seed=2))
BOTH_ALGORITHMS = (witness_key(NAME), mldsa_key(NAME))


def subject(
    url: str,
    keys: Sequence[SignerKey] = KEYS,
    log_keys: tuple[SignerKey, ...] = LOG_KEYS,
    text: Text = Text.MAIN,
    lag: float = 0,
) -> Subject:
    return Subject(url, url, ORIGIN, log_keys, tuple(key.verifier_key for key in keys), text, lag)


async def outcomes_at(client: Asks, asked: Subject, clock: FakeClock, only: Sequence[str] = ()) -> dict[str, Outcome]:
    """How each case ends."""
    session = Session(asked, client, clock)
    await session.open()
    results = await run_cases(session, [case for case in CASES if not only or case.name in only])
    return {result.case.name: result.outcome for result in results}


async def outcomes_in_memory(
    kind: type[HonestWitness], text: Text = Text.MAIN, keys: Sequence[SignerKey] = KEYS
) -> dict[str, Outcome]:
    clock = FakeClock(NOW)
    app = kind(ORIGIN, [key.verifier_key for key in LOG_KEYS], keys, clock).app()
    async with serving(app) as place:  # for the cases that look at connections
        return await outcomes_at(Direct(app), subject(place.url, keys, text=text), clock)


def names(outcomes: Mapping[str, Outcome], kind: type[Outcome]) -> set[str]:
    return {name for name, outcome in outcomes.items() if isinstance(outcome, kind)}


# Witnesses that make no mistake.


async def test_our_witness_passes_every_case(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    logs = {ORIGIN: [key.verifier_key for key in LOG_KEYS]}
    async with witness(tmp_path, logs, BOTH_ALGORITHMS, clock) as ours:
        outcomes = await outcomes_at(ours.client, subject(ours.url, BOTH_ALGORITHMS), clock)
        assert {name: outcome for name, outcome in outcomes.items() if outcome != Passed()} == {}


async def test_a_second_run_goes_on_where_the_first_ended() -> None:
    clock = FakeClock(NOW)
    made = HonestWitness(ORIGIN, [key.verifier_key for key in LOG_KEYS], KEYS, clock)
    async with served(made.app()) as place:
        await outcomes_at(place.client, subject(place.url), clock)
        clock.advance(3600)
        outcomes = await outcomes_at(place.client, subject(place.url), clock)
    assert (names(outcomes, Failed), names(outcomes, Differs)) == (set(), set())
    assert names(outcomes, Skipped) == {
        *("first-contact", "empty-tree", "empty-tree-changed", "proof-from-zero", "growth-from-zero", "ml-dsa-44")
    }


async def test_a_log_with_one_ml_dsa_key_will_do(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    key = mldsa_key(ORIGIN)
    async with witness(tmp_path, {ORIGIN: [key.verifier_key]}, KEYS[:1], clock) as ours:
        outcomes = await outcomes_at(ours.client, subject(ours.url, KEYS[:1], (key,)), clock)
    assert (names(outcomes, Failed), names(outcomes, Differs)) == (set(), set())
    assert names(outcomes, Skipped) == {
        *("second-log-key", "public-copy-second-log-key", "known-key-fails", "ml-dsa-44"),
        *("extension-lines", "extension-empty", "extension-not-utf-8", "extension-control-character"),
    }


async def test_an_honest_witness_in_memory_fails_nothing() -> None:
    outcomes = await outcomes_in_memory(HonestWitness)
    assert names(outcomes, Passed) | {"ml-dsa-44"} == {case.name for case in CASES}


async def test_a_key_that_was_not_given_is_named_and_fails_nothing() -> None:
    clock = FakeClock(NOW)
    app = HonestWitness(ORIGIN, [key.verifier_key for key in LOG_KEYS], KEYS, clock).app()
    outcomes = await outcomes_at(Direct(app), subject("http://w.example", KEYS[:1]), clock, only=["own-lines-only"])
    found = outcomes["own-lines-only"]
    assert isinstance(found, Skipped)
    assert KEYS[1].verifier_key.id.hex() in found.reason


# Witnesses that make one.

MISTAKES: list[tuple[type[HonestWitness], set[str]]] = [
    (careless.ReadsLeadingZeros, {"old-leading-zero"}),
    (careless.ReadsSigns, {"old-plus-sign"}),
    (careless.ReadsCarriageReturns, {"old-crlf", "hash-crlf"}),
    (careless.ReadsManySpellings, {"root-not-canonical"}),
    (careless.HasSmallBodies, {"largest-legal-body", "many-signatures"}),
    (careless.FailsOnNothing, {"empty-body"}),
    (careless.FailsOnMuch, {"oversized-body"}),
    (careless.AcceptsAnyMethod, {"wrong-method"}),
    (careless.HidesUnknownLogs, {"unknown-origin"}),
    (
        careless.FailsOnSignatures,
        {"unsigned", "wrong-key", "bad-signature", "signature-of-another-checkpoint", "known-key-fails"},
    ),
    (careless.NeedsOneGoodKey, {"known-key-fails"}),
    (careless.TrustsOnFirstUse, {"first-contact"}),
    (careless.AcceptsOldAboveSize, {"old-above-size"}),
    (careless.AcceptsOtherRoots, {"same-size-other-root"}),
    (careless.AcceptsEmptyRoots, {"empty-tree-other-root", "empty-tree-changed"}),
    (careless.AcceptsLongProofs, {"proof-extended", "same-size-with-proof"}),
    (careless.AcceptsProofsFromZero, {"proof-from-zero"}),
    (careless.RefusesToRefresh, {"empty-tree", "refresh", "concurrent-refresh"}),
    (careless.HasNoTransactions, {"concurrency"}),
    (careless.NamesACharset, {"conflict-media-type"}),
    (careless.EndsNoLine, {"conflict-body"}),
    (careless.CallsForksConflicts, {"same-size-other-root"}),
    (careless.EchoesTheLog, {"own-lines-only"}),
    (careless.SignsWithOneKey, {"all-keys-sign"}),
    (careless.SignsTwice, {"one-line-a-key"}),
    (careless.StatesNoTime, {"time-not-zero"}),
    (careless.LivesInThePast, {"time-recent"}),
    (careless.GoesBackInTime, {"refresh-time"}),
    (careless.DropsExtensions, {"extension-lines"}),
    (
        careless.SignsAnotherSize,
        {"cosignatures-verify", "extension-lines", "public-copy-cosigned", "forged-own-line"},
    ),
    (
        careless.AnswersWithAWord,
        {
            *("cosignatures-verify", "all-keys-sign", "own-lines-only", "one-line-a-key", "time-not-zero"),
            *("time-recent", "refresh-time", "extension-lines", "public-copy-same-lines"),
        },
    ),
    (
        careless.ShowsNonsense,
        {
            *("public-copy-log-signature", "public-copy-cosigned", "public-copy-current", "public-copy-same-lines"),
            *("public-copy-second-log-key", "forged-own-line", "refused-not-published"),
        },
    ),
    (careless.ShowsTheCopyBefore, {"public-copy-current"}),
    (careless.ShowsAnyLine, {"forged-own-line"}),
    (careless.ShowsNoLogSignature, {"public-copy-log-signature", "public-copy-second-log-key"}),
    (careless.ShowsOtherLines, {"public-copy-same-lines"}),
    (careless.ShowsNoCosignature, {"public-copy-cosigned", "public-copy-same-lines", "forged-own-line"}),
    (careless.ShowsWhatItRefused, {"refused-not-published"}),
    (careless.ShowsUnderAnySpelling, {"public-copy-lowercase"}),
]


@pytest.mark.parametrize(("kind", "expected"), MISTAKES, ids=lambda value: getattr(value, "__name__", ""))
async def test_a_mistake_fails_its_case_and_no_other(kind: type[HonestWitness], expected: set[str]) -> None:
    outcomes = await outcomes_in_memory(kind)
    assert names(outcomes, Failed) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (careless.SignsWithOneKey, {"all-keys-sign", "ml-dsa-44"}),
        (careless.SignsExtensionsWithEveryKey, {"extension-lines"}),
        (HonestWitness, set()),
    ],
)
async def test_mistakes_with_an_ml_dsa_44_key_are_seen(kind: type[HonestWitness], expected: set[str]) -> None:
    outcomes = await outcomes_in_memory(kind, keys=BOTH_ALGORITHMS)
    assert names(outcomes, Failed) == expected


@pytest.mark.parametrize(("lag", "kind"), [(0, Failed), (3600, Passed)])
async def test_a_copy_may_lag_as_long_as_the_kit_is_told(
    lag: float, kind: type[Outcome], autojump_clock: object
) -> None:
    clock = FakeClock(NOW)
    app = careless.ShowsLater(ORIGIN, [key.verifier_key for key in LOG_KEYS], KEYS, clock).app()
    asked = subject("http://w.example", lag=lag)
    outcomes = await outcomes_at(Direct(app), asked, clock, only=["growth", "public-copy-current"])
    assert names(outcomes, kind) >= {"public-copy-current"}


async def test_a_connection_that_serves_one_request_is_noticed() -> None:
    clock = FakeClock(NOW)
    made = HonestWitness(ORIGIN, [key.verifier_key for key in LOG_KEYS], KEYS, clock)
    async with serving(made.app(), requests_per_connection=1) as place, Client() as client:
        outcomes = await outcomes_at(client, subject(place.url), clock, only=["keep-alive"])
    assert outcomes["keep-alive"] == Failed(
        "W-3", "two answers over one connection", "the connection was closed at the second"
    )


async def test_a_size_that_no_tree_of_the_kit_has_is_not_believed() -> None:
    class Boasts(HonestWitness):
        @override
        def conflict(self, size: int) -> Response:
            return super().conflict(2**62)

    outcomes = await outcomes_in_memory(Boasts)
    found = outcomes["growth"]
    assert isinstance(found, Failed)
    assert found.got == "a size larger than any: is the log key used elsewhere?"


async def test_a_witness_that_dies_fails_one_case_and_the_rest_is_skipped() -> None:
    clock = FakeClock(NOW)
    made = HonestWitness(ORIGIN, [key.verifier_key for key in LOG_KEYS], KEYS, clock)
    async with Client() as client:
        async with serving(made.app()) as place:
            session = Session(subject(place.url), client, clock)
            await session.open()
        results = await run_cases(session, CASES[:4])
    # The first case looks at the answer to the first probe only.
    ended = [type(result.outcome) for result in results]
    assert ended == [Passed, Failed, Skipped, Skipped]


# The older text.


async def test_the_older_text_lets_a_witness_differ_where_it_was_silent_or_said_otherwise() -> None:
    class Old(careless.CallsForksConflicts, careless.ShowsNothing, careless.NeedsOneGoodKey):
        pass

    outcomes = await outcomes_in_memory(Old, Text.V1)
    assert names(outcomes, Failed) == set()
    assert {"same-size-other-root", "public-copy", "known-key-fails"} <= names(outcomes, Differs)
    assert outcomes["same-size-other-root"] == Differs("W-19", "422", "409")


async def test_the_newer_text_does_not() -> None:
    outcomes = await outcomes_in_memory(careless.ShowsNothing)
    assert names(outcomes, Differs) == set()
    assert "public-copy" in names(outcomes, Failed)


async def test_the_older_text_excuses_no_signature_on_a_wrong_empty_tree() -> None:
    outcomes = await outcomes_in_memory(careless.AcceptsEmptyRoots, Text.V1)
    assert names(outcomes, Failed) == {"empty-tree-other-root", "empty-tree-changed"}


# Before the first case.


def says(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Starlette:
    async def answer(request: Request) -> Response:
        return bare(status, body, None, headers)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])


@pytest.mark.parametrize(("status", "sentence"), [(404, "does not know the log"), (403, "knows another key")])
async def test_a_log_that_is_not_registered_is_said_so(status: int, sentence: str) -> None:
    async with served(says(status)) as place:
        with pytest.raises(UsageError, match=sentence):
            await outcomes_at(place.client, subject(place.url), FakeClock(NOW))


async def test_nobody_there_cannot_be_told() -> None:
    async with Client() as client:
        with pytest.raises(CannotTell, match="cannot be asked"):
            await outcomes_at(client, subject("http://127.0.0.1:1"), FakeClock(NOW))


async def test_a_witness_that_stays_busy_cannot_be_told() -> None:
    async with served(says(429, headers={"retry-after": "0"})) as place:
        with pytest.raises(CannotTell, match="lift the limit"):
            await outcomes_at(place.client, subject(place.url), FakeClock(NOW))


# The tree.


@pytest.mark.parametrize(("old", "new"), [(1, 2), (10, 11), (16, 23), (255, 700), (0, 5)])
def test_the_tree_of_a_size_is_a_prefix_of_the_next(old: int, new: int) -> None:
    tree = KitTree()
    later = tree.head(new)  # first the larger, to see that rows are not overwritten
    head = tree.head(old) if old else EMPTY_TREE
    verify_consistency(head, later, tree.proof(old, new))
    assert KitTree().head(new) == later


def test_the_other_history_shares_nothing() -> None:
    tree, fork = KitTree(), KitTree(b"fork ")
    with pytest.raises(ProofError):
        verify_consistency(tree.head(5), fork.head(9), fork.proof(5, 9))


# What is said.

OUTCOMES: list[Outcome] = [
    Passed(),
    Failed("W-14", "a <size>", "\x1b[2J & \u202e"),
    Differs("W-19", "422", "409"),
    Skipped("not here"),
]
RESULTS = [Result(case, outcome, 0.5) for case, outcome in zip(CASES, OUTCOMES, strict=False)]


def test_junit_counts_and_escapes() -> None:
    tree = ElementTree.fromstring(report.junit(RESULTS, subject("http://w.example")))
    (suite,) = tree
    counts = {name: tree.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "0", "skipped": "1"}
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [result.case.name for result in RESULTS]
    (failure,) = suite.findall("testcase/failure")
    assert failure.get("message") == r"W-14 expects a <size>; got \x1b[2J & \u202e"
    assert [case.findtext("system-out") for case in cases][2] == "differs: W-19 expects 422; got 409"


def test_the_document_says_of_each_case_how_it_ended() -> None:
    document: dict[str, Any] = json.loads(json.dumps(report.document(RESULTS, subject("http://w.example"))))
    assert (document["holds"], document["counts"]) == (False, {"pass": 1, "fail": 1, "differs": 1, "skip": 1})
    assert [case["outcome"] for case in document["cases"]] == ["pass", "fail", "differs", "skip"]
    assert document["cases"][2]["expected"] == "422"
    assert document["cases"][3]["reason"] == "not here"


def test_the_table_names_what_failed_and_prints_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    report.table(RESULTS, subject("http://w.example"))
    out = capsys.readouterr().out
    assert out.endswith(f"FAILED: {RESULTS[1].case.name}\n")
    assert "1 passed, 1 failed, 1 differ, 1 skipped; the text followed is tlog-witness main" in out
    assert "\x1b" not in out


# The command.


@pytest.fixture
def key_files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "first.key", tmp_path / "second.key"]
    for file, key in zip(files, LOG_KEYS, strict=True):
        write_signer_key(file, key)
    return files


async def command(sameview: Sameview, kind: type[HonestWitness], key_files: list[Path], *options: object) -> Ran:
    made = kind(ORIGIN, [key.verifier_key for key in LOG_KEYS], KEYS, SystemClock())
    async with served(made.app()) as place:
        vkeys = [word for key in KEYS for word in ("--vkey", key.verifier_key.format())]
        files = [word for file in key_files for word in ("--log-key", file)]
        run = partial(sameview, "conformance", "witness", f"{place.url}/", *vkeys, *files, *options)
        return await trio.to_thread.run_sync(run)


async def test_the_command_ends_with_0_when_everything_passed(sameview: Sameview, key_files: list[Path]) -> None:
    ran = await command(sameview, HonestWitness, key_files)
    assert (ran.code, ran.out.split("\n")[-2]) == (0, "OK: the witness did what was asked")
    assert f"origin {ORIGIN}\n    {LOG_KEYS[0].verifier_key.format()}\n" in ran.err


async def test_the_command_ends_with_1_and_names_what_failed(
    sameview: Sameview, key_files: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "junit.xml"
    only = ("--only", "conflict-media-type", "--only", "growth")
    ran = await command(sameview, careless.NamesACharset, key_files[:1], *only, "--json", "--junit", file)
    assert (ran.code, ran.document["holds"]) == (1, False)
    assert [case["name"] for case in ran.document["cases"]] == ["growth", "conflict-media-type"]
    assert ran.document["cases"][1]["got"] == "Content-Type text/x.tlog.size; charset=utf-8"
    (suite,) = ElementTree.fromstring(file.read_bytes())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


async def test_a_file_that_cannot_be_written_ends_with_2(sameview: Sameview, key_files: list[Path]) -> None:
    ran = await command(sameview, HonestWitness, key_files, "--only", "growth", "--junit", "/nowhere/junit.xml")
    assert (ran.code, ran.err.split("\n")[-2]) == (
        2,
        "sameview: cannot write /nowhere/junit.xml: No such file or directory",
    )


def test_the_list_needs_no_witness(sameview: Sameview) -> None:
    listed = sameview("conformance", "witness", "--list", "--json").document["cases"]
    assert [case["name"] for case in listed] == [case.name for case in CASES]
    assert sameview("conformance", "witness", "--list", "--only", "growth").out.startswith("growth\n    A tree")


URL, KEY, VKEY = "http://w.example", ["--log-key", "LOG"], ["--vkey", "WITNESS VKEY"]
NO_LOG_KEY = "`sameview keygen --type log` makes one"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give the URL of a witness, or --list"),
        ([URL], f"give --log-key, once or twice: {NO_LOG_KEY}"),
        ([URL, "--only", "no"], "--only names 1 case that does not exist: --list shows them all"),
        ([URL, *KEY], "give --vkey, once for each key of the witness"),
        ([URL, *KEY, *KEY], "--log-key names one key twice: the second has to be another key of the log"),
        ([URL, *KEY, "--vkey", "LOG VKEY"], "--vkey is not a witness's key: those are of the types 0x04 and 0x06"),
        ([URL, "--log-key", "WITNESS"], f"--log-key is not a log's key: {NO_LOG_KEY}"),
        (["w.example", *KEY, *VKEY], "URL is not the http or https address of a witness"),
        ([URL, "--monitoring-url", "x", *KEY, *VKEY], "--monitoring-url is not the http or https address of a witness"),
        ([URL, *KEY, *VKEY, "--origin", ""], "--origin: origin is not 1 to 255 bytes long"),
    ],
)
def test_bad_usage_ends_with_2_and_one_sentence(
    sameview: Sameview, key_files: list[Path], tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    write_signer_key(tmp_path / "witness.key", KEYS[0])
    meant: dict[str, object] = {
        "LOG": key_files[0],
        "WITNESS": tmp_path / "witness.key",
        "LOG VKEY": LOG_KEYS[0].verifier_key.format(),
        "WITNESS VKEY": KEYS[0].verifier_key.format(),
    }
    ran = sameview("conformance", "witness", *(meant.get(word, word) for word in arguments))
    assert (ran.code, ran.out, ran.err) == (2, "", f"sameview: {sentence}\n")


# What is promised.


def cited() -> set[str]:
    return {requirement for case in CASES for requirement in case.requirements}


def test_names_are_unique_and_can_be_typed() -> None:
    found = [case.name for case in CASES]
    assert len(set(found)) == len(found)
    assert [name for name in found if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


def test_every_requirement_that_can_be_seen_from_outside_is_cited_by_a_case() -> None:
    of_witnesses = {f"W-{number}" for number in (*range(1, 30), *range(40, 45))}
    assert of_witnesses - cited() == set(UNSEEN)


def test_every_cited_requirement_is_listed() -> None:
    listed = set(re.findall(r"^\| ([A-Z]+-\d+) \|", read("specs/requirements.md"), re.MULTILINE))
    assert cited() - listed == set()


def test_the_documented_cases_are_those_of_the_code() -> None:
    rows = [f"| `{case.name}` | {', '.join(case.requirements)} | {case.sentence} |" for case in CASES]
    _, _, table = read("docs/conformance.md").partition("\n## Cases\n")
    assert re.findall(r"^\| `.*\|$", table, re.MULTILINE) == rows
