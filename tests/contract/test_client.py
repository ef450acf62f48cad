"""The typed client against the log server: what it adds is proven, and what does not hold it refuses."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from runtime.errors import CannotTell, UsageError
from sameview import client
from sameview.client import LogClient
from tests.keys import log_key
from tests.log_nodes import make_log, open_log
from tests.served import served
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.trust import Trust

ORIGIN = "log.example/one"
KEY = log_key(ORIGIN)
TRUST = Trust((KEY.verifier_key,))


@asynccontextmanager
async def client_of_log(directory: Path, trust: Trust = TRUST, below: str = "/") -> AsyncIterator[LogClient]:
    """A client of a new log that publishes what is new at once."""
    await make_log(directory, ORIGIN)
    async with (
        open_log(directory, [KEY], interval=0.01) as opened,
        served(opened.app.app()) as asked,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(opened.publisher.run)
        async with client.open_log(asked.url + below, trust) as opened_client:
            yield opened_client
        nursery.cancel_scope.cancel()


async def test_entries_are_added_proven_and_verified(tmp_path: Path) -> None:
    async with client_of_log(tmp_path) as log:
        assert await log.add(b"first") == 0
        assert await log.add_many([b"second", b"third", b"first"]) == [1, 2, 0]
        logged = await log.prove(b"third", 2)
        assert logged.checkpoint.size >= 3
        assert (await log.checkpoint()).size >= 3
    assert client.verify(b"third", logged.proof, TRUST) == logged.checkpoint
    with pytest.raises(ProofError):
        client.verify(b"second", logged.proof, TRUST)


async def test_an_entry_that_is_submitted_is_proven(tmp_path: Path) -> None:
    async with client_of_log(tmp_path) as log:
        logged = await log.submit(b"entry")
    assert (logged.index, client.verify(b"entry", logged.proof, TRUST)) == (0, logged.checkpoint)


async def test_a_proof_counts_only_under_the_keys_that_are_trusted(tmp_path: Path) -> None:
    async with client_of_log(tmp_path, Trust((log_key(ORIGIN, 2).verifier_key,))) as log:
        with pytest.raises(SignatureError):
            await log.submit(b"entry")
        with pytest.raises(SignatureError):
            await log.checkpoint()


async def test_an_entry_is_not_proven_at_the_index_of_another(tmp_path: Path) -> None:
    async with client_of_log(tmp_path) as log:
        await log.add_many([b"one", b"two"])
        with pytest.raises(ProofError, match="the log's proof for entry 1 does not hold"):
            await log.prove(b"one", 1)


async def test_whoever_is_no_log_is_refused(tmp_path: Path) -> None:
    async with client_of_log(tmp_path, below="/elsewhere") as log:
        with pytest.raises(UsageError):
            await log.add(b"entry")
        with pytest.raises(CannotTell, match="the log answered 404 instead of a checkpoint"):
            await log.checkpoint()


async def test_what_is_no_url_and_what_is_no_proof_is_refused() -> None:
    with pytest.raises(UsageError):
        async with client.open_log("log.example", TRUST):
            raise AssertionError("this is no URL")
    with pytest.raises(FormatError):
        client.verify(b"entry", b"no proof", TRUST)
