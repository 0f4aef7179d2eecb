from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfq_service.domain.errors import InvariantError
from rfq_service.monitoring.instruments import INSTRUMENTS, Instrument, Kind
from rfq_service.monitoring.metrics import SERIES_MAX, MetricRegistry

COUNTER = Instrument("test_total", Kind.COUNTER, "A count.", ("kind", "side"))
HISTOGRAM = Instrument("test_seconds", Kind.HISTOGRAM, "A time.", (), "s", (0.1, 1.0))
GAUGE = Instrument("test_level", Kind.GAUGE, "A level.")


def registry():
    return MetricRegistry([COUNTER, HISTOGRAM, GAUGE])


def test_prometheus_text_of_every_kind():
    metrics = registry()
    metrics.count("test_total", kind="a", side="buy")
    metrics.count("test_total", 2.5, side="buy", kind="a")  # the order of labels does not matter
    metrics.count("test_total", kind='q"\\\n', side="sell")
    for value in (0.05, 0.1, 0.5, 7.0):
        metrics.observe("test_seconds", value)
    metrics.gauge("test_level", lambda: 3)
    assert metrics.prometheus_text().decode().splitlines() == [
        "# HELP test_total A count.",
        "# TYPE test_total counter",
        'test_total{kind="a",side="buy"} 3.5',
        'test_total{kind="q\\"\\\\\\n",side="sell"} 1',
        "# HELP test_seconds A time.",
        "# TYPE test_seconds histogram",
        'test_seconds_bucket{le="0.1"} 2',
        'test_seconds_bucket{le="1"} 3',
        'test_seconds_bucket{le="+Inf"} 4',
        "test_seconds_sum 7.65",
        "test_seconds_count 4",
        "# HELP test_level A level.",
        "# TYPE test_level gauge",
        "test_level 3",
    ]


@given(st.lists(st.floats(0, 10), max_size=50))
def test_every_value_lands_in_exactly_one_bucket(values):
    metrics = registry()
    for value in values:
        metrics.observe("test_seconds", value)
    if not values:
        assert metrics.read() == []
        return
    series = metrics.read()[0].series[0]
    expected = [
        sum(value <= 0.1 for value in values),
        sum(0.1 < value <= 1 for value in values),
        sum(value > 1 for value in values),
    ]
    assert series.bucket_counts == expected
    assert series.count == len(values)
    assert series.total == pytest.approx(sum(values))
    assert (series.smallest, series.largest) == (min(values), max(values))


def test_what_is_not_declared_cannot_be_recorded():
    metrics = registry()
    with pytest.raises(InvariantError, match="not declared as a counter"):
        metrics.count("test_seconds")
    with pytest.raises(InvariantError, match="not declared as a gauge"):
        metrics.gauge("unknown", lambda: 1)
    with pytest.raises(InvariantError, match="has the labels"):
        metrics.count("test_total", kind="a")
    with pytest.raises(InvariantError, match="has the labels"):
        metrics.count("test_total", kind="a", side="b", more="c")


def test_watched_series_are_read_when_somebody_looks():
    metrics = registry()
    levels = {("a", "buy"): 1.0}
    metrics.watch("test_total", levels.items)
    levels["b", "sell"] = 2.5
    assert metrics.prometheus_text().decode().splitlines()[2:] == [
        'test_total{kind="a",side="buy"} 1',
        'test_total{kind="b",side="sell"} 2.5',
    ]
    with pytest.raises(InvariantError, match="not declared as a gauge or counter"):
        metrics.watch("test_seconds", list)


def test_series_are_limited_and_nothing_is_lost():
    metrics = registry()
    for number in range(SERIES_MAX + 50):
        metrics.count("test_total", kind=str(number), side="buy")
    metrics.count("test_total", kind="0", side="buy")
    series = {one.labels: one.total for one in metrics.read()[0].series}
    assert len(series) == SERIES_MAX + 1
    assert series["other", "other"] == 50
    assert series["0", "buy"] == 2
    assert len(metrics._found) <= SERIES_MAX + 1


def test_threads_lose_no_count():
    metrics = registry()

    def count():
        for _ in range(5000):
            metrics.count("test_total", kind="a", side="b")
            metrics.observe("test_seconds", 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = {reading.instrument.name: reading.series[0] for reading in metrics.read()}
    assert totals["test_total"].total == 20_000
    assert totals["test_seconds"].count == sum(totals["test_seconds"].bucket_counts) == 20_000


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda one: one.name)
def test_declared_names_follow_prometheus_conventions(instrument):
    assert instrument.name.startswith("rfq_")
    assert instrument.name.endswith("_total") == (instrument.kind is Kind.COUNTER)
    assert bool(instrument.buckets) == (instrument.kind is Kind.HISTOGRAM)
    assert list(instrument.buckets) == sorted(set(instrument.buckets))
    assert [other.name for other in INSTRUMENTS].count(instrument.name) == 1
