"""A program logs entries with the typed client, as docs/client.md shows it, at a log that runs in a process."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.e2e.log_process import KEY, ORIGIN, configure, init, running
from tests.fakes import FakeClock
from tests.keys import NOW, witness_key
from tests.nodes import witness
from tlog.policy import Policy, PolicyLog, PolicyWitness

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text()
CODE = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
W1 = witness_key("witness.example/w1")


def policy_of(url: str | None = None) -> Policy:
    """The log's, or one of its clients': they agree but for the URL."""
    return Policy((PolicyLog(KEY.verifier_key),), (PolicyWitness("w1", W1.verifier_key, url),), (), "w1")


@pytest.fixture
async def log_url(tmp_path: Path) -> AsyncIterator[str]:
    """A log whose checkpoints a witness cosigns."""
    (tmp_path / "w1").mkdir()
    (tmp_path / "log").mkdir()
    async with witness(tmp_path / "w1", {ORIGIN: [KEY.verifier_key]}, [W1], FakeClock(NOW)) as cosigner:
        configure(tmp_path / "log", policy_of(cosigner.url), "publish_interval = 0.1\n")
        await init(tmp_path / "log")
        async with running(tmp_path / "log") as (url, _):
            yield url


async def test_the_code_of_the_page_runs_as_it_stands(log_url: str, tmp_path: Path) -> None:
    (tmp_path / "policy.txt").write_bytes(policy_of().format())
    program = tmp_path / "program.py"
    program.write_text(CODE.replace("http://127.0.0.1:8080", log_url))
    done = await trio.run_process(
        [sys.executable, str(program)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_stdout=True, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    printed = done.stdout.decode().splitlines()
    assert done.returncode == 0, printed
    assert re.fullmatch(r"entry 0 is in a tree of \d+", printed[0])
    assert re.fullmatch(rf"{ORIGIN} has it, as of size \d+", printed[1])
    assert re.fullmatch(r"all 600 are below size \d+", printed[2])
    assert printed[3].startswith("refused: the proof leads to another root")
