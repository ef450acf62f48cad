"""Our own vectors of openings and views: every file is judged as ``vectors.json`` says, and written back as it was."""

import json
from pathlib import Path

import pytest

from tests.commands import Sameview
from tlog.errors import FormatError, TlogError
from tlog.keys import VerifierKey
from tlog.opening import TruncatedProof
from tlog.policy import Policy
from tlog.trust import Trust
from tlog.view import View, judge

FOLDER = Path(__file__).parents[2] / "specs" / "vectors" / "views"
VECTORS = json.loads((FOLDER / "vectors.json").read_text())
POLICY = Policy.parse(VECTORS["policy"].encode())
TRUST = Trust((VerifierKey.parse(VECTORS["log"]),))
FILES = sorted(VECTORS["files"].items())


def verdict(name: str, data: bytes) -> str:
    try:
        parsed = View.parse(data) if name.endswith(".tlog-view") else TruncatedProof.parse(data)
    except FormatError:
        return "malformed"
    if parsed.format() != data:
        return "another spelling"
    try:
        if isinstance(parsed, View):
            judge(parsed, POLICY).require()
        else:
            parsed.verify(TRUST)
    except TlogError:
        return "fails"
    return "holds"


@pytest.mark.parametrize(("name", "expected"), FILES)
def test_every_file_is_judged_as_the_vectors_say(name: str, expected: str) -> None:
    assert verdict(name, (FOLDER / name).read_bytes()) == expected


def test_every_file_is_a_vector() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*VECTORS["files"], "vectors.json"}


@pytest.mark.parametrize(("name", "expected"), [pair for pair in FILES if pair[0].endswith(".tlog-view")])
def test_the_command_comes_to_the_same_verdict(sameview: Sameview, tmp_path: Path, name: str, expected: str) -> None:
    (tmp_path / "policy").write_text(VECTORS["policy"])
    code = sameview("verify", "view", FOLDER / name, "--policy", tmp_path / "policy").code
    assert code == {"holds": 0, "fails": 1, "malformed": 2}[expected]
