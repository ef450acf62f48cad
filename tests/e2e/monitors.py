"""Real monitors and a log in memory, over real HTTP on loopback, within one process."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.__main__ import _init, run
from monitor.config import read_settings
from runtime.client import Client
from runtime.daemon import Ready
from runtime.keyfiles import write_signer_key
from runtime.server import open_listener, serve, url_of
from tests.fakes_log import FakeLog, policy, signer
from tests.ports import free_ports
from tlog.keys import KeyType, SignerKey
from tlog.policy import Policy

POLL_SECONDS = 0.05  # as often as a monitor can be told to
PATIENCE = 60.0  # seconds: a monitor reacts within some tens of milliseconds; this is for a machine that is busy


@dataclass(slots=True)
class Front:
    """A server in front of a fake log; ``log`` can be exchanged for a twin."""

    log: FakeLog
    url: str
    down: bool = False

    async def answer(self, request: Request) -> Response:
        found = None if self.down else self.log.serve(request.path_params["path"])
        return Response(status_code=503 if self.down else 404) if found is None else Response(found)


@contextlib.asynccontextmanager
async def serving(log: FakeLog) -> AsyncIterator[Front]:
    """Serve a log on a free port."""
    listener = await open_listener("127.0.0.1:0")
    front = Front(log, url_of(listener))
    app = Starlette(routes=[Route("/{path:path}", front.answer)])
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, app, [listener], drain=drain))
        yield front
        drain.set()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one monitor keeps its files, and its keys."""

    folder: Path
    name: str
    peer: SignerKey
    observer: SignerKey
    port: int

    @property
    def config(self) -> Path:
        return self.folder / "monitor.toml"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def places(folder: Path, fronts: Sequence[Front], judge: Policy | None = None, extra: str = "") -> list[Place]:
    """Write the configuration of one monitor per front, all of them peers of each other."""
    found = []
    for number, port in enumerate(free_ports(len(fronts)), 1):
        own = folder / f"m{number}"
        own.mkdir()
        name = f"monitor.example/m{number}"
        peer, observer = signer(name), signer(f"{name}-observer", KeyType.COSIGNATURE_ED25519)
        write_signer_key(own / "peer.key", peer)
        write_signer_key(own / "observer.key", observer)
        (own / "policy.txt").write_bytes((judge or policy()).format())
        found.append(Place(own, name, peer, observer, port))
    for place, front in zip(found, fronts, strict=True):
        place.config.write_text(_config(place, front, [one for one in found if one is not place], extra))
    return found


def _config(place: Place, front: Front, others: Sequence[Place], extra: str) -> str:
    peers = "".join(
        f'[[peer]]\nname = "{other.name}"\nvkey = "{other.peer.verifier_key}"\nurl = "{other.url}"\n'
        f'observer = "{other.observer.verifier_key}"\n'
        for other in others
    )
    return (
        f'name = "{place.name}"\nlisten = "127.0.0.1:{place.port}"\noperator_listen = "127.0.0.1:0"\n'
        'data = "data"\nregister = "register"\npeer_key = "peer.key"\nobserver_key = "observer.key"\n'
        f'policy = "policy.txt"\npoll_interval = {POLL_SECONDS}\ngossip_interval = 0.2\n{extra}'
        f'[[log]]\norigin = "{front.log.origin}"\nurl = "{front.url}"\n{peers}'
    )


async def create(place: Place) -> None:
    """``init``, within this event loop."""
    await _init(read_settings(place.config))


@contextlib.asynccontextmanager
async def running(place: Place) -> AsyncIterator[Ready]:
    """Run a monitor, and drain it at the end."""
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        ready: Ready = await nursery.start(partial(run, read_settings(place.config), drain))
        yield ready
        drain.set()


@contextlib.asynccontextmanager
async def killed(place: Place) -> AsyncIterator[Ready]:
    """Run a monitor, and end it without giving it time for anything."""
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        ready: Ready = await nursery.start(partial(run, read_settings(place.config), drain))
        yield ready
        nursery.cancel_scope.cancel()


Documents = list[dict[str, Any]]


@dataclass(slots=True)
class Asker:
    """Asks monitors, and waits for what is going to happen."""

    client: Client

    async def list(self, url: str, key: str) -> Documents:
        """One of the lists of ``/v1``."""
        found = await self._look(url, key)
        assert found is not None
        return found

    async def _look(self, url: str, key: str) -> Documents | None:
        """None while the monitor is asked too often for its budget, or is too busy."""
        response = await self.client.fetch("GET", f"{url}/v1/{key}", cap=10_000_000, seconds=PATIENCE)
        if response.status in (429, 503):
            return None
        found: Documents = msgspec.json.decode(response.body)[key]
        return found

    async def wait_until(self, url: str, key: str, check: Callable[[Documents], object]) -> Documents:
        """Ask again and again until it is so."""
        with trio.fail_after(PATIENCE):
            while True:
                found = await self._look(url, key)
                if found is not None and check(found):
                    return found
                await trio.sleep(POLL_SECONDS)

    async def wait_for_size(self, url: str, size: int) -> dict[str, Any]:
        """Wait until the first log's branch has this size."""
        heads = await self.wait_until(url, "heads", lambda found: found[0]["size"] >= size)
        return heads[0]

    async def ask(self, url: str, note: bytes) -> dict[str, Any]:
        """Show a checkpoint."""
        response = await self.client.fetch("POST", f"{url}/v1/ask", body=note, cap=1_000_000, seconds=PATIENCE)
        found: dict[str, Any] = msgspec.json.decode(response.body)
        return found
