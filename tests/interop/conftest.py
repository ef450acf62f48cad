"""Programs by others, built once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
SOURCE = Path(__file__).parent / "go"
EVIDENCE_SOURCE = Path(__file__).parent / "evidence_go"
BUILD_SECONDS = 600  # on a machine that has none of the modules yet and is busy


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of tests/interop/go: ``agent``, ``peer`` and ``tesseralog``."""
    return _build(tmp_path_factory.mktemp("go"), "./...")


@pytest.fixture(scope="session")
def litewitness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The witness of filippo.io/torchwood; with the database it brings along it takes a minute to build."""
    return _build(tmp_path_factory.mktemp("litewitness"), "filippo.io/torchwood/cmd/litewitness") / "litewitness"


@pytest.fixture(scope="session")
def evidence_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier of tests/interop/evidence_go, which shares nothing with ours but the specification."""
    return _build(tmp_path_factory.mktemp("evidence"), "./...", EVIDENCE_SOURCE) / "evidence"


def _build(folder: Path, packages: str, source: Path = SOURCE) -> Path:
    if GO is None:
        pytest.skip("go is not installed: install Go 1.25 or newer, from the distribution or from go.dev")
    fetched = run_go("list", "-deps", packages, source=source)
    if fetched.returncode:
        pytest.skip(f"this Go or these modules cannot be had, see GOPROXY: {fetched.stderr.strip()[-500:]}")
    built = run_go("build", "-o", f"{folder}/", packages, source=source)
    assert built.returncode == 0, built.stderr
    return folder


def run_go(*arguments: str, source: Path = SOURCE) -> subprocess.CompletedProcess[str]:
    # What is locked is what is built, with the toolchain that is there.
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
    command = [str(GO), *arguments]
    return subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
