"""Monitors over a bad network: what a partition hides comes out when it heals, and lost connections hide nothing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from runtime.client import Client
from tests.e2e.bad_network import BadNetwork, Link
from tests.e2e.monitors import Asker, Front, Place, create, places, running, serving
from tests.fakes_log import FakeLog

COMMON = 12  # entries that everybody has seen
SHORT_WAY = (0.001, 0.010)  # seconds: the order of arrivals differs each time, and no test takes long


@dataclass(frozen=True, slots=True)
class Split:
    """Four monitors in two halves, each of which reads the log from a front of its own."""

    log: FakeLog
    fronts: tuple[Front, Front]
    urls: Sequence[str]
    asker: Asker
    network: BadNetwork

    def show_two_histories(self) -> tuple[int, int]:
        """The log grows for one half, and otherwise for the other; the two sizes."""
        twin = self.log.fork(COMMON)
        self.log.add(8)
        twin.add(5, "twin")
        self.fronts[1].log = twin
        for log in (self.log, twin):
            log.publish()
        return self.log.size, twin.size

    async def evidence(self) -> list[str]:
        """The id of what convicted first, for each monitor that has convicted."""
        found = [await self.asker.list(url, "evidence") for url in self.urls]
        return [evidence[0]["id"] for evidence in found if evidence]


@asynccontextmanager
async def split(folder: Path, network: BadNetwork) -> AsyncIterator[Split]:
    log = FakeLog()
    log.add(COMMON)
    log.publish()
    async with serving(log) as front, serving(log) as other, Client() as client, AsyncExitStack() as stack:
        found = await places(folder, [front, front, other, other])
        links = await stack.enter_async_context(trio.open_nursery())
        stack.callback(links.cancel_scope.cancel)
        for place in found:
            await put_behind(network, place, found, links)
            await create(place)
        urls = [(await stack.enter_async_context(running(place))).url for place in found]
        asker = Asker(client)
        for url in urls:
            await asker.wait_for_size(url, COMMON)
        yield Split(log, (front, other), urls, asker, network)


async def put_behind(network: BadNetwork, place: Place, all_: Sequence[Place], links: trio.Nursery) -> None:
    """Let a monitor reach the others through the network only."""
    network.attach(place.name, place.port)
    text = place.config.read_text()
    for other in all_:
        if other is not place:
            port = await network.listen(Link(place.name, other.name), links)
            text = text.replace(f'url = "{other.url}"', f'url = "http://127.0.0.1:{port}"')
    place.config.write_text(text)


HALVES = (["monitor.example/m1", "monitor.example/m2"], ["monitor.example/m3", "monitor.example/m4"])


@pytest.mark.parametrize("abrupt", [False, True])
async def test_two_histories_on_two_sides_of_a_partition_convict_the_log_once_it_heals(
    tmp_path: Path, abrupt: bool
) -> None:
    network = BadNetwork(SHORT_WAY)
    async with split(tmp_path, network) as parts:
        network.cut(*HALVES, abrupt=abrupt)
        sizes = parts.show_two_histories()
        for number, url in enumerate(parts.urls):
            await parts.asker.wait_for_size(url, sizes[number // 2])
        before = await parts.evidence()
        network.heal()
        for url in parts.urls:
            await parts.asker.wait_until(url, "evidence", bool)
        heads = [(await parts.asker.list(url, "heads"))[0] for url in parts.urls]
    assert before == []
    assert [(head["convicted"], head["size"]) for head in heads] == [(True, sizes[n // 2]) for n in range(4)]


async def test_connections_that_break_all_the_time_do_not_keep_a_conviction_from_anybody(tmp_path: Path) -> None:
    network = BadNetwork(SHORT_WAY, resets=0.2)
    async with split(tmp_path, network) as parts:
        parts.show_two_histories()
        for url in parts.urls:
            await parts.asker.wait_until(url, "evidence", bool)
        convicted = await parts.evidence()
    assert (len(convicted), network.broken > 0) == (len(parts.urls), True)
