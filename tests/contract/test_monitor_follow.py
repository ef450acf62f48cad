"""A follower adopts what a log signed, over real sockets, and nothing else, whatever the log does."""

import gzip
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from monitor.follow import Ending
from monitor.mirror import Mirror
from monitor.room import USUAL_BYTES, Room
from tests.fakes_log import FakeLog
from tests.logs_served import PLENTY, Answer, Following, following, head_of, honest, served, whole
from tlog.hashing import Hash, TreeHead, leaf_hash
from tlog.signed_checkpoint import open_checkpoint

SECONDS = 20.0  # for one test, which takes a fraction of one: a hang is a failure


def grown(size: int) -> FakeLog:
    log = FakeLog()
    log.add(size)
    return log


def instead(log: FakeLog, answers: dict[str, bytes]) -> Answer:
    """Serve a log, but for some paths, whose answers are given as they go over the wire."""
    usual = honest(log)

    async def answer(path: str, stream: trio.SocketStream) -> None:
        await (stream.send_all(answers[path]) if path in answers else usual(path, stream))

    return answer


def is_the_tree(found: Following, log: FakeLog, size: int | None = None) -> bool:
    """Tell whether the mirror is the log's tree, to the last leaf."""
    size = log.size if size is None else size
    return (found.mirror.size, found.mirror.draft_head()) == (size, log.head(size)) and all(
        found.mirror.read(0, index) == log.leaves[index] for index in range(size)
    )


@pytest.mark.parametrize("size", [1, 200, 256, 300, 1000, 5000])
async def test_every_entry_is_hashed_up_to_the_signed_head(tmp_path: Path, size: int) -> None:
    log = grown(size)
    with trio.fail_after(SECONDS):
        async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:
            assert await found.follower.follow(head_of(log)) is Ending.OVER
            assert (is_the_tree(found, log), found.adopted, found.wrong) == (True, [size], [])


async def test_no_bundle_is_fetched_twice_and_no_partial_one_that_no_head_calls_for(tmp_path: Path) -> None:
    # SPEC: T-13 Partial tiles are fetched only where a verified checkpoint's size demands them.
    log = grown(3000)
    async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:
        await found.follower.follow(head_of(log, 100))
        await found.follower.follow(head_of(log, 3000))
        assert sorted(there.asked) == sorted(
            ["tile/entries/000.p/100", "tile/0/011.p/184", *(f"tile/entries/{index:03}" for index in range(11))]
        )
        assert is_the_tree(found, log)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("wrong", [0, 255, 256, 2900, 2999])
async def test_a_flipped_byte_is_named_and_what_comes_before_it_is_kept(tmp_path: Path, wrong: int) -> None:
    log, twin = grown(3000), grown(3000)
    twin.entries[wrong] = flipped(twin.entries[wrong], 3)
    bundle = f"tile/entries/{wrong // 256:03}" + (".p/184" if wrong // 256 == 11 else "")
    found_there = twin.serve(bundle)
    assert found_there is not None
    lies = instead(log, {bundle: whole(200, found_there)})
    async with served(lies) as there, following(tmp_path / "m", there.url, size=0) as found:
        if wrong // 256 == 11:  # so that its entries are read, and not only hashes
            there.answer = honest(log)
            await found.follower.follow(head_of(log, 2816))
            there.answer = lies
        assert await found.follower.follow(head_of(log)) is Ending.WRONG
        assert found.wrong == [f"entry {wrong}, in tile/entries/{wrong // 256:03}, is not the one that was signed"]
        assert (found.mirror.size == 3000, found.mirror.draft_size) == (False, wrong // 256 * 256)
        # It is asked for that bundle first, and for no other as long as that is wrong.
        there.asked.clear()
        assert await found.follower.follow(head_of(log)) is Ending.WRONG
        assert [path for path in there.asked if "entries" in path] == [bundle]
        there.answer = honest(log)
        assert await found.follower.follow(head_of(log)) is Ending.OVER
        assert is_the_tree(found, log)


async def test_tiles_that_lead_nowhere_do_not_help_and_nothing_is_kept(tmp_path: Path) -> None:
    log = grown(1000)
    twin = log.fork(700)
    twin.add(300, "another")
    async with served(honest(twin)) as there, following(tmp_path / "m", there.url) as found:
        # The first attempt believes the partial tile of hashes, the second reads its entries.
        assert await found.follower.follow(head_of(log)) is Ending.AGAIN
        assert await found.follower.attempt() is Ending.WRONG
        assert found.wrong == ["the log's hash tiles do not lead to the signed root either"]
        assert (found.mirror.draft_size, found.adopted) == (0, [])


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", FakeLog([b"x"] * 255).serve("tile/entries/000.p/255"), FakeLog([b"x"] * 256).serve("tile/0/000")],
    ids=["empty", "cut", "short", "a tile of hashes"],
)
async def test_a_truncated_bundle_is_named(tmp_path: Path, body: bytes) -> None:
    log = grown(1000)
    async with (
        served(instead(log, {"tile/entries/002": whole(200, body)})) as there,
        following(tmp_path / "m", there.url) as found,
    ):
        assert await found.follower.follow(head_of(log)) is Ending.WRONG
        assert found.wrong[0].startswith("tile/entries/002: an entry bundle")
        assert (found.mirror.draft_size, found.adopted) == (512, [])


@pytest.mark.parametrize(
    "answer",
    [
        whole(200, b"abc")[:-1],
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        whole(500),
        whole(302, b"", "location: /elsewhere\r\n"),
    ],
    ids=["cut off", "nothing", "half a head", "not HTTP", "failure", "redirect"],
)
async def test_no_answer_is_no_entry_and_no_accusation(tmp_path: Path, answer: bytes) -> None:
    log = grown(1000)
    async with (
        served(instead(log, {"tile/entries/002": answer})) as there,
        following(tmp_path / "m", there.url) as found,
    ):
        assert await found.follower.follow(head_of(log)) is Ending.UNSERVED
        assert (found.mirror.draft_size, found.wrong, found.adopted) == (512, [], [])
        assert "elsewhere" not in there.asked
        there.answer = honest(log)
        assert await found.follower.follow(head_of(log)) is Ending.OVER
        assert is_the_tree(found, log)


async def endless(path: str, stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await stream.send_all(bytes(1 << 16))


async def gzip_bomb(path: str, stream: trio.SocketStream) -> None:
    await stream.send_all(whole(200, BOMB, "content-encoding: gzip\r\n"))


BOMB = gzip.compress(bytes(200 * 1024 * 1024))  # 194 KB


@pytest.mark.parametrize("answer", [endless, gzip_bomb])
async def test_a_body_without_end_takes_no_more_memory_than_a_bundle_may(tmp_path: Path, answer: Answer) -> None:
    async with served(answer) as there, following(tmp_path / "m", there.url) as found:
        tracemalloc.start()
        ending = await found.follower.follow(head_of(grown(1000)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (ending, found.mirror.draft_size, found.wrong) == (Ending.UNSERVED, 0, [])
        assert peak < 80 * 1024 * 1024
        assert found.room.is_free


async def test_large_entries_are_taken_once_they_are_expected(tmp_path: Path) -> None:
    log = FakeLog([bytes([index % 256]) * 20_000 for index in range(600)])
    async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:
        assert await found.follower.follow(head_of(log)) is Ending.OVER
        assert is_the_tree(found, log)


async def test_a_log_that_says_429_is_left_alone_for_as_long_as_it_says(tmp_path: Path) -> None:
    log = grown(1000)

    async def busy(path: str, stream: trio.SocketStream) -> None:
        await stream.send_all(whole(429, b"", "retry-after: 3600\r\n"))

    async with served(busy) as there, following(tmp_path / "m", there.url) as found:
        for _ in range(3):
            assert await found.follower.follow(head_of(log)) is Ending.UNSERVED
        assert (len(there.asked), 3500 < found.allowance.rest_seconds <= 3600) == (1, True)


async def test_an_absurd_size_keeps_nobody_from_a_head_that_can_be_reached(tmp_path: Path) -> None:
    log = grown(5000)
    absurd = open_checkpoint(log.sign(head=TreeHead(2**60, Hash(bytes(32)))), [log.key.verifier_key])
    async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:
        assert await found.follower.follow(absurd) is Ending.UNSERVED
        assert found.mirror.draft_size == 5000 // 256 * 256
        assert await found.follower.follow(head_of(log)) is Ending.OVER
        assert is_the_tree(found, log)


async def test_a_nearer_head_is_reached_first(tmp_path: Path) -> None:
    log = grown(600)
    there_is_no_end = open_checkpoint(log.sign(head=TreeHead(2**60, Hash(bytes(32)))), [log.key.verifier_key])
    more = whole(200, FakeLog([b"x"] * 256).serve("tile/entries/000") or b"")
    usual = honest(log)

    async def generous(path: str, stream: trio.SocketStream) -> None:
        await (usual(path, stream) if log.serve(path) is not None else stream.send_all(more))

    with trio.fail_after(SECONDS):
        async with served(generous) as there, following(tmp_path / "m", there.url) as found, trio.open_nursery() as all:
            all.start_soon(found.follower.run)
            found.follower.want(there_is_no_end)
            while found.mirror.draft_size < 256 * 8:  # noqa: ASYNC110 # nobody tells
                await trio.sleep(0.001)
            found.follower.want(head_of(log))
            while not found.adopted:  # noqa: ASYNC110 # nobody tells
                await trio.sleep(0.001)
            assert is_the_tree(found, log)
            all.cancel_scope.cancel()


@pytest.mark.parametrize("gone", ["tile/entries/001.p/44", "tile/0/001.p/44"])
async def test_where_a_partial_is_gone_the_full_one_serves(tmp_path: Path, gone: str) -> None:
    # SPEC: T-14 A client may fetch the full tile instead of a partial one that is gone.
    log = grown(600)
    start = 150 if "entries" in gone else 0
    async with (
        served(instead(log, {gone: whole(404)})) as there,
        following(tmp_path / "m", there.url) as found,
    ):
        if start:
            await found.follower.follow(head_of(log, start))
        assert await found.follower.follow(head_of(log, 300)) is Ending.OVER
        assert gone in there.asked
        assert is_the_tree(found, log, 300)


async def test_a_404_is_not_remembered(tmp_path: Path) -> None:
    log = grown(300)
    async with (
        served(instead(log, {"tile/entries/000": whole(404)})) as there,
        following(tmp_path / "m", there.url) as found,
    ):
        assert await found.follower.follow(head_of(log)) is Ending.UNSERVED
        there.answer = honest(log)
        assert await found.follower.follow(head_of(log)) is Ending.OVER


# Our own disk.


async def test_a_draft_that_the_disk_lost_something_of_is_no_fault_of_the_log(tmp_path: Path) -> None:
    log = grown(1000)
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    mirror.extend([leaf_hash(b"another")] * 512)
    mirror.save(mirror.take())
    mirror.close()
    async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:
        found.follower.want(head_of(log))
        assert found.mirror.resumed
        assert await found.follower.attempt() is Ending.AGAIN
        assert (found.mirror.resumed, found.mirror.draft_size) == (False, 0)
        assert await found.follower.attempt() is Ending.OVER
        assert (is_the_tree(found, log), found.wrong) == (True, [])


async def test_a_draft_goes_on_after_a_restart_and_asks_for_nothing_again(tmp_path: Path) -> None:
    log = grown(1000)
    mirror = Mirror.open(tmp_path / "m", max_bytes=PLENTY)
    mirror.extend(log.leaves[:600])
    mirror.save(mirror.take())
    mirror.close()
    async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:
        assert await found.follower.follow(head_of(log)) is Ending.OVER
        assert (is_the_tree(found, log), there.asked) == (True, ["tile/entries/002", "tile/0/003.p/232"])


@pytest.mark.parametrize("method", ["save", "sync"])
async def test_what_the_disk_does_not_take_is_tried_again_from_where_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    log = grown(5000)
    monkeypatch.setattr("monitor.growth.SAVE_SECONDS", 0.0)
    async with served(honest(log)) as there, following(tmp_path / "m", there.url) as found:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(found.mirror, method, full)
            assert await found.follower.follow(head_of(log)) is Ending.STUCK
        assert (found.follower.disk_error is not None, found.adopted, found.wrong) == (True, [], [])
        assert found.mirror.draft_head() == log.head(found.mirror.draft_size)
        assert await found.follower.follow(head_of(log)) is Ending.OVER
        assert (is_the_tree(found, log), found.follower.disk_error) == (True, None)


# Partial bundles of a fast log.


async def test_a_fast_log_is_verified_by_its_partial_tile_and_its_entries_are_read_when_the_bundle_is_full(
    tmp_path: Path,
) -> None:
    # SPEC: T-17 A monitor that sees more than 200 entries per checkpoint SHOULD avoid partial bundles.
    # SPEC: T-18 Then it MUST verify the checkpoint with the partial level-0 tile.
    log = grown(900)
    handed = Handed()
    async with served(honest(log)) as there, following(tmp_path / "m", there.url, on_entries=handed) as found:
        await found.follower.follow(head_of(log, 300))
        assert (is_the_tree(found, log, 300), found.follower.read_size, handed.entries) == (
            True,
            256,
            log.entries[:256],
        )
        await found.follower.follow(head_of(log, 900))
        assert (found.follower.read_size, handed.entries) == (768, log.entries[:768])
        assert not any(path.startswith("tile/entries/") and ".p/" in path for path in there.asked)


async def test_a_bundle_that_stays_partial_is_read_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SPEC: T-20 A bundle that stays partial for too long MUST be fetched.
    monkeypatch.setattr("monitor.follow.PARTIAL_SECONDS", 0.01)
    log = grown(300)
    handed = Handed()
    with trio.fail_after(SECONDS):
        async with (
            served(honest(log)) as there,
            following(tmp_path / "m", there.url, on_entries=handed) as found,
            trio.open_nursery() as all,
        ):
            await found.follower.follow(head_of(log))
            all.start_soon(found.follower.run)
            while found.follower.read_size < 300:  # noqa: ASYNC110 # nobody tells
                await trio.sleep(0.001)
            assert (handed.entries, there.asked[-1]) == (log.entries, "tile/entries/001.p/44")
            all.cancel_scope.cancel()


@pytest.mark.parametrize("wrong", [260, 299])
async def test_entries_that_do_not_belong_to_the_hashes_of_the_partial_tile_are_named(
    tmp_path: Path, wrong: int
) -> None:
    log = grown(600)
    twin = log.fork(300)
    twin.entries[wrong] = b"another"
    answers = {path: whole(200, twin.serve(path) or b"") for path in ("tile/entries/001.p/44",)}
    async with served(instead(log, answers)) as there, following(tmp_path / "m", there.url) as found:
        await found.follower.follow(head_of(log, 300))
        await found.follower._read_rest()
        assert found.wrong == [f"entry {wrong} is another one than the log served before"]
        assert found.follower.read_size == 256


@pytest.mark.parametrize("size", [1, 43, 45, 256])
async def test_a_partial_tile_of_another_width_is_named(tmp_path: Path, size: int) -> None:
    log = grown(300)
    tile = FakeLog([b"x"] * size).serve(f"tile/0/000{'' if size == 256 else f'.p/{size}'}")
    assert tile is not None
    async with (
        served(instead(log, {"tile/0/001.p/44": whole(200, tile)})) as there,
        following(tmp_path / "m", there.url) as found,
    ):
        assert await found.follower.follow(head_of(log)) is Ending.WRONG
        assert (found.mirror.draft_size, found.wrong[0].startswith("tile/0/001.p/44: ")) == (256, True)


class Handed:
    """Takes the entries that were adopted, which have to come in order."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def __call__(self, start: int, entries: Sequence[bytes]) -> None:
        assert start == len(self.entries)
        self.entries += entries


async def test_entries_are_handed_over_when_they_count_and_not_before(tmp_path: Path) -> None:
    log = grown(256)
    handed = Handed()
    bad = open_checkpoint(log.sign(head=TreeHead(256, Hash(bytes(32)))), [log.key.verifier_key])
    async with served(honest(log)) as there, following(tmp_path / "m", there.url, on_entries=handed) as found:
        assert await found.follower.follow(bad) is Ending.WRONG
        assert handed.entries == []
        await found.follower.follow(head_of(log))
        assert handed.entries == log.entries


# Many logs at once.


async def drip(path: str, stream: trio.SocketStream) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        await stream.send_all(b"\x00")
        await trio.sleep(1)


async def silent(path: str, stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_bad_logs_do_not_keep_a_good_one_from_its_head(tmp_path: Path) -> None:
    log, room = grown(20_000), Room(usual=8 * USUAL_BYTES)
    bad = [drip, silent, endless, gzip_bomb]
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as all:

            async def follow_bad(number: int, answer: Answer) -> None:
                folder = tmp_path / f"bad-{number}"
                async with served(answer) as there, following(folder, there.url, room=room) as found:
                    found.follower.want(head_of(grown(1000)))
                    await found.follower.run()

            for number, answer in enumerate(bad):
                all.start_soon(follow_bad, number, answer)
            async with served(honest(log)) as there, following(tmp_path / "m", there.url, room=room) as found:
                assert await found.follower.follow(head_of(log)) is Ending.OVER
                assert is_the_tree(found, log)
            all.cancel_scope.cancel()
