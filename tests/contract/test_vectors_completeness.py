"""Our own vectors of completeness: every file and every watermark comes out as ``vectors.json`` says."""

import json
from pathlib import Path

import pytest

from tests.commands import Sameview
from tlog.completeness import Completeness, judge, watermark
from tlog.errors import FormatError, TlogError
from tlog.policy import Policy

FOLDER = Path(__file__).parents[2] / "specs" / "vectors" / "completeness"
VECTORS = json.loads((FOLDER / "vectors.json").read_text())
POLICY = Policy.parse(VECTORS["policy"].encode())
FILES = sorted(VECTORS["files"].items())


def verdict(data: bytes) -> str:
    try:
        parsed = Completeness.parse(data)
    except FormatError:
        return "malformed"
    if parsed.format() != data:
        return "another spelling"
    try:
        judge(parsed, POLICY).require()
    except TlogError:
        return "fails"
    return "holds"


@pytest.mark.parametrize(("name", "expected"), FILES)
def test_every_file_is_judged_as_the_vectors_say(name: str, expected: str) -> None:
    assert verdict((FOLDER / name).read_bytes()) == expected


def test_every_file_is_a_vector() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*VECTORS["files"], "vectors.json"}


@pytest.mark.parametrize(("name", "expected"), FILES)
def test_the_command_comes_to_the_same_verdict(sameview: Sameview, tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "policy").write_text(VECTORS["policy"])
    code = sameview("verify", "completeness", FOLDER / name, "--policy", tmp_path / "policy").code
    assert code == {"holds": 0, "fails": 1, "malformed": 2}[expected]


def test_every_watermark_is_the_one_of_the_vectors() -> None:
    assert [watermark(POLICY, one["times"], one["liars"]) for one in VECTORS["watermarks"]] == [
        one["watermark"] for one in VECTORS["watermarks"]
    ]
