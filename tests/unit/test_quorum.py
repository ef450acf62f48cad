"""The worth of quorum rules: the table of known rules, and what counts as one party."""

import pytest

from tlog.quorum import Group, Rule


def flat(n: int, k: int) -> Rule:
    names = tuple(f"w{i}" for i in range(n))
    return Rule({name: name for name in names}, (Group("g", k, names),), "g")


X_AND_Y = Rule(  # the example of the policy specification
    {name: name for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")},
    (
        Group("X-witnesses", 2, ("X1", "X2", "X3")),
        Group("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
        Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
    ),
    "X-and-Y",
)

NESTED = Rule(  # 4 of 6, one of them 2 of 3: the shape of Sigsum's test policy 2025-3
    {name: name for name in ("a", "b", "c", "d", "e", "f", "g", "h")},
    (Group("operator", 2, ("a", "b", "c")), Group("q", 4, ("operator", "d", "e", "f", "g", "h"))),
    "q",
)


@pytest.mark.parametrize(
    ("n", "k", "inter", "block", "to_hear"),
    [
        (3, 2, 1, 2, (2, 3, None)),
        (4, 3, 2, 2, (2, 3, 4)),
        (5, 3, 1, 3, (3, 4, 5)),
        (5, 4, 3, 2, (2, 3, 4)),
        (7, 5, 3, 3, (3, 4, 5)),
        (10, 3, 0, 8, (8, 9, 10)),
        (10, 7, 4, 4, (4, 5, 6)),
        (16, 11, 6, 6, (6, 7, 8)),
    ],
)
def test_known_flat_rules(n: int, k: int, inter: int, block: int, to_hear: tuple[int | None, ...]) -> None:
    rule = flat(n, k)
    heard_for = tuple(
        next((h for h in range(n + 1) if rule.margin(list(rule.parties)[:h]) >= b), None) for b in range(3)
    )
    assert (rule.minq(), rule.inter(), rule.block(), heard_for) == (k, inter, block, to_hear)


def test_the_example_of_the_specification_survives_no_liar() -> None:
    assert (X_AND_Y.minq(), X_AND_Y.inter(), X_AND_Y.block()) == (3, 1, 2)


def test_a_group_inside_a_group_counts_what_its_own_quorum_costs() -> None:
    assert (NESTED.minq(), NESTED.inter(), NESTED.block()) == (4, 2, 3)


def test_no_quorum_claims_nothing_and_cannot_be_blocked() -> None:
    # SPEC: PO-13 a quorum of none
    rule = Rule({"w": "w", "v": "v", "v2": "v"}, (), None)
    assert (rule.minq(), rule.inter(), rule.block(), rule.cost(["w"]), rule.margin(["w"])) == (0, 0, 3, 0, -1)


@pytest.mark.parametrize("threshold", [1, 2])
def test_a_group_of_one_partys_keys_is_one_leaf_however_many_of_them_it_wants(threshold: int) -> None:
    parties = {"ed": "one", "ml": "one", "two": "two", "three": "three"}
    rule = Rule(parties, (Group("one", threshold, ("ed", "ml")), Group("q", 2, ("one", "two", "three"))), "q")
    assert (rule.minq(), rule.inter(), rule.block()) == (2, 1, 2)


def test_groups_of_groups_of_one_party_are_one_leaf_too() -> None:
    groups = (Group("inner", 1, ("a", "b")), Group("outer", 2, ("inner", "c")))
    rule = Rule(dict.fromkeys("abc", "one"), groups, "outer")
    assert (rule.minq(), rule.inter(), rule.block(), rule.margin(["b"])) == (1, 1, 1, 0)


def test_one_operators_two_keys_do_not_pass_for_two_witnesses() -> None:
    scattered = Rule({"ed": "one", "ml": "one", "two": "two"}, (Group("q", 2, ("ed", "ml", "two")),), "q")
    assert (scattered.minq(), scattered.block()) == (1, 1)


def test_a_party_counts_as_heard_by_any_of_its_keys() -> None:
    rule = Rule(
        {"ed": "one", "ml": "one", "two": "two"}, (Group("one", 1, ("ed", "ml")), Group("q", 2, ("one", "two"))), "q"
    )
    assert rule.margin(["ml"]) == rule.margin(["ed"]) == rule.margin(["ed", "ml"]) == 0


def test_witnesses_outside_of_the_quorum_do_not_matter() -> None:
    rule = Rule({"w": "w", "spare": "spare", "v": "v"}, (Group("unused", 1, ("spare", "v")),), "w")
    assert (rule.minq(), rule.inter(), rule.block(), rule.margin(["spare", "v"])) == (1, 1, 1, -1)


def test_names_of_no_witness_are_neither_heard_nor_excluded() -> None:
    assert (flat(3, 2).margin(["g", "stranger"]), flat(3, 2).cost(["g", "stranger"])) == (-1, 2)


def test_a_share_of_a_party_is_rounded_up_to_a_party() -> None:
    scattered = Rule({"ed": "one", "ml": "one", "two": "two"}, (Group("q", 1, ("ed", "ml", "two")),), "q")
    assert (scattered.minq(), scattered.inter(), scattered.block()) == (1, 0, 2)
