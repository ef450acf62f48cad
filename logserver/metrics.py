"""What a log counts."""

from runtime.metrics import Metrics


class LogMetrics:
    """The metrics of a log."""

    def __init__(self, metrics: Metrics) -> None:
        self._answered = metrics.counter("log_answered_entries", "Entries answered with an index, known ones included")
        self._size = metrics.gauge("log_size", "Entries that are durable")
        self._published = metrics.gauge("log_published_size", "Entries below the published checkpoint")

    def added(self, answered: int, size: int) -> None:
        """Count a request that was answered, when the log held ``size`` entries."""
        self._answered.inc(answered)
        self._size.set(size)

    def published(self, size: int) -> None:
        """Note the size of a published checkpoint."""
        self._published.set(size)
