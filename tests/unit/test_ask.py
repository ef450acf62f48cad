"""``sameview ask``: no monitor is believed, and what counts is what everybody can verify afterwards."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.clock import SystemClock
from runtime.wording import utc
from sameview.ask import (
    MAX_ANSWER_BYTES,
    Outcome,
    Proven,
    Question,
    ask_all,
    monitors_of,
    question_about,
    question_with,
)
from tests.commands import Sameview
from tests.evidence_cases import CT, make_bad_empty_head, make_log_rollback, make_rotation
from tests.forks import Tree, leaves, signed
from tests.keys import NOW, log_key, witness_key
from tests.served import served
from tlog.errors import FormatError, SignatureError
from tlog.evidence import Evidence, same_size, verify_evidence
from tlog.hashing import leaf_hash
from tlog.keys import SignerKey
from tlog.opening import TruncatedProof
from tlog.policy import Policy
from tlog.proofs import prove_consistency, prove_inclusion
from tlog.text import encode_base64
from tlog.tlog_proof import TlogProof
from tlog.view import View, judge

LOG = log_key()
OBSERVERS = tuple(witness_key(f"monitor.example/m{number}-observer") for number in (1, 2, 3))
MAIN, TWIN = Tree(leaves(600)), Tree(leaves(600, "twin", common=9))
ASKED = signed(MAIN.head(20), LOG)
PROOF = same_size(ASKED, signed(TWIN.head(20), LOG))
SECONDS = 5.0


def policy(urls: Sequence[str] = ()) -> Policy:
    named = [*urls, *[""] * len(OBSERVERS)]
    lines = [f"witness m{n} {key.verifier_key} {named[n - 1]}\n" for n, key in enumerate(OBSERVERS, 1)]
    return Policy.parse(f"log {LOG.verifier_key}\n{''.join(lines)}group g 2 m1 m2 m3\nquorum g\n".encode())


POLICY = policy()


@dataclass(slots=True)
class Monitor:
    """A monitor that says what it is told to; of several answers the last one is repeated."""

    answers: list[bytes | int]
    bundle: bytes = b""
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.asked.append((request.url.path, await request.body()))
        self.headers.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            return Response(status_code=answer, headers={"retry-after": "0"})
        return Response(answer)

    async def evidence(self, request: Request) -> Response:
        return Response(self.bundle)

    @property
    def app(self) -> Starlette:
        posts = [Route(path, self.answer, methods=["POST"]) for path in ("/v1/ask", "/v1/submit")]
        return Starlette(routes=[*posts, Route("/v1/evidence/{id}", self.evidence)])


def says(verdict: str, observer: SignerKey, size: int, tree: Tree = MAIN, time: int = NOW, **changed: object) -> bytes:
    small, large = sorted((20, size))
    path = [encode_base64(value).decode() for value in prove_consistency(small, large, tree.read)]
    document = {
        "verdict": verdict,
        "origin": ASKED.origin,
        "size": size,
        "frontier": signed(tree.head(size), LOG, observer, time=time).raw.decode(),
        "proof": path if verdict == "prefix" else [],
        "evidence": [],
    }
    return json.dumps({**document, **changed}).encode()


SAME, PREFIX = says("same", OBSERVERS[0], 20), says("prefix", OBSERVERS[1], 33)


@asynccontextmanager
async def running(*monitors: Monitor) -> AsyncIterator[list[str]]:
    async with AsyncExitStack() as stack:
        yield [(await stack.enter_async_context(served(monitor.app))).url for monitor in monitors]


async def ask(*monitors: Monitor, question: Question | None = None, seconds: float = SECONDS) -> Outcome:
    async with running(*monitors) as urls:
        return await ask_all(question or question_about(ASKED.raw, POLICY), urls, NOW - 60, NOW + 60, seconds)


async def test_a_quorum_of_monitors_that_see_it_is_enough() -> None:
    outcome = await ask(Monitor([SAME]), Monitor([PREFIX]))
    assert (outcome.code, outcome.judged.agreeing) == (0, ("m1", "m2"))
    assert judge(View.parse(outcome.view.format()), POLICY, NOW - 60).met


async def test_all_that_monitors_learn_is_the_checkpoint() -> None:
    one = Monitor([SAME])
    marked = signed(MAIN.head(20), LOG, witness_key("mark.example/client-17")).raw
    await ask(one, question=question_about(marked, POLICY))
    assert one.asked == [("/v1/ask", ASKED.raw)]
    assert set(one.headers[0]) <= {"host", "user-agent", "accept", "accept-encoding", "content-length", "connection"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (says("prefix", OBSERVERS[1], 33, proof=[]), "it is not shown that its tree grew out"),
        (says("prefix", OBSERVERS[1], 33, time=NOW - 61), "the cosignature is 1 seconds too old"),
        (says("prefix", OBSERVERS[1], 33, time=NOW + 61), "a time that has not come yet"),
        (says("same", witness_key("x"), 20), "no observer of the policy cosigned it"),
        (says("same", OBSERVERS[1], 20, frontier=None), "it showed no head of its own"),
        (says("unknown-origin", OBSERVERS[1], 20, frontier=None), "it showed no head of its own"),
        (says("same", OBSERVERS[1], 20, frontier="no note"), "its answer is not that of a monitor"),
        (says("same", OBSERVERS[1], 20, frontier="a\n\n\u2014 name AAAAAAA=\n"), "its answer is not that of a monitor"),
        (says("same", OBSERVERS[1], 20, frontier="\ud800"), "its answer is not that of a monitor"),
        (says("same", OBSERVERS[1], 20, proof=["A"]), "its answer is not that of a monitor"),
        (says("same", OBSERVERS[1], 20, proof=["A"] * 65), "its answer is not that of a monitor"),
        (says("same", OBSERVERS[1], 20, watermark=NOW), "its answer is not that of a monitor"),
        (says("same", OBSERVERS[1], 20, watermark={"time": -1, "liars": 0}), "its answer is not that of a monitor"),
        (says("nonsense", OBSERVERS[1], 20), "its answer is not that of a monitor"),
        (b'{"verdict":"\xcd"}', "its answer is not that of a monitor"),
        (b"", "its answer is not that of a monitor"),
        (b"[" * 100_000, "its answer is not that of a monitor"),
        (bytes(MAX_ANSWER_BYTES + 1), "the answer is larger than"),
        (404, "this is no monitor, it answered 404: name monitors, with their observers' keys in the policy"),
        (400, "it answered 400"),
        (says("fork", OBSERVERS[1], 20), "it says fork, and gives no evidence that holds"),
        (says("fork", OBSERVERS[1], 20, evidence=["../../secret", "0" * 64]), "gives no evidence that holds"),
    ],
)
async def test_an_answer_that_does_not_hold_does_not_count(answer: bytes | int, problem: str) -> None:
    outcome = await ask(Monitor([SAME]), Monitor([answer]))
    assert (outcome.code, outcome.judged.agreeing, outcome.proven) == (3, ("m1",), None)
    assert problem in str(outcome.heard[1].problem)


async def test_a_monitor_that_cannot_be_reached_does_not_count() -> None:
    outcome = await ask_all(question_about(ASKED.raw, POLICY), ["http://127.0.0.1:1"], NOW, NOW, SECONDS)
    assert (outcome.code, outcome.heard[0].problem) == (3, "the server cannot be reached")


async def test_a_monitor_that_is_behind_or_busy_is_asked_again() -> None:
    ahead = says("ahead", OBSERVERS[1], 9)
    one = Monitor([429, 503, ahead, PREFIX])
    outcome = await ask(Monitor([SAME]), one)
    assert (outcome.code, len(one.asked)) == (0, 4)


async def test_a_monitor_that_stays_behind_does_not_count() -> None:
    outcome = await ask(Monitor([SAME]), Monitor([says("ahead", OBSERVERS[1], 9)]), seconds=0.2)
    assert (outcome.code, outcome.heard[1].said) == (3, "ahead")
    assert "nothing shows how the two relate" in str(outcome.heard[1].problem)


async def test_monitors_that_stay_behind_keep_no_other_from_being_asked() -> None:
    behind = [Monitor([says("stale", OBSERVERS[0], 20)]) for _ in range(24)]
    honest = [Monitor([says("fork", OBSERVERS[1], 20, evidence=["a" * 64])], PROOF.format()) for _ in range(3)]
    outcome = await ask(*behind, *honest, seconds=3.0)
    assert [one.proven is not None for one in outcome.heard] == [False] * 24 + [True] * 3


async def test_evidence_that_holds_is_a_verdict_whoever_agrees() -> None:
    fork = says("fork", OBSERVERS[2], 20, evidence=["0" * 64])
    outcome = await ask(Monitor([SAME]), Monitor([PREFIX]), Monitor([fork], PROOF.format()))
    assert (outcome.code, outcome.verdict) == (1, "FORK: the log signed two histories")
    assert outcome.proven is not None
    assert outcome.proven.evidence == PROOF


@pytest.mark.parametrize("size", [20, 33])
async def test_evidence_is_made_of_a_head_that_contradicts_the_checkpoint(size: int) -> None:
    contradicting = says("prefix", OBSERVERS[2], size, TWIN)
    outcome = await ask(Monitor([SAME]), Monitor([PREFIX]), Monitor([contradicting]))
    assert (outcome.code, outcome.judged.forked is not None) == (1, True)
    assert outcome.proven is not None
    assert verify_evidence(outcome.proven.evidence, [LOG.verifier_key]) == outcome.proven.conviction


async def test_evidence_against_another_log_or_a_cosigner_is_none_here() -> None:
    other = same_size(
        *(signed(tree.head(20), log_key("log.example/two"), origin="log.example/two") for tree in (MAIN, TWIN))
    )
    fork = says("fork", OBSERVERS[2], 20, evidence=["0" * 64])
    for bundle in (other.format(), b"no evidence", ASKED.raw):
        assert (await ask(Monitor([fork], bundle))).code == 3


async def test_an_opening_is_handed_in_truncated_and_unmarked() -> None:
    marked = signed(MAIN.head(600), LOG, witness_key("mark.example/client-17")).raw
    opening = TruncatedProof.of(
        TlogProof(300, tuple(prove_inclusion(300, 600, MAIN.read)), marked), leaf_hash(b"main 300")
    )
    one = Monitor([SAME])
    await ask(one, question=question_with(opening, POLICY))
    ((path, body),) = one.asked
    sent = TruncatedProof.parse(body)
    assert (path, sent.level, len(sent.note.signatures)) == ("/v1/submit", 8, 1)


def test_only_a_checkpoint_that_the_policy_s_log_signed_is_asked_about() -> None:
    with pytest.raises(FormatError):
        question_about(b"", POLICY)
    for note in (signed(MAIN.head(20), log_key(seed=9)), signed(MAIN.head(20), LOG, origin="log.example/two")):
        with pytest.raises(SignatureError):
            question_about(note.raw, POLICY)


def test_the_policy_names_the_monitors() -> None:
    assert monitors_of(policy(["http://m1", "http://m1", "http://m3"])) == ("http://m1", "http://m3")


# The command.


async def test_the_command_asks_verifies_and_writes_the_view_down(sameview: Sameview, tmp_path: Path) -> None:
    now = SystemClock().now()
    answers = [says("same", OBSERVERS[0], 20, time=now), says("prefix", OBSERVERS[1], 33, time=now)]
    (tmp_path / "checkpoint").write_bytes(ASKED.raw)
    async with running(*[Monitor([answer]) for answer in answers]) as urls:
        (tmp_path / "policy").write_bytes(policy(urls).format())
        asked = ("ask", tmp_path / "checkpoint", "--policy", tmp_path / "policy")
        command = partial(sameview, *asked, "--out", tmp_path / "said.tlog-view")
        ran = await trio.to_thread.run_sync(command)
        assert (ran.code, ran.err, ran.out.splitlines()[0]) == (0, "", "OK: the monitors see this checkpoint too")
        one = await trio.to_thread.run_sync(partial(sameview, *asked, "--monitors", urls[0], "--json"))
        assert (one.code, one.document["agreeing"], one.document["files"]) == (3, ["m1"], {})
    verified = sameview(
        "verify", "view", tmp_path / "said.tlog-view", "--policy", tmp_path / "policy", "--max-age", 600
    )
    assert verified.code == 0


async def test_the_command_tells_up_to_when_monitors_say_that_they_see_everything(
    sameview: Sameview, tmp_path: Path
) -> None:
    now = SystemClock().now()
    marks = [{"time": NOW, "liars": 1}, None, {"time": now + 3600, "liars": 0}]
    heads = zip(OBSERVERS, marks, strict=True)
    answers = [says("same", observer, 20, time=now, watermark=mark) for observer, mark in heads]
    (tmp_path / "checkpoint").write_bytes(ASKED.raw)
    async with running(*[Monitor([answer]) for answer in answers]) as urls:
        (tmp_path / "policy").write_bytes(policy(urls).format())
        asked = ("ask", tmp_path / "checkpoint", "--policy", tmp_path / "policy")
        told = await trio.to_thread.run_sync(partial(sameview, *asked))
        document = (await trio.to_thread.run_sync(partial(sameview, *asked, "--json"))).document
    said = f"same; complete up to {utc(NOW * 1000)}, it says, unless more than 1 witness lies"
    assert told.out.splitlines()[1:4] == [f"  {urls[0]}: {said}", f"  {urls[1]}: same", f"  {urls[2]}: same"]
    listed = document["monitors"]
    assert isinstance(listed, list)
    assert [one["watermark"] for one in listed] == [marks[0], None, None]


async def test_the_command_writes_evidence_beside_the_view(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(ASKED.raw)
    fork = Monitor([says("fork", OBSERVERS[2], 20, evidence=["0" * 64])], PROOF.format())
    async with running(fork) as urls:
        (tmp_path / "policy").write_bytes(policy(urls).format())
        command = (
            "ask",
            tmp_path / "checkpoint",
            "--policy",
            tmp_path / "policy",
            "--out",
            tmp_path / "said.tlog-view",
        )
        ran = await trio.to_thread.run_sync(partial(sameview, *command))
    assert (ran.code, ran.out.splitlines()[0]) == (1, "FORK: the log signed two histories")
    evidence = tmp_path / "said.tlog-evidence"
    assert sameview("verify", "evidence", evidence, "--vkey", LOG.verifier_key).code == 0


def test_the_command_wants_to_know_what_and_whom_to_ask(sameview: Sameview, tmp_path: Path) -> None:
    (tmp_path / "policy").write_bytes(POLICY.format())
    (tmp_path / "checkpoint").write_bytes(ASKED.raw)
    (tmp_path / "entry").write_bytes(b"another entry")
    proof = TlogProof(3, tuple(prove_inclusion(3, 20, MAIN.read)), ASKED.raw)
    (tmp_path / "proof").write_bytes(proof.format())
    asked = ("ask", "--policy", tmp_path / "policy")
    assert sameview(*asked, tmp_path / "checkpoint").code == 2
    assert sameview(*asked, tmp_path / "checkpoint", "--monitors", "http://a..b").code == 2
    assert sameview(*asked, "--monitors", "http://m1").code == 2
    assert sameview(*asked, "--monitors", "http://m1", "--proof", tmp_path / "proof").code == 2
    handed = ("--proof", tmp_path / "proof", "--entry", tmp_path / "entry", "--monitors", "http://m1")
    assert sameview(*asked, *handed).code == 1
    assert sameview(*asked, tmp_path / "entry", "--monitors", "http://m1").code == 2
    (tmp_path / "checkpoint").write_bytes(signed(MAIN.head(20), log_key(seed=9)).raw)
    assert sameview(*asked, tmp_path / "checkpoint", "--monitors", "http://m1").code == 1


@pytest.mark.parametrize("make", [make_bad_empty_head, make_log_rollback, make_rotation])
def test_a_log_that_contradicted_itself_otherwise_is_not_said_to_have_forked(make: Callable[[], Evidence]) -> None:
    evidence = make()
    conviction = verify_evidence(evidence, [LOG.verifier_key, CT.verifier_key])
    view = View(ASKED.note)
    outcome = Outcome((), judge(view, POLICY), view, Proven(conviction, evidence))
    assert (outcome.code, outcome.verdict.partition(":")[0]) == (1, "CONVICTED")
    assert outcome.verdict.endswith(evidence.type.shows)


def test_who_hands_in_an_entry_near_the_end_of_the_tree_is_told_among_how_few_it_is(
    sameview: Sameview, tmp_path: Path
) -> None:
    for name, content in (("policy", POLICY.format()), ("entry", b"main 19")):
        (tmp_path / name).write_bytes(content)
    proof = TlogProof(19, tuple(prove_inclusion(19, 20, MAIN.read)), ASKED.raw)
    (tmp_path / "proof").write_bytes(proof.format())
    handed = ("--proof", tmp_path / "proof", "--entry", tmp_path / "entry", "--monitors", "http://127.0.0.1:1")
    ran = sameview("ask", "--policy", tmp_path / "policy", *handed)
    assert (ran.code, "as one of only 4 entries" in ran.err) == (3, True)
