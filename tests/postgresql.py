"""A PostgreSQL server for the tests that need one, and a new database in it for each of them.

Such tests run where ``SAMEVIEW_TEST_POSTGRESQL`` names a server, for example one made by

    initdb -D /tmp/pg -A trust -U postgres && pg_ctl -D /tmp/pg -o '-p 5433 -k /tmp' -l /tmp/pg.log start
    export SAMEVIEW_TEST_POSTGRESQL=postgresql://postgres@127.0.0.1:5433/postgres

and are skipped elsewhere, except in CI, where nothing may be skipped.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest
from sqlalchemy import make_url

VARIABLE = "SAMEVIEW_TEST_POSTGRESQL"


def server_url() -> str:
    """The URL of the server; skips the test where there is none."""
    url = os.environ.get(VARIABLE)
    if url is None:
        pytest.skip(f"needs PostgreSQL: set {VARIABLE} to a URL like postgresql://postgres@127.0.0.1:5433/postgres")
    return url


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """The URL of an empty database of that server, which is dropped afterwards.

    What else runs in trio waits meanwhile, for some tenths of a second; fixtures of a whole session have no trio.
    """
    name = f"sameview_test_{secrets.token_hex(8)}"
    execute(server, f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def empty_database(url: str) -> None:
    """Remove all tables."""
    execute(url, "DROP SCHEMA public CASCADE")
    execute(url, "CREATE SCHEMA public")


def execute(server: str, statement: str) -> None:
    """Let a database do this, and wait for it."""
    asyncio.run(_executed(server, statement))


async def _executed(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
