"""What a scenario works with: its own log, the nodes around it, somebody to tell, and ways to wait for what must come.

Whatever a scenario waits for happens in other processes, so it looks again and again, for ``STEP_SECONDS`` at most.
"""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import trio

import sameview
from runtime.client import Client, FetchError
from runtime.errors import CannotTell
from sameview.client import add_batches
from sameview.lab.federation import FRONT, MONITORS, Node, Plan, log_stem, monitor_name, origin_of
from sameview.lab.narrator import Narrator, Report
from tlog.checkpoint import Checkpoint
from tlog.note import Note
from tlog.tiles import MAX_ENTRY_BYTES

STEP_SECONDS = 40  # for any one thing to come about; the slowest takes a few
POLL_SECONDS = 0.1
ANSWER_BYTES = 4 * 1024 * 1024


class Pending(msgspec.Struct):
    """A head that a monitor knows of and cannot place."""

    size: int


class Head(msgspec.Struct):
    """What a monitor says of a log."""

    origin: str
    size: int
    convicted: bool
    pending: list[Pending]


class Conviction(msgspec.Struct, frozen=True):
    """Evidence that a monitor holds."""

    id: str
    type: str
    origin: str
    accused: str
    convicted_ms: int


class Alarm(msgspec.Struct):
    """Something that a monitor wants looked at."""

    kind: str
    origin: str | None
    subject: str
    cleared_ms: int | None


class Testimony(msgspec.Struct):
    """What a monitor says that a log withholds."""

    origin: str
    peer: str | None
    note: str


class _FirstShown(msgspec.Struct):
    first_shown_ms: int | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One scenario under way."""

    name: str
    plan: Plan
    nodes: Mapping[str, Node]
    client: Client
    narrator: Narrator
    report: Report

    # The story.

    def step(self, text: str) -> None:
        self.narrator.step(text)

    def say(self, text: str) -> None:
        self.narrator.say(text)

    def check(self, claim: str, held: bool) -> None:
        self.narrator.check(self.report, claim, held)

    # The log.

    @property
    def origin(self) -> str:
        return origin_of(self.name)

    @property
    def log_url(self) -> str:
        return self.plan.url(log_stem(self.name))

    @property
    def log_vkeys(self) -> frozenset[str]:
        """The keys of the log; a verdict names one of them."""
        return frozenset(self.vkey(f"{log_stem(self.name)}-{algorithm}") for algorithm in ("ed25519", "mldsa44"))

    def vkey(self, stem: str) -> str:
        """The vkey of a key file."""
        return (self.plan.directory / f"{stem}.vkey").read_text().strip()

    async def checkpoint(self) -> bytes:
        """What the honest log shows."""
        return await self.read(f"{self.log_url}/checkpoint")

    async def size(self) -> int:
        """How large the honest log is; the demo believes its own log."""
        return Checkpoint.parse(Note.parse(await self.checkpoint()).text).size

    async def grow(self, count: int) -> int:
        """Add entries, wait until a published checkpoint covers them, and return its size."""
        size = await self.size()
        await add_batches(self.client, self.log_url, source_files(size, size + count))
        await self.until(lambda: self._shows(size + count), f"{self.origin} to publish {size + count} entries")
        return size + count

    async def _shows(self, size: int) -> bool:
        return await self.size() >= size

    # The lie.

    async def lie(self, viewer: str, lie: str, command: Mapping[str, object] | None = None) -> bytes:
        """Have the front show one viewer something else; the note it shows from now on."""
        body = msgspec.json.encode(command or {})
        return await self.post(f"{self.plan.url(FRONT)}/lab/{self.name}/{viewer}/{lie}", body)

    async def first_sight(self, viewer: str) -> int:
        """When the viewer saw the lie first, in Unix milliseconds."""
        seen: list[int] = []

        async def looked() -> bool:
            raw = await self.read(f"{self.plan.url(FRONT)}/lab/{self.name}/{viewer}")
            shown = msgspec.json.decode(raw, type=_FirstShown).first_shown_ms
            seen.extend(() if shown is None else (shown,))
            return bool(seen)

        await self.until(looked, f"{viewer} to look at what it is shown")
        return seen[0]

    # The monitors.

    async def head(self, monitor: str) -> Head:
        """What a monitor says of this scenario's log."""
        raw = await self.read(f"{self.plan.url(monitor)}/v1/heads")
        heads = msgspec.json.decode(raw, type=dict[str, list[Head]])["heads"]
        return next(head for head in heads if head.origin == self.origin)

    async def wait_verified(self, size: int, monitors: Sequence[str] = MONITORS) -> None:
        """Wait until monitors have hashed the log up to this size themselves."""
        for monitor in monitors:

            async def verified(monitor: str = monitor) -> bool:
                return (await self.head(monitor)).size >= size

            await self.until(verified, f"{monitor} to verify {size} entries of {self.origin}")

    async def convictions(self, monitor: str, accused: Collection[str] | None = None) -> list[Conviction]:
        """What a monitor holds against anybody, or these keys, about this scenario's log."""
        raw = await self.read(f"{self.plan.url(monitor)}/v1/evidence")
        found = msgspec.json.decode(raw, type=dict[str, list[Conviction]])["evidence"]
        about = [one for one in found if one.origin == self.origin]
        return [one for one in about if accused is None or one.accused in accused]

    async def wait_conviction(self, monitor: str, accused: Collection[str]) -> Conviction:
        """Wait until a monitor has convicted one of these keys."""
        found: list[Conviction] = []

        async def convicted() -> bool:
            found.extend(await self.convictions(monitor, accused))
            return bool(found)

        await self.until(convicted, f"{monitor} to convict a key of {self.origin}")
        return found[0]

    async def alarms(self, monitor: str) -> list[Alarm]:
        """The alarms of a monitor about this scenario's log that are not cleared."""
        raw = await self.read(f"{self.plan.url(monitor)}/v1/alarms")
        found = msgspec.json.decode(raw, type=dict[str, list[Alarm]])["alarms"]
        return [alarm for alarm in found if alarm.origin == self.origin and alarm.cleared_ms is None]

    async def wait_alarm(self, monitor: str) -> list[Alarm]:
        """Wait until a monitor raises an alarm."""
        raised: list[Alarm] = []

        async def alarmed() -> bool:
            raised.extend(await self.alarms(monitor))
            return bool(raised)

        await self.until(alarmed, f"{monitor} to raise an alarm about {self.origin}")
        return raised

    async def wait_no_alarm(self, monitor: str) -> None:
        """Wait until every alarm of a monitor is cleared."""

        async def cleared() -> bool:
            return not await self.alarms(monitor)

        await self.until(cleared, f"{monitor} to clear its alarms about {self.origin}")

    async def testimony(self, monitor: str, witness: str, file: str) -> bytes:
        """Wait until a monitor holds what another one testified, and write it into a file."""
        held: list[bytes] = []

        async def told() -> bool:
            raw = await self.read(f"{self.plan.url(monitor)}/v1/testimony")
            found = msgspec.json.decode(raw, type=dict[str, list[Testimony]])["testimony"]
            held.extend(
                one.note.encode() for one in found if (one.origin, one.peer) == (self.origin, monitor_name(witness))
            )
            return bool(held)

        await self.until(told, f"{monitor} to hold testimony of {witness} about {self.origin}")
        return self.keep(file, held[0]).read_bytes()

    # Verdicts.

    async def convicted_by_all(self, accused: Collection[str], first_sight: int, whom: str) -> None:
        """Wait until every monitor has convicted, and have each piece of evidence verified by a stranger."""
        found = {monitor: await self.wait_conviction(monitor, accused) for monitor in MONITORS}
        seconds = {monitor: (one.convicted_ms - first_sight) / 1000 for monitor, one in found.items()}
        rows = [(monitor_name(monitor), one.type, f"{seconds[monitor]:.2f} s") for monitor, one in found.items()]
        self.narrator.table({"monitor": "", "evidence": "", "convicted after first sight": "bold"}, rows)
        slowest = round(max(0.0, *seconds.values()), 3)
        figure = "seconds_from_first_sight_to_conviction_by_all"
        self.report.figures[figure] = max(slowest, float(self.report.figures.get(figure, 0)))
        self.check(f"every monitor convicted {whom}, on evidence it verified itself", True)
        await self._verify_each(found, whom)

    async def _verify_each(self, found: Mapping[str, Conviction], whom: str) -> None:
        """Verify the evidence of all monitors offline; show the first."""
        self.step(f"The evidence, checked offline by a process that has nothing but the vkey of {whom}")
        held = []
        by_id = {one.id: (monitor, one) for monitor, one in found.items()}  # of those that hold the same, any will do
        for number, (monitor, one) in enumerate(by_id.values()):
            bundle = await self.read(f"{self.plan.url(monitor)}/v1/evidence/{one.id}")
            file = self.keep(f"{self.name}-{one.type}-{one.id[:8]}.tlog-evidence", bundle)
            self.report.evidence.append(str(file))
            if number == 0:
                self.narrator.note(bundle)
            vkey_file = self.plan.vkey_file(one.accused)
            if vkey_file is None:
                raise AssertionError("somebody was convicted who has no key here")
            arguments = ["verify", "evidence", file.name, "--vkey", f"@{vkey_file}"]
            held.append(await self.sameview(*arguments, shown=number == 0) == 0)
        self.check(f"the evidence holds: the key of {whom} contradicted itself", all(held))

    def keep(self, name: str, data: bytes) -> Path:
        """Write a file into the demo's directory."""
        file = self.plan.directory / name
        file.write_bytes(data)
        return file

    async def sameview(self, *arguments: str, shown: bool = True) -> int:
        """Run the command line in a process of its own, and return its exit code.

        An argument that begins with @ stands for what is in that file, as ``"$(cat FILE)"`` does in a shell.
        """
        directory = self.plan.directory
        words = [(directory / word[1:]).read_text().strip() if word.startswith("@") else word for word in arguments]
        done = await trio.run_process(
            [sys.executable, "-m", "sameview", *words],
            cwd=directory, check=False, capture_stdout=True, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if shown:
            typed = [f'"$(cat {word[1:]})"' if word.startswith("@") else word for word in arguments]
            self.narrator.command(f"sameview {' '.join(typed)}", done.stdout.decode())
        return done.returncode

    # The world.

    async def read(self, url: str) -> bytes:
        """GET a URL."""
        return await self._asked("GET", url, b"")

    async def post(self, url: str, body: bytes) -> bytes:
        """POST to a URL."""
        return await self._asked("POST", url, body)

    async def _asked(self, method: str, url: str, body: bytes) -> bytes:
        try:
            answer = await self.client.fetch(method, url, body=body, cap=ANSWER_BYTES, seconds=STEP_SECONDS)
        except FetchError as error:
            raise CannotTell(
                f"{self._at(url)} cannot be asked: {error}; run the demo with --keep and see its log"
            ) from None
        if answer.status != 200:
            raise CannotTell(f"{self._at(url)} answered {answer.status}; run the demo with --keep and see its log")
        return answer.body

    def _at(self, url: str) -> str:
        """Which node it is that serves there."""
        return next((stem for stem in self.plan.ports if url.startswith(f"{self.plan.url(stem)}/")), "a node")

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for something that has to come about."""
        with trio.move_on_after(STEP_SECONDS):
            while not await condition():  # noqa: ASYNC110  # the condition is about another process
                await trio.sleep(POLL_SECONDS)
            return
        raise CannotTell(
            f"the demo waited {STEP_SECONDS} seconds for {what}; run it with --keep and look at the nodes' logs"
        )


@cache
def _source() -> tuple[bytes, ...]:
    """This program's own files, sorted by name: real input of many sizes that is always there."""
    top = Path(sameview.__file__).parent.parent
    packages = ("tlog", "runtime", "gossip", "logserver", "witness", "monitor", "sameview")
    files = sorted(path for package in packages for path in (top / package).rglob("*.py"))
    found = dict.fromkeys(path.read_bytes() for path in files)  # each once: a log knows what it has already
    return tuple(data for data in found if 0 < len(data) <= MAX_ENTRY_BYTES)


def source_files(start: int, end: int) -> list[bytes]:
    """Some source files of this program, each one entry."""
    files = _source()[start:end]
    if len(files) < end - start:
        raise AssertionError("there are fewer source files than the demo adds")
    return list(files)
