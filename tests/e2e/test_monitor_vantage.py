"""A whole monitor with a second way to its log, through a real proxy that leads to somebody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.client import Client
from tests.e2e.monitors import Asker, Place, create, places, running, serving
from tests.fakes_log import FakeLog
from tests.proxies import Proxy, proxy

LIMITS = "\n[alarms]\nvantage_split = 1.0\n\n"


def grown(size: int) -> FakeLog:
    log = FakeLog()
    log.add(size)
    log.publish()
    return log


@asynccontextmanager
async def watched(folder: Path, log: FakeLog, elsewhere: FakeLog) -> AsyncIterator[tuple[Place, Proxy, Asker]]:
    """A monitor that reads a log, and through the proxy whatever the log shows elsewhere."""
    async with serving(log) as here, serving(elsewhere) as there, proxy(there.url) as way, Client() as client:
        (place,) = await places(folder, [here])
        text = place.config.read_text().replace("[[log]]", f'{LIMITS}[[log]]\nvantage_proxy = "{way.url}"')
        place.config.write_text(text)
        await create(place)
        async with running(place):
            yield place, way, Asker(client)


async def test_a_fork_that_only_the_proxys_network_is_shown_convicts_the_log(tmp_path: Path) -> None:
    log = grown(300)
    twin = log.fork(100)
    twin.add(600, "another")
    twin.published = twin.sign(None, ())
    async with watched(tmp_path, log, twin) as (place, way, asker):
        (found,) = await asker.wait_until(place.url, "evidence", bool)
        assert found["type"] == "non-consistent"
        assert any(url.endswith("/checkpoint") for url in way.asked)
        assert any("/tile/" in url for url in way.asked)
        assert twin.asked.count("checkpoint") >= 1
        alarms = await asker.wait_until(place.url, "alarms", bool)
        assert {alarm["evidence"] for alarm in alarms if alarm["kind"] == "convicted"} == {found["id"]}


async def test_a_tree_that_nobody_can_explain_is_an_alarm(tmp_path: Path) -> None:
    log = grown(300)
    more = log.fork(300)
    more.add(40)
    more.published = more.sign(None, ())
    async with watched(tmp_path, log, more) as (place, _, asker):
        (alarm,) = await asker.wait_until(
            place.url, "alarms", lambda found: [one for one in found if one["kind"] == "vantage-split"]
        )
        assert (alarm["origin"], alarm["proof"], alarm["evidence"]) == (log.origin, False, None)
        assert "not explained" in alarm["detail"]
