"""Budgets of strangers: one for all, one for each address, and nothing that tells who asked."""

from dataclasses import dataclass

import pytest

from runtime.visitors import FORGET_SECONDS, PLACES, Rate, Visitors

MANY, FEW = Rate(1000, 1000), Rate(2, 3)


@dataclass(slots=True)
class Time:
    """A clock that somebody sets."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def visitors(time: Time, everybody: Rate = MANY, one: Rate = FEW) -> Visitors:
    return Visitors(everybody, one, time)


def test_an_address_may_ask_a_few_times_at_once_and_then_slowly() -> None:
    time = Time()
    found = visitors(time)
    assert [found.admit("192.0.2.1") for _ in range(5)] == [None, None, None, 1, 1]
    time.now += 0.5
    assert [found.admit("192.0.2.1") for _ in range(2)] == [None, 1]
    time.now += 1000
    assert [found.admit("192.0.2.1") for _ in range(4)] == [None, None, None, 1]


def test_says_after_how_long_to_ask_again() -> None:
    found = visitors(Time(), one=Rate(0.1, 1))
    assert [found.admit("192.0.2.1") for _ in range(2)] == [None, 10]


def test_addresses_do_not_use_up_each_other_s_budget() -> None:
    found = visitors(Time())
    assert [found.admit("192.0.2.1") for _ in range(4)][-1] == 1
    assert found.admit("192.0.2.2") is None


def test_all_together_have_a_budget_which_refused_questions_do_not_use_up() -> None:
    found = visitors(Time(), everybody=Rate(1, 4))
    assert [found.admit("192.0.2.1") for _ in range(50)].count(None) == 3
    assert [found.admit("192.0.2.2"), found.admit("192.0.2.3")] == [None, 1]


@pytest.mark.parametrize("host", [None, "127.0.0.1", "::1", "127.9.9.9", "::ffff:127.0.0.1", "a name"])
def test_who_cannot_be_told_apart_has_only_the_common_budget(host: str | None) -> None:
    found = visitors(Time(), everybody=Rate(1, 5))
    assert [found.admit(host) for _ in range(6)] == [None] * 5 + [1]
    assert len(found) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_addresses_of_one_owner_share_a_budget(one: str, other: str) -> None:
    found = visitors(Time())
    assert [found.admit(one) for _ in range(4)][-1] == 1
    assert found.admit(other) == 1


def test_however_many_addresses_there_are_the_table_does_not_grow() -> None:
    found = visitors(Time(), everybody=Rate(1e9, 10**9))
    for number in range(20_000):
        found.admit(f"2001:db8:{number >> 8:x}:{number & 255:x}::1")
    assert len(found) <= PLACES


def test_who_asked_is_forgotten_after_an_hour_and_never_stored() -> None:
    time = Time()
    found = visitors(time, one=Rate(0.0001, 1))
    assert [found.admit("192.0.2.1") for _ in range(2)][1] is not None
    assert all(isinstance(place, int) for place in found._places)
    secret = found._secret
    time.now += FORGET_SECONDS
    assert (found.admit("192.0.2.1"), len(found), found._secret != secret) == (None, 1, True)
