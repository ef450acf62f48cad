"""Links: who is dialled, who counts as linked, and what keeps a link alive."""

from dataclasses import replace

import pytest

from gossip.core import (
    FULL_MESH,
    LINKS,
    Advanced,
    Candidate,
    Member,
    Received,
    Relink,
    Rules,
    Tick,
    begin,
    choose_links,
    links,
)
from gossip.core.state import HELD_OPEN_MS, MAX_CONTACTS
from gossip.messages import GetHeads, Head, Summary, Unknown
from tests.machine import ID, LOG, RULES, P, Q, head_of, monitor, received, run, sent, waiting


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


MEMBERS = [Member(name(n), f"operator {n // 2}", anchor=n < 8) for n in range(200)]
ANCHORS = {member.id: member.operator for member in MEMBERS if member.anchor}


def test_a_small_federation_is_a_full_mesh_of_whoever_can_be_dialled() -> None:
    few = [*MEMBERS[:FULL_MESH], replace(MEMBERS[FULL_MESH], dialled=False), Member(b"me", "we")]
    assert choose_links(b"me", few, 1) == tuple(member.id for member in MEMBERS[:FULL_MESH])


def test_in_a_larger_one_a_few_are_chosen_three_of_them_anchors_of_distinct_operators() -> None:
    for day in range(20):
        chosen = choose_links(b"me", MEMBERS, day)
        operators = {ANCHORS[one] for one in chosen if one in ANCHORS}
        assert (len(chosen), len(set(chosen)), len(operators) >= 3) == (LINKS, LINKS, True)


def test_where_anchors_lack_others_take_their_place() -> None:
    assert len(choose_links(b"me", [replace(member, anchor=False) for member in MEMBERS], 1)) == LINKS
    alike = [replace(member, operator="one") for member in MEMBERS]
    assert len(choose_links(b"me", alike, 1, k=12)) == 12
    assert len(choose_links(b"me", MEMBERS, 1, k=2)) == 2


def test_the_choice_is_the_same_all_day_and_another_one_tomorrow_and_elsewhere() -> None:
    today = choose_links(b"me", MEMBERS, 1)
    assert choose_links(b"me", MEMBERS[::-1], 1) == today
    assert choose_links(b"me", MEMBERS, 2) != today
    assert choose_links(b"you", MEMBERS, 1) != today


def test_whoever_leaves_changes_the_links_of_those_alone_who_had_chosen_it() -> None:
    plain = [replace(member, anchor=False) for member in MEMBERS]
    before = set(choose_links(b"me", plain, 1))
    gone = next(member for member in plain if member.id not in before)
    assert set(choose_links(b"me", [member for member in plain if member != gone], 1)) == before
    lost = next(iter(before))
    assert len(set(choose_links(b"me", [member for member in plain if member.id != lost], 1)) & before) == LINKS - 1


def test_whoever_contacted_us_lately_is_a_link_as_well() -> None:
    alone = replace(monitor(7), outbound=(Q,))
    met, _ = received(alone, Unknown(99), now_ms=1000)
    assert [links(met, now) for now in (1000, 1000 + HELD_OPEN_MS, 1001 + HELD_OPEN_MS)] == [(Q, P), (Q, P), (Q,)]
    answered, _ = received(alone, Unknown(99), answer=True)
    assert links(answered, 0) == (Q,)


def test_pushes_go_to_the_links_that_lack_the_head() -> None:
    grown = Advanced(ID, head_of(LOG, 9), Candidate(7, None, LOG.proof(7, 9)), b"")
    _, effects = run(replace(monitor(7), outbound=(Q,)), grown)
    assert ([type(one) for one in sent(effects, Q)], sent(effects)) == ([Head], [])
    told, _ = received(monitor(7, waiting(head_of(LOG, 9))), Head(ID, head_of(LOG, 9).raw, 1, None, ()))
    _, effects = run(told, grown)
    assert ([type(one) for one in sent(effects, Q)], sent(effects)) == ([Head], [])


def test_what_is_not_linked_gets_nothing_until_the_links_are_chosen() -> None:
    many = Rules(RULES.logs, tuple(map(name, range(50))), tuple(map(name, range(50))))
    state = begin(many, 1, 0)
    assert state.outbound == ()
    assert run(state, Relink((name(3),)))[0].outbound == (name(3),)


@pytest.mark.parametrize("seed", range(5))
def test_dialled_links_hear_from_us_in_every_second_interval(seed: int) -> None:
    many = tuple(map(name, range(50)))
    state = replace(begin(Rules(RULES.logs, many, many), 1, 0), outbound=many[:4])
    first, effects = run(state, Tick(), 0, seed)
    second = run(first, Tick(), first.exchange_ms, seed)[1]
    for link in many[:4]:
        asked = [*sent(effects, link), *sent(second, link)]
        assert asked
        assert all(isinstance(message, Summary) or message == GetHeads(()) for message in asked)


def test_only_the_peers_heard_last_are_remembered_and_the_dialled_ones() -> None:
    state = replace(monitor(7), outbound=(name(0),))
    for number in range(MAX_CONTACTS + 5):
        state, _ = run(state, Received(name(number), (), answer=False), number)
    assert len(state.contacts) == MAX_CONTACTS
    assert (name(0) in state.contacts, name(1) in state.contacts, name(6) in state.contacts) == (True, False, True)


def test_a_step_leaves_the_state_that_it_began_with_alone() -> None:
    before = monitor(7)
    received(before, Unknown(99), Head(ID, head_of(LOG, 9).raw, 1, None, ()))
    assert before == monitor(7)
