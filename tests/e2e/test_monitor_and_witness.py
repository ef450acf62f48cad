"""A monitor and a witness, both as they are run: what one finds out about a log reaches the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from runtime.client import Client
from tests.e2e import witness_process
from tests.e2e.monitors import PATIENCE, Asker, create, places, running, serving
from tests.fakes_log import FakeLog, policy
from tlog.add_checkpoint import AddCheckpoint

SIZE = 10


@dataclass(frozen=True, slots=True)
class Scene:
    """A log that a witness cosigned and a monitor follows, and another history of it that nobody was shown."""

    log: FakeLog
    twin: FakeLog
    witness: witness_process.Running
    url: str
    asker: Asker

    async def submit(self, log: FakeLog, old: int) -> int:
        """Ask the witness to cosign; the status of its answer."""
        return (await cosigned(self.witness, log, old))[0]


async def cosigned(witness: witness_process.Running, log: FakeLog, old: int) -> tuple[int, bytes]:
    path = log.proof(old, log.size) if 0 < old < log.size else ()
    body = AddCheckpoint(old, path, log.sign(witnesses=())).format()
    return await trio.to_thread.run_sync(witness.ask, "POST", "/add-checkpoint", body)


@asynccontextmanager
async def scene(folder: Path, *, with_notes: bool) -> AsyncIterator[Scene]:
    log = FakeLog()
    log.add(SIZE)
    twin = log.fork(SIZE - 4)
    twin.add(4, "twin")
    own = folder / "witness"
    own.mkdir()
    with witness_process.running(own, [log.key.verifier_key]) as witness:
        status, lines = await cosigned(witness, log, 0)
        assert status == 200
        log.published = log.sign(witnesses=()) + lines
        host, port = witness.operator
        more = f'conflicts_url = "http://{host}:{port}"\n' if with_notes else ""
        extra = f'witness_interval = 0.2\n[[witness]]\nname = "w1"\nmonitoring_url = "{witness.url}"\n{more}'
        judge = policy(log.key, [witness_process.KEY], 1)
        async with serving(log) as front, Client() as client:
            (place,) = await places(folder, [front], judge, extra)
            await create(place)
            asker = Asker(client)
            async with running(place) as node:
                await asker.wait_for_size(node.url, SIZE)
                yield Scene(log, twin, witness, node.url, asker)


async def test_a_witness_cosigns_no_more_once_a_monitor_has_convicted_the_log(tmp_path: Path) -> None:
    async with scene(tmp_path, with_notes=False) as here:
        before = await here.submit(here.log, SIZE)
        await here.asker.ask(here.url, here.twin.sign(witnesses=()))
        with trio.fail_after(PATIENCE):
            while await here.submit(here.log, SIZE) != 403:  # noqa: ASYNC110 # another task makes it so
                await trio.sleep(0.1)
    assert before == 200


@pytest.mark.parametrize("with_notes", [True, False])
async def test_what_a_witness_refused_is_evidence_for_a_monitor_or_an_alarm_without_the_note(
    tmp_path: Path, with_notes: bool
) -> None:
    async with scene(tmp_path, with_notes=with_notes) as here:
        refused = await here.submit(here.twin, SIZE)
        what, kind = ("evidence", "same-size") if with_notes else ("alarms", "witness-conflict")
        key = "type" if with_notes else "kind"
        found = await here.asker.wait_until(here.url, what, lambda listed: kind in {one[key] for one in listed})
        (head,) = await here.asker.list(here.url, "heads")
    assert (refused, bool(found), head["convicted"]) == (422, True, with_notes)
