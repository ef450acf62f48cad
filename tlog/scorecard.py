"""Scorecards of witnesses: how reliable each has been, as one monitor saw it and signed it (specs/scorecards.md).

A scorecard is an opinion with figures. It convicts nobody; who signed it can be told from who made it up.
"""

from collections.abc import Iterable, Mapping

from tlog.dsse import SignedDocument, parse_json
from tlog.errors import FormatError
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


def describe(document: bytes) -> tuple[str, ...]:
    """Say in a sentence for each witness how it did in the longest window.

    Raises:
        FormatError: this is not such a document.
    """
    match parse_json(document):
        case {"monitor": str(), "time": int(), "witnesses": list(witnesses)}:
            return tuple(map(_sentence, witnesses))
        case _:
            raise FormatError("these are no scorecards")


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


def _sentence(witness: object) -> str:
    match witness:
        case {"name": str(name), "windows": [*_, dict(window)]}:
            return f"{name}: {_window(window)}"
        case _:
            raise FormatError("a witness has a name and windows")


def _window(window: Mapping[str, object]) -> str:
    match window:
        case {
            "days": int(days),
            "uptime": int() | float() | None as uptime,
            "lag": {"p99": int() | None as late},
            "clock": {"ahead_most": int() | None as ahead},
        }:
            answered = "was not asked" if uptime is None else f"answered {uptime:.2%}"
            behind = "was not heard" if late is None else f"at most {late} s behind the others in 99 of 100 looks"
            clock = "" if ahead is None or ahead <= 0 else f", and at least {ahead} s ahead of the monitor's clock"
            return f"in {days} days it {answered}, {behind}{clock}"
        case _:
            raise FormatError("a window has days, uptime, lag and clock")
