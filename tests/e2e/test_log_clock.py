"""A log whose clock is set back and ahead while it is filled: it keeps its promises, and what it signed its order."""

import json
from itertools import count, pairwise
from pathlib import Path

import pytest
import trio

from runtime.client import Client, FetchError
from runtime.keyfiles import write_signer_key
from tests.e2e.log_process import KEY, ORIGIN, SECONDS, configure, init, running
from tests.e2e.stepped import program, step
from tests.e2e.test_log_kills import check_promises
from tests.keys import mldsa_key, witness_key
from tests.served import served
from tests.witnesses import ScriptedWitness, cosign, policy_of
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

CLIENTS = 4
SECOND_KEY = mldsa_key(ORIGIN)  # its signatures state when they were made
BACK, AHEAD = -10, 3600


class Stepping:
    """A log under load, with a clock that is set; the witness's is right all along."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = directory / "clock"
        self.witness = ScriptedWitness(witness_key(), cosign)
        self.acknowledged: dict[bytes, int] = {}
        self.names = count()
        step(self.clock, 0)

    async def make(self) -> None:
        configure(self.directory, policy_of(KEY, [self.witness]), "publish_interval = 0.01\n")
        write_signer_key(self.directory / "second.key", SECOND_KEY)
        config = self.directory / "log.toml"
        config.write_text(config.read_text().replace('["log.key"]', '["log.key", "second.key"]'))
        await init(self.directory)

    def signed(self) -> list[SignedCheckpoint]:
        """What the witness was sent."""
        keys = (KEY.verifier_key, SECOND_KEY.verifier_key)
        return [open_checkpoint(request.checkpoint_note, keys) for request in self.witness.seen]

    async def fill(self, client: Client, url: str) -> None:
        while True:
            entry = b"entry %d" % next(self.names)
            try:
                answer = await client.fetch("POST", f"{url}/add", body=entry, cap=1000, seconds=30)
            except FetchError:
                return  # it was ended: it promised nothing
            assert answer.status == 200
            self.acknowledged[entry] = int(answer.body)

    async def live(self, *steps: int) -> None:
        """Set the clock to one offset after the other; under each something is added and published."""
        async with (
            running(self.directory, program(self.clock)) as (url, _),
            Client() as client,
            trio.open_nursery() as nursery,
        ):
            for _ in range(CLIENTS):
                nursery.start_soon(self.fill, client, url)
            for seconds in steps:
                step(self.clock, seconds)
                await self.grow_beyond(client, url)
            nursery.cancel_scope.cancel()

    async def grow_beyond(self, client: Client, url: str) -> None:
        """Wait until the log published something that it was given after this began."""
        with trio.fail_after(SECONDS):
            index = await self.add(client, url)
            assert await self.proof(client, url, index) == 200

    async def add(self, client: Client, url: str) -> int:
        entry = b"entry %d" % next(self.names)
        answer = await client.fetch("POST", f"{url}/add", body=entry, cap=1000, seconds=30)
        index = self.acknowledged[entry] = int(answer.body)
        return index

    async def wait_said(self, sentence: str) -> None:
        """Wait until the log's log has this."""
        with trio.fail_after(SECONDS):
            while True:
                if sentence in (self.directory / "log.log").read_text():
                    return
                await trio.sleep(0.02)

    async def proof(self, client: Client, url: str, index: int, wait: int = 20) -> int:
        answer = await client.fetch("GET", f"{url}/v1/proofs/entry/{index}?wait={wait}", cap=100_000, seconds=60)
        return answer.status


@pytest.mark.slow
async def test_a_log_whose_clock_is_set_loses_nothing_and_signs_in_one_order(tmp_path: Path) -> None:
    """SPEC: CP-7"""
    log = Stepping(tmp_path)
    async with served(log.witness.app()) as asked:
        log.witness.url = asked.url
        await log.make()
        await log.live(0, BACK, 0)
        step(log.clock, BACK)  # while it is not there
        await log.live(BACK, 0, AHEAD, AHEAD + BACK, AHEAD)
        async with running(tmp_path, program(log.clock)) as (url, _), Client() as client:
            await log.grow_beyond(client, url)
            await check_history(client, url)
            # Back in the right time it is an hour behind what it signed: it takes entries, and signs nothing …
            step(log.clock, 0)
            await log.add(client, url)
            await log.wait_said("seconds behind the last signature")
            seen = len(log.witness.seen)
            index = await log.add(client, url)
            assert await log.proof(client, url, index, wait=1) == 404
            assert len(log.witness.seen) == seen
            # … until its clock has caught up, and at once then: no interval is counted by a clock that is set.
            step(log.clock, AHEAD)
            await log.grow_beyond(client, url)
        times = [time for signed in log.signed() for time in stated(signed)]
        assert times == sorted(times)
        assert times[-1] - times[0] >= AHEAD
        heads = {signed.size: signed.root_hash for signed in log.signed()}
        assert {(s.size, s.root_hash) for s in log.signed()} == set(heads.items())
        assert [s.size for s in log.signed()] == sorted(s.size for s in log.signed())
        await check_promises(tmp_path, log.acknowledged, log.witness, program(log.clock))


def stated(signed: SignedCheckpoint) -> list[int]:
    """When this was signed, as the key says whose signatures say it."""
    return [one.timestamp for one in signed.signatures if one.timestamp is not None]


async def check_history(client: Client, url: str) -> None:
    """Whatever the clock did, what was published later is listed later, and no filter by time leaves anything out."""

    async def listed(question: str = "") -> list[tuple[int, int]]:
        answer = await client.fetch("GET", f"{url}/v1/checkpoints.ndjson{question}", cap=1 << 24, seconds=60)
        return [(one["size"], one["time"]) for one in map(json.loads, answer.body.splitlines())]

    async def paged() -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        cursor = ""
        while True:
            answer = await client.fetch("GET", f"{url}/v1/checkpoints?limit=100{cursor}", cap=1 << 24, seconds=60)
            page = json.loads(answer.body)
            found += [(one["size"], one["time"]) for one in page["checkpoints"]]
            if page["next"] is None:
                return found
            cursor = f"&after={page['next']}"

    everything = await listed()
    assert len(everything) > 10
    assert all(before < after for before, after in pairwise(size for size, _ in everything))
    times = [time for _, time in everything]
    assert times == sorted(times)
    assert times[-1] - times[0] >= AHEAD
    for time in (times[0], times[len(times) // 2], times[-1]):
        assert await listed(f"?until={time - 1}") + await listed(f"?since={time}") == everything
    assert await paged() == everything
