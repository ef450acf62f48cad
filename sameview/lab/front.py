"""The front: what a viewer takes for the logs. It passes on what a log says until it is told to show something else.

    python -m sameview.lab.front --config front.json

``GET /<log>/<viewer>/<path>`` is the honest log's answer, until ``POST /lab/<log>/<viewer>/<lie>`` changes what this
one viewer is shown of this one log:

    fork      another tree from some index on, which the log's key signs, and whoever else lends a key
    rollback  a smaller tree than was shown before, signed now, with the time
    freeze    what is shown now, for ever
    thaw      the truth again

The front has the log's keys and copies its entries, so that a fork extends whatever the viewer has verified: the viewer
alone cannot tell. ``GET /lab/<log>/<viewer>`` says when the lie was looked at for the first time.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtime.client import Client
from runtime.client import Response as Answer
from runtime.clock import Clock, SystemClock
from runtime.config import resolve
from runtime.daemon import Node, Ready, run_daemon, serve_node
from runtime.http import bare, read_body, refusal
from runtime.keyfiles import read_signer_key
from sameview.lab.tree import EMPTY_LOG, ForgedLog, add_signature, sign_head
from tlog.checkpoint import Checkpoint
from tlog.keys import KeyType, SignerKey
from tlog.note import Note
from tlog.tiles import MAX_BUNDLE_BYTES, TILE_WIDTH, EntryBundle, parse_entries

FETCH_SECONDS = 10
COMMAND_BYTES = 4096
TEXT = "text/plain; charset=utf-8"
FORGED_ENTRY = "never shown to anyone else"

_PROOF = re.compile(r"v1/proofs/entry/([0-9]{1,9})")


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One log: where the honest one is, and the keys it shares with its twin."""

    origin: str
    url: str
    keys: list[str]


class FrontConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``front.json``; key files are named relative to it."""

    listen: str
    logs: dict[str, LogConfig]
    cosigners: dict[str, list[str]]


class Lie(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a command says: which tree to show, and whose keys besides the log's sign it."""

    at: int = 0
    size: int = 0
    cosigners: list[str] = []
    entry: str = FORGED_ENTRY


@dataclass(frozen=True, slots=True)
class Site:
    """A log as the front has it."""

    origin: str
    url: str
    keys: tuple[SignerKey, ...]


@dataclass(slots=True)
class Shown:
    """What one viewer is shown instead of the truth."""

    note: bytes
    tree: ForgedLog
    first_shown_ms: int | None = None


MakeShown = Callable[[Site, Lie], Awaitable[Shown]]


class Front:
    """What viewers take for the logs."""

    def __init__(
        self,
        client: Client,
        sites: Mapping[str, Site],
        cosigners: Mapping[str, tuple[SignerKey, ...]],
        clock: Clock,
    ) -> None:
        self._client = client
        self._sites = sites
        self._cosigners = cosigners
        self._clock = clock
        self._shown: dict[tuple[str, str], Shown] = {}

    def app(self) -> Starlette:
        """The front's HTTP interface."""
        lies = {"fork": self._fork, "rollback": self._rollback, "freeze": self._freeze}
        return Starlette(
            routes=[
                *(
                    Route(f"/lab/{{log}}/{{viewer}}/{name}", partial(self._lie, make), methods=["POST"])
                    for name, make in lies.items()
                ),
                Route("/lab/{log}/{viewer}/thaw", self._thaw, methods=["POST"]),
                Route("/lab/{log}/{viewer}", self._first_shown, methods=["GET"]),
                Route("/{log}/{viewer}/{path:path}", self._get, methods=["GET"]),
            ]
        )

    async def _get(self, request: Request) -> Response:
        path = str(request.path_params["path"])
        shown = self._shown.get(_place(request))
        if shown is None:
            return await self._pass_on(self._sites[request.path_params["log"]], path)
        if path == "checkpoint":
            shown.first_shown_ms = shown.first_shown_ms or self._clock.now_ms()
            return bare(200, shown.note, TEXT)
        if (found := _PROOF.fullmatch(path)) and int(found[1]) < shown.tree.edge.size:
            return bare(200, shown.tree.prove(int(found[1]), shown.note), TEXT)
        if path in shown.tree.files:
            return bare(200, shown.tree.files[path], "application/octet-stream")
        return refusal(404, "no such file")

    async def _pass_on(self, site: Site, path: str) -> Response:
        answer = await self._ask(site, path)
        return bare(answer.status, answer.body, answer.headers.get("content-type", TEXT))

    async def _lie(self, make: MakeShown, request: Request) -> Response:
        command = msgspec.json.decode(await read_body(request, COMMAND_BYTES), type=Lie)
        shown = await make(self._sites[request.path_params["log"]], command)
        self._shown[_place(request)] = shown
        return bare(200, shown.note, TEXT)

    async def _thaw(self, request: Request) -> Response:
        self._shown.pop(_place(request), None)
        return bare(200, b"", TEXT)

    async def _first_shown(self, request: Request) -> Response:
        shown = self._shown.get(_place(request))
        return JSONResponse({"first_shown_ms": None if shown is None else shown.first_shown_ms})

    # What is shown instead.

    async def _fork(self, site: Site, lie: Lie) -> Shown:
        """Keep the honest entries below ``at``, and write others up to ``size``; no time is signed by the log."""
        forged = [f"{lie.entry} {index}".encode() for index in range(lie.at, lie.size)]
        tree = EMPTY_LOG.extend(await self._entries(site, lie.at)).extend(forged)
        timeless = tuple(key for key in site.keys if key.type is KeyType.ED25519)
        note = sign_head(site.origin, tree.head, timeless)
        for name in lie.cosigners:
            for key in self._cosigners[name]:
                note = add_signature(note, key, self._clock.now())
        return Shown(note, tree)

    async def _rollback(self, site: Site, lie: Lie) -> Shown:
        """An honest tree that was outgrown, signed by all of the log's keys with the time it is now."""
        tree = EMPTY_LOG.extend(await self._entries(site, lie.size))
        return Shown(sign_head(site.origin, tree.head, site.keys, self._clock.now()), tree)

    async def _freeze(self, site: Site, _lie: Lie) -> Shown:
        """What the log shows now, and not a file more."""
        note = (await self._ask(site, "checkpoint")).body
        return Shown(note, EMPTY_LOG.extend(await self._entries(site)))

    async def _entries(self, site: Site, size: int | None = None) -> list[bytes]:
        """The honest log's first entries, or all that it shows, read as anybody would."""
        shown = Checkpoint.parse(Note.parse((await self._ask(site, "checkpoint")).body).text).size
        entries: list[bytes] = []
        while len(entries) < shown:
            width = min(TILE_WIDTH, shown - len(entries))
            path = EntryBundle(len(entries) // TILE_WIDTH, width).path()
            entries += parse_entries((await self._ask(site, path)).body, width)
        return entries if size is None else entries[:size]

    async def _ask(self, site: Site, path: str) -> Answer:
        return await self._client.fetch("GET", f"{site.url}/{path}", cap=MAX_BUNDLE_BYTES, seconds=FETCH_SECONDS)


def _place(request: Request) -> tuple[str, str]:
    return str(request.path_params["log"]), str(request.path_params["viewer"])


@asynccontextmanager
async def _open(path: Path, config: FrontConfig) -> AsyncIterator[Node]:
    """The front as its configuration file describes it."""

    def read(names: list[str]) -> tuple[SignerKey, ...]:
        return tuple(read_signer_key(resolve(path, name)) for name in names)

    sites = {name: Site(log.origin, log.url, read(log.keys)) for name, log in config.logs.items()}
    cosigners = {name: read(keys) for name, keys in config.cosigners.items()}
    async with Client() as client:
        app = Front(client, sites, cosigners, SystemClock()).app()
        yield Node(vkey="", app=app, operator_app=app)


async def _run(
    path: Path, drain: trio.Event, *, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED
) -> None:
    config = msgspec.json.decode(path.read_bytes(), type=FrontConfig)
    await serve_node(_open(path, config), config.listen, None, drain, task_status=task_status)


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path))
@click.pass_context
def main(context: click.Context, config: Path) -> None:
    """Serve the front."""
    context.exit(run_daemon("front", partial(_run, config)))


if __name__ == "__main__":
    main()
