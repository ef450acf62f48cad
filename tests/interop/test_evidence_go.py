"""Another program, written in Go from specs/evidence.md alone, judges evidence as ours does.

Two readers of one text that agree on every bundle, true, wrong or damaged, are what makes it a specification. All
questions of a test go to one process.
"""

import base64
import json
import random
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from specs.vectors.make_evidence import FOLDER, SUFFIX
from tests.evidence_cases import LOG, POLICY
from tests.forks import signed
from tests.property.test_evidence import EVERYBODY, Framer, fork
from tlog.errors import FormatError, TlogError
from tlog.evidence import Evidence, non_consistent, same_size, verify_evidence
from tlog.keys import VerifierKey
from tlog.policy import Policy

INDEX: dict[str, Any] = json.loads((FOLDER / "vectors.json").read_text())
VECTORS: list[dict[str, Any]] = INDEX["vectors"]
PROVEN, NOT_PROVEN, MALFORMED, UNUSABLE = range(4)
FLIPS = 300  # of every good vector; and thousands where there is time


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


def ask(program: Path, questions: Iterable[Question]) -> list[dict[str, Any]]:
    """What the Go program says to each."""
    asked = "\n".join(
        json.dumps({"Bundle": base64.b64encode(bundle).decode(), **_fields(trusted)}) for bundle, trusted in questions
    )
    done = subprocess.run([program, "-batch"], input=asked, capture_output=True, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _fields(trusted: Trusted) -> dict[str, Any]:
    return {"Keys": trusted.keys, "Policy": trusted.policy, "Origin": trusted.origin}


def ours(question: Question) -> tuple[int, dict[str, Any] | None]:
    """What our verifier says, in the words of the Go program."""
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
        "Statements": [
            {"Size": size, "Root": base64.b64encode(root).decode(), "Time": time}
            for size, root, time in verdict.statements
        ],
        "Parties": list(verdict.cosigners),
        "ID": verdict.id.hex(),
    }


def disagreements(program: Path, questions: Sequence[Question]) -> Iterator[tuple[bytes, Any, Any]]:
    for question, answer in zip(questions, ask(program, questions), strict=True):
        theirs, said = (answer["Exit"], answer["Verdict"]), ours(question)
        if theirs != said:
            yield question[0], said, answer


def test_go_judges_our_vectors_as_they_say(evidence_go: Path) -> None:
    questions = [((FOLDER / case["file"]).read_bytes(), Trusted.of(case)) for case in VECTORS]
    for case, answer in zip(VECTORS, ask(evidence_go, questions), strict=True):
        if "verdict" not in case:
            assert (case["file"], answer["Exit"]) == (
                case["file"],
                MALFORMED if case["error"] == "format" else NOT_PROVEN,
            )
            continue
        said, want = answer["Verdict"], case["verdict"]
        statements = [[one["Size"], one["Root"], one["Time"]] for one in said["Statements"]]
        assert (said["Type"], said["Origin"], said["ID"]) == (want["type"], want["origin"], want["id"])
        assert said["Accused"] == INDEX["keys"][want["accused"]]
        assert (statements, said["Parties"]) == (want["statements"], want["cosigners"])


def flips(raw: bytes, bits: Iterable[int]) -> Iterator[bytes]:
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


@pytest.mark.parametrize("count", [FLIPS, pytest.param(4000, marks=pytest.mark.slow)])
def test_go_agrees_on_every_flipped_bit_of_the_good_vectors(evidence_go: Path, count: int) -> None:
    rng = random.Random(6)
    for case in VECTORS:
        if "verdict" in case:
            raw = (FOLDER / case["file"]).read_bytes()
            bits = rng.sample(range(8 * len(raw)), min(count, 8 * len(raw)))
            questions = [(flipped, Trusted.of(case)) for flipped in flips(raw, bits)]
            assert list(disagreements(evidence_go, questions)) == []


def test_go_agrees_on_attempts_to_frame_somebody(evidence_go: Path) -> None:
    framer = Framer(random.Random(7))
    trusted = Trusted([str(key) for key in EVERYBODY], POLICY.format().decode())
    questions = [(framer.evidence().format(), trusted) for _ in range(2000)]
    assert list(disagreements(evidence_go, questions)) == []
    # They are not refused at the door.
    assert sum(ours(question)[0] == NOT_PROVEN for question in questions[:200]) > 100


def test_go_convicts_whoever_forks(evidence_go: Path) -> None:
    rng = random.Random(9)
    trusted = Trusted([str(LOG.verifier_key)])
    questions: list[Question] = []
    for _ in range(300):
        smaller, larger = fork(rng)
        one, other = (signed(tree.head(len(tree.rows[0])), LOG) for tree in (smaller, larger))
        made = same_size(one, other) if one.size == other.size else non_consistent(one, other, larger.read)
        questions.append((made.format(), trusted))
    assert {answer["Exit"] for answer in ask(evidence_go, questions)} == {PROVEN}
    assert list(disagreements(evidence_go, questions)) == []


def test_go_agrees_on_the_seams_of_the_bundles(evidence_go: Path) -> None:
    """Lines dropped, doubled, swapped and borrowed from other bundles."""
    rng = random.Random(8)
    bundles = [(FOLDER / case["file"]).read_bytes() for case in VECTORS]
    lines = [line for raw in bundles for line in raw.splitlines(keepends=True)]
    questions = [
        (_shuffled(raw, lines, rng), Trusted.of(case))
        for case, raw in zip(VECTORS, bundles, strict=True)
        for _ in range(30)
    ]
    assert list(disagreements(evidence_go, questions)) == []


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
def test_go_ends_with_what_it_found(evidence_go: Path, wrong: str | None, status: int) -> None:
    bundle = FOLDER / f"{wrong or 'good/cosigner-same-size'}{SUFFIX}"
    arguments = [evidence_go, "-key", INDEX["keys"]["w1"], "-origin", "log.example/one", bundle]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert ("id   " in done.stdout) == (status == 0)
