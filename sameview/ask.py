"""``sameview ask``: does everybody see this checkpoint? Asks monitors, and believes none of them.

Every answer is verified here: the log's and the observer's signatures on the monitor's head, and the proof that its
tree grew out of the checkpoint's. Evidence is fetched and verified too; a monitor that says "fork" without any that
holds has said nothing. What counts is written down as a view, which anybody can verify offline later.

Monitors learn which checkpoint is asked about and from which address; the order is random, and nothing else tells
clients apart. Checkpoint and opening carry only signatures that the policy names: a log cannot mark a client by a line
of its own making.

Up to when a monitor says that its view is complete is told too, and nothing rests on it: that is its word, until
somebody fetches its certificate and verifies that.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import click
import msgspec
import trio

from runtime.client import Client, FetchError, Response
from runtime.clock import Clock, SystemClock
from runtime.errors import CANNOT_TELL, DOES_NOT_HOLD, HOLDS, UsageError
from runtime.files import replace_file
from runtime.foreground import run_foreground
from runtime.wording import counted, utc
from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, SignatureError, TlogError
from tlog.evidence import (
    MAX_EVIDENCE_BYTES,
    Conviction,
    Evidence,
    EvidenceType,
    is_log_key,
    non_consistent_path,
    same_size,
    verify_evidence,
)
from tlog.hashing import Hash
from tlog.note import Note
from tlog.opening import TruncatedProof
from tlog.policy import Policy, printable
from tlog.proofs import fold
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.text import MAX_INTEGER, encode_base64, parse_hash
from tlog.tied import MAX_HASHES
from tlog.view import MAX_ANSWERS, Answer, JudgedView, View, judge, judge_answer

ONE_SECONDS = 10.0  # for one request
ALL_SECONDS = 30.0  # for a monitor that has to catch up first: it polls its log every ten seconds
AGAIN_SECONDS = 1.0  # between two questions to one monitor, unless it says more
MAX_ANSWER_BYTES = 512 * 1024  # a note of 96 KiB in JSON, a proof, some ids
MAX_EVIDENCE = 4  # looked at, of one answer
CLOCK_SKEW = 60  # seconds that a monitor's clock may be ahead of ours

VERDICTS = frozenset({"same", "prefix", "ahead", "fork", "unknown-origin", "stale"})
LATER = frozenset({429, 502, 503, 504})

_NO_FORK = frozenset({EvidenceType.BAD_EMPTY_HEAD, EvidenceType.LOG_ROLLBACK, EvidenceType.ROTATION})


_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Complete(msgspec.Struct, frozen=True):
    """A completeness watermark: nobody was shown anything else before ``time``, unless more than ``liars`` lie."""

    time: _Number
    liars: _Number


class _Reply(msgspec.Struct, frozen=True):
    """What a monitor answers, as specs/openapi/monitor.yaml describes it."""

    verdict: str
    frontier: str | None = None
    proof: list[str] = []
    evidence: list[str] = []
    watermark: Complete | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and under whose keys answers are judged."""

    checkpoint: SignedCheckpoint
    policy: Policy
    body: bytes
    path: str = "/v1/ask"


@dataclass(frozen=True, slots=True)
class Proven:
    """Evidence that a monitor gave, or that its answer amounts to: the log is convicted."""

    conviction: Conviction
    evidence: Evidence


@dataclass(slots=True)
class Heard:
    """What one monitor said, and what is left of that after verification."""

    url: str
    said: str = "nothing"
    answer: Answer | None = None
    proven: Proven | None = None
    problem: str | None = None
    complete: Complete | None = None
    """Its watermark, by its own word; None if it named none, or one of a time that has not come."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was heard."""

    heard: Sequence[Heard]
    judged: JudgedView
    view: View
    proven: Proven | None = field(default=None)

    @property
    def code(self) -> int:
        """The exit code."""
        if self.proven is not None or self.judged.forked is not None:
            return DOES_NOT_HOLD
        return HOLDS if self.judged.met else CANNOT_TELL

    @property
    def verdict(self) -> str:
        """The one sentence."""
        if self.proven is not None and self.proven.conviction.type in _NO_FORK and self.judged.forked is None:
            return f"CONVICTED: the log's key contradicted itself: {self.proven.conviction.type.shows}"
        if self.proven is not None or self.judged.forked is not None:
            return "FORK: the log signed two histories"
        if self.judged.met:
            return "OK: the monitors see this checkpoint too"
        return "CANNOT TELL: too few monitors gave an answer that counts; try again, or ask others"


def question_about(raw: bytes, policy: Policy) -> Question:
    """Ask about a signed checkpoint.

    Raises:
        FormatError: it is none.
        SignatureError: no log of the policy signed it.
    """
    signed = _opened(Note.parse(raw), policy)
    return Question(signed, policy, signed.raw)


def question_with(opening: TruncatedProof, policy: Policy) -> Question:
    """Hand in an opening, and ask about its checkpoint.

    Raises:
        SignatureError: no log of the policy signed its checkpoint.
        ProofError: it does not lead there.
    """
    signed = _opened(opening.note, policy)
    opening.require_path()
    kept = TruncatedProof(opening.level, opening.index, opening.node, opening.path, signed.note)
    return Question(signed, policy, kept.format(), "/v1/submit")


def monitors_of(policy: Policy) -> tuple[str, ...]:
    """The URLs that the policy's witness lines name."""
    return tuple(dict.fromkeys(witness.url for witness in policy.witnesses if witness.url is not None))


def ask_monitors(
    question: Question,
    urls: Sequence[str],
    max_age: int,
    *,
    out: Path | None,
    as_json: bool,
    clock: Clock | None = None,
    seconds: float = ALL_SECONDS,
) -> int:
    """Ask, print what came of it, write the view down, and return the exit code."""
    if not urls or len(urls) > MAX_ANSWERS:
        raise UsageError(f"name 1 to {MAX_ANSWERS} monitors: by URLs in the policy's witness lines, or by --monitors")
    now = (clock or SystemClock()).now()
    outcome = run_foreground(partial(ask_all, question, urls, now - max_age, now + CLOCK_SKEW, seconds))
    files = _write(out, outcome)
    if as_json:
        click.echo(json.dumps(_document(outcome, files)))
    else:
        for line in _lines(outcome, files):
            click.echo(printable(line))
    return outcome.code


async def ask_all(
    question: Question, urls: Sequence[str], since: int, until: int, seconds: float = ALL_SECONDS
) -> Outcome:
    """Ask all of them at once, in an order that tells nobody anything; none waits for others, who may play for time."""
    since = max(1, since)
    heard = [Heard(url) for url in urls]
    async with Client() as client, trio.open_nursery() as nursery:
        for one in random.SystemRandom().sample(heard, len(heard)):
            nursery.start_soon(_ask_until_it_counts, client, question, one, (since, until), seconds)
    answers = tuple(one.answer for one in heard if one.answer is not None)
    view = View(question.checkpoint.note, answers)
    proven = next((one.proven for one in heard if one.proven is not None), None)
    return Outcome(heard, judge(view, question.policy, since, until), view, proven)


async def _ask_until_it_counts(
    client: Client,
    question: Question,
    heard: Heard,
    times: tuple[int, int],
    seconds: float,
) -> None:
    """Ask again while the monitor may still catch up with the checkpoint."""
    with trio.move_on_after(seconds):
        while True:
            wait = await _ask(client, question, heard, times)
            if wait is None:
                return
            await trio.sleep(wait)


async def _ask(client: Client, question: Question, heard: Heard, times: tuple[int, int]) -> float | None:
    """Ask once; return the seconds after which another try may say more, None if none will."""
    try:
        response = await _fetch(client, "POST", f"{heard.url}{question.path}", MAX_ANSWER_BYTES, question.body)
    except FetchError as error:
        heard.problem = str(error)
        return None
    if response.status in LATER:
        heard.problem = f"it answered {response.status}"
        return _seconds(response)
    if response.status == 404:
        heard.problem = "this is no monitor, it answered 404: name monitors, with their observers' keys in the policy"
        return None
    if response.status != 200:
        heard.problem = f"it answered {response.status}"
        return None
    try:
        reply = msgspec.json.decode(response.body, type=_Reply)
        answer = _read(reply, question.policy)
    except (msgspec.DecodeError, UnicodeDecodeError, FormatError, RecursionError):
        heard.problem = "its answer is not that of a monitor"
        return None
    heard.said, heard.problem = reply.verdict, None
    heard.complete = reply.watermark if reply.watermark is not None and reply.watermark.time <= times[1] else None
    await _verify(client, question, heard, reply, answer, times)
    return AGAIN_SECONDS if reply.verdict in ("ahead", "stale") and heard.proven is None else None


async def _verify(
    client: Client, question: Question, heard: Heard, reply: _Reply, answer: Answer | None, times: tuple[int, int]
) -> None:
    """Keep of an answer what holds."""
    heard.answer = None
    judged = None if answer is None else judge_answer(question.checkpoint, answer, question.policy, *times)
    if reply.verdict == "fork":
        heard.proven = await _fetch_evidence(client, question, heard.url, reply.evidence)
        heard.problem = None if heard.proven else "it says fork, and gives no evidence that holds"
    elif judged is None:
        heard.problem = "it showed no head of its own"
    else:
        heard.problem = judged.objection or next((one.objection for one in judged.observers if one.objection), None)
    if answer is not None and judged is not None and judged.contradicts and heard.proven is None:
        heard.proven = _made_of(question, answer)
    if judged is not None and (judged.contradicts or (reply.verdict != "fork" and judged.objection is None)):
        heard.answer = answer


async def _fetch_evidence(client: Client, question: Question, url: str, ids: Sequence[str]) -> Proven | None:
    for id_ in ids[:MAX_EVIDENCE]:
        if len(id_) != 64 or not id_.isascii() or not id_.isalnum():
            continue
        try:
            response = await _fetch(client, "GET", f"{url}/v1/evidence/{id_}", MAX_EVIDENCE_BYTES)
            evidence = Evidence.parse(response.body)
            policy = question.policy
            keys = policy.log_keys(question.checkpoint.origin)
            conviction = verify_evidence(evidence, keys, policy, question.checkpoint.origin)
        except (FetchError, TlogError):
            continue
        if is_log_key(conviction.accused, conviction.origin):
            return Proven(conviction, evidence)
    return None


def _made_of(question: Question, answer: Answer) -> Proven:
    """Make evidence of a checkpoint and a frontier that contradicts it: the log signed both."""
    origin = question.checkpoint.origin
    keys = question.policy.log_keys(origin)
    frontier = open_checkpoint(answer.frontier, keys)
    older, newer = sorted((question.checkpoint, frontier), key=lambda head: head.size)
    if older.size == newer.size:
        evidence = same_size(older, newer)
    else:
        root, _ = fold(older.size, newer.size, older.root_hash, answer.path)
        evidence = non_consistent_path(older, newer, root, answer.path)
    return Proven(verify_evidence(evidence, keys, question.policy, origin), evidence)


async def _fetch(client: Client, method: str, url: str, cap: int, body: bytes = b"") -> Response:
    return await client.fetch(method, url, cap=cap, seconds=ONE_SECONDS, body=body)


def _seconds(response: Response) -> float:
    field = response.headers.get("retry-after", "")
    return float(field) if field.isascii() and field.isdecimal() and len(field) < 4 else AGAIN_SECONDS


def _read(reply: _Reply, policy: Policy) -> Answer | None:
    """Read the parts of an answer, and drop the lines that the policy knows nothing of."""
    if reply.verdict not in VERDICTS or len(reply.proof) > MAX_HASHES:
        raise FormatError("no answer")
    if reply.frontier is None:
        return None
    path = tuple(_hash(value) for value in reply.proof)
    note = Note.parse(reply.frontier.encode("utf-8", "surrogatepass"))
    Checkpoint.parse(note.text)
    names = {(key.name, key.id) for key in (*(log.key for log in policy.logs), *policy.witness_keys)}
    lines = tuple(line for line in note.signatures if (line.name, line.key_id) in names)
    return Answer(Note(note.text, lines or note.signatures[:1]), path)


def _hash(value: str) -> Hash:
    return parse_hash(value.encode("utf-8", "surrogatepass"), "a hash of an answer")


def _opened(note: Note, policy: Policy) -> SignedCheckpoint:
    keys = tuple(log.key for log in policy.logs)
    try:
        signed = open_checkpoint(note, keys).verified_only()
    except SignatureError:
        raise SignatureError("no log of the policy signed the checkpoint") from None
    if not any(signed.signed_by(key) for key in policy.log_keys(signed.origin)):
        raise SignatureError("the log of the checkpoint is not one of the policy")
    return signed


def _write(out: Path | None, outcome: Outcome) -> Mapping[str, str]:
    """Write the view, and evidence beside it."""
    if out is None:
        return {}
    files = {"view": (out, outcome.view.format())}
    if outcome.proven is not None:
        files["evidence"] = (out.with_suffix(".tlog-evidence"), outcome.proven.evidence.format())
    for path, data in files.values():
        try:
            replace_file(path, data, mode=0o644)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return {name: str(path) for name, (path, _) in files.items()}


def _document(outcome: Outcome, files: Mapping[str, str]) -> dict[str, object]:
    judged, head, proven = outcome.judged, outcome.judged.checkpoint, outcome.proven
    if head is None:
        raise AssertionError("a question is about a checkpoint that the log signed")
    return {
        "code": outcome.code,
        "verdict": outcome.verdict,
        "origin": head.origin,
        "size": head.size,
        "root_hash": encode_base64(head.root_hash).decode(),
        "agreeing": list(judged.agreeing),
        "as_of": judged.as_of,
        "evidence": None if proven is None else proven.conviction.id.hex(),
        "monitors": [
            {
                "url": one.url,
                "said": one.said,
                "problem": one.problem,
                "watermark": None if one.complete is None else msgspec.to_builtins(one.complete),
            }
            for one in outcome.heard
        ],
        "files": dict(files),
    }


def _lines(outcome: Outcome, files: Mapping[str, str]) -> list[str]:
    lines = [outcome.verdict]
    if outcome.proven is not None:
        conviction = outcome.proven.conviction
        lines.append(f"  evidence: {conviction.type.value} against {conviction.accused.name}, {conviction.id.hex()}")
    lines += [f"  {one.url}: {one.said}{_not_counted(one)}{_complete(one)}" for one in outcome.heard]
    if outcome.judged.agreeing:
        lines.append(f"  agreeing: {', '.join(outcome.judged.agreeing)}")
    return [*lines, *(f"  {name}: {path}" for name, path in files.items())]


def _not_counted(heard: Heard) -> str:
    return "" if heard.problem is None else f", not counted: {heard.problem}"


def _complete(heard: Heard) -> str:
    if heard.complete is None:
        return ""
    liars = counted(heard.complete.liars, "witness lies", "witnesses lie")
    return f"; complete up to {utc(heard.complete.time * 1000)}, it says, unless more than {liars}"
