"""Envelopes a second that a monitor takes on one processor, each with one HEAD, with its database on disk.

32 peers send at once, each with one request in flight, about ten logs that the monitor follows. Envelopes go through
``Gossip.answer``, that is without HTTP: opened, acted on by the machine and the real monitor, and answered.

    known   the head of the branch, as every peer sends it again and again: nothing is written
    older   heads below the branch that were never seen: judged by the mirror, and nothing is written
    new     heads beyond the branch that were never seen: each is on disk before its envelope is answered

The processor is shared by all threads of the monitor. ``per_second`` is by the clock, with the waits for the disk and
for whatever else runs on this machine; ``per_core`` is by the processor time of the process. ``ratio`` is that of
``new``, by processor time: what cannot be saved (the envelope's and the head's signature checked by PyNaCl, and the
answer's made) by what an envelope takes.

    python -m bench.envelopes [--short]
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import trio
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair

from bench._load import pin
from gossip.core import Log
from gossip.envelope import Envelope, peer_id, seal
from gossip.messages import PENDING, Head, format_message
from gossip.shell import Gossip, Peer, Reply
from monitor.__main__ import World, _init, open_parts
from monitor.config import MonitorSettings, NamedPeer, WatchedLog
from monitor.look import look
from runtime.client import Response
from runtime.clock import SystemClock
from tests.fakes_log import FakeLog, policy, signer
from tests.forks import Tree
from tests.keys import log_key
from tlog.checkpoint import Checkpoint
from tlog.hashing import HASH_SIZE, Hash, TreeHead
from tlog.keys import KeyType, SignerKey
from tlog.note import Note, message_to_sign, signature_line

PEERS = 32
LOGS = 10
LEAVES = 2000
TARGET_PER_CORE = 1000
ME = signer("monitor.example/m1")
OTHERS = [signer(f"monitor.example/peer{number}") for number in range(PEERS)]


@dataclass(frozen=True, slots=True)
class Internet:
    """The logs, by the beginning of their URLs."""

    logs: Mapping[str, FakeLog]

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        cap: int,
        seconds: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        gunzip: bool = False,
    ) -> Response:
        await trio.lowlevel.checkpoint()
        base, _, path = url.removeprefix("http://").partition("/")
        found = self.logs[base].serve(path)
        return Response(404, {}, b"") if found is None else Response(200, {}, found)

    async def post(self, url: str, body: bytes, seconds: float) -> Reply:
        raise AssertionError("nobody is dialled here")


def settings(folder: Path, logs: Mapping[str, FakeLog], others: Sequence[SignerKey]) -> MonitorSettings:
    return MonitorSettings(
        name="monitor.example/m1",
        listen="",
        operator_listen=None,
        data=folder / "data",
        register=folder / "register",
        peer_key=ME,
        observer_key=signer("monitor.example/m1-observer", KeyType.COSIGNATURE_ED25519),
        mirror_bytes=10**9,
        poll_interval=1.0,
        gossip_interval=10.0,
        reachable=True,
        logs=tuple(
            WatchedLog(Log(log.origin, (log.key.verifier_key,), policy(log.key)), f"http://{name}")
            for name, log in logs.items()
        ),
        peers=tuple(NamedPeer(key.name, Peer(key.verifier_key), None, "", anchor=False) for key in others),
    )


def grown(count: int, size: int) -> dict[str, FakeLog]:
    """Logs of one size each, by the names of their hosts."""
    logs = {}
    for number in range(count):
        log = FakeLog(origin=f"log.example/{number}", key=log_key(f"log.example/{number}"))
        log.add(size)
        log.publish()
        logs[f"log{number}"] = log
    return logs


def request(sender: SignerKey, origin: bytes, note: bytes, now_ms: int) -> bytes:
    message = format_message(Head(origin, note, PENDING, None, ()))
    ids = peer_id(sender.verifier_key), peer_id(ME.verifier_key)
    return seal(Envelope(*ids, now_ms, secrets.token_bytes(16), None, (message,)), sender)


def note_of(log: FakeLog, head: TreeHead) -> bytes:
    text = Checkpoint(log.origin, head.size, head.root_hash).format()
    signature = log.key.sign(message_to_sign(log.key.verifier_key, text, 0))
    return Note(text, (signature_line(log.key.verifier_key, 0, signature),)).format()


def known(log: FakeLog, _tree: Tree, _number: int) -> bytes:
    return log.published


def older(log: FakeLog, tree: Tree, number: int) -> bytes:
    return note_of(log, tree.head(LEAVES - 1 - number))


def new(log: FakeLog, _tree: Tree, number: int) -> bytes:
    return note_of(log, TreeHead(LEAVES + 1 + number, Hash(secrets.token_bytes(HASH_SIZE))))


async def rates_of(gossip: Gossip, lanes: Sequence[Sequence[bytes]]) -> tuple[float, float]:
    """Envelopes a second, by the clock and by processor time, each peer sending one after the other."""

    async def send(lane: Sequence[bytes]) -> None:
        for raw in lane:
            await gossip.answer(raw)

    started, spent = perf_counter(), process_time()
    async with trio.open_nursery() as senders:
        for lane in lanes:
            senders.start_soon(send, lane)
    count = sum(map(len, lanes))
    return count / (perf_counter() - started), count / (process_time() - spent)


async def measure(each: int) -> dict[str, object]:
    clock = SystemClock()
    logs = grown(LOGS, LEAVES)
    trees = {name: Tree(log.leaves) for name, log in logs.items()}
    internet = Internet(logs)
    rates: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = settings(Path(folder), logs, OTHERS)
        await _init(chosen)
        world = World(clock, internet.fetch, internet.post)
        async with open_parts(chosen, world) as parts, trio.open_nursery() as nursery:
            parts.monitor.connect(parts.gossip, nursery)
            for origin, site in parts.monitor.sites.items():
                await look(parts.monitor, origin)
                signed = parts.monitor.branch(origin).pending[0].signed
                await site.follower.follow(signed)
            for make in (known, older, new):
                now_ms = clock.now_ms()
                lanes: list[list[bytes]] = [[] for _ in OTHERS]
                for number in range(each * PEERS):
                    name = f"log{number % LOGS}"
                    note = make(logs[name], trees[name], number // LOGS)
                    origin = next(w.log.id for w in chosen.logs if w.log.origin == logs[name].origin)
                    lanes[number % PEERS].append(request(OTHERS[number % PEERS], origin, note, now_ms))
                rates[make.__name__] = await rates_of(parts.gossip, lanes)
            nursery.cancel_scope.cancel()
    bare = bare_us(each * 4)
    return {
        "bench": "envelopes",
        "envelopes": each * PEERS,
        "peers": PEERS,
        "logs": LOGS,
        "figures": {
            **{f"{name}_per_second": round(by_clock) for name, (by_clock, _) in rates.items()},
            **{f"{name}_per_core": round(by_processor) for name, (_, by_processor) in rates.items()},
            "bare_us": round(bare, 1),
        },
        "ratio": round(rates["new"][1] * bare / 1e6, 3),
        "target_per_core": TARGET_PER_CORE,
    }


def bare_us(count: int) -> float:
    """Microseconds for two signatures to be verified and one to be made, of what envelopes and notes are as long as."""
    public, secret = crypto_sign_seed_keypair(bytes(32))
    envelope, note = crypto_sign(bytes(450), secret), crypto_sign(bytes(80), secret)
    started = process_time()
    for _ in range(count):
        crypto_sign_open(envelope, public)
        crypto_sign_open(note, public)
        crypto_sign(bytes(150), secret)
    return (process_time() - started) / count * 1e6


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer envelopes")
    pin(min(os.sched_getaffinity(0)))
    print(json.dumps(trio.run(measure, 10 if parser.parse_args(arguments).short else 120)))


if __name__ == "__main__":
    main(sys.argv[1:])
