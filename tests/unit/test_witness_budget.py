"""How many requests of a log are answered."""

from witness.budget import DAY_MS, MIN_BURST, Budgets

LIMITS = {"small": 24, "large": 86_400}


def burst(budgets: Budgets, origin: str, now_ms: int = 0) -> int:
    """How many requests go on at one moment."""
    count = 0
    while budgets.charge(origin, now_ms) is None:
        count += 1
    return count


def test_a_log_without_a_limit_is_always_answered_and_costs_no_memory() -> None:
    budgets = Budgets(LIMITS.get)
    assert {budgets.charge("free", 0) for _ in range(1000)} == {None}
    assert len(budgets) == 0


def test_an_hours_worth_may_come_at_once() -> None:
    assert burst(Budgets(LIMITS.get), "large") == 3600


def test_a_log_with_few_requests_may_still_retry_some_times() -> None:
    assert burst(Budgets(LIMITS.get), "small") == MIN_BURST


def test_fewer_requests_than_a_burst_are_all_there_is() -> None:
    assert burst(Budgets({"log": 3}.get), "log") == 3


def test_the_wait_is_what_it_takes_to_fill_up_for_one_request() -> None:
    budgets = Budgets(LIMITS.get)
    burst(budgets, "small")
    assert budgets.charge("small", 0) == 3600
    assert budgets.charge("small", 1_800_000) == 1800
    assert budgets.charge("small", 3_599_999) == 1
    assert budgets.charge("small", 3_600_000) is None


def test_a_day_holds_a_burst_and_its_requests_and_no_more() -> None:
    budgets = Budgets(LIMITS.get)
    answered = sum(budgets.charge("small", minute * 60_000) is None for minute in range(DAY_MS // 60_000))
    assert 24 <= answered <= 24 + MIN_BURST


def test_a_clock_that_is_set_back_gives_nothing() -> None:
    budgets = Budgets(LIMITS.get)
    burst(budgets, "small", DAY_MS)
    assert budgets.charge("small", 0) == 3600


def test_a_new_limit_counts_from_its_beginning() -> None:
    limits = {"log": 10}
    budgets = Budgets(limits.get)
    burst(budgets, "log")
    limits["log"] = 20
    assert burst(budgets, "log") == 10
    del limits["log"]
    assert budgets.charge("log", 0) is None
    assert len(budgets) == 0
