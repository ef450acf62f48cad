"""The claim of the completeness watermark against the truth, in random worlds; and that the check would notice.

``SAMEVIEW_COMPLETENESS_WORLDS`` makes more of them, as ``bench.completeness`` does.
"""

import os

import pytest

from bench.completeness import Count, check

WORLDS = int(os.environ.get("SAMEVIEW_COMPLETENESS_WORLDS", "100"))


@pytest.fixture(scope="module")
def count() -> Count:
    return check(WORLDS)


def test_no_claim_is_wrong_with_as_many_liars_as_it_allows_for(count: Count) -> None:
    assert (count.wrong, count.claims > 40 * WORLDS) == (0, True)


def test_with_more_liars_many_claims_are_wrong(count: Count) -> None:
    assert count.control_wrong > count.control_claims // 4 > 10 * WORLDS


def test_equal_times_would_be_one_time_too_many(count: Count) -> None:
    assert count.wrong_with_equal_times > 0


def test_the_worlds_follow_from_the_seed() -> None:
    assert check(3, seed=5) == check(3, seed=5) != check(3, seed=6)
