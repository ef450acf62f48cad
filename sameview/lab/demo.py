"""The demo: a federation, real entries, logs and others that lie, and evidence that a stranger can check.

One federation serves all scenarios, each of which has a log of its own. They make claims about what happened, and the
demo succeeds only when every claim held. What was waited for in vain is a claim that did not hold.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from runtime.client import Client, FetchError
from runtime.errors import CannotTell
from sameview.client import add_batches, wait_proof
from sameview.lab import federation
from sameview.lab.federation import monitor_name
from sameview.lab.narrator import Narrator, Report
from sameview.lab.scenarios import FIRST_ENTRIES, SCENARIOS
from sameview.lab.stage import Stage, source_files


async def run_all(names: Sequence[str], directory: Path, narrator: Narrator) -> list[Report]:
    """Start a federation in an empty directory, and run scenarios in it one after the other."""
    async with _federation(names, directory, narrator) as stages:
        await _seed(stages, narrator)
        for stage in stages:
            await _run(stage)
    return [stage.report for stage in stages]


async def _run(stage: Stage) -> None:
    scenario, subtitle = SCENARIOS[stage.name]
    stage.narrator.title(f"{stage.name}: {subtitle}")
    began = trio.current_time()
    try:
        await stage.wait_verified(FIRST_ENTRIES)
        stage.check(f"three monitors hashed all {FIRST_ENTRIES} entries themselves and hold the same tree", True)
        await scenario(stage)
    except (CannotTell, FetchError) as error:
        stage.check(str(error), False)
    stage.report.figures["seconds"] = round(trio.current_time() - began, 1)


@asynccontextmanager
async def _federation(names: Sequence[str], directory: Path, narrator: Narrator) -> AsyncIterator[list[Stage]]:
    narrator.title("the federation")
    narrator.step("Separate processes on this machine, each with keys, state and an address of its own")
    plan = await trio.to_thread.run_sync(federation.write_plan, directory, names)
    async with Client() as client, federation.running(plan, federation.stems(plan)) as nodes:
        rows = [(node.role, node.stem, node.url, str(node.process.pid)) for node in nodes.values()]
        narrator.table({"role": "", "name": "bold", "address": "", "process": ""}, rows)
        narrator.say("policy: a checkpoint counts when 2 of the 3 witnesses have cosigned it")
        narrator.say(f"front: stands between {monitor_name(federation.DECEIVED)} and the logs; the lies begin there")
        yield [Stage(name, plan, nodes, client, narrator, Report(name)) for name in names]


async def _seed(stages: Sequence[Stage], narrator: Narrator) -> None:
    """Give every log its first entries, and show of the first log how one is logged, cosigned and proven."""
    narrator.step("Real entries: source files of Sameview itself, the same in every log")
    async with trio.open_nursery() as nursery:
        for stage in stages:
            nursery.start_soon(add_batches, stage.client, stage.log_url, source_files(0, FIRST_ENTRIES))
    first = stages[0]
    proof = await wait_proof(first.client, first.log_url, FIRST_ENTRIES - 1)
    narrator.say(
        f"{FIRST_ENTRIES} files each; the checkpoint of the first log, signed by the log, cosigned by witnesses:"
    )
    narrator.note(await first.checkpoint())
    first.keep("entry", source_files(FIRST_ENTRIES - 1, FIRST_ENTRIES)[0])
    first.keep("entry.tlog-proof", proof)
    code = await first.sameview("verify", "proof", "entry.tlog-proof", "--entry", "entry", "--policy", "policy.txt")
    first.check("a fresh process verified an entry's proof offline, under the policy", code == 0)
