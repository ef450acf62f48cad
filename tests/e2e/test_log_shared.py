"""Three processes serve one log, on a real PostgreSQL and a real S3 server: one order, one publisher, no fork."""

import os
import random
import signal
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import trio

from runtime.client import Client, FetchError
from runtime.keyfiles import write_signer_key
from sameview.fsck import check
from tests.e2e.log_process import KEY, ORIGIN, SECONDS, command, init, running
from tests.keys import witness_key
from tests.objects import S3Server
from tests.postgresql import execute, new_database, server_url
from tests.rfc6962 import ReferenceTree
from tests.served import served
from tests.witnesses import ScriptedWitness, cosign, policy_of
from tlog.checkpoint import Checkpoint
from tlog.signed_checkpoint import open_checkpoint
from tlog.tiles import EntryBundle, parse_entries
from tlog.trust import Trust

PROCESSES = 3
CLIENTS = 8
KILLS = int(os.environ.get("SAMEVIEW_TEST_KILLS", "6"))
SEED = 11

CONFIG = """\
origin = "{origin}"
listen = "127.0.0.1:0"
operator_listen = "127.0.0.1:0"
database = "{database}"
register = "{register}"
storage = "s3://{bucket}/log"
keys = ["log.key"]
policy = "policy.txt"
publish_interval = 0.05
"""


@dataclass
class Shared:
    """A log that several processes serve, and what was learnt of it."""

    directory: Path
    public: Path
    witness: ScriptedWitness
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    names: "count[int]" = field(default_factory=count)
    more: trio.Event = field(default_factory=trio.Event)

    def acknowledge(self, entry: bytes, index: int) -> None:
        assert self.acknowledged.setdefault(entry, index) == index
        self.more.set()
        self.more = trio.Event()

    async def wait_acknowledged(self, number: int) -> None:
        for _ in range(number):
            await self.more.wait()

    def published(self) -> Checkpoint | None:
        file = self.public / "checkpoint"
        return open_checkpoint(file.read_bytes(), [KEY.verifier_key]).checkpoint if file.is_file() else None

    def entries(self, size: int) -> list[bytes]:
        entries: list[bytes] = []
        for index in range(-(-size // 256)):
            bundle = EntryBundle(index, min(256, size - 256 * index))
            entries += parse_entries((self.public / bundle.path()).read_bytes(), bundle.width)
        return entries


@pytest.fixture(params=["postgresql", "s3"])
async def shared(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> AsyncIterator[Shared]:
    """Made by ``init``; its register stands in another database, or in another bucket."""
    witness = ScriptedWitness(witness_key(), cosign)
    bucket = s3.new_bucket()
    with new_database(server_url()) as log, new_database(server_url()) as other:
        async with served(witness.app()) as asked:
            witness.url = asked.url
            register = other if request.param == "postgresql" else f"s3://{s3.new_bucket()}/register"
            write_signer_key(tmp_path / "log.key", KEY)
            (tmp_path / "policy.txt").write_bytes(policy_of(KEY, [witness]).format())
            config = CONFIG.format(origin=ORIGIN, database=log, register=register, bucket=bucket)
            (tmp_path / "log.toml").write_text(config)
            await init(tmp_path)
            yield Shared(tmp_path, s3.root / bucket / "log", witness)


async def test_three_processes_serve_one_log_whoever_of_them_is_killed(shared: Shared) -> None:
    chance = random.Random(SEED)
    for _ in range(-(-KILLS // PROCESSES)):
        await live(shared, chance)
    await check_promises(shared)


async def check_promises(shared: Shared) -> None:
    """Let three processes publish all that was acknowledged, and compare it with what was promised and seen."""
    size = await wait_covered(shared)
    entries = shared.entries(size)
    # Every acknowledged entry stands at the index it was given, whichever process gave it.
    assert {entry: index for entry, index in shared.acknowledged.items() if entries[index] != entry} == {}
    assert len(entries) == len(set(entries))
    # Whatever the witness ever saw is a prefix of the one history, and never grew smaller.
    tree = ReferenceTree(entries)
    seen = [checkpoint for checkpoint in shared.witness.checkpoints if checkpoint.size <= size]
    assert {c.size for c in seen if c.root_hash != tree.mth(0, c.size)} == set()
    assert [c.size for c in seen] == sorted(c.size for c in seen)
    checked = await check(str(shared.public), Trust((KEY.verifier_key,)), None, tiles_only=False)
    assert checked.entries == size
    replayed = await trio.run_process(command(shared.directory, "replay"), capture_stdout=True)
    assert b"checkpoints" in replayed.stdout


async def live(shared: Shared, chance: random.Random) -> None:
    """Serve from three processes and fill all of them, while one after the other is killed."""
    async with serving(shared) as nodes, Client() as client, trio.open_nursery() as nursery:
        for url, _ in nodes:
            for _ in range(CLIENTS // 2):
                nursery.start_soon(fill, shared, client, url)
        chance.shuffle(nodes)
        for _, process in nodes:
            await shared.wait_acknowledged(chance.randrange(1, 300))
            process.send_signal(signal.SIGKILL)
            await process.wait()


@asynccontextmanager
async def serving(shared: Shared) -> AsyncIterator[list[tuple[str, trio.Process]]]:
    """The URLs of three processes, and the processes."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(shared.directory)) for _ in range(PROCESSES)]


async def fill(shared: Shared, client: Client, url: str) -> None:
    """Add entries until the process dies; sometimes one that was added before."""
    while True:
        number = next(shared.names)
        entry = b"entry %d" % (number if number % 10 else number // 10)
        try:
            answer = await client.fetch("POST", f"{url}/add", body=entry, cap=100, seconds=30)
        except FetchError:
            return  # killed before it answered: it promised nothing
        assert answer.status == 200
        shared.acknowledge(entry, int(answer.body))


async def wait_covered(shared: Shared) -> int:
    """Start three once more, and wait until all of them show a checkpoint that covers all promises."""
    async with serving(shared) as nodes, Client() as client:
        largest = max(shared.acknowledged.values())
        for url, _ in nodes:
            answer = await wait_proof(client, url, largest)
            assert answer == 200
        for _, process in nodes:
            process.send_signal(signal.SIGTERM)
        for _, process in nodes:
            assert await process.wait() == 0
    published = shared.published()
    assert published is not None
    return published.size


async def wait_proof(client: Client, url: str, index: int) -> int:
    with trio.fail_after(SECONDS):
        while True:
            answer = await client.fetch("GET", f"{url}/v1/proofs/entry/{index}?wait=10", cap=100_000, seconds=30)
            if answer.status != 404:
                return answer.status


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["s3"], indirect=True)
async def test_the_database_s_clock_may_be_set_and_one_at_a_time_publishes(shared: Shared) -> None:
    """The lease ends by that clock: set ahead, others may take it; set back, it looks as if it never ended."""
    set_clock = await settable_clock(shared)
    async with serving(shared) as nodes, Client() as client, trio.open_nursery() as nursery:
        for url, _ in nodes:
            nursery.start_soon(fill, shared, client, url)
        for seconds in (3600, 3590, 0):
            await set_clock(seconds)
            entry = b"while it is %d s wrong: %d" % (seconds, next(shared.names))
            answer = await client.fetch("POST", f"{nodes[0][0]}/add", body=entry, cap=100, seconds=30)
            shared.acknowledge(entry, int(answer.body))
            assert await wait_proof(client, nodes[1][0], int(answer.body)) == 200
            await shared.wait_acknowledged(50)
        nursery.cancel_scope.cancel()
    await check_promises(shared)


async def settable_clock(shared: Shared) -> Callable[[int], Awaitable[None]]:
    """Put a clock that can be set before the database's own; every connection made from now on finds it first."""
    url: str = tomllib.loads((shared.directory / "log.toml").read_text())["database"]
    name = url.rpartition("/")[2]

    async def run(*statements: str) -> None:
        for statement in statements:
            await trio.to_thread.run_sync(execute, url, statement)

    async def set_clock(seconds: int) -> None:
        await run(f"UPDATE stepped.clock SET wrong = make_interval(secs => {seconds})")

    await run(
        "CREATE SCHEMA stepped",
        "CREATE TABLE stepped.clock AS SELECT make_interval(secs => 0) AS wrong",
        "CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
        "'SELECT pg_catalog.clock_timestamp() + wrong FROM stepped.clock'",
        f"ALTER DATABASE {name} SET search_path = public, stepped, pg_catalog",
    )
    return set_clock


async def test_the_lease_moves_when_its_holder_is_stopped_and_it_cannot_publish_when_it_wakes(shared: Shared) -> None:
    async with (
        running(shared.directory) as (first_url, first),
        running(shared.directory) as (second_url, _),
        Client() as client,
    ):
        await client.fetch("POST", f"{first_url}/add", body=b"a", cap=100, seconds=30)
        assert await wait_proof(client, first_url, 0) == 200
        first.send_signal(signal.SIGSTOP)
        await client.fetch("POST", f"{second_url}/add", body=b"b", cap=100, seconds=30)
        assert await wait_proof(client, second_url, 1) == 200
        first.send_signal(signal.SIGCONT)
        # It goes on as one of several: takes entries, and shows what the other publishes.
        answer = await client.fetch("POST", f"{first_url}/add", body=b"c", cap=100, seconds=30)
        assert answer.body == b"2\n"
        assert await wait_proof(client, first_url, 2) == 200
    seen = [checkpoint.size for checkpoint in shared.witness.checkpoints]
    assert seen == sorted(seen)


async def test_a_database_that_was_restored_to_an_earlier_time_is_not_gone_on_from(shared: Shared) -> None:
    url: str = tomllib.loads((shared.directory / "log.toml").read_text())["database"]
    name = url.rpartition("/")[2]

    async def run(*statements: str) -> None:
        for statement in statements:
            await trio.to_thread.run_sync(execute, server_url(), statement)

    await grow(shared, b"a", 0)
    await run(f"CREATE DATABASE {name}_old TEMPLATE {name}")
    try:
        await grow(shared, b"b", 1)
        await run(f"ALTER DATABASE {name} RENAME TO {name}_new", f"ALTER DATABASE {name}_old RENAME TO {name}")
        serve = command(shared.directory, "serve")
        with trio.fail_after(SECONDS):
            ended = await trio.run_process(serve, capture_stdout=True, capture_stderr=True, check=False)
        assert ended.returncode == 2
        assert b"a tree of 2 entries was signed and the database holds 1: it is an old copy" in ended.stderr
        assert b"Traceback" not in ended.stderr
        # With the newest in its place again it goes on, and nobody was shown anything else meanwhile.
        await run(f"ALTER DATABASE {name} RENAME TO {name}_old", f"ALTER DATABASE {name}_new RENAME TO {name}")
        await grow(shared, b"c", 2)
    finally:
        await run(f"DROP DATABASE IF EXISTS {name}_old WITH (FORCE)")
    tree = ReferenceTree([b"a", b"b", b"c"])
    assert {c.size for c in shared.witness.checkpoints if c.root_hash != tree.mth(0, c.size)} == set()


async def grow(shared: Shared, entry: bytes, index: int) -> None:
    """Serve until an entry is in a public checkpoint."""
    async with running(shared.directory) as (url, process), Client() as client:
        answer = await client.fetch("POST", f"{url}/add", body=entry, cap=100, seconds=30)
        assert answer.body == b"%d\n" % index
        assert await wait_proof(client, url, index) == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_init_makes_a_shared_log_only_once(shared: Shared) -> None:
    again = await trio.run_process(command(shared.directory, "init"), capture_stderr=True, check=False)
    assert again.returncode == 2
    assert b"`init` makes new state only" in again.stderr
