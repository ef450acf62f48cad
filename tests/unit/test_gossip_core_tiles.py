"""What is asked for and does not come: tiles again and again, evidence less and less, and what waited is not lost."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

from gossip import core, testimony
from gossip.core import (
    Adjudicated,
    Count,
    Event,
    EvidenceShown,
    Ignored,
    JudgeOpening,
    OpeningJudged,
    Review,
    SeekTile,
    Send,
    State,
    Tick,
    TileLent,
    wake_ms,
)
from gossip.core.adjudicate import NeedsTile
from gossip.core.state import (
    FRUITLESS_MS,
    LAST_FRUITLESS_MS,
    LAST_TILE_MS,
    MAX_FRUITLESS,
    MAX_OPENINGS,
    MAX_WANTED_TILES,
    OFFER_MS,
    RETRY_MS,
)
from gossip.envelope import peer_id
from gossip.messages import GetEvidence, GetTile, HaveEvidence, HeldEvidence
from gossip.messages import TestimonyNote as Heard
from tests.fakes_log import ORIGIN, sign_line, signer
from tests.machine import FAR, ID, LOG, RULES, TWIN, P, Q, monitor, received, run, sent, statement
from tlog.evidence import same_size
from tlog.hashing import Hash
from tlog.note import Note
from tlog.opening import TruncatedProof

HEAD = statement(TWIN, 30)
OPENINGS = [TruncatedProof(0, index, TWIN.node(0, index), (), HEAD.note) for index in range(MAX_OPENINGS + 2)]


def needs(tile: int, level: int = 0) -> Event:
    return Adjudicated(ID, statement(LOG, 5), NeedsTile(tile, level))


def waits(number: int, tile: int = 3) -> Event:
    return OpeningJudged(ID, HEAD, NeedsTile(tile), OPENINGS[number])


def asked(tile: int, level: int = 0) -> list[Any]:
    wanted = GetTile(ID, level, tile, 256)
    return [SeekTile(ID, tile, level), Send(P, wanted), Send(Q, wanted)]


def after(*events: Event) -> State:
    now = monitor(7)
    for event in events:
        now, _ = run(now, event)
    return now


# Tiles.


def test_a_tile_that_does_not_come_is_asked_for_again_less_and_less_often() -> None:
    now, effects = run(monitor(7), needs(3))
    assert effects == asked(3)
    times: list[int] = []
    while len(times) < 9:
        due = wake_ms(now)
        assert run(now, Tick(), due - 1)[1] == []
        now, effects = run(now, Tick(), due)
        assert effects == asked(3)
        times.append(due)
    gaps = [later - earlier for earlier, later in pairwise([0, *times])]
    assert gaps[:3] == [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS]
    assert gaps[-3:] == [LAST_TILE_MS] * 3


def test_a_tile_is_asked_for_once_however_many_heads_need_it() -> None:
    assert run(after(needs(3)), needs(3), RETRY_MS - 1)[1] == []
    assert run(after(needs(3)), needs(3, 1))[1] == asked(3, 1)


def test_nothing_is_asked_for_again_once_it_has_come() -> None:
    now, effects = run(after(needs(3), needs(4)), TileLent(ID))
    assert (effects, wake_ms(now)) == ([Review(ID)], FAR)
    assert run(monitor(7), TileLent(ID)) == (monitor(7), [Review(ID)])


def test_nothing_is_asked_for_once_the_log_is_convicted() -> None:
    now, _ = run(after(needs(3)), EvidenceShown(same_size(statement(LOG, 9), statement(TWIN, 9)).format()))
    assert (now.tiles, wake_ms(now)) == ({}, FAR)


def test_only_so_many_tiles_are_asked_for_again() -> None:
    now = after(*(needs(tile) for tile in range(MAX_WANTED_TILES)))
    one_more, effects = run(now, needs(99))
    assert (one_more, effects) == (now, asked(99))


def test_an_opening_is_judged_again_when_the_tile_it_needs_has_come() -> None:
    _, effects = run(after(waits(0), waits(1), waits(0)), TileLent(ID))
    assert effects == [*(JudgeOpening(ID, HEAD, OPENINGS[number]) for number in (0, 1)), Review(ID)]
    many = after(*(waits(number) for number in range(len(OPENINGS))))
    assert sum(len(one.openings) for one in many.tiles.values()) == MAX_OPENINGS
    assert run(after(OpeningJudged(ID, HEAD, NeedsTile(3))), TileLent(ID))[1] == [Review(ID)]


# Evidence.


def announced(*names: int) -> HaveEvidence:
    return HaveEvidence(tuple(HeldEvidence(2, ID, b"a" * 32, name.to_bytes(32, "big")) for name in names))


def asks_at(state: State, now_ms: int) -> tuple[State, bool]:
    """Let it hear of some evidence, that never comes; tell whether it asked."""
    state, effects = received(state, announced(1), now_ms=now_ms)
    return run(state, Tick(), now_ms + OFFER_MS)[0], GetEvidence(((1).to_bytes(32, "big"),)) in sent(effects)


def test_evidence_that_was_asked_for_in_vain_is_asked_for_less_and_less_often() -> None:
    now, times = monitor(9), []
    for when in range(0, 20_000_000, 10_000):
        now, asked_for = asks_at(now, when)
        times += [when] if asked_for else []
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] == 10_000  # once may be bad luck
    assert all(gap >= FRUITLESS_MS for gap in gaps[1:])
    assert LAST_FRUITLESS_MS <= gaps[-1] < LAST_FRUITLESS_MS + 20_000
    assert len(times) < 16


def test_what_did_not_come_from_one_peer_is_fruitless_with_that_peer_alone() -> None:
    now, _ = received(monitor(9), announced(1))
    now, _ = received(now, announced(1), peer=Q)
    now, effects = run(now, Tick(), OFFER_MS)
    assert set(now.fruitless) == {P}
    assert sent(effects, Q)
    assert set(run(now, Tick(), 2 * OFFER_MS)[0].fruitless) == {P, Q}


def test_a_peer_that_announces_evidence_and_keeps_it_back_does_not_keep_us_from_having_it_of_another_one() -> None:
    now = monitor(9)
    for when in range(0, 3_600_000, 500):
        now, _ = received(now, announced(1), now_ms=when)
        now, _ = run(now, Tick(), when)
    asked = []
    for when in range(3_600_000, 3_600_000 + OFFER_MS + 500, 500):
        now, effects = received(now, announced(1), peer=Q, now_ms=when)
        now, again = run(now, Tick(), when)
        asked += [one for one in sent([*effects, *again], Q) if isinstance(one, GetEvidence)]
    assert asked


def test_only_so_much_is_remembered_of_what_never_came() -> None:
    now = monitor(9)
    for number in range(MAX_FRUITLESS + 5):
        now, _ = received(now, announced(number), now_ms=number * OFFER_MS)
        now, _ = run(now, Tick(), (number + 1) * OFFER_MS)
    assert (len(now.fruitless[P]), (4).to_bytes(32, "big") in now.fruitless[P]) == (MAX_FRUITLESS, False)


# Testimony.


def test_what_this_monitor_testifies_counts_like_what_its_peers_do() -> None:
    me = signer("monitor.example/me")
    said = testimony.Testimony(ORIGIN, testimony.UNSERVED, 12, Hash(bytes(32)), 1, 2, 3)
    note = Note(said.format(), (sign_line(me, said.format()),)).format()
    rules = replace(RULES, testifiers={**RULES.testifiers, peer_id(me.verifier_key): me.verifier_key})
    now, effects = run(monitor(7, rules=rules), core.Testified(note))
    (held,) = now.testimony[ID]
    assert (held.testimony, held.peer, held.note) == (said, peer_id(me.verifier_key), note)
    assert effects == [Send(peer, Heard(note)) for peer in (P, Q)]
    unnamed, effects = run(monitor(7), core.Testified(note))
    assert (unnamed.testimony, len(effects)) == ({}, 2)
    assert Count(Ignored.TESTIMONY_UNDER_UNKNOWN_KEY) in received(monitor(7), Heard(note))[1]
