"""Metrics: a registry of its own per process, and labels only from what is configured.

A label whose value a stranger can choose makes a time series for each thing they send, until memory is gone. So the
values of a label are declared, and every other value counts as ``other``. Children are looked up once, when declared:
``prometheus_client`` takes as long to find one as to count with it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
OTHER = "other"

# Seconds. From a request answered out of memory to one that waits for witnesses on another continent.
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Read = Callable[[], Iterable[tuple[Sequence[str], float]]]
"""The values of the labels and the number, of each series."""

M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one process. Names begin with ``sameview_``, which is added."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, meaning: str) -> Counter:
        return Counter(_PREFIX + name, meaning, registry=self._registry)

    def gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(_PREFIX + name, meaning, registry=self._registry)

    def histogram(self, name: str, meaning: str, buckets: Sequence[float] = LATENCIES) -> Histogram:
        return Histogram(_PREFIX + name, meaning, buckets=buckets, registry=self._registry)

    def counters(self, name: str, meaning: str, label: str, values: Iterable[str]) -> "By[Counter]":
        """One counter for each declared value of a label."""
        return By(Counter(_PREFIX + name, meaning, [label], registry=self._registry), values)

    def gauges(self, name: str, meaning: str, label: str, values: Iterable[str]) -> "By[Gauge]":
        """One gauge for each declared value of a label."""
        return By(Gauge(_PREFIX + name, meaning, [label], registry=self._registry), values)

    def histograms(
        self, name: str, meaning: str, label: str, values: Iterable[str], buckets: Sequence[float] = LATENCIES
    ) -> "By[Histogram]":
        """One histogram for each declared value of a label."""
        return By(Histogram(_PREFIX + name, meaning, [label], buckets=buckets, registry=self._registry), values)

    def counted(self, name: str, meaning: str, labels: Sequence[str], read: Read) -> None:
        """Counters that are kept elsewhere as plain numbers and are read at each scrape."""
        self._registry.register(_Kept(CounterMetricFamily, _PREFIX + name, meaning, labels, read))

    def measured(self, name: str, meaning: str, labels: Sequence[str], read: Read) -> None:
        """Gauges that are kept elsewhere as plain numbers and are read at each scrape."""
        self._registry.register(_Kept(GaugeMetricFamily, _PREFIX + name, meaning, labels, read))

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes, of type ``CONTENT_TYPE``."""
        return generate_latest(self._registry)


class _Kept(Collector):
    """Makes a family of series when it is scraped."""

    def __init__(
        self,
        family: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        meaning: str,
        labels: Sequence[str],
        read: Read,
    ) -> None:
        self._family = family
        self._head = (name, meaning)
        self._labels = labels
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """The family without series, for the registry to know its name."""
        return [self._empty()]

    @override
    def collect(self) -> Iterable[Metric]:
        family = self._empty()
        for values, value in self._read():
            family.add_metric(values, value)
        return [family]

    def _empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        name, meaning = self._head
        return self._family(name, meaning, labels=self._labels)


class By(Generic[M]):
    """A metric's children by the value of its label: ``answers["accepted"].inc()``."""

    def __init__(self, metric: M, values: Iterable[str]) -> None:
        self._metric: M = metric
        self._children: dict[str, M] = {}
        for value in values:
            self.declare(value)

    def declare(self, value: str) -> None:
        """Add a value that the configuration has gained; its series starts at once, at zero."""
        self._children[value] = self._metric.labels(value)

    def __getitem__(self, value: str) -> M:
        child = self._children.get(value)
        if child is None:
            self.declare(OTHER)
            child = self._children[OTHER]
        return child


_PREFIX = "sameview_"
