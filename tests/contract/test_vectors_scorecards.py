"""Our own vectors of scorecards: every envelope is judged as ``vectors.json`` says, here and on the command line."""

import json
from pathlib import Path

import pytest

from tests.commands import Sameview
from tlog.errors import FormatError, SignatureError
from tlog.keys import VerifierKey
from tlog.scorecard import describe, verify_scorecards

FOLDER = Path(__file__).parents[2] / "specs" / "vectors" / "scorecards"
VECTORS = json.loads((FOLDER / "vectors.json").read_text())
KEY = VerifierKey.parse(VECTORS["vkey"])
CASES = [(case["file"], case["expected"]) for case in VECTORS["cases"]]


def verdict(data: bytes) -> str:
    try:
        document = verify_scorecards(data, KEY)
    except FormatError:
        return "malformed"
    except SignatureError:
        return "fails"
    return "holds" if document.decode() == VECTORS["document"] else "another document"


@pytest.mark.parametrize(("name", "expected"), CASES)
def test_every_file_is_judged_as_the_vectors_say(name: str, expected: str) -> None:
    assert verdict((FOLDER / name).read_bytes()) == expected


def test_every_file_is_a_vector() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*(name for name, _ in CASES), "vectors.json"}


@pytest.mark.parametrize(("name", "expected"), CASES)
def test_the_command_comes_to_the_same_verdict(sameview: Sameview, name: str, expected: str) -> None:
    ran = sameview("verify", "scorecard", FOLDER / name, "--vkey", VECTORS["vkey"])
    assert ran.code == {"holds": 0, "fails": 1, "malformed": 2}[expected]
    assert ("99.86%" in ran.out) == (expected == "holds")


def test_the_command_says_who_says_it(sameview: Sameview) -> None:
    document = sameview("verify", "scorecard", FOLDER / "good.json", "--vkey", VECTORS["vkey"], "--json").document
    assert document["verdict"] == "monitor.example/m1 says this of the witnesses"
    assert document["witnesses"] == list(describe(VECTORS["document"].encode()))
