"""Programs by others, built once."""

from pathlib import Path

import pytest

from tests.golang import build_go

SOURCE = Path(__file__).parent / "go"


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of tests/interop/go: ``agent``, ``peer`` and ``tesseralog``."""
    return build_go(tmp_path_factory.mktemp("go"), "./...", SOURCE)


@pytest.fixture(scope="session")
def litewitness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The witness of filippo.io/torchwood; with the database it brings along it takes a minute to build."""
    folder = tmp_path_factory.mktemp("litewitness")
    return build_go(folder, "filippo.io/torchwood/cmd/litewitness", SOURCE) / "litewitness"
