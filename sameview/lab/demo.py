"""The demo: a federation, real entries, a log that lies to one monitor, and evidence that a stranger can check.

Each scenario runs a federation of its own and makes claims about what happened; the demo succeeds only when every
claim held.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
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
    await trio.to_thread.run_sync(federation.init, plan)
    async with Client() as client, federation.all_running(plan, _commands(plan, nodes)) as started:
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


def _commands(plan: Plan, nodes: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """How each process is started, by its role and name."""
    commands = {(role, stem): ["sameview", role, "serve", "--config", f"{stem}.toml"] for role, stem in nodes}
    commands["front", "front"] = [
        *("sameview.lab.twin", "--listen", f"127.0.0.1:{plan.front_port}"),
        *("--log", f"http://127.0.0.1:{plan.log_port}", "--origin", ORIGIN, "--key", "log-ed25519.key"),
    ]
    return commands


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
    await _all_verified(run, checkpoint.size)
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
    await _all_verified(run, FIRST_ENTRIES + len(later))
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
        first_sight = await _first_sight(run, run.monitors[-1], lie)
        await _convicted_by_all(run, narrator, report, first_sight)

    return split


async def _convicted_by_all(run: Federation, narrator: Narrator, report: Report, first_sight: int) -> None:
    narrator.step("The monitors gossip, compare what they were shown, and convict")
    ids: set[str] = set()
    rows: list[tuple[str, ...]] = []
    slowest = 0.0
    for monitor, name in zip(run.monitors, MONITORS, strict=True):
        found = await _conviction(run, monitor, name)
        ids.add(found.id)
        seconds = (found.convicted_ms - first_sight) / 1000
        slowest = max(slowest, seconds)
        rows.append((name, found.type, f"{seconds:.2f} s"))
    narrator.table({"monitor": "", "evidence": "", "convicted after first sight": "bold"}, rows)
    report.figures["seconds_from_first_sight_to_conviction_by_all"] = round(slowest, 3)
    narrator.check(report, "every monitor convicted the log, on evidence it verified itself", True)
    for evidence_id in sorted(ids):
        await _verify_evidence(run, narrator, report, evidence_id)


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


class _Head(msgspec.Struct):
    size: int
    first_seen_ms: int | None = None


class _Log(_Head):
    convicted: bool = False
    pending: list[_Head] = []


class _Conviction(msgspec.Struct):
    id: str
    type: str
    convicted_ms: int


async def _view(run: Federation, monitor: Node) -> _Log:
    """What a monitor says of the log."""
    document = await run.read(f"{monitor.url}/v1/heads")
    return msgspec.json.decode(document, type=dict[str, list[_Log]])["heads"][0]


async def _convictions(run: Federation, monitor: Node) -> list[_Conviction]:
    return msgspec.json.decode(await run.read(f"{monitor.url}/v1/evidence"), type=dict[str, list[_Conviction]])[
        "evidence"
    ]


async def _all_verified(run: Federation, size: int) -> None:
    for monitor, name in zip(run.monitors, MONITORS, strict=True):

        async def verified(monitor: Node = monitor) -> bool:
            return (await _view(run, monitor)).size >= size

        await _until(verified, f"{name} to verify {size} entries")


async def _first_sight(run: Federation, monitor: Node, size: int) -> int:
    """When a monitor first saw the forked head, in Unix milliseconds."""
    seen: list[int] = []

    async def sighted() -> bool:
        pending = (await _view(run, monitor)).pending
        seen.extend(head.first_seen_ms for head in pending if head.size == size and head.first_seen_ms is not None)
        return bool(seen)

    await _until(sighted, "the forked head to be seen")
    return seen[0]


async def _conviction(run: Federation, monitor: Node, name: str) -> _Conviction:
    found: list[_Conviction] = []

    async def convicted() -> bool:
        found.extend(await _convictions(run, monitor))
        return bool(found) and (await _view(run, monitor)).convicted

    await _until(convicted, f"{name} to convict the log")
    return found[0]


# The twin's size, from the size at which it departs and the size the honest log will have.
SCENARIOS: Mapping[str, tuple[Scenario, str]] = {
    "honest": (_honest, "nobody lies, nobody is convicted"),
    "split-same-size": (_split(lambda _fork, honest: honest), "two trees of one size"),
    "split-sizes": (_split(lambda fork, honest: (fork + honest) // 2), "two trees of different sizes"),
}


async def run_all(names: Sequence[str], directory: Path, narrator: Narrator) -> list[Report]:
    """Run scenarios one after the other, each in a directory of its own."""
    reports = []
    for name in names:
        own = directory / name
        own.mkdir()
        reports.append(await run_scenario(name, own, narrator))
    return reports
