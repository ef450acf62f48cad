"""A monitor without scruples: it has a peer key and an observer key, and states whatever it is told to, to whomever.

    python -m sameview.lab.liar --config m4.json

``POST /lab/say/<peer>`` with a signed checkpoint as body: the liar's observer signs it, as the largest tree that it has
seen by now, and a HEAD message carries that to the peer in an envelope of the gossip protocol. The answer is the note
that was sent. Each statement is made in a later second than the one before, since times are what convicts.

It needs no URL of its own among the peers: it calls them, and whatever their answers say does not interest it.
"""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import msgspec
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gossip.core import origin_id
from gossip.envelope import MAX_ENVELOPE_BYTES, NONCE_BYTES, Envelope, peer_id, seal
from gossip.messages import VERIFIED, Head, format_message
from gossip.shell import ENVELOPE_TYPE, EXCHANGE_PATH
from runtime.client import Client
from runtime.clock import Clock, SystemClock
from runtime.config import resolve
from runtime.daemon import Node, Ready, run_daemon, serve_node
from runtime.http import bare, read_body, refusal
from runtime.keyfiles import read_signer_key
from sameview.lab.tree import add_signature
from tlog.checkpoint import Checkpoint
from tlog.keys import SignerKey, VerifierKey
from tlog.note import MAX_NOTE_BYTES, Note

SEND_SECONDS = 10
WAIT_SECONDS = 0.05  # between two looks at a clock that has to reach the next second
TEXT = "text/plain; charset=utf-8"


class PeerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monitor to lie to."""

    vkey: str
    url: str


class LiarConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration file; key files are named relative to it."""

    listen: str
    peer_key: str
    observer_key: str
    peers: dict[str, PeerConfig]


@dataclass(frozen=True, slots=True)
class Peer:
    """A monitor that takes the liar for one of its own."""

    key: VerifierKey
    url: str


class Liar:
    """States any view."""

    def __init__(
        self, client: Client, peer_key: SignerKey, observer_key: SignerKey, peers: Mapping[str, Peer], clock: Clock
    ) -> None:
        self._client = client
        self._peer_key = peer_key
        self._observer_key = observer_key
        self._peers = peers
        self._clock = clock
        self._said_at = 0

    def app(self) -> Starlette:
        """How the liar is told what to say."""
        return Starlette(routes=[Route("/lab/say/{peer}", self._say, methods=["POST"])])

    async def _say(self, request: Request) -> Response:
        peer = self._peers[request.path_params["peer"]]
        note = await self._stated(await read_body(request, MAX_NOTE_BYTES))
        answer = await self._client.fetch(
            "POST", peer.url + EXCHANGE_PATH, body=self._envelope(peer, note), headers={"content-type": ENVELOPE_TYPE},
            cap=MAX_ENVELOPE_BYTES, seconds=SEND_SECONDS,
        )  # fmt: skip
        if answer.status != 200:
            return refusal(502, f"the monitor answered {answer.status}")
        return bare(200, note, TEXT)

    async def _stated(self, note: bytes) -> bytes:
        """The observer's word that this is the largest tree it has seen, in a second of its own."""
        while self._clock.now() <= self._said_at:  # noqa: ASYNC110  # nobody announces the next second
            await trio.sleep(WAIT_SECONDS)
        self._said_at = self._clock.now()
        return add_signature(note, self._observer_key, self._said_at)

    def _envelope(self, peer: Peer, note: bytes) -> bytes:
        origin = origin_id(Checkpoint.parse(Note.parse(note).text).origin)
        message = format_message(Head(origin, note, VERIFIED, None, ()))
        me, nonce = peer_id(self._peer_key.verifier_key), secrets.token_bytes(NONCE_BYTES)
        envelope = Envelope(me, peer_id(peer.key), self._clock.now_ms(), nonce, None, (message,))
        return seal(envelope, self._peer_key)


@asynccontextmanager
async def _open(path: Path, config: LiarConfig) -> AsyncIterator[Node]:
    """The liar as its configuration file describes it."""
    peer_key, observer_key = (read_signer_key(resolve(path, name)) for name in (config.peer_key, config.observer_key))
    peers = {name: Peer(VerifierKey.parse(peer.vkey), peer.url) for name, peer in config.peers.items()}
    async with Client() as client:
        app = Liar(client, peer_key, observer_key, peers, SystemClock()).app()
        yield Node(vkey=observer_key.verifier_key.format(), app=app, operator_app=app)


async def _run(
    path: Path, drain: trio.Event, *, task_status: trio.TaskStatus[Ready] = trio.TASK_STATUS_IGNORED
) -> None:
    config = msgspec.json.decode(path.read_bytes(), type=LiarConfig)
    await serve_node(_open(path, config), config.listen, None, drain, task_status=task_status)


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path))
@click.pass_context
def main(context: click.Context, config: Path) -> None:
    """Serve the liar."""
    context.exit(run_daemon("liar", partial(_run, config)))


if __name__ == "__main__":
    main()
