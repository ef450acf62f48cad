"""The demo: a federation, real entries, a log that lies to one monitor, and evidence that a stranger can check.

Each scenario runs a federation of its own and makes claims about what happened; the demo succeeds only when every
claim held.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

import sameview
from runtime.client import Client
from runtime.errors import CannotTell
from sameview.lab import federation
from sameview.lab.federation import MONITORS, ORIGIN, WITNESSES, Node, Plan
from sameview.lab.narrator import Narrator, Report
from sameview.submit import add_batches, add_each, wait_proof
from tlog.checkpoint import Checkpoint
from tlog.note import Note
from tlog.tiles import MAX_ENTRY_BYTES

STEP_SECONDS = 40  # for any one thing to come about; the slowest takes a few
POLL_SECONDS = 0.1
QUIET_SECONDS = 4.0  # how long the honest federation is watched for a conviction that must not come
FIRST_ENTRIES = 60
LATER_ENTRIES = 12
ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Federation:
    """What runs, and what it takes to talk to it."""

    plan: Plan
    log: Node
    front: Node
    witnesses: tuple[Node, ...]
    monitors: tuple[Node, ...]
    client: Client

    async def read(self, url: str) -> bytes:
        """GET a URL."""
        answer = await self.client.fetch("GET", url, cap=ANSWER_BYTES, seconds=STEP_SECONDS)
        if answer.status != 200:
            raise CannotTell(f"a node of the demo answered {answer.status}")
        return answer.body

    async def read_json(self, url: str) -> Mapping[str, object]:
        """GET a JSON object."""
        document: Mapping[str, object] = json.loads(await self.read(url))
        return document

    async def checkpoint(self) -> Checkpoint:
        """The log's published checkpoint; the demo believes its own log."""
        return Checkpoint.parse(Note.parse(await self.read(f"{self.log.url}/checkpoint")).text)


Scenario = Callable[[Federation, Narrator, Report], Awaitable[None]]


async def run_scenario(name: str, directory: Path, narrator: Narrator) -> Report:
    """Run one scenario in an empty directory."""
    report = Report(name)
    narrator.title(f"{name}: {SCENARIOS[name][1]}")
    async with _federation(directory, narrator) as federation_:
        await _everyone_sees_the_same(federation_, narrator, report)
        await SCENARIOS[name][0](federation_, narrator, report)
    return report


@asynccontextmanager
async def _federation(directory: Path, narrator: Narrator) -> AsyncIterator[Federation]:
    narrator.step("A federation of separate processes on this machine")
    plan = federation.write_plan(directory)
    nodes = [("witness", f"w{i + 1}") for i in range(len(WITNESSES))] + [("log", "log")]
    nodes += [("monitor", f"m{i + 1}") for i in range(len(MONITORS))]
    async with trio.open_nursery() as nursery:
        for role, stem in nodes:
            nursery.start_soon(federation.init, plan, role, f"{stem}.toml")
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client())
        started = await _start(stack, plan, nodes)
        for (role, stem), node in started.items():
            narrator.say(f"{role:8} {stem:4} {node.url}  process {node.process.pid}")
        narrator.say("policy: a checkpoint counts when 2 of the 3 witnesses have cosigned it")
        yield Federation(
            plan,
            started["log", "log"],
            started["front", "front"],
            tuple(started["witness", f"w{i + 1}"] for i in range(len(WITNESSES))),
            tuple(started["monitor", f"m{i + 1}"] for i in range(len(MONITORS))),
            client,
        )


async def _start(stack: AsyncExitStack, plan: Plan, nodes: list[tuple[str, str]]) -> dict[tuple[str, str], Node]:
    """Start every node, those before the monitors first; each is stopped when the stack unwinds."""
    started: dict[tuple[str, str], Node] = {}
    front = [
        "sameview.lab.twin",
        "--listen",
        f"127.0.0.1:{plan.front_port}",
        "--log",
        f"http://127.0.0.1:{plan.log_port}",
    ]
    front += ["--origin", ORIGIN, "--key", "log-ed25519.key"]
    commands = {("front", "front"): front}
    commands |= {(role, stem): ["sameview", role, "serve", "--config", f"{stem}.toml"] for role, stem in nodes}
    processes = {
        place: stack.enter_async_context(federation.running(plan, *place, command))
        for place, command in commands.items()
    }
    for place, entering in processes.items():
        started[place] = await entering
    return started


async def _everyone_sees_the_same(run: Federation, narrator: Narrator, report: Report) -> None:
    """The honest part, with which every scenario begins."""
    narrator.step("Real entries: source files of Sameview itself")
    entries = _source_files()
    names, data = list(entries)[:FIRST_ENTRIES], list(entries.values())[:FIRST_ENTRIES]
    with trio.fail_after(STEP_SECONDS):
        indexes = await add_each(run.client, run.log.url, data)
        proof = await wait_proof(run.client, run.log.url, max(indexes))
    narrator.say(f"{len(data)} files added; {names[-1]} has index {indexes[-1]}")
    narrator.say("the checkpoint, signed by the log and cosigned by the witnesses:")
    narrator.note(await run.read(f"{run.log.url}/checkpoint"))
    await _verify_proof(run, narrator, report, data[indexes.index(max(indexes))], proof)
    checkpoint = await run.checkpoint()
    for monitor, name in zip(run.monitors, MONITORS, strict=True):
        await _until(lambda monitor=monitor: _verified(run, monitor, checkpoint.size), f"{name} to verify the log")
    narrator.check(report, f"three monitors re-hashed every entry and hold the same tree of {checkpoint.size}", True)


async def _verify_proof(run: Federation, narrator: Narrator, report: Report, entry: bytes, proof: bytes) -> None:
    directory = run.plan.directory
    (directory / "entry").write_bytes(entry)
    (directory / "entry.tlog-proof").write_bytes(proof)
    held = await _sameview(
        narrator, directory, "verify", "proof", "entry.tlog-proof", "--entry", "entry", "--policy", "policy.txt"
    )
    narrator.check(report, "a fresh process verified the entry's proof offline, under the policy", held)


def _source_files() -> dict[str, bytes]:
    """This program's own files, by name: real input of many sizes that is always there."""
    top = Path(sameview.__file__).parent.parent
    packages = ("tlog", "runtime", "gossip", "logserver", "witness", "monitor", "sameview")
    files = sorted(path for package in packages for path in (top / package).rglob("*.py"))
    found = {str(path.relative_to(top)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if 0 < len(data) <= MAX_ENTRY_BYTES}


async def _honest(run: Federation, narrator: Narrator, report: Report) -> None:
    narrator.step("The log stays honest and grows")
    later = list(_source_files().values())[FIRST_ENTRIES : FIRST_ENTRIES + LATER_ENTRIES]
    await add_batches(run.client, run.log.url, later)
    for monitor in run.monitors:
        await _until(
            lambda monitor=monitor: _verified(run, monitor, FIRST_ENTRIES + len(later)), "the growth to be verified"
        )
    narrator.check(report, f"every monitor follows it to {FIRST_ENTRIES + len(later)} entries", True)
    await trio.sleep(QUIET_SECONDS)
    convicted = [bool(await _convictions(run, monitor)) for monitor in run.monitors]
    narrator.check(report, "nobody is convicted", not any(convicted))


def _split(size_of_lie: Callable[[int, int], int]) -> Scenario:
    async def split(run: Federation, narrator: Narrator, report: Report) -> None:
        fork_at = (await run.checkpoint()).size
        narrator.step(
            f"The log lies: {MONITORS[-1]} alone is shown another tree, which departs from the honest one at {fork_at}"
        )
        later = list(_source_files().values())[FIRST_ENTRIES : FIRST_ENTRIES + LATER_ENTRIES]
        honest_size = fork_at + len(later)
        lie = size_of_lie(fork_at, honest_size)
        answer = await run.client.fetch(
            "POST", f"{run.front.url}/lab/fork", body=json.dumps({"at": fork_at, "size": lie}).encode(),
            cap=ANSWER_BYTES, seconds=STEP_SECONDS,
        )  # fmt: skip
        narrator.say("what the front serves now: the log's own signature, no witness, entries nobody else has")
        narrator.note(answer.body)
        await add_batches(run.client, run.log.url, later)
        narrator.say(f"meanwhile the honest log grows to {honest_size}, for everybody else")
        await _convicted_by_all(run, narrator, report)

    return split


async def _convicted_by_all(run: Federation, narrator: Narrator, report: Report) -> None:
    narrator.step("The monitors gossip, compare what they were shown, and convict")
    ids: set[str] = set()
    for monitor, name in zip(run.monitors, MONITORS, strict=True):
        await _until(lambda monitor=monitor: _is_convicted(run, monitor), f"{name} to convict the log")
        ids |= {str(conviction["id"]) for conviction in await _convictions(run, monitor)}
    times = {name: await _conviction_time(run, monitor) for name, monitor in zip(MONITORS, run.monitors, strict=True)}
    first_sight = min(seen for seen, _ in times.values())
    rows = [(name, f"{(convicted - first_sight) / 1000:.2f} s") for name, (_, convicted) in times.items()]
    narrator.table({"monitor": "", "convicted after first sight": "bold"}, rows)
    report.figures["seconds_to_conviction_by_all"] = (
        max(convicted for _, convicted in times.values()) - first_sight
    ) / 1000
    narrator.check(report, "every monitor convicted the log, on evidence it verified itself", True)
    await _verify_evidence(run, narrator, report, sorted(ids)[0])


async def _verify_evidence(run: Federation, narrator: Narrator, report: Report, evidence_id: str) -> None:
    narrator.step("The evidence, checked offline by a process that has nothing but the log's vkey")
    directory = run.plan.directory
    bundle = await run.read(f"{run.monitors[0].url}/v1/evidence/{evidence_id}")
    file = directory / f"{evidence_id[:16]}.tlog-evidence"
    file.write_bytes(bundle)
    report.evidence = str(file)
    narrator.note(bundle)
    held = await _sameview(narrator, directory, "verify", "evidence", file.name, "--vkey", run.plan.log_vkey)
    narrator.check(report, "the log's key signed two trees that cannot both be its history", held)
    damaged = bytearray(bundle)
    damaged[-10] ^= 1
    (directory / "damaged.tlog-evidence").write_bytes(bytes(damaged))
    refused = not await _sameview(
        narrator, directory, "verify", "evidence", "damaged.tlog-evidence", "--vkey", run.plan.log_vkey
    )
    narrator.check(report, "with one bit changed it proves nothing", refused)


async def _sameview(narrator: Narrator, directory: Path, *arguments: str) -> bool:
    """Run the command line in a process of its own; True for exit code 0."""
    done = await trio.run_process(
        [sys.executable, "-m", "sameview", *arguments],
        cwd=directory, check=False, capture_stdout=True, stderr=subprocess.STDOUT,
    )  # fmt: skip
    shown = " ".join(part if len(part) < 60 else part[:40] + "…" for part in arguments)
    narrator.command(f"sameview {shown}", done.stdout.decode())
    return done.returncode == 0


async def _until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    with trio.move_on_after(STEP_SECONDS):
        while not await condition():  # noqa: ASYNC110  # the condition is about another process
            await trio.sleep(POLL_SECONDS)
        return
    raise CannotTell(
        f"the demo waited {STEP_SECONDS} seconds for {what}; run it with --keep and look at the nodes' logs"
    )
