"""A witness over HTTP and over restarts: statuses, persistence, and never two views."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import structlog
import trio

from runtime.errors import UsageError
from tests.fakes import FakeClock
from tests.keys import log_key, mldsa_key, sign_checkpoint, witness_key
from tests.nodes import make_witness, open_witness, witness
from tests.served import Served
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.compact_range import EMPTY_RANGE
from tlog.hashing import EMPTY_ROOT, Hash, leaf_hash, leaf_hashes
from tlog.proofs import prove_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import Tile, TileReader
from witness.cosigner import Cosigned

ORIGIN = "log.example/one"
NAME = "witness.example/one"
LOG = log_key(ORIGIN)
LOGS = {ORIGIN: [LOG.verifier_key]}
ED25519, MLDSA44 = witness_key(NAME), mldsa_key(NAME)
KEYS = [ED25519, MLDSA44]
VERIFIERS = [key.verifier_key for key in KEYS]
PUBLIC = f"/{sha256(ORIGIN.encode()).hexdigest()}/checkpoint"

LEAVES = leaf_hashes([b"entry %d" % number for number in range(256)])


def root(size: int) -> Hash:
    return EMPTY_RANGE.extend(LEAVES[:size]).root()


def proof(old: int, new: int) -> tuple[Hash, ...]:
    reader = TileReader(new, lambda tile: b"".join(LEAVES[tile.start : tile.end]) if tile.level == 0 else _none(tile))
    return tuple(prove_consistency(old, new, reader.node))


def _none(tile: Tile) -> bytes:
    raise AssertionError(tile)


def submission(old: int, new: int, *, path: tuple[Hash, ...] | None = None, root_hash: Hash | None = None) -> bytes:
    checkpoint = Checkpoint(ORIGIN, new, root_hash or root(new))
    return AddCheckpoint(old, proof(old, new) if path is None else path, sign_checkpoint(checkpoint, LOG)).format()


async def add(ours: Served, *arguments: int, **keywords: object) -> int:
    return (await ours.post("/add-checkpoint", submission(*arguments, **keywords))).status  # type: ignore[arg-type]


def opened(ours_lines: bytes, new: int) -> SignedCheckpoint:
    return open_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, new, root(new)), LOG) + ours_lines, VERIFIERS)


async def test_every_key_cosigns_at_the_witness_s_time(tmp_path: Path) -> None:
    """SPEC: W-21, W-22, W-23, W-25"""
    clock = FakeClock(1_800_000_000)
    async with witness(tmp_path, LOGS, KEYS, clock) as ours:
        answer = await ours.post("/add-checkpoint", submission(0, 5))
        cosigned = opened(answer.body, 5)
        assert [(s.key, s.timestamp) for s in cosigned.signatures] == [(key, 1_800_000_000) for key in VERIFIERS]


async def test_a_refused_signature_is_one_line_for_its_log(tmp_path: Path) -> None:
    other = log_key(ORIGIN, seed=2)
    body = AddCheckpoint(0, (), sign_checkpoint(Checkpoint(ORIGIN, 5, root(5)), other)).format()
    unknown = AddCheckpoint(0, (), sign_checkpoint(Checkpoint("log.example/two", 5, root(5)), other)).format()
    async with witness(tmp_path, LOGS, KEYS) as ours:
        with structlog.testing.capture_logs() as logged:
            assert [(await ours.post("/add-checkpoint", sent)).status for sent in (body, unknown, body)] == [
                403,
                404,
                403,
            ]
    assert [(line["log_level"], line["origin"], line["reason"]) for line in logged] == [
        ("warning", ORIGIN, "no trusted key signed the note")
    ]
    assert "compare the log's vkey with ours" in logged[0]["event"]


async def test_growth_with_a_proof_is_cosigned(tmp_path: Path) -> None:
    """SPEC: W-13, W-17"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        assert [await add(ours, 0, 5), await add(ours, 5, 9), await add(ours, 9, 200)] == [200, 200, 200]


async def test_the_same_size_again_refreshes_the_time(tmp_path: Path) -> None:
    """SPEC: W-29"""
    clock = FakeClock(1_800_000_000)
    async with witness(tmp_path, LOGS, KEYS, clock) as ours:
        await add(ours, 0, 5)
        clock.advance(60)
        answer = await ours.post("/add-checkpoint", submission(5, 5))
        assert {signature.timestamp for signature in opened(answer.body, 5).signatures} == {1_800_000_060}


async def test_another_old_size_is_told_ours_in_a_bare_media_type(tmp_path: Path) -> None:
    """SPEC: W-13, W-14, W-15"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        first = await ours.post("/add-checkpoint", submission(3, 5))
        await add(ours, 0, 5)
        later = await ours.post("/add-checkpoint", submission(0, 9))
        assert [(a.status, a.body, a.headers["content-type"]) for a in (first, later)] == [
            (409, b"0\n", "text/x.tlog.size"),
            (409, b"5\n", "text/x.tlog.size"),
        ]


async def test_an_old_size_above_the_checkpoint_s_is_a_bad_request(tmp_path: Path) -> None:
    """SPEC: W-12"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        assert await add(ours, 6, 5, path=()) == 400


@pytest.mark.parametrize(
    ("before", "keywords"),
    [
        ((), {"path": (leaf_hash(b"x"),)}),
        ((5,), {"path": ()}),
        ((5,), {"path": (*proof(5, 9), leaf_hash(b"x"))}),
        ((5,), {"root_hash": leaf_hash(b"x")}),
    ],
    ids=["proof from 0", "no proof", "longer proof", "other root"],
)
async def test_a_tree_that_is_not_shown_to_extend_ours_is_refused(
    before: tuple[int, ...], keywords: dict[str, object], tmp_path: Path
) -> None:
    """SPEC: W-17, W-18"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        for size in before:
            await add(ours, 0, size)
        assert await add(ours, *(before or (0,)), 9, **keywords) == 422


async def test_another_root_of_the_same_size_is_refused(tmp_path: Path) -> None:
    """SPEC: W-19, W-20"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        await add(ours, 0, 5)
        assert await add(ours, 5, 5, path=(), root_hash=leaf_hash(b"x")) == 422


async def test_an_empty_tree_has_one_root(tmp_path: Path) -> None:
    """SPEC: W-16: 422 on first contact, and again when the right one is known"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        wrong = {"path": (), "root_hash": leaf_hash(b"x")}
        right = {"path": (), "root_hash": EMPTY_ROOT}
        assert [await add(ours, 0, 0, **w) for w in (wrong, right, right, wrong)] == [422, 200, 200, 422]
        assert await add(ours, 0, 5) == 200


async def test_the_public_copy_holds_what_was_answered(tmp_path: Path) -> None:
    """SPEC: W-40, W-41, W-42, W-43"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        assert (await ours.get(PUBLIC)).status == 404
        answer = await ours.post("/add-checkpoint", submission(0, 5))
        copy = await ours.get(PUBLIC)
        assert copy.body == sign_checkpoint(Checkpoint(ORIGIN, 5, root(5)), LOG) + answer.body
        assert (copy.headers["cache-control"], copy.headers["content-type"]) == (
            "no-store",
            "text/plain; charset=utf-8",
        )
        assert (await ours.get(PUBLIC.upper().replace("CHECKPOINT", "checkpoint"))).status == 404


async def test_extension_lines_are_cosigned_by_ed25519_alone(tmp_path: Path) -> None:
    """SPEC: CS-11"""
    checkpoint = Checkpoint(ORIGIN, 5, root(5), (b"extension",))
    note = sign_checkpoint(checkpoint, LOG)
    async with witness(tmp_path, LOGS, KEYS) as ours:
        answer = await ours.post("/add-checkpoint", b"old 0\n\n" + note)
        assert [s.key for s in open_checkpoint(note + answer.body, VERIFIERS).signatures] == VERIFIERS[:1]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_add_checkpoint_is_a_post(method: str, tmp_path: Path) -> None:
    """SPEC: W-4"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        answer = await ours.client.fetch(method, f"{ours.url}/add-checkpoint", cap=1000, seconds=5)
        assert answer.status == 405


async def test_a_body_larger_than_any_legal_one_is_refused_without_being_read(tmp_path: Path) -> None:
    async with witness(tmp_path, LOGS, KEYS) as ours:
        assert (await ours.post("/add-checkpoint", b"x" * (1 << 20))).status == 413


async def test_of_many_submissions_at_once_each_size_advances_once(tmp_path: Path) -> None:
    """SPEC: W-27"""
    async with witness(tmp_path, LOGS, KEYS) as ours:
        await add(ours, 0, 1)
        statuses: Counter[int] = Counter()

        async def submit(size: int) -> None:
            statuses[await add(ours, 1, size)] += 1

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(submit, 2 + number % 10)
        assert statuses[200] >= 1
        assert statuses[200] + statuses[409] == 100
        copy = await ours.get(PUBLIC)
        size = open_checkpoint(copy.body, VERIFIERS).size
        # Whoever was first fixed the size; everybody else who was answered 200 refreshed exactly that one.
        assert await add(ours, size, size) == 200


async def test_a_restart_shows_the_same_copy_and_goes_on_from_it(tmp_path: Path) -> None:
    clock = FakeClock(1_800_000_000)
    await make_witness(tmp_path)
    async with open_witness(tmp_path, LOGS, [ED25519], clock) as cosigner:
        assert isinstance(await cosigner.add_checkpoint(submission(0, 5)), Cosigned)
        before = await cosigner.public_copy(PUBLIC[1:65])
    clock.advance(1000)
    async with open_witness(tmp_path, LOGS, [ED25519], clock) as cosigner:
        # Ed25519 is deterministic: the persisted statement, signed again, is the same line.
        assert await cosigner.public_copy(PUBLIC[1:65]) == before
        assert isinstance(await cosigner.add_checkpoint(submission(5, 9)), Cosigned)


async def test_a_clock_far_behind_the_last_signature_signs_nothing(tmp_path: Path) -> None:
    clock = FakeClock(1_800_000_000)
    async with witness(tmp_path, LOGS, KEYS, clock) as ours:
        await add(ours, 0, 5)
        clock.advance(-61)
        assert await add(ours, 5, 9) == 503
        clock.advance(1)
        answer = await ours.post("/add-checkpoint", submission(5, 9))
        # Sixty seconds behind are bridged: time stands still, it does not go back.
        assert {signature.timestamp for signature in opened(answer.body, 9).signatures} == {1_800_000_000}


async def test_an_old_database_is_refused_with_a_way_out(tmp_path: Path) -> None:
    await make_witness(tmp_path)
    data = tmp_path / "data"
    old = (data / "witness.sqlite").read_bytes()
    async with open_witness(tmp_path, LOGS, KEYS, FakeClock()) as cosigner:
        await cosigner.add_checkpoint(submission(0, 5))
    for leftover in data.glob("witness.sqlite*"):
        leftover.unlink()
    (data / "witness.sqlite").write_bytes(old)
    with pytest.raises(UsageError, match="older than its register"):
        async with open_witness(tmp_path, LOGS, KEYS, FakeClock()):
            pass


async def test_the_list_of_logs_says_what_was_cosigned(tmp_path: Path) -> None:
    async with witness(tmp_path, LOGS, KEYS) as ours:
        await add(ours, 0, 5)
        listed = (await ours.get("/v1/logs")).body
        assert b'"size":5' in listed
        assert ORIGIN.encode() in listed
