"""Buckets: two monitors find out by a few bytes a log what they differ in, however much changed since they met."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from gossip.canonical import pack
from gossip.core import Branch, Count, HeadSeen, Ignored, Log, Received, Rules, State, begin
from gossip.core.listing import bucket_count, bucket_of, buckets, differing
from gossip.core.state import FLAT_EVERY, Budget, Contact
from gossip.messages import (
    MAX_DIGEST,
    Buckets,
    Digest,
    DigestEntry,
    GetHeads,
    Known,
    Part,
    Summary,
    format_message,
)
from tests.fakes_log import FakeLog, policy
from tests.machine import FAR, P, Q, received, run, sent, statement, waiting
from tests.machine import LOG as ONE_LOG
from tlog.signed_checkpoint import open_checkpoint

LOGS = [FakeLog([b"entry %d" % n for n in range(9)], origin=f"log.example/{number}") for number in range(40)]
RULED = [Log(log.origin, (log.key.verifier_key,), policy(log.key)) for log in LOGS]
RULES = Rules({one.id: one for one in RULED}, (P, Q), (P, Q))
OTHER = b"\0" * 32


def holder(epoch: int, size: int = 3) -> State:
    """A monitor with a branch of this size of each log."""
    heads = (open_checkpoint(log.sign(size, ()), (log.key.verifier_key,)) for log in LOGS)
    branches = {one.id: Branch(head) for one, head in zip(RULED, heads, strict=True)}
    return replace(begin(RULES, epoch, 0, branches), exchange_ms=FAR)


def shown(state: State, numbers: Sequence[int], size: int) -> State:
    """The same monitor when it was shown a larger head of these logs."""
    for number in numbers:
        state, _ = run(state, HeadSeen(RULED[number].id, LOGS[number].sign(size, ())))
    return state


def asks(frontier: bytes = OTHER, seen: tuple[int, int] = (0, 0)) -> Summary:
    return Summary(99, len(LOGS), frontier, OTHER, 0, *seen)


def answered(state: State, *messages: Known, answer: bool = False) -> tuple[State, list[Known]]:
    after, effects = received(state, *messages, answer=answer)
    return after, sent(effects)


def bucketed(state: State, seed: int = 0) -> tuple[State, Buckets]:
    """Let it send its buckets."""
    after, effects = run(state, Received(P, (asks(),)), seed=seed)
    _, message = sent(effects)
    assert isinstance(message, Buckets)
    return after, message


def talk(left: State, right: State, lost: Sequence[int] = ()) -> tuple[State, State, list[Known]]:
    """One exchange that the left one begins; envelopes of these numbers get lost. Returns all that was said."""
    first = [one for one in answered(left, asks())[1] if isinstance(one, Summary)]
    states, said = {True: left, False: right}, list[Known]()
    envelopes: list[tuple[bool, list[Known]]] = [(False, list(first))]
    for number, (to_left, messages) in enumerate(envelopes):
        said += messages
        if number not in lost:
            states[to_left], more = answered(states[to_left], *messages, answer=to_left)
            envelopes += [(not to_left, more)] if more else []
        assert number < 40, "they never fall silent"
    return states[True], states[False], said


def pending(state: State) -> list[tuple[bytes, int]]:
    return [(id_, one.signed.size) for id_ in sorted(state.branches) for one in state.branches[id_].pending]


@pytest.mark.parametrize(
    ("logs", "count"), [(0, 8), (1, 8), (8, 8), (9, 16), (100, 128), (128, 128), (129, 256), (99_999, 4096)]
)
def test_there_are_about_as_many_buckets_as_logs(logs: int, count: int) -> None:
    assert bucket_count(logs) == count


def test_the_first_bits_of_its_id_tell_the_bucket_of_a_log() -> None:
    assert (bucket_of(b"\xbd" + bytes(31), 8), bucket_of(b"\xbd" + bytes(31), 128)) == (0b101, 0b1011110)
    assert bucket_of(b"\xff" * 32, 4096) == 4095


def test_who_lacks_many_changes_is_told_buckets_and_who_lacks_few_a_digest() -> None:
    state = holder(1)
    assert [type(one) for one in answered(state, asks())[1]] == [Summary, Buckets]
    assert [type(one) for one in answered(state, asks(seen=(1, len(LOGS) - 4)))[1]] == [Summary, Digest]
    assert [type(one) for one in answered(state, asks(seen=(1, len(LOGS) - 5)))[1]] == [Summary, Buckets]
    often = replace(state, contacts={P: Contact(epoch=99, exchanges=FLAT_EVERY - 1)})
    assert [type(one) for one in answered(often, asks(seen=(1, 1)))[1]] == [Summary, Digest]


def test_nobody_can_know_which_salt_comes_next_and_another_one_changes_every_hash() -> None:
    one, other = (buckets(holder(1), salt, 64).hashes for salt in (b"salt" * 2, b"tlas" * 2))
    assert not any(one[at : at + 4] == other[at : at + 4] for at in range(0, len(one), 4))
    assert len({bucketed(holder(1), seed)[1].salt for seed in (1, 2, 3)}) == 3


def test_equal_buckets_are_not_answered() -> None:
    assert answered(holder(1), bucketed(holder(2))[1], answer=True)[1] == []


def test_an_answer_with_buckets_makes_nobody_list_what_it_holds() -> None:
    state = shown(holder(1), [7], 5)
    _, theirs = bucketed(holder(2))
    assert [type(one) for one in answered(state, asks(), theirs, answer=True)[1]] == [Part]


def test_only_what_is_in_a_bucket_that_differs_is_listed_and_not_what_was_listed_already() -> None:
    _, theirs = bucketed(holder(2))
    (part,) = answered(shown(holder(1), [7], 5), theirs, answer=True)[1]
    assert isinstance(part, Part)
    bucket = bucket_of(RULED[7].id, part.count)
    mates = [one.id for one in RULED if bucket_of(one.id, part.count) == bucket]
    assert [one.origin for one in part.entries] == sorted([*mates, RULED[7].id])
    after, _ = bucketed(holder(2))
    reply, *_ = answered(after, part)[1]
    assert (type(reply), reply) == (Part, Part(len(LOGS), part.marks, (), answer=True))


def test_two_monitors_that_never_met_take_each_other_s_changes_in_full() -> None:
    left, right, said = talk(shown(holder(1), [7, 9], 5), shown(holder(2), [7, 20], 6))
    assert pending(left) == pending(right)
    assert len(pending(left)) == 4
    assert sum(isinstance(one, Part) for one in said) == 2
    (summary, *_) = answered(left, asks())[1]
    assert isinstance(summary, Summary)
    assert [type(one) for one in talk(left, right)[2]] == [Summary, Summary]
    assert (left.contacts[P].seen, right.contacts[P].seen) == (len(LOGS) + 2, len(LOGS) + 2)


def test_two_monitors_come_to_hold_the_same_whatever_gets_lost() -> None:
    for lost in ((), (0,), (1,), (2,), (3,), (4,), (5,), (1, 3), (2, 4), (0, 1, 2, 3)):
        left, right, _ = talk(shown(holder(1), range(12), 5), shown(holder(2), range(8, 30), 6), lost)
        for _ in range(3):
            left, right, _ = talk(left, right)
        assert pending(left) == pending(right), lost
        assert [type(one) for one in talk(left, right)[2]] == [Summary, Summary], lost


def test_a_meeting_after_everything_changed_costs_about_as_much_as_there_is_to_tell() -> None:
    left, right = shown(holder(1), range(40), 5), shown(holder(2), range(38), 5)
    *_, said = talk(left, right)
    listing = [one for one in said if not isinstance(one, Summary | GetHeads)]
    parts = sum(len(pack(format_message(one))) for one in listing if isinstance(one, Buckets | Part))
    assert parts < 1500  # two logs of forty differ; a digest lists eighty heads in 6000 bytes
    assert not any(isinstance(one, Digest) for one in said)


def test_a_part_that_nobody_asked_for_is_looked_at_and_not_answered() -> None:
    news = DigestEntry(RULED[3].id, 9, LOGS[3].head(9).root_hash, 1)
    part = Part(5, b"\xff" * 8, (news,), answer=False)
    assert answered(holder(1), part)[1] == [GetHeads((RULED[3].id,))]
    state, _ = bucketed(holder(1))
    again, said = answered(state, part)
    assert [type(one) for one in said] == [Part, GetHeads]
    assert [type(one) for one in answered(again, part)[1]] == [GetHeads]
    assert [type(one) for one in answered(state, replace_answer(part))[1]] == [GetHeads]


def replace_answer(part: Part) -> Part:
    return Part(part.cursor, part.marks, part.entries, answer=True)


def test_what_finds_no_room_in_a_part_is_not_marked_and_its_cursor_counts_nothing() -> None:
    heads = tuple(waiting(statement(ONE_LOG, 9 + n)) for n in range(2))
    ids = [number.to_bytes(2, "big") + bytes(30) for number in range(0, 65_536, 8)]
    rules = Rules(dict.fromkeys(ids, RULED[0]), (P,))
    full = replace(begin(rules, 1, 0, dict.fromkeys(ids, Branch(None, pending=heads))), exchange_ms=FAR)
    empty = Buckets(1, b"salt" * 2, buckets(replace(full, branches={}), b"salt" * 2, 4096).hashes)
    marks, listed = differing(full, empty)
    marked = int.from_bytes(marks).bit_count()
    assert (len(listed), marked) == (MAX_DIGEST, MAX_DIGEST // 4)  # two logs a bucket, two heads a log
    state = replace(full, contacts={P: Contact(epoch=99, bucketed=7)})
    (reply,) = answered(state, Part(5, b"\xff" * 512, (), answer=False))[1]
    assert isinstance(reply, Part)
    assert (reply.cursor, reply.marks) == (0, marks)
    unseen = replace(holder(1), contacts={P: Contact(epoch=99, seen=3)})
    assert answered(unseen, reply, answer=True)[0].contacts[P].seen == 3


def test_buckets_and_parts_are_paid_for() -> None:
    _, theirs = bucketed(shown(holder(2), [1], 5))
    for message in (theirs, Part(1, b"\xff" * 8, (), answer=False)):
        poor = replace(holder(1), contacts={P: Contact(budget=Budget(0, 0, 0, 0), bucketed=4)})
        assert received(poor, message)[1] == [Count(Ignored.PEER_OVER_BUDGET)]


def test_a_part_that_cannot_be_paid_for_is_not_taken() -> None:
    old = [DigestEntry(one.id, 2, log.head(2).root_hash, 1) for one, log in zip(RULED, LOGS, strict=True)]
    poor = replace(holder(1), contacts={P: Contact(epoch=99, budget=Budget(5000, 64_000, 0, 0))})
    after, _ = answered(poor, Part(8, b"\xff" * 8, tuple(old), answer=True), answer=True)
    assert after.contacts[P].seen == 0
    rich = replace(holder(1), contacts={P: Contact(epoch=99)})
    assert answered(rich, Part(8, b"\xff" * 8, tuple(old), answer=True), answer=True)[0].contacts[P].seen == 8
