import dataclasses
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlog.advance import (
    MAX_CLOCK_LAG,
    Advance,
    ClockBehind,
    Decision,
    Inconsistent,
    Malformed,
    Refresh,
    Stale,
    Statement,
    decide,
)
from tlog.checkpoint import Checkpoint
from tlog.hashing import EMPTY_ROOT, Hash, TreeHead, leaf_hash, node_hash
from tlog.proofs import prove_consistency, root_at

ORIGIN = "log.example/one"
NOW = 1_760_000_000
LEAVES = [leaf_hash(b"entry %d" % i) for i in range(40)]
OTHERS = LEAVES[:3] + [leaf_hash(b"other %d" % i) for i in range(37)]


def reader(leaves: Sequence[Hash]) -> Callable[[int, int], Hash]:
    def read(level: int, index: int) -> Hash:
        if level == 0:
            return leaves[index]
        return node_hash(read(level - 1, 2 * index), read(level - 1, 2 * index + 1))

    return read


def checkpoint(size: int, leaves: Sequence[Hash] = LEAVES) -> Checkpoint:
    return Checkpoint(ORIGIN, size, root_at(size, reader(leaves)))


def known(size: int, time: int = NOW - 10) -> Statement:
    return Statement(ORIGIN, size, checkpoint(size).root_hash, time)


def stated(size: int, time: int, leaves: Sequence[Hash] = LEAVES) -> Statement:
    return Statement(ORIGIN, size, checkpoint(size, leaves).root_hash, time)


def proof(old: int, new: int, leaves: Sequence[Hash] = LEAVES) -> list[Hash]:
    return prove_consistency(old, new, reader(leaves))


BAD_EMPTY = Checkpoint(ORIGIN, 0, leaf_hash(b"not empty"))
STRAY = [leaf_hash(b"stray")]

CASES: list[tuple[str, Statement | None, int, Checkpoint, list[Hash], int, Decision | type[Decision]]] = [
    # SPEC: CP-7, CS-19 What extends the known tree is stated. SPEC: W-17 From size 0 without a proof.
    ("a first empty tree", None, 0, checkpoint(0), [], NOW, Advance(stated(0, NOW))),
    ("a first tree", None, 0, checkpoint(7), [], NOW, Advance(stated(7, NOW))),
    ("growth from the empty tree", known(0), 0, checkpoint(7), [], NOW, Advance(stated(7, NOW))),
    ("growth", known(5), 5, checkpoint(9), proof(5, 9), NOW, Advance(stated(9, NOW))),
    ("growth of a power of two", known(8), 8, checkpoint(9), proof(8, 9), NOW, Advance(stated(9, NOW))),
    ("the same tree", known(5), 5, checkpoint(5), [], NOW, Refresh(stated(5, NOW))),
    ("the same empty tree", known(0), 0, checkpoint(0), [], NOW, Refresh(stated(0, NOW))),
    ("the same tree, same time", known(5, NOW), 5, checkpoint(5), [], NOW, Refresh(stated(5, NOW))),
    # SPEC: W-12 Malformed comes before everything that needs state or proof.
    ("old above size", known(5), 6, checkpoint(5), [], NOW, Malformed),
    ("old above a bad empty tree", known(5), 6, BAD_EMPTY, STRAY, NOW, Malformed),
    ("old above size, first contact", None, 1, checkpoint(0), [], NOW, Malformed),
    # SPEC: W-16 The empty root comes before the comparison with what is known.
    ("first bad empty tree", None, 0, BAD_EMPTY, [], NOW, Inconsistent),
    ("a bad empty tree over a larger one", known(5), 0, BAD_EMPTY, [], NOW, Inconsistent),
    ("a bad empty tree over the empty one", known(0), 0, BAD_EMPTY, [], NOW, Inconsistent),
    # SPEC: W-13 Stale comes before the proof, and tells the size to start from.
    ("old below known", known(5), 4, checkpoint(9), proof(4, 9), NOW, Stale(5)),
    ("old above known", known(5), 6, checkpoint(9), proof(6, 9), NOW, Stale(5)),
    ("old 0 over a known tree", known(5), 0, checkpoint(9), [], NOW, Stale(5)),
    ("old 0 with a stray proof over a known tree", known(5), 0, checkpoint(9), STRAY, NOW, Stale(5)),
    ("old above 0, first contact", None, 3, checkpoint(9), proof(3, 9), NOW, Stale(0)),
    ("old above the known empty tree", known(0), 3, checkpoint(9), proof(3, 9), NOW, Stale(0)),
    ("a smaller tree", known(9), 5, checkpoint(5), [], NOW, Stale(9)),
    ("the honest empty tree over a larger one", known(9), 0, checkpoint(0), [], NOW, Stale(9)),
    # SPEC: W-17, W-18, W-19 The proof.
    ("a stray proof at first contact", None, 0, checkpoint(7), STRAY, NOW, Inconsistent),
    ("a stray proof from the empty tree", known(0), 0, checkpoint(7), STRAY, NOW, Inconsistent),
    ("a stray proof from empty to empty", known(0), 0, checkpoint(0), STRAY, NOW, Inconsistent),
    ("no proof", known(5), 5, checkpoint(9), [], NOW, Inconsistent),
    ("a wrong proof", known(5), 5, checkpoint(9), proof(4, 9), NOW, Inconsistent),
    ("a proof and more", known(5), 5, checkpoint(9), proof(5, 9) + STRAY, NOW, Inconsistent),
    ("the proof of a fork", known(5), 5, checkpoint(9, OTHERS), proof(5, 9, OTHERS), NOW, Inconsistent),
    ("a fork of the same size", known(5), 5, checkpoint(5, OTHERS), [], NOW, Inconsistent),
    ("a stray proof for the same tree", known(5), 5, checkpoint(5), STRAY, NOW, Inconsistent),
    # The clock comes last: whoever asked for something wrong is told so however our clock stands.
    ("a clock a little behind", known(5), 5, checkpoint(9), proof(5, 9), NOW - 70, Advance(stated(9, NOW - 10))),
    ("a refresh a little behind", known(5), 5, checkpoint(5), [], NOW - 70, Refresh(stated(5, NOW - 10))),
    ("a clock too far behind", known(5), 5, checkpoint(9), proof(5, 9), NOW - 71, ClockBehind(61)),
    ("a refresh too far behind", known(5), 5, checkpoint(5), [], NOW - 71, ClockBehind(61)),
    ("a fork and a clock behind", known(5), 5, checkpoint(9, OTHERS), [], NOW - 71, Inconsistent),
    ("stale and a clock behind", known(5), 4, checkpoint(9), [], NOW - 71, Stale(5)),
    ("a first tree at time zero", None, 0, checkpoint(7), [], 0, Advance(stated(7, 1))),
]


@pytest.mark.parametrize(
    ("state", "old", "new", "path", "now", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_decides(
    state: Statement | None, old: int, new: Checkpoint, path: list[Hash], now: int, expected: Decision | type[Decision]
) -> None:
    decision = decide(state, old, new, path, now)
    assert (type(decision) if isinstance(expected, type) else decision) == expected


def test_a_refusal_says_why() -> None:
    decision = decide(known(5), 5, checkpoint(9, OTHERS), proof(5, 9, OTHERS), NOW)
    assert decision == Inconsistent("the proof leads to another root")


def test_states_the_extension_lines_of_the_new_checkpoint() -> None:
    # SPEC: CS-12 They neither contradict nor confirm anything.
    new = dataclasses.replace(checkpoint(5), extensions=(b"extra",))
    decision = decide(known(5), 5, new, [], NOW)
    assert isinstance(decision, Refresh)
    assert decision.statement.checkpoint == new


def test_a_statement_knows_its_tree_head() -> None:
    assert known(0).head == TreeHead(0, EMPTY_ROOT)


def test_comparing_two_origins_is_our_mistake() -> None:
    other = dataclasses.replace(known(5), origin="log.example/two")
    with pytest.raises(AssertionError):
        decide(other, 5, checkpoint(5), [], NOW)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(-200, 200)), max_size=30), st.integers())
def test_sizes_and_times_never_fall_whatever_the_clock_does(steps: list[tuple[int, bool, int]], seed: int) -> None:
    rng = random.Random(seed)
    state: Statement | None = None
    for size, forked, drift in steps:
        leaves = OTHERS if forked else LEAVES
        old = rng.choice([0 if state is None else state.size, rng.randint(0, 40)])
        path = proof(min(old, size), size, leaves)
        decision = decide(state, old, checkpoint(size, leaves), path, NOW + drift)
        if isinstance(decision, Advance | Refresh):
            new = decision.statement
            if state is not None:
                assert new.size >= state.size
                assert new.time >= state.time
                assert isinstance(decision, Refresh) == (new.head == state.head)
            assert new.time >= NOW + drift
            assert new.time - (NOW + drift) <= MAX_CLOCK_LAG
            state = new


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 39), st.integers(1, 40), st.integers(0, 40))
def test_never_states_two_trees_that_disagree(first: int, second: int, third: int) -> None:
    """Whatever order three sizes of two histories arrive in, all that is stated is a prefix of one of them."""
    state: Statement | None = None
    accepted: list[TreeHead] = []
    for size, leaves in ((first, LEAVES), (second, OTHERS), (third, LEAVES)):
        old = 0 if state is None else state.size
        path = proof(old, size, leaves) if old <= size else []
        decision = decide(state, old, checkpoint(size, leaves), path, NOW)
        if isinstance(decision, Advance | Refresh):
            state = decision.statement
            accepted.append(state.head)
    assert any(all(head == checkpoint(head.size, leaves).head for head in accepted) for leaves in (LEAVES, OTHERS))
