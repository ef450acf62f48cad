"""``log init`` that was broken off goes on when it is run again, wherever its register stands, and replaces nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from logserver.__main__ import _init, _node
from logserver.config import LogSettings, read_settings
from runtime.errors import CannotTell, UsageError
from runtime.keyfiles import write_signer_key
from tests.keys import log_key
from tests.objects import S3Server
from tests.postgresql import empty_database

KEY = log_key()
NEW_ONLY = "`init` makes new state only"


@pytest.fixture(params=["a folder", "postgresql", "s3"])
def register(request: pytest.FixtureRequest) -> Iterator[str]:
    match request.param:
        case "postgresql":
            database: str = request.getfixturevalue("one_database")
            empty_database(database)
            yield database
        case "s3":
            server: S3Server = request.getfixturevalue("s3")
            yield f"s3://{server.new_bucket()}/register"
        case _:
            yield "register"


def settings_of(directory: Path, register: str) -> LogSettings:
    if not (directory / "log.key").exists():
        write_signer_key(directory / "log.key", KEY)
    (directory / "log.toml").write_text(
        f'origin = "{KEY.name}"\ndata = "data"\npublic = "web/public"\nregister = "{register}"\nkeys = ["log.key"]\n'
    )
    return read_settings(directory / "log.toml")


@pytest.fixture
async def broken_off(tmp_path: Path, register: str) -> LogSettings:
    """The data directory and the register were made, and then something went wrong."""
    settings = settings_of(tmp_path, register)
    with pytest.raises(UsageError, match="cannot make the public folder"):
        await _init(settings)
    (tmp_path / "web").mkdir()
    return settings


async def test_init_goes_on_where_it_was_broken_off(broken_off: LogSettings) -> None:
    await _init(broken_off)
    async with _node(broken_off):
        pass


async def test_init_goes_on_where_it_was_killed_while_it_made_the_database(broken_off: LogSettings) -> None:
    assert isinstance(broken_off.database, Path)
    broken_off.database.touch()
    assert isinstance(broken_off.public, Path)
    broken_off.public.mkdir()
    await _init(broken_off)
    async with _node(broken_off):
        pass


async def test_init_of_a_log_that_is_there_changes_nothing(broken_off: LogSettings, tmp_path: Path) -> None:
    await _init(broken_off)
    said = rf"database (.*/data/log\.sqlite )?holds a log already: {NEW_ONLY}, .* run `serve`"
    with pytest.raises(UsageError, match=said):
        await _init(broken_off)
    async with _node(broken_off):
        pass
    with pytest.raises(UsageError, match=NEW_ONLY):
        await _init(broken_off)
    # Without its database it is a log that was damaged, not one that was never made.
    assert isinstance(broken_off.database, Path)
    broken_off.database.unlink()
    (tmp_path / "data" / "lock").unlink()
    with pytest.raises(UsageError, match=r"holds something already|is not empty"):
        await _init(broken_off)
    assert not broken_off.database.exists()


async def test_init_makes_no_register_beside_a_database_that_is_there(tmp_path: Path, s3: S3Server) -> None:
    (tmp_path / "web").mkdir()
    first = settings_of(tmp_path, f"s3://{s3.new_bucket()}/register")
    await _init(first)
    bucket = s3.new_bucket()
    with pytest.raises(UsageError, match=NEW_ONLY):
        await _init(settings_of(tmp_path, f"s3://{bucket}/register"))
    assert list((s3.root / bucket).iterdir()) == []


async def test_init_that_cannot_reach_its_database_makes_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "s3://nowhere/register")
    unreachable = "postgresql://nobody@127.0.0.1:1/log"
    (tmp_path / "log.toml").write_text((tmp_path / "log.toml").read_text() + f'database = "{unreachable}"\n')
    with pytest.raises(CannotTell, match="does not answer"):
        await _init(read_settings(tmp_path / "log.toml"))
    assert settings.data is not None
    assert not settings.data.exists()
