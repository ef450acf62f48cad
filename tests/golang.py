"""Builds programs written in Go, as the ``go.mod`` beside them pins their modules."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

GO = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
BUILD_SECONDS = 600  # on a machine that has none of the modules yet and is busy


def build_go(folder: Path, packages: str, source: Path) -> Path:
    if GO is None:
        pytest.skip("go is not installed: install Go 1.25 or newer, from the distribution or from go.dev")
    fetched = run_go("list", "-deps", packages, source=source)
    if fetched.returncode:
        pytest.skip(f"this Go or these modules cannot be had, see GOPROXY: {fetched.stderr.strip()[-500:]}")
    built = run_go("build", "-o", f"{folder}/", packages, source=source)
    assert built.returncode == 0, built.stderr
    return folder


def run_go(*arguments: str, source: Path) -> subprocess.CompletedProcess[str]:
    # What is locked is what is built, with the toolchain that is there.
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local"}
    command = [str(GO), *arguments]
    return subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
