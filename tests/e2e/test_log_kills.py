"""A log process that is killed under load keeps every promise: acknowledged entries, one history, whole files."""

import os
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
import trio

from runtime.client import Client, FetchError
from sameview.fsck import check
from tests.e2e.log_process import KEY, SAMEVIEW, command, configure, init, running
from tests.keys import witness_key
from tests.rfc6962 import ReferenceTree
from tests.served import served
from tests.witnesses import ScriptedWitness, cosign, policy_of
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import EntryBundle, parse_entries
from tlog.trust import Trust

LIVES = int(os.environ.get("SAMEVIEW_TEST_KILLS", "5"))
CLIENTS = 8
SEED = 7


@pytest.mark.slow
async def test_a_log_that_is_killed_under_load_keeps_what_it_promised(tmp_path: Path) -> None:
    witness = ScriptedWitness(witness_key(), cosign)
    async with served(witness.app()) as asked:
        witness.url = asked.url
        policy = policy_of(KEY, [witness])
        configure(tmp_path, policy, "publish_interval = 0.01\n")
        await init(tmp_path)
        acknowledged: dict[bytes, int] = {}
        names, chance = count(), random.Random(SEED)
        for _ in range(LIVES):
            await live(tmp_path, acknowledged, names, until=len(acknowledged) + chance.randrange(1, 400))
        await check_promises(tmp_path, acknowledged, witness)
    assert len(witness.checkpoints) >= LIVES


async def check_promises(
    directory: Path, acknowledged: dict[bytes, int], witness: ScriptedWitness, program: Sequence[str] = SAMEVIEW
) -> None:
    """Start the log once more, and compare all it has with what it promised and with what its witness saw."""
    published = await wait_published(directory, acknowledged, program)
    entries = stored_entries(directory, published.size)
    # Every acknowledged entry stands at the index it was given.
    assert {entry: index for entry, index in acknowledged.items() if entries[index] != entry} == {}
    # Whatever the witness ever saw is a prefix of the one history.
    tree = ReferenceTree(entries)
    assert {c.size for c in witness.checkpoints if c.root_hash != tree.mth(0, c.size)} == set()
    checked = await check(str(directory / "data" / "public"), Trust((KEY.verifier_key,)), None, tiles_only=False)
    assert checked.entries == published.size
    replayed = await trio.run_process(command(directory, "replay"), capture_stdout=True)
    assert f" {published.size} entries".encode() in replayed.stdout


async def live(directory: Path, acknowledged: dict[bytes, int], names: Iterator[int], until: int) -> None:
    """Serve and be filled until so many entries have been acknowledged; then die."""
    async with running(directory) as (url, process), Client() as client, trio.open_nursery() as nursery:

        async def fill() -> None:
            while len(acknowledged) < until:
                entry = b"entry %d" % next(names)
                try:
                    answer = await client.fetch("POST", f"{url}/add", body=entry, cap=100, seconds=30)
                except FetchError:
                    return  # killed before it answered: it promised nothing
                assert answer.status == 200
                acknowledged[entry] = int(answer.body)
            process.send_signal(signal.SIGKILL)

        for _ in range(CLIENTS):
            nursery.start_soon(fill)


async def wait_published(
    directory: Path, acknowledged: dict[bytes, int], program: Sequence[str] = SAMEVIEW
) -> SignedCheckpoint:
    """Start once more, wait for a checkpoint that covers all promises, and end in peace."""
    async with running(directory, program) as (url, process), Client() as client:
        while True:
            answer = await client.fetch("GET", f"{url}/checkpoint", cap=100_000, seconds=30)
            opened = open_checkpoint(answer.body, [KEY.verifier_key]) if answer.status == 200 else None
            if opened is not None and opened.size > max(acknowledged.values(), default=-1):
                break
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    note = (directory / "data" / "public" / "checkpoint").read_bytes()
    return open_checkpoint(note, [KEY.verifier_key])


def stored_entries(directory: Path, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for index in range(-(-size // 256)):
        bundle = EntryBundle(index, min(256, size - 256 * index))
        data = (directory / "data" / "public" / bundle.path()).read_bytes()
        entries += parse_entries(data, bundle.end - bundle.start)
    return entries


async def test_a_log_whose_database_is_an_old_copy_ends_with_a_sentence_and_code_2(tmp_path: Path) -> None:
    configure(tmp_path, more="publish_interval = 0.01\n")
    await init(tmp_path)
    shutil.copytree(tmp_path / "data", tmp_path / "old")
    async with running(tmp_path) as (url, process), Client() as client:
        await client.fetch("POST", f"{url}/add", body=b"a", cap=100, seconds=30)
        while b"\n1\n" not in (await client.fetch("GET", f"{url}/checkpoint", cap=10_000, seconds=30)).body:
            pass
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    shutil.rmtree(tmp_path / "data")
    shutil.move(tmp_path / "old", tmp_path / "data")
    ended = await trio.run_process(command(tmp_path, "serve"), capture_stdout=True, capture_stderr=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"a tree of 1 entries was signed and the database holds 0: it is an old copy" in ended.stderr
    assert b"Traceback" not in ended.stderr


async def test_serve_makes_no_missing_state(tmp_path: Path) -> None:
    configure(tmp_path)
    ended = await trio.run_process(command(tmp_path, "serve"), capture_stdout=True, capture_stderr=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert b"sameview log init" in ended.stderr
    assert not (tmp_path / "data").exists()


async def test_init_replaces_no_state(tmp_path: Path) -> None:
    configure(tmp_path)
    await init(tmp_path)
    again = await trio.run_process(command(tmp_path, "init"), capture_stderr=True, check=False)
    assert again.returncode == 2
    assert b"`init` makes new state only" in again.stderr
