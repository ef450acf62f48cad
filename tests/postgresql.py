"""A PostgreSQL server for the tests that need one, and a new database in it for each of them.

Such tests run where ``SAMEVIEW_TEST_POSTGRESQL`` names a server, for example one made by

    initdb -D /tmp/pg -A trust -U postgres && pg_ctl -D /tmp/pg -o '-p 5433 -k /tmp' -l /tmp/pg.log start
    export SAMEVIEW_TEST_POSTGRESQL=postgresql://postgres@127.0.0.1:5433/postgres

and are skipped elsewhere, except in CI, where nothing may be skipped.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import asyncpg
import pytest
import trio
from sqlalchemy import make_url

VARIABLE = "SAMEVIEW_TEST_POSTGRESQL"


def server_url() -> str:
    """The URL of the server; skips the test where there is none."""
    url = os.environ.get(VARIABLE)
    if url is None:
        pytest.skip(f"needs PostgreSQL: set {VARIABLE} to a URL like postgresql://postgres@127.0.0.1:5433/postgres")
    return url


@asynccontextmanager
async def new_database(server: str) -> AsyncIterator[str]:
    """The URL of an empty database of that server, which is dropped afterwards."""
    name = f"sameview_test_{secrets.token_hex(8)}"
    await execute(server, f"CREATE DATABASE {name}")
    try:
        yield _url_of(server, name)
    finally:
        await execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def database_now(server: str) -> Iterator[str]:
    """The same, for a fixture that is not asynchronous."""
    name = f"sameview_test_{secrets.token_hex(8)}"
    asyncio.run(_statement(server, f"CREATE DATABASE {name}"))
    try:
        yield _url_of(server, name)
    finally:
        asyncio.run(_statement(server, f"DROP DATABASE {name} WITH (FORCE)"))


def empty_database(url: str) -> None:
    """Remove all tables."""
    asyncio.run(_statement(url, "DROP SCHEMA public CASCADE"))
    asyncio.run(_statement(url, "CREATE SCHEMA public"))


def _url_of(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


async def execute(server: str, statement: str) -> None:
    """Let a database do this."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(partial(asyncio.run, _statement(server, statement)))


async def _statement(server: str, statement: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
