"""Anti-entropy with cursors: only changes are listed, no change is ever skipped, and whatever gets lost comes again."""

from collections.abc import Sequence
from dataclasses import replace

from gossip.core import Branch, Compare, Count, HeadSeen, Ignored, Log, Rules, State, begin, origin_id
from gossip.core.state import FLAT_EVERY, MAX_PENDING, Budget, Contact
from gossip.messages import MAX_DIGEST, MAX_HEADS, Digest, DigestEntry, GetHeads, Head, Known, Message, Summary
from tests.fakes_log import FakeLog, policy
from tests.machine import FAR, ID, LOG, TWIN, P, Q, head_of, monitor, received, run, sent, statement, waiting
from tlog.hashing import Hash

OTHER = b"\0" * 32  # a hash that nobody has


def asks(epoch: int = 1, seen: tuple[int, int] = (0, 0), frontier: bytes = OTHER) -> Summary:
    return Summary(epoch, 1, frontier, OTHER, 0, *seen)


def digest_for(state: State, summary: Summary) -> Digest:
    (digest,) = (message for message in sent(received(state, summary)[1]) if isinstance(message, Digest))
    return digest


def summary_to(state: State, peer: bytes = P) -> Summary:
    (summary, *_) = sent(received(state, asks(state.contacts.get(peer, Contact()).epoch or 9), peer=peer)[1], peer)
    assert isinstance(summary, Summary)
    return summary


def changed(*sizes: int) -> State:
    """A monitor that was shown these heads, one after the other."""
    now = monitor(7)
    for size in sizes:
        now, _ = run(now, HeadSeen(ID, statement(LOG, size).raw))
    return now


def entry(tree: FakeLog, size: int, flags: int = 1) -> DigestEntry:
    return DigestEntry(ID, size, tree.head(size).root_hash, flags)


# What is listed.


def test_each_change_of_what_a_digest_lists_moves_the_cursor() -> None:
    now = changed(9, 11)
    assert (now.epoch, now.cursor, now.changes) == (1, 3, {ID: 3})
    known = run(now, HeadSeen(ID, statement(LOG, 9).raw))[0]
    assert known.cursor == 3
    assert begin(now.rules, 1, 0).cursor == 0


def test_who_took_nothing_yet_is_listed_everything() -> None:
    for seen in ((0, 0), (1, 0), (2, 1), (1, 99)):
        assert digest_for(changed(9), asks(seen=seen)).since is None


def test_who_took_a_digest_is_listed_what_changed_since() -> None:
    logs = {origin_id(f"log.example/{n}"): n for n in range(3)}
    policy_ = policy(LOG.key)
    rules = Rules({id_: Log(f"log.example/{n}", (LOG.key.verifier_key,), policy_) for id_, n in logs.items()}, (P,))
    before = begin(rules, 1, 0, {id_: Branch(statement(LOG, 3)) for id_ in logs})
    order = list(before.changes)
    assert [one.origin for one in digest_for(before, asks(seen=(1, 1))).entries] == order[1:]
    last = digest_for(before, asks(seen=(1, 2)))
    assert (last.since, last.cursor, [one.origin for one in last.entries]) == (2, 3, order[2:])


def test_hashes_that_differ_although_all_was_taken_have_everything_listed() -> None:
    assert digest_for(changed(9), asks(seen=(1, 2))).since is None


def test_now_and_then_everything_is_listed_whatever_was_taken() -> None:
    before = changed(9)
    often = {P: Contact(epoch=1, exchanges=FLAT_EVERY - 1)}
    assert digest_for(replace(before, contacts=often), asks(seen=(1, 1))).since is None
    assert digest_for(before, asks(seen=(1, 1))).since == 1


def many(count: int, each: int = 1) -> State:
    """A monitor of that many logs, with a few heads each."""
    one = Branch(statement(LOG, 3), pending=tuple(waiting(statement(LOG, 9 + n)) for n in range(each - 1)))
    ids = [number.to_bytes(32, "big") for number in range(count)]
    log = Log("log.example/one", (LOG.key.verifier_key,), policy(LOG.key))
    rules = Rules(dict.fromkeys(ids, log), (P,), (P,))
    return replace(begin(rules, 1, 0, dict.fromkeys(ids, one)), exchange_ms=FAR)


def test_what_does_not_fit_into_one_digest_is_listed_page_by_page() -> None:
    now_and_then = {P: Contact(epoch=1, exchanges=FLAT_EVERY - 1)}
    full, seen, pages = replace(many(1480, each=3), contacts=now_and_then), 0, []
    while True:
        page = digest_for(replace(full, contacts={} if seen else now_and_then), asks(seen=(1, seen)))
        pages.append(page)
        if not page.more:
            break
        seen = page.cursor
    assert [(page.since, page.cursor, len(page.entries)) for page in pages] == [
        (0, 1365, 4095),
        (1365, 1480, 345),
    ]
    assert len({one.origin for page in pages for one in page.entries}) == 1480
    whole = digest_for(replace(many(MAX_DIGEST), contacts=now_and_then), asks())
    assert (whole.since, whole.more, len(whole.entries)) == (None, False, MAX_DIGEST)


# What is taken.


def taken(state: State, digest: Digest, *more: Message) -> tuple[tuple[int, int], list[Known]]:
    """Up to where a peer's changes count as seen after these messages, and what was sent."""
    after, effects = received(state, asks(epoch=5, frontier=OTHER), digest, *more, answer=True)
    summary = summary_to(after)
    messages: list[Known] = [one for one in sent(effects) if not isinstance(one, Digest)]
    return (summary.seen_epoch, summary.seen_cursor), messages


def test_a_digest_without_news_is_taken_at_once() -> None:
    digest = Digest(None, 4, (entry(LOG, 7),), more=False)
    assert taken(monitor(7), digest) == ((5, 4), [])


def test_a_digest_with_news_is_taken_when_the_head_has_come() -> None:
    digest = Digest(None, 4, (entry(LOG, 9),), more=False)
    assert taken(monitor(7), digest) == ((0, 0), [GetHeads((ID,))])
    head = Head(ID, statement(LOG, 9).raw, 1, None, ())
    assert taken(monitor(7), digest, head)[0] == (5, 4)
    unknown = Head(b"?" * 32, statement(LOG, 9).raw, 1, None, ())
    assert taken(monitor(7), digest, unknown)[0] == (0, 0)


def test_a_head_that_is_ignored_has_come_and_one_beyond_the_budget_has_not() -> None:
    digest = Digest(None, 4, (entry(LOG, 9),), more=False)
    stranger = Head(ID, FakeLog([b"x"], origin="log.example/other").sign(1, ()), 1, None, ())
    assert taken(monitor(7), digest, stranger)[0] == (5, 4)
    poor = replace(monitor(7), contacts={P: Contact(budget=Budget(0, 64_000, 0, 0))})
    head = Head(ID, head_of(LOG, 9).raw, 1, None, ())
    assert taken(poor, digest, head)[0] == (0, 0)


def test_a_digest_after_a_gap_is_used_and_not_taken() -> None:
    gap = Digest(3, 4, (entry(LOG, 9),), more=False)
    head = Head(ID, statement(LOG, 9).raw, 1, None, ())
    assert taken(monitor(7), gap, head) == ((0, 0), [GetHeads((ID,))])
    first = Digest(None, 3, (entry(LOG, 7),), more=False)
    now, _ = received(monitor(7), asks(epoch=5), first, answer=True)
    assert taken(now, Digest(3, 4, (entry(LOG, 9),), more=False), head)[0] == (5, 4)


def test_a_digest_of_somebody_who_did_not_sum_up_is_not_taken() -> None:
    after, _ = received(monitor(7), Digest(None, 4, (), more=False), answer=True)
    assert summary_to(after).seen_cursor == 0


def test_an_incomplete_listing_of_everything_is_not_taken() -> None:
    assert taken(monitor(7), Digest(None, 4, (entry(LOG, 7),), more=True)) == ((0, 0), [])


def test_the_next_page_is_asked_for_when_one_is_taken() -> None:
    (seen, (summary,)) = taken(monitor(7), Digest(0, 4, (entry(LOG, 7),), more=True))
    assert isinstance(summary, Summary)
    assert (seen, summary.seen_epoch, summary.seen_cursor) == ((5, 4), 5, 4)
    assert taken(monitor(7), Digest(0, 0, (entry(LOG, 7),), more=True)) == ((0, 0), [])


def test_a_peer_that_restarts_is_asked_for_everything() -> None:
    now, _ = received(monitor(7), asks(epoch=5), Digest(None, 4, (), more=False), answer=True)
    assert summary_to(now).seen_cursor == 4
    again, _ = received(now, asks(epoch=6), answer=True)
    assert summary_to(again).seen_cursor == 0


def test_more_heads_than_one_request_holds_are_asked_for_one_request_after_another() -> None:
    empty = replace(many(MAX_HEADS + 2), branches={}, changes={}, cursor=0)
    ids = list(empty.rules.logs)
    digest = Digest(None, 9, tuple(DigestEntry(one, 5, b"r" * 32, 1) for one in ids), more=False)
    now, effects = received(empty, asks(epoch=5), digest, answer=True)
    assert [one.origins for one in sent(effects) if isinstance(one, GetHeads)] == [tuple(ids[:MAX_HEADS])]
    heads = [Head(one, FakeLog([b"x"], origin="log.example/other").sign(1, ()), 1, None, ()) for one in ids]
    now, effects = received(now, *heads[:MAX_HEADS], answer=True)
    assert [one.origins for one in sent(effects) if isinstance(one, GetHeads)] == [tuple(ids[MAX_HEADS:])]
    now, _ = received(now, *heads[MAX_HEADS:], answer=True)
    assert now.contacts[P].seen == 9


# Convictions.


def test_whoever_differs_from_several_peers_asks_the_last_one_again() -> None:
    ours = summary_to(monitor(7))
    agreed = replace_hashes(asks(epoch=5), ours)
    now, effects = received(monitor(7), asks(epoch=5, frontier=ours.frontier_hash), peer=Q, answer=True)
    assert sent(effects, Q) == []
    again, effects = received(now, asks(epoch=6, frontier=ours.frontier_hash), answer=True)
    assert [type(message) for message in sent(effects)] == [Summary]
    assert sent(received(again, asks(epoch=6, frontier=ours.frontier_hash), answer=True)[1]) == []
    calm, _ = received(now, agreed, peer=Q, answer=True)
    assert sent(received(calm, asks(epoch=6, frontier=ours.frontier_hash), answer=True)[1]) == []


def replace_hashes(summary: Summary, ours: Summary) -> Summary:
    """The same summary of somebody who holds what we hold."""
    return Summary(summary.epoch, 1, ours.frontier_hash, ours.convicted_hash, 0, 0, 0)


# What is not sent to whom it is known to have.


def test_whoever_lists_or_sends_a_head_is_known_to_hold_it() -> None:
    for message in (
        Digest(None, 4, (entry(LOG, 7), entry(LOG, 9)), more=False),
        Head(ID, head_of(LOG, 7).raw, 1, None, ()),
    ):
        now, _ = received(monitor(7, waiting(statement(LOG, 9))), message)
        assert now.branch(ID).holders == {P}
    assert received(monitor(7, waiting(statement(LOG, 9))), Digest(None, 4, (entry(LOG, 9),), more=False))[0].branch(
        ID
    ).pending[0].holders == {P}


def test_roots_to_compare_are_paid_for() -> None:
    poor = replace(monitor(9), contacts={P: Contact(budget=Budget(2000, 64_000, 0, 0))})
    entries = tuple(DigestEntry(ID, size, TWIN.head(size).root_hash, 1) for size in range(1, 2 + MAX_PENDING))
    _, effects = received(poor, asks(epoch=5), Digest(None, 4, entries, more=False), answer=True)
    assert [type(effect) for effect in effects if isinstance(effect, Compare | Count)] == [Compare, Compare, Count]
    assert Count(Ignored.PEER_OVER_BUDGET) in effects


# Two monitors talk to each other, and messages get lost.


def talk(left: State, right: State, lost: Sequence[int] = ()) -> tuple[State, State, int]:
    """Carry out one exchange that the left one begins; envelopes of these numbers get lost."""
    a, b = b"a" * 32, b"b" * 32
    waiting_: list[tuple[bytes, list[Known], bool]] = []
    (first,) = (one for one in sent(received(left, asks(epoch=99), peer=b)[1], b) if isinstance(one, Summary))
    waiting_.append((b, [first], False))
    states = {a: left, b: right}
    number = 0
    while waiting_:
        to, messages, answer = waiting_.pop(0)
        number += 1
        if number in lost:
            continue
        other = a if to == b else b
        states[to], effects = received(states[to], *messages, peer=other, answer=answer)
        if said := sent(effects, other):
            waiting_.append((other, said, not answer))
        if number > 40:
            raise AssertionError("they never fall silent")
    return states[a], states[b], number


def heads(state: State) -> list[tuple[int, Hash]]:
    branch = state.branch(ID)
    return [(one.signed.size, one.signed.root_hash) for one in branch.pending]


def test_two_monitors_come_to_hold_the_same_whatever_gets_lost() -> None:
    for lost in ((), (1,), (2,), (3,), (4,), (5,), (2, 4), (3, 5), (1, 2, 3, 4, 5)):
        left, right = changed(9, 11, 30), changed(8, 30)
        left, right, _ = talk(left, right, lost)
        for _ in range(3):
            left, right, _ = talk(left, right)
        assert heads(left) == heads(right), lost
        assert len(heads(left)) == 4
        assert talk(left, right)[2] == 2


def test_a_restart_of_either_side_loses_nothing() -> None:
    left, right = changed(9, 11), changed(8)
    left, right, _ = talk(left, right)
    fresh = replace(begin(right.rules, 77, 0, {ID: right.branch(ID)}), exchange_ms=FAR)
    left, _ = run(left, HeadSeen(ID, statement(LOG, 20).raw))
    for _ in range(2):
        left, fresh, _ = talk(left, fresh)
    assert heads(left) == heads(fresh)
    for _ in range(2):
        fresh, left, _ = talk(fresh, left)
    assert heads(left) == heads(fresh)


def test_only_what_changed_travels_once_two_monitors_know_each_other() -> None:
    left, right = changed(9, 11), changed(8)
    for _ in range(3):
        left, right, _ = talk(left, right)
    left, _ = run(left, HeadSeen(ID, statement(LOG, 20).raw))
    took = left.contacts[b"b" * 32]
    digest = digest_for(left, asks(seen=(1, left.cursor - 1)))
    assert (digest.since, took.epoch) == (left.cursor - 1, 1)
