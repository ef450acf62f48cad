"""Where a node's state stands must not show in what it does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from logserver.files import PublicObjects
from runtime.objects import open_objects
from tests.log_nodes import ELSEWHERE, Place
from tests.objects import S3Server
from tests.postgresql import empty_database, new_database, server_url


@pytest.fixture(scope="session")
def one_database() -> Iterator[str]:
    """A database for all of these tests: to make and drop one takes longer than most of them."""
    with new_database(server_url()) as database:
        yield database


@pytest.fixture(params=["sqlite and files", "postgresql and s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Run a test of a log in ``tmp_path`` once with all of it there, and once with a database and a storage server."""
    if request.param == "sqlite and files":
        yield
        return
    s3: S3Server = request.getfixturevalue("s3")
    url = f"s3://{s3.new_bucket()}/log"
    database: str = request.getfixturevalue("one_database")
    empty_database(database)
    ELSEWHERE[tmp_path] = Place(database, lambda: PublicObjects(open_objects(url)))
    yield
    del ELSEWHERE[tmp_path]
