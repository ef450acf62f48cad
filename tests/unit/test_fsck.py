"""fsck: passes on every sound log, and names the file that is not, whichever byte of whichever file it is."""

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.errors import CannotTell, UsageError
from sameview.fsck import DerivedTree, check
from tests.commands import Sameview
from tests.fakes_log import WITNESSES, FakeLog
from tests.keys import log_key, mldsa_key
from tests.serving import serving
from tests.vectors import vector
from tlog.errors import ProofError, SignatureError
from tlog.hashing import leaf_hashes
from tlog.tiles import EntryBundle, Tile, bundles_for, parse_entries, tiles_at
from tlog.trust import Trust

SIZE = 300  # a full tile of each kind, and the partial ones of two levels


@pytest.fixture(scope="module")
def log() -> FakeLog:
    made = FakeLog(b"entry %d" % number for number in range(SIZE))
    made.publish()
    return made


@pytest.fixture(scope="module")
def trust(log: FakeLog) -> Trust:
    return Trust((log.key.verifier_key,))


def paths(size: int) -> Iterator[str]:
    yield from (tile.path() for tile in tiles_at(size))
    yield from (bundle.path() for bundle in bundles_for(0, size, size))


def write(log: FakeLog, folder: Path, size: int = SIZE) -> Path:
    """The log as a directory of files."""
    for path in ("checkpoint", *paths(size)):
        data = log.serve(path)
        assert data is not None
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


# What is derived.


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65535, 65536, 65536 + 256, 65536 + 300])
def test_derives_every_tile_of_a_tree_and_its_root(size: int) -> None:
    whole = FakeLog()
    whole.leaves = leaf_hashes([b"%d" % number for number in range(size)])
    tree = DerivedTree()
    tiles = [pair for at in range(0, size, 256) for pair in tree.append(whole.leaves[at : at + 256])]
    tiles += tree.edge()
    assert sorted(tile.path() for tile, _ in tiles) == sorted(tile.path() for tile in tiles_at(size))
    assert tree.range.root() == whole.head(size).root_hash
    for tile, hashes in tiles:
        first = tile.index * 256
        assert hashes[0] == whole.node(8 * tile.level, first)
        assert hashes[-1] == whole.node(8 * tile.level, first + tile.width - 1)


# What passes.


async def test_a_sound_log_passes(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    checked = await check(str(write(log, tmp_path)), trust)
    assert (checked.head.size, checked.entries, checked.tiles) == (SIZE, SIZE, 3)


async def test_a_log_of_several_windows_passes(trust: Trust, tmp_path: Path) -> None:
    large = FakeLog(b"%d" % number for number in range(9000))
    large.publish()
    seen: list[tuple[int, int]] = []
    await check(str(write(large, tmp_path, 9000)), trust, progress=lambda done, size: seen.append((done, size)))
    assert seen == [(0, 9000), (4096, 9000), (8192, 9000), (9000, 9000)]


async def test_the_entries_of_a_mirror_of_tiles_are_not_asked_for(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    shutil.rmtree(tmp_path / "tile/entries")
    checked = await check(str(tmp_path), trust, tiles_only=True)
    assert (checked.entries, checked.tiles) == (0, 3)
    with pytest.raises(ProofError, match=r"tile/entries/000 is missing"):
        await check(str(tmp_path), trust)


async def test_full_files_take_the_place_of_partial_ones(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    older = trust.open(log.sign(200)).require()
    assert not (tmp_path / Tile(0, 0, 200).path()).exists()
    for tiles_only in (False, True):
        # Of level 1, which a tree of 200 entries does not have, nothing is read.
        assert (await check(str(tmp_path), trust, older, tiles_only=tiles_only)).tiles == 1


async def test_compressed_bundles_pass(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    for bundle in bundles_for(0, SIZE, SIZE):
        file = tmp_path / bundle.path()
        file.write_bytes(gzip.compress(file.read_bytes()))
    assert (await check(str(tmp_path), trust)).entries == SIZE


async def test_an_entry_that_looks_like_gzip_is_an_entry(trust: Trust, tmp_path: Path) -> None:
    disguised = FakeLog([b"\0" * 0x1F8B])  # its length is the two bytes with which gzip begins
    disguised.publish()
    assert (await check(str(write(disguised, tmp_path, 1)), trust)).entries == 1


async def test_an_empty_log_passes(trust: Trust, tmp_path: Path) -> None:
    empty = FakeLog()
    empty.publish()
    assert (await check(str(write(empty, tmp_path, 0)), trust)).tiles == 0


async def test_the_signature_of_a_mirror_is_enough(log: FakeLog, tmp_path: Path) -> None:
    write(log, tmp_path)
    assert (await check(str(tmp_path), Trust((WITNESSES[0].verifier_key,)))).head.size == SIZE


# What does not.


@pytest.mark.parametrize(
    ("path", "tiles_only"),
    [*((path, False) for path in paths(SIZE)), *((tile.path(), True) for tile in tiles_at(SIZE))],
)
async def test_one_wrong_byte_in_any_file_is_found_and_the_file_named(
    log: FakeLog, trust: Trust, tmp_path: Path, path: str, tiles_only: bool
) -> None:
    write(log, tmp_path)
    file = tmp_path / path
    good = file.read_bytes()
    for place in {0, 1, 2, len(good) // 3, len(good) // 2, len(good) - 33 if len(good) > 33 else 3, len(good) - 1}:
        flip(file, place)
        with pytest.raises(ProofError) as refusal:
            await check(str(tmp_path), trust, tiles_only=tiles_only)
        assert str(refusal.value).startswith(path), (place, str(refusal.value))
        file.write_bytes(good)


@pytest.mark.parametrize("place", range(0, 100, 9))
async def test_one_wrong_byte_in_the_checkpoint_is_found(
    log: FakeLog, trust: Trust, tmp_path: Path, place: int
) -> None:
    write(log, tmp_path)
    flip(tmp_path / "checkpoint", place)
    with pytest.raises((ProofError, SignatureError), match=r"checkpoint|signature"):
        await check(str(tmp_path), trust)


@pytest.mark.parametrize("path", sorted(paths(SIZE)))
async def test_a_missing_shorter_or_longer_file_is_named(log: FakeLog, trust: Trust, tmp_path: Path, path: str) -> None:
    file = write(log, tmp_path) / path
    good = file.read_bytes()
    for data in (good[:-1], good[:-32], good + b"\0" * 32, b"", b"\0" * 17_000_000):
        file.write_bytes(data)
        with pytest.raises(ProofError) as refusal:
            await check(str(tmp_path), trust)
        assert str(refusal.value).startswith(path)
    file.unlink()
    with pytest.raises(ProofError, match=f"^{path} is missing"):
        await check(str(tmp_path), trust)


async def test_damaged_compression_is_named(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    file = tmp_path / EntryBundle(0).path()
    packed = gzip.compress(file.read_bytes())
    for data in (packed[:-9], packed + b"\0", packed[:40] + b"\xff" * 20 + packed[60:]):
        file.write_bytes(data)
        with pytest.raises(ProofError, match=r"^tile/entries/000: "):
            await check(str(tmp_path), trust)


async def test_a_full_file_in_place_of_a_partial_one_is_named_itself(
    log: FakeLog, trust: Trust, tmp_path: Path
) -> None:
    write(log, tmp_path)
    flip(tmp_path / "tile/0/000", 40)
    with pytest.raises(ProofError, match=r"^tile/0/000: not the hashes of tile/entries/000"):
        await check(str(tmp_path), trust, trust.open(log.sign(200)).require())


async def test_files_that_agree_on_other_entries_are_named_together(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    other = FakeLog([b"other", *log.entries[1:]])
    for path in ("tile/entries/000", "tile/0/000"):
        (tmp_path / path).write_bytes(other.serve(path) or b"")
    with pytest.raises(
        ProofError, match=r"^tile/entries/000 and tile/0/000: other hashes than those in tile/1/000.p/1, which"
    ):
        await check(str(tmp_path), trust)


async def test_a_whole_other_tree_contradicts_the_checkpoint(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    other = FakeLog([*log.entries[:-1], b"other"])
    other.publish()
    write(other, tmp_path)
    (tmp_path / "checkpoint").write_bytes(log.published)
    with pytest.raises(ProofError, match=r"^tile/entries/001.p/44 or the checkpoint is wrong"):
        await check(str(tmp_path), trust)
    with pytest.raises(ProofError, match=r"^tile/0/001.p/44 or the checkpoint is wrong"):
        await check(str(tmp_path), trust, tiles_only=True)


async def test_where_no_tile_is_partial_only_the_checkpoint_can_be_wrong(trust: Trust, tmp_path: Path) -> None:
    one, other = (FakeLog(b"%d %d" % (seed, number) for number in range(256)) for seed in (1, 2))
    other.publish()
    write(other, tmp_path, 256)
    with pytest.raises(ProofError, match=r"^the checkpoint is wrong"):
        await check(str(tmp_path), trust, trust.open(one.sign()).require())


async def test_two_files_that_are_both_wrong_are_both_named(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    flip(tmp_path / "tile/0/000", 0)
    flip(tmp_path / "tile/entries/000", 5)
    with pytest.raises(ProofError, match=r"^tile/0/000 and tile/entries/000: they disagree, and neither"):
        await check(str(tmp_path), trust)


async def test_the_first_of_several_faults_is_the_one_that_is_named(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    for bundle in bundles_for(0, SIZE, SIZE):
        (tmp_path / bundle.path()).unlink()
    with pytest.raises(ProofError, match=r"^tile/entries/000 is missing"):
        await check(str(tmp_path), trust)


async def test_a_key_that_did_not_sign_is_refused(log: FakeLog, tmp_path: Path) -> None:
    write(log, tmp_path)
    for key in (log_key(log.origin), log_key("log.example/two"), mldsa_key("mirror.example")):
        with pytest.raises(SignatureError):
            await check(str(tmp_path), Trust((key.verifier_key,)))


async def test_a_place_without_a_log_is_a_mistake(trust: Trust, tmp_path: Path) -> None:
    for source, match in ((tmp_path, "there is no checkpoint"), (tmp_path / "none", "neither a URL nor a directory")):
        with pytest.raises(UsageError, match=match):
            await check(str(source), trust)


async def test_a_file_that_cannot_be_read_tells_nothing(log: FakeLog, trust: Trust, tmp_path: Path) -> None:
    write(log, tmp_path)
    file = tmp_path / "tile/entries/000"
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(CannotTell, match=r"^tile/entries/000 cannot be read"):
        await check(str(tmp_path), trust)


# Over HTTP.


def front(log: FakeLog, **answers: Response) -> Starlette:
    """The log over HTTP, with other answers for some paths, which stand without slashes."""

    async def answer(request: Request) -> Response:
        path = str(request.path_params["path"])
        data = log.serve(path)
        return answers.get(path.replace("/", "_")) or (Response(status_code=404) if data is None else Response(data))

    return Starlette(routes=[Route("/prefix/{path:path}", answer)])


async def test_a_log_is_checked_over_http(log: FakeLog, trust: Trust) -> None:
    packed = gzip.compress(log.serve("tile/entries/000") or b"")
    compressed = Response(packed, headers={"content-encoding": "gzip"})
    async with serving(front(log, tile_entries_000=compressed)) as place:
        assert (await check(f"{place.url}/prefix/", trust)).tiles == 3


async def test_a_wrong_answer_over_http_is_named(log: FakeLog, trust: Trust) -> None:
    wrong = Response(b"\0" * 8192)
    large = Response(b"\0" * 8193)
    for answer, match in ((wrong, "^tile/0/000: not the hashes"), (large, "^tile/0/000 is larger than any legal one")):
        async with serving(front(log, tile_0_000=answer)) as place:
            with pytest.raises(ProofError, match=match):
                await check(f"{place.url}/prefix", trust)


@pytest.mark.parametrize("status", [301, 400, 401, 503])
async def test_a_refusal_over_http_tells_nothing(
    log: FakeLog, trust: Trust, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameview.fsck.source.RETRY_SECONDS", (0.0,))
    async with serving(front(log, tile_0_000=Response(status_code=status))) as place:
        with pytest.raises(CannotTell, match=f"tile/0/000 cannot be fetched: the server answered {status}"):
            await check(f"{place.url}/prefix", trust)


async def test_a_busy_server_is_asked_again(log: FakeLog, trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sameview.fsck.source.RETRY_SECONDS", (0.0,))
    answers = [Response(status_code=429), Response(log.published)]

    async def answer(request: Request) -> Response:
        if request.url.path == "/checkpoint":
            return answers.pop(0)
        return Response(log.serve(request.url.path[1:]))

    async with serving(Starlette(routes=[Route("/{path:path}", answer)])) as place:
        assert (await check(place.url, trust)).head.size == SIZE


async def test_a_store_that_forbids_what_it_does_not_have_is_understood(log: FakeLog, trust: Trust) -> None:
    older = trust.open(log.sign(200)).require()
    forbidden = {f"tile_{kind}_000.p_200": Response(status_code=403) for kind in ("0", "entries")}
    async with serving(front(log, **forbidden)) as place:
        assert (await check(f"{place.url}/prefix", trust, older)).entries == 200


async def test_nobody_there_tells_nothing(trust: Trust) -> None:
    with pytest.raises(CannotTell, match="checkpoint cannot be fetched"):
        await check("http://127.0.0.1:1", trust)


# Logs of others.


def tessera() -> tuple[Path, dict[str, Any]]:
    return vector("transparency-dev-tessera/log"), json.loads(vector("transparency-dev-tessera/keys.json").read_text())


@pytest.mark.parametrize("size", range(16))
def test_a_tessera_log_passes_at_every_size(sameview: Sameview, size: int) -> None:
    folder, keys = tessera()
    ran = sameview("fsck", folder, "--vkey", keys["vkey"], "--checkpoint", folder / f"checkpoint.{size}", "--json")
    assert (ran.code, ran.document["size"], ran.document["entries"]) == (0, size, size)


def test_a_tessera_log_passes_with_the_checkpoint_it_serves(sameview: Sameview) -> None:
    folder, keys = tessera()
    ran = sameview("fsck", folder, "--vkey", keys["vkey"])
    what = "every tile (1) and entry (15) hashes to the root that example.com/log/testdata signed"
    assert (ran.code, ran.out, ran.err) == (0, f"OK: example.com/log/testdata at size 15: {what}\n", "")
    bundle = (folder / "tile/entries/000.p/15").read_bytes()
    assert [entry.decode() for entry in parse_entries(bundle, 15)] == keys["entries"]


@pytest.mark.parametrize("size", range(1, 16))
def test_a_tessera_log_fails_with_a_wrong_byte_in_any_file(sameview: Sameview, tmp_path: Path, size: int) -> None:
    folder, keys = tessera()
    copy = tmp_path / "log"
    shutil.copytree(folder, copy)
    checkpoint = copy / f"checkpoint.{size}"
    for path in (f"tile/0/000.p/{size}", f"tile/entries/000.p/{size}"):
        good = (copy / path).read_bytes()
        for place in {0, len(good) // 2, len(good) - 1}:
            flip(copy / path, place)
            ran = sameview("fsck", copy, "--vkey", keys["vkey"], "--checkpoint", checkpoint)
            assert (ran.code, ran.out.split(" ")[1].rstrip(":")) == (1, path)
        (copy / path).write_bytes(good)
    for place in range(0, len(checkpoint.read_bytes()), 20):
        flip(checkpoint, place)
        assert sameview("fsck", copy, "--vkey", keys["vkey"], "--checkpoint", checkpoint).code in (1, 2)
        flip(checkpoint, place)


@pytest.fixture
def mirror(tmp_path: Path) -> tuple[Path, str, str]:
    """The mirror that Sunlight's own tests serve: a folder, its key and the log's."""
    keys = json.loads(vector("FiloSottile-sunlight/skylight/keys.json").read_text())
    shutil.copytree(vector("FiloSottile-sunlight/skylight/mirror"), tmp_path / "mirror")
    return tmp_path / "mirror", keys["mirror"]["vkeys"][0], keys["log_vkey"]


def test_a_mirror_made_by_sunlight_passes(sameview: Sameview, mirror: tuple[Path, str, str]) -> None:
    folder, key, log_key = mirror
    ran = sameview("fsck", folder, "--vkey", key, "--tiles-only")
    assert ran.code == 0
    assert re.fullmatch(
        r"OK: rome2026h1\.example\.org at size 300: every tile \(3\) hashes to the root that \S+ cosigned; "
        r"give the log's --vkey too to find out whether the log signed it\n",
        ran.out,
    )
    both = ("--vkey", key, "--vkey", log_key, "--origin", "rome2026h1.example.org")
    assert sameview("fsck", folder, *both, "--tiles-only").code == 0
    assert sameview("fsck", folder, "--vkey", log_key, "--tiles-only").code == 1  # it has signed nothing here
    assert sameview("fsck", folder, "--vkey", key).code == 1  # and there are no entries


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"])
def test_a_mirror_made_by_sunlight_fails_with_a_wrong_byte(
    sameview: Sameview, mirror: tuple[Path, str, str], path: str
) -> None:
    folder, key, _ = mirror
    size = (folder / path).stat().st_size
    for place in {0, 31, size // 2, size - 1}:
        flip(folder / path, place)
        ran = sameview("fsck", folder, "--vkey", key, "--tiles-only", "--json")
        assert (ran.code, ran.document["holds"], ran.document["verdict"].split(" ")[0].rstrip(":")) == (1, False, path)
        flip(folder / path, place)


def test_the_tree_that_the_log_itself_signed_is_not_the_mirrors(
    sameview: Sameview, mirror: tuple[Path, str, str]
) -> None:
    folder, _, key = mirror
    signed = vector("FiloSottile-sunlight/skylight/log.checkpoint")
    ran = sameview("fsck", folder, "--vkey", key, "--checkpoint", signed, "--tiles-only")
    assert ran.code == 1
    assert ran.out.startswith("FAILED: tile/0/001.p/44 or the checkpoint is wrong")


# The command.


def test_bad_usage_ends_with_2_and_a_sentence(sameview: Sameview, tmp_path: Path) -> None:
    folder, keys = tessera()
    (tmp_path / "odd").write_bytes(b"no checkpoint\n")
    for arguments, sentence in (
        ((folder,), "Missing option '--vkey'"),
        ((folder, "--vkey", "nonsense"), "--vkey number 1: a key is name+id+base64"),
        ((tmp_path, "--vkey", keys["vkey"]), "there is no checkpoint at this place"),
        ((tmp_path / "none", "--vkey", keys["vkey"]), "neither a URL nor a directory"),
        ((folder, "--vkey", keys["vkey"], "--checkpoint", tmp_path / "none"), "cannot read"),
        ((folder, "--vkey", keys["vkey"], "--checkpoint", tmp_path / "odd"), "has no empty line"),
    ):
        ran = sameview("fsck", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert sentence in ran.err


def test_a_server_that_cannot_be_reached_ends_with_3(sameview: Sameview) -> None:
    ran = sameview("fsck", "http://127.0.0.1:1", "--vkey", tessera()[1]["vkey"])
    assert (ran.code, ran.err) == (3, "sameview: checkpoint cannot be fetched: the server cannot be reached\n")


def test_nothing_is_said_of_progress_where_there_is_no_terminal(sameview: Sameview) -> None:
    folder, keys = tessera()
    assert sameview("fsck", folder, "--vkey", keys["vkey"]).err == ""
