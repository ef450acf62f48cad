"""Programs by others, built once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
SOURCE = Path(__file__).parent / "go"
BUILD_SECONDS = 600  # on a machine that has none of the modules yet and is busy


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of tests/interop/go, ``peer`` and ``tesseralog``."""
    if GO is None:
        pytest.skip("go is not installed: install Go 1.25 or newer, from the distribution or from go.dev")
    fetched = run_go("mod", "download")
    if fetched.returncode:
        pytest.skip(f"the Go modules cannot be fetched, see GOPROXY: {fetched.stderr.strip()[-500:]}")
    folder = tmp_path_factory.mktemp("go")
    built = run_go("build", "-o", f"{folder}/", "./...")
    assert built.returncode == 0, built.stderr
    return folder


def run_go(*arguments: str) -> subprocess.CompletedProcess[str]:
    # What is locked is what is built, with the toolchain that is there.
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
    command = [str(GO), *arguments]
    return subprocess.run(
        command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
