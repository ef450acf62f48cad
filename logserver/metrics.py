"""What a log counts."""

from collections.abc import Iterable

from runtime.metrics import Metrics

PUBLISHED, HELD, CLOCK_BEHIND, UNWRITABLE = "published", "held", "clock_behind", "unwritable"
DAMAGED = "damaged"


class LogMetrics:
    """The metrics of a log."""

    def __init__(self, metrics: Metrics) -> None:
        self._entries = metrics.counter("log_answered_entries", "Entries answered with an index, known ones included")
        self._busy = metrics.counter("log_busy_answers", "Requests to add that were answered 503")
        self._size = metrics.gauge("log_size", "Entries that are durable, at the last round")
        self._published = metrics.gauge("log_published_size", "Entries below the published checkpoint")
        outcomes = (PUBLISHED, HELD, CLOCK_BEHIND, UNWRITABLE, DAMAGED)
        self._rounds = metrics.counters("log_rounds", "Rounds of the publisher by outcome", "outcome", outcomes)
        self._cosigned = metrics.counters("log_cosigned", "Checkpoints that a witness cosigned", "witness", ())
        self._failed = metrics.counters("log_not_cosigned", "Checkpoints that a witness did not", "witness", ())

    def declare_witnesses(self, names: Iterable[str]) -> None:
        """Begin to count what these witnesses do."""
        for name in names:
            self._cosigned.declare(name)
            self._failed.declare(name)

    def answered(self, entries: int) -> None:
        """Count entries whose submitter got their index."""
        self._entries.inc(entries)

    def holds(self, size: int) -> None:
        """Note how many entries the log holds."""
        self._size.set(size)

    def busy(self) -> None:
        """Count a request that there was no room for."""
        self._busy.inc()

    def cosigned(self, witness: str) -> None:
        """Count a cosignature."""
        self._cosigned[witness].inc()

    def failed(self, witness: str) -> None:
        """Count that a witness did not cosign."""
        self._failed[witness].inc()

    def published(self, size: int) -> None:
        """Count a round that published a checkpoint of this size."""
        self._rounds[PUBLISHED].inc()
        self._published.set(size)

    def not_published(self, outcome: str) -> None:
        """Count a round that published nothing."""
        self._rounds[outcome].inc()
