"""The arithmetic of scorecards."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.testify import sign_document
from tests.fakes_log import signer
from tlog.errors import FormatError, SignatureError
from tlog.keys import KeyType
from tlog.scorecard import SCORECARDS_TYPE, describe, merged, percentile, rounded, verify_scorecards

KEY = signer("monitor.example/m1")


@given(st.integers(0, 10**9))
def test_rounding_loses_six_percent_at_most(seconds: int) -> None:
    assert 0 <= seconds - rounded(seconds) <= seconds / 16
    assert rounded(rounded(seconds)) == rounded(seconds)


def test_small_numbers_are_exact() -> None:
    assert [rounded(seconds) for seconds in range(32)] == list(range(32))


@given(st.lists(st.integers(0, 31), min_size=1, max_size=60), st.integers(1, 100))
def test_a_percentile_is_the_smallest_number_that_enough_do_not_exceed(seen: list[int], hundredths: int) -> None:
    histogram = merged({seconds: 1} for seconds in seen)
    rank = math.ceil(len(seen) * hundredths / 100)
    assert percentile(histogram, hundredths) == sorted(seen)[rank - 1]


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile({}, 50) is None


def test_histograms_add_up() -> None:
    assert merged([{1: 2, 5: 1}, {}, {5: 3}]) == {1: 2, 5: 4}


def test_scorecards_are_what_a_peer_key_signed_as_scorecards() -> None:
    assert verify_scorecards(sign_document(SCORECARDS_TYPE, b"{}", KEY), KEY.verifier_key) == b"{}"
    with pytest.raises(FormatError):
        verify_scorecards(sign_document("application/json", b"{}", KEY), KEY.verifier_key)
    with pytest.raises(SignatureError):
        verify_scorecards(sign_document(SCORECARDS_TYPE, b"{}", KEY), signer("another").verifier_key)


def test_only_a_peer_key_signs_documents() -> None:
    with pytest.raises(AssertionError):
        sign_document(SCORECARDS_TYPE, b"{}", signer("observer", KeyType.COSIGNATURE_ED25519))


def card(**changed: object) -> bytes:
    window = {"days": 30, "uptime": 0.9987, "lag": {"p99": 12}, "clock": {"ahead_most": -1}, **changed}
    witnesses = [{"name": "w", "windows": [{}, window]}]
    return json.dumps({"monitor": "m", "time": 1, "witnesses": witnesses}).encode()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (card(), "w: in 30 days it answered 99.87%, at most 12 s behind the others in 99 of 100 looks"),
        (
            card(clock={"ahead_most": 3600}),
            "w: in 30 days it answered 99.87%, at most 12 s behind the others in 99 of 100 looks, "
            "and at least 3600 s ahead of the monitor's clock",
        ),
        (
            card(uptime=None, lag={"p99": None}, clock={"ahead_most": None}),
            "w: in 30 days it was not asked, was not heard",
        ),
    ],
)
def test_a_scorecard_is_said_in_a_sentence(document: bytes, sentence: str) -> None:
    assert describe(document) == (sentence,)


@pytest.mark.parametrize("document", [b"{}", b"no JSON", card(days="30"), card().replace(b'"name"', b'"title"')])
def test_what_are_no_scorecards_are_refused(document: bytes) -> None:
    with pytest.raises(FormatError):
        describe(document)
