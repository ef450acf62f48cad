"""What a witness keeps of a log that contradicts itself, and what it does when somebody proves it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from runtime.database_thread import DatabaseThread
from runtime.metrics import Metrics
from tests.fakes import FakeClock
from tests.keys import cosign, log_key, sign_checkpoint, witness_key
from tests.nodes import make_witness, witness_settings
from tests.served import Served, served
from tests.witness_logs import FORK, HONEST, KEYS, LOG, LOGS, ORIGIN, PUBLIC, VERIFIERS, signed, submission
from tlog.checkpoint import Checkpoint
from tlog.evidence import Evidence, cosigner_same_size, non_consistent, same_size, verify_evidence
from tlog.hashing import leaf_hash
from tlog.note import Note
from tlog.signed_checkpoint import open_checkpoint
from witness.__main__ import Witness, opened
from witness.app import operator_app, witness_app
from witness.history import DAY
from witness.store import MAX_PROVEN, MAX_UNPROVEN, read_accepted


@asynccontextmanager
async def serving(directory: Path, clock: FakeClock | None = None) -> AsyncIterator[tuple[Served, Served, Witness]]:
    """A witness with its public and its operator's interface; its state outlives it."""
    if not (directory / "data").exists():
        await make_witness(directory)
    async with opened(witness_settings(directory, LOGS, KEYS), clock or FakeClock()) as ours:
        metrics = Metrics()
        async with (
            served(witness_app(ours.cosigner, metrics)) as public,
            served(operator_app(ours.cosigner, metrics)) as operator,
        ):
            yield public, operator, ours


async def conflicts(served: Served) -> list[dict[str, Any]]:
    return list(json.loads((await served.get("/v1/conflicts")).body)["conflicts"])


async def post(public: Served, *bodies: bytes) -> list[int]:
    return [(await public.post("/add-checkpoint", body)).status for body in bodies]


async def test_another_root_of_the_same_size_is_kept_as_evidence(tmp_path: Path) -> None:
    """SPEC: W-20"""
    async with serving(tmp_path) as (public, operator, _):
        assert await post(public, submission(0, 5), submission(5, 5, FORK)) == [200, 422]
        [kept] = await conflicts(operator)
        bundle = Evidence.parse(kept["bundle"].encode())
        conviction = verify_evidence(bundle, [LOG.verifier_key])
        assert (kept["size"], kept["evidence"]) == (5, conviction.id.hex())
        assert [statement.size for statement in conviction.statements] == [5, 5]


async def test_a_wrong_empty_tree_is_kept_as_evidence(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        assert await post(public, submission(0, 0, root_hash=leaf_hash(b"x"))) == [422]
        [kept] = await conflicts(operator)
        assert verify_evidence(Evidence.parse(kept["bundle"].encode()), [LOG.verifier_key]).type == "bad-empty-head"


async def test_a_proof_from_another_root_is_kept_as_evidence(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        assert await post(public, submission(0, 5), submission(5, 9, FORK)) == [200, 422]
        [kept] = await conflicts(operator)
        conviction = verify_evidence(Evidence.parse(kept["bundle"].encode()), [LOG.verifier_key])
        assert (conviction.type, [statement.size for statement in conviction.statements]) == ("non-consistent", [5, 9])


async def test_a_head_without_proof_is_kept_with_the_log_s_signature_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        forged = cosign(signed(9).raw, witness_key(KEYS[0].name, seed=9))
        body = b"old 5\n\n" + forged
        assert await post(public, submission(0, 5), body) == [200, 422]
        [kept] = await conflicts(operator)
        assert (kept["note"].encode(), kept["evidence"]) == (signed(9).raw, None)


async def test_two_refused_heads_of_one_size_are_evidence_together(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        bodies = [submission(5, 9, path=()), submission(5, 9, FORK, path=())]
        assert await post(public, submission(0, 5), *bodies) == [200, 422, 422]
        assert [kept["evidence"] is not None for kept in await conflicts(operator)] == [False, True]


async def test_a_proof_that_comes_later_makes_evidence_of_a_head_kept_without(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        bodies = [submission(5, 9, FORK, path=()), submission(5, 9, FORK)]
        assert await post(public, submission(0, 5), *bodies) == [200, 422, 422]
        assert [kept["evidence"] is not None for kept in await conflicts(operator)] == [True]


async def test_a_head_kept_without_proof_is_evidence_once_another_one_of_its_size_is_cosigned(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        bodies = [submission(5, 9, FORK, path=()), submission(5, 9, path=()), submission(5, 9)]
        assert await post(public, submission(0, 5), *bodies) == [200, 422, 422, 200]
        assert [kept["evidence"] is not None for kept in await conflicts(operator)] == [True, True]


async def test_a_head_kept_without_proof_is_evidence_at_once_when_its_twin_is_cosigned(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        bodies = [submission(5, 9, FORK, path=()), submission(5, 9)]
        assert await post(public, submission(0, 5), *bodies) == [200, 422, 200]
        [kept] = await conflicts(operator)
        conviction = verify_evidence(Evidence.parse(kept["bundle"].encode()), [LOG.verifier_key])
        assert (kept["size"], conviction.type) == (9, "same-size")
        assert await post(public, submission(9, 9, FORK), submission(9, 9)) == [422, 200]
        assert len(await conflicts(operator)) == 1


async def test_another_root_of_the_cosigned_size_is_evidence_wherever_its_submission_starts(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        bodies = [submission(0, 5, FORK), submission(0, 5, FORK), submission(3, 5, FORK), submission(0, 5)]
        assert await post(public, submission(0, 5), *bodies) == [200, 409, 409, 409, 409]
        assert [(kept["size"], kept["evidence"] is not None) for kept in await conflicts(operator)] == [(5, True)]


async def test_each_head_is_kept_once_also_over_a_restart(tmp_path: Path) -> None:
    bodies = [submission(5, 5, FORK), submission(5, 9, path=())]
    async with serving(tmp_path) as (public, _, _):
        assert await post(public, submission(0, 5), *bodies, *bodies) == [200, 422, 422, 422, 422]
    async with serving(tmp_path) as (public, operator, _):
        assert await post(public, *bodies) == [422, 422]
        assert [kept["number"] for kept in await conflicts(operator)] == [1, 2]


async def test_a_head_that_turns_out_consistent_is_no_conflict_any_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        bodies = [submission(0, 5), submission(5, 9, path=()), submission(5, 9)]
        assert await post(public, *bodies) == [200, 422, 200]
        assert await conflicts(operator) == []


async def test_what_is_kept_of_a_log_is_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        await post(public, submission(0, 5))
        await post(public, *(submission(5, 20 + number, path=()) for number in range(MAX_UNPROVEN + 3)))
        await post(public, *(submission(5, 5, root_hash=leaf_hash(b"%d" % n)) for n in range(MAX_PROVEN + 3)))
        kept = await conflicts(operator)
        assert [one["evidence"] is not None for one in kept] == [False] * MAX_UNPROVEN + [True] * MAX_PROVEN


async def test_other_refusals_keep_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        forged = submission(5, 5, FORK, key=log_key(ORIGIN, seed=7))
        bodies = [submission(0, 5), submission(3, 9, FORK), submission(6, 5, path=()), forged, b"old"]
        assert await post(public, *bodies) == [200, 409, 400, 403, 400]
        assert await conflicts(operator) == []


async def test_refusals_do_not_touch_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a head that is new, signed and inconsistent does, once."""
    forged = submission(5, 5, FORK, key=log_key(ORIGIN, seed=7))
    unknown = submission(0, 5, origin="log.example/two")
    kept = [submission(5, 5, FORK), submission(5, 9, path=())]
    cheap = [submission(3, 9, FORK), submission(6, 5, path=()), forged, unknown, b"old", *kept]
    async with serving(tmp_path) as (public, _, _):
        await post(public, submission(0, 5), *kept)

        async def touched(*_: object) -> None:
            raise AssertionError("the database was asked")

        with monkeypatch.context() as patch:
            patch.setattr(DatabaseThread, "wait", touched)
            assert await post(public, *cheap) == [409, 400, 403, 404, 400, 422, 422]


async def test_a_further_head_that_proves_nothing_costs_nothing_when_as_many_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has seen one head of the log that is larger than ours can send it again and again."""
    many = [submission(5, 20 + number, path=()) for number in range(MAX_UNPROVEN)]
    async with serving(tmp_path) as (public, _, _):
        await post(public, submission(0, 5), *many)

        async def touched(*_: object) -> None:
            raise AssertionError("the database was asked")

        with monkeypatch.context() as patch:
            patch.setattr(DatabaseThread, "wait", touched)
            assert await post(public, submission(5, 90, path=()), submission(5, 91, path=())) == [422, 422]


@pytest.mark.parametrize("path", [None, ()], ids=["by its proof", "by another head of its size"])
async def test_a_head_that_proves_something_is_kept_however_many_prove_nothing(
    path: tuple[()] | None, tmp_path: Path
) -> None:
    many = [submission(5, 9 + number, path=()) for number in range(MAX_UNPROVEN)]
    proving = submission(5, 40, FORK) if path is None else submission(5, 9, FORK, path=path)
    async with serving(tmp_path) as (public, operator, _):
        await post(public, submission(0, 5), *many)
        assert await post(public, proving, proving) == [422, 422]
        kept = await conflicts(operator)
        assert [one["evidence"] is not None for one in kept] == [False] * MAX_UNPROVEN + [True]


async def test_a_head_kept_without_proof_costs_nothing_when_there_is_no_room_for_its_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as (public, _, _):
        await post(public, submission(0, 5), submission(5, 9, FORK, path=()))
        await post(public, *(submission(5, 5, root_hash=leaf_hash(b"%d" % n)) for n in range(MAX_PROVEN)))

        async def touched(*_: object) -> None:
            raise AssertionError("the database was asked")

        with monkeypatch.context() as patch:
            patch.setattr(DatabaseThread, "wait", touched)
            assert await post(public, submission(5, 9, FORK)) == [422]


async def test_the_public_is_told_which_heads_and_the_operator_everything(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        await post(public, submission(0, 5), submission(5, 5, FORK))
        [told], [all_of_it] = await conflicts(public), await conflicts(operator)
        assert set(told) == {"number", "origin", "size", "root_hash", "time", "evidence"}
        assert told.items() <= all_of_it.items()


async def test_conflicts_are_paged(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, _, _):
        await post(public, submission(0, 5), submission(5, 5, FORK), submission(5, 9, path=()))
        later = await public.get("/v1/conflicts?after=1")
        assert [kept["number"] for kept in json.loads(later.body)["conflicts"]] == [2]
        assert json.loads(later.body)["next"] is None
        assert (await public.get("/v1/conflicts?after=-1")).status == 400


async def test_evidence_of_our_own_does_not_stop_a_log(tmp_path: Path) -> None:
    """SPEC: W-20"""
    async with serving(tmp_path) as (public, _, _):
        assert await post(public, submission(0, 5), submission(5, 5, FORK), submission(5, 9)) == [200, 422, 200]


async def test_evidence_that_somebody_brings_stops_its_log_over_restarts(tmp_path: Path) -> None:
    bundle = non_consistent(signed(5), signed(9, FORK), FORK.read).format()
    async with serving(tmp_path) as (public, _, _):
        assert await post(public, submission(0, 5)) == [200]
        before = (await public.get(PUBLIC)).body
        told = await public.post("/v1/evidence", bundle)
        assert (told.status, json.loads(told.body)["type"]) == (200, "non-consistent")
        assert await post(public, submission(5, 9), submission(5, 5)) == [403, 403]
    async with serving(tmp_path) as (public, operator, _):
        assert await post(public, submission(5, 9)) == [403]
        copy = await public.get(PUBLIC)
        assert open_checkpoint(copy.body, VERIFIERS).head == open_checkpoint(before, VERIFIERS).head
        [log] = json.loads((await public.get("/v1/logs")).body)["logs"]
        assert log["convicted"] == json.loads(told.body)["evidence"]
        assert b"sameview_witness_convicted_logs 1.0" in (await operator.get("/metrics")).body
        assert (await operator.get("/readyz")).status == 200


async def test_a_second_proof_against_a_convicted_log_names_the_first(tmp_path: Path) -> None:
    first = same_size(signed(5), signed(5, FORK)).format()
    second = same_size(signed(6), signed(6, FORK)).format()
    async with serving(tmp_path) as (public, _, _):
        answers = [await public.post("/v1/evidence", bundle) for bundle in (first, second)]
        assert answers[0].body == answers[1].body


async def test_of_evidence_that_somebody_brings_only_verified_lines_are_kept(tmp_path: Path) -> None:
    evidence = same_size(signed(5), signed(5, FORK))
    stranger = witness_key("witness.example/stranger")
    spoilt = replace(evidence, notes=tuple(Note.parse(cosign(note.format(), stranger)) for note in evidence.notes))
    async with serving(tmp_path) as (public, _, ours):
        assert (await public.post("/v1/evidence", spoilt.format())).status == 200
        assert ours.cosigner.conflicts.convicted[ORIGIN].bundle == evidence.format()


async def test_a_request_is_never_sent_on_to_the_host_it_named(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, _, _):
        assert (await public.get("/v1/logs/")).status == 404


async def test_evidence_that_convicts_nobody_we_know_stops_nobody(tmp_path: Path) -> None:
    stranger = log_key(ORIGIN, seed=7)
    one, other = (
        open_checkpoint(
            sign_checkpoint(Checkpoint(ORIGIN, 5, tree.head(5).root_hash), stranger), [stranger.verifier_key]
        )
        for tree in (HONEST, FORK)
    )
    unknown = same_size(signed(5), signed(5, FORK)).format().replace(b"log.example/one\n5", b"log.example/two\n5")
    good = same_size(signed(5), signed(5, FORK)).format()
    bodies = {
        b"": 400,
        b"tlog-evidence@v1\n": 400,
        good.replace(b"same-size", b"log-rollback"): 422,
        same_size(one, other).format(): 422,
        unknown: 404,
        good + b"x" * (1 << 20): 413,
    }
    async with serving(tmp_path) as (public, _, _):
        assert [(await public.post("/v1/evidence", body)).status for body in bodies] == list(bodies.values())
        assert await post(public, submission(0, 5)) == [200]


async def test_evidence_against_a_cosigner_is_not_about_a_log(tmp_path: Path) -> None:
    one, other = (
        open_checkpoint(cosign(signed(5, tree).raw, KEYS[0]), [*VERIFIERS, LOG.verifier_key]) for tree in (HONEST, FORK)
    )
    async with serving(tmp_path) as (public, _, _):
        bundle = cosigner_same_size(one, other, VERIFIERS[0]).format()
        assert (await public.post("/v1/evidence", bundle)).status == 422


async def test_accepted_checkpoints_stay_with_our_cosignatures_for_history_days(tmp_path: Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock) as (public, _, ours):
        answers = [await public.post("/add-checkpoint", body) for body in (submission(0, 5), submission(5, 9))]
        await ours.history.save()
        for size, answer in zip((5, 9), answers, strict=True):
            kept = await read_accepted(ours.database, ORIGIN, size)
            assert kept is not None
            assert (kept.note, kept.cosignatures) == (signed(size).raw, answer.body)
        clock.advance(31 * DAY)
        await ours.history.prune()
        left = [await read_accepted(ours.database, ORIGIN, size) for size in (5, 9)]
        assert [row is not None for row in left] == [False, True]


async def test_unproven_conflicts_are_forgotten_and_make_room(tmp_path: Path) -> None:
    clock = FakeClock()
    async with serving(tmp_path, clock) as (public, operator, ours):
        await post(public, submission(0, 5), submission(5, 9, path=()), submission(5, 5, FORK))
        clock.advance(31 * DAY)
        await ours.history.prune()
        await ours.cosigner.conflicts.load()
        assert [kept["size"] for kept in await conflicts(operator)] == [5]
        await post(public, submission(5, 9, path=()))
        assert [kept["size"] for kept in await conflicts(operator)] == [5, 9]


async def test_what_cosignatures_wait_to_be_saved_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("witness.history.MAX_UNSAVED", 1)
    async with serving(tmp_path) as (public, _, ours):
        await post(public, submission(0, 5), submission(5, 5), submission(5, 9))
        await ours.history.save()
        kept = [await read_accepted(ours.database, ORIGIN, size) for size in (5, 9)]
        assert [row is not None and row.cosignatures is not None for row in kept] == [False, True]


async def test_the_tasks_save_and_prune_by_themselves(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned = trio.Event()
    await make_witness(tmp_path)
    autojump_clock.autojump_threshold = 0.05  # the database's thread needs real time
    async with opened(witness_settings(tmp_path, LOGS, KEYS), FakeClock()) as ours:
        await ours.cosigner.add_checkpoint(submission(0, 5))

        async def note_it() -> None:
            pruned.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.history.save_for_ever)
            nursery.start_soon(ours.history.prune_for_ever, note_it)
            await pruned.wait()
            await trio.sleep(3)
            nursery.cancel_scope.cancel()
        kept = await read_accepted(ours.database, ORIGIN, 5)
        assert kept is not None
        assert kept.cosignatures is not None


async def test_a_head_refused_many_times_at_once_is_kept_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as (public, operator, _):
        await post(public, submission(0, 5))
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(post, public, submission(5, 9, path=()))
        assert [kept["number"] for kept in await conflicts(operator)] == [1]


async def test_a_note_signed_by_a_key_that_was_taken_out_is_no_witness_against_the_new_one(tmp_path: Path) -> None:
    new = log_key(ORIGIN, seed=7)
    async with serving(tmp_path) as (public, _, _):
        assert await post(public, submission(0, 5)) == [200]
    settings = witness_settings(tmp_path, {ORIGIN: [new.verifier_key]}, KEYS)
    async with opened(settings, FakeClock()) as ours:
        await ours.cosigner.add_checkpoint(submission(5, 5, FORK, key=new))
        [kept] = await ours.cosigner.conflicts.page(0, 10)
        assert (kept.size, kept.evidence_id) == (5, None)
