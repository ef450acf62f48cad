"""A log over HTTP: what it answers to who adds and who reads."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from logserver.app import Admission, Busy, LogApp
from logserver.metrics import LogMetrics
from runtime.metrics import Metrics
from tests.keys import log_key, mldsa_key
from tests.log_nodes import OpenLog, log, make_log, open_log
from tests.rfc6962 import ReferenceTree
from tests.served import Served, served
from tests.serving import Answer, RawClient
from tlog.hashing import Hash, TreeHead, leaf_hash
from tlog.proofs import verify_consistency, verify_inclusion
from tlog.signed_checkpoint import open_checkpoint
from tlog.text import parse_hash
from tlog.tiles import EntryBundle, Tile, format_entries, parse_entries, tiles_at
from tlog.tlog_proof import TlogProof
from tlog.trust import Trust

pytestmark = pytest.mark.usefixtures("place")

ORIGIN = "log.example/one"
ED25519, MLDSA44 = log_key(ORIGIN), mldsa_key(ORIGIN)
KEYS = [ED25519, MLDSA44]
VERIFIERS = [key.verifier_key for key in KEYS]
ENTRIES = [b"entry %d" % number for number in range(600)]
TREE = ReferenceTree(ENTRIES)
TEXT, BINARY = "text/plain; charset=utf-8", "application/octet-stream"


def root(size: int) -> Hash:
    return TREE.mth(0, size)


@asynccontextmanager
async def log_of(directory: Path, size: int) -> AsyncIterator[tuple[OpenLog, Served]]:
    """A log that has published its first entries, and the empty tree before."""
    async with log(directory, KEYS) as (opened, asked):
        await opened.publisher.publish()
        if size:
            await opened.add(*ENTRIES[:size])
            await opened.publisher.publish()
        yield opened, asked


async def raw(asked: Served, target: bytes, method: bytes = b"GET", extra: bytes = b"") -> Answer:
    """One request with exactly this target."""
    host, port = asked.url.removeprefix("http://").split(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        return await RawClient(stream).ask(
            method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n" + extra + b"\r\n", method
        )


# Adding.


async def test_an_entry_gets_the_next_index(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (_, asked):
        answers = [await asked.post("/add", entry) for entry in (b"a", b"b", b"c")]
        assert [(a.status, a.body, a.headers["content-type"]) for a in answers] == [
            (200, b"%d\n" % index, TEXT) for index in range(3)
        ]


async def test_an_entry_keeps_its_first_index(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (_, asked):
        assert [(await asked.post("/add", entry)).body for entry in (b"a", b"b", b"a")] == [b"0\n", b"1\n", b"0\n"]


@pytest.mark.parametrize(("dedup", "index"), [("all", 0), ("recent", 2), ("off", 2)])
async def test_what_a_log_recognises_after_a_restart_is_configured(dedup: str, index: int, tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS, dedup=dedup) as opened:  # type: ignore[arg-type]
        await opened.add(b"a", b"b")
        again = await opened.add(b"b")
        assert again == ((2,) if dedup == "off" else (1,))
    async with open_log(tmp_path, KEYS, dedup=dedup) as opened:  # type: ignore[arg-type]
        assert await opened.add(b"a") == (3 if dedup == "off" else index,)


async def test_recognising_can_be_switched_off_and_on_again(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened:
        await opened.add(b"a")
    async with open_log(tmp_path, KEYS, dedup="off") as opened:
        assert await opened.add(b"a", b"b") == (1, 2)
    async with open_log(tmp_path, KEYS) as opened:
        # What was added meanwhile is not recognised the first time; what was before, is.
        assert [await opened.add(b"a"), await opened.add(b"b"), await opened.add(b"b")] == [(0,), (3,), (3,)]


@pytest.mark.parametrize("length", [0, 1, 65535])
async def test_entries_of_every_legal_length_are_served_again(length: int, tmp_path: Path) -> None:
    entry = b"x" * length
    async with log(tmp_path, KEYS) as (opened, asked):
        assert (await asked.post("/add", entry)).body == b"0\n"
        await opened.publisher.publish()
        bundle = await asked.get("/tile/entries/000.p/1")
        assert parse_entries(bundle.body, 1) == [entry]


async def test_an_entry_that_no_bundle_can_hold_is_refused(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (opened, asked):
        assert (await asked.post("/add", b"x" * 65536)).status == 413
        chunked = b"Transfer-Encoding: chunked\r\n\r\n10000\r\n" + b"x" * 65536 + b"\r\n0\r\n"
        assert (await raw(asked, b"/add", b"POST", chunked)).status == 413
        assert opened.sequencer.tree.end == 0


async def test_a_batch_gets_indexes_in_its_order(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (_, asked):
        await asked.post("/add", b"b")
        answer = await asked.post("/add-batch", format_entries([b"a", b"b", b"", b"a", b"c"]))
        assert (answer.status, json.loads(answer.body)) == (200, {"indexes": [1, 0, 2, 1, 3]})


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", b"\0\1", b"\0\1ab", format_entries([b"a"]) + b"\0", bytes(2 * 257)],
    ids=["empty", "half a length", "no entry", "too long", "half a length at the end", "257 entries"],
)
async def test_a_batch_that_is_none_is_refused_and_nothing_of_it_added(body: bytes, tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (opened, asked):
        assert (await asked.post("/add-batch", body)).status == 400
        assert opened.sequencer.tree.end == 0


async def test_a_batch_holds_as_much_as_a_bundle(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (_, asked):
        largest = format_entries([bytes([number]) * 65535 for number in range(256)])
        assert json.loads((await asked.post("/add-batch", largest)).body) == {"indexes": list(range(256))}
        announced = b"Content-Length: %d\r\n" % (len(largest) + 1)
        assert (await raw(asked, b"/add-batch", b"POST", announced)).status == 413


async def test_entries_added_at_once_get_one_index_each_and_stand_there(tmp_path: Path) -> None:
    indexes: dict[bytes, int] = {}

    async def add(asked: Served, entry: bytes) -> None:
        indexes[entry] = int((await asked.post("/add", entry)).body)

    async with log(tmp_path, KEYS) as (opened, asked):
        async with trio.open_nursery() as nursery:
            for entry in ENTRIES[:100]:
                nursery.start_soon(add, asked, entry)
        await opened.publisher.publish()
        stored = parse_entries((await asked.get("/tile/entries/000.p/100")).body, 100)
    assert {entry: index for index, entry in enumerate(stored)} == indexes


async def test_a_log_without_room_says_so_before_it_reads(tmp_path: Path) -> None:
    await make_log(tmp_path, ORIGIN)
    async with open_log(tmp_path, KEYS) as opened:
        full = LogApp(
            opened.sequencer,
            opened.files,
            lambda: None,
            opened.history,
            LogMetrics(Metrics()),
            Admission(0),
            Admission(9, bytes=99),
        )
        async with served(full.app()) as asked:
            one = await asked.post("/add", b"a")
            large = await asked.post("/add-batch", format_entries([b"x" * 99]))
            unannounced = await raw(asked, b"/add-batch", b"POST", b"Transfer-Encoding: chunked\r\n")
            assert [one.status, large.status, unannounced.status] == [503, 503, 503]
            assert one.headers["retry-after"] == large.headers["retry-after"] == "1"
            assert (await asked.post("/add-batch", format_entries([b"x" * 97]))).status == 200


@given(st.lists(st.integers(0, 60), max_size=12))
def test_places_are_given_back(sizes: list[int]) -> None:
    admission = Admission(3, bytes=100)
    for size in sizes:
        try:
            with admission.place(size), admission.place(size):
                pass
        except Busy:
            assert 2 * size > 100
    with admission.place(100), pytest.raises(Busy), admission.place(1):
        pass
    with admission.place(0), admission.place(0), admission.place(0), pytest.raises(Busy), admission.place(0):
        pass


# Reading.


async def test_before_the_first_checkpoint_there_is_nothing_to_remember(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (_, asked):
        answer = await asked.get("/checkpoint")
        assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")


async def test_a_new_log_publishes_the_empty_tree_and_no_tile(tmp_path: Path) -> None:
    """SPEC: T-10 no empty tiles."""
    async with log_of(tmp_path, 0) as (_, asked):
        opened = open_checkpoint((await asked.get("/checkpoint")).body, VERIFIERS)
        assert (opened.origin, opened.head) == (ORIGIN, TreeHead(0, root(0)))
        paths = ["/tile/0/000", "/tile/0/000.p/0", "/tile/0/000.p/1", "/tile/entries/000", "/tile/entries/000.p/1"]
        assert [(await asked.get(path)).status for path in paths] == [404] * 5


async def test_a_checkpoint_is_signed_by_every_key_and_served_as_text(tmp_path: Path) -> None:
    """SPEC: T-2, T-3, T-4, CP-8"""
    async with log_of(tmp_path, 300) as (_, asked):
        answer = await asked.get("/checkpoint")
        opened = open_checkpoint(answer.body, VERIFIERS)
        assert (opened.head, [s.key for s in opened.signatures]) == (TreeHead(300, root(300)), VERIFIERS)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == (TEXT, "no-cache")


async def test_tiles_and_bundles_are_immutable_bytes(tmp_path: Path) -> None:
    """SPEC: T-7"""
    async with log_of(tmp_path, 300) as (_, asked):
        for path in ("/tile/0/000", "/tile/0/001.p/44", "/tile/1/000.p/1", "/tile/entries/001.p/44"):
            answer = await asked.get(path)
            assert (answer.status, answer.headers["content-type"]) == (200, BINARY)
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_every_tile_of_every_signed_size_is_there(tmp_path: Path) -> None:
    """SPEC: T-6, T-8, T-9, T-11"""
    sizes = [1, 2, 255, 256, 257, 513, 600]
    async with log(tmp_path, KEYS) as (opened, asked):
        for size in sizes:
            await opened.add(*ENTRIES[opened.sequencer.tree.end : size])
            await opened.publisher.publish()
        for size in sizes:
            for tile in tiles_at(size):
                answer = await asked.get(f"/{tile.path()}")
                hashes = [TREE.mth(start, start + 256**tile.level) for start in starts(tile)]
                assert answer.body == b"".join(hashes), tile
            for index in range(-(-size // 256)):
                width = min(256, size - 256 * index)
                answer = await asked.get(f"/{EntryBundle(index, width).path()}")
                assert parse_entries(answer.body, width) == ENTRIES[256 * index : 256 * index + width]


def starts(tile: Tile) -> range:
    return range(tile.start, tile.end, 256**tile.level)


TRICKS = [
    "/tile/0/000.p/0",
    "/tile/0/000.p/00",
    "/tile/0/000.p/044",
    "/tile/0/000.p/256",
    "/tile/0/000.p/1000",
    "/tile/0/x000/000",
    "/tile/0/x001",
    "/tile/0/0",
    "/tile/0/00",
    "/tile/0/0000",
    "/tile/00/000",
    "/tile/64/000",
    "/tile/-1/000",
    "/tile/0/000/",
    "/tile/0//000",
    "//tile/0/000",
    "/tile/0%2F000",
    "/tile%2F0/000",
    "/tile/0/%30%30%30",
    "/tile/entries%2F000",
    "/tile/entries/x000/000",
    "/tile/0/../0/000",
    "/tile/../checkpoint",
    "/tile/../../log.sqlite",
    "/tile/..%2f..%2flog.sqlite",
    "/tile/entries/../../../log.sqlite",
    "/tile/%2e%2e/checkpoint",
    "/tile//etc/passwd",
    "/tile/0/000%00",
    "/tile/0/000.p/44%0a",
    "/tile/0/\xc3\xa9",
    "/tile/",
    "/tile",
    "/checkpoint/",
    "/checkpoint/../checkpoint",
    "/%63heckpoint/x",
    "/public/checkpoint",
]


async def test_a_path_in_any_other_spelling_leads_nowhere(tmp_path: Path) -> None:
    """SPEC: T-5, T-6"""
    async with log_of(tmp_path, 300) as (_, asked):
        statuses = {target: (await raw(asked, target.encode("latin-1"))).status for target in TRICKS}
    assert {target: status for target, status in statuses.items() if status not in (400, 404)} == {}


async def test_a_missing_tile_is_not_remembered_as_missing(tmp_path: Path) -> None:
    async with log_of(tmp_path, 300) as (_, asked):
        assert (await asked.get("/tile/0/001")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("method", "target"), [(b"GET", b"/add"), (b"POST", b"/checkpoint"), (b"PUT", b"/add")])
async def test_each_resource_has_its_methods(method: bytes, target: bytes, tmp_path: Path) -> None:
    async with log_of(tmp_path, 3) as (_, asked):
        assert (await raw(asked, target, method, b"Content-Length: 0\r\n")).status == 405


# Proofs.


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
async def test_an_entry_is_proved_under_the_published_checkpoint(index: int, tmp_path: Path) -> None:
    """SPEC: P-2, P-5, P-6"""
    async with log_of(tmp_path, 300) as (_, asked):
        answer = await asked.get(f"/v1/proofs/entry/{index}")
        proof = TlogProof.parse(answer.body)
        opened = proof.verify(leaf_hash(ENTRIES[index]), Trust(tuple(VERIFIERS)))
        assert (proof.index, opened.size, answer.headers["content-type"]) == (index, 300, TEXT)


async def test_an_entry_without_a_published_checkpoint_has_no_proof_yet(tmp_path: Path) -> None:
    async with log_of(tmp_path, 300) as (opened, asked):
        await opened.add(b"later")
        answer = await asked.get("/v1/proofs/entry/300")
        assert (answer.status, answer.headers["cache-control"]) == (404, "no-store")
        await opened.publisher.publish()
        assert (await asked.get("/v1/proofs/entry/300")).status == 200


async def test_proofs_between_all_published_sizes_verify(tmp_path: Path) -> None:
    sizes = [0, 1, 2, 3, 255, 256, 257, 299, 300]
    async with log_of(tmp_path, 300) as (_, asked):
        for new in sizes:
            for old in (size for size in sizes if size <= new):
                answer = await asked.get(f"/v1/proofs/consistency?from={old}&to={new}")
                document = json.loads(answer.body)
                assert (document["from"], document["to"]) == (old, new)
                verify_consistency(TreeHead(old, root(old)), TreeHead(new, root(new)), hashes(document))
            for index in (number for number in sizes if number < new):
                document = json.loads((await asked.get(f"/v1/proofs/inclusion?index={index}&size={new}")).body)
                assert (document["index"], document["size"]) == (index, new)
                verify_inclusion(leaf_hash(ENTRIES[index]), index, TreeHead(new, root(new)), hashes(document))


def hashes(document: dict[str, list[str]]) -> list[Hash]:
    return [parse_hash(line.encode()) for line in document["hashes"]]


IMPOSSIBLE = {
    "/v1/proofs/entry/": 404,
    "/v1/proofs/entry/-1": 400,
    "/v1/proofs/entry/01": 400,
    "/v1/proofs/entry/1%20": 400,
    "/v1/proofs/entry/%C3%A9": 400,
    "/v1/proofs/entry/9223372036854775808": 400,
    "/v1/proofs/entry/9223372036854775807": 404,
    "/v1/proofs/entry/3": 404,
    "/v1/proofs/inclusion": 400,
    "/v1/proofs/inclusion?index=0": 400,
    "/v1/proofs/inclusion?index=0&size=+3": 400,
    "/v1/proofs/inclusion?index=%FF&size=3": 400,
    "/v1/proofs/inclusion?index=3&size=3": 404,
    "/v1/proofs/inclusion?index=0&size=0": 404,
    "/v1/proofs/inclusion?index=0&size=4": 404,
    "/v1/proofs/consistency?from=1&to=x": 400,
    "/v1/proofs/consistency?from=2&to=1": 404,
    "/v1/proofs/consistency?from=1&to=4": 404,
}


async def test_what_cannot_be_proved_is_refused(tmp_path: Path) -> None:
    async with log_of(tmp_path, 3) as (_, asked):
        assert {path: (await raw(asked, path.encode())).status for path in IMPOSSIBLE} == IMPOSSIBLE


async def test_without_a_checkpoint_nothing_is_proved(tmp_path: Path) -> None:
    async with log(tmp_path, KEYS) as (opened, asked):
        await opened.add(b"a")
        paths = ["entry/0", "inclusion?index=0&size=1", "consistency?from=0&to=1"]
        assert [(await asked.get(f"/v1/proofs/{path}")).status for path in paths] == [404] * 3


async def test_a_refusal_does_not_repeat_what_was_sent(tmp_path: Path) -> None:
    async with log_of(tmp_path, 3) as (_, asked):
        for path in ("/tile/0/marker", "/v1/proofs/entry/marker", "/v1/proofs/inclusion?index=marker&size=marker"):
            assert b"marker" not in (await asked.get(path)).body


async def test_a_proof_is_waited_for_until_a_checkpoint_covers_the_entry(tmp_path: Path) -> None:
    async with log_of(tmp_path, 3) as (opened, asked), trio.open_nursery() as nursery:

        async def grow() -> None:
            await opened.add(b"another")
            await opened.publisher.publish()

        nursery.start_soon(grow)
        answer = await raw(asked, b"/v1/proofs/entry/3?wait=20")
        assert (answer.status, TlogProof.parse(answer.body).index) == (200, 3)


async def test_a_proof_that_does_not_come_in_time_is_absent(tmp_path: Path) -> None:
    async with log_of(tmp_path, 3) as (_, asked):
        assert (await raw(asked, b"/v1/proofs/entry/3?wait=1")).status == 404
        assert (await raw(asked, b"/v1/proofs/entry/3?wait=x")).status == 400
        assert (await raw(asked, b"/v1/proofs/entry/2?wait=25")).status == 200


async def test_who_comes_when_too_many_wait_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logserver.app.WAITING_AT_ONCE", 1)
    async with log_of(tmp_path, 3) as (opened, asked), trio.open_nursery() as nursery:
        nursery.start_soon(raw, asked, b"/v1/proofs/entry/3?wait=25")
        with trio.fail_after(10):
            while opened.app._waiting.borrowed_tokens < 1:  # noqa: ASYNC110  # the request is on its way
                await trio.sleep(0.01)
            assert (await raw(asked, b"/v1/proofs/entry/3?wait=25")).status == 404
        await opened.add(b"another")
        await opened.publisher.publish()
