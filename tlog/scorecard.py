"""Scorecards of witnesses: how reliable each has been, as one monitor saw it and signed it (specs/scorecards.md).

A scorecard is an opinion with figures. It convicts nobody; who signed it can be told from who made it up.
"""

from collections.abc import Iterable, Mapping

from tlog.dsse import SignedDocument
from tlog.keys import VerifierKey

SCORECARDS_TYPE = "application/vnd.sameview.scorecards.v1+json"
MAX_SCORECARDS_BYTES = 4 * 1024 * 1024
EXACT_BITS = 5

Histogram = Mapping[int, int]
"""How often a number of seconds was seen, by the number as ``rounded`` leaves it."""


def verify_scorecards(raw: bytes, key: VerifierKey) -> bytes:
    """Return the document in an envelope, if this peer key signed it.

    Raises:
        FormatError: this is no envelope with scorecards.
        SignatureError: the key has not signed it.
    """
    return SignedDocument.parse(raw).verify(key, SCORECARDS_TYPE)


def rounded(seconds: int) -> int:
    """Round down to five significant bits: 6 % at most, so that a histogram of a year has some hundred places."""
    shift = max(seconds.bit_length() - EXACT_BITS, 0)
    return seconds >> shift << shift


def percentile(histogram: Histogram, hundredths: int) -> int | None:
    """Return the smallest number that so many of a hundred do not exceed; None if there are none."""
    rank = -(-sum(histogram.values()) * hundredths // 100)
    for seconds in sorted(histogram):
        rank -= histogram[seconds]
        if rank <= 0:
            return seconds
    return None


def merged(histograms: Iterable[Histogram]) -> dict[int, int]:
    """Add histograms up."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for seconds, count in histogram.items():
            total[seconds] = total.get(seconds, 0) + count
    return total
