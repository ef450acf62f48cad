"""The watermark of a running monitor over real HTTP: it moves and stops with the witnesses, and survives a kill."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.client import Client
from runtime.clock import SystemClock
from runtime.server import open_listener, serve, url_of
from tests.e2e.monitors import PATIENCE, Front, Place, create, killed, places, running, serving
from tests.fakes_log import ORIGIN, WITNESSES, FakeLog, policy

HASH = sha256(ORIGIN.encode()).hexdigest()
SILENCE_SECONDS = 1.0  # five looks at each witness


@dataclass(slots=True)
class Witnesses:
    """Three witnesses behind one port, each of which cosigns the log's tree, now, whenever it is asked to speak."""

    log: FakeLog
    url: str = ""
    silent: set[str] = field(default_factory=set)

    async def answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.path_params["hash"] != HASH:
            return Response(status_code=404)
        if name in self.silent:
            await trio.sleep_forever()
        key = WITNESSES[int(name[1:]) - 1]
        return Response(self.log.sign(None, [key], time=SystemClock().now()))

    @property
    def config(self) -> str:
        named = (f'[[witness]]\nname = "w{n}"\nmonitoring_url = "{self.url}/w{n}"\n' for n in (1, 2, 3))
        return "witness_interval = 0.2\n" + "".join(named)


@contextlib.asynccontextmanager
async def speaking(log: FakeLog) -> AsyncIterator[Witnesses]:
    listener = await open_listener("127.0.0.1:0")
    found = Witnesses(log, url_of(listener))
    app = Starlette(routes=[Route("/{name}/{hash}/checkpoint", found.answer)])
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, app, [listener], drain=trio.Event()))
        yield found
        nursery.cancel_scope.cancel()  # those who are silent answer nobody any more


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[tuple[Place, Front, Witnesses]]:
    log = FakeLog()
    log.add(5)
    log.publish(time=SystemClock().now() - 60)
    async with serving(log) as front, speaking(log) as witnesses:
        (place,) = await places(folder, [front], extra=witnesses.config)
        await create(place)
        yield place, front, witnesses


async def mark(client: Client, place: Place) -> dict[str, Any]:
    answer = await client.fetch("GET", f"{place.url}/v1/completeness/{HASH}", cap=1 << 20, seconds=PATIENCE)
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def until(client: Client, place: Place, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    with trio.fail_after(PATIENCE):
        while not holds(found := await mark(client, place)):  # noqa: ASYNC110 # another task makes it so
            await trio.sleep(0.05)
    return found


async def test_the_watermark_moves_and_stops_when_two_of_three_witnesses_go_silent(tmp_path: Path) -> None:
    async with stage(tmp_path) as (place, front, witnesses), running(place), Client() as client:
        began = SystemClock().now()
        first = await until(client, place, lambda found: (found["time"] or 0) >= began)
        moved = await until(client, place, lambda found: found["time"] > first["time"])
        witnesses.silent |= {"w1", "w2"}
        await trio.sleep(SILENCE_SECONDS)
        stopped = (await mark(client, place))["time"]
        front.log.add(4)
        front.log.publish(witnesses=(), time=SystemClock().now())  # nobody's quorum: the branch stays
        await until(client, place, lambda found: found["witnesses"][2]["stated"] > stopped + 1)
        still = await mark(client, place)
        assert (still["time"], still["size"], still["time"] >= moved["time"]) == (stopped, 5, True)
        front.log.publish(time=SystemClock().now())
        witnesses.silent.clear()
        again = await until(client, place, lambda found: found["time"] > stopped + 1)
        assert again["size"] == 9


async def test_the_watermark_survives_a_kill_and_a_stranger_verifies_its_certificate(tmp_path: Path) -> None:
    async with stage(tmp_path) as (place, _, witnesses), Client() as client:
        async with killed(place):
            began = SystemClock().now()
            before = await until(client, place, lambda found: (found["time"] or 0) >= began)
        witnesses.silent |= {"w1", "w2", "w3"}
        async with running(place):
            after = await mark(client, place)
            assert after["time"] >= before["time"]
    (tmp_path / "one.tlog-completeness").write_text(after["certificate"])
    (tmp_path / "policy.txt").write_bytes(policy().format())
    command = [sys.executable, "-m", "sameview", "verify", "completeness"]
    done = await trio.run_process(
        [*command, str(tmp_path / "one.tlog-completeness"), "--policy", str(tmp_path / "policy.txt"), "--json"],
        capture_stdout=True,
    )
    assert json.loads(done.stdout)["time"] == after["time"]
