"""The root of the command line: what it lists, what it imports, and the exit code of every way to end."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sameview import cli
from tests.commands import Sameview
from tests.fakes_log import WITNESSES, FakeLog, policy
from tlog.proofs import prove_inclusion
from tlog.tlog_proof import TlogProof

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30  # for one process; a hang is a failure

# Each of these costs a verification a tenth of its time or more, and it needs none.
HEAVY = {
    *("trio", "anyio", "asyncio", "httpx", "httpcore", "starlette", "sqlalchemy", "aiosqlite", "sqlite3"),
    *("cryptography", "msgspec", "msgpack", "structlog", "logging", "rich", "prometheus_client", "typing_extensions"),
    *("socket", "ssl", "http", "urllib.request", "tomllib", "json", "pathlib", "subprocess", "importlib.metadata"),
}


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fail", ("tests.failing", "End in some way."))


# What it lists.


def test_help_names_every_command_and_the_exit_codes(sameview: Sameview) -> None:
    for option in ("--help", "-h"):
        ran = sameview(option)
        assert (ran.code, ran.err) == (0, "")
        assert re.findall(r"^  (\w+)  +[A-Z]", ran.out, re.MULTILINE) == sorted(cli.COMMANDS)
        assert "130  interrupted" in ran.out


def test_without_a_command_it_shows_the_help_and_ends_with_2(sameview: Sameview) -> None:
    ran = sameview()
    assert (ran.code, "Commands:" in ran.err) == (2, True)


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_helps(sameview: Sameview, command: str) -> None:
    ran = sameview(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: sameview {command} ")
    # One sentence says what it does, here and in the list of commands.
    assert re.search(r"^  [A-Z].+", ran.out, re.MULTILINE)


def test_the_version_names_the_commit(sameview: Sameview) -> None:
    ran = sameview("--version")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"sameview \d+\.\d+\.\d+ \(commit (unknown|[0-9a-f]{7,40})\)\n", ran.out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--frobnicate"], "No such option"),
        (["frobnicate"], "No such command"),
        (["verify", "frobnicate"], "No such command"),
        (["verify", "proof", "--frobnicate"], "No such option"),
        (["log", "serve"], "Missing option '--config'"),
        (["vkey"], "Missing argument"),
        (["keygen", "--type", "mirror"], "'mirror' is not one of"),
    ],
)
def test_bad_usage_ends_with_2_and_says_what_is_wrong(sameview: Sameview, arguments: list[str], sentence: str) -> None:
    ran = sameview(*arguments)
    assert (ran.code, ran.out, sentence in ran.err) == (2, "", True)


# How it ends.


@pytest.mark.parametrize(
    ("way", "code", "said"),
    [
        ("0", 0, ""),
        ("1", 1, ""),
        ("usage", 2, "sameview: a key is missing: add it\n"),
        ("format", 2, "sameview: the bytes are malformed\n"),
        ("signature", 1, "sameview: nobody signed\n"),
        ("proof", 1, "sameview: it leads elsewhere\n"),
        ("unreachable", 3, "sameview: the server cannot be reached\n"),
        ("twice", 3, "sameview: it is gone\n"),
        ("mixed", 2, "sameview: it is gone\nsameview: give a URL\n"),
    ],
)
@pytest.mark.usefixtures("failing")
def test_every_end_has_its_exit_code_and_sentence(sameview: Sameview, way: str, code: int, said: str) -> None:
    assert sameview("fail", way) == type(sameview("fail", "0"))(code, "", said)


@pytest.mark.usefixtures("failing")
def test_a_fault_of_ours_is_shown_in_full_and_ends_with_70(sameview: Sameview) -> None:
    ran = sameview("fail", "fault")
    assert (ran.code, ran.out) == (70, "")
    assert "AssertionError: cannot happen" in ran.err
    assert ran.err.endswith("sameview: this is a fault of ours; please report it with the lines above\n")


@pytest.mark.parametrize("way", ["interrupt", "interrupt-in-group", "pipe"])
@pytest.mark.usefixtures("failing")
def test_an_interruption_ends_with_130_and_says_nothing(sameview: Sameview, way: str) -> None:
    ran = sameview("fail", way)
    assert (ran.code, ran.out, ran.err.strip()) == (130, "", "")


def test_what_is_listed_has_to_be_a_command(sameview: Sameview, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "odd", ("tests.failing", ""))
    monkeypatch.setattr("tests.failing.odd", "a string", raising=False)
    assert sameview("odd").code == 70


# In a process of its own.


def test_the_program_ends_with_the_exit_code() -> None:
    for arguments, code in ((["--version"], 0), (["frobnicate"], 2)):
        command = [sys.executable, "-W", "error", "-m", "sameview", *arguments]
        assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=SECONDS).returncode == code


def test_a_reader_who_leaves_does_not_turn_the_exit_code_into_a_verdict() -> None:
    command = [sys.executable, "-m", "sameview", "--help"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(SECONDS) == 130


def test_verifying_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    log = FakeLog(b"%d" % number for number in range(9))
    proof = TlogProof(5, tuple(prove_inclusion(5, 9, log.node)), log.sign(witnesses=WITNESSES))
    (tmp_path / "proof").write_bytes(proof.format())
    (tmp_path / "entry").write_bytes(b"5")
    (tmp_path / "policy").write_bytes(policy().format())
    files = [str(tmp_path / name) for name in ("proof", "entry", "policy")]
    code = (
        "import sys; before = set(sys.modules); from sameview.cli import run\n"
        "code = run(['verify', 'proof', sys.argv[1], '--entry', sys.argv[2], '--policy', sys.argv[3], '--explain'])\n"
        "loaded = sorted(set(sys.modules) - before); import json; print(json.dumps([code, loaded]))"
    )
    command = [sys.executable, "-c", code, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=SECONDS, check=True)
    exit_code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert (exit_code, HEAVY & set(loaded)) == (0, set())
