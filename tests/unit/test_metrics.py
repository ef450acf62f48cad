"""Metrics: what a scrape shows, and that strangers cannot make series."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import Metrics


def scrape(metrics: Metrics) -> dict[str, float]:
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_what_was_counted_is_scraped() -> None:
    metrics = Metrics()
    metrics.counter("requests", "Requests.").inc(2)
    metrics.gauge("size", "Tree size.").set(7)
    metrics.histogram("seconds", "Durations.", [0.1, 1.0]).observe(0.5)
    samples = scrape(metrics)
    assert samples["sameview_requests_total{}"] == 2
    assert samples["sameview_size{}"] == 7
    assert samples["sameview_seconds_bucket{le=0.1}"] == 0
    assert samples["sameview_seconds_bucket{le=1.0}"] == 1


def test_declared_values_are_there_from_the_start() -> None:
    # A rate over a series that appears with its first event misses that event.
    metrics = Metrics()
    metrics.counters("answers", "Answers.", "outcome", ["accepted", "refused"])["accepted"].inc()
    samples = scrape(metrics)
    assert samples["sameview_answers_total{outcome=accepted}"] == 1
    assert samples["sameview_answers_total{outcome=refused}"] == 0


def test_values_that_were_not_declared_share_one_series() -> None:
    metrics = Metrics()
    answers = metrics.counters("answers", "Answers.", "origin", ["log.example/one"])
    for number in range(100):
        answers[f"stranger.example/{number}"].inc()
    samples = {name: value for name, value in scrape(metrics).items() if name.startswith("sameview_answers_total")}
    assert samples == {
        "sameview_answers_total{origin=log.example/one}": 0,
        "sameview_answers_total{origin=other}": 100,
    }


def test_a_value_can_be_declared_later() -> None:
    metrics = Metrics()
    sizes = metrics.gauges("size", "Tree size.", "origin", [])
    sizes.declare("log.example/two")
    sizes["log.example/two"].set(3)
    assert scrape(metrics)["sameview_size{origin=log.example/two}"] == 3


def test_histograms_by_label_keep_their_buckets() -> None:
    metrics = Metrics()
    metrics.histograms("seconds", "Durations.", "route", ["add"], [0.5])["add"].observe(0.1)
    assert scrape(metrics)["sameview_seconds_bucket{le=0.5,route=add}"] == 1


def test_two_registries_do_not_share_metrics() -> None:
    one, two = Metrics(), Metrics()
    one.counter("requests", "Requests.").inc()
    two.counter("requests", "Requests.")
    assert scrape(two)["sameview_requests_total{}"] == 0


def test_a_name_is_declared_once() -> None:
    metrics = Metrics()
    metrics.counter("requests", "Requests.")
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.counter("requests", "Requests.")


def test_the_process_is_measured_too() -> None:
    assert scrape(Metrics())["process_resident_memory_bytes{}"] > 0


def test_numbers_kept_elsewhere_are_read_at_each_scrape() -> None:
    metrics = Metrics()
    kept = {("a", "good"): 1, ("b", "bad"): 2}
    metrics.counted("answers", "Answers", ("origin", "outcome"), kept.items)
    metrics.measured("size", "Size", ("origin",), lambda: [(("a",), 7)])
    kept["a", "good"] += 1
    shown = metrics.exposition().decode()
    assert 'sameview_answers_total{origin="a",outcome="good"} 2.0' in shown
    assert 'sameview_answers_total{origin="b",outcome="bad"} 2.0' in shown
    assert 'sameview_size{origin="a"} 7.0' in shown
