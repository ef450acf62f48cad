"""One monitor process follows a thousand logs, some of which never answer."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import trio

from runtime.client import Client
from tests.e2e.monitors import Asker, create
from tests.e2e.test_monitor_disk import process_of
from tests.e2e.test_monitor_kills import place_for
from tests.fakes_log import FakeLog
from tests.logs_served import served, whole
from tests.ports import free_port
from tests.tree_on_disk import TreeOnDisk
from tlog.policy import Policy, PolicyLog

LOGS = 1000
SILENT = 20
SECONDS = 600.0  # it takes a tenth of that where nobody else is at work


async def until(asker: Asker, url: str, holds: Callable[[list[int]], bool]) -> None:
    """Wait until it holds for the sizes of the branches."""
    while True:
        answer = await asker.client.fetch("GET", f"{url}/v1/heads", cap=10_000_000, seconds=SECONDS)
        if holds([head["size"] for head in msgspec.json.decode(answer.body)["heads"]]):
            return
        await trio.sleep(2)


async def test_a_thousand_logs_are_followed_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)  # being measured takes it three times as long
    logs = {f"log.example/{number}": FakeLog(origin=f"log.example/{number}") for number in range(LOGS)}
    for log in logs.values():
        log.add(3)
        log.publish(witnesses=())

    async def answer(path: str, stream: trio.SocketStream) -> None:
        name, _, rest = path.partition("/-/")
        if int(name.removeprefix("log.example/")) < SILENT:
            await trio.sleep_forever()
        found = logs[name].serve(rest)
        await stream.send_all(whole(404) if found is None else whole(200, found))

    port = free_port()
    first = TreeOnDisk(tmp_path / "log", FakeLog())
    place = place_for(tmp_path / "m", port, first)
    keys = [log.key.verifier_key for log in logs.values()]
    rules = Policy(tuple(PolicyLog(key) for key in keys), (), (), None)
    (place.folder / "0.txt").write_bytes(rules.format())
    with trio.fail_after(SECONDS):
        async with served(answer) as there, Client() as client:
            head, _, _ = place.config.read_text().partition("[[log]]")
            entries = "".join(f'[[log]]\norigin = "{name}"\nurl = "{there.url}/{name}/-"\n' for name in logs)
            place.config.write_text(head.replace("poll_interval = 0.05", "poll_interval = 10.0") + entries)
            await create(place)
            async with process_of(place, tmp_path / "stderr") as (process, _):
                asker = Asker(client)
                await until(asker, place.url, lambda sizes: sizes.count(3) == LOGS - SILENT)
                log = logs[f"log.example/{LOGS - 1}"]
                log.add(2)
                log.publish(witnesses=())
                await until(asker, place.url, lambda sizes: sizes.count(5) == 1)
                assert process.poll() is None
