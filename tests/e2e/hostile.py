"""What hostile peers do to a monitor, and the monitor that they do it to: a process of its own, on loopback."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import time_ns

import trio

from gossip.canonical import pack
from gossip.envelope import peer_id
from gossip.messages import Head, Known, format_message
from gossip.shell import EXCHANGE_PATH
from runtime.client import Client
from tests.e2e.monitors import PATIENCE, Asker, Place, create
from tests.fakes_log import FakeLog
from tlog.hashing import Hash, TreeHead
from tlog.keys import SignerKey

ROOT = Path(__file__).resolve().parents[2]
NO_MESSAGES = b"\x90"
_CONTEXT = b"sameview/gossip/v1\0"  # spelled out here: what is refused must not depend on how we write
_NONCES = count(1)


def sealed(
    sender: SignerKey,
    recipient: SignerKey,
    messages: bytes = NO_MESSAGES,
    *,
    seconds: float = 0.0,
    nonce: bytes | None = None,
    in_reply_to: bytes | None = None,
) -> bytes:
    """An envelope around whatever bytes stand for its messages, so many seconds from now, signed as it should be."""
    ends = peer_id(sender.verifier_key), peer_id(recipient.verifier_key)
    now_ms = time_ns() // 1_000_000 + int(seconds * 1000)
    nonce = nonce or next(_NONCES).to_bytes(16, "big")
    fields = pack([1, *ends, now_ms, nonce, in_reply_to, []])[:-1] + messages
    return b"\x98" + fields[1:] + b"\xc4\x40" + sender.sign(_CONTEXT + fields)


def several(*messages: Known) -> bytes:
    """The bytes of some messages."""
    return pack([format_message(message) for message in messages])


def wild_heads(log: FakeLog, origin: bytes, sizes: Sequence[int]) -> Iterator[Head]:
    """Heads that the log signed, of trees that nobody has ever seen."""
    for size in sizes:
        root = Hash(size.to_bytes(32, "big"))
        yield Head(origin, log.sign(witnesses=(), head=TreeHead(size, root)), 2, None, ())


def request(body: bytes, path: str = EXCHANGE_PATH, extra: str = "") -> bytes:
    """A POST."""
    return f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body


@dataclass(frozen=True, slots=True)
class Target:
    """A monitor that runs in a process of its own."""

    place: Place
    operator_url: str
    client: Client
    asker: Asker

    @property
    def url(self) -> str:
        return self.place.url

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.place.port

    async def post(self, body: bytes, path: str = EXCHANGE_PATH, headers: dict[str, str] | None = None) -> int:
        """Post a body; the status of the answer."""
        url = f"{self.url}{path}"
        answer = await self.client.fetch("POST", url, body=body, cap=2_000_000, seconds=PATIENCE, headers=headers)
        return answer.status

    async def post_until_taken(self, body: Callable[[], bytes]) -> int:
        """Post, as often as the answer is that this is too much at once; the status of the last answer."""
        while True:
            status = await self.post(body())
            if status != 429:
                return status
            await trio.sleep(0.1)

    async def deliver(self, sender: SignerKey, *messages: Known) -> int:
        """Send messages as a peer."""
        return await self.post(sealed(sender, self.place.peer, several(*messages)))

    async def exposition(self) -> str:
        answer = await self.client.fetch("GET", f"{self.operator_url}/metrics", cap=1_000_000, seconds=PATIENCE)
        return answer.body.decode()

    async def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric over its labels, or over those series that have this one."""
        with_label = rf"{{.*{re.escape(label)}.*}}" if label else "(?:{.*})?"
        found = re.findall(rf"^{re.escape(name)}{with_label} (\S+)$", await self.exposition(), re.MULTILINE)
        return sum(map(float, found))

    async def series(self) -> set[str]:
        """Every series of the metrics, without its value."""
        lines = (await self.exposition()).split("\n")
        return {line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")}

    async def memory(self) -> float:
        """Bytes of memory that the process holds."""
        return await self.metric("process_resident_memory_bytes")

    def stored(self) -> int:
        """Bytes on its disk."""
        return sum(path.stat().st_size for path in (self.place.folder / "data").rglob("*") if path.is_file())


@asynccontextmanager
async def target(place: Place) -> AsyncIterator[Target]:
    """Run a monitor that has been configured, in a process of its own, and end it."""
    await create(place)
    command = [sys.executable, "-m", "sameview", "monitor", "serve", "--config", str(place.config)]
    with (place.folder / "log").open("ab") as log:
        process = await trio.lowlevel.open_process(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        ready = await _ready(process)
        async with Client() as client:
            yield Target(place, ready["operator_url"], client, Asker(client))
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(PATIENCE):
                await process.wait()
            process.kill()
            await process.wait()


async def _ready(process: trio.Process) -> dict[str, str]:
    if process.stdout is None:
        raise AssertionError("the process has a pipe")
    line = b""
    with trio.fail_after(3 * PATIENCE):
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some()
            if not data:
                raise AssertionError("the monitor ended before it was ready; see the log beside its configuration")
            line += data
    found: dict[str, str] = json.loads(line)
    return found


@dataclass(slots=True)
class Flood:
    """Sends the same kind of request over some connections, one after the other on each, until it is stopped.

    It has begun when there were so many answers.
    """

    many: int = 100
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    begun: trio.Event = field(default_factory=trio.Event)

    async def run(self, address: tuple[str, int], bodies: Iterator[bytes], connections: int, path: str) -> None:
        async with trio.open_nursery() as senders:
            for _ in range(connections):
                senders.start_soon(self._send, address, bodies, path)

    async def _send(self, address: tuple[str, int], bodies: Iterator[bytes], path: str) -> None:
        for body in bodies:
            try:
                async with await trio.open_tcp_stream(*address) as stream:
                    await self._exchange(stream, body, path)
                    for next_body in bodies:
                        await self._exchange(stream, next_body, path)
            except (OSError, trio.BrokenResourceError):
                self.broken += 1
                await trio.sleep(0.01)

    async def _exchange(self, stream: trio.SocketStream, body: bytes, path: str) -> None:
        await stream.send_all(request(body, path))
        self.statuses[await answered(stream)] += 1
        if self.statuses.total() >= self.many:
            self.begun.set()


async def answered(stream: trio.SocketStream) -> int:
    """Read an answer, and return its status."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = await stream.receive_some()
        if not data:
            raise trio.BrokenResourceError
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    left = (int(length[1]) if length else 0) - len(body)
    while left > 0:
        left -= len(await stream.receive_some() or b"\0" * left)
    return int(head[9:12])


@dataclass(frozen=True, slots=True)
class Slow:
    """Opens connections that never get to their end, and holds them."""

    address: tuple[str, int]

    async def half_open(self, number: int) -> None:
        """Connect, and say nothing or half a head."""
        await self._hold(number, b"")
        await self._hold(number, b"POST /gossip/v1/exchange HTTP/1.1\r\nhost: a\r\n")

    async def drip(self, number: int, announced: int) -> None:
        """Announce a body, then send a byte a second of it."""
        head = request(b"\0" * announced)[:-announced]
        async with trio.open_nursery() as drips:
            for _ in range(number):
                drips.start_soon(self._drip, head)

    async def almost(self, number: int, body: bytes) -> None:
        """Send bodies but for their last byte, and wait."""
        await self._hold(number, request(body)[:-1])

    async def poll(self, bodies: Sequence[bytes]) -> None:
        """Ask for answers that may take as long as they can."""
        async with trio.open_nursery() as held:
            for body in bodies:
                held.start_soon(self._wait, request(body, f"{EXCHANGE_PATH}?wait=25"))

    async def _hold(self, number: int, data: bytes) -> None:
        async with trio.open_nursery() as held:
            for _ in range(number):
                held.start_soon(self._wait, data)

    async def _wait(self, data: bytes) -> None:
        try:
            async with await trio.open_tcp_stream(*self.address) as stream:
                await stream.send_all(data)
                while await stream.receive_some():
                    pass
        except (OSError, trio.BrokenResourceError):
            pass  # it was thrown out

    async def _drip(self, head: bytes) -> None:
        try:
            async with await trio.open_tcp_stream(*self.address) as stream:
                await stream.send_all(head)
                while True:
                    await stream.send_all(b"\0")
                    await trio.sleep(1.0)
        except (OSError, trio.BrokenResourceError):
            pass
