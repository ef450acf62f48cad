"""Policies against brute force: quorum arithmetic counted over every set of parties there is, and round trips."""

from collections.abc import Collection, Iterator
from functools import cache
from itertools import chain, combinations
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.keys import log_key, mldsa_key, witness_key
from tlog.errors import FormatError
from tlog.policy import Group, Policy, PolicyLog, PolicyWitness
from tlog.quorum import Rule

Parties = frozenset[str]


# Counting the slow way.


def subsets(parties: Collection[str]) -> Iterator[Parties]:
    return map(frozenset, chain.from_iterable(combinations(sorted(parties), n) for n in range(len(parties) + 1)))


def everyone(rule: Rule) -> Parties:
    return frozenset(rule.parties.values())


def witnesses(rule: Rule, name: str, parties: Parties) -> bool:
    """The definition of the policy format, read aloud; all lines of a party go together."""
    for group in rule.groups:
        if group.name == name:
            return sum(witnesses(rule, member, parties) for member in group.members) >= group.threshold
    return rule.parties[name] in parties


def quorums(rule: Rule) -> list[Parties]:
    if rule.quorum is None:
        return [frozenset()]
    return [parties for parties in subsets(everyone(rule)) if witnesses(rule, rule.quorum, parties)]


def slow_inter(rule: Rule) -> int:
    found = quorums(rule)
    return min(len(one & other) for one in found for other in found)


def slow_block(rule: Rule) -> int:
    found = quorums(rule)
    blocking = (parties for parties in subsets(everyone(rule)) if all(parties & quorum for quorum in found))
    return min(map(len, blocking), default=len(everyone(rule)) + 1)


def slow_cost(rule: Rule, excluded: Collection[str]) -> int:
    free = {party for party in everyone(rule) if all(n in excluded for n, p in rule.parties.items() if p == party)}
    return min(len(quorum - free) for quorum in quorums(rule))


# Trees.

MAX_PARTIES = 6  # 64 sets, 4096 pairs: enough to nest three deep


@st.composite
def rules(draw: st.DrawFn, *, scattered: bool = False) -> Rule:
    """A random tree. Parties of several keys hold them in a group of their own, unless they are scattered."""
    parties: dict[str, str] = {}
    groups: list[Group] = []
    loose: list[str] = []
    for number in range(draw(st.integers(1, MAX_PARTIES))):
        keys = [f"w{number}.{key}" for key in range(draw(st.sampled_from([1, 1, 1, 2, 3])))]
        parties.update(dict.fromkeys(keys, f"party {number}"))
        if len(keys) == 1 or scattered:
            loose += keys
        else:
            loose.append(_group(draw, groups, keys))
    loose = draw(st.permutations(loose))
    while len(loose) > 1:
        count = draw(st.integers(1, min(5, len(loose))))
        loose = [*loose[count:], _group(draw, groups, loose[:count])]
        if draw(st.integers(0, 9)) == 0:
            break  # the rest is defined and stands outside of the quorum
    return Rule(parties, tuple(groups), loose[-1])


def _group(draw: st.DrawFn, groups: list[Group], members: list[str]) -> str:
    name = f"g{len(groups)}"
    groups.append(Group(name, draw(st.integers(1, len(members))), tuple(members)))
    return name


@settings(max_examples=500)
@given(rules(), st.randoms(use_true_random=False))
def test_every_figure_is_what_counting_all_sets_of_parties_gives(rule: Rule, choices: Random) -> None:
    excluded = {name for name in rule.parties if choices.random() < 0.4}
    assert (rule.minq(), rule.inter(), rule.block(), rule.cost(excluded), rule.margin(excluded)) == (
        slow_cost(rule, ()),
        slow_inter(rule),
        slow_block(rule),
        slow_cost(rule, excluded),
        slow_cost(rule, rule.parties.keys() - excluded) - 1,
    )


@settings(max_examples=300)
@given(rules(scattered=True), st.randoms(use_true_random=False))
@example(Rule({"a1": "a", "a2": "a", "b": "b"}, (Group("g", 2, ("a1", "a2", "b")),), "g"), None)
def test_a_party_in_several_places_never_makes_a_figure_too_large(rule: Rule, choices: Random | None) -> None:
    excluded = {name for name in rule.parties if choices is not None and choices.random() < 0.4}
    assert rule.minq() <= slow_cost(rule, ())
    assert rule.inter() <= slow_inter(rule)
    assert rule.block() <= slow_block(rule)
    assert rule.cost(excluded) <= slow_cost(rule, excluded)
    assert rule.margin(excluded) <= slow_cost(rule, rule.parties.keys() - excluded) - 1


# Policy files.

NAMES = st.one_of(
    st.sampled_from(["w1", "all", "any", "2", "#w", "K", "\N{KELVIN SIGN}", "\udce2\udc84", "é", "x+y"]),
    st.binary(min_size=1, max_size=6)
    .filter(lambda name: all(byte > 0x20 and byte != 0x7F for byte in name) and name != b"none")
    .map(lambda name: name.decode("utf-8", "surrogateescape")),
)
URLS = st.none() | st.sampled_from(["https://w.example/", "http://127.0.0.1:8080/a#b", "é", "\udcff"])


@cache
def key_pool() -> tuple[list[PolicyLog], list[PolicyWitness]]:
    logs = [log_key("log.example/one").verifier_key, log_key("log.example/deux").verifier_key, mldsa_key().verifier_key]
    keys = [witness_key(f"witness.example/{n}", seed).verifier_key for n in range(4) for seed in (1, 2)]
    keys.append(mldsa_key("witness.example/0").verifier_key)
    return [PolicyLog(key) for key in logs], [PolicyWitness("", key) for key in keys]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    all_logs, all_witnesses = key_pool()
    logs = [PolicyLog(log.key, draw(URLS)) for log in draw(st.lists(st.sampled_from(all_logs), unique=True))]
    keys = draw(st.lists(st.sampled_from(all_witnesses), unique=True, max_size=6))
    names = draw(st.lists(NAMES, unique=True, min_size=len(keys), max_size=len(keys) + 3))
    lines = [PolicyWitness(name, found.key, draw(URLS)) for name, found in zip(names, keys, strict=False)]
    loose, groups = [line.name for line in lines], []
    for name in names[len(keys) :]:
        if loose:
            members = tuple(loose[: draw(st.integers(1, len(loose)))])
            groups.append(Group(name, draw(st.integers(1, len(members))), members))
            loose = [*loose[len(members) :], name]
    defined = [line.name for line in lines] + [group.name for group in groups]
    quorum = draw(st.sampled_from([None, *defined]))
    return Policy(tuple(logs), tuple(lines), tuple(groups), quorum)


@given(policies())
def test_what_is_written_is_read_back_as_the_same_policy(policy: Policy) -> None:
    assert Policy.parse(policy.format()) == policy


@given(policies(), st.randoms(use_true_random=False))
def test_comments_blanks_and_the_order_of_unrelated_lines_mean_nothing(policy: Policy, choices: Random) -> None:
    logs: list[bytes] = []
    rest: list[bytes] = []
    for line in policy.format().splitlines(keepends=True):
        (logs if line.startswith(b"log ") else rest).append(line.replace(b" ", choices.choice([b"\t", b"  ", b" \t "])))
    noise = [b"# comment \xff\n", b"\n", b" \t\n", b"\t # quorum none\n"]
    shuffled = b"".join(choices.choice([b"", b" ", b"\t"]) + line + choices.choice(noise) for line in [*rest, *logs])
    assert Policy.parse(shuffled).format() == policy.format()


@given(policies(), st.integers(0), st.integers(0, 255))
def test_a_changed_octet_is_refused_or_read_as_what_it_says(policy: Policy, place: int, octet: int) -> None:
    data = bytearray(policy.format())
    data[place % len(data)] = octet
    try:
        changed = Policy.parse(bytes(data))
    except FormatError:
        return
    assert Policy.parse(changed.format()) == changed


@given(policies())
def test_the_arithmetic_of_a_policy_takes_lines_of_one_key_name_for_one_party(policy: Policy) -> None:
    rule = Rule({line.name: line.key.name for line in policy.witnesses}, policy.groups, policy.quorum)
    heard = [line.name for line in policy.witnesses[::2]]
    figures = (policy.minq(), policy.inter(), policy.block(), policy.cost(heard), policy.margin(heard))
    assert figures == (rule.minq(), rule.inter(), rule.block(), rule.cost(heard), rule.margin(heard))


@given(policies(), st.randoms(use_true_random=False))
def test_a_quorum_is_met_exactly_when_its_definition_says_so(policy: Policy, choices: Random) -> None:
    names = {line.name for line in policy.witnesses if choices.random() < 0.6}
    lines = Rule({line.name: line.name for line in policy.witnesses}, policy.groups, policy.quorum)
    expected = policy.quorum is None or witnesses(lines, policy.quorum, frozenset(names))
    assert policy.satisfied_by(names) == expected


@pytest.mark.parametrize("names", [["g"], ["", "nobody"]])
def test_only_witness_lines_count_and_no_other_names(names: list[str]) -> None:
    line = PolicyWitness("w", witness_key().verifier_key)
    policy = Policy((), (line,), (Group("g", 1, ("w",)),), "g")
    assert not policy.satisfied_by(names)
