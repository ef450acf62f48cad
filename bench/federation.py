"""How soon real monitors convict a log that forks, and what they spend: 32 processes, each the peer of all others.

Every link between two monitors has delays of 20 to 150 milliseconds for each piece of a connection and a round trip for
each new one (``tests.e2e.bad_network``). One log is a real one, the others are in memory; each has a front that can lie
to some monitors and not to the others. What is measured, one after the other:

``follow``      the real log grows: milliseconds from the first monitor that sees the new head to each of the others
``quiet``       nothing happens: bytes and processor time of each monitor
``fork``        a log shows one monitor, which all others are ahead of, another history, shorter than theirs:
                milliseconds from the moment the front gave the forked checkpoint away until a monitor, and until every
                monitor, has convicted the log. Each repetition is about another log and another victim.
``longer_fork`` the same with a longer history than theirs. The victim has mostly heard of their head by then, and
                convicts the log itself as soon as it has read the other entries.
``resets``      a shorter one again, while one piece in fifty resets its connection
``partition``   nothing passes between two halves, one half is shown a fork of the real log, nobody may convict it; then
                the network heals: milliseconds from then on until a monitor, and until every monitor, has convicted

``wire_bytes`` are the bytes in both directions of all TCP connections between the monitors, ``message_bytes`` those of
the envelopes in them; both are for each monitor, sent only. All processes share this machine's processors, so with 32
monitors on two of them most of the time to the last conviction is spent waiting for a processor; ``simulated`` is what
the same protocol needs when only the network takes time.

    python -m bench.federation [--short]
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from bench.real.fleet import Member, Pace, Running, configure, configure_log, init, init_log, members, running
from bench.real.fronts import Fronts
from bench.simulation.runs import Setting, detection
from runtime.client import Client
from runtime.server import open_listener, serve, url_of
from tests.e2e.bad_network import LONG_WAY, Link, Remote, remote
from tests.fakes_log import FakeLog, signer
from tlog.tiles import format_entries

REAL = "real"  # the log that is a process; those in memory are called by numbers
ENTRIES = 200  # in every log before anything is measured
ASK_SECONDS = 0.5  # between two looks at whether something has happened
ANSWER_BYTES = 10_000_000
MEMORY_TARGET = 150_000_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and how long anything may take."""

    monitors: int
    forks: int
    pace: Pace
    calm_seconds: float
    quiet_seconds: float
    cut_seconds: float
    step_seconds: float
    seconds: float
    simulations: int


LONG = Sizes(32, 3, Pace(10.0, 10.0), 2.0, 30.0, 30.0, 120.0, 840.0, 50)
SHORT = Sizes(4, 1, Pace(0.5, 0.5), 0.5, 1.0, 0.5, 60.0, 180.0, 5)
RESETS = 0.02
GROWTH = 6  # entries by which an honest log grows before it forks
SHORTER, LONGER = 3, 9  # those of the other history


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="four monitors and one repetition, to see that it runs")
    options.add_argument("--monitors", type=int, help="another number of monitors")
    given = options.parse_args()
    sizes = SHORT if given.short else LONG
    print(json.dumps(trio.run(_measure, sizes, given.monitors or sizes.monitors)))


async def _measure(sizes: Sizes, monitors: int) -> dict[str, object]:
    with trio.fail_after(sizes.seconds):
        async with _federation(sizes, monitors) as federation:
            bench = _Bench(federation, sizes)
            started = federation.started_seconds
            figures: dict[str, object] = {"monitors": monitors, "start_seconds": round(started, 1)}
            figures["follow"] = await bench.follow()
            figures["quiet"] = await bench.quiet()
            names = iter(federation.logs)
            figures["fork"] = _summed_up([await bench.fork(next(names), SHORTER) for _ in range(sizes.forks)])
            figures["longer_fork"] = _summed_up([await bench.fork(next(names), LONGER) for _ in range(sizes.forks)])
            await federation.network.tell(do="resets", share=RESETS)
            figures["resets"] = _summed_up([await bench.fork(next(names), SHORTER) for _ in range(sizes.forks)])
            await federation.network.tell(do="resets", share=0.0)
            figures["partition"] = await bench.partition()
            figures["memory"] = bench.memory()
    return {
        "bench": "federation",
        "machine": {"processors": len(os.sched_getaffinity(0))},
        "parameters": {
            "delay_ms": [round(seconds * 1000) for seconds in LONG_WAY],
            "poll_seconds": sizes.pace.poll_seconds,
            "gossip_seconds": sizes.pace.gossip_seconds,
            "logs": 3 * sizes.forks + 1,
            "cut_seconds": sizes.cut_seconds,
        },
        "figures": figures,
        "simulated": await trio.to_thread.run_sync(_simulated, monitors, sizes.simulations),
        "targets": {"memory": {"max": MEMORY_TARGET}},
    }


@dataclass(frozen=True, slots=True)
class _Federation:
    """What runs."""

    client: Client
    fronts: Fronts
    logs: Mapping[str, FakeLog]
    members: Sequence[Member]
    nodes: Mapping[str, Running]
    real_log: Running
    network: Remote
    started_seconds: float

    async def list(self, member: Member, what: str) -> list[dict[str, Any]]:
        """One of the lists of a monitor."""
        answer = await self.client.fetch(
            "GET", f"{self.nodes[member.name].url}/v1/{what}", cap=ANSWER_BYTES, seconds=60
        )
        found: list[dict[str, Any]] = json.loads(answer.body)[what]
        return found

    async def add_to_real_log(self, entries: Sequence[bytes]) -> None:
        """Let the real log grow."""
        url, body = f"{self.real_log.url}/add-batch", format_entries(entries)
        answer = await self.client.fetch("POST", url, body=body, cap=ANSWER_BYTES, seconds=60)
        if answer.status != 200:
            raise RuntimeError("the log does not take entries")


@asynccontextmanager
async def _federation(sizes: Sizes, monitors: int) -> AsyncIterator[_Federation]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = members(folder, monitors)
        pairs = [(one, other) for one in made for other in made if one is not other]
        links = [Link(one.name, other.name) for one, other in pairs]
        logs = {str(number): _log(str(number)) for number in range(3 * sizes.forks)}
        logs[REAL] = _log(REAL)
        log_config = configure_log(folder / REAL, logs[REAL])
        await init_log(log_config)
        async with (
            Client() as client,
            remote(links, LONG_WAY, sizes.seconds) as network,
            _fronts(client) as (fronts, front_url),
            running({REAL: ("log", log_config)}) as processes,
        ):
            real_log = processes[REAL]
            ports = dict(zip(pairs, network.ports, strict=True))
            for member in made:
                for log, tree in logs.items():
                    fronts.show(log, member.name, tree, real_log.url if log == REAL else None)
                listed = [(tree, f"{front_url}/{log}/{member.name}") for log, tree in logs.items()]
                others = {
                    other.name: (other, f"http://127.0.0.1:{ports[member, other]}")
                    for other in made
                    if other is not member
                }
                configure(member, listed, others, sizes.pace)
                await init(member)
            configs = {member.name: ("monitor", member.config) for member in made}
            async with running(configs) as nodes:
                seconds = time.monotonic() - began
                for node in nodes.values():
                    await network.tell(do="attach", name=node.name, port=node.port)
                federation = _Federation(client, fronts, logs, made, nodes, real_log, network, seconds)
                await federation.add_to_real_log(logs[REAL].entries)
                yield federation


def _log(name: str) -> FakeLog:
    log = FakeLog(origin=f"log.example/{name}", key=signer(f"log.example/{name}"))
    log.add(ENTRIES)
    log.publish(witnesses=())
    return log


@asynccontextmanager
async def _fronts(client: Client) -> AsyncIterator[tuple[Fronts, str]]:
    listener = await open_listener("127.0.0.1:0")
    fronts, drain = Fronts(client), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, fronts.app(), [listener], drain=drain))
        try:
            yield fronts, url_of(listener)
        finally:
            nursery.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class _Bench:
    """What is done to a federation, one thing after the other."""

    federation: _Federation
    sizes: Sizes

    async def follow(self) -> dict[str, object]:
        """Wait until everybody follows every log, then let the real one grow."""
        for name, tree in self.federation.logs.items():
            await self._wait_for_size(name, tree.size, self.federation.members)
        await self._wait_quiet()
        log = self.federation.logs[REAL]
        spent = await self._begin()
        log.add(10)
        await self.federation.add_to_real_log(log.entries[-10:])
        heads = await self._wait_for_size(REAL, log.size, self.federation.members)
        seen = sorted(head["first_seen_ms"] for head in heads)
        return {"ms": _spread([when - seen[0] for when in seen[1:]]), **await self._end(spent)}

    async def quiet(self) -> dict[str, object]:
        """Watch what is spent when nothing happens."""
        await self._wait_quiet()
        spent = await self._begin()
        await trio.sleep(self.sizes.quiet_seconds)
        found = spent.until(await self._begin())
        count, seconds = len(self.federation.members), found.seconds
        return {
            "wire_bytes_per_second": round(found.wire_bytes / count / seconds, 1),
            "message_bytes_per_second": round(found.message_bytes / count / seconds, 1),
            "envelopes_per_second": round(found.envelopes / count / seconds, 3),
            "processor_share": round(found.processor_seconds / count / seconds, 4),
        }

    async def fork(self, name: str, growth: int) -> dict[str, Any]:
        """Show another history to one monitor that all others are ahead of."""
        federation = self.federation
        log, victim = federation.logs[name], federation.members[int(name) % len(federation.members)]
        common = log.size
        shown = log.fork(common)
        shown.publish(witnesses=())
        federation.fronts.show(name, victim.name, shown)
        log.add(GROWTH)
        log.publish(witnesses=())
        others = [member for member in federation.members if member is not victim]
        await self._wait_for_size(name, log.size, others)
        await self._wait_quiet()
        spent = await self._begin()
        federation.fronts.lie(name, victim.name, _twin(log, common, growth))
        convicted = await self._wait_for_convictions(name)
        seen = federation.fronts.seen_ms(name)
        if seen is None:
            raise AssertionError("somebody convicted the log before it lied")
        return {"ms": [when - seen for when in convicted], **await self._end(spent)}

    async def partition(self) -> dict[str, object]:
        """Cut the network in two, let the real log fork between the halves, and heal."""
        federation, log = self.federation, self.federation.logs[REAL]
        half = len(federation.members) // 2
        halves = federation.members[:half], federation.members[half:]
        common = log.size
        shown = log.fork(common)
        shown.publish(witnesses=())
        for member in halves[1]:
            federation.fronts.show(REAL, member.name, shown)
        sides = [[member.name for member in side] for side in halves]
        await federation.network.tell(do="cut", sides=sides, abrupt=False)
        log.add(GROWTH)
        await federation.add_to_real_log(log.entries[-GROWTH:])
        twin = _twin(log, common, LONGER)
        for member in halves[1]:
            federation.fronts.lie(REAL, member.name, twin)
        await self._wait_for_size(REAL, log.size, halves[0])
        await self._wait_for_size(REAL, twin.size, halves[1])
        await trio.sleep(self.sizes.cut_seconds)
        early = [member.name for member in federation.members if await self._convicted_ms(member, REAL) is not None]
        if early:
            raise AssertionError("somebody convicted the log while the network was cut")
        spent = await self._begin()
        healed = time.time_ns() // 1_000_000
        await federation.network.tell(do="heal")
        convicted = await self._wait_for_convictions(REAL)
        first, *_, last = sorted(when - healed for when in convicted)
        median = round(statistics.median(when - healed for when in convicted))
        return {"detected_ms": first, "median_ms": median, "by_all_ms": last, **await self._end(spent)}

    def memory(self) -> dict[str, object]:
        """The memory of the monitors, and the most that each has held."""
        return {
            "now": _spread([node.memory() for node in self.federation.nodes.values()]),
            "peak": _spread([node.peak_memory() for node in self.federation.nodes.values()]),
        }

    # What is waited for.

    async def _wait_for_size(self, log: str, size: int, wanted: Sequence[Member]) -> list[dict[str, Any]]:
        async def head(member: Member) -> dict[str, Any] | None:
            origin = self.federation.logs[log].origin
            found = next(one for one in await self.federation.list(member, "heads") if one["origin"] == origin)
            return found if found["size"] >= size else None

        return await self._wait_for_each(wanted, head)

    async def _wait_for_convictions(self, log: str) -> list[int]:
        async def convicted(member: Member) -> int | None:
            return await self._convicted_ms(member, log)

        return await self._wait_for_each(self.federation.members, convicted)

    async def _convicted_ms(self, member: Member, log: str) -> int | None:
        origin = self.federation.logs[log].origin
        found = [
            one["convicted_ms"] for one in await self.federation.list(member, "evidence") if one["origin"] == origin
        ]
        return min(found, default=None)

    async def _wait_for_each(self, wanted: Sequence[Member], ask: Callable[[Member], Any]) -> list[Any]:
        found: dict[str, Any] = {}
        with trio.fail_after(self.sizes.step_seconds):
            while len(found) < len(wanted):
                await trio.sleep(ASK_SECONDS)
                for member in wanted:
                    if member.name not in found and (answer := await ask(member)) is not None:
                        found[member.name] = answer
        return [found[member.name] for member in wanted]

    async def _wait_quiet(self) -> None:
        """Wait until the monitors have said to each other what they had to say."""
        with trio.fail_after(self.sizes.step_seconds):
            while True:
                before = await self._begin()
                await trio.sleep(self.sizes.calm_seconds)
                spent = before.until(await self._begin())
                # An exchange is up to four envelopes, and a monitor begins one an interval and is asked for another.
                usual = 8 * spent.seconds / self.sizes.pace.gossip_seconds
                if spent.envelopes / len(self.federation.members) <= usual + 1:
                    return

    # What is spent.

    async def _begin(self) -> "_Spent":
        counts = await self.federation.network.tell(do="count")
        used = sum(node.processor_seconds() for node in self.federation.nodes.values())
        return _Spent(time.monotonic(), used, counts["bytes"], counts["body_bytes"], counts["bodies"])

    async def _end(self, before: "_Spent") -> dict[str, float]:
        """What each monitor spent until all had fallen silent again."""
        await self._wait_quiet()
        spent, count = before.until(await self._begin()), len(self.federation.members)
        return {
            "processor_ms": round(spent.processor_seconds / count * 1000),
            "wire_bytes": round(spent.wire_bytes / count),
            "message_bytes": round(spent.message_bytes / count),
            "envelopes": round(spent.envelopes / count, 1),
        }


@dataclass(frozen=True, slots=True)
class _Spent:
    """Sums over all monitors, since the start or between two moments."""

    seconds: float
    processor_seconds: float
    wire_bytes: int
    message_bytes: int
    envelopes: int

    def until(self, later: "_Spent") -> "_Spent":
        return _Spent(
            later.seconds - self.seconds,
            later.processor_seconds - self.processor_seconds,
            later.wire_bytes - self.wire_bytes,
            later.message_bytes - self.message_bytes,
            later.envelopes - self.envelopes,
        )


def _twin(log: FakeLog, common: int, more: int) -> FakeLog:
    twin = log.fork(common)
    twin.add(more, "twin")
    twin.publish(witnesses=())
    return twin


def _summed_up(repetitions: Sequence[dict[str, Any]]) -> dict[str, object]:
    """First detection, conviction by the median monitor and by the last, over the repetitions; costs as means."""
    costs = [key for key in repetitions[0] if key != "ms"]
    return {
        "repetitions": len(repetitions),
        "detected_ms": _spread([min(one["ms"]) for one in repetitions]),
        "median_ms": _spread([round(statistics.median(one["ms"])) for one in repetitions]),
        "by_all_ms": _spread([max(one["ms"]) for one in repetitions]),
        **{key: round(statistics.fmean(one[key] for one in repetitions)) for key in costs},
    }


def _simulated(monitors: int, runs: int) -> dict[str, object]:
    """The longer fork in virtual time, from the moment when the victim has read it: links alike, no processor time."""
    found = [detection(Setting(monitors), seed) for seed in range(1, runs + 1)]
    first = [round(one.first * 1000) for one in found if one.first is not None]
    everybody = [round(one.everybody * 1000) for one in found if one.everybody is not None]
    message_bytes = round(statistics.fmean(one.message_bytes_each for one in found))
    spreads = {"detected_ms": _spread(first), "by_all_ms": _spread(everybody)}
    return {"repetitions": len(everybody), **spreads, "message_bytes": message_bytes}


def _spread(values: Sequence[int]) -> dict[str, int]:
    ordered = sorted(values)
    return {"p50": ordered[math.ceil(len(ordered) / 2) - 1], "max": ordered[-1]}


if __name__ == "__main__":
    main()
