"""What hostile peers cost a monitor process, and what they cost those who are honest with it.

One attack after the other, each on a new monitor. While it lasts, an honest peer sends an empty envelope, again and
again, and waits for the answer: ``honest_ms`` is how long that takes (the same without an attack: ``quiet``), ``late``
how often it was told that there is too much to do. ``memory`` is by how many bytes the monitor's memory had grown at
most, ``processor_share`` how much of a processor it used, ``answers`` how often the attackers were answered what.

    python -m bench.hostile_peers [--short]
"""

import argparse
import json
import math
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import trio

from gossip.core import origin_id
from gossip.messages import Digest, DigestEntry, EvidenceBundle, GetConsistency, Head, Known
from gossip.shell import EXCHANGE_PATH
from tests.e2e.hostile import Flood, Slow, Target, sealed, several, target, wild_heads
from tests.e2e.monitors import places, serving
from tests.fakes_log import FakeLog, signer
from tlog.evidence import same_size
from tlog.keys import SignerKey
from tlog.signed_checkpoint import open_checkpoint

SIZE = 1000
CONNECTIONS = 8
MB = 1024 * 1024
H = b"h" * 32
PAUSE_SECONDS = 0.02  # between two honest envelopes


@dataclass(frozen=True, slots=True)
class Scene:
    """The monitor, its log, and who attacks."""

    log: FakeLog
    target: Target
    honest: SignerKey
    hostile: SignerKey

    def envelopes(self, *messages: Known) -> Iterator[bytes]:
        """The same messages, in ever new envelopes."""
        value = several(*messages)
        while True:
            yield sealed(self.hostile, self.target.place.peer, value)


Attack = Callable[[Scene, Flood], Awaitable[None]]


async def _nothing(scene: Scene, flood: Flood) -> None:
    await trio.sleep_forever()


async def _empty_envelopes(scene: Scene, flood: Flood) -> None:
    await flood.run(scene.target.address, scene.envelopes(), CONNECTIONS, EXCHANGE_PATH)


async def _requests(scene: Scene, flood: Flood) -> None:
    """Everything that makes the monitor work: digests of what it lacks, proofs of sizes that it has."""
    id_ = origin_id(scene.log.origin)
    entries = tuple(DigestEntry(number.to_bytes(32, "big"), number, H, 1) for number in range(500))
    asks = [GetConsistency(id_, size, SIZE) for size in range(1, 500)]
    bodies = scene.envelopes(Digest(None, 0, entries, False), *asks)
    await flood.run(scene.target.address, bodies, CONNECTIONS, EXCHANGE_PATH)


async def _unknown_origins(scene: Scene, flood: Flood) -> None:
    heads = [Head(number.to_bytes(32, "big"), b"x" * 500, 1, None, ()) for number in range(500)]
    await flood.run(scene.target.address, scene.envelopes(*heads), CONNECTIONS, EXCHANGE_PATH)


async def _spam_heads(scene: Scene, flood: Flood) -> None:
    """Heads that the log did sign, none of them twice."""

    def bodies() -> Iterator[bytes]:
        sizes = iter(range(10_000, 10_000_000))
        while True:
            heads = wild_heads(scene.log, origin_id(scene.log.origin), list(islice(sizes, 20)))
            yield sealed(scene.hostile, scene.target.place.peer, several(*heads))

    await flood.run(scene.target.address, bodies(), CONNECTIONS, EXCHANGE_PATH)


async def _evidence_copies(scene: Scene, flood: Flood) -> None:
    """One conviction of the log in ever other bytes."""
    twin = scene.log.fork(SIZE - 1)
    twin.add(1, "twin")
    keys = [scene.log.key.verifier_key]
    one, other = (open_checkpoint(log.sign(SIZE), keys) for log in (scene.log, twin))
    bundle = same_size(one, other).format()

    def bodies() -> Iterator[bytes]:
        numbers = iter(range(10_000_000))
        while True:
            lines = [b"\n\xe2\x80\x94 nobody%d aGVsbG93b3JsZA==\n--\n" % number for number in islice(numbers, 10)]
            copies = [EvidenceBundle(2, bundle.replace(b"\n--\n", line)) for line in lines]
            yield sealed(scene.hostile, scene.target.place.peer, several(*copies))

    await flood.run(scene.target.address, bodies(), CONNECTIONS, EXCHANGE_PATH)


async def _nested_arrays(scene: Scene, flood: Flood) -> None:
    """Half a megabyte of arrays, which take long to read and are refused."""
    value = b"\xdc\x08\x00" + (b"\xdc\x00\xff" + b"\x90" * 255) * 2048

    def bodies() -> Iterator[bytes]:
        while True:
            yield sealed(scene.hostile, scene.target.place.peer, value)

    await flood.run(scene.target.address, bodies(), CONNECTIONS, EXCHANGE_PATH)


async def _strangers(scene: Scene, flood: Flood) -> None:
    """A megabyte each, by somebody unknown."""
    body = sealed(signer("stranger"), scene.target.place.peer, b"\x91" * (MB - 400))
    await flood.run(scene.target.address, iter(lambda: body, b""), CONNECTIONS * 4, EXCHANGE_PATH)


async def _slow_strangers(scene: Scene, flood: Flood) -> None:
    """Bodies of a byte a second, bodies without their last byte, heads without an end."""
    slow = Slow(scene.target.address)
    body = sealed(signer("stranger"), scene.target.place.peer, b"\x91" * (MB - 400))
    async with trio.open_nursery() as attacks:
        attacks.start_soon(slow.half_open, 50)
        attacks.start_soon(slow.drip, 200, MB)
        attacks.start_soon(slow.almost, 100, body)


async def _held_open(scene: Scene, flood: Flood) -> None:
    bodies = list(islice(scene.envelopes(), 300))
    await Slow(scene.target.address).poll(bodies)


ATTACKS: dict[str, Attack] = {
    "quiet": _nothing,
    "empty_envelopes": _empty_envelopes,
    "requests": _requests,
    "unknown_origins": _unknown_origins,
    "spam_heads": _spam_heads,
    "evidence_copies": _evidence_copies,
    "nested_arrays": _nested_arrays,
    "strangers": _strangers,
    "slow_strangers": _slow_strangers,
    "held_open": _held_open,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--short", action="store_true", help="half a second of each attack")
    seconds = 0.5 if options.parse_args().short else 5.0
    figures = {name: trio.run(_measure, attack, seconds) for name, attack in ATTACKS.items()}
    print(json.dumps({"bench": "hostile_peers", "seconds": seconds, "figures": figures}))


async def _measure(attack: Attack, seconds: float) -> dict[str, object]:
    log = FakeLog()
    log.add(SIZE)
    log.publish()
    with tempfile.TemporaryDirectory() as folder, trio.fail_after(120.0):
        async with serving(log) as front:
            place, honest, hostile = await places(Path(folder), [front] * 3)
            async with target(place) as attacked:
                await attacked.asker.wait_for_size(attacked.url, SIZE)
                return await _under_attack(Scene(log, attacked, honest.peer, hostile.peer), attack, seconds)


async def _under_attack(scene: Scene, attack: Attack, seconds: float) -> dict[str, object]:
    flood, watch = Flood(), _Watch(scene)
    await watch.ask()
    memory, used = await scene.target.memory(), await scene.target.metric("process_cpu_seconds_total")
    watch.milliseconds.clear()
    began = trio.current_time()
    async with trio.open_nursery() as attacks:
        attacks.start_soon(attack, scene, flood)
        with trio.move_on_after(seconds):
            while True:
                await watch.ask()
                await trio.sleep(PAUSE_SECONDS)
        lasted = trio.current_time() - began
        used = await scene.target.metric("process_cpu_seconds_total") - used
        grown = await scene.target.memory() - memory
        attacks.cancel_scope.cancel()
    return {
        "honest_ms": watch.spread(),
        "late": watch.late,
        "memory": round(grown),
        "processor_share": round(used / lasted, 2),
        "answers": dict(sorted(flood.statuses.items())),
    }


class _Watch:
    """The honest peer, and how long it had to wait."""

    def __init__(self, scene: Scene) -> None:
        self.milliseconds: list[float] = []
        self.late = 0
        self._ask = partial(sealed, scene.honest, scene.target.place.peer)
        self._target = scene.target

    async def ask(self) -> None:
        began = trio.current_time()
        status = await self._target.post(self._ask())
        self.milliseconds.append((trio.current_time() - began) * 1000)
        self.late += status == 429

    def spread(self) -> dict[str, float]:
        ordered = sorted(self.milliseconds) or [math.nan]
        middle, most = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        return {"p50": round(middle, 1), "p99": round(most, 1), "max": round(ordered[-1], 1)}


if __name__ == "__main__":
    main()
