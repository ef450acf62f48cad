"""What became of the requests for each log since the start, and what was cosigned of it last: for the operator.

Only requests that a known log signed are counted here, so there is nothing in it that strangers could make grow.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from runtime.metrics import Metrics
from tlog.advance import Statement


class Tally:
    """Counts in memory: plain numbers, because ten thousand logs with an object for each metric cost 100 MB."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        """By origin and outcome."""
        self._heads: dict[str, Statement] = {}

    def count(self, origin: str, outcome: str) -> None:
        """Count an answer to a request that the log signed."""
        self.answers[origin, outcome] += 1

    def stated(self, heads: Iterable[Statement]) -> None:
        """Take note of what was stated last."""
        self._heads.update((head.origin, head) for head in heads)

    def measure(self, metrics: Metrics) -> None:
        """Show all of it as metrics."""
        metrics.counted(
            "witness_log_answers",
            "Answers to requests that the log signed, by log and outcome",
            ("origin", "outcome"),
            lambda: self.answers.items(),
        )
        metrics.measured("witness_log_size", "Size of the tree that was cosigned last", ("origin",), self._sizes)
        metrics.measured(
            "witness_log_cosigned_timestamp_seconds", "Time of the last cosignature", ("origin",), self._times
        )

    def _sizes(self) -> Iterator[tuple[tuple[str, ...], float]]:
        return (((origin,), head.size) for origin, head in self._heads.items())

    def _times(self) -> Iterator[tuple[tuple[str, ...], float]]:
        return (((origin,), head.time) for origin, head in self._heads.items())
