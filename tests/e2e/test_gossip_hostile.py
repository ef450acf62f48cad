"""A monitor process among hostile peers: they are refused as specified, it does not grow, and the honest are heard."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import trio

from gossip.core import origin_id
from gossip.core.state import MAX_PENDING
from gossip.envelope import peer_id
from gossip.messages import Digest, DigestEntry, EvidenceBundle, GetConsistency, GetTile, Head, Known, Summary
from gossip.shell import EXCHANGE_PATH
from monitor.store import MAX_UNSETTLED
from runtime.client import Client
from tests.e2e.hostile import Flood, Slow, Target, sealed, several, target, wild_heads
from tests.e2e.monitors import PATIENCE, Asker, create, places, running, serving
from tests.fakes_log import FakeLog, signer
from tlog.evidence import same_size
from tlog.keys import SignerKey
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint

SIZE = 20
MB = 1024 * 1024
MAX_GROWTH = 48 * MB  # what is read at once for strangers, what peers may send at once, and an allocator's leftovers
OTHER = "log.example/spam"
H = b"h" * 32
SUMMARY = Summary(1, 1, H, H, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Scene:
    """A monitor that follows a log, one honest peer's key, and one hostile peer's."""

    log: FakeLog
    target: Target
    honest: SignerKey
    hostile: SignerKey

    def sealed(self, messages: bytes = b"\x90", **changes: float | bytes) -> bytes:
        """An envelope by the hostile peer."""
        return sealed(self.hostile, self.target.place.peer, messages, **changes)  # type: ignore[arg-type]  # by name

    def bundle(self, size: int = SIZE - 1) -> bytes:
        """Evidence against the log: it signed two trees of one size."""
        twin = self.log.fork(size - 1)
        twin.add(1, "twin")
        one, other = (opened(self.log, log.sign(size)) for log in (self.log, twin))
        return same_size(one, other).format()

    async def honest_work_is_done(self) -> None:
        """The log grows and is followed, and evidence that an honest peer sends is acted upon."""
        with trio.fail_after(PATIENCE):
            self.log.add(5)
            self.log.publish()
            await self.target.asker.wait_for_size(self.target.url, self.log.size)
            evidence = several(EvidenceBundle(2, self.bundle()))
            await self.target.post_until_taken(partial(sealed, self.honest, self.target.place.peer, evidence))
            await self.target.asker.wait_until(self.target.url, "evidence", bool)


def opened(log: FakeLog, note: bytes) -> SignedCheckpoint:
    return open_checkpoint(note, [log.key.verifier_key])


@asynccontextmanager
async def scene(folder: Path, extra: str = "") -> AsyncIterator[Scene]:
    log = FakeLog()
    log.add(SIZE)
    log.publish()
    async with serving(log) as front:
        place, honest, hostile = await places(folder, [front] * 3)
        place.config.write_text(place.config.read_text() + extra)
        async with target(place) as running_:
            await running_.asker.wait_for_size(running_.url, SIZE)
            yield Scene(log, running_, honest.peer, hostile.peer)


def malformed(scene: Scene) -> dict[str, tuple[bytes, int]]:
    """What is posted, and how it has to be answered."""
    me, them = scene.hostile, scene.target.place.peer
    id_ = origin_id(scene.log.origin)
    note = scene.log.sign(SIZE)
    text, _, lines = note.partition(b"\n\n")
    forged = text.replace(b"\n20\n", b"\n21\n") + b"\n\n" + lines
    short = note[:-8] + b"AAAAAA=\n"
    values = {
        "a map": b"\x91\x81\x01\x02",
        "a float": b"\x91\xcb" + bytes(8),
        "an extension": b"\x91\xd4\x01\x00",
        "an extension of 4 GB": b"\x91\xc9\xff\xff\xff\xff\x01",
        "a string of 4 GB": b"\x91\xdb\xff\xff\xff\xff",
        "bytes of 4 GB": b"\x91\xc6\xff\xff\xff\xff",
        "an array of 4 G": b"\xdd\xff\xff\xff\xff",
        "a map of 4 G": b"\xdf\xff\xff\xff\xff",
        "an array too long": b"\xdc\x10\x01" + b"\xc0" * 4097,
        "arrays in arrays": b"\x91" * 100_000 + b"\x90",
        "arrays in arrays, a million": b"\x91" * 1_000_000 + b"\x90",
        "wide arrays in wide arrays": b"\xdc\x10\x00" + (b"\xdc\x00\xff" + b"\x90" * 255) * 4000,
        "an integer too long": b"\x91\x91\xcc\x63",
        "an array header too long": b"\xdc\x00\x01\x91\x63",
        "bytes after the end": b"\x90\x90",
        "nothing": b"",
        "a message that is no array": b"\x91\x05",
        "a message without a type": b"\x91\x90",
        "a head without fields": b"\x91\x91\x05",
        "a summary too long": several(SUMMARY).replace(b"\x96", b"\x97", 1) + b"\x01",
        "a forged head": several(Head(id_, forged, 1, None, ())),
        "a head whose last signature has another length": several(Head(id_, short, 1, None, ())),
        "a head that is no note": several(Head(id_, b"head", 1, None, ())),
        "too many lines": several(Head(id_, note + b"\xe2\x80\x94 x aGVsbG93b3JsZA==\n" * 24, 1, None, ())),
        "evidence that is none": several(EvidenceBundle(2, b"evidence")),
        "evidence of another class": several(EvidenceBundle(4, scene.bundle())),
    }
    wrong_ends = {
        "a stranger's": (sealed(signer("stranger"), them), 403),
        "for another": (sealed(me, scene.honest), 400),
        "from somebody else": (
            sealed(me, them).replace(peer_id(me.verifier_key), peer_id(scene.honest.verifier_key)),
            403,
        ),
        "too old": (sealed(me, them, seconds=-130), 400),
        "of the future": (sealed(me, them, seconds=130), 400),
        "an answer": (sealed(me, them, in_reply_to=b"r" * 16), 400),
        "changed": (sealed(me, them)[:-1] + b"\x00", 403),
        "no envelope": (b"\x93\x01\x02\x03", 400),
        "empty": (b"", 400),
        "a stranger's megabyte": (sealed(signer("stranger"), them, b"\x91" * MB)[:MB], 400),
        "too large": (bytes(MB + 1), 413),
    }
    # Perhaps signed with a key that this monitor does not know: no offence, and nothing that it acts upon.
    unsigned = several(EvidenceBundle(2, scene.bundle().replace(b"\n19\n", b"\n18\n")))
    wrong_ends["evidence that nobody signed"] = scene.sealed(unsigned), 200
    return wrong_ends | {name: (scene.sealed(value), 400) for name, value in values.items()}


async def test_what_is_malformed_forged_stale_or_misdirected_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await here.target.post(here.sealed())
        memory, series = await here.target.memory(), await here.target.series()
        wrong = {}
        for name, (body, status) in malformed(here).items():
            answered = await here.target.post_until_taken(partial(bytes, body))
            if answered != status:
                wrong[name] = answered
        packed = await here.target.post(here.sealed(), headers={"content-encoding": "gzip"})
        unknown = await here.target.post(here.sealed(b"\x91\x91\x63"))
        (head,) = await here.target.asker.list(here.target.url, "heads")
        evidence = await here.target.asker.list(here.target.url, "evidence")
        grown, new = await here.target.memory() - memory, await here.target.series() - series
        await here.honest_work_is_done()
    assert wrong == {}
    assert (packed, unknown, head["size"], head["pending"], evidence, new) == (415, 200, SIZE, [], [], set())
    assert grown < MAX_GROWTH


async def test_an_envelope_is_taken_once_however_often_it_is_sent(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        twice = [here.sealed(several(SUMMARY)) for _ in range(3)]
        statuses = [[await here.target.post(body) for _ in range(3)] for body in twice]
        await here.honest_work_is_done()
    assert statuses == [[200, 400, 400]] * 3


async def flooded(here: Scene, bodies: Iterator[bytes], connections: int = 8, many: int = 100) -> Flood:
    """Let honest work be done while a flood of requests comes in."""
    flood = Flood(many)
    async with trio.open_nursery() as floods:
        floods.start_soon(flood.run, here.target.address, bodies, connections, EXCHANGE_PATH)
        with trio.fail_after(PATIENCE):
            await flood.begun.wait()
        await here.honest_work_is_done()
        floods.cancel_scope.cancel()
    return flood


def envelopes(here: Scene, *messages: Known) -> Iterator[bytes]:
    """The same messages in ever new envelopes of the hostile peer."""
    value = several(*messages)
    while True:
        yield here.sealed(value)


async def test_a_flood_of_envelopes_keeps_no_honest_peer_waiting(tmp_path: Path) -> None:
    entries = tuple(DigestEntry(number.to_bytes(32, "big"), number, H, 1) for number in range(200))
    id_ = origin_id(FakeLog().origin)
    asks = [GetConsistency(id_, size, SIZE) for size in range(1, SIZE)]
    tiles = [GetTile(id_, 0, 0, SIZE)] * 20
    async with scene(tmp_path) as here:
        memory = await here.target.memory()
        messages: tuple[Known, ...] = (SUMMARY, Digest(None, 0, entries, False), *asks, *tiles)
        flood = await flooded(here, envelopes(here, *messages))
        grown = await here.target.memory() - memory
    assert set(flood.statuses) <= {200, 429}
    assert grown < MAX_GROWTH


async def test_heads_and_digests_of_unknown_origins_leave_no_trace(tmp_path: Path) -> None:
    stranger = FakeLog(origin="log.example/nobody")
    async with scene(tmp_path) as here:
        id_ = origin_id(stranger.origin)
        listed = Digest(None, 0, (DigestEntry(id_, 7, H, 1),), False)
        heads: list[Known] = [listed, *wild_heads(stranger, id_, range(1, 200))]
        bogus = [Head(number.to_bytes(32, "big"), b"x" * 500, 1, None, ()) for number in range(200)]
        before = await here.target.metric("sameview_monitor_ignored_total")
        status = await here.target.deliver(here.hostile, *heads, *bogus)
        memory, stored = await here.target.memory(), here.target.stored()
        for _ in range(5):
            await here.target.deliver(here.hostile, *heads, *bogus)
        shown = await here.target.asker.list(here.target.url, "heads")
        grown, written = await here.target.memory() - memory, here.target.stored() - stored
        ignored = await here.target.metric("sameview_monitor_ignored_total") - before
        await here.honest_work_is_done()
    assert (status, len(shown), shown[0]["pending"]) == (200, 1, [])
    assert ignored >= len(heads) - 1 + len(bogus)
    assert (grown < MAX_GROWTH / 4, written < MB) == (True, True)


async def test_a_thousand_heads_that_a_log_signs_take_bounded_room_and_time(tmp_path: Path) -> None:
    spam = FakeLog(origin=OTHER)
    spam.add(3)
    spam.publish(witnesses=())
    async with serving(spam) as front:
        vkey = spam.key.verifier_key.format()
        extra = f'[[log]]\norigin = "{OTHER}"\nurl = "{front.url}"\nvkeys = ["{vkey}"]\n'
        async with scene(tmp_path, extra) as here:
            memory, stored = await here.target.memory(), here.target.stored()
            bodies = spam_bodies(here, spam)
            flood = await flooded(here, bodies, connections=2, many=60)
            heads = {one["origin"]: one for one in await here.target.asker.list(here.target.url, "heads")}
            grown, written = await here.target.memory() - memory, here.target.stored() - stored
            pending = await here.target.metric("sameview_monitor_pending_heads", f'origin="{OTHER}"')
            over = await here.target.metric("sameview_monitor_ignored_total", 'reason="peer-over-budget"')
    assert set(flood.statuses) <= {200, 429}
    assert 0 < len(heads[OTHER]["pending"]) <= MAX_UNSETTLED
    assert pending == MAX_PENDING
    # What takes time is the signatures, and of those a peer has a budget: the rest was not looked at.
    assert over > 0
    assert heads[FakeLog().origin]["size"] == SIZE + 5
    assert (grown < MAX_GROWTH, written < 16 * MB) == (True, True)


def spam_bodies(here: Scene, spam: FakeLog) -> Iterator[bytes]:
    """Envelopes of forty heads each, none of them twice: more than the budget fills up with in our patience."""
    sizes = iter(range(1000, 1_000_000))
    while True:
        yield here.sealed(several(*wild_heads(spam, origin_id(OTHER), list(islice(sizes, 40)))))


async def test_evidence_in_ever_other_bytes_is_kept_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        bundle = here.bundle()
        memory = await here.target.memory()
        copies = [
            bundle.replace(b"\n--\n", b"\n\xe2\x80\x94 nobody%d aGVsbG93b3JsZA==\n--\n" % number)
            for number in range(300)
        ]
        statuses = set()
        for first in range(0, 300, 50):
            messages = [EvidenceBundle(2, copy) for copy in copies[first : first + 50]]
            statuses.add(await here.target.deliver(here.hostile, *messages))
        evidence = await here.target.asker.wait_until(here.target.url, "evidence", bool)
        files = list((here.target.place.folder / "data" / "evidence").iterdir())
        grown = await here.target.memory() - memory
    assert statuses <= {200, 429}
    assert (len(evidence), [path.stem for path in files]) == (1, [evidence[0]["id"]])
    assert grown < MAX_GROWTH


async def test_slow_half_open_and_large_strangers_hold_nobody_up(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        memory = await here.target.memory()
        slow = Slow(here.target.address)
        body = sealed(signer("stranger"), here.target.place.peer, b"\x91" * (MB - 400))
        flood = Flood()
        async with trio.open_nursery() as attacks:
            attacks.start_soon(slow.half_open, 50)
            attacks.start_soon(slow.drip, 100, MB)
            attacks.start_soon(slow.almost, 100, body)
            attacks.start_soon(flood.run, here.target.address, iter(lambda: body, b""), 8, EXCHANGE_PATH)
            await here.honest_work_is_done()
            grown = await here.target.memory() - memory
            attacks.cancel_scope.cancel()
    assert set(flood.statuses) <= {400, 403, 429}
    assert grown < 2 * MAX_GROWTH


async def test_answers_that_are_kept_waiting_keep_nobody_else_waiting(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        memory = await here.target.memory()
        async with trio.open_nursery() as attacks:
            attacks.start_soon(Slow(here.target.address).poll, [here.sealed() for _ in range(300)])
            await here.honest_work_is_done()
            grown = await here.target.memory() - memory
            attacks.cancel_scope.cancel()
    assert grown < MAX_GROWTH


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nnot gossip", b"HTTP/1.1 200"])
async def test_one_honest_link_among_hostile_ones_is_enough(tmp_path: Path, answer: bytes) -> None:
    """All peers of the victim are silent, talk nonsense or begin to, and its log lies, but for one peer."""
    log = FakeLog()
    log.add(SIZE)
    log.publish()

    async def hostile(stream: trio.SocketStream) -> None:
        await stream.send_all(answer)
        await trio.sleep_forever()

    async with serving(log) as front, serving(log) as victim_front, Client() as client:
        found = await places(tmp_path, [victim_front, front, *[front] * 6])
        async with trio.open_nursery() as attackers:
            for place in found[2:]:
                attackers.start_soon(partial(trio.serve_tcp, hostile, place.port, host="127.0.0.1"))
            await create(found[1])
            async with target(found[0]) as victim, running(found[1]) as honest:
                asker = Asker(client)
                for url in (victim.url, honest.url):
                    await asker.wait_for_size(url, SIZE)
                twin = log.fork(SIZE)
                twin.add(3, "twin")
                twin.publish()
                victim_front.log = twin
                log.add(6)
                log.publish()
                evidence = [await asker.wait_until(url, "evidence", bool) for url in (victim.url, honest.url)]
            attackers.cancel_scope.cancel()
    assert all(evidence)
