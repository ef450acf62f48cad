"""Public files in object storage on a real S3 server: whole, durable, replaced only by whoever is not overtaken."""

import gzip
import random
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import obstore
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from logserver.__main__ import _init, _node
from logserver.app import LogApp
from logserver.config import read_settings
from logserver.core import TileFile
from logserver.files import CHECKPOINT, GZIP_HEADERS, LostTile, PublicObjects
from logserver.metrics import LogMetrics
from logserver.replay import replay
from logserver.store import first_kept
from logserver.trim import Trimmer
from runtime.errors import CannotTell, UsageError
from runtime.keyfiles import write_signer_key
from runtime.metrics import Metrics
from runtime.objects import Object, Objects, ObjectsFailed, Overtaken, check_object_url, open_objects
from runtime.register import Fenced
from sameview.fsck import check
from tests.keys import log_key
from tests.log_nodes import make_log, open_log
from tests.objects import S3Server
from tests.served import served
from tlog.tiles import format_entries
from tlog.trust import Trust

KEY = log_key()
TILES = [TileFile(f"tile/0/00{number}", bytes([number])) for number in range(5)]


@pytest.fixture
def url(s3: S3Server) -> str:
    return f"s3://{s3.new_bucket()}/log"


@pytest.fixture
def objects(url: str) -> Objects:
    return open_objects(url)


def test_what_was_written_is_read_and_nothing_else_is_there(url: str) -> None:
    files = PublicObjects(open_objects(url))
    assert not files.holds_tiles()
    files.write(TILES)
    files.write(TILES[:1])
    assert [files.read(tile.path) for tile in TILES] == [tile.data for tile in TILES]
    assert (files.read("tile/0/009"), files.read_checkpoint(), files.holds_tiles()) == (None, None, True)
    assert files.place == url


def test_whoever_reads_from_the_storage_itself_learns_the_types(s3: S3Server, url: str) -> None:
    files = PublicObjects(open_objects(url))
    files.write_checkpoint(b"note")
    files.write(TILES[:1])
    stored = Path(s3.root, url.removeprefix("s3://"))
    assert ((stored / "checkpoint").read_bytes(), (stored / TILES[0].path).read_bytes()) == (b"note", TILES[0].data)


def test_a_place_that_is_not_empty_is_refused(url: str) -> None:
    files = PublicObjects(open_objects(url))
    files.create()
    files.write(TILES[:1])
    with pytest.raises(UsageError, match="is not empty"):
        files.create()


def test_partial_tiles_go_when_the_full_one_is_there(url: str) -> None:
    files = PublicObjects(open_objects(url))
    partial = [TileFile(f"tile/0/000.p/{width}", b"x") for width in (3, 5)]
    files.write(partial)
    files.drop_partial("tile/0/000")
    assert files.read("tile/0/000.p/3") == b"x"
    files.write([*TILES[:1], TileFile("tile/0/001.p/1", b"y")])
    files.drop_partial("tile/0/000")
    assert [files.read(path) for path in ("tile/0/000.p/3", "tile/0/000.p/5")] == [None, None]
    assert (files.read("tile/0/000"), files.read("tile/0/001.p/1")) == (TILES[0].data, b"y")
    files.drop_partial("tile/0/000")


def test_an_instance_that_was_overtaken_does_not_put_an_older_checkpoint_over_a_newer_one(url: str) -> None:
    first, second = PublicObjects(open_objects(url)), PublicObjects(open_objects(url))
    first.write_checkpoint(b"1")
    assert second.read_checkpoint() == b"1"
    second.write_checkpoint(b"2")
    with pytest.raises(Fenced):
        first.write_checkpoint(b"1 again")
    assert second.read(CHECKPOINT) == b"2"


def test_an_object_is_replaced_by_whoever_knows_it(objects: Objects) -> None:
    mark = objects.replace("a", None, b"1")
    with pytest.raises(Overtaken):
        objects.replace("a", None, b"2")
    newer = objects.replace("a", mark, b"2")
    with pytest.raises(Overtaken):
        objects.replace("a", mark, b"3")
    assert objects.replace("a", newer, b"3") != newer


def test_two_who_write_the_same_are_still_two(objects: Objects) -> None:
    mark = objects.replace("a", None, b"1")
    objects.replace("a", mark, b"2")
    with pytest.raises(Overtaken):
        objects.replace("a", mark, b"2")
    with pytest.raises(Overtaken):
        objects.replace("a", None, b"2")


def test_being_overtaken_by_something_larger_is_being_overtaken(objects: Objects) -> None:
    mark = objects.replace("a", None, b"1")
    objects.replace("a", mark, b"much larger")
    with pytest.raises(Overtaken):
        objects.replace("a", mark, b"2")
    objects.remove(["a"])
    with pytest.raises(Overtaken):
        objects.replace("a", mark, b"2")


def test_a_repetition_that_is_refused_because_of_itself_succeeded(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: Callable[..., object] = obstore.put

    def put_twice(store: object, path: str, data: bytes, **arguments: object) -> object:
        put(store, path, data, **arguments)
        return put(store, path, data, **arguments)

    monkeypatch.setattr(obstore, "put", put_twice)
    mark = objects.replace("a", None, b"1")
    newer = objects.replace("a", mark, b"2")
    monkeypatch.undo()
    assert objects.read("a", 1) == Object(b"2", newer)


def test_a_checkpoint_that_may_have_been_written_overtakes_nobody(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = open_objects(url)
    files = PublicObjects(objects)
    replace = objects.replace
    for arrives in (True, False):
        files.write_checkpoint(b"1")

        def lose_the_answer(
            path: str, known: str | None, note: bytes, headers: Mapping[str, str], arrives: bool = arrives
        ) -> str:
            if arrives:
                replace(path, known, note, headers)
            raise ObjectsFailed("let objects be written")

        monkeypatch.setattr(objects, "replace", lose_the_answer)
        with pytest.raises(ObjectsFailed):
            files.write_checkpoint(b"2")
        monkeypatch.undo()
        files.write_checkpoint(b"3")
        assert files.read(CHECKPOINT) == b"3"


def test_a_larger_object_than_expected_is_not_taken(objects: Objects) -> None:
    objects.replace("a", None, b"12345")
    with pytest.raises(ObjectsFailed, match="expected size"):
        objects.read("a", 4)


def test_removing_what_is_gone_is_no_error(objects: Objects) -> None:
    objects.remove(["a", "b"])


def test_a_storage_that_is_not_there_is_said_to_be_away(monkeypatch: pytest.MonkeyPatch, s3: S3Server) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    objects = open_objects("s3://bucket/log")
    for ask in (
        lambda: objects.read("a", 1),
        lambda: objects.replace("a", None, b""),
        lambda: objects.write([("a", b"")], {}),
        lambda: list(objects.paths("")),
        lambda: objects.remove(["a"]),
        lambda: PublicObjects(objects).read_checkpoint(),
    ):
        with pytest.raises(ObjectsFailed, match="the object storage does not"):
            ask()
    with pytest.raises(UsageError, match="cannot use s3://bucket/log"):
        PublicObjects(objects).create()


@pytest.mark.parametrize(
    "url", ["s3://", "http://bucket", "s3:///path", "s3://b/a//b", "s3://b?x=1", "s3://b#x", "s3://["]
)
def test_a_url_that_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="s3://bucket/prefix"):
        check_object_url(url)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.objects.find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="install `sameview"):
        open_objects("s3://bucket/log")


async def test_a_log_whose_storage_is_away_when_it_starts_cannot_tell(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_signer_key(tmp_path / "log.key", KEY)
    (tmp_path / "log.toml").write_text(
        f'origin = "{KEY.name}"\ndata = "data"\nregister = "register"\nstorage = "{url}"\nkeys = ["log.key"]\n'
    )
    settings = read_settings(tmp_path / "log.toml")
    await _init(settings)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(CannotTell, match="the object storage does not"):
        async with _node(settings):
            pass


async def test_readers_are_told_to_come_again_while_the_storage_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    await make_log(tmp_path, KEY.name)
    async with open_log(tmp_path, [KEY]) as opened:
        files = PublicObjects(open_objects("s3://bucket/log"))
        app = LogApp(opened.sequencer, files, lambda: None, opened.history, LogMetrics(Metrics()))
        async with served(app.app()) as answering:
            answer = await answering.get("/tile/0/000")
    assert (answer.status, answer.headers["cache-control"]) == (503, "no-store")
    assert int(answer.headers["retry-after"]) > 0


# Bundles that are kept compressed.

BUNDLE = TileFile("tile/entries/000", format_entries([b"entry %d of a log " % number * 9 for number in range(256)]))
RANDOM = TileFile("tile/entries/001", format_entries([random.Random(number).randbytes(200) for number in range(256)]))


def stored(s3: S3Server, url: str, path: str) -> bytes:
    return Path(s3.root, url.removeprefix("s3://"), path).read_bytes()


def test_bundles_are_kept_compressed_where_that_makes_them_smaller(s3: S3Server, url: str) -> None:
    """SPEC: T-15"""
    files = PublicObjects(open_objects(url), gzip_bundles=True)
    files.write([*TILES[:1], BUNDLE, RANDOM])
    kept = {file.path: stored(s3, url, file.path) for file in (TILES[0], BUNDLE, RANDOM)}
    assert gzip.decompress(kept[BUNDLE.path]) == BUNDLE.data
    assert len(kept[BUNDLE.path]) < len(BUNDLE.data) / 5
    assert (kept[TILES[0].path], kept[RANDOM.path]) == (TILES[0].data, RANDOM.data)
    # Whoever reads from the storage is told, and we read either, whatever is configured.
    told = {path: obstore.get(open_objects(url)._store, path).attributes.get("Content-Encoding") for path in kept}
    assert told == {TILES[0].path: None, BUNDLE.path: "gzip", RANDOM.path: None}
    for reader in (files, PublicObjects(open_objects(url))):
        assert [reader.read(file.path) for file in (TILES[0], BUNDLE, RANDOM)] == [
            TILES[0].data,
            BUNDLE.data,
            RANDOM.data,
        ]


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(bytes(200_000_000), 9, mtime=0),
        gzip.compress(b"cut short", mtime=0)[:-9],
        gzip.compress(b"more", mtime=0) + b"behind it",
        b"no gzip",
        b"",
    ],
    ids=["a bomb", "cut short", "more behind", "none", "nothing"],
)
def test_a_compressed_bundle_that_is_none_is_a_lost_one(data: bytes, url: str) -> None:
    open_objects(url).write([("tile/entries/000", data)], GZIP_HEADERS)
    files = PublicObjects(open_objects(url))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LostTile, match="missing or damaged"):
        files.read("tile/entries/000")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 100_000  # KiB


async def test_a_log_may_begin_and_cease_to_compress_and_others_read_all_of_it(
    tmp_path: Path, s3: S3Server, url: str
) -> None:
    await make_log(tmp_path, KEY.name)
    entries = iter(range(10**6))
    for compress in (True, False, True):
        files = PublicObjects(open_objects(url), gzip_bundles=compress)
        async with open_log(tmp_path, [KEY], files=files) as opened, served(opened.app.app()) as ours:
            await opened.add(*(b"entry %d of a log " % next(entries) * 9 for _ in range(300)))
            await opened.publisher.publish()
            # By way of the log, without compression.
            assert (await check(ours.url, Trust((KEY.verifier_key,)), None, tiles_only=False)).entries
    kept = [stored(s3, url, f"tile/entries/{path}")[:2] for path in ("000", "001", "002", "003.p/132")]
    assert kept == [b"\x1f\x8b", b"\0\xab", b"\x1f\x8b", b"\x1f\x8b"]

    async def as_storages_do(request: Request) -> Response:
        """What was put there, as it was put there, whatever the reader said it takes."""
        try:
            found = obstore.get(open_objects(url)._store, request.path_params["path"])
        except FileNotFoundError:
            return Response(status_code=404)
        names = ("Content-Type", "Content-Encoding")
        headers = {name: value for name, value in found.attributes.items() if name in names}
        return Response(bytes(found.bytes()), headers=headers)

    async with served(Starlette(routes=[Route("/{path:path}", as_storages_do)])) as direct:
        checked = await check(direct.url, Trust((KEY.verifier_key,)), None, tiles_only=False)
        assert checked.entries == 900


async def test_what_was_trimmed_is_replayed_from_compressed_bundles(tmp_path: Path, url: str) -> None:
    await make_log(tmp_path, KEY.name)
    files = PublicObjects(open_objects(url), gzip_bundles=True)
    async with open_log(tmp_path, [KEY], files=files) as opened:
        for first in (0, 300):
            await opened.add(*(b"entry %d of a log " % number * 9 for number in range(first, first + 300)))
            await opened.publisher.publish()
        database = opened.history._database
        before = await replay(database, KEY.name, files)
        await Trimmer(database, files, lambda: opened.publisher.published).trim()
        assert await first_kept(database) > 0
        assert await replay(database, KEY.name, PublicObjects(open_objects(url))) == before
