"""Pull mode: a witness that fetches the checkpoints of logs that do not know it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from starlette.types import ASGIApp, Receive, Scope, Send

from runtime.client import Client, Failure, FetchError, Response
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.forks import Tree
from tests.keys import log_key, sign_checkpoint
from tests.nodes import make_witness, witness_settings
from tests.served import served
from tests.vectors import vector
from tests.witness_logs import FORK, HONEST, KEYS, LOG, LOGS, ORIGIN, PUBLIC, VERIFIERS
from tlog.checkpoint import Checkpoint
from tlog.keys import SignerKey, VerifierKey
from tlog.signed_checkpoint import open_checkpoint
from tlog.tiles import TILE_HEIGHT, Tile, tiles_at
from witness.__main__ import opened
from witness.config import FeedConfig
from witness.feeds import MAX_WAIT, Feeder, Feeds, Outcome, next_wait

URL = "http://log.example"


class TilesLog:
    """The files of a log, as ``Fetch`` serves them."""

    def __init__(self, tree: Tree = HONEST, key: SignerKey = LOG, kind: str = "tiles") -> None:
        self.tree = tree
        self.key = key
        self.kind = kind
        self.files: dict[str, bytes] = {}

    def publish(self, size: int, origin: str = ORIGIN, *, tiles: bool = True) -> None:
        head = self.tree.head(size)
        name = "checkpoint" if self.kind == "tiles" else "latest"
        self.files[name] = sign_checkpoint(Checkpoint(origin, size, head.root_hash), self.key)
        for tile in tiles_at(size) if tiles else ():
            self.files[self.path(tile)] = self.bytes_of(tile)

    def path(self, tile: Tile) -> str:
        return tile.path() if self.kind == "tiles" else tile.path().replace("tile/", "tile/8/", 1)

    def bytes_of(self, tile: Tile) -> bytes:
        start = tile.index * 256
        return b"".join(self.tree.read(tile.level * TILE_HEIGHT, start + i) for i in range(tile.width))

    async def fetch(self, method: str, url: str, *, cap: int, seconds: float, gunzip: bool = False) -> Response:
        body = self.files.get(url.removeprefix(f"{URL}/"))
        if body is None:
            return Response(404, {}, b"")
        if len(body) > cap:
            raise FetchError(Failure.TOO_LARGE, "too large")
        return Response(200, {}, body)


def feed(origin: str = ORIGIN, url: str = URL, kind: str = "tiles") -> FeedConfig:
    return FeedConfig(origin=origin, url=url, kind=kind, interval=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tiles", "sumdb"])
async def test_a_log_is_cosigned_as_it_grows(kind: str, tmp_path: Path) -> None:
    await make_witness(tmp_path)
    log = TilesLog(kind=kind)
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        feeder = Feeder(feed(kind=kind), ours.cosigner, log.fetch)
        for size in (0, 5, 5, 200, 256):
            log.publish(size)
            assert await feeder.round() is Outcome.COSIGNED
        copy = await ours.cosigner.public_copy(PUBLIC[1:65])
        assert copy is not None
        assert (found := open_checkpoint(copy, VERIFIERS)).size == 256
        assert [signature.key for signature in found.signatures] == VERIFIERS


async def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(tmp_path: Path) -> None:
    """SPEC: T-14"""
    await make_witness(tmp_path)
    log = TilesLog()
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        feeder = Feeder(feed(), ours.cosigner, log.fetch)
        log.publish(100)
        await feeder.round()
        log.publish(200, tiles=False)
        assert await feeder.round() is Outcome.NOT_SERVED
        log.files[Tile(0, 0).path()] = log.bytes_of(Tile(0, 0))
        assert await feeder.round() is Outcome.COSIGNED


async def test_a_log_that_rewrites_its_past_is_refused_and_its_head_kept(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    log, liar = TilesLog(), TilesLog(FORK)
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        log.publish(5)
        await Feeder(feed(), ours.cosigner, log.fetch).round()
        liar.publish(9)
        assert await Feeder(feed(), ours.cosigner, liar.fetch).round() is Outcome.REFUSED
        [kept] = await ours.cosigner.conflicts.page(0, 10)
        assert (kept.size, kept.bundle is not None) == (9, True)


async def test_wrong_tiles_are_refused(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    log = TilesLog()
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        log.publish(5)
        feeder = Feeder(feed(), ours.cosigner, log.fetch)
        await feeder.round()
        log.publish(9)
        path = Tile(0, 0, 9).path()
        right = log.files[path]
        log.files[path] = right[:-32] + bytes(32)
        assert await feeder.round() is Outcome.REFUSED
        log.files[path] = right[:-1]
        assert await feeder.round() is Outcome.BAD_CHECKPOINT
        log.files[path] = right
        assert await feeder.round() is Outcome.COSIGNED


async def test_an_older_checkpoint_of_a_cache_changes_nothing(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    log = TilesLog()
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        feeder = Feeder(feed(), ours.cosigner, log.fetch)
        log.publish(9)
        await feeder.round()
        log.publish(5)
        assert await feeder.round() is Outcome.BEHIND


def signed_by_another(log: TilesLog) -> None:
    log.key = log_key(seed=9)
    log.publish(5)


def of_another_log(log: TilesLog) -> None:
    log.publish(5, "log.example/two")


def not_a_note(log: TilesLog) -> None:
    log.files["checkpoint"] = b"<html>"


def nothing(log: TilesLog) -> None:
    log.files.clear()


@pytest.mark.parametrize(
    ("break_it", "outcome"),
    [
        (signed_by_another, Outcome.BAD_CHECKPOINT),
        (of_another_log, Outcome.BAD_CHECKPOINT),
        (not_a_note, Outcome.BAD_CHECKPOINT),
        (nothing, Outcome.NOT_SERVED),
    ],
)
async def test_what_is_no_checkpoint_of_this_log_is_not_cosigned(
    break_it: Callable[[TilesLog], None], outcome: Outcome, tmp_path: Path
) -> None:
    await make_witness(tmp_path)
    log = TilesLog()
    break_it(log)
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        assert await Feeder(feed(), ours.cosigner, log.fetch).round() is outcome
        assert await ours.cosigner.head(ORIGIN) is None


async def test_a_full_tile_that_is_missing_ends_the_round(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    log = TilesLog()
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        feeder = Feeder(feed(), ours.cosigner, log.fetch)
        log.publish(100)
        await feeder.round()
        log.publish(256, tiles=False)
        assert await feeder.round() is Outcome.NOT_SERVED


async def test_a_log_that_is_slow_at_every_file_does_not_hold_a_round_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drip(method: str, url: str, *, cap: int, seconds: float, gunzip: bool = False) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr("witness.feeds.ROUND_SECONDS", 0.05)
    await make_witness(tmp_path)
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        assert await Feeder(feed(), ours.cosigner, drip).round() is Outcome.NOT_SERVED


async def test_a_feed_of_a_log_that_is_not_known_says_so(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with opened(witness_settings(tmp_path, {}, KEYS), FakeClock()) as ours:
        assert await Feeder(feed(), ours.cosigner, TilesLog().fetch).round() is Outcome.UNKNOWN


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers for ever."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})


async def hanging(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the request and says nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("hostile", [hanging, endless])
async def test_a_hostile_server_ends_its_own_round_only(hostile: ASGIApp, tmp_path: Path) -> None:
    await make_witness(tmp_path)
    async with (
        opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours,
        served(hostile) as server,
        Client() as client,
    ):
        feeder = Feeder(feed(url=server.url), ours.cosigner, client.fetch, seconds=0.5)
        assert await feeder.round() is Outcome.NOT_SERVED


async def test_hanging_and_endless_logs_delay_no_other(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    origins = [f"log.example/{number}" for number in range(4)]
    keys = {origin: [log_key(origin).verifier_key] for origin in origins}
    good = TilesLog(key=log_key(origins[3]))
    good.publish(5, origins[3])

    async def honest(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": good.files[scope["path"][1:]]})

    async with (
        opened(witness_settings(tmp_path, keys, KEYS), FakeClock()) as ours,
        served(hanging) as silent,
        served(endless) as flooding,
        served(honest) as log,
        Client() as client,
    ):
        urls = (silent.url, flooding.url, "http://127.0.0.1:1", log.url)
        feeds = tuple(feed(origin, url) for origin, url in zip(origins, urls, strict=True))
        metrics = Metrics()
        following = Feeds(replace(ours.settings, feeds=feeds), ours.cosigner, client.fetch, metrics)
        async with trio.open_nursery() as tasks:
            tasks.start_soon(following.run)
            shown = f'sameview_witness_feed_cosigned_total{{origin="{origins[3]}"}} 1.0'
            with trio.fail_after(20):
                while shown not in metrics.exposition().decode():  # noqa: ASYNC110 # it tells nobody
                    await trio.sleep(0.02)
            assert f'sameview_witness_feed_cosigned_total{{origin="{origins[0]}"}} 0.0' in metrics.exposition().decode()
            tasks.cancel_scope.cancel()


async def test_the_growth_of_go_s_checksum_database_is_understood(tmp_path: Path) -> None:
    """The checkpoint of ``/latest``, whose key is not named like its origin."""
    case = json.loads(vector("FiloSottile-torchwood/witness_sumdb.json").read_bytes())
    text = json.dumps(case)
    assert "go.sum database tree" in text
    key = VerifierKey.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    notes = [line for line in _strings(case) if line.startswith("old 0\n\ngo.sum database tree\n")]
    note = notes[0].partition("\n\n")[2].encode()
    log = TilesLog(kind="sumdb")
    log.files["latest"] = note
    await make_witness(tmp_path)
    async with opened(witness_settings(tmp_path, {"go.sum database tree": [key]}, KEYS), FakeClock()) as ours:
        feeder = Feeder(feed("go.sum database tree", kind="sumdb"), ours.cosigner, log.fetch)
        assert await feeder.round() is Outcome.COSIGNED


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in _strings(part)]
    return []


def test_a_failing_log_is_asked_ever_less_often_and_a_good_one_at_its_interval() -> None:
    waits = [60.0]
    while waits[-1] < MAX_WAIT:
        waits.append(next_wait(60, waits[-1], cosigned=False))
    assert waits == [60, 120, 240, 480, 960, 1920, 3600]
    assert next_wait(60, 3600, cosigned=True) == 60
    assert next_wait(86_400, 86_400, cosigned=False) == 86_400
