"""Statements over time: which contradict each other, and which are kept."""

from gossip.core.staircase import MAX_FOUND, MAX_STATEMENTS, OLD_SECONDS, Staircase

R, S = b"r" * 32, b"s" * 32
NOW = 1_700_000_000


def stair(*rows: tuple[int, int, bytes]) -> Staircase:
    found = Staircase(1)
    for number, row in enumerate(rows, 1):
        found.add(*row, number)
    return found


def test_a_smaller_tree_at_a_later_time_contradicts() -> None:
    assert stair((10, 5, R), (20, 9, R)).against(30, 8, R) == [2]


def test_a_larger_tree_at_an_earlier_time_contradicts() -> None:
    assert stair((10, 5, R), (20, 9, R)).against(15, 10, R) == [2]


def test_another_root_of_one_size_contradicts() -> None:
    assert stair((10, 5, R)).against(10, 5, S) == [1]


def test_within_one_second_nothing_is_rolled_back() -> None:
    assert stair((10, 5, R)).against(10, 4, R) == []


def test_of_one_size_the_first_and_the_last_statement_stay() -> None:
    steps = stair((10, 5, R), (20, 5, R))
    assert [steps.needs(time, 5, R) for time in (15, 5, 30)] == [(False, 2), (True, 1), (True, 2)]


def test_what_is_old_is_thinned_to_one_an_hour() -> None:
    steps = stair(*((time, time, R) for time in range(0, 36_000, 600)))
    steps.thin(OLD_SECONDS + 36_000)
    assert len(steps) <= 12


def test_a_flood_leaves_a_bounded_number_and_every_second_neighbour() -> None:
    steps = stair(*((NOW + time, time, R) for time in range(1, MAX_STATEMENTS + 2)))
    assert len(steps.thin(NOW + MAX_STATEMENTS)) > 0
    assert len(steps) <= MAX_STATEMENTS
    assert steps.against(NOW + MAX_STATEMENTS * 2, 400, R)


def test_of_one_second_the_larger_tree_comes_later() -> None:
    assert stair((10, 9, R), (10, 5, R)).against(11, 8, R) == [1]
    assert stair((10, 5, R), (10, 9, R)).against(11, 8, R) == [2]


def test_what_a_crash_left_is_found_by_time_and_by_size() -> None:
    assert stair((10, 9, R), (20, 5, R)).contradictory() == [(2, 1)]
    assert stair((10, 5, R), (20, 5, S)).contradictory() == [(2, 1)]
    assert stair((10, 5, R), (20, 9, R)).contradictory() == []


def test_of_many_contradictions_a_few_are_enough() -> None:
    falling = stair(*((time, 100 - time, R) for time in range(1, 20)))
    assert len(falling.contradictory()) == MAX_FOUND


def test_a_statement_that_gives_way_is_forgotten() -> None:
    steps = stair((10, 5, R), (20, 5, R))
    steps.remove(2)
    assert (len(steps), steps.needs(20, 5, R)) == (1, (True, None))


def test_what_is_new_and_little_is_left_alone() -> None:
    steps = stair((10, 5, R), (20, 9, R))
    assert (steps.thin(20), list(steps.numbers)) == ([], [1, 2])


def test_the_newest_statement_is_the_last_in_time() -> None:
    newest = stair((20, 9, S), (10, 5, R)).newest
    assert newest is not None
    assert (newest.time, newest.size, newest.has_root(S), newest.has_root(R)) == (20, 9, True, False)


def test_who_stated_nothing_has_no_newest_statement() -> None:
    assert stair().newest is None
