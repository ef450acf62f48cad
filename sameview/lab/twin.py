"""The evil twin and its front: one address that serves the honest log until told to serve another tree.

    python -m sameview.lab.twin --listen 127.0.0.1:0 --log URL --key FILE --origin ORIGIN

``GET`` anything: the honest log's answer, until ``POST /lab/fork`` gives a size to fork at and a size to grow to; from
then on, the twin's. The twin has the log's key and copies its entries up to the fork, so that its tree extends what
the victim has verified: the victim alone cannot tell.
"""

import json
import sys
from pathlib import Path

import click
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.client import Client
from runtime.http import bare, read_body, refusal
from runtime.keyfiles import read_signer_key
from runtime.server import open_listener, serve, url_of
from sameview.lab.tree import EMPTY_LOG, ForgedLog, sign_head
from tlog.keys import SignerKey
from tlog.tiles import MAX_BUNDLE_BYTES, TILE_WIDTH, EntryBundle, parse_entries

FETCH_SECONDS = 10
COMMAND_BYTES = 1024  # two small numbers


class Front:
    """What the victim takes for the log."""

    def __init__(self, client: Client, log_url: str, origin: str, key: SignerKey) -> None:
        self._client = client
        self._log_url = log_url
        self._origin = origin
        self._key = key
        self._twin: ForgedLog | None = None

    async def get(self, request: Request) -> Response:
        path = request.path_params["path"]
        if self._twin is None:
            answer = await self._client.fetch(
                "GET", f"{self._log_url}/{path}", cap=MAX_BUNDLE_BYTES, seconds=FETCH_SECONDS
            )
            return bare(answer.status, answer.body, answer.headers.get("content-type", "text/plain; charset=utf-8"))
        if path == "checkpoint":
            return bare(200, sign_head(self._origin, self._twin.head, self._key), "text/plain; charset=utf-8")
        if path in self._twin.files:
            return bare(200, self._twin.files[path], "application/octet-stream")
        return refusal(404, "no such file")

    async def fork(self, request: Request) -> Response:
        """Begin to lie: keep the honest entries below ``at``, and write others up to ``size``."""
        command = json.loads(await read_body(request, COMMAND_BYTES))
        at, size = int(command["at"]), int(command["size"])
        honest = await self._entries(at)
        self._twin = EMPTY_LOG.extend(honest).extend([b"never shown to anyone else: %d" % i for i in range(at, size)])
        return bare(200, sign_head(self._origin, self._twin.head, self._key), "text/plain; charset=utf-8")

    async def _entries(self, size: int) -> list[bytes]:
        """The honest log's first entries, read as anybody would."""
        entries: list[bytes] = []
        while len(entries) < size:
            width = min(TILE_WIDTH, size - len(entries))
            path = EntryBundle(len(entries) // TILE_WIDTH, width).path()
            answer = await self._client.fetch(
                "GET", f"{self._log_url}/{path}", cap=MAX_BUNDLE_BYTES, seconds=FETCH_SECONDS
            )
            entries += parse_entries(answer.body, width)
        return entries


def app(front: Front) -> Starlette:
    """The front's HTTP interface."""
    return Starlette(
        routes=[Route("/lab/fork", front.fork, methods=["POST"]), Route("/{path:path}", front.get, methods=["GET"])]
    )


async def _serve(listen: str, log_url: str, origin: str, key: SignerKey) -> None:
    listener = await open_listener(listen)
    async with Client() as client:
        front = app(Front(client, log_url, origin, key))
        with trio.open_signal_receiver(15, 2) as signals:
            async with trio.open_nursery() as nursery:
                drain = trio.Event()
                nursery.start_soon(lambda: serve(front, [listener], drain=drain))
                sys.stdout.write(json.dumps({"event": "ready", "role": "twin", "url": url_of(listener)}) + "\n")
                sys.stdout.flush()
                async for _ in signals:
                    drain.set()
                    break


@click.command()
@click.option("--listen", default="127.0.0.1:0")
@click.option("--log", "log_url", required=True)
@click.option("--origin", required=True)
@click.option("--key", "key_file", required=True, type=click.Path(path_type=Path))
def main(listen: str, log_url: str, origin: str, key_file: Path) -> None:
    """Serve the front."""
    trio.run(_serve, listen, log_url, origin, read_signer_key(key_file))


if __name__ == "__main__":
    main()
