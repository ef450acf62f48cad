"""A PostgreSQL server for the tests that need one, and a new database in it for each of them.

Such tests run where ``SAMEVIEW_TEST_POSTGRESQL`` names a server, for example one made by

    initdb -D /tmp/pg -A trust -U postgres && pg_ctl -D /tmp/pg -o '-p 5433 -k /tmp' -l /tmp/pg.log start
    export SAMEVIEW_TEST_POSTGRESQL=postgresql://postgres@127.0.0.1:5433/postgres

and are skipped elsewhere, except in CI, where nothing may be skipped.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    await _execute(server, f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(server)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(partial(asyncio.run, execute()))
