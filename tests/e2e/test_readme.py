"""The README is true: its commands run, in its order, in one directory, as a newcomer would type them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port

TOP = Path(__file__).resolve().parents[2]
README = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SECONDS = 120

# After the block that starts daemons a person looks whether they serve; so does this.
WAIT = """
for url in http://127.0.0.1:8080/checkpoint http://127.0.0.1:8081/v1/logs http://127.0.0.1:8082/v1/logs; do
  for _ in $(seq 300); do curl -sf $url > /dev/null && break; sleep 0.1; done
done
"""


def test_the_first_block_is_the_two_commands_and_both_exist() -> None:
    targets = re.findall(r"^make (\w+)", BLOCKS[0], re.MULTILINE)
    makefile = (TOP / "Makefile").read_text()
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.slow
def test_a_newcomer_runs_a_log_a_witness_and_a_monitor_and_verifies(tmp_path: Path) -> None:
    script = "set -eu\ntrap 'kill $(jobs -p)' EXIT\n"
    for block in BLOCKS[1:]:
        script += block + (WAIT if " serve " in block else "")
    script = script.replace('"$PWD/.venv/bin:$PATH"', f'"{Path(sys.executable).parent}:$PATH"')
    for port in ("8080", "8081", "8082", "8090", "8091", "8092"):
        script = script.replace(f":{port}", f":{free_port()}")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in (tmp_path / "my").glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "OK: the entry is number 0 of the log" in done.stdout
    assert "OK: the checkpoint holds" in done.stdout
    assert "OK: log.example/one at size 1" in done.stdout


def test_git_is_offered_nothing_of_what_a_newcomer_makes_in_the_clone() -> None:
    # Four secret keys are in there.
    made = re.findall(r"^mkdir -p (\w+) && cd \1$", "".join(BLOCKS[1:]), re.MULTILINE)
    assert made
    assert {f"/{folder}/" for folder in made} <= set((TOP / ".gitignore").read_text().splitlines())


def test_every_file_the_readme_links_to_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (TOP / link).exists()] == []
