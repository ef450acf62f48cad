"""What a log publishes: under its policy, with witnesses of every kind, by a clock that is set."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import trio
import trio.testing
from starlette.responses import Response

from logserver.cosign import Patience
from logserver.files import CHECKPOINT, PublicObjects
from logserver.tasks import DamagedCheckpoint, read_published
from runtime.http import bare
from runtime.signers import FileSigner
from tests.fakes import FakeClock
from tests.keys import NOW, log_key, mldsa_key, note_line, witness_key
from tests.log_nodes import OpenLog, make_log, open_log, place_of
from tests.served import served
from tests.witnesses import Answer, ScriptedWitness, cosign, hang, lines, policy_of, says
from tlog.add_checkpoint import AddCheckpoint
from tlog.checkpoint import Checkpoint
from tlog.hashing import TreeHead, leaf_hash
from tlog.keys import SignerKey
from tlog.note import Note
from tlog.policy import Policy, PolicyWitness
from tlog.proofs import root_at, verify_consistency
from tlog.quorum import Group
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint
from tlog.tiles import tiles_at

pytestmark = pytest.mark.usefixtures("place")

ORIGIN = "log.example/one"
LOG = log_key(ORIGIN)
KEYS = [LOG, mldsa_key(ORIGIN)]
SIZE_TYPE = "text/x.tlog.size"
FOR_EVER = Patience(witness=1e9, grace=0.05)  # a test that comes to its end did not wait for a witness
SHORT = Patience(witness=0.5, grace=0.05)


@asynccontextmanager
async def witnesses(*answers: Answer) -> AsyncIterator[list[ScriptedWitness]]:
    """One served witness for each answer."""
    async with AsyncExitStack() as stack:
        scripted = [
            ScriptedWitness(witness_key(f"witness.example/w{number}"), answer)
            for number, answer in enumerate(answers, start=1)
        ]
        for witness in scripted:
            witness.url = (await stack.enter_async_context(served(witness.app()))).url
        try:
            yield scripted
        finally:
            for witness in scripted:
                witness.released.set()


@asynccontextmanager
async def log(
    directory: Path,
    policy: Policy | None,
    *,
    hold: bool = True,
    patience: Patience = SHORT,
    clock: FakeClock | None = None,
    keys: Sequence[SignerKey] = KEYS,
) -> AsyncIterator[OpenLog]:
    await make_log(directory, ORIGIN)
    async with open_log(directory, keys, policy=policy, hold=hold, patience=patience, clock=clock) as opened:
        yield opened


async def grow(opened: OpenLog) -> None:
    """Add an entry and go a round."""
    await opened.add(b"entry %d" % opened.sequencer.tree.end)
    await opened.publisher.publish()


def published_size(opened: OpenLog) -> int | None:
    return opened.publisher.published.size if opened.publisher.published else None


def signers(published: SignedCheckpoint | None) -> set[str]:
    return {signature.key.name for signature in published.signatures} if published else set()


# The quorum.


async def test_a_checkpoint_carries_the_cosignatures_of_its_policy(tmp_path: Path) -> None:
    async with witnesses(cosign, cosign) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        await grow(opened)
        note = opened.files.read_checkpoint()
        assert note is not None
        seen = open_checkpoint(note, [LOG.verifier_key, *(witness.key.verifier_key for witness in asked)])
        assert signers(seen) == {ORIGIN, "witness.example/w1", "witness.example/w2"}


async def test_without_the_quorum_a_log_that_holds_shows_nothing_new(tmp_path: Path) -> None:
    async with witnesses(cosign, cosign) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        await grow(opened)
        asked[1].answer = says(500)
        await grow(opened)
        await grow(opened)
        assert (published_size(opened), [c.size for c in asked[0].checkpoints]) == (1, [1, 2, 3])
        asked[1].answer = cosign
        await opened.publisher.publish()
        assert published_size(opened) == 3


async def test_without_the_quorum_a_log_that_publishes_shows_what_it_has(tmp_path: Path) -> None:
    async with (
        witnesses(cosign, says(500)) as asked,
        log(tmp_path, policy_of(LOG, asked), hold=False) as opened,
    ):
        await grow(opened)
        assert (published_size(opened), signers(opened.publisher.published)) == (1, {ORIGIN, "witness.example/w1"})


@pytest.mark.parametrize("hold", [True, False])
async def test_a_note_is_never_replaced_by_a_weaker_one_on_the_same_tree(hold: bool, tmp_path: Path) -> None:
    async with witnesses(cosign, cosign) as asked, log(tmp_path, policy_of(LOG, asked), hold=hold) as opened:
        await grow(opened)
        for witness in asked:
            witness.answer = says(500)
        await opened.publisher.publish()
        assert signers(opened.publisher.published) == {ORIGIN, "witness.example/w1", "witness.example/w2"}
        assert opened.publisher.published is not None
        assert opened.files.read_checkpoint() == opened.publisher.published.raw


async def test_an_idle_log_s_cosignatures_are_renewed(tmp_path: Path) -> None:
    """SPEC: W-29"""
    clock = FakeClock(NOW)
    async with witnesses(cosign) as asked, log(tmp_path, policy_of(LOG, asked), clock=clock) as opened:
        await grow(opened)

        async def later(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
            return bare(200, lines(sent, witness.key, time=NOW + 60))

        asked[0].answer = later
        clock.advance(60)
        await opened.publisher.publish()
        assert [request.old_size for request in asked[0].seen] == [0, 1]
        published = opened.publisher.published
        assert published is not None
        assert {s.timestamp for s in published.signatures} == {None, NOW + 60}


async def test_a_policy_that_asks_for_none_waits_for_none(tmp_path: Path) -> None:
    async with witnesses(hang) as asked, log(tmp_path, policy_of(LOG, asked, 0), patience=FOR_EVER) as opened:
        await grow(opened)
        assert published_size(opened) == 1


async def test_a_log_without_a_policy_publishes_alone(tmp_path: Path) -> None:
    async with log(tmp_path, None) as opened:
        await grow(opened)
        assert signers(opened.publisher.published) == {ORIGIN}


# Witnesses of every kind.


async def refuse_with_own_echo(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    """The lines that were sent, not one of the witness's own."""
    note = Note.parse(sent.checkpoint_note)
    return bare(200, b"".join(line.format() for line in note.signatures))


async def of_another_tree(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    return bare(200, note_line(Checkpoint(ORIGIN, 1, leaf_hash(b"another")), witness.key).format())


async def at_time_zero(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    return bare(200, lines(sent, witness.key, time=0))


async def by_somebody_else(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    return bare(200, lines(sent, witness_key("witness.example/stranger")))


async def by_an_impostor(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
    """The right name and key ID, and a signature by another key."""
    line = lines(sent, witness_key(witness.key.name, seed=9))
    right = lines(sent, witness.key)
    return bare(200, right[:-40] + line[-40:])


USELESS: dict[str, Answer] = {
    "409 without a body": says(409),
    "409 naming the size it was sent": says(409, b"0\n", SIZE_TYPE),
    "409 without a size": says(409, b"many\n", SIZE_TYPE),
    "409 in another type": says(409, b"5\n", "text/plain"),
    "409 of a larger tree": says(409, b"5\n", SIZE_TYPE),
    "409 of the largest tree": says(409, b"9223372036854775807\n", SIZE_TYPE),
    "409 without end": says(409, b"1\n", SIZE_TYPE),
    "400": says(400, b"no\n"),
    "403": says(403),
    "404": says(404),
    "422": says(422),
    "429": says(429),
    "500": says(500),
    "503": says(503, b"later", None, {"retry-after": "0"}),
    "a redirect": says(307, b"", None, {"location": "http://127.0.0.1:1/"}),
    "204": says(204),
    "nothing": says(200),
    "garbage": says(200, b"\x00\xff garbage"),
    "half a line": says(200, "— witness.example/w1 AAAA".encode()),
    "too much": says(200, b"x" * 100_000),
    "an echo": refuse_with_own_echo,
    "another tree": of_another_tree,
    "time zero": at_time_zero,
    "somebody else": by_somebody_else,
    "an impostor": by_an_impostor,
    "a hang": hang,
}


@pytest.mark.parametrize("name", USELESS)
async def test_an_answer_that_is_no_cosignature_counts_for_nothing_and_harms_nobody(name: str, tmp_path: Path) -> None:
    """SPEC: W-22, W-25, W-26"""
    answer = USELESS[name]
    async with witnesses(answer, cosign) as asked, log(tmp_path, policy_of(LOG, asked, 1)) as opened:
        await grow(opened)
        assert (published_size(opened), signers(opened.publisher.published)) == (1, {ORIGIN, "witness.example/w2"})
        asked[1].answer = says(500)
        await grow(opened)
        assert published_size(opened) == 1
        # And it is taken back as soon as it behaves.
        asked[0].answer = cosign
        await opened.publisher.publish()
        assert (published_size(opened), signers(opened.publisher.published)) == (2, {ORIGIN, "witness.example/w1"})


async def test_a_witness_that_is_not_there_counts_for_nothing(tmp_path: Path) -> None:
    async with witnesses(cosign, cosign) as asked:
        asked[0].url = "http://127.0.0.1:9"  # nobody serves discard
        async with log(tmp_path, policy_of(LOG, asked, 1)) as opened:
            await grow(opened)
            assert signers(opened.publisher.published) == {ORIGIN, "witness.example/w2"}


async def test_one_witness_that_hangs_delays_no_quorum_of_the_others(tmp_path: Path) -> None:
    async with (
        witnesses(hang, cosign, cosign) as asked,
        log(tmp_path, policy_of(LOG, asked, 2), patience=FOR_EVER) as opened,
    ):
        await grow(opened)
        await grow(opened)
        assert published_size(opened) == 2


async def test_lines_beside_the_cosignature_do_not_spoil_it(tmp_path: Path) -> None:
    """SPEC: W-26"""

    async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
        stranger = lines(sent, witness_key("witness.example/stranger"))
        return bare(200, stranger + lines(sent, LOG, witness.key))

    async with witnesses(answer) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        await grow(opened)
        note = opened.files.read_checkpoint()
        assert note is not None
        # Only what was verified is passed on.
        assert [line.name for line in Note.parse(note).signatures] == [ORIGIN, ORIGIN, "witness.example/w1"]


async def test_both_keys_of_one_witness_are_asked_for_once(tmp_path: Path) -> None:
    second = mldsa_key("witness.example/w1")

    async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
        return bare(200, lines(sent, witness.key, second))

    async with witnesses(answer) as asked:
        pair = [asked[0], ScriptedWitness(second, asked[0].answer, url=asked[0].url + "/")]
        async with log(tmp_path, policy_of(LOG, pair)) as opened:
            await grow(opened)
            published = opened.publisher.published
            assert published is not None
            assert {s.key for s in published.signatures} >= {asked[0].key.verifier_key, second.verifier_key}
            assert len(asked[0].seen) == 1


async def test_a_witness_that_knows_an_older_size_is_led_on_from_there(tmp_path: Path) -> None:
    """SPEC: W-13, W-15"""
    sizes = iter([2, 3])

    async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
        size = next(sizes, None)
        return bare(409, b"%d\n" % size, SIZE_TYPE) if size else await cosign(witness, sent)

    async with log(tmp_path, None) as opened:
        for _ in range(5):
            await grow(opened)
    async with witnesses(answer) as asked, open_log(tmp_path, KEYS, policy=policy_of(LOG, asked)) as opened:
        await opened.publisher.publish()
        assert [request.old_size for request in asked[0].seen] == [0, 2, 3]
        read = opened.files.nodes(5)
        heads = [TreeHead(size, root_at(size, read)) for size in range(6)]
        for request in asked[0].seen[1:]:
            verify_consistency(heads[request.old_size], heads[5], request.path)


async def test_a_witness_that_names_another_size_each_time_is_given_up(tmp_path: Path) -> None:
    async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
        return bare(409, b"%d\n" % (1 - sent.old_size), SIZE_TYPE)

    async with witnesses(answer, cosign) as asked, log(tmp_path, policy_of(LOG, asked, 1)) as opened:
        await grow(opened)
        await grow(opened)
        assert published_size(opened) == 2
        assert len(asked[0].seen) <= 6


async def test_a_witness_without_a_url_is_not_asked_and_may_be_in_the_policy(tmp_path: Path) -> None:
    async with witnesses(cosign) as asked:
        far = PolicyWitness("far", witness_key("witness.example/far").verifier_key)
        policy = policy_of(LOG, asked, 1)
        either = Group("either", 1, ("w1", "far"))
        async with log(tmp_path, Policy(policy.logs, (*policy.witnesses, far), (either,), "either")) as opened:
            await grow(opened)
            assert published_size(opened) == 1


async def test_a_witness_that_asks_to_be_left_alone_is(tmp_path: Path) -> None:
    busy = says(503, b"", None, {"retry-after": "3600"})
    async with witnesses(busy, cosign) as asked, log(tmp_path, policy_of(LOG, asked, 1)) as opened:
        for _ in range(3):
            await grow(opened)
        assert (len(asked[0].seen), len(asked[1].seen)) == (1, 3)


FORBIDDEN = (
    "it answered 403: it trusts another key for this origin, or knows that this log contradicted itself; "
    "ask its operator, and compare the log's vkey"
)


async def test_a_witness_with_another_key_than_the_policy_names_is_told_as_such(tmp_path: Path) -> None:
    async with witnesses(cosign) as asked:
        named = policy_of(LOG, asked, None)
        other = witness_key(named.witnesses[0].key.name, seed=99).verifier_key
        wrong = replace(named, witnesses=(replace(named.witnesses[0], key=other),))
        async with log(tmp_path, wrong) as opened:
            with structlog.testing.capture_logs() as logged:
                await grow(opened)
    assert [line.get("why") for line in logged if line["event"] == "witness_does_not_cosign"] == [
        "its answer is no cosignature by a key that the policy names for it: no trusted key signed the note; "
        "compare its vkey with the one in the policy"
    ]


async def test_what_a_witness_does_is_logged_when_it_changes(tmp_path: Path) -> None:
    async with witnesses(says(404), cosign) as asked, log(tmp_path, policy_of(LOG, asked, 1)) as opened:
        with structlog.testing.capture_logs() as logged:
            for answer in (says(404), says(404), says(403), cosign, cosign):
                asked[0].answer = answer
                await grow(opened)
        assert [(line["event"], line.get("why")) for line in logged] == [
            ("witness_does_not_cosign", "it does not know this log: ask its operator to add the log's vkey"),
            ("witness_does_not_cosign", FORBIDDEN),
            ("witness_cosigns_again", None),
        ]


async def test_a_missing_quorum_is_logged_when_it_begins_and_ends(tmp_path: Path) -> None:
    async with witnesses(cosign) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        with structlog.testing.capture_logs() as logged:
            for answer in (cosign, says(404), says(404), cosign):
                asked[0].answer = answer
                await grow(opened)
        events = [line["event"] for line in logged if not line["event"].startswith("witness")]
        assert events == ["not_publishing", "publishing_again"]


# What is signed is there.


async def test_tiles_of_a_size_that_only_a_witness_saw_are_served(tmp_path: Path) -> None:
    """SPEC: T-11"""
    async with witnesses(cosign, says(500)) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        for _ in range(4):
            await grow(opened)
        assert published_size(opened) is None
        for checkpoint in asked[0].checkpoints:
            assert [tile for tile in tiles_at(checkpoint.size) if opened.files.read(tile.path()) is None] == []


# The clock.


async def test_a_clock_that_is_far_behind_holds_the_log_until_it_is_right(tmp_path: Path) -> None:
    clock = FakeClock(NOW)
    async with log(tmp_path, None, clock=clock) as opened:
        await grow(opened)
        clock.advance(-61)
        await grow(opened)
        await opened.publisher.publish()
        assert published_size(opened) == 1
        clock.advance(1)
        await opened.publisher.publish()
        published = opened.publisher.published
        assert published is not None
        # Sixty seconds behind are bridged: time stands still, it does not go back.
        assert (published.size, {s.timestamp for s in published.signatures}) == (2, {None, NOW})


# What somebody else puts in its place.


def put_public(directory: Path, note: bytes | None) -> None:
    """What somebody else who can write there does, without asking what was there."""
    files = place_of(directory).files()
    if isinstance(files, PublicObjects):
        if note is None:
            files._objects.remove([CHECKPOINT])
        else:
            files._objects.write([(CHECKPOINT, note)], {})
    elif note is None:
        (directory / "public" / CHECKPOINT).unlink()
    else:
        (directory / "public" / CHECKPOINT).write_bytes(note)


SOMEBODY_ELSE_S: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda mine: b"",
    "garbage": lambda mine: b"\0\xff" * 50,
    "one flipped bit": lambda mine: mine[:30] + bytes([mine[30] ^ 1]) + mine[31:],
    "another log's": lambda mine: signed_alone(Checkpoint("log.example/two", 1, leaf_hash(b"theirs"))),
}


def signed_alone(checkpoint: Checkpoint) -> bytes:
    return Note(checkpoint.format(), (note_line(checkpoint, log_key(checkpoint.origin)),)).format()


@pytest.mark.parametrize("name", SOMEBODY_ELSE_S)
@pytest.mark.parametrize("mended", ["moved away", "put back"])
async def test_nothing_is_published_over_what_somebody_else_put_there(name: str, mended: str, tmp_path: Path) -> None:
    async with log(tmp_path, None) as opened:
        await grow(opened)
        mine = opened.files.read(CHECKPOINT)
        assert mine is not None
        theirs = SOMEBODY_ELSE_S[name](mine)
        put_public(tmp_path, theirs)
        for _ in range(2):
            await grow(opened)  # what is added is answered all the same
            assert opened.files.read(CHECKPOINT) == theirs
            (problem,) = await opened.publisher.problems()
            assert "Nothing is published over it" in problem
        assert published_size(opened) == 1
        assert 'sameview_log_rounds_total{outcome="damaged"} 2.0' in opened.metrics.exposition().decode()
        # Whoever starts now is told the same.
        with pytest.raises(DamagedCheckpoint, match="move what is there away"):
            read_published(opened.files, [FileSigner(key) for key in KEYS], None)
        put_public(tmp_path, None if mended == "moved away" else mine)
        await opened.publisher.publish()
        assert await opened.publisher.problems() == []
        assert published_size(opened) == 3
        found = opened.files.read(CHECKPOINT)
        assert found is not None
        assert open_checkpoint(found, [LOG.verifier_key]).size == 3


# What its operator is told.


async def test_a_log_is_not_ready_before_its_first_checkpoint(tmp_path: Path) -> None:
    async with witnesses(says(404)) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        assert await opened.publisher.problems() == ["no checkpoint is published yet: the first one is being made"]
        await opened.publisher.publish()
        (problem,) = await opened.publisher.problems()
        assert "too few of its policy's witnesses cosign" in problem
        asked[0].answer = cosign
        await opened.publisher.publish()
        assert await opened.publisher.problems() == []


async def test_entries_that_wait_long_are_a_problem_and_load_alone_is_none(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    mock_clock.rate = 1.0  # of real time: what waits for threads and sockets goes on, and jumps are ours
    async with witnesses(cosign) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        for _ in range(3):
            await grow(opened)
            await opened.add(b"while the round goes on %d" % opened.sequencer.tree.end)
            mock_clock.jump(61)
            assert await opened.publisher.problems() == []
        asked[0].answer = says(500)
        await grow(opened)
        mock_clock.jump(61)
        (problem,) = await opened.publisher.problems()
        assert problem.startswith("2 entries wait for a checkpoint: too few of its policy's witnesses cosign")
        asked[0].answer = cosign
        await opened.publisher.publish()
        assert await opened.publisher.problems() == []


async def test_rounds_and_witnesses_are_counted(tmp_path: Path) -> None:
    async with witnesses(cosign, says(500)) as asked, log(tmp_path, policy_of(LOG, asked)) as opened:
        await grow(opened)
        text = opened.metrics.exposition().decode()
        for line in (
            'sameview_log_rounds_total{outcome="held"} 1.0',
            'sameview_log_cosigned_total{witness="witness.example/w1"} 1.0',
            'sameview_log_not_cosigned_total{witness="witness.example/w2"} 1.0',
        ):
            assert line in text


# The loop.


async def test_the_loop_publishes_what_is_added_and_leaves_an_idle_log_alone(tmp_path: Path) -> None:
    async with witnesses(cosign) as asked:
        await make_log(tmp_path, ORIGIN)
        reached = trio.Event()

        async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
            reached.set()
            return await cosign(witness, sent)

        asked[0].answer = answer
        async with (
            open_log(tmp_path, KEYS, policy=policy_of(LOG, asked), interval=0.01) as opened,
            trio.open_nursery() as nursery,
        ):
            await opened.add(b"a", b"b", b"c")
            nursery.start_soon(opened.publisher.run)
            with trio.fail_after(30):
                await reached.wait()
            nursery.cancel_scope.cancel()
        assert len(asked[0].seen) == 1


async def test_the_loop_goes_round_again_when_the_quorum_was_missed(tmp_path: Path) -> None:
    async with witnesses(says(500)) as asked:
        await make_log(tmp_path, ORIGIN)
        thrice = trio.Event()

        async def answer(witness: ScriptedWitness, sent: AddCheckpoint) -> Response:
            if len(witness.seen) == 3:
                thrice.set()
            return bare(500)

        asked[0].answer = answer
        async with (
            open_log(tmp_path, KEYS, policy=policy_of(LOG, asked), interval=0.01) as opened,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(opened.publisher.run)
            with trio.fail_after(30):
                await thrice.wait()
            nursery.cancel_scope.cancel()
        assert published_size(opened) is None
