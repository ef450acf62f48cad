"""The lab's liars lie as they promise: each lie is well signed, and to be told from the truth by comparison only."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gossip.envelope import Envelope, SeenNonces, open_envelope, peer_id
from gossip.messages import Head, parse_message
from gossip.shell import EXCHANGE_PATH
from runtime.clock import Clock
from runtime.http import bare, refusal
from runtime.keyfiles import new_signer_key
from sameview.lab.front import Front, Site
from sameview.lab.liar import Liar, Peer
from sameview.lab.narrator import Narrator, Report
from sameview.lab.silence import Mark, Seen, _row
from sameview.lab.tree import EMPTY_LOG, ForgedLog, add_signature, sign_head
from tests.keys import log_key, mldsa_key, witness_key
from tests.served import Served, served
from tlog.hashing import leaf_hash
from tlog.keys import KeyType, SignerKey, VerifierKey
from tlog.note import Note
from tlog.signed_checkpoint import open_checkpoint
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

ORIGIN = "log.example/one"
LOG, LOG_PQ, WITNESS = log_key(ORIGIN), mldsa_key(ORIGIN), witness_key()
PEER = new_signer_key("monitor.example/m1", KeyType.ED25519)
LIAR = new_signer_key("monitor.example/m4", KeyType.ED25519)
OBSERVER = new_signer_key("monitor.example/m4-observer", KeyType.COSIGNATURE_ED25519)
NOW = 1_800_000_000


class Ticking:
    """A clock that moves on by half a second with every look at it."""

    def __init__(self) -> None:
        self._looks = 0

    def now(self) -> int:
        return self.now_ms() // 1000

    def now_ms(self) -> int:
        self._looks += 1
        return NOW * 1000 + 500 * self._looks


def vkeys(*keys: SignerKey) -> list[VerifierKey]:
    return [key.verifier_key for key in keys]


def entries(size: int) -> list[bytes]:
    return [b"entry %d" % index for index in range(size)]


def honest_log(size: int) -> tuple[ForgedLog, Starlette]:
    """A static log that is honest as far as anybody can see."""
    tree = EMPTY_LOG.extend(entries(size))
    note = sign_head(ORIGIN, tree.head, [LOG, LOG_PQ], NOW - 10)

    async def get(request: Request) -> Response:
        path = request.path_params["path"]
        found = note if path == "checkpoint" else tree.files.get(path)
        return refusal(404, "no such file") if found is None else bare(200, found, "text/plain; charset=utf-8")

    return tree, Starlette(routes=[Route("/{path:path}", get)])


@asynccontextmanager
async def front_of(log: Starlette) -> AsyncIterator[Served]:
    async with served(log) as behind:
        sites = {"one": Site(ORIGIN, behind.url, (LOG, LOG_PQ))}
        front = Front(behind.client, sites, {"w1": (WITNESS,)}, Ticking())
        async with served(front.app()) as shown:
            yield shown


async def lie(front: Served, viewer: str, name: str, **command: object) -> bytes:
    answer = await front.post(f"/lab/one/{viewer}/{name}", json.dumps(command).encode())
    assert answer.status == 200
    return answer.body


async def test_the_front_passes_on_what_the_log_says() -> None:
    tree, log = honest_log(5)
    async with front_of(log) as front:
        note = (await front.get("/one/m3/checkpoint")).body
    assert open_checkpoint(note, vkeys(LOG)).head == tree.head


async def test_a_fork_extends_the_honest_tree_and_is_shown_to_one_viewer_only() -> None:
    tree, log = honest_log(5)
    async with front_of(log) as front:
        await lie(front, "m3", "fork", at=5, size=8)
        forked = open_checkpoint((await front.get("/one/m3/checkpoint")).body, vkeys(LOG))
        others = open_checkpoint((await front.get("/one/m1/checkpoint")).body, vkeys(LOG))
        bundle = (await front.get("/one/m3/tile/entries/000.p/8")).body
    assert (forked.size, others.head) == (8, tree.head)
    assert b"".join(len(one).to_bytes(2, "big") + one for one in entries(5)) == bundle[: 5 * (2 + len("entry 0"))]


async def test_a_fork_is_cosigned_by_whoever_lends_a_key() -> None:
    _, log = honest_log(5)
    async with front_of(log) as front:
        note = await lie(front, "m3", "fork", at=3, size=5, cosigners=["w1"])
    signed = open_checkpoint(note, vkeys(LOG, LOG_PQ, WITNESS))
    assert [one.key for one in signed.signatures] == vkeys(LOG, WITNESS)


async def test_a_fork_comes_with_proofs_of_its_entries() -> None:
    _, log = honest_log(5)
    async with front_of(log) as front:
        await lie(front, "client", "fork", at=3, size=9, entry="forged")
        proof = TlogProof.parse((await front.get("/one/client/v1/proofs/entry/4")).body)
        beyond = await front.get("/one/client/v1/proofs/entry/9")
    signed = proof.verify(leaf_hash(b"forged 4"), Trust((LOG.verifier_key,), None, None))
    assert (signed.size, beyond.status) == (9, 404)


async def test_a_rollback_is_an_honest_tree_signed_at_a_later_time() -> None:
    _, log = honest_log(5)
    async with front_of(log) as front:
        note = await lie(front, "m3", "rollback", size=3)
    signed = open_checkpoint(note, vkeys(LOG, LOG_PQ))
    timestamped = signed.signed_by(LOG_PQ.verifier_key)
    assert signed.head == EMPTY_LOG.extend(entries(3)).head
    assert timestamped is not None
    assert (timestamped.timestamp or 0) > NOW - 10


async def test_a_freeze_serves_nothing_new_until_it_thaws() -> None:
    tree, log = honest_log(5)
    async with front_of(log) as front:
        frozen = await lie(front, "m3", "freeze")
        shown = (await front.get("/one/m3/checkpoint")).body
        unknown = (await front.get("/one/m3/tile/entries/000.p/6")).status
        await lie(front, "m3", "thaw")
        thawed = (await front.get("/one/m3/checkpoint")).body
    assert frozen == shown == thawed
    assert (open_checkpoint(shown, vkeys(LOG)).head, unknown) == (tree.head, 404)


async def test_the_front_says_when_a_lie_was_looked_at_first() -> None:
    _, log = honest_log(5)
    async with front_of(log) as front:
        await lie(front, "m3", "fork", at=5, size=6)
        before = json.loads((await front.get("/lab/one/m3")).body)["first_shown_ms"]
        await front.get("/one/m3/checkpoint")
        first = json.loads((await front.get("/lab/one/m3")).body)["first_shown_ms"]
        await front.get("/one/m3/checkpoint")
        again = json.loads((await front.get("/lab/one/m3")).body)["first_shown_ms"]
    assert (before, first) == (None, again)
    assert first is not None


@asynccontextmanager
async def liar_with(received: list[Envelope], status: int = 200) -> AsyncIterator[Served]:
    """The liar, and a monitor that opens what it sends as every monitor does."""
    clock: Clock = Ticking()

    async def exchange(request: Request) -> Response:
        keys = {peer_id(LIAR.verifier_key): LIAR.verifier_key}
        me = peer_id(PEER.verifier_key)
        received.append(open_envelope(await request.body(), keys, me, clock.now_ms(), SeenNonces()))
        return bare(status, b"", "text/plain; charset=utf-8")

    async with served(Starlette(routes=[Route(EXCHANGE_PATH, exchange, methods=["POST"])])) as monitor:
        peers = {"m1": Peer(PEER.verifier_key, monitor.url)}
        async with served(Liar(monitor.client, LIAR, OBSERVER, peers, clock).app()) as liar:
            yield liar


async def test_the_liar_states_whatever_it_is_given_in_an_envelope_that_monitors_open() -> None:
    received: list[Envelope] = []
    note = sign_head(ORIGIN, EMPTY_LOG.extend(entries(3)).head, [LOG])
    async with liar_with(received) as liar:
        said = (await liar.post("/lab/say/m1", note)).body
    (message,) = [parse_message(value) for envelope in received for value in envelope.messages]
    assert isinstance(message, Head)
    assert message.note == said
    assert open_checkpoint(said, vkeys(LOG, OBSERVER)).signed_by(OBSERVER.verifier_key) is not None


async def test_each_statement_of_the_liar_is_of_a_later_second() -> None:
    note = sign_head(ORIGIN, EMPTY_LOG.extend(entries(3)).head, [LOG])
    async with liar_with([]) as liar:
        said = [(await liar.post("/lab/say/m1", note)).body for _ in range(3)]
    times = [open_checkpoint(one, vkeys(OBSERVER)).signatures[0].timestamp for one in said]
    assert len({*times}) == 3


async def test_the_liar_says_when_it_was_not_heard() -> None:
    note = sign_head(ORIGIN, EMPTY_LOG.extend(entries(3)).head, [LOG])
    async with liar_with([], status=403) as liar:
        assert (await liar.post("/lab/say/m1", note)).status == 502


def test_the_watermark_is_told_as_a_date() -> None:
    heard = [Seen(f"{name}-ed25519", NOW, NOW, counts=True) for name in ("w2", "w1")]
    mark = Mark(NOW, 60, 1, heard, None, at=NOW + 3)
    assert _row(mark) == ("60", "2027-01-15 08:00:00 UTC", "3 s later", "w1, w2")
    assert _row(Mark(None, 60, 1, [], None)) == ("60", "not yet", "", "")


def test_a_signature_is_added_below_the_others() -> None:
    note = add_signature(sign_head(ORIGIN, EMPTY_LOG.extend(entries(2)).head, [LOG]), WITNESS, NOW)
    assert [line.name for line in Note.parse(note).signatures] == [ORIGIN, "witness.example/one"]


def test_a_report_without_claims_does_not_hold() -> None:
    assert not Report("nothing").held


def test_one_claim_that_failed_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("some")
    narrator = Narrator(quiet=False)
    for held in (True, False):
        narrator.check(report, "a claim", held)
    assert not report.held
    assert "✗ a claim" in capsys.readouterr().out


def test_the_hashes_of_a_long_proof_are_not_all_shown(capsys: pytest.CaptureFixture[str]) -> None:
    Narrator(quiet=False).note(b"type t\n" + b"".join(b"hash %d\n" % number for number in range(7)) + b"end\n")
    shown = capsys.readouterr().out
    assert ("hash 1" in shown, "hash 2" in shown, "… and 5 more" in shown) == (True, False, True)
